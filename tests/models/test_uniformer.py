"""UniFormer against MMAction2's, whose weights it loads."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.models import convert_state_dict
from praxino.models.uniformer import uniformer_s


def first_batch(model: Any, clip: Tensor) -> Tensor:
    """MMAction2 has a dimension for the views of a video."""
    logits: Tensor = model(clip[:, 0])
    return logits


@pytest.mark.slow
def test_equals_its_reference(equals_golden: Callable[..., nn.Module]) -> None:
    equals_golden(
        "mmaction2/uniformer_small", "uniformer_s", "mmaction2", forward=first_batch, case=None
    )


def test_the_authors_names_are_mmaction2s_without_its_wrapping() -> None:
    model = uniformer_s(3, frames=4, size=32, width=8)
    theirs = {"patch_embed1.proj.bias": torch.zeros(8), "blocks1.0.attn.weight": torch.ones(8)}
    theirs |= {"blocks4.2.attn.qkv.bias": torch.ones(192), "head.bias": torch.zeros(3)}
    wrapped = {
        f"backbone.{name}" if "head" not in name else "cls_head.fc_cls.bias": value
        for name, value in theirs.items()
    }
    converted = convert_state_dict(theirs, source="sense_x", model=model)
    assert converted.keys() == {
        "patches1.proj.bias",
        "stage1.0.relations.2.weight",
        "stage4.2.relations.1.qkv.bias",
        "head.bias",
    }
    assert convert_state_dict(wrapped, source="mmaction2", model=model).keys() == converted.keys()


def test_epsilon_of_the_attention_blocks_is_an_option() -> None:
    model = uniformer_s(3, frames=4, size=32, width=8, norm_eps=1e-6)
    found = {n: m.eps for n, m in model.named_modules() if isinstance(m, nn.LayerNorm)}
    assert len(found) == 4 + 2 * (8 + 3)
    assert all(eps == (1e-5 if n.startswith("patches") else 1e-6) for n, eps in found.items())


def test_refuses_pictures_that_leave_nothing() -> None:
    model = uniformer_s(3, width=8)
    with pytest.raises(ValueError, match="UniFormer needs H and W of at least 32, got 31 x 40"):
        model(torch.zeros(1, 3, 4, 31, 40))
