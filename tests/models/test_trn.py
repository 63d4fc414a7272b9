"""TRN: which frames are related, and the network of MMAction2."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.layer_table import count_parameters
from praxino.models import convert_state_dict, create_model
from praxino.models.trn import Relation, trn_r18
from praxino.weights.fitting import check_fit


def test_equals_the_reference(equals_golden: Any) -> None:
    def forward(model: Any, frames: Tensor) -> Tensor:
        logits: Tensor = model(frames.transpose(1, 2))
        return logits

    model = equals_golden(
        "mmaction2/trn_r50_1x1x8",
        "trn_r50",
        "mmaction2",
        options={"test_relations": "first"},
        forward=forward,
        same_parameters=False,  # seven biases of the last layers are one of the head
    )
    assert count_parameters(model) + 6 * 174 == 26_641_154


def test_equals_the_reference_on_bn_inception(equals_golden: Any) -> None:
    model = equals_golden(
        "trn/trn_multiscale_bninception_8",
        "trn_bn_inception",
        "zhoubolei",
        options={"test_relations": "first"},
        forward=lambda model, frames: model(frames.unflatten(1, (8, 3)).transpose(1, 2)),
        case=None,
        same_parameters=False,  # as above
    )
    assert count_parameters(model) + 6 * 174 == 13_141_218


def test_reads_colours_in_the_order_of_ours() -> None:
    torch.manual_seed(0)
    model: Any = create_model("trn_bn_inception", 3, frames=2).eval()
    state = {"new_fc.weight": model.embed.weight, "new_fc.bias": model.embed.bias}
    for leaf in ("weight", "bias"):
        state[f"consensus.fc_fusion_scales.0.1.{leaf}"] = getattr(model.relations[0].layer, leaf)
        state[f"consensus.fc_fusion_scales.0.3.{leaf}"] = getattr(model.head, leaf)
    state["base_model.conv1_7x7_s2.weight"] = torch.randn(64, 3, 7, 7)
    first = "backbone.features.conv1.conv.weight"
    for layout, flipped in (("zhoubolei", False), ("zhoubolei_bgr", True)):
        found = convert_state_dict(state, source=layout, model=model)[first]
        theirs = state["base_model.conv1_7x7_s2.weight"]
        assert torch.equal(found, theirs.flip(1) if flipped else theirs)


@pytest.fixture
def adding() -> Relation:
    """Adds up the numbers of two of four frames."""
    relation = Relation(frames=4, scale=2, channels=1, width=1)
    nn.init.ones_(relation.layer.weight)
    nn.init.zeros_(relation.layer.bias)
    return relation


FRAMES = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 4, 1)


def test_relates_all_pairs_on_average(adding: Relation) -> None:
    # Six pairs, each frame in three of them; three relations are drawn.
    assert adding.eval()(FRAMES, "all").item() == 3 * 3 * 1111 / 6


def test_relates_the_first_pairs_where_asked_to(adding: Relation) -> None:
    assert adding.eval()(FRAMES, "first").item() == 11 + 101 + 1001


def test_draws_three_different_pairs_in_training(adding: Relation) -> None:
    torch.manual_seed(0)
    pairs = {11, 101, 1001, 110, 1010, 1100}
    sums = {int(adding.train()(FRAMES, "all").item() + 0.5) for _ in range(50)}
    assert len(sums) > 5
    assert all(
        any(total == a + b + c for a in pairs for b in pairs for c in pairs if a < b < c)
        for total in sums
    )


def test_frames_keep_their_order() -> None:
    relation = Relation(frames=5, scale=3, channels=1, width=1)
    assert all(list(frames) == sorted(set(frames)) for frames in relation.sets)
    assert len(relation.sets) == 10


@pytest.mark.parametrize("multiscale", [True, False])
def test_reads_the_authors_network(multiscale: bool) -> None:
    """One scale has one classifier; several have a list of them."""
    torch.manual_seed(0)
    model: Any = create_model("trn_r18", 3, frames=3, size=32, multiscale=multiscale).eval()
    state, heads = {}, []
    for name, value in model.state_dict().items():
        name = name.replace("backbone.features.", "base_model.").replace("embed.", "new_fc.")
        if name.startswith("relations."):
            _, number, _, leaf = name.split(".")
            scale = f"consensus.fc_fusion_scales.{number}" if multiscale else "consensus.classifier"
            heads += [scale] if leaf == "weight" else []
            name = f"{scale}.1.{leaf}"
        if not name.startswith("head."):
            state[f"module.{name}"] = value
    parts = model.head.weight.chunk(len(heads), dim=1)
    for scale, part in zip(heads, parts, strict=True):
        state[f"module.{scale}.3.weight"] = part
        state[f"module.{scale}.3.bias"] = torch.ones(3)
    found = convert_state_dict(state, source="zhoubolei", model=model)
    # One relation of three frames, and three of two.
    assert found.pop("head.bias").tolist() == [4 if multiscale else 1] * 3
    for name, value in found.items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_backbone_weights_leave_the_relations_to_be_learned() -> None:
    with torch.device("meta"):
        model = create_model("trn_r18", 174)
        state = create_model("single_frame_resnet18").state_dict()
    theirs = {
        name.removeprefix("backbone.features.").replace("head.", "fc."): value
        for name, value in state.items()
    }
    check_fit(model, convert_state_dict(theirs, source="torchvision", model=model), "resnet18")


def test_says_what_it_cannot_relate() -> None:
    with pytest.raises(ValueError, match="frames must be at least 2, got 1"):
        create_model("trn_r18", frames=1)
    with pytest.raises(ValueError, match=r"test_relations is 'all' or 'first', not 'last'"):
        trn_r18(test_relations="last")  # type: ignore[arg-type]
    with torch.device("meta"):
        model = create_model("trn_r18")
        with pytest.raises(ValueError, match="TRN was built for T=8, got T=4"):
            model(torch.zeros(1, 3, 4, 32, 32))
