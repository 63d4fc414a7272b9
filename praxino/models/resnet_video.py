"""The residual network of C2D, I3D-R50, Slow and both pathways of SlowFast: one trunk, one table.

Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971 (C2D and I3D, table 1);
Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, arXiv:1812.03982 (Slow,
Fast, table 1).

Notable: a ResNet whose bottlenecks span time, if at all, in their first convolution; the networks
differ in which ones do, and in what halves time.
Differs from the papers: see each network's file. Toolkits differ in the last step on clips larger
than 224 pixels, see `AverageWindows`.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any, TypedDict

from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from praxino.models.clip_shape import check_clip
from praxino.models.conv_norm import ConvNorm
from praxino.video.clip_spec import IMAGENET_MEAN, IMAGENET_STD, ClipSpec
from praxino.weights.fitting import State, rename
from praxino.weights.published import Weights, evenly

# How many bottlenecks res2 to res5 have, by depth.
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

# Of a pixel in [0, 1], as PyTorchVideo and PySlowFast normalise it.
MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


class Bottleneck(nn.Module):
    """Over time (or not), over space, back to full width; and a shortcut around them."""

    def __init__(self, channels: int, width: int, time_kernel: int, stride: int) -> None:
        super().__init__()
        strides = (1, stride, stride)
        self.conv_a = ConvNorm(channels, width, (time_kernel, 1, 1))
        self.conv_b = ConvNorm(width, width, (1, 3, 3), strides)
        self.conv_c = ConvNorm(width, 4 * width, (1, 1, 1))
        changes = stride != 1 or channels != 4 * width
        self.shortcut = (
            ConvNorm(channels, 4 * width, (1, 1, 1), strides) if changes else nn.Identity()
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, channels, T, H, W)` to `(B, 4 * width, T, H, W)`, H and W divided by the stride."""
        out = self.relu(self.conv_a(maps))
        out = self.relu(self.conv_b(out))
        result: Tensor = self.relu(self.conv_c(out) + self.shortcut(maps))
        return result


class Trunk(nn.Module):
    """conv1, pool1 and the stages res2 to res5, named as in the papers' tables.

    Args:
        kernels: for res2 to res5, the temporal kernel of each bottleneck: 1 or 3.
        width: channels of conv1; res2 to res5 have 4, 8, 16 and 32 times as many.
        conv1_kernel: of conv1, in frames.
        conv1_stride: of conv1 and of pool1, in frames.
        pool1_padding: of pool1, in space.
        pool2: whether a max pooling after res2 halves time.
        joined: channels that come from another pathway for each one here, before every stage.
    """

    def __init__(
        self,
        kernels: Sequence[Sequence[int]],
        *,
        width: int = 64,
        conv1_kernel: int = 1,
        conv1_stride: int = 1,
        pool1_padding: int = 1,
        pool2: bool = False,
        joined: float = 0,
    ) -> None:
        super().__init__()
        more = 1 + joined
        self.conv1 = ConvNorm(3, width, (conv1_kernel, 7, 7), (conv1_stride, 2, 2))
        self.relu = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool3d(
            (1, 3, 3), stride=(conv1_stride, 2, 2), padding=(0, pool1_padding, pool1_padding)
        )
        self.res2 = _stage(int(width * more), width, kernels[0], stride=1)
        self.pool2 = nn.MaxPool3d((2, 1, 1)) if pool2 else nn.Identity()
        self.res3 = _stage(int(4 * width * more), 2 * width, kernels[1], stride=2)
        self.res4 = _stage(int(8 * width * more), 4 * width, kernels[2], stride=2)
        self.res5 = _stage(int(16 * width * more), 8 * width, kernels[3], stride=2)
        self.width = 32 * width

    def stem(self, clip: Tensor) -> Tensor:
        """conv1 and pool1: `(B, 3, T, H, W)` to `(B, width, T, H / 4, W / 4)`."""
        maps: Tensor = self.pool1(self.relu(self.conv1(clip)))
        return maps

    def forward(self, clip: Tensor) -> Tensor:
        """`(B, 3, T, H, W)` to `(B, 32 * width, T, H / 32, W / 32)`, rounded up."""
        maps = self.pool2(self.res2(self.stem(clip)))  # (B, 4 * width, T, H / 4, W / 4)
        result: Tensor = self.res5(self.res4(self.res3(maps)))
        return result


