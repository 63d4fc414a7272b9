import numpy as np
import torch

from praxino.models.frame_difference import frame_difference


def test_frame_differences_are_not_rounded_by_autocast():
    """Two frames may differ by less than bfloat16 can tell near 1."""
    model = frame_difference(3, backbone="resnet18", frames=7, size=64).eval()
    clip = 0.9 + 0.0005 * torch.arange(7.0).view(1, 1, 7, 1, 1).expand(1, 3, 7, 64, 64)
    exact = model.differences(clip)
    np.testing.assert_allclose(exact, 0.001, atol=1e-6)  # the gain is 2
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        differences, logits = model.differences(clip), model(clip)
    assert differences.dtype == torch.float32
    assert torch.equal(differences, exact)
    assert logits.dtype == torch.bfloat16  # autocast was on
