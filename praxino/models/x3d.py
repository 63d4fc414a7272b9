"""X3D: a tiny image network grown along one axis at a time.

Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020,
arXiv:2004.04730. Layers are called as in the paper's table 1.

Notable: time is never pooled before the last map; all 3 x 3 x 3 kernels are depthwise, so a block
costs about as much as its two pointwise convolutions; XS, S and M are one network on other clips.
Differs from the released code: where a test clip is larger than a training clip, that averages the
windows' probabilities; we average what goes into `head`, which is the same as averaging logits.
"""

import math
from dataclasses import replace
from typing import Literal, TypedDict, Unpack

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from praxino.models.clip_shape import check_clip
from praxino.models.row import ModelRow, Published
from praxino.video.clip_spec import ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights, evenly

__all__ = ["x3d_l", "x3d_m", "x3d_s", "x3d_xs"]

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch norm."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        *,
        stride: int = 1,
        groups: int = 1,
        norm: bool = True,
    ) -> None:
        super().__init__()
        t, h, w = kernel
        padding = (t // 2, h // 2, w // 2)
        self.conv = nn.Conv3d(
            channels, width, kernel, (1, stride, stride), padding, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm3d(width) if norm else nn.Identity()


class Stem(nn.Sequential):
    """Space first, then each channel's time; nothing stands between the two."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv3d(channels, width, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        self.temporal = nn.Conv3d(
            width, width, (5, 1, 1), padding=(2, 0, 0), groups=width, bias=False
        )
        self.norm = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what all channels are on average over the clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = _rounded(channels / 16)
        self.squeeze = nn.Conv3d(channels, width, 1)
        self.excite = nn.Conv3d(width, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to the same."""
        average = maps.mean(dim=(2, 3, 4), keepdim=True)  # (B, C, 1, 1, 1)
        return maps * self.excite(self.squeeze(average).relu()).sigmoid()


def _rounded(width: float) -> int:
    """To a multiple of 8, at least 8, and never less than 90 % of what was asked for."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * width else nearest + 8


class Block(nn.Module):
    """An inverted bottleneck: wider by 2.25 inside, where each channel has its own 3D kernel."""

    def __init__(
        self, channels: int, width: int, *, stride: int, excited: bool, shortcut_norm: bool
    ) -> None:
        super().__init__()
        inner = int(2.25 * width)
        self.widen = ConvNorm(channels, inner)
        self.depthwise = ConvNorm(inner, inner, (3, 3, 3), stride=stride, groups=inner)
        self.excitation = SqueezeExcitation(inner) if excited else nn.Identity()
        self.narrow = ConvNorm(inner, width)
        changes = stride != 1 or channels != width
        self.shortcut = (
            ConvNorm(channels, width, stride=stride, norm=shortcut_norm)
            if changes
            else nn.Identity()
        )

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, width, T, H / stride, W / stride)`."""
        inner = self.depthwise(self.widen(maps).relu())
        inner = functional.silu(self.excitation(inner))  # the paper's Swish
        result: Tensor = (self.narrow(inner) + self.shortcut(maps)).relu()
        return result


class X3d(nn.Module):
    """conv1, four stages of blocks, conv5, pooling and two layers; see `x3d_s` for options."""

    def __init__(
        self,
        num_classes: int,
        depths: tuple[int, int, int, int],
        *,
        window: tuple[int, int, int],
        clip_spec: ClipSpec,
        pool: Literal["windows", "clip"] = "windows",
        first_shortcut_norm: bool = False,
    ) -> None:
        super().__init__()
        if pool not in ("windows", "clip"):
            raise ValueError(f"pool is 'windows' or 'clip', not {pool!r}.")
        self.window, self.pool = window, pool
        self.conv1 = Stem(3, 24)
        self.res2 = _stage(24, 24, depths[0], first_shortcut_norm)
        self.res3 = _stage(24, 48, depths[1])
        self.res4 = _stage(48, 96, depths[2])
        self.res5 = _stage(96, 192, depths[3])
        self.conv5 = ConvNorm(192, 432)
        self.fc1 = nn.Linear(432, 2048, bias=False)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(2048, num_classes)
        self.clip_spec = clip_spec
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 432, T, H / 32, W / 32)`, rounded up."""
        check_clip(clip, "X3D")
        maps = self.conv1(clip)  # (B, 24, T, H / 2, W / 2)
        maps = self.res2(maps)  # (B, 24, T, H / 4, W / 4)
        maps = self.res3(maps)  # (B, 48, T, H / 8, W / 8)
        maps = self.res4(maps)  # (B, 96, T, H / 16, W / 16)
        maps = self.res5(maps)  # (B, 192, T, H / 32, W / 32)
        result: Tensor = self.conv5(maps).relu()
        return result

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits.
        """
        maps = self.forward_features(clip)
        size = (maps.shape[2], maps.shape[3], maps.shape[4])
        window = size if self.pool == "clip" else tuple(map(min, self.window, size))
        pooled = functional.avg_pool3d(maps, window, stride=1)
        vectors = rearrange(pooled, "b d t h w -> b (t h w) d")  # one for each window
        vectors = self.dropout(self.fc1(vectors).relu()).mean(dim=1)  # (B, 2048)
        logits: Tensor = self.head(vectors)
        return logits


def _stage(channels: int, width: int, depth: int, first_shortcut_norm: bool = True) -> nn.Module:
    blocks = [
        Block(
            width if number else channels,
            width,
            stride=1 if number else 2,
            excited=number % 2 == 0,  # every other block, counted from the first
            shortcut_norm=first_shortcut_norm,
        )
        for number in range(depth)
    ]
    return nn.Sequential(*blocks)


class X3dOptions(TypedDict, total=False):
    """Options of every X3D.

    Attributes:
        frames: T of `clip_spec`; any T can be fed.
        size: H and W of `clip_spec`, in pixels: by default the crop that the released weights were
            trained on. With released weights, the larger one that their accuracies are for.
        resize_short: the short side before cropping, in pixels.
        pool: what is averaged before the two last layers. "windows": every window as large as a
            training clip, one pixel apart, and after the layers these; "clip": the whole map. The
            same for clips up to the size of a training clip.
        first_shortcut_norm: whether the first block's shortcut has a batch norm: 48 parameters
            that PySlowFast's and MMAction2's networks have, PyTorchVideo's and ours do not. Weights
            of either kind load into both, and compute the same.
    """

    frames: int
    size: int
    resize_short: int
    pool: Literal["windows", "clip"]
    first_shortcut_norm: bool


def _x3d(
    num_classes: int,
    options: X3dOptions,
    *,
    depths: tuple[int, int, int, int] = (3, 5, 11, 7),
    frames: int,
    stride_frames: int,
    size: int,
    resize_short: int,
) -> X3d:
    return X3d(
        num_classes,
        depths,
        window=(frames, math.ceil(size / 32), math.ceil(size / 32)),
        clip_spec=ClipSpec(
            options.get("frames", frames),
            stride_frames=stride_frames,
            size=options.get("size", size),
            resize_short=options.get("resize_short", resize_short),
            mean=MEAN,
            std=STD,
        ),
        pool=options.get("pool", "windows"),
        first_shortcut_norm=options.get("first_shortcut_norm", False),
    )


def x3d_xs(num_classes: int = 400, **options: Unpack[X3dOptions]) -> X3d:
    """X3D-XS: 3.8 million parameters, 0.6 G multiply-adds for a clip of 4 x 160 x 160.

    Args:
        num_classes: K.
        **options: see `X3dOptions`.
    """
    return _x3d(num_classes, options, frames=4, stride_frames=12, size=160, resize_short=182)


def x3d_s(num_classes: int = 400, **options: Unpack[X3dOptions]) -> X3d:
    """X3D-S: the same network as XS, 2.0 G multiply-adds for a clip of 13 x 160 x 160.

    Args:
        num_classes: K.
        **options: see `X3dOptions`.
    """
    return _x3d(num_classes, options, frames=13, stride_frames=6, size=160, resize_short=182)


def x3d_m(num_classes: int = 400, **options: Unpack[X3dOptions]) -> X3d:
    """X3D-M: the same network as XS, 4.7 G multiply-adds for a clip of 16 x 224 x 224.

    Args:
        num_classes: K.
        **options: see `X3dOptions`.
    """
    return _x3d(num_classes, options, frames=16, stride_frames=5, size=224, resize_short=256)


def x3d_l(num_classes: int = 400, **options: Unpack[X3dOptions]) -> X3d:
    """X3D-L: twice as deep, 6.2 million parameters, 18.4 G for a clip of 16 x 312 x 312.

    Args:
        num_classes: K.
        **options: see `X3dOptions`.
    """
    depths = (5, 10, 25, 15)
    return _x3d(
        num_classes, options, depths=depths, frames=16, stride_frames=5, size=312, resize_short=356
    )


_ZOO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"
_PYSLOWFAST_ZOO = "https://dl.fbaipublicfiles.com/pyslowfast/x3d_models/"
_MMACTION2_ZOO = "https://download.openmmlab.com/mmaction/v1.0/recognition/x3d/facebook/"


def _weights(
    url: str,
    *,
    top1: float,
    top5: float | None = None,
    protocol: str,
    licence: str,
    layout: str,
    size: int | None = None,
    sha256_prefix: str | None = None,
) -> Weights:
    return Weights(
        url=url,
        sha256_prefix=sha256_prefix,
        trained_on="Kinetics-400",
        num_classes=400,
        licence=licence,
        accuracy={"top1": top1} if top5 is None else {"top1": top1, "top5": top5},
        protocol=protocol,
        layout=layout,
        options={"pool": "clip"} if layout == "mmaction2" else {},  # ported, and pooled otherwise
        clip={} if size is None else {"size": size, "resize_short": size},
    )


def _of_pytorchvideo(file: str, size: int, top1: float, top5: float) -> Weights:
    return _weights(
        _ZOO + file,
        top1=top1,
        top5=top5,
        protocol=f"video level, 10 clips x 3 crops of {size}, the short side {size}",
        licence="Apache-2.0 (pytorchvideo)",
        layout="pytorchvideo",
        size=size,
    )


def _for_phones(file: str, top1: float, top5: float) -> Weights:
    return _weights(
        _ZOO + file,
        top1=top1,
        top5=top5,
        protocol="video level, 10 clips; nothing is said of the crops",
        licence="Apache-2.0 (pytorchvideo)",
        layout="pytorchvideo",
    )


def _of_pyslowfast(file: str, size: int, top1: float) -> Weights:
    return _weights(
        _PYSLOWFAST_ZOO + file,
        top1=top1,
        protocol=f"video level, 10 clips x 3 crops of {size}, the short side {size}",
        licence="Apache-2.0 (PySlowFast)",
        layout="pyslowfast",
        size=size,
    )


def _of_mmaction2(file: str, size: int, top1: float) -> Weights:
    return _weights(
        _MMACTION2_ZOO + file,
        top1=top1,
        protocol=f"video level, 10 clips x 3 crops of {size}, the short side {size}",
        licence="Apache-2.0 (mmaction2)",
        layout="mmaction2",
        size=size,
        sha256_prefix=file.rsplit("-", 1)[1].split(".")[0],
    )


def _every(frames: int, stride: int, weights: dict[str, Weights]) -> dict[str, Weights]:
    """All three toolkits count frames of 30 per second, whatever the video's own rate.

    Only MMAction2 takes exactly every n-th of them.
    """
    exactly = {"stride_frames": None, "frames_per_second": 30 / stride}
    return {
        key: replace(
            row,
            clip={
                **row.clip,
                **(exactly if row.layout == "mmaction2" else evenly(frames, stride)),
            },
        )
        for key, row in weights.items()
    }


WEIGHTS_XS = _every(
    4,
    12,
    {
        "kinetics400": _of_pytorchvideo("X3D_XS.pyth", 182, 69.12, 88.63),
        "kinetics400_efficient": _for_phones("efficient_x3d_xs_original_form.pyth", 68.5, 88.0),
        "kinetics400_pyslowfast": _of_pyslowfast("x3d_xs.pyth", 182, 69.5),
    },
)
WEIGHTS_S = _every(
    13,
    6,
    {
        "kinetics400": _of_pytorchvideo("X3D_S.pyth", 182, 73.33, 91.27),
        "kinetics400_efficient": _for_phones("efficient_x3d_s_original_form.pyth", 73.0, 90.6),
        "kinetics400_mmaction2": _of_mmaction2(
            "x3d_s_13x6x1_facebook-kinetics400-rgb_20201027-623825a0.pth", 182, 73.3
        ),
        "kinetics400_pyslowfast": _of_pyslowfast("x3d_s.pyth", 182, 73.5),
    },
)
WEIGHTS_M = _every(
    16,
    5,
    {
        "kinetics400": _of_pytorchvideo("X3D_M.pyth", 256, 75.94, 92.72),
        "kinetics400_mmaction2": _of_mmaction2(
            "x3d_m_16x5x1_facebook-kinetics400-rgb_20201027-3f42382a.pth", 256, 76.4
        ),
        "kinetics400_pyslowfast": _of_pyslowfast("x3d_m.pyth", 256, 76.2),
    },
)
WEIGHTS_L = _every(
    16,
    5,
    {
        "kinetics400": _of_pyslowfast("x3d_l.pyth", 356, 77.5),
    },
)

_PYTORCHVIDEO_NAMES = (
    (r"^blocks\.0\.conv\.conv_t\.", "conv1.spatial."),  # its name notwithstanding
    (r"^blocks\.0\.conv\.conv_xy\.", "conv1.temporal."),
    (r"^blocks\.0\.norm\.", "conv1.norm."),
    (r"^blocks\.5\.pool\.pre_(conv|norm)\.", r"conv5.\1."),
    (r"^blocks\.5\.pool\.post_conv\.", "fc1."),
    (r"^blocks\.5\.proj\.", "head."),
    (r"^blocks\.1\.res_blocks\.", "res2."),
    (r"^blocks\.2\.res_blocks\.", "res3."),
    (r"^blocks\.3\.res_blocks\.", "res4."),
    (r"^blocks\.4\.res_blocks\.", "res5."),
    (r"\.branch1_(conv|norm)\.", r".shortcut.\1."),
    (r"\.branch2\.norm_b\.1\.block\.0\.", ".excitation.squeeze."),
    (r"\.branch2\.norm_b\.1\.block\.2\.", ".excitation.excite."),
    (r"\.branch2\.norm_b\.0\.", ".branch2.norm_b."),
    (r"\.branch2\.(conv|norm)_a\.", r".widen.\1."),
    (r"\.branch2\.(conv|norm)_b\.", r".depthwise.\1."),
    (r"\.branch2\.(conv|norm)_c\.", r".narrow.\1."),
)

# Of PyTorchVideo's networks for phones, in the form in which they are published.
_EFFICIENT_NAMES = (
    (r"\.kernel\.", "."),
    (r"\.bn\.", ".norm."),
    (r"^s1\.pathway0_stem_conv_xy\.conv\.", "conv1.spatial."),
    (r"^s1\.pathway0_stem_conv\.conv\.", "conv1.temporal."),
    (r"^s1\.pathway0_stem_conv\.", "conv1."),
    (r"^s(\d)\.pathway0_res(\d+)\.", r"res\1.\2."),
    (r"\._res_proj\.", ".shortcut."),
    (r"\.layers\.conv_0\.", ".widen."),
    (r"\.layers\.conv_1\.", ".depthwise."),
    (r"\.layers\.conv_2\.", ".narrow."),
    (r"\.layers\.se\.se\.block\.0\.", ".excitation.squeeze."),
    (r"\.layers\.se\.se\.block\.2\.", ".excitation.excite."),
    (r"^head\.conv_5\.", "conv5."),
    (r"^head\.lin_5\.conv\.", "fc1."),
    (r"^projection\.model\.", "head."),
)

_PYSLOWFAST_NAMES = (
    (r"^s1\.pathway0_stem\.conv_xy\.", "conv1.spatial."),
    (r"^s1\.pathway0_stem\.conv\.", "conv1.temporal."),
    (r"^s1\.pathway0_stem\.bn\.", "conv1.norm."),
    (r"^s(\d)\.pathway0_res(\d+)\.", r"res\1.\2."),
    (r"\.branch1\.", ".shortcut.conv."),
    (r"\.branch1_bn\.", ".shortcut.norm."),
    (r"\.branch2\.a\.", ".widen.conv."),
    (r"\.branch2\.a_bn\.", ".widen.norm."),
    (r"\.branch2\.b\.", ".depthwise.conv."),
    (r"\.branch2\.b_bn\.", ".depthwise.norm."),
    (r"\.branch2\.c\.", ".narrow.conv."),
    (r"\.branch2\.c_bn\.", ".narrow.norm."),
    (r"\.branch2\.se\.fc1\.", ".excitation.squeeze."),
    (r"\.branch2\.se\.fc2\.", ".excitation.excite."),
    (r"^head\.conv_5\.", "conv5.conv."),
    (r"^head\.conv_5_bn\.", "conv5.norm."),
    (r"^head\.lin_5\.", "fc1."),
    (r"^head\.projection\.", "head."),
)

_MMACTION2_NAMES = (
    (r"\.bn\.", ".norm."),
    (r"^backbone\.conv1_s\.conv\.", "conv1.spatial."),
    (r"^backbone\.conv1_t\.conv\.", "conv1.temporal."),
    (r"^backbone\.conv1_t\.", "conv1."),
    (r"^backbone\.layer1\.", "res2."),
    (r"^backbone\.layer2\.", "res3."),
    (r"^backbone\.layer3\.", "res4."),
    (r"^backbone\.layer4\.", "res5."),
    (r"\.downsample\.", ".shortcut."),
    (r"\.conv1\.", ".widen."),
    (r"\.conv2\.", ".depthwise."),
    (r"\.conv3\.", ".narrow."),
    (r"\.se_module\.fc1\.", ".excitation.squeeze."),
    (r"\.se_module\.fc2\.", ".excitation.excite."),
    (r"^backbone\.conv5\.", "conv5."),
    (r"^cls_head\.fc1\.", "fc1."),
    (r"^cls_head\.fc2\.", "head."),
)


def from_pytorchvideo(state: State, model: nn.Module) -> State:
    """Rename the entries of PyTorchVideo's `x3d_*`, or of its `efficient_x3d_*` for phones."""
    efficient = "projection.model.weight" in state
    return _fitted(rename(state, _EFFICIENT_NAMES if efficient else _PYTORCHVIDEO_NAMES), model)


def from_pyslowfast(state: State, model: nn.Module) -> State:
    """Rename the entries of PySlowFast's `X3D`."""
    return _fitted(rename(state, _PYSLOWFAST_NAMES), model)


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's X3D recogniser."""
    return _fitted(rename(state, _MMACTION2_NAMES), model)


def _fitted(state: State, model: nn.Module) -> State:
    """fc1 as a matrix, and the first shortcut with a norm or without, as the model has it."""
    state["fc1.weight"] = state["fc1.weight"].flatten(1)  # a 1 x 1 x 1 convolution in some
    conv, norm = "res2.0.shortcut.conv.weight", "res2.0.shortcut.norm"
    given, wanted = f"{norm}.weight" in state, f"{norm}.weight" in model.state_dict()
    if given and not wanted:
        # Trained statistics are constants, so the norm goes into the weights on either side of it.
        mean, variance = state.pop(f"{norm}.running_mean"), state.pop(f"{norm}.running_var")
        scale = state.pop(f"{norm}.weight") / (variance + 1e-5).sqrt()
        shift = state.pop(f"{norm}.bias") - mean * scale
        state.pop(f"{norm}.num_batches_tracked", None)
        state[conv] = state[conv] * scale[:, None, None, None, None]
        bias = "res2.0.narrow.norm.bias"  # of what the shortcut is added to
        state[bias] = state[bias] + shift
    if wanted and not given:
        ones = state[conv].new_ones(len(state[conv]))
        state |= {
            f"{norm}.weight": ones * math.sqrt(1 + 1e-5),  # so that it changes nothing
            f"{norm}.bias": 0 * ones,
            f"{norm}.running_mean": 0 * ones,
            f"{norm}.running_var": ones,
        }
    return state


LAYOUTS = {
    "pytorchvideo": from_pytorchvideo,
    "pyslowfast": from_pyslowfast,
    "mmaction2": from_mmaction2,
}

PAPER = "Feichtenhofer, X3D: Expanding Architectures for Efficient Video Recognition, CVPR 2020"
MODELS = {
    "x3d_l": ModelRow(x3d_l, PAPER, 2020, "efficient", weights=WEIGHTS_L, layouts=LAYOUTS),
    "x3d_m": ModelRow(x3d_m, PAPER, 2020, "efficient", weights=WEIGHTS_M, layouts=LAYOUTS),
    "x3d_s": ModelRow(x3d_s, PAPER, 2020, "efficient", weights=WEIGHTS_S, layouts=LAYOUTS),
    "x3d_xs": ModelRow(x3d_xs, PAPER, 2020, "efficient", weights=WEIGHTS_XS, layouts=LAYOUTS),
}

_PYSLOWFAST, _PYTORCHVIDEO = "PySlowFast's model zoo", "PyTorchVideo's model zoo"
_NORMS_COUNTED = "that zoo's counter adds the work of batch norms, 7 to 9 % of a network this thin"
PUBLISHED = (
    Published("x3d_xs", _PYTORCHVIDEO, parameters="3.79 M"),
    Published("x3d_s", _PYTORCHVIDEO, parameters="3.79 M"),
    Published("x3d_m", _PYTORCHVIDEO, parameters="3.79 M"),
    Published("x3d_xs", _PYSLOWFAST, parameters="3.8 M", multiply_adds="0.60 G"),
    Published("x3d_s", _PYSLOWFAST, parameters="3.8 M", multiply_adds="1.96 G"),
    Published("x3d_m", _PYSLOWFAST, parameters="3.8 M", multiply_adds="4.73 G"),
    Published("x3d_l", _PYSLOWFAST, parameters="6.2 M", multiply_adds="18.37 G"),
    Published(
        "x3d_s",
        "MMAction2's model zoo",
        options={"first_shortcut_norm": True},
        parameters="3,794,322",
    ),
    *(
        Published(
            model, _PYTORCHVIDEO, clip=clip, multiply_adds=multiply_adds, erratum=_NORMS_COUNTED
        )
        for model, clip, multiply_adds in (
            ("x3d_xs", (3, 4, 182, 182), "0.91 G"),
            ("x3d_s", (3, 13, 182, 182), "2.96 G"),
            ("x3d_m", (3, 16, 256, 256), "6.72 G"),
        )
    ),
)