class AverageWindows(nn.Module):
    """Averages over all of time and over windows in space, one step apart.

    Networks that learned on 7 x 7 positions and look at 8 x 8 in a test average each 7 x 7 of them
    in PyTorchVideo and PySlowFast, so that the border counts less; MMAction2 averages all.

    Args:
        size: H and W of a window; a smaller map is one window. None: any map is.
    """

    def __init__(self, size: int | None) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to `(B, C, 1, H', W')`."""
        frames, height, width = maps.shape[2:]
        size = self.size or max(height, width)
        return avg_pool3d(maps, (frames, min(size, height), min(size, width)), stride=1)


class Options(TypedDict, total=False):
    """What every network here can be asked for.

    Args:
        frames: T of `clip_spec`; any T can be fed.
        stride_frames: of `clip_spec`: every n-th frame of the video; None: spread over all of it.
        size: H and W of `clip_spec`, in pixels; 256 as in the authors' tests, who train on 224.
        window: see `AverageWindows`; 7, or None for weights of MMAction2.
        width: channels of conv1; 64.
    """

    frames: int
    stride_frames: int | None
    size: int
    window: int | None
    width: int


class VideoResNet(nn.Module):
    """A trunk and a classifier: C2D, I3D-R50, Slow, Fast.

    Args:
        name: in error messages.
        num_classes: K.
        kernels: as of `Trunk`, and so are the next four.
        conv1_kernel: in frames.
        conv1_stride: in frames.
        pool1_padding: in space.
        pool2: whether time is halved after res2.
        width: as in `Options`, and so are the rest.
        frames: T.
        stride_frames: in frames of the video.
        size: H and W.
        window: H and W of the windows that are averaged.
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        kernels: Sequence[Sequence[int]],
        *,
        conv1_kernel: int = 1,
        conv1_stride: int = 1,
        pool1_padding: int = 1,
        pool2: bool = False,
        width: int = 64,
        frames: int = 8,
        stride_frames: int | None = 8,
        size: int = 256,
        window: int | None = 7,
    ) -> None:
        super().__init__()
        self.name = name
        self.trunk = Trunk(
            kernels,
            width=width,
            conv1_kernel=conv1_kernel,
            conv1_stride=conv1_stride,
            pool1_padding=pool1_padding,
            pool2=pool2,
        )
        self.least_frames = conv1_stride**2 + 1 if pool2 else 1  # pool2 needs two
        self.least_size = 1 if pool1_padding else 5  # pool1 needs three
        self.pool = AverageWindows(window)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(self.trunk.width, num_classes)
        self.clip_spec = ClipSpec(
            frames, stride_frames=stride_frames, size=size, resize_short=size, mean=MEAN, std=STD
        )
        initialise(self)

    def forward_features(self, clip: Tensor) -> Tensor:
        """The map before pooling: `(B, 2048, T, H / 32, W / 32)`, rounded up.

        T is divided by 2 with pool2, and by 8 in I3D's 32-frame form.
        """
        check_clip(clip, self.name, least_frames=self.least_frames, least_size=self.least_size)
        maps: Tensor = self.trunk(clip)
        return maps

    def forward_windows(self, clip: Tensor) -> Tensor:
        """`(B, H', W', K)`: logits of each window of `AverageWindows`, one up to 224 pixels.

        PySlowFast evaluates by the mean of their softmax, everyone else by their mean.
        """
        windows = self.pool(self.forward_features(clip))[:, :, 0]  # (B, 2048, H', W')
        logits: Tensor = self.head(self.dropout(windows.movedim(1, -1)))
        return logits

    def forward(self, clip: Tensor) -> Tensor:
        """Classify clips.

        Args:
            clip: `(B, 3, T, H, W)`, normalised as `self.clip_spec` says; any size.

        Returns:
            `(B, K)` logits.
        """
        return self.forward_windows(clip).mean((1, 2))


