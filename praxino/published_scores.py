"""Score files that authors have published, and what their papers and pages make of them.

ActionVLAD (Girdhar et al., CVPR 2017): the last logits of its RGB and flow networks on the three
test splits of HMDB51 (`rgb_split1.h5`, ...), with lists of the videos. LTC (Varol et al., TPAMI
2018): the scores of an SVM on improved dense trajectories, iDT (`hmdb51_idt_split1.mat`). Their
rows come in other orders, and so do three pairs of classes ("climb" and "climb_stairs"): the sum of
both is right about 70.1 % of split 1, about 59.9 % when rows are added as they stand, and about
67.8 % when columns are.

HDF5 and MATLAB files are read by h5py and SciPy. These are large programs in C; give them files of
people whom you trust.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from praxino.errors import EnvironmentFault
from praxino.fuse import fuse_tables
from praxino.score_tables import ScoreTable
from praxino.shortened import printable, shortened

if TYPE_CHECKING:
    from praxino.verify import Comparison, Verdict

VARIABLE = "PRAXINO_PUBLISHED_SCORES"  # names the folder, where no option does
SPLITS = (1, 2, 3)


def read_published(path: Path) -> ScoreTable:
    """Read a published score file.

    Args:
        path: ActionVLAD's `.h5`, whose lists lie beside it or in `../train_test_lists`; or LTC's
            `.mat`, which holds names and labels.

    Raises:
        ValueError: not such a file, or its lists are missing.
        EnvironmentFault: the library that reads it is not installed.
    """
    return _read_actionvlad(path) if path.suffix.lower() == ".h5" else _read_ltc(path)


def _read_actionvlad(path: Path) -> ScoreTable:
    split = re.search(r"split(\d)$", path.stem)
    if split is None:
        raise ValueError(
            f"{printable(path.name)} names no split, such as rgb_split1.h5, so nobody knows its "
            "list of videos."
        )
    every_video = _beside(path, "AllVideos.txt").read_text(encoding="utf-8").splitlines()
    lines = _beside(path, f"test_split{split[1]}.txt").read_text(encoding="utf-8").splitlines()
    videos, labels = [], []
    for line in lines:
        found = re.fullmatch(r"[^/]+/(\d+) \d+ (\d+)", line)
        if found is None or not 0 < int(found[1]) <= len(every_video):
            raise ValueError(
                f"The list of {printable(path.name)} has a line {shortened(line)}, which is no "
                "CLASS/NUMBER FRAMES LABEL."
            )
        videos.append(every_video[int(found[1]) - 1])  # numbers are lines of that list
        labels.append(int(found[2]))
    classes = {label: video.partition("/")[0] for label, video in zip(labels, videos, strict=True)}
    names = tuple(classes[label] for label in sorted(classes))
    h5py = _library("h5py", path)
    try:
        with h5py.File(path) as file:
            logits = np.asarray(file["stream0/logits"], dtype=np.float64)
    except Exception as error:  # whatever the library makes of a damaged file
        raise ValueError(
            f"{printable(path.name)} holds no stream0/logits: {shortened(str(error))}"
        ) from None
    logits = logits.reshape(len(logits), -1)
    return ScoreTable(path.name, tuple(videos), names, logits, np.array(labels, dtype=np.int64))


def _beside(path: Path, name: str) -> Path:
    """A list of the same data set: beside the scores, or where the authors' repository has it."""
    for folder in (path.parent, path.parent.parent / "train_test_lists"):
        found = sorted(folder.glob(f"*{name}"))
        if found:
            return found[0]
    raise ValueError(
        f"{printable(path.name)} needs the list {name} of its repository, beside it or in "
        "../train_test_lists."
    )


def _read_ltc(path: Path) -> ScoreTable:
    io: Any = _library("scipy.io", path)
    try:
        found = io.loadmat(path, variable_names=["scores_idt", "gt_idt", "vn_idt"])
        scores = np.asarray(found["scores_idt"], dtype=np.float64)
        labels = found["gt_idt"].ravel().astype(np.int64) - 1  # MATLAB counts from 1
        videos = tuple(str(name.item()) for name in found["vn_idt"].ravel())
    except Exception as error:  # whatever the library makes of a damaged file
        raise ValueError(
            f"{printable(path.name)} holds no scores_idt, gt_idt, vn_idt: {shortened(str(error))}"
        ) from None
    return ScoreTable(path.name, videos, None, scores, labels)


