"""The first 3D CNN for actions: five hard-wired channels, two 3D convolutions.

Ji, Xu, Yang and Yu, "3D Convolutional Neural Networks for Human Action Recognition", ICML 2010 and
TPAMI 2013.

Notable: the first layer is not learned. It makes five channels of a clip (grey, its gradients in x
and y, optical flow in x and y: 33 maps of 7 frames), and no two of them meet before the last layer.
Every map has its own coefficient and bias in subsampling, and every kernel its own bias, even where
their results are summed: so come 295,458 parameters together.
Differs from the paper: it does not say which optical flow it takes; ours is that of Lucas and
Kanade on the grey frames. Subsampling is LeNet-5's, which the paper follows. The classifier has a
bias. Left out: the person detector that cuts out the pictures, and the TPAMI version's auxiliary
outputs, which pull the features towards descriptors of longer clips.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec

__all__ = ["ji_3dcnn", "ji_3dcnn_kth"]

Size = tuple[int, int]  # height and width


class HardwiredLayer(nn.Module):
    """Five channels of a clip, by rules instead of weights.

    Args:
        size: height and width of the maps; pictures of another size are resized.
    """

    grey: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        brightness = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)
        self.register_buffer("grey", brightness, persistent=False)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Look at a clip.

        Args:
            clip: `(B, 3, T, H, W)`, colours in [0, 1].

        Returns:
            Grey and its gradients in x and y: `(B, 3, T, h, w)`; and the optical flow from each
            frame to the next in x and y, in pixels of the map: `(B, 2, T - 1, h, w)`.
        """
        grey = (clip * self.grey).sum(dim=1)  # (B, T, H, W)
        # Bilinear, each pixel the average of all that it covers when the picture shrinks.
        grey = functional.interpolate(grey, self.size, mode="bilinear", antialias=True)
        in_y, in_x = torch.gradient(grey, dim=(2, 3))
        shape = torch.stack([grey, in_x, in_y], dim=1)
        return shape, lucas_kanade(grey, in_x, in_y)


def lucas_kanade(grey: Tensor, in_x: Tensor, in_y: Tensor) -> Tensor:
    """Optical flow between neighbouring frames, for movements of up to a pixel or two.

    Each pixel moves as the 5 x 5 around it do, by least squares. Where those are flat, nothing
    seems to move.

    Args:
        grey: `(B, T, H, W)` in [0, 1].
        in_x: its gradients from left to right, of the same shape.
        in_y: its gradients from top to bottom, of the same shape.

    Returns:
        `(B, 2, T - 1, H, W)`: how many pixels to the right and down.
    """
    x = (in_x[:, :-1] + in_x[:, 1:]) / 2
    y = (in_y[:, :-1] + in_y[:, 1:]) / 2
    t = grey[:, 1:] - grey[:, :-1]

    def around(products: Tensor) -> Tensor:
        return functional.avg_pool2d(products, 5, stride=1, padding=2, count_include_pad=False)

    # A gradient of 0.01, the noise of a camera, is as good as none.
    xx, yy = around(x * x) + 1e-4, around(y * y) + 1e-4
    xy, xt, yt = around(x * y), around(x * t), around(y * t)
    determinant = xx * yy - xy * xy  # above 0, because of what was added
    right = (xy * yt - yy * xt) / determinant
    down = (xy * xt - xx * yt) / determinant
    return torch.stack([right, down], dim=1)