def initialise(model: nn.Module) -> None:
    """Start as the authors do: He's normal weights, each residual block as the identity."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.conv_c.norm.weight)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def alternating(depth: int, *patterns: tuple[int, ...]) -> list[list[int]]:
    """Temporal kernels of res2 to res5: one pattern for each stage, repeated through its blocks."""
    return [
        list(islice(cycle(pattern), blocks))
        for pattern, blocks in zip(patterns, BLOCKS[depth], strict=True)
    ]


def _stage(channels: int, width: int, kernels: Sequence[int], stride: int) -> nn.Sequential:
    first, *rest = kernels
    blocks = [Bottleneck(4 * width, width, kernel, stride=1) for kernel in rest]
    return nn.Sequential(Bottleneck(channels, width, first, stride), *blocks)


# Each toolkit's rules lead to "pathway0.res2.0.conv_a.conv.weight", in SlowFast "pathway1..." for
# the fast one; `_ours` puts the model's own names for its pathways in.
_PYSLOWFAST_NAMES = (
    (r"^s1\.(pathway\d)_stem\.bn\.", r"\1.conv1.norm."),
    (r"^s1\.(pathway\d)_stem\.", r"\1.conv1."),
    (r"^s(\d)\.(pathway\d)_res(\d+)\.branch2\.([abc])_bn\.", r"\2.res\1.\3.conv_\4.norm."),
    (r"^s(\d)\.(pathway\d)_res(\d+)\.branch2\.([abc])\.", r"\2.res\1.\3.conv_\4.conv."),
    (r"^s(\d)\.(pathway\d)_res(\d+)\.branch1_bn\.", r"\2.res\1.\3.shortcut.norm."),
    (r"^s(\d)\.(pathway\d)_res(\d+)\.branch1\.", r"\2.res\1.\3.shortcut.conv."),
    (r"^s(\d)\.(pathway\d)_nonlocal(\d+)\.", r"\2.res\1.\3.non_local."),
    (r"\.non_local\.conv_", ".non_local."),
    (r"^s1_fuse\.", "lateral.pool1."),
    (r"^s(\d)_fuse\.", r"lateral.res\1."),
    (r"^(lateral\.\w+)\.conv_f2s\.", r"\1.conv."),
    (r"\.bn\.", ".norm."),
    (r"^head\.projection\.", "head."),
)


def from_pyslowfast(state: State, model: nn.Module) -> State:
    """Rename the entries of PySlowFast's `ResNet` and `SlowFast`, as saved by PyTorch."""
    return _ours(rename(state, _PYSLOWFAST_NAMES), model)


_CAFFE2_NAMES = (
    (r"^t_(pool1|res\d)(_\d+_branch2c_bn)?_subsample_", r"lateral.\1."),
    (r"^(t_)?(res_)?conv1_", r"\1conv1."),
    (r"^(t_)?res(\d)_(\d+)_branch2([abc])_", r"\1res\2.\3.conv_\4."),
    (r"^(t_)?res(\d)_(\d+)_branch1_", r"\1res\2.\3.shortcut."),
    (r"^nonlocal_conv(\d)_(\d+)_", r"res\1.\2.non_local."),
    (r"^t_", "pathway1."),
    (r"^(conv1|res\d)\.", r"pathway0.\1."),
    (r"^pred_", "head_"),
    (r"\.bn_s$", ".norm.weight"),
    (r"\.bn_b$", ".norm.bias"),
    (r"\.bn_rm$", ".norm.running_mean"),
    (r"\.bn_riv$", ".norm.running_var"),  # despite the i of "inverse", the variance itself
    (r"^(head|.*\.non_local\.(theta|phi|g|out))_w$", r"\1.weight"),
    (r"^(head|.*\.non_local\.(theta|phi|g|out))_b$", r"\1.bias"),
    (r"\.w$", ".conv.weight"),
)


def from_caffe2(state: State, model: nn.Module) -> State:
    """Rename the blobs of the Caffe2 files in PySlowFast's model zoo, without the optimiser's."""
    blobs = {
        name: value
        for name, value in state.items()
        if not name.endswith("_momentum") and name not in ("lr", "model_iter")
    }
    return _ours(rename(blobs, _CAFFE2_NAMES), model)


