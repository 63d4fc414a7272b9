"""Keep parts of a model as they were loaded."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze_batch_norm(model: nn.Module) -> int:
    """Keep every batch norm as loaded: its statistics stop moving and its weights stop learning.

    `model.train()` sets batch norms to training again: call this after each `model.train()`.

    Returns:
        How many batch norms were frozen.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.eval()
        norm.requires_grad_(False)
    return len(norms)
