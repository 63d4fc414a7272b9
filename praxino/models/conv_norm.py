"""A convolution and its batch norm, the brick of 3D ResNets."""

from torch import nn

Triple = tuple[int, int, int]


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch norm; odd kernels keep the size.

    Args:
        channels: given to it.
        width: channels that it puts out.
        kernel: in T, H and W.
        stride: in T, H and W.
        groups: of channels, each seen by itself.
    """

    def __init__(
        self, channels: int, width: int, kernel: Triple, stride: Triple = (1, 1, 1), groups: int = 1
    ) -> None:
        super().__init__()
        t, h, w = kernel
        self.conv = nn.Conv3d(
            channels, width, kernel, stride, (t // 2, h // 2, w // 2), groups=groups, bias=False
        )
        self.norm = nn.BatchNorm3d(width)