_PYTORCHVIDEO_NAMES = (
    (r"^(\w+)\.multipathway_blocks\.(\d)\.", r"pathway\2.\1."),
    (r"^(conv1|res\d)\.(?!multipathway)", r"pathway0.\1."),
    (r"^conv1\.multipathway_fusion\.", "lateral.pool1."),
    (r"^(res\d)\.multipathway_fusion\.", r"lateral.\1."),
    (r"\.conv_fast_to_slow\.", ".conv."),
    (r"\.res_blocks\.", "."),
    (r"\.branch1_(conv|norm)\.", r".shortcut.\1."),
    (r"\.branch2\.(conv|norm)_([abc])\.", r".conv_\2.\1."),
    (r"^head\.proj\.", "head."),
)


def from_pytorchvideo(state: State, model: nn.Module) -> State:
    """Rename the entries of PyTorchVideo's `create_resnet` and `create_slowfast`."""
    # Blocks are numbered, and poolings without weights count too: the order tells the stage.
    numbers = sorted({int(name.split(".")[1]) for name in state})
    stages = dict(zip(numbers, ("conv1", "res2", "res3", "res4", "res5", "head"), strict=True))
    named = {}
    for name, value in state.items():
        _, number, rest = name.split(".", 2)
        named[f"{stages[int(number)]}.{rest}"] = value
    return _ours(rename(named, _PYTORCHVIDEO_NAMES), model)


_MMACTION2_NAMES = (
    (r"^backbone\.(slow_path\.)?(conv1|layer\d)_lateral\.", r"lateral.\2."),
    (r"^lateral\.conv1\.", "lateral.pool1."),
    (r"^backbone\.(slow_path\.)?(?=conv1|layer)", "pathway0."),
    (r"^backbone\.fast_path\.", "pathway1."),
    *((rf"\.layer{number}\.", f".res{number + 1}.") for number in (1, 2, 3, 4)),
    (r"(\.\d+)\.conv1\.", r"\1.conv_a."),
    (r"(\.\d+)\.conv2\.", r"\1.conv_b."),
    (r"(\.\d+)\.conv3\.", r"\1.conv_c."),
    (r"\.downsample\.", ".shortcut."),
    (r"\.non_local_block\.(theta|phi|g)(\.0)?\.conv\.", r".non_local.\1."),
    (r"\.non_local_block\.conv_out\.conv\.", ".non_local.out."),
    (r"\.non_local_block\.conv_out\.bn\.", ".non_local.norm."),
    (r"\.bn\.", ".norm."),
    (r"^cls_head\.fc_cls\.", "head."),
)


def from_mmaction2(state: State, model: nn.Module) -> State:
    """Rename the entries of MMAction2's C2D, I3D, SlowOnly and SlowFast recognisers.

    Its SlowFast fits one that was built with `lateral_norm=False`: the `slowfast_mmaction2_*`.
    """
    ours = _ours(rename(state, _MMACTION2_NAMES), model)
    # C2D's kernels are 2D there: of a single frame.
    ours = {name: value[:, :, None] if value.ndim == 4 else value for name, value in ours.items()}
    if isinstance(fast := getattr(model, "fast", None), Trunk):
        # What comes from Fast stands first there, whatever the variables in their head are called.
        ours["head.weight"] = ours["head.weight"].roll(-fast.width, dims=1)
    return ours


def _ours(state: State, model: nn.Module) -> State:
    """Names of pathways and of blocks behind which `insert_non_local` has put another."""
    slow = "trunk." if hasattr(model, "trunk") else "slow."
    rules = [(r"^pathway0\.", slow), (r"^pathway1\.", "fast.")]
    for name, module in model.named_modules():
        if hasattr(module, "non_local"):
            rules.append((rf"^{re.escape(name)}\.(?!non_local)", f"{name}.layer."))
    return rename(state, rules)


LAYOUTS = {
    "pytorchvideo": from_pytorchvideo,
    "pyslowfast": from_pyslowfast,
    "caffe2": from_caffe2,
    "mmaction2": from_mmaction2,
}


# How all three toolkits test on Kinetics.
THIRTY_VIEWS = "video level, 10 clips x 3 crops of 256 from a short side of 256"

