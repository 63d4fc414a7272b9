"""The table of all models: the rows of the papers' files, in alphabetical order."""

from praxino.models.c3d import MODELS as C3D
from praxino.models.c3d import PUBLISHED as C3D_PUBLISHED
from praxino.models.early_fusion import MODELS as EARLY_FUSION
from praxino.models.frame_difference import MODELS as FRAME_DIFFERENCE
from praxino.models.late_fusion import MODELS as LATE_FUSION
from praxino.models.r3d import MODELS as R3D
from praxino.models.row import ModelRow, Published
from praxino.models.single_frame import MODELS as SINGLE_FRAME
from praxino.models.single_frame import PUBLISHED as SINGLE_FRAME_PUBLISHED
from praxino.models.slow_fusion import MODELS as SLOW_FUSION
from praxino.models.small_3d import MODELS as SMALL_3D
from praxino.models.toy_columns import MODELS as TOY_COLUMNS
from praxino.models.x3d import MODELS as X3D
from praxino.models.x3d import PUBLISHED as X3D_PUBLISHED

_PAPERS = (
    C3D,
    EARLY_FUSION,
    FRAME_DIFFERENCE,
    LATE_FUSION,
    R3D,
    SINGLE_FRAME,
    SLOW_FUSION,
    SMALL_3D,
    TOY_COLUMNS,
    X3D,
)

MODELS: dict[str, ModelRow] = dict(sorted(row for paper in _PAPERS for row in paper.items()))

# What `praxino verify` checks.
PUBLISHED: tuple[Published, ...] = (
    *C3D_PUBLISHED,
    *SINGLE_FRAME_PUBLISHED,
    *X3D_PUBLISHED,
)
