"""Slow fusion: the first three convolutions spread over time as well as space.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

Notable: 10 frames become 4 in the first layer (4 frames deep, every second one), 2 in the second
and 1 in the third; from there on it is the paper's single-frame network.
Differs from the paper: padding keeps the paper's map sizes where its text leaves them open, and
the weights start from He's initialisation, with which it trains without the paper's slow warm-up.
"""

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.video.clip_spec import ClipSpec

__all__ = ["slow_fusion"]

FRAMES, SIZE = 10, 170


class SlowFusion(nn.Module):
    """C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P-FC(4096)-FC(4096)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(3, 96, (4, 11, 11), stride=(2, 3, 3)),  # (96, 4, 54, 54)
            nn.ReLU(inplace=True),
            _response_norm(),
            nn.MaxPool3d((1, 2, 2)),  # (96, 4, 27, 27)
            nn.Conv3d(96, 256, (2, 5, 5), stride=(2, 1, 1), padding=(0, 2, 2)),
            nn.ReLU(inplace=True),
            _response_norm(),
            nn.MaxPool3d((1, 2, 2)),  # (256, 2, 13, 13)
            nn.Conv3d(256, 384, (2, 3, 3), padding=(0, 1, 1)),  # (384, 1, 13, 13)
            nn.ReLU(inplace=True),
            nn.Conv3d(384, 384, (1, 3, 3), padding=(0, 1, 1)),
            nn.ReLU(inplace=True),
            nn.Conv3d(384, 256, (1, 3, 3), padding=(0, 1, 1)),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 2, 2)),  # (256, 1, 6, 6)
        )
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
        )
        self.head = nn.Linear(4096, num_classes)
        # Half a second at 20 frames per second; the paper cuts 170 of 200 pixels.
        self.clip_spec = ClipSpec(FRAMES, frames_per_second=20.0, size=SIZE, resize_short=200)
        for module in self.features:
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the hidden layers: `(B, 256, 1, 6, 6)`."""
        check_clip(clip, "Slow fusion", frames=FRAMES, size=SIZE)
        maps: Tensor = self.features(clip)
        return maps

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, 10, 170, 170)`, normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        logits: Tensor = self.head(self.hidden(self.forward_features(clip)))
        return logits


def _response_norm() -> nn.LocalResponseNorm:
    # Krizhevsky's numbers, which the paper refers to; torch divides alpha by the size, he does not.
    return nn.LocalResponseNorm(size=5, alpha=5e-4, beta=0.5, k=2.0)


def slow_fusion(num_classes: int = 487) -> SlowFusion:
    """Slow fusion on the paper's AlexNet; 10 frames of 170 x 170 pixels.

    Args:
        num_classes: K; Sports-1M has 487.
    """
    return SlowFusion(num_classes)


PAPER = "Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014"
MODELS = {
    "slow_fusion": ModelRow(slow_fusion, PAPER, 2014, "fusion"),
}
