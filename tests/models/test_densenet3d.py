"""3D DenseNets against the code of Hara et al. and of Diba et al."""

from typing import Any

import pytest
import torch

from praxino.models import convert_state_dict, create_model

# golden, case, model, the toolkit whose names it uses
GOLDENS = [
    ("resnets3d_kensho/densenet121_k400", "small", "densenet3d_121", "hara"),
    ("resnets3d_cvpr2018/densenet121", None, "densenet3d_121", "hara"),
    pytest.param(
        "t3d/densenet3d_121", None, "t3d_densenet3d_121", "mohsenfayyaz89", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(
    ("path", "case", "name", "source"), GOLDENS, ids=["hara_2020", "hara_2018", "diba"]
)
def test_equals_the_reference(
    equals_golden: Any, path: str, case: str | None, name: str, source: str
) -> None:
    equals_golden(path, name, source, case=case)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("features.conv0.weight", "stem.conv.weight"),
        ("features.norm1.bias", "stem.norm.bias"),
        ("features.denseblock3.denselayer24.norm.1.running_var", "block3.23.norm1.running_var"),
        ("features.denseblock2.denselayer1.conv2.weight", "block2.0.conv2.weight"),
        ("features.transition2.norm.weight", "transition2.norm.weight"),
        ("features.norm5.bias", "norm.bias"),
        ("module.classifier.bias", "head.bias"),
    ],
)
def test_reads_the_names_of_both_states_of_the_code(theirs: str, ours: str) -> None:
    model = create_model("densenet3d_121", 3, growth=4)
    assert list(convert_state_dict({theirs: torch.zeros(1)}, source="hara", model=model)) == [ours]


def test_says_how_many_frames_three_transitions_need() -> None:
    model = create_model("densenet3d_121", 3, growth=4).eval()
    with pytest.raises(ValueError, match=r"DenseNet3d needs T of at least 15, got T=14"):
        model(torch.zeros(1, 3, 14, 32, 32))
    with pytest.raises(ValueError, match=r"DenseNet3d needs H and W of at least 29, got 32 x 28"):
        model(torch.zeros(1, 3, 16, 32, 28))
    shallow = create_model("densenet3d_121", 3, growth=4, max_pool=False).eval()
    assert shallow(torch.zeros(1, 3, 8, 15, 15)).shape == (1, 3)
    with pytest.raises(ValueError, match=r"T of at least 8, got T=7"):
        shallow(torch.zeros(1, 3, 7, 15, 15))
    halved = create_model("densenet3d_121", 3, growth=4, stem_frames=3, stem_stride=2).eval()
    with pytest.raises(ValueError, match=r"T of at least 29, got T=28"):
        halved(torch.zeros(1, 3, 28, 32, 32))


def test_takes_optical_flow() -> None:
    model: Any = create_model("densenet3d_121", 3, growth=4, stream="flow").eval()
    assert (model.clip_spec.inputs, len(model.clip_spec.mean)) == (("flow",), 2)
    assert model(torch.zeros(1, 2, 16, 32, 32)).shape == (1, 3)


def test_drops_new_channels_only_while_training() -> None:
    torch.manual_seed(0)
    layer: Any = create_model("densenet3d_121", 3, growth=4, dropout=1.0).block1[0]  # type: ignore[index]
    maps = torch.randn(2, 8, 2, 2, 2)
    assert not layer(maps)[:, 8:].any()
    assert torch.equal(layer(maps)[:, :8], maps)
    assert layer.eval()(maps)[:, 8:].any()
