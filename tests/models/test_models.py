"""Finding, building and loading models by name."""

import dataclasses
import logging
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import praxino.models as models
from praxino.checked_json import checked
from praxino.models import create_model, list_models, load_weights, options_of, published_weights


def test_list_models_takes_shell_patterns() -> None:
    assert list_models("toy_*") == ["toy_3d", "toy_early_fusion", "toy_late_fusion"]
    assert list_models("nothing*") == []


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(
        ValueError, match=r"^There is no model named 'r3d_81'\. Did you mean 'r3d_18'\?$"
    ):
        create_model("r3d_81")
    with pytest.raises(ValueError, match=r"no model named 'zzz'\. There is: actionvlad, "):
        published_weights("zzz")


def test_an_unknown_option_gets_a_hint() -> None:
    with pytest.raises(
        TypeError, match=r"^small_3d has no option 'frame'\. Did you mean 'frames'\?$"
    ):
        create_model("small_3d", frame=8)
    with pytest.raises(TypeError, match="single_frame_resnet18 has no option 'backbone'"):
        create_model("single_frame_resnet18", backbone="vgg16")


def test_options_are_named_for_the_command_line() -> None:
    shared = ["frames", "size", "same_padding", "normalisation", "grey"]
    assert options_of("single_frame") == ["backbone", *shared]
    assert options_of("late_fusion_fc_resnet18") == ["hidden", *shared]
    assert options_of("c3d") == ["grey"]


def test_an_option_changes_the_model() -> None:
    model: Any = create_model("single_frame", 6, backbone="mobilenet_v2", frames=5, size=96)
    assert model.backbone.out_features == 1280
    assert (model.clip_spec.frames, model.clip_spec.size) == (5, 96)
    assert model.clip_spec.resize_short == 110


def test_unknown_weights_get_a_hint() -> None:
    with pytest.raises(
        ValueError,
        match=r"r3d_18 has no weights 'kinetics', and there is no such file\. "
        r"Did you mean 'kinetics400'\?",
    ):
        create_model("r3d_18", weights="kinetics")
    with pytest.raises(ValueError, match=r"small_3d has no weights 'imagenet'.* has published any"):
        create_model("small_3d", weights="imagenet")


def test_published_weights_follow_the_backbone() -> None:
    row = published_weights("single_frame", backbone="vgg16")["imagenet"]
    assert row.url == "https://download.pytorch.org/models/vgg16-397923af.pth"
    assert row.sha256_prefix == "397923af"
    assert row.accuracy == {"top1": 71.592, "top5": 90.382}
    assert row.mean is None
    assert published_weights("single_frame", backbone="googlenet")["imagenet"].mean == (0.5,) * 3
    assert published_weights("toy_3d") == {}


@pytest.mark.parametrize(
    ("name", "enum"),
    [
        ("mc3_18", "MC3_18_Weights"),
        ("r2plus1d_18", "R2Plus1D_18_Weights"),
        ("r3d_18", "R3D_18_Weights"),
        ("s3d", "S3D_Weights"),
    ],
)
def test_kinetics_weights_are_what_torchvision_states(name: str, enum: str) -> None:
    from torchvision.models import video

    ours, theirs = published_weights(name)["kinetics400"], getattr(video, enum).KINETICS400_V1
    assert ours.url == theirs.url
    assert ours.sha256_prefix in theirs.url
    assert ours.megabytes == theirs.meta["_file_size"]
    stated = theirs.meta["_metrics"]["Kinetics-400"]
    assert ours.accuracy == {"top1": stated["acc@1"], "top5": stated["acc@5"]}
    assert ours.num_classes == len(theirs.meta["categories"])


