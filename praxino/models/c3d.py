"""C3D: the VGG of 3D networks.

Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015,
arXiv:1412.0767.

Notable: 3 x 3 x 3 kernels and 2 x 2 x 2 pooling throughout; only the first pooling spares time.
Differs from the paper's figure: the last pooling pads H and W by one, 7 x 7 to 4 x 4, as the
released weights need (8192 inputs to fc6).
"""

from torch import Tensor, nn

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights

__all__ = ["c3d"]

# Of Sports-1M's frames, in 0..255; the released networks only subtract it.
MEAN, STD = (104 / 255, 117 / 255, 128 / 255), (1 / 255, 1 / 255, 1 / 255)


class C3d(nn.Module):
    """Eight convolutions, five poolings, two hidden layers of 4096 units; no batch norm."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1a = _conv(3, 64)
        self.conv2a = _conv(64, 128)
        self.conv3a = _conv(128, 256)
        self.conv3b = _conv(256, 256)
        self.conv4a = _conv(256, 512)
        self.conv4b = _conv(512, 512)
        self.conv5a = _conv(512, 512)
        self.conv5b = _conv(512, 512)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.pool2 = nn.MaxPool3d(2)
        self.pool3 = nn.MaxPool3d(2)
        self.pool4 = nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6 = nn.Linear(512 * 1 * 4 * 4, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.head = nn.Linear(4096, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.clip_spec = ClipSpec(
            16, stride_frames=1, size=112, resize_short=128, mean=MEAN, std=STD
        )

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before the hidden layers: `(B, 512, 1, 4, 4)`."""
        check_clip(clip, "C3D", frames=16, size=112)
        maps = self.pool1(self.relu(self.conv1a(clip)))  # (B, 64, 16, 56, 56)
        maps = self.pool2(self.relu(self.conv2a(maps)))  # (B, 128, 8, 28, 28)
        maps = self.relu(self.conv3a(maps))
        maps = self.pool3(self.relu(self.conv3b(maps)))  # (B, 256, 4, 14, 14)
        maps = self.relu(self.conv4a(maps))
        maps = self.pool4(self.relu(self.conv4b(maps)))  # (B, 512, 2, 7, 7)
        maps = self.relu(self.conv5a(maps))
        result: Tensor = self.pool5(self.relu(self.conv5b(maps)))  # (B, 512, 1, 4, 4)
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, 16, 112, 112)`, normalised as `self.clip_spec` says.

        Returns:
            `(B, K)` logits.
        """
        hidden = self.forward_features(clip).flatten(1)  # (B, 8192)
        hidden = self.dropout(self.relu(self.fc6(hidden)))  # (B, 4096), the paper's feature
        hidden = self.dropout(self.relu(self.fc7(hidden)))
        logits: Tensor = self.head(hidden)
        return logits


def _conv(channels: int, width: int) -> nn.Conv3d:
    conv = nn.Conv3d(channels, width, kernel_size=3, padding=1)
    # PyTorch's default fades to nothing over eight layers without a norm.
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def c3d(num_classes: int = 487) -> C3d:
    """C3D: 78 million parameters and the classifier, 38.5 G multiply-adds for its only clip size.

    Args:
        num_classes: K; Sports-1M has 487.
    """
    return C3d(num_classes)


WEIGHTS = {
    "ucf101": Weights(
        url=(
            "https://download.openmmlab.com/mmaction/v1.0/recognition/c3d/"
            "c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb/"
            "c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb_20220811-31723200.pth"
        ),
        sha256_prefix="31723200",
        trained_on="Sports-1M, then UCF101 split 1",
        num_classes=101,
        licence="Apache-2.0 (mmaction2)",
        accuracy={"top1": 83.08, "top5": 95.93},
        protocol="video level, 10 clips of 16 consecutive frames, centre crop of 112 from 128",
        layout="mmaction2",
    )
}


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of mmaction2's C3D recogniser."""
    rules = (
        (r"^backbone\.(conv\d\w)\.conv\.", r"\1."),
        (r"^backbone\.", ""),
        (r"^cls_head\.fc_cls\.", "head."),
    )
    return rename(state, rules)


def from_caffe_port(state: State, model: nn.Module) -> State:
    """Rename the entries of the port of the Caffe model at github.com/DavideA/c3d-pytorch."""
    return rename(state, ((r"^conv([12])\.", r"conv\1a."), (r"^fc8\.", "head.")))


LAYOUTS = {"mmaction2": from_mmaction2, "caffe_port": from_caffe_port}

PAPER = "Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks, ICCV 2015"
MODELS = {
    "c3d": ModelRow(c3d, PAPER, 2015, "3d", weights=WEIGHTS, layouts=LAYOUTS),
}
