import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from praxino.models import create_model
from praxino.models.late_fusion import POOLS, late_fusion_pool


@pytest.mark.parametrize("pool", POOLS)
def test_the_order_of_the_frames_does_not_matter(pool):
    torch.manual_seed(0)
    model = late_fusion_pool(5, pool=pool, hidden=16, frames=4, size=32).eval()
    clip = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        whole, mixed = model(clip), model(clip[:, :, [2, 0, 3, 1]])
    torch.testing.assert_close(whole, mixed, rtol=1e-4, atol=1e-5)


def test_pools_by_hand():
    vectors = torch.tensor([[[1.0, -2.0], [3.0, 0.0], [2.0, -1.0]]])
    pooled = {name: pool(vectors).tolist() for name, pool in POOLS.items()}
    assert pooled == {"average": [[2.0, -1.0]], "max": [[3.0, 0.0]], "sum": [[6.0, -3.0]]}


def test_a_hidden_layer_keeps_its_own_weights_beside_published_ones(tmp_path):
    torch.manual_seed(0)
    theirs = resnet18()
    save_file(theirs.state_dict(), tmp_path / "r.safetensors")
    model = create_model(
        "late_fusion_pool", 5, hidden=16, frames=2, size=32, weights=tmp_path / "r.safetensors"
    )
    assert torch.equal(model.backbone.features.conv1.weight, theirs.conv1.weight)
    assert (model.hidden[0].out_features, model.head.in_features) == (16, 16)


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match="pool is one of average, max, sum, not 'mean'"):
        late_fusion_pool(5, pool="mean")
