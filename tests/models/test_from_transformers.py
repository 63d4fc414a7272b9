"""Models that stand on transformers: against it and mmaction2, and where it is missing."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from praxino.errors import EnvironmentFault
from praxino.models import MODELS, convert_state_dict, create_model
from praxino.models.from_transformers import transformers_for

TINY: dict[str, Any] = {
    "frames": 4,
    "size": 32,
    "patch": 8,
    "width": 64,
    "depth": 3,
    "heads": 4,
    "hidden": 128,
}
PROBED = {key: value for key, value in TINY.items() if key != "hidden"} | {"probe_depth": 1}
NEED_IT = sorted(n for n in MODELS if n.startswith(("videomae", "timesformer", "vivit", "vjepa")))


def frames_first(model: Any, clip: Tensor) -> Tensor:
    """Transformers wants frames before channels."""
    logits: Tensor = model(clip.transpose(1, 2))
    return logits


def first_batch(model: Any, clip: Tensor) -> Tensor:
    """MMAction2 has a dimension for the views of a video."""
    logits: Tensor = model(clip[:, 0])
    return logits


def test_timesformer_equals_transformers(equals_golden: Callable[..., nn.Module]) -> None:
    golden = "transformers_hf/timesformer_tiny"
    options = {"options": TINY, "forward": frames_first, "case": None}
    equals_golden(golden, "timesformer_b", "transformers", **options)


def test_vivit_equals_transformers(equals_golden: Callable[..., nn.Module]) -> None:
    golden = "transformers_hf/vivit_tiny"
    options = {"options": TINY, "forward": frames_first, "case": None}
    equals_golden(golden, "vivit_b", "transformers", **options)


def test_videomae_equals_transformers(equals_golden: Callable[..., nn.Module]) -> None:
    golden = "transformers_hf/videomae_tiny"
    options = {"options": TINY, "forward": frames_first, "case": None}
    # The authors' eps is 1e-6; transformers' 1e-12 and 1e-5 give the same numbers.
    equals_golden(golden, "videomae_b", "transformers", same_norms=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("golden", "name"),
    [
        ("mmaction2/timesformer_divST", "timesformer_b"),
        ("mmaction2/videomae_vit_base", "videomae_b"),
    ],
)
def test_equals_mmaction2(golden: str, name: str, equals_golden: Callable[..., nn.Module]) -> None:
    equals_golden(golden, name, "mmaction2", forward=first_batch, case=None)


@pytest.mark.parametrize(
    ("name", "reference", "options"),
    [
        ("timesformer_b_joint", "TimesformerForVideoClassification", TINY),
        ("vjepa2_l", "VJEPA2ForVideoClassification", PROBED),
    ],
)
def test_answers_as_the_whole_network_of_transformers(
    name: str, reference: str, options: dict[str, Any]
) -> None:
    """For networks without a golden."""
    torch.manual_seed(0)
    ours: Any = create_model(name, 11, **options).eval()
    inside = ours.network if hasattr(ours, "network") else ours.encoder
    inside.config.num_labels = 11
    theirs = getattr(transformers_for("the test"), reference)(inside.config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    state = dict(theirs.state_dict())
    ours.load_state_dict(convert_state_dict(state, source="transformers", model=ours))
    clip = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        expected = theirs(clip.transpose(1, 2)).logits
        torch.testing.assert_close(ours(clip), expected, rtol=1e-4, atol=1e-4)


def test_space_attention_averages_its_frames() -> None:
    torch.manual_seed(0)
    model: Any = create_model("timesformer_b_space", 11, **TINY).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        features, shuffled = model.forward_features(clip), model(clip[:, :, [2, 0, 3, 1]])
        torch.testing.assert_close(shuffled, model(clip))
    assert features.shape == (1, 64, 1, 4, 4)


def test_time_runs_fastest_among_the_tokens() -> None:
    """A map must be put together in the order in which the tokens were laid out."""
    torch.manual_seed(0)
    model: Any = create_model("timesformer_b", 11, **TINY).eval()
    model.network.encoder = nn.Identity()
    model.network.encoder.forward = lambda tokens: type("Out", (), {"last_hidden_state": tokens})
    nn.init.zeros_(model.network.embeddings.position_embeddings)
    clip = torch.zeros(1, 3, 4, 32, 32)
    clip[:, :, 2, 8:16, 24:32] = 9
    with torch.no_grad():
        features = model.forward_features(clip) - model.forward_features(0 * clip)
    assert features.abs().sum(1).nonzero().tolist() == [[0, 2, 1, 3]]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("vivit_b", "vivit.encoder.layer.1.{}", "network.layers.1.{}"),
        ("videomae_b", "videomae.encoder.layer.1.{}", "encoder.layer.1.{}"),
    ],
)
def test_files_from_before_transformers_5_load(name: str, old: str, new: str) -> None:
    before = {
        "q_proj": "attention.attention.query",
        "k_proj": "attention.attention.key",
        "v_proj": "attention.attention.value",
        "o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    now = {
        "attention.q_proj.weight": f"{before['q_proj']}.weight",
        "attention.k_proj.weight": f"{before['k_proj']}.weight",
        "attention.v_proj.weight": f"{before['v_proj']}.weight",
        "attention.o_proj.bias": f"{before['o_proj']}.bias",
        "mlp.fc1.bias": f"{before['mlp.fc1']}.bias",
        "mlp.fc2.bias": f"{before['mlp.fc2']}.bias",
        "layernorm_before.bias": "layernorm_before.bias",
    }
    if name == "videomae_b":
        now = {
            "attention.attention.query.bias": "attention.attention.q_bias",
            "attention.attention.value.bias": "attention.attention.v_bias",
        }
    model = create_model(name, 11, **TINY)
    state = {old.format(was): torch.zeros(1) for was in now.values()}
    renamed = convert_state_dict(state, source="transformers", model=model)
    assert set(renamed) - {"positions"} == {new.format(name) for name in now}
    assert set(renamed) <= set(model.state_dict())


OF_TIMESFORMERS_AUTHORS = """
    cls_token pos_embed time_embed patch_embed.proj.weight patch_embed.proj.bias norm.weight
    norm.bias head.weight head.bias
