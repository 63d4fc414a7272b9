"""praxino sees what people do in video: train, evaluate and predict actions.

Importing this package is cheap: torch comes with the first name that needs it.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from praxino.convert import convert as convert
    from praxino.datasets.manifest import Manifest as Manifest
    from praxino.datasets.pointlight import render_pointlight as render_pointlight
    from praxino.errors import VideoError as VideoError
    from praxino.evaluate import evaluate as evaluate
    from praxino.layer_table import layer_table as layer_table
    from praxino.models import convert_state_dict as convert_state_dict
    from praxino.models import create_model as create_model
    from praxino.models import list_models as list_models
    from praxino.predict import predict as predict
    from praxino.recipe import TrainConfig as TrainConfig
    from praxino.results import Evaluation as Evaluation
    from praxino.results import Recognition as Recognition
    from praxino.train import train as train
    from praxino.video.clip_spec import ClipSpec as ClipSpec
    from praxino.video.reader import open_video as open_video
    from praxino.weights.checkpoint import load_model as load_model

# Where each public name lives.
_HOME = {
    "ClipSpec": "praxino.video.clip_spec",
    "Evaluation": "praxino.results",
    "Manifest": "praxino.datasets.manifest",
    "Recognition": "praxino.results",
    "TrainConfig": "praxino.recipe",
    "VideoError": "praxino.errors",
    "convert": "praxino.convert",
    "convert_state_dict": "praxino.models",
    "create_model": "praxino.models",
    "evaluate": "praxino.evaluate",
    "layer_table": "praxino.layer_table",
    "list_models": "praxino.models",
    "load_model": "praxino.weights.checkpoint",
    "open_video": "praxino.video.reader",
    "predict": "praxino.predict",
    "render_pointlight": "praxino.datasets.pointlight",
    "train": "praxino.train",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in ("models", "datasets", "metrics", "video"):
        return importlib.import_module(f"praxino.{name}")
    raise AttributeError(f"praxino has no {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "datasets", "metrics", "models", "video"]


class _Package(types.ModuleType):
    """Keeps `praxino.train` the function once the file `train.py` has been imported.

    Python binds a submodule to its name in the package; some files are named after the one
    function that users call, and the function is what that name must mean.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType) and _HOME.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
