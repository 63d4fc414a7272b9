"""MC3."""

import torch
from torch import nn

from praxino.models import convert_state_dict, create_model


def test_equals_torchvision() -> None:
    from torchvision.models.video import mc3_18

    torch.manual_seed(0)
    theirs = mc3_18(num_classes=5).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    ours = create_model("mc3_18", 5).eval()
    ours.load_state_dict(convert_state_dict(theirs.state_dict(), source="torchvision", model=ours))
    clip = torch.randn(1, 3, 5, 45, 50)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip), theirs(clip))


def test_time_is_never_shortened() -> None:
    with torch.device("meta"):
        model = create_model("mc3_18")
        assert model.forward_features(torch.zeros(1, 3, 11, 32, 32)).shape == (1, 512, 11, 2, 2)  # type: ignore[operator]
