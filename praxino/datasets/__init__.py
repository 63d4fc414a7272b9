"""Data sets: everything becomes a manifest. One file per benchmark; its reader stands here.

Every reader takes the official annotations and the folder of the videos, in this order, checks
the counts against the published ones, and returns a `praxino.datasets.manifest.Manifest`.
"""

from collections.abc import Callable

from praxino.datasets.gtea61 import read_gtea61
from praxino.datasets.hmdb51 import read_hmdb51
from praxino.datasets.kinetics import read_kinetics
from praxino.datasets.kth import read_kth
from praxino.datasets.manifest import Manifest
from praxino.datasets.ucf101 import read_ucf101
from praxino.datasets.ut_interaction import read_ut_interaction

READERS: dict[str, Callable[..., Manifest]] = {
    "gtea61": read_gtea61,
    "hmdb51": read_hmdb51,
    "kinetics": read_kinetics,
    "kth": read_kth,
    "ucf101": read_ucf101,
    "ut_interaction": read_ut_interaction,
}