class Subsampling(nn.Module):
    """The average of every patch, times a number and plus a number that each map has of its own."""

    def __init__(self, channels: int, frames: int, factor: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool3d((1, factor, factor))
        self.coefficient = nn.Parameter(torch.ones(channels, frames, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, frames, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to `(B, C, T, H / factor, W / factor)`."""
        return torch.tanh(self.coefficient * self.pool(maps) + self.bias)


class Columns(nn.Module):
    """Two convolutions and subsamplings of channels that do not meet each other.

    Args:
        channels: how many hard-wired channels.
        frames: how many maps each of them has.
        kernels: height and width of the two convolutions' kernels; both span 3 frames.
        factors: of the two subsamplings.
    """

    def __init__(
        self, channels: int, frames: int, kernels: tuple[Size, Size], factors: tuple[int, int]
    ) -> None:
        super().__init__()
        first, second = kernels
        # "Two sets": each channel is filtered twice, and each result three times.
        self.c2 = nn.Conv3d(channels, 2 * channels, (3, *first), groups=channels)
        self.s3 = Subsampling(2 * channels, frames - 2, factors[0])
        self.c4 = nn.Conv3d(2 * channels, 6 * channels, (3, *second), groups=2 * channels)
        self.s5 = Subsampling(6 * channels, frames - 4, factors[1])

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to `(B, 6 C, T - 4, h, w)`."""
        maps = self.s3(torch.tanh(self.c2(maps)))
        result: Tensor = self.s5(torch.tanh(self.c4(maps)))
        return result


class Ji3d(nn.Module):
    """The paper's network.

    Args:
        num_classes: K.
        clip_spec: its T, and the pictures that it is fed.
        size: of the hard-wired layer's maps.
        kernels: height and width of the three convolutions' kernels; the last ends at 1 x 1.
        factors: of the two subsamplings.
    """

    def __init__(
        self,
        num_classes: int,
        clip_spec: ClipSpec,
        *,
        size: Size,
        kernels: tuple[Size, Size, Size],
        factors: tuple[int, int],
    ) -> None:
        super().__init__()
        self.clip_spec = clip_spec
        frames = clip_spec.frames
        self.hardwired = HardwiredLayer(size)
        self.shape = Columns(3, frames, kernels[:2], factors)
        self.motion = Columns(2, frames - 1, kernels[:2], factors)
        self.maps = 6 * (3 * (frames - 4) + 2 * (frames - 5))
        # A kernel with a bias of its own for each pair of maps; `forward` sums them.
        self.c6 = nn.Conv2d(self.maps, 128 * self.maps, kernels[2], groups=self.maps)
        self.head = nn.Linear(128, num_classes)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The maps before the last convolution, of all channels and frames: `(B, 78, 1, 7, 4)`."""
        check_clip(clip, "Ji's 3D CNN", frames=self.clip_spec.frames)
        shape, motion = self.hardwired(clip)
        maps = [self.shape(shape).flatten(1, 2), self.motion(motion).flatten(1, 2)]
        return torch.cat(maps, dim=1).unsqueeze(2)

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)` of `self.clip_spec`'s T, normalised as it says; any H and W.

        Returns:
            `(B, K)` logits.
        """
        products = self.c6(self.forward_features(clip).squeeze(2))  # (B, 78 * 128, 1, 1)
        features = torch.tanh(products.unflatten(1, (self.maps, 128)).sum(dim=1))
        logits: Tensor = self.head(features.flatten(1))
        return logits


def ji_3dcnn(num_classes: int = 3) -> Ji3d:
    """The paper's network for TRECVID: 7 frames, every second one, of 60 x 40 pixels, upright.

    The whole picture is squeezed into 60 x 60 pixels on its way here, and then into 60 x 40: people
    cut out at 3 : 2 get their own shape back.

    Args:
        num_classes: K; the paper has CellToEar, ObjectPut and Pointing.
    """
    spec = _clip_spec(7, stride_frames=2, size=60)
    kernels = ((7, 7), (7, 6), (7, 4))
    return Ji3d(num_classes, spec, size=(60, 40), kernels=kernels, factors=(2, 3))


def ji_3dcnn_kth(num_classes: int = 6) -> Ji3d:
    """The paper's network for KTH: 9 frames of 60 x 80 pixels.

    The paper changed the number of maps, too, without saying how; here each channel is filtered as
    often as for TRECVID.

    Args:
        num_classes: K; KTH has 6.
    """
    spec = _clip_spec(9, stride_frames=1, size=80)
    kernels = ((7, 9), (7, 7), (4, 6))
    return Ji3d(num_classes, spec, size=(60, 80), kernels=kernels, factors=(3, 3))


def _clip_spec(frames: int, *, stride_frames: int, size: int) -> ClipSpec:
    return ClipSpec(
        frames,
        stride_frames=stride_frames,
        size=size,
        resize_short=size,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        fit="stretch",
    )


PAPER = "Ji et al., 3D Convolutional Neural Networks for Human Action Recognition, TPAMI 2013"
MODELS = {
    "ji_3dcnn": ModelRow(ji_3dcnn, PAPER, 2013, "3d"),
    "ji_3dcnn_kth": ModelRow(ji_3dcnn_kth, PAPER, 2013, "3d"),
}
PUBLISHED = (
    Published(
        "ji_3dcnn",
        "Ji et al., sec. 3",
        sizes={
            "shape.c2": (6, 5, 54, 34),  # with the next one 23 x 2 maps
            "motion.c2": (4, 4, 54, 34),
            "shape.s3": (6, 5, 27, 17),
            "motion.s3": (4, 4, 27, 17),
            "shape.c4": (18, 3, 21, 12),  # with the next one 13 x 6 maps
            "motion.c4": (12, 2, 21, 12),
            "shape.s5": (18, 3, 7, 4),
            "motion.s5": (12, 2, 7, 4),
        },
    ),
    Published(
        "ji_3dcnn",
        "Ji et al., sec. 3",
        parameters="295,458",
        erratum="its classifier has no bias; ours has one for each of its 3 classes",
    ),
)
