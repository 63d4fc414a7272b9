"""Hara's 3D ResNets against their code: in its state of 2018 and of 2020."""

from typing import Any

import pytest

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