def small(num_classes: int, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return create_model("small_2d", num_classes)


def test_a_file_brings_its_classes(tmp_path: Path) -> None:
    save_file(small(7).state_dict(), tmp_path / "seven.safetensors")
    model: Any = create_model("small_2d", weights=tmp_path / "seven.safetensors")
    assert model.head.out_features == 7
    assert torch.equal(model.head.weight, small(7).head.weight)


def test_other_classes_get_a_new_head_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(small(7).state_dict(), tmp_path / "seven.safetensors")
    with caplog.at_level(logging.INFO, logger="praxino"):
        model: Any = create_model("small_2d", 3, weights=str(tmp_path / "seven.safetensors"))
    assert model.head.out_features == 3
    assert torch.equal(model.features[0][0].weight, small(7).features[0][0].weight)
    assert caplog.messages == [
        "seven.safetensors: the weights know 7 classes; a new head for 3 starts at random"
    ]


def test_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    save_file(create_model("small_3d", 5).state_dict(), tmp_path / "other.safetensors")
    model = small(3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        ValueError,
        match=r"other\.safetensors does not fit Small2d, 4 differences: features\.0\.0\.weight is "
        r"\(16, 3, 3, 5, 5\), the model has \(16, 3, 1, 5, 5\); ",
    ):
        load_weights(model, "small_2d", tmp_path / "other.safetensors", keep_head=True)
    assert model.head.out_features == 3
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_file_in_another_layout_is_recognised(tmp_path: Path) -> None:
    from torchvision.models import resnet18
    from torchvision.models.video import r3d_18

    torch.manual_seed(0)
    theirs = resnet18(num_classes=9).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours = create_model("single_frame_resnet18", weights=tmp_path / "resnet18.pth").eval()
    frames = torch.randn(2, 3, 1, 48, 48)
    with torch.no_grad():
        assert torch.equal(ours(frames), theirs(frames[:, :, 0]))
        torch.save({"state_dict": r3d_18(num_classes=4).state_dict()}, tmp_path / "r3d.pth")
    assert create_model("r3d_18", weights=tmp_path / "r3d.pth").head.out_features == 4  # type: ignore[union-attr]


def test_late_fusion_with_a_hidden_layer_starts_from_the_maps(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18()
    save_file(theirs.state_dict(), tmp_path / "r.safetensors")
    model: Any = create_model(
        "late_fusion_fc_resnet18", 5, frames=2, size=32, weights=tmp_path / "r.safetensors"
    )
    assert torch.equal(
        model.backbone.features.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight
    )
    assert model.head.out_features == 5


def test_published_normalisation_replaces_the_models_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "googlenet.safetensors"
    model: Any = create_model("single_frame", backbone="googlenet")
    save_file(model.state_dict(), file)
    row = published_weights("single_frame", backbone="googlenet")["imagenet"]
    monkeypatch.setattr(models, "fetch", lambda weights: file)
    monkeypatch.setitem(models.MODELS["single_frame"].layouts, "torchvision", lambda s, m: s)
    load_weights(model, "single_frame", row)
    assert model.clip_spec.mean == (0.5, 0.5, 0.5)


def test_published_weights_bring_their_options_and_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = dataclasses.replace(
        published_weights("r3d_18")["kinetics400"],
        num_classes=3,
        layout="torchvision",
        options={"frames": 4},
        clip={"frames_per_second": None, "stride_frames": 3, "size": 64, "resize_short": 64},
    )
    table = dataclasses.replace(models.MODELS["small_2d"], weights={"short": row})
    monkeypatch.setitem(models.MODELS, "small_2d", table)
    monkeypatch.setattr(models, "fetch", lambda weights: tmp_path / "short.safetensors")
    monkeypatch.setattr(models, "convert_state_dict", lambda state, **_: state)
    save_file(create_model("small_2d", 3, frames=4).state_dict(), tmp_path / "short.safetensors")

    def spec(**options: Any) -> tuple[object, ...]:
        found: Any = create_model("small_2d", weights="short", **options).clip_spec
        return found.frames, found.stride_frames, found.size, found.resize_short

    assert spec() == (4, 3, 64, 64)
    assert spec(frames=5)[:2] == (5, 3)  # what is asked for stays
    assert spec(size=48)[2:] == (48, create_model("small_2d", size=48).clip_spec.resize_short)  # type: ignore[union-attr]
    assert models.options_with("small_2d", "short", size=48) == {"frames": 4, "size": 48}
    assert models.options_with("small_2d", None, size=48) == {"size": 48}


def test_one_spacing_that_is_asked_for_replaces_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(models, "load_weights", lambda *_, **said: asked.update(said))
    create_model("slow_r50", weights="kinetics400", stride_frames=4, size=112)
    assert asked["asked"] == {"stride_frames", "frames_per_second", "size", "resize_short"}


@pytest.mark.slow
def test_published_weights_ask_for_options_and_clips_that_exist() -> None:
    for name, row in models.MODELS.items():
        known = models.option_types(name)
        for key, weights in row.weights.items():
            for option, value in weights.options.items():
                assert checked(known[option], value, name, option) == value
            if weights.clip:
                with torch.device("meta"):
                    spec: Any = create_model(name, **weights.options).clip_spec
                assert dataclasses.replace(spec, **weights.clip) != spec, (name, key)


def test_an_unknown_layout_gets_a_hint() -> None:
    with pytest.raises(
        ValueError, match=r"R3d cannot read weights of 'torchvison'\. Did you mean 'torchvision"
    ):
        models.convert_state_dict({}, source="torchvison", model=create_model("r3d_18"))


@pytest.mark.parametrize(
    ("state", "reason"), [({}, "zip"), ({"blocks.first.weight": torch.zeros(1)}, "'first'")]
)
def test_weights_in_another_layout_are_refused(state: Any, reason: str) -> None:
    with torch.device("meta"):
        model = create_model("c2d_r50")
    with pytest.raises(
        ValueError,
        match=rf"^These are no weights of VideoResNet as pytorchvideo names them: .*{reason}",
    ):
        models.convert_state_dict(state, source="pytorchvideo", model=model)


def test_only_our_models_know_other_toolkits_names() -> None:
    with pytest.raises(ValueError, match=r"Linear is no model of praxino\.models"):
        models.convert_state_dict({}, source="torchvision", model=torch.nn.Linear(1, 1))


def test_models_of_a_class_read_the_same_toolkits() -> None:
    for row in models.MODELS.values():
        kind = typing.get_type_hints(row.build)["return"]
        assert models._layouts_by_class()[kind] == row.layouts, kind


def test_every_builder_can_be_had_from_the_package() -> None:
    for name, row in models.MODELS.items():
        assert getattr(models, name) is row.build


def test_a_family_is_one_of_the_list() -> None:
    row = models.MODELS["c3d"]
    with pytest.raises(ValueError, match=r"A family is one of frames, .*, not '4d'"):
        dataclasses.replace(row, family="4d")


@pytest.mark.parametrize(
    ("built", "options", "asked", "expected"),
    [
        ("resnet3d_10", {"shortcut": "A"}, {}, "resnet3d_10 with shortcut='A'"),
        ("resnet3d_10", {}, {"shortcut": "A"}, "resnet3d_10 without these options"),
        pytest.param(
            "slow_nl_r50", {}, {}, "slow_nl_r50 or slow_nl_r50_4x16", marks=pytest.mark.slow
        ),
        ("swin3d_s", {"num_classes": 3}, {}, "swin3d_s"),
    ],
)
def test_weights_that_do_not_fit_say_what_they_fit(
    built: str, options: dict[str, Any], asked: dict[str, Any], expected: str
) -> None:
    name = {"slow_nl_r50": "slow_r50", "swin3d_s": "swin3d_t"}.get(built, built)
    with torch.device("meta"):
        state = create_model(built, **options).state_dict()
        model = create_model(name, **asked)
    said = f" By its names and shapes it fits {expected}."
    assert models._what_fits(state, name, model) == said
    assert models._what_fits(model.state_dict(), name, model) == ""


def test_weights_that_fit_nothing_get_no_hint() -> None:
    with torch.device("meta"):
        model = create_model("swin3d_t", 3)
    state = model.state_dict() | {"more": torch.zeros(1)}
    assert models._what_fits(state, "swin3d_t", model) == ""


def test_a_file_that_does_not_fit_says_what_it_fits(tmp_path: Path) -> None:
    file = tmp_path / "theirs.safetensors"
    save_file(create_model("x3d_xs", 3).state_dict(), file)
    with pytest.raises(ValueError, match=r"it fits x3d_m or x3d_s or x3d_xs\.$"):
        create_model("x3d_l", weights=file)