# Of these toolkits but MMAction2, which counts the video's own frames.
EVENLY_4X16, EVENLY_8X8 = evenly(4, 16), evenly(8, 8)
EVENLY_32X2, EVENLY_64X2 = evenly(32, 2), evenly(64, 2)

_CHARADES = (
    "video level, 10 clips of {} frames at {:g} per second (stride {} of the pictures published at "
    "24), 3 crops of 256; a sigmoid for each class, its maximum over all views"
)


def charades(frames: int, stride: int) -> dict[str, Any]:
    """How PySlowFast and PyTorchVideo test on Charades, as arguments of `Weights`.

    Args:
        frames: T.
        stride: in pictures of the data set, of which there are 24 per second.
    """
    rate = 24 / stride
    return {
        "trained_on": "Kinetics-400, then Charades",
        "num_classes": 157,
        "protocol": _CHARADES.format(frames, rate, stride),
        "clip": {"stride_frames": None, "frames_per_second": rate},
    }


# Of some multiply-adds in PyTorchVideo's zoo: why they are not ours.
ONE_PERCENT_MORE = "counted with the batch norms, which are no products: one or two percent more"


def pytorchvideo_weights(
    file: str,
    accuracy: Mapping[str, float],
    *,
    trained_on: str = "Kinetics-400",
    num_classes: int = 400,
    protocol: str = THIRTY_VIEWS,
    clip: Mapping[str, Any] | None = None,
) -> Weights:
    """A row of PyTorchVideo's model zoo.

    Args:
        file: with its folder there.
        accuracy: as of `Weights`, and so are the rest.
        trained_on: the data sets.
        num_classes: K.
        protocol: of the accuracy.
        clip: settings of `clip_spec` for which it holds.
    """
    return Weights(
        url=f"https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/{file}",
        sha256_prefix=None,
        trained_on=trained_on,
        num_classes=num_classes,
        licence="Apache-2.0 (pytorchvideo)",
        accuracy=accuracy,
        protocol=protocol,
        layout="pytorchvideo",
        clip=clip or {},
    )


def caffe2_weights(file: str, accuracy: Mapping[str, float], *, clip: Mapping[str, Any]) -> Weights:
    """A row of PySlowFast's model zoo that was trained in Caffe2, on Kinetics-400.

    Args:
        file: its name there.
        accuracy: as of `Weights`.
        clip: settings of `clip_spec` for which it holds.
    """
    return Weights(
        url=f"https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/kinetics400/{file}",
        sha256_prefix=None,
        trained_on="Kinetics-400",
        num_classes=400,
        licence="Apache-2.0 (PySlowFast)",
        accuracy=accuracy,
        protocol=f"{THIRTY_VIEWS}; probabilities averaged over windows too",
        layout="caffe2",
        clip=clip,
    )


def mmaction2_weights(
    folder: str,
    stamp: str,
    accuracy: Mapping[str, float],
    *,
    stem: str | None = None,
    trained_on: str = "Kinetics-400",
    num_classes: int = 400,
    protocol: str = THIRTY_VIEWS,
    options: Mapping[str, Any] | None = None,
    clip: Mapping[str, Any] | None = None,
) -> Weights:
    """A row of MMAction2's model zoo, whose networks average the whole of the last map.

    Args:
        folder: of the file there.
        stamp: at the end of its name: date and hash.
        accuracy: as of `Weights`.
        stem: of its name; None: as the folder is called.
        trained_on: the data sets.
        num_classes: K.
        protocol: of the accuracy.
        options: of the builder, beside `window=None`.
        clip: settings of `clip_spec` for which the accuracy holds.
    """
    file = f"{stem or folder.rpartition('/')[2]}_{stamp}.pth"
    return Weights(
        url=f"https://download.openmmlab.com/mmaction/v1.0/recognition/{folder}/{file}",
        sha256_prefix=stamp.partition("-")[2],
        trained_on=trained_on,
        num_classes=num_classes,
        licence="Apache-2.0 (mmaction2)",
        accuracy=accuracy,
        protocol=protocol,
        layout="mmaction2",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        options={"window": None, **(options or {})},
        clip=clip or {},
    )
