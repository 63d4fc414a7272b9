"""TPN: the tempos, and MMAction2's network."""

from typing import Any

import pytest
import torch
from torch import Tensor

from praxino.layer_table import count_parameters
from praxino.models import convert_state_dict, create_model
from praxino.models.tpn import Tempo
from praxino.weights.fitting import check_fit


def auxiliary(classes: int) -> int:
    """Parameters of the classifier on res4, which we have not."""
    return 1024 * 2048 * 3 * 3 + 2 * 2048 + 2048 * classes + classes


@pytest.mark.slow
def test_equals_the_reference(equals_golden: Any) -> None:
    def forward(model: Any, clips: Tensor) -> Tensor:
        logits: Tensor = model(clips[:, 0])
        return logits

    model = equals_golden(
        "mmaction2/tpn_slowonly_r50_8x8",
        "tpn_slow_r50",
        "mmaction2",
        forward=forward,
        case=None,
        same_parameters=False,  # the auxiliary classifier
        same_norms=False,  # and its norm
    )
    assert count_parameters(model) + auxiliary(400) == 91_498_336


@pytest.mark.parametrize(
    ("name", "classes", "published"),
    [("tpn_slow_r50", 400, 91_498_336), ("tpn_tsm_r50", 174, 82_445_724)],
)
def test_has_the_published_parameters_but_the_auxiliary_classifier(
    name: str, classes: int, published: int
) -> None:
    with torch.device("meta"):
        model = create_model(name)
    assert count_parameters(model) + auxiliary(classes) == published


def test_a_tempo_is_the_largest_of_eight_frames() -> None:
    tempo = Tempo(32, 32)
    with torch.no_grad():
        tempo.conv.weight.zero_()
        tempo.conv.weight[:, :, 1] = 1  # a frame as it is
        slow = tempo(torch.arange(9.0).view(1, 1, 9, 1, 1).expand(-1, 32, -1, -1, -1))
    assert slow.shape == (1, 32, 2, 1, 1)
    assert slow[0, 0, :, 0, 0].tolist() == [7, 8]


def test_reads_mmaction2s_tpn_on_tsm() -> None:
    with torch.device("meta"):
        model: Any = create_model("tpn_tsm_r50")
    theirs = {
        "pyramid.semantics.": "neck.spatial_modulation.spatial_modulation.0.0.",
        "pyramid.tempos.0.conv.": "neck.temporal_modulation_ops.0.conv.conv.",
        "pyramid.tempos.1.conv.": "neck.temporal_modulation_ops.1.conv.conv.",
        "pyramid.upward.": "neck.downsample_ops.0.conv.conv.",
        "pyramid.join_downward.levels.0.": "neck.level_fusion_1.downsamples.0.conv.",
        "pyramid.join_downward.levels.1.": "neck.level_fusion_1.downsamples.1.conv.",
        "pyramid.join_downward.conv.": "neck.level_fusion_1.fusion_conv.",
        "pyramid.join_upward.levels.0.": "neck.level_fusion_2.downsamples.0.conv.",
        "pyramid.join_upward.levels.1.": "neck.level_fusion_2.downsamples.1.conv.",
        "pyramid.join_upward.conv.": "neck.level_fusion_2.fusion_conv.",
        "pyramid.fuse.": "neck.pyramid_fusion.",
        "trunk.backbone.features.": "backbone.",
        "head.": "cls_head.fc_cls.",
    }
    state = {"neck.aux_head.fc.bias": torch.zeros(174)}
    for name, value in model.state_dict().items():
        ours = next(ours for ours in theirs if name.startswith(ours))
        name = theirs[ours] + name.removeprefix(ours)
        if ours.startswith("pyramid."):
            name = name.replace(".norm.", ".bn.")
        if ours.startswith("trunk."):
            name = name.replace("downsample.0", "downsample.conv")
            name = name.replace("downsample.1", "downsample.bn")
            for number in "123":
                shifted = ".net" if number == "1" and "layer" in name else ""
                name = name.replace(f"conv{number}.", f"conv{number}.conv{shifted}.")
                name = name.replace(f"bn{number}.", f"conv{number}.bn.")
        state[name] = value
    check_fit(model, convert_state_dict(state, source="mmaction2", model=model), "TPN on TSM")


def test_shifts_before_the_pyramid() -> None:
    """What one frame shows reaches the map of its neighbour."""
    torch.manual_seed(0)
    model: Any = create_model("tpn_tsm_r50", 3, frames=3, size=32).eval()
    clip = torch.randn(1, 3, 3, 32, 32)
    other = clip.clone()
    other[:, :, 0] = 0
    with torch.no_grad():
        fast, changed = model.trunk.levels(clip)[0], model.trunk.levels(other)[0]
    assert not torch.allclose(fast[:, :, 1], changed[:, :, 1])


@pytest.mark.parametrize("width", [0, 7])
def test_groups_share_the_channels(width: int) -> None:
    with pytest.raises(ValueError, match=f"width must be even, got {width}"):
        create_model("tpn_slow_r50", width=width)