"""
OF_A_BLOCK = """
    norm1.weight norm1.bias attn.qkv.weight attn.qkv.bias attn.proj.weight attn.proj.bias
    temporal_norm1.weight temporal_norm1.bias temporal_attn.qkv.weight temporal_attn.qkv.bias
    temporal_attn.proj.weight temporal_attn.proj.bias temporal_fc.weight temporal_fc.bias
    norm2.weight norm2.bias mlp.fc1.weight mlp.fc1.bias mlp.fc2.weight mlp.fc2.bias
"""


def test_the_authors_names_of_timesformer_are_known() -> None:
    model = create_model("timesformer_b", 11, **TINY)
    names = OF_TIMESFORMERS_AUTHORS.split()
    names += [f"blocks.{block}.{name}" for block in range(3) for name in OF_A_BLOCK.split()]
    state = {f"model.{name}": torch.zeros(1) for name in names}
    renamed = convert_state_dict(state, source="facebookresearch", model=model)
    assert set(renamed) == set(model.state_dict())


def test_the_authors_names_of_videomae_are_known() -> None:
    model = create_model("videomae_b", 11, **TINY)
    own = model.state_dict()
    block = (
        *("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
        *("attn.q_bias", "attn.v_bias", "attn.proj.weight", "attn.proj.bias"),
        *("mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"),
    )
    state = {
        f"blocks.{number}.attn.qkv.weight": torch.arange(3.0).repeat_interleave(64)[:, None]
        for number in range(3)
    }
    state |= {f"blocks.{number}.{name}": torch.zeros(1) for number in range(3) for name in block}
    state |= {
        name: torch.zeros(1)
        for name in ("patch_embed.proj.weight", "patch_embed.proj.bias", "fc_norm.weight")
    }
    state |= {name: torch.zeros(1) for name in ("fc_norm.bias", "head.weight", "head.bias")}
    renamed = convert_state_dict(state, source="mcg_nju", model=model)
    assert set(renamed) == set(own)
    before = "encoder.layer.2.attention.attention"
    parts = [renamed[f"{before}.{part}.weight"] for part in ("query", "key", "value")]
    assert [part.unique().tolist() for part in parts] == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("kind", "name"), [("joint", "timesformer_b_joint"), ("space", "timesformer_b_space")]
)
def test_the_other_attentions_of_mmaction2_are_known(kind: str, name: str) -> None:
    model = create_model(name, 11, **TINY)
    block = (
        *("norms.0.weight", "norms.0.bias", "norms.1.weight", "norms.1.bias"),
        *("attentions.0.attn.in_proj_weight", "attentions.0.attn.in_proj_bias"),
        *("attentions.0.attn.out_proj.weight", "attentions.0.attn.out_proj.bias"),
        *("ffns.0.layers.0.0.weight", "ffns.0.layers.0.0.bias"),
        *("ffns.0.layers.1.weight", "ffns.0.layers.1.bias"),
    )
    names = [f"transformer_layers.layers.{n}.{entry}" for n in range(3) for entry in block]
    names += ["cls_token", "pos_embed", "patch_embed.projection.weight"]
    names += ["patch_embed.projection.bias", "norm.weight", "norm.bias"]
    names += ["time_embed"] if kind == "joint" else []
    state = {f"backbone.{entry}": torch.zeros(1) for entry in names}
    state |= {f"cls_head.fc_cls.{entry}": torch.zeros(1) for entry in ("weight", "bias")}
    renamed = convert_state_dict(state, source="mmaction2", model=model)
    assert set(renamed) == set(model.state_dict())


@pytest.mark.parametrize("name", NEED_IT)
def test_without_transformers_a_model_says_how_to_install_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(importlib.sys.modules, "transformers", None)  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFault, match=r"not installed\. Install it with pip install 'pr"):
        create_model(name)


def test_a_transformers_that_does_not_load_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> None:
        raise ImportError("no module named tokenizers", name="tokenizers")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(EnvironmentFault, match="which does not load: no module named tokenizers"):
        transformers_for("ViViT")


def test_the_clip_must_be_of_the_size_that_positions_are_known_for() -> None:
    for name in ("videomae_b", "vivit_b", "timesformer_b"):
        model = create_model(name, 11, **TINY)
        with pytest.raises(ValueError, match=r"was built for T=4, got T=6"):
            model(torch.zeros(1, 3, 6, 32, 32))
        with pytest.raises(ValueError, match=r"was built for H=W=32, got 40 x 32"):
            model(torch.zeros(1, 3, 4, 40, 32))
