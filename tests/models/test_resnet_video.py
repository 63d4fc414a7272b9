"""C2D, I3D-R50, Slow: against the references; weights from Caffe2; the last pooling."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.models import convert_state_dict, create_model
from praxino.models.resnet_video import AverageWindows
from praxino.weights.fitting import State, load_strict


def first_view(model: Any, views: Tensor) -> Tensor:
    result: Tensor = model(views[:, 0])
    return result


def windows(model: Any, clip: Tensor) -> list[Tensor]:
    """What PySlowFast evaluates by, and the logits below it."""
    logits = model.forward_windows(clip)
    return [logits.softmax(-1).mean((1, 2)), logits[:, None]]


GOLDENS = [
    ("mmaction2/slowonly_r50_8x8", "slow_r50", "small", first_view),
    ("mmaction2/c2d_r50_8x8", "c2d_mmaction2_r50", "small", first_view),
    ("mmaction2/i3d_r50_32x2", "i3d_r50_32x2", "small", first_view),
    ("pytorchvideo/slow_r50", "slow_r50", None, None),
    ("pytorchvideo/c2d_r50", "c2d_r50", None, None),
    ("pyslowfast/slow_8x8_r50", "slow_r50", None, windows),
    ("pyslowfast/i3d_8x8_r50", "i3d_r50", None, windows),
    # Despite its name, this run of the reference halved time.
    ("pyslowfast/c2d_nopool_8x8_r50", "c2d_r50", None, windows),
]


@pytest.mark.parametrize(
    ("path", "name", "case", "forward"),
    [pytest.param(*row, marks=[] if row[2] else [pytest.mark.slow]) for row in GOLDENS],
    ids=[row[0] for row in GOLDENS],
)
def test_equals_the_reference(
    equals_golden: Any, path: str, name: str, case: str | None, forward: Any
) -> None:
    equals_golden(path, name, path.split("/")[0], case=case, forward=forward)


def test_windows_count_the_border_less() -> None:
    maps = torch.zeros(1, 1, 3, 8, 8)
    maps[..., 0, :] = 1  # the uppermost row, 8 of 64 positions, is in half of the windows
    inside = AverageWindows(7)(maps)
    assert inside.shape == (1, 1, 1, 2, 2)
    torch.testing.assert_close(inside.mean(), torch.tensor(1 / 7 / 2))
    torch.testing.assert_close(AverageWindows(None)(maps).mean(), torch.tensor(1 / 8))
    assert AverageWindows(7)(maps[..., :5, :]).shape == (1, 1, 1, 1, 2)


def test_logits_are_the_mean_of_the_windows() -> None:
    torch.manual_seed(0)
    model: Any = create_model("slow_r50", 3, frames=2, width=8).eval()
    clip = torch.randn(1, 3, 2, 256, 256)
    with torch.no_grad():
        found = model.forward_windows(clip)
        assert found.shape == (1, 2, 2, 3)
        torch.testing.assert_close(model(clip), found.mean((1, 2)))


def test_a_clip_that_is_too_short_to_be_halved() -> None:
    with pytest.raises(ValueError, match=r"C2D needs T of at least 2, got T=1"):
        create_model("c2d_r50", 3, width=8)(torch.zeros(1, 3, 1, 32, 32))
    with pytest.raises(ValueError, match=r"I3D needs T of at least 5, got T=4"):
        create_model("i3d_r50_32x2", 3, width=8)(torch.zeros(1, 3, 4, 32, 32))
    with pytest.raises(ValueError, match=r"C2D needs H and W of at least 5, got 4 x 32"):
        create_model("c2d_mmaction2_r50", 3, width=8)(torch.zeros(1, 3, 2, 4, 32))


# Blobs as they stand in PySlowFast's Caffe2 files, beside our names; written by hand.
OF_I3D_NL = {
    "conv1_w": "trunk.conv1.conv.weight",
    "res_conv1_bn_s": "trunk.conv1.norm.weight",
    "res_conv1_bn_b": "trunk.conv1.norm.bias",
    "res_conv1_bn_rm": "trunk.conv1.norm.running_mean",
    "res_conv1_bn_riv": "trunk.conv1.norm.running_var",
    "res2_0_branch1_w": "trunk.res2.0.shortcut.conv.weight",
    "res2_0_branch1_bn_s": "trunk.res2.0.shortcut.norm.weight",
    "res3_1_branch2a_w": "trunk.res3.1.layer.conv_a.conv.weight",
    "res3_1_branch2b_bn_riv": "trunk.res3.1.layer.conv_b.norm.running_var",
    "res4_2_branch2c_bn_b": "trunk.res4.2.conv_c.norm.bias",
    "nonlocal_conv3_1_theta_w": "trunk.res3.1.non_local.theta.weight",
    "nonlocal_conv3_1_phi_b": "trunk.res3.1.non_local.phi.bias",
    "nonlocal_conv4_5_g_w": "trunk.res4.5.non_local.g.weight",
    "nonlocal_conv4_3_out_b": "trunk.res4.3.non_local.out.bias",
    "nonlocal_conv4_3_bn_s": "trunk.res4.3.non_local.norm.weight",
    "nonlocal_conv4_3_bn_rm": "trunk.res4.3.non_local.norm.running_mean",
    "pred_w": "head.weight",
    "pred_b": "head.bias",
}
OF_SLOWFAST = {
    "conv1_w": "slow.conv1.conv.weight",
    "t_conv1_w": "fast.conv1.conv.weight",
    "res_conv1_bn_riv": "slow.conv1.norm.running_var",
    "t_res_conv1_bn_s": "fast.conv1.norm.weight",
    "res2_0_branch2a_w": "slow.res2.0.conv_a.conv.weight",
    "t_res2_0_branch2a_w": "fast.res2.0.conv_a.conv.weight",
    "t_res5_0_branch1_bn_b": "fast.res5.0.shortcut.norm.bias",
    "t_pool1_subsample_w": "lateral.pool1.conv.weight",
    "t_pool1_subsample_bn_s": "lateral.pool1.norm.weight",
    "t_res2_2_branch2c_bn_subsample_w": "lateral.res2.conv.weight",
    "t_res4_5_branch2c_bn_subsample_bn_riv": "lateral.res4.norm.running_var",
    "pred_w": "head.weight",
}
THIN: dict[str, Any] = {"frames": 8, "size": 32, "width": 16}
CAFFE2 = [("i3d_nl_r50", OF_I3D_NL), ("slowfast_r50", OF_SLOWFAST)]


@pytest.mark.parametrize(("name", "blobs"), CAFFE2, ids=[row[0] for row in CAFFE2])
def test_knows_the_blobs_of_caffe2(name: str, blobs: dict[str, str]) -> None:
    model = create_model(name, 3, **THIN)
    one = torch.zeros(1)
    for blob, ours in blobs.items():
        assert list(convert_state_dict({blob: one}, source="caffe2", model=model)) == [ours]
        assert ours in model.state_dict()


@pytest.mark.parametrize("name", ["i3d_nl_r50", "slowfast_r50", "c2d_nopool_r50", "slow_r101"])
def test_a_whole_caffe2_file_loads_strictly(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, 3, **THIN)
    kept = {key: value for key, value in model.state_dict().items() if value.is_floating_point()}
    blobs: State = {caffe2_name(key): torch.rand_like(value) for key, value in kept.items()}
    assert len(blobs) == len(kept)
    of_the_optimiser = {"conv1_w_momentum": blobs["conv1_w"], "lr": torch.ones(1)}
    extra = of_the_optimiser | {"model_iter": torch.ones(1, dtype=torch.int64)}
    load_strict(model, convert_state_dict(blobs | extra, source="caffe2", model=model), "file.pkl")
    for key, value in model.state_dict().items():
        if key in kept:
            assert torch.equal(value, blobs[caffe2_name(key)]), key


def caffe2_name(ours: str) -> str:
    """The way back, by the pattern of the tables above."""
    path, leaf = ours.rsplit(".", 1)
    path = path.replace(".layer", "")
    in_fast = path.startswith(("fast.", "lateral."))
    kind = {"weight": "w", "bias": "b"}[leaf] if not path.endswith("norm") else NORM[leaf]
    path = re.sub(r"^(trunk|slow|fast)\.|\.(conv|norm)$", "", path)
    path = re.sub(r"^(lateral\.\w+|.*shortcut|.*conv_[abc]|conv1)\.?$", r"\1", path)
    if path == "head":
        return f"pred_{kind}"
    if path == "conv1":
        path = "conv1" if kind == "w" else "res_conv1"
    path = path.replace("lateral.pool1", "pool1_subsample")
    path = re.sub(r"^lateral\.(res\d)", lambda m: f"{LAST[m[1]]}_branch2c_bn_subsample", path)
    path = re.sub(r"^res(\d)\.(\d+)\.non_local\.?", r"nonlocal_conv\1_\2.", path)
    path = re.sub(r"\.conv_([abc])$", r".branch2\1", path.replace(".shortcut", ".branch1"))
    return ("t_" if in_fast else "") + f"{path}.{kind}".replace("..", ".").replace(".", "_")


NORM = {"weight": "bn_s", "bias": "bn_b", "running_mean": "bn_rm", "running_var": "bn_riv"}
LAST = {"res2": "res2_2", "res3": "res3_3", "res4": "res4_5"}