def _library(name: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise EnvironmentFault(
            f"{printable(path.name)} is read by {name.partition('.')[0]}, which is not installed. "
            "Run: pip install 'praxino[scores]'"
        ) from None


# --- what is published of them -------------------------------------------------------------------


class Hmdb51Scores:
    """The published scores of HMDB51 in a folder, wherever in it they lie.

    Args:
        folder: that holds ActionVLAD's files, LTC's, or both.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def _table(self, ending: str) -> ScoreTable:
        found = sorted(self.folder.rglob(f"*{ending}"))
        if not found:
            raise FileNotFoundError(f"no {ending} in {printable(self.folder)}")
        return read_published(found[0])

    def rgb(self, split: int) -> ScoreTable:
        """ActionVLAD's logits of colours."""
        return self._table(f"rgb_split{split}.h5")

    def flow(self, split: int) -> ScoreTable:
        """ActionVLAD's logits of flow."""
        return self._table(f"flow_split{split}.h5")

    def idt(self, split: int) -> ScoreTable:
        """LTC's scores of an SVM on improved dense trajectories."""
        return self._table(f"idt_split{split}.mat")

    def both_streams(self, split: int) -> ScoreTable:
        """Colours and flow, 1 : 2."""
        return fuse_tables([self.rgb(split), self.flow(split)], weights=(1, 2)).table

    def with_idt(self, split: int) -> ScoreTable:
        """Both streams and the SVM, each video's scores of length one, 3 : 1."""
        tables = [self.both_streams(split), self.idt(split)]
        return fuse_tables(tables, weights=(0.75, 0.25), scale="l2").table


# Percentages of splits 1, 2 and 3, and their mean, in the README of ActionVLAD's repository.
_PAGE = "README of rohitgirdhar/ActionVLAD"
_TABLE: dict[str, tuple[Callable[[Hmdb51Scores, int], ScoreTable], tuple[str, ...]]] = {
    "ActionVLAD, RGB": (Hmdb51Scores.rgb, ("51.4", "49.2", "48.6", "49.7")),
    "ActionVLAD, flow": (Hmdb51Scores.flow, ("59.0", "59.7", "60.6", "59.8")),
    "ActionVLAD, RGB + 2 flow": (Hmdb51Scores.both_streams, ("66.7", "66.5", "66.3", "66.5")),
    "iDT": (Hmdb51Scores.idt, ("56.7", "57.2", "57.8", "57.2")),
    "ActionVLAD + iDT": (Hmdb51Scores.with_idt, ("70.1", "69.0", "70.1", "69.7")),
}


def verify_scores(folder: str | Path | None) -> Iterator["Comparison"]:
    """Compare what is published of the score files with what they give, a row for each system.

    Args:
        folder: that holds them; None: nobody has said where they are.
    """
    from praxino.verify import Comparison  # brings torch, which reading scores does without

    def row(system: str, ours: str, verdict: "Verdict", why: str = "") -> Comparison:
        what, published = "HMDB51, splits 1, 2, 3 and mean, %", ", ".join(_TABLE[system][1])
        return Comparison(system, what, published, ours, verdict, _PAGE, why)

    for system, (table, published) in _TABLE.items():
        if folder is None:
            why = f"--scores FOLDER, or {VARIABLE}, says where the published score files are"
            yield row(system, "", "not at hand", why)
            continue
        try:
            tables = [table(Hmdb51Scores(folder), split) for split in SPLITS]
        except (FileNotFoundError, EnvironmentFault) as error:
            yield row(system, "", "not at hand", str(error))
            continue
        found = [100 * (table.accuracy() or 0.0) for table in tables]
        found.append(sum(found) / len(found))
        equal = all(f"{value:.1f}" == said for value, said in zip(found, published, strict=True))
        ours = ", ".join(f"{value:.2f}" for value in found)
        yield row(system, ours, "equal" if equal else "differs")
