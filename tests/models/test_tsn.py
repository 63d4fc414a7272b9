"""TSN: what its networks are shown, how segments and streams agree, and the references."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from praxino.models import convert_state_dict, create_model
from praxino.models.tsn import SegmentConsensus, join_streams
from praxino.train import freeze
from praxino.weights.fitting import check_fit

SMALL: dict[str, Any] = {"backbone": "resnet18", "segments": 2, "size": 32}


def segments_of(frames: Tensor) -> Tensor:
    """The reference's `(B, K * 3, H, W)` as a clip."""
    return frames.unflatten(1, (-1, 3)).transpose(1, 2)


def differences_of(frames: Tensor) -> Tensor:
    """The same with six frames a segment, as a clip of differences, of which the last repeats."""
    snippets = frames.unflatten(1, (3, 6, 3))  # (B, K, L, C, H, W)
    change = snippets.diff(dim=2)
    whole = torch.cat([change, change[:, :, -1:]], dim=2)
    return whole.flatten(1, 2).transpose(1, 2)


GOLDENS: list[tuple[str, str | None, str, dict[str, Any], str]] = [
    ("mmaction2/tsn_r50_1x1x3", "small", "tsn_r50", {}, "mmaction2"),
    ("tsn/tsn_resnet50_rgb", "small", "tsn_r50", {}, "yjxiong"),
    ("tsn/tsn_bninception_rgb", None, "tsn", {}, "yjxiong"),
    ("tsn/tsn_bninception_rgbdiff", None, "tsn_rgb_difference", {}, "yjxiong"),
]


@pytest.mark.parametrize(("path", "case", "name", "options", "source"), GOLDENS)
def test_equals_the_reference(
    equals_golden: Any,
    path: str,
    case: str | None,
    name: str,
    options: dict[str, Any],
    source: str,
) -> None:
    def forward(model: Any, frames: Tensor) -> Tensor:
        if path.startswith("mmaction2"):
            clip = frames.transpose(1, 2)
        else:
            clip = differences_of(frames) if "diff" in path else segments_of(frames)
        logits: Tensor = model(clip)
        return logits

    equals_golden(path, name, source, options=options, forward=forward, case=case)


def test_bn_inception_equals_the_reference(equals_golden: Any) -> None:
    """Which wants blue, green, red; ours are fed red, green, blue."""
    equals_golden(
        "tsn/bninception_imagenet",
        "single_frame",
        "torchvision",
        options={"backbone": "bn_inception"},
        forward=lambda model, frames: model(frames.flip(1).unsqueeze(2)),
        case=None,
    )


def test_a_clip_is_snippets_one_after_the_other() -> None:
    """Of two segments with three frames each: the first frame's colours, and two flows."""
    model: Any = create_model("tsn_two_stream", 3, length=2, **SMALL)
    assert (model.clip_spec.frames, model.clip_spec.snippet) == (6, 3)
    numbers = torch.arange(6.0).view(1, 1, 6, 1, 1) + 100 * torch.arange(5.0).view(1, 5, 1, 1, 1)
    rgb, flow = model.pictures(numbers)
    assert rgb.squeeze().tolist() == [[0, 3], [100, 103], [200, 203]]
    assert flow.squeeze().tolist() == [[300, 303], [400, 403], [301, 304], [401, 404]]


LOGITS = torch.tensor([[[1.0, 0.0], [4.0, 1.0], [1.0, 5.0]]])  # of three segments
VECTORS = torch.tensor([[[0.0], [0.0], [1.0]]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("average", [2, 2]),
        ("max", [4, 5]),
        ("top_k", [2.5, 3]),
        ("weighted", [2, 2]),
        ("attention", [(1 + 4 + 2) / 4, (0 + 1 + 10) / 4]),  # the last counts twice
    ],
)
def test_segments_agree(kind: Any, expected: list[float]) -> None:
    agree = SegmentConsensus(kind, segments=3, top_k=2, channels=1)
    if kind == "attention":
        nn.init.constant_(agree.attention.weight, torch.tensor(2.0).log().item())
    torch.testing.assert_close(agree(LOGITS, VECTORS)[0], torch.tensor(expected, dtype=torch.float))


