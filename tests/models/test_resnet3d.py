"""Hara's 3D ResNets against their code: in its state of 2018 and of 2020."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.layer_table import count_parameters
from praxino.models import create_model, published_weights
from praxino.models.hara_r2plus1d import hara_r2plus1d_18
from praxino.models.preact_resnet3d import preact_resnet3d_18
from praxino.models.resnet3d import CHECKPOINTS, resnet3d_10, resnet3d_18
from praxino.models.resnext3d import resnext3d_50
from praxino.models.wide_resnet3d import wide_resnet3d_50

OLD, NEW = "resnets3d_cvpr2018", "resnets3d_kensho"
# golden, case, model, options
GOLDENS = [
    (f"{NEW}/r3d18_k700", "small", "resnet3d_18", {}),
    (f"{NEW}/r3d50_k700", "small", "resnet3d_50", {}),
    (f"{NEW}/r3d50_kms1139", "small", "resnet3d_50", {}),
    (f"{NEW}/r3d18_shortcutA_k400", "small", "resnet3d_18", {"shortcut": "A"}),
    (f"{NEW}/r3d34_shortcutA_k400", "small", "resnet3d_34", {"shortcut": "A"}),
    (f"{NEW}/r2p1d50_k700", "small", "hara_r2plus1d_50", {}),
    (f"{NEW}/wideresnet50_k2_k400", "small", "wide_resnet3d_50", {"widen_stem": True}),
    (f"{OLD}/resnet18_A", None, "resnet3d_18", {"shortcut": "A"}),
    (f"{OLD}/resnet50_B", None, "resnet3d_50", {}),
    (f"{OLD}/preact_resnet18_A", None, "preact_resnet3d_18", {"shortcut": "A"}),
    (f"{OLD}/resnext101_B", None, "resnext3d_101", {}),
    (f"{OLD}/wideresnet50_k2_B", None, "wide_resnet3d_50", {}),
]


@pytest.mark.slow  # most of it goes into making up tens of millions of weights
@pytest.mark.parametrize(
    ("path", "case", "name", "options"), GOLDENS, ids=[row[0] for row in GOLDENS]
)
def test_equals_the_reference(
    equals_golden: Any, path: str, case: str | None, name: str, options: dict[str, Any]
) -> None:
    equals_golden(path, name, "hara", options=options, case=case)


def as_hara_names(name: str) -> str:
    """The other way round than the converter, and without regular expressions."""
    for number in "1234":
        name = name.replace(f"stage{number}.", f"layer{number}.")
    for ours, theirs in (
        ("stem.conv.conv", "conv1"),
        ("stem.conv.norm", "bn1"),
        ("stem.conv.spatial.conv", "conv1_s"),
        ("stem.conv.spatial.norm", "bn1_s"),
        ("stem.conv.temporal.conv", "conv1_t"),
        ("stem.conv.temporal.norm", "bn1_t"),
        ("shortcut.conv", "downsample.0"),
        ("shortcut.norm", "downsample.1"),
        ("head", "fc"),
    ):
        name = name.replace(ours, theirs)
    for number in "123":
        for part, short in ((".spatial", "_s"), (".temporal", "_t"), ("", "")):
            name = name.replace(f".conv{number}{part}.conv.", f".conv{number}{short}.")
            name = name.replace(f".conv{number}{part}.norm.", f".bn{number}{short}.")
    return name


def saved_as_hara_does(model: nn.Module, path: Path, prefix: str) -> None:
    state = {f"{prefix}{as_hara_names(name)}": v for name, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.save(
        {
            "epoch": 200,
            "arch": "resnet-18",
            "state_dict": state,
            "optimizer": optimizer.state_dict(),
        },
        path,
    )


@pytest.mark.parametrize(
    ("build", "prefix", "theirs"),
    [
        (resnet3d_18, "", ["conv1.weight", "layer2.0.downsample.1.weight", "fc.weight"]),
        (resnet3d_18, "module.", ["module.bn1.weight", "module.layer4.1.conv2.weight"]),
        (preact_resnet3d_18, "module.", ["module.layer1.0.bn1.weight"]),
        (hara_r2plus1d_18, "", ["conv1_s.weight", "bn1_t.weight", "layer3.1.conv2_t.weight"]),
    ],
)
def test_a_file_saved_by_the_authors_code_loads(
    tmp_path: Path, build: Any, prefix: str, theirs: list[str]
) -> None:
    torch.manual_seed(0)
    small: dict[str, Any] = {"widen": 0.125, "frames": 4, "size": 32}
    trained = build(7, **small).eval()
    file = tmp_path / "r3d18_K_200ep.pth"
    saved_as_hara_does(trained, file, prefix)
    names = torch.load(file, weights_only=True)["state_dict"]
    assert set(theirs) <= set(names)
    loaded = create_model(build.__name__, weights=file, **small).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(clip), trained(clip))


@pytest.mark.parametrize("file", CHECKPOINTS)
def test_each_published_file_has_a_builder(file: str) -> None:
    name, options = CHECKPOINTS[file]
    with torch.device("meta"):
        model: Any = create_model(name, **options)
    assert model.head.out_features == options["num_classes"]
    year_2018 = file.endswith("-kinetics.pth")
    assert model.clip_spec.std == pytest.approx(
        (1 / 255,) * 3 if year_2018 else (0.2768, 0.2713, 0.2737)
    )
    depth = file.split("_")[0][3:] if not year_2018 else file.split("-")[1]
    assert name.endswith(f"_{depth}")


def test_the_mean_of_2018_is_subtracted_from_0_to_255() -> None:
    spec = resnet3d_10(3, widen=0.125, normalisation="activitynet").clip_spec
    colour = torch.tensor([10.0, 20.0, 30.0])
    normalised = (colour / 255 - torch.tensor(spec.mean)) / torch.tensor(spec.std)
    torch.testing.assert_close(normalised, colour - torch.tensor([114.7748, 107.7354, 99.4750]))


def test_shortcut_a_drops_positions_and_adds_empty_channels() -> None:
    model: Any = resnet3d_10(3, widen=0.125, shortcut="A")
    shortcut = model.stage2[0].shortcut
    maps = torch.randn(1, 8, 3, 4, 5, requires_grad=True)
    out: Tensor = shortcut(maps)
    assert out.shape == (1, 16, 2, 2, 3)
    assert torch.equal(out[:, :8], maps[:, :, ::2, ::2, ::2])
    assert not out[:, 8:].any()
    out.sum().backward()
    assert maps.grad is not None, "the authors' code cuts the gradient here"
    assert count_parameters(shortcut) == 0


def test_options_change_the_stem() -> None:
    plain: Any = resnet3d_10(3, widen=0.125)
    clip = torch.zeros(1, 3, 16, 64, 64)
    assert plain.forward_features(clip).shape == (1, 64, 1, 2, 2)
    larger: Any = resnet3d_10(3, widen=0.125, max_pool=False)
    assert larger.forward_features(clip).shape == (1, 64, 2, 4, 4)
    halved: Any = resnet3d_10(3, widen=0.125, max_pool=False, stem_stride=2, stem_frames=3)
    assert halved.stem.conv.conv.weight.shape == (8, 3, 3, 7, 7)
    assert halved.forward_features(clip).shape == (1, 64, 1, 4, 4)
    wide: Any = wide_resnet3d_50(3, k=0.25, widen_stem=True)
    assert wide.stem.conv.conv.out_channels == 16
    grouped: Any = resnext3d_50(3, widen=0.25, widen_stem=True)
    assert grouped.stem.conv.conv.out_channels == 32


def test_takes_optical_flow() -> None:
    model: Any = resnet3d_10(3, widen=0.125, stream="flow").eval()
    assert (model.clip_spec.inputs, model.clip_spec.mean) == (("flow",), (0.4345, 0.4051))
    assert model(torch.zeros(1, 2, 8, 32, 32)).shape == (1, 3)
    # Between the halves of the stem, as wide as for RGB.
    split: Any = hara_r2plus1d_18(3, stream="flow")
    assert split.stem.conv.spatial.conv.weight.shape == (110, 2, 1, 7, 7)


def test_says_what_an_option_may_be() -> None:
    wrong: Any = "C"
    with pytest.raises(ValueError, match=r"^shortcut is 'A' or 'B', not 'C'\.$"):
        resnet3d_10(3, shortcut=wrong)
    with pytest.raises(ValueError, match=r"^normalisation is 'kinetics' or 'activitynet', not 'C'"):
        resnet3d_10(3, normalisation=wrong)
    with pytest.raises(ValueError, match=r"Unknown input 'C'"):
        resnet3d_10(3, stream=wrong)
    with pytest.raises(
        ValueError, match=r"32 groups need widen to be a multiple of 0\.25, got 0\.3"
    ):
        create_model("resnext3d_50", 3, widen=0.3)
    with pytest.raises(ValueError, match=r"A first stage of 0\.64 channels has none"):
        resnet3d_10(3, widen=0.01)


def test_what_only_a_person_can_download_says_where_it_is() -> None:
    rows = published_weights("resnet3d_50")
    assert set(rows) >= {"kinetics400", "kinetics700", "kinetics700_moments_stair"}
    assert rows["kinetics700"].by_hand == "r3d50_K_200ep.pth"
    assert rows["kinetics700"].options == {}
    assert published_weights("resnet3d_18")["kinetics400"].options == {
        "normalisation": "activitynet",
        "shortcut": "A",
    }
    assert published_weights("resnext3d_101")["kinetics400_64_frames"].num_classes == 400


@pytest.mark.parametrize(("depth", "blocks"), [(101, 33), (152, 50), (200, 66)])
def test_deeper_wide_networks(depth: int, blocks: int) -> None:
    with torch.device("meta"):
        model: Any = create_model(f"wide_resnet3d_{depth}", k=0.5, widen_stem=True)
    stages = [getattr(model, f"stage{number}") for number in (1, 2, 3, 4)]
    assert sum(map(len, stages)) == blocks
    assert model.stem.conv.conv.out_channels == 32
