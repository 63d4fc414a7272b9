"""Non-local blocks: what they compute, what they begin as, and where they can stand."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from praxino.models import convert_state_dict, create_model
from praxino.models.non_local import NonLocal, insert_non_local

EVERY_KIND = ["gaussian", "embedded_gaussian", "dot_product", "concatenation"]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def woken(block: NonLocal) -> NonLocal:
    """One that no longer is the identity."""
    torch.manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.eval()


@pytest.mark.parametrize("pairwise", EVERY_KIND)
@pytest.mark.parametrize("pool", ["input", "embedding", None])
def test_is_the_identity_until_it_learns(pairwise: Any, pool: Any) -> None:
    block, maps = NonLocal(6, pairwise=pairwise, pool=pool), noise(2, 6, 3, 4, 5)
    assert torch.equal(block(maps), maps)
    assert not torch.equal(woken(block)(maps), maps)


@pytest.mark.parametrize("scale", [True, False])
def test_embedded_gaussian_is_attention(scale: bool) -> None:
    block = woken(NonLocal(8, scale=scale, pool=None))
    maps = noise(2, 8, 2, 3, 4)
    theta, phi, g = (
        part(maps).flatten(2).transpose(1, 2) for part in (block.theta, block.phi, block.g)
    )
    attention = scaled_dot_product_attention(theta, phi, g, scale=None if scale else 1.0)
    seen = attention.transpose(1, 2).reshape(2, 4, 2, 3, 4)
    torch.testing.assert_close(block(maps), maps + block.norm(block.out(seen)))


def test_gaussian_compares_positions_as_they_are() -> None:
    block = woken(NonLocal(4, pairwise="gaussian", pool=None))
    theta, phi = noise(1, 6, 4), noise(1, 5, 4, seed=1)
    similar = torch.exp((theta[:, :, None] * phi[:, None]).sum(-1))
    expected = similar / similar.sum(2, keepdim=True)  # equations 1 and 2
    torch.testing.assert_close(block.pair_weights(theta, phi), expected)
    assert isinstance(block.theta, nn.Identity)


def test_dot_product_is_divided_by_the_number_of_positions() -> None:
    block = woken(NonLocal(4, pairwise="dot_product", pool=None))
    theta, phi = torch.ones(1, 3, 2), torch.full((1, 5, 2), 4.0)
    assert torch.equal(block.pair_weights(theta, phi), torch.full((1, 3, 5), 2 * 4 / 5))


def test_concatenation_is_a_learned_relu_of_both() -> None:
    block = woken(NonLocal(6, pairwise="concatenation", pool=None))
    theta, phi = noise(2, 4, 3), noise(2, 5, 3, seed=1)
    pairs = torch.cat(
        [theta[:, :, None].expand(2, 4, 5, 3), phi[:, None].expand(2, 4, 5, 3)], dim=-1
    )
    expected = relu(block.pair(pairs))[..., 0] / 5  # equation 5
    torch.testing.assert_close(block.pair_weights(theta, phi), expected)
    assert (expected > 0).any()
    assert (expected == 0).any()


@pytest.mark.parametrize(("pool", "seen"), [("input", 12), ("embedding", 12), (None, 60)])
def test_pooling_leaves_fewer_positions_to_look_at(
    pool: Literal["input", "embedding"] | None, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = NonLocal(4, pool=pool)
    shapes = []

    def note(theta: Tensor, phi: Tensor) -> Tensor:
        shapes.append((theta.shape[1], phi.shape[1]))
        return NonLocal.pair_weights(block, theta, phi)

    monkeypatch.setattr(block, "pair_weights", note)
    block(noise(1, 4, 3, 4, 5))  # 3 x 4 x 5 positions, 3 x 2 x 2 after pooling
    assert shapes == [(60, seen)]


def test_frames_can_be_pooled_too() -> None:
    block = NonLocal(4, pool_frames=2)
    assert block.pool_input(noise(1, 4, 4, 4, 4)).shape == (1, 4, 2, 2, 2)


@pytest.mark.parametrize("out_bias", [True, False])
def test_a_bias_before_the_norm_is_there_for_weights_that_have_one(out_bias: bool) -> None:
    """PySlowFast's have; in training the norm takes it away again, so MMAction2 does without."""
    block = woken(NonLocal(4, pool=None, out_bias=out_bias))
    assert ("out.bias" in block.state_dict()) == out_bias
    if block.out.bias is not None:
        maps = noise(2, 4, 3, 2, 2)
        trained, evaluated = block.train()(maps), block.eval()(maps)
        nn.init.constant_(block.out.bias, 3.0)
        torch.testing.assert_close(block.train()(maps), trained, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(block.eval()(maps), evaluated)


def test_a_map_that_is_too_small_to_be_pooled() -> None:
    with pytest.raises(ValueError, match=r"pools 1 x 2 x 2 positions, got a map of 3 x 1 x 4\."):
        NonLocal(4)(noise(1, 4, 3, 1, 4))
    assert NonLocal(4, pool=None)(noise(1, 4, 3, 1, 4)).shape == (1, 4, 3, 1, 4)


ANYWHERE = [
    ("r3d_18", {"frames": 4, "size": 32}, ["stage1.0", "stage2", "stage3.1.conv1.norm"]),
    ("slowfast_r50", {"frames": 8, "size": 32, "width": 16}, ["fast.res2", "slow.res3.1"]),
    ("c2d_r50", {"frames": 4, "size": 32, "width": 16}, ["trunk.pool1", "trunk.res4.5"]),
    ("x3d_xs", {"frames": 2, "size": 32}, ["res3.1", "conv5"]),
]


@pytest.mark.parametrize(("name", "options", "after"), ANYWHERE, ids=[row[0] for row in ANYWHERE])
def test_can_be_inserted_anywhere(name: str, options: dict[str, Any], after: list[str]) -> None:
    torch.manual_seed(0)
    model: Any = create_model(name, 3, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.ones_(module.weight)  # so that the maps say something
    spec = model.clip_spec
    clip = noise(2, 3, spec.frames, spec.size, spec.size)
    with torch.no_grad():
        before = model(clip)
        insert_non_local(model, after, pool=None)
        assert torch.equal(model(clip), before)
        assert not model.training
        for part in after:
            woken(model.get_submodule(part).non_local)
        assert not torch.equal(model(clip), before)


def test_inserting_refuses_what_is_no_map_and_changes_nothing() -> None:
    model = create_model("r3d_18", 3, frames=4, size=32)
    names = list(model.state_dict())
    with pytest.raises(ValueError, match=r"R3d has no layer 'stage9'\. Did you mean 'stage"):
        insert_non_local(model, ["stage1", "stage9"])
    with pytest.raises(ValueError, match=r"'head' of R3d gives \(1, 3\)\. Name another layer"):
        insert_non_local(model, ["stage1", "head"])
    frames = create_model("single_frame_resnet18", 3, frames=2, size=32)
    with pytest.raises(ValueError, match=r"needs a map \(B, C, T, H, W\), and .* gives \(2, 64, "):
        insert_non_local(frames, ["backbone.features.layer1"])
    assert list(model.state_dict()) == names
    assert model.training


def first_view(model: Any, views: Tensor) -> Tensor:
    result: Tensor = model(views[:, 0])
    return result


def windows(model: Any, clip: Tensor) -> list[Tensor]:
    """What PySlowFast evaluates by, and the logits below it."""
    logits = model.forward_windows(clip)
    return [logits.softmax(-1).mean((1, 2)), logits[:, None]]


def test_equals_mmaction2(equals_golden: Any) -> None:
    equals_golden(
        "mmaction2/i3d_r50_nl_dot_product",
        "i3d_nl_r50_32x2",
        "mmaction2",
        options={"pairwise": "dot_product"},
        forward=first_view,
    )


@pytest.mark.slow
def test_equals_pyslowfast(equals_golden: Any) -> None:
    equals_golden(
        "pyslowfast/i3d_nln_8x8_r50", "i3d_nl_r50", "pyslowfast", forward=windows, case=None
    )


def test_mmaction2_has_blocks_behind_other_bottlenecks_of_slow() -> None:
    """By its names: behind 0 and 2 of res3, 0, 2 and 4 of res4, and no bias before the norm."""
    with torch.device("meta"):
        model = create_model("slow_nl_mmaction2_r50", 3, width=8)
        others = create_model("slow_nl_r50", 3, width=8)
    state = model.state_dict()
    places = {name.partition(".non_local")[0] for name in state if ".non_local" in name}
    assert places == {
        f"trunk.{place}" for place in ("res3.0", "res3.2", "res4.0", "res4.2", "res4.4")
    }
    theirs = {
        "backbone.layer2.0.non_local_block.conv_out.conv.weight": "res3.0.non_local.out.weight",
        "backbone.layer2.0.non_local_block.g.0.conv.bias": "res3.0.non_local.g.bias",
        "backbone.layer3.4.non_local_block.theta.conv.weight": "res4.4.non_local.theta.weight",
        "backbone.layer3.4.conv2.bn.weight": "res4.4.layer.conv_b.norm.weight",
    }
    renamed = convert_state_dict(
        dict.fromkeys(theirs, torch.zeros(1)), source="mmaction2", model=model
    )
    assert list(renamed) == [f"trunk.{ours}" for ours in theirs.values()]
    assert set(renamed) <= set(state)
    assert {name for name in others.state_dict() if name.endswith("non_local.out.bias")} == {
        f"trunk.{place}.non_local.out.bias"
        for place in ("res3.1", "res3.3", "res4.1", "res4.3", "res4.5")
    }


def test_slowfast_has_blocks_in_slow() -> None:
    with torch.device("meta"):
        model = create_model("slowfast_nl_r50", 3, width=16)
    name = "s4.pathway0_nonlocal5.conv_phi.bias"
    state = convert_state_dict({name: torch.zeros(1)}, source="pyslowfast", model=model)
    assert list(state) == ["slow.res4.5.non_local.phi.bias"]
    assert set(state) <= set(model.state_dict())
    assert model.get_submodule("lateral.res2.conv").kernel_size == (5, 1, 1)