def test_weights_of_segments_are_learned() -> None:
    agree = SegmentConsensus("weighted", segments=3, top_k=2, channels=1)
    with torch.no_grad():
        agree.weight.copy_(torch.tensor([0.0, 1.0, -1.0]))
    assert agree(LOGITS, VECTORS).tolist() == [[3, -4]]


@pytest.mark.parametrize("kind", ["max", "top_k", "weighted", "attention"])
def test_every_consensus_learns(kind: str) -> None:
    torch.manual_seed(0)
    model: Any = create_model("tsn", 3, consensus=kind, top_k=2, **SMALL).eval()
    cross_entropy(model(torch.randn(2, 3, 2, 32, 32)), torch.tensor([0, 2])).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("tsn_two_stream", [1, 1.5]),
        ("tsn_three_stream", [1, 1, 0.5]),
        ("tsn_real_time", [1, 1]),
        ("tsn_warped_flow", [0.5]),
    ],
)
def test_scores_of_streams_are_weighed(name: str, weights: list[float]) -> None:
    with torch.device("meta"):
        model: Any = create_model(name, 3, **SMALL)
    scores = [torch.eye(len(weights))[[number]] for number in range(len(weights))]
    torch.testing.assert_close(
        model.fuse(scores), torch.tensor([weights]) / sum(weights), rtol=1e-6, atol=0
    )


def test_streams_that_learned_apart_fuse_as_their_scores() -> None:
    torch.manual_seed(0)
    names = ("tsn", "tsn_flow", "tsn_warped_flow")
    apart: list[Any] = [create_model(name, 3, **SMALL).eval() for name in names]
    for stream in apart:
        nn.init.normal_(stream.head.bias)
    model: Any = create_model("tsn_three_stream", 3, **SMALL).eval()
    join_streams(model, apart)
    clip = torch.randn(2, 7, 12, 32, 32)
    with torch.no_grad():
        rgb, flow, warped = (
            apart[0](clip[:, :3, ::6]),
            apart[1](clip[:, 3:5]),
            apart[2](clip[:, 5:]),
        )
        torch.testing.assert_close(model(clip), (rgb + flow + 0.5 * warped) / 2.5)
    with pytest.raises(ValueError, match=r"streams \('rgb', 'flow', 'warped_flow'\), got \('rgb',"):
        join_streams(model, apart[:2])


def test_each_stream_learns_by_its_own_loss() -> None:
    torch.manual_seed(0)
    model: Any = create_model("tsn_two_stream", 3, **SMALL).eval()
    clip, labels = torch.randn(2, 5, 12, 32, 32), torch.tensor([0, 2])
    loss, logits = model.loss(clip, labels)
    streams = model.judge(model.pictures(clip))
    torch.testing.assert_close(loss, sum(cross_entropy(one, labels) for one in streams))
    torch.testing.assert_close(logits, model(clip))


def test_partial_batch_norm_keeps_all_but_the_first() -> None:
    """Also in training runs, which ask `freeze` what to hold still."""
    model: Any = create_model("tsn_two_stream", 3, partial_batch_norm=True, **SMALL).train()
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    learning = [name for name, norm in norms.items() if norm.training]
    assert learning == [f"backbones.{stream}.features.bn1" for stream in ("rgb", "flow")]
    assert [name for name, norm in norms.items() if norm.weight.requires_grad] == learning
    still = freeze(model, None, False)
    assert {id(norm) for norm in still} == {id(norms[n]) for n in norms if n not in learning}
    assert all(norm.training for norm in create_model("tsn", 3, **SMALL).train().modules())


