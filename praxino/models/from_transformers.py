"""The library transformers, on which some models stand: an extra, and slow to import."""

import importlib
from typing import Any

from praxino.errors import EnvironmentFault


def transformers_for(model: str) -> Any:
    """The module `transformers`, imported now.

    Args:
        model: what it is needed for, for the message.

    Raises:
        EnvironmentFault: it is not installed, or does not load.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        missing = error.name == "transformers"
        reason = "which is not installed" if missing else f"which does not load: {error}"
        raise EnvironmentFault(
            f"{model} stands on transformers, {reason}. "
            "Install it with pip install 'praxino[models]'."
        ) from None
