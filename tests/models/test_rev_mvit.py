"""Reversible MViT against PySlowFast's, and its backward pass against autograd's own."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.models import rev_mvit
from praxino.models.rev_mvit import RevMvit


def probabilities(model: Any, clip: Tensor) -> list[Tensor]:
    """PySlowFast answers with probabilities, and has logits underneath."""
    logits = model(clip)
    return [logits.softmax(1), logits]


@pytest.mark.slow
def test_equals_its_reference(equals_golden: Callable[..., nn.Module]) -> None:
    equals_golden(
        "pyslowfast/rev_mvit_b_16x4", "rev_mvit_b", "pyslowfast", forward=probabilities, case=None
    )


def small(depth: int = 5, drop_path: float = 0.5) -> RevMvit:
    torch.manual_seed(0)
    return RevMvit(
        3,
        depth,
        (1, 3),
        frames=4,
        stride=4,
        size=32,
        width=8,
        drop_path=drop_path,
    )


class Remembering:
    """The same blocks, whose activations autograd keeps."""

    @staticmethod
    def apply(
        blocks: Sequence[nn.Module], kept: Sequence[Tensor], *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        first, second = tensors[:2]
        for block, keep in zip(blocks, kept, strict=True):
            first, second = block(first, second, keep)
        return first, second


def gradients(model: RevMvit, reduced: bool = False) -> dict[str, Tensor]:
    clip = torch.randn(3, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)  # of what is skipped
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        loss = model(clip).square().sum()
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("reduced", "tolerance"), [(False, 1e-4), (True, 0.03)])
def test_what_it_computes_again_gives_the_same_gradients(
    reduced: bool, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small().train()
    found = gradients(model, reduced)
    monkeypatch.setattr(rev_mvit, "_Forgetful", Remembering)
    expected = gradients(model, reduced)
    assert found.keys() == expected.keys() == dict(model.named_parameters()).keys()
    for name, value in expected.items():
        error = (found[name] - value).norm() / value.norm()
        # What is added to all keys alike changes no attention: its gradient is zero, but rounded.
        assert error < tolerance or name.endswith("pool_k.norm.bias"), name


def test_frozen_weights_get_no_gradient() -> None:
    model = small().train()
    everything = gradients(model)
    frozen = [name for name, _ in model.named_parameters() if ".qkv." in name or ".0.mlp." in name]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    rest = gradients(model)
    assert everything.keys() - rest.keys() == set(frozen)
    for name, value in rest.items():
        torch.testing.assert_close(value, everything[name])


def bytes_kept(model: RevMvit) -> int:
    """What autograd holds after the forward pass, weights left out."""
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(torch.randn(1, 3, 4, 32, 32))
    assert logits.requires_grad
    return sum(tensor.nbytes for tensor in kept.values())


def test_training_remembers_no_more_of_a_deeper_model(monkeypatch: pytest.MonkeyPatch) -> None:
    shallow, deep = small(depth=5).train(), small(depth=15).train()
    assert bytes_kept(deep) == bytes_kept(shallow)
    monkeypatch.setattr(rev_mvit, "_Forgetful", Remembering)
    assert bytes_kept(deep) > 1.5 * bytes_kept(shallow)


def test_a_block_that_is_skipped_adds_nothing() -> None:
    model = small(drop_path=0.999999).train()
    maps = torch.randn(2, 2, 2, 2, 32)
    last: Any = model.blocks[-1]
    kept = last.draw(maps)
    assert not kept.any()
    first, second = last(maps, 2 * maps, kept)
    assert torch.equal(first, maps)
    assert torch.equal(second, 2 * maps)
    model.eval()
    assert last.draw(maps).eq(1).all()