@pytest.mark.parametrize("backbone", ["resnet18", "bn_inception"])
def test_first_layers_start_as_the_mean_of_colours(backbone: str) -> None:
    """In any order of them."""
    torch.manual_seed(0)
    options = SMALL | {"backbone": backbone}
    model: Any = create_model("tsn_three_stream", 1000, **options)
    with torch.device("meta"):
        images: Any = create_model("single_frame", backbone=backbone)
    theirs = {}
    for name, value in images.state_dict().items():
        name = name.replace("backbone.features.", "").replace("head.", "fc.")
        name = name.replace(".conv.", ".")  # as ports of the Caffe network name convolutions
        if "tracked" not in name:
            theirs[name] = torch.randn(value.shape)
    if backbone == "bn_inception":
        first = theirs["conv1_7x7_s2.weight"] = theirs.pop("conv1.weight")
    else:
        first = theirs["conv1.weight"]
    found = convert_state_dict(theirs, source="torchvision", model=model)
    check_fit(model, found, backbone)
    layer = "conv1.conv" if backbone == "bn_inception" else "conv1"
    mean = first.mean(dim=1, keepdim=True).expand(-1, 10, -1, -1)
    for stream in ("flow", "warped_flow"):
        torch.testing.assert_close(found[f"backbones.{stream}.features.{layer}.weight"], mean)
    rgb = found[f"backbones.rgb.features.{layer}.weight"]
    assert torch.equal(rgb, first.flip(1) if backbone == "bn_inception" else first)


def test_reads_colours_in_the_order_of_ours() -> None:
    """Of every difference that is stacked."""
    model: Any = create_model("tsn_rgb_difference", 3, size=32, segments=2)
    first = torch.arange(15.0).view(1, 15, 1, 1).expand(64, -1, 7, 7)
    state = {"base_model.conv1_7x7_s2.weight": first, "new_fc.bias": torch.zeros(3)}
    name = "backbones.rgb_difference.features.conv1.conv.weight"
    ours = convert_state_dict(state, source="yjxiong_bgr", model=model)[name]
    assert ours[0, :, 0, 0].tolist() == [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9, 14, 13, 12]
    theirs = convert_state_dict(state, source="yjxiong", model=model)[name]
    assert torch.equal(theirs, first)


def test_images_normalise_only_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageNet weights say nothing of how flow, or a difference, is fed."""
    from praxino.models import _for_streams

    colours = (0.1, 0.2, 0.3)
    for name, expected in (
        ("tsn", colours),
        ("tsn_two_stream", (*colours, 0.5, 0.5)),
        ("tsn_flow", (0.5, 0.5)),
        ("tsn_rgb_difference", (0.0, 0.0, 0.0)),
    ):
        with torch.device("meta"):
            spec: Any = create_model(name, **SMALL).clip_spec
        assert _for_streams(spec, spec.mean, colours) == expected


def test_says_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match=r"consensus is one of average, max, .*, not 'mean'"):
        SegmentConsensus("mean", segments=3, top_k=3, channels=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="top_k must be from 1 to segments=3, got 4"):
        SegmentConsensus("top_k", segments=3, top_k=4, channels=1)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        create_model("tsn_flow", length=0)
    few = LOGITS[:, :2], VECTORS[:, :2]
    with pytest.raises(ValueError, match="learned weights for 3 segments, the clip has 2"):
        SegmentConsensus("weighted", segments=3, top_k=3, channels=1)(*few)
    with pytest.raises(ValueError, match="averages the best 3 segments, the clip has 2"):
        SegmentConsensus("top_k", segments=3, top_k=3, channels=1)(*few)
    with torch.device("meta"):
        model = create_model("tsn_flow", **SMALL)
        with pytest.raises(ValueError, match="needs snippets of 6 frames, got T=7"):
            model(torch.zeros(1, 2, 7, 32, 32))
        model = create_model("tsn")
        with pytest.raises(ValueError, match="needs H and W of at least 7, got 6 x 6"):
            model(torch.zeros(1, 3, 3, 6, 6))
