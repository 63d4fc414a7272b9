"""Networks as names and shapes: no numbers, no memory, and hardly any time."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class ShapesOnly(TorchFunctionMode):
    """While this is active, models are built with weights on the meta device.

    Not `torch.device("meta")`: that takes in what some networks calculate from to be built, and it
    draws first weights, for which torch imports a thousand modules.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in (torch.empty, torch.zeros, torch.ones):
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)
