"""Inflation: any 2D network of convolutions and poolings, grown into time.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR
2017, arXiv:1705.07750, Sec. 2.4: kernels of N x N become N x N x N, and their weights are repeated
N times along time and divided by N. A "boring" video, in which nothing moves, then gives in 3D
what its frame gives in 2D.

Notable: that holds in the middle of the clip only. At the first and last frames zeros are padded,
which no still video has, and every layer carries them further in; so does, at once and everywhere,
a squeeze-and-excitation block. `border="replicate"` repeats the first and the last frame instead,
and then it holds for every frame.
Differs from the paper: any network does, not Inception-v1 alone, so that where time is halved is a
rule (`like_i3d`, which for GoogLeNet gives the paper's kernels and strides); along time padding is
TensorFlow's `SAME`, along height and width the 2D network's own. I3D itself is in `i3d.py`, and
torchvision's networks, inflated, are the model in `inflated.py`.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, fx, nn
from torch.nn import functional

Border = Literal["zeros", "replicate"]


@dataclass(frozen=True)
class FlatLayer:
    """A convolution or pooling of a 2D network, as the rule of its growth sees it.

    Args:
        name: of the module, or of the function call.
        pools: whether it is a pooling.
        kernel: the longer side, in positions of its input.
        stride: the longer step, in positions of its input.
        scale: how many times smaller than the image its input is.
    """

    name: str
    pools: bool
    kernel: int
    stride: int
    scale: int


Rule = Callable[[FlatLayer], tuple[int, int]]


def like_i3d(layer: FlatLayer) -> tuple[int, int]:
    """I3D's kernel and stride in time (figure 3).

    Kernels span as many frames as they are wide. Time is halved where the image is, but not on its
    way from a half to an eighth, so that it is kept longer; a pooling that keeps it there does not
    look at it either.
    """
    if layer.stride == 1:
        return layer.kernel, 1
    if layer.scale in (2, 4):
        return (1 if layer.pools else layer.kernel), 1
    return layer.kernel, 2


def inflate(
    network: nn.Module,
    *,
    rule: Rule = like_i3d,
    border: Border = "zeros",
    channels: int | None = None,
) -> fx.GraphModule:
    """Grow a 2D network, with its weights, into one that takes clips.

    Every layer keeps its name. Global poolings, those of squeeze-and-excitation among them, become
    global in time.

    Args:
        network: takes `(N, C, H, W)`; it stays as it is.
        rule: from a layer to its kernel and its stride in time, in frames of its input. T frames
            become T / stride, rounded up.
        border: what is padded before the first and after the last frame.
        channels: C of the clips; None: as many as the network takes. Otherwise the first kernels'
            channels are summed and shared out equally, so that a clip whose channels are all the
            same is seen as a grey image was: one channel is the sum of red, green and blue.

    Returns:
        A network that takes `(B, C, T, H, W)`, and gives what the 2D network gives for a frame:
        logits `(B, K)`, or, where it ends in a map, `(B, D, T', H', W')`.

    Raises:
        ValueError: a layer or an operation that knows no time, such as attention; a rule that
            gives no kernel or no stride.
    """
    kind = type(network).__name__
    try:
        return _inflated(network, rule, border, channels)
    except fx.proxy.TraceError:
        reason = "what it does depends on the size or the values of an image"
    except _KnowsNoTime as error:
        reason = f"{error} has no counterpart with time"
    raise ValueError(
        f"{kind} cannot be inflated: {reason}. Networks of convolutions and poolings can be, for "
        "example resnet50."
    )


class _KnowsNoTime(Exception):
    """Part of a network that cannot be grown; the message is what it is."""


def _inflated(
    network: nn.Module, rule: Rule, border: Border, channels: int | None
) -> fx.GraphModule:
    # Imported late: torchvision takes seconds, and most of praxino does without.
    from torchvision.models.shufflenetv2 import channel_shuffle

    graph = _Tracer(autowrap_functions=(channel_shuffle,)).trace(network)
    grown: dict[str, nn.Module | nn.Parameter] = {}
    scales: dict[fx.Node, int] = {}  # of each result: how many times smaller than the image it is
    for node in graph.nodes:
        scale = max((scales[source] for source in node.all_input_nodes), default=1)
        if node.op == "get_attr":
            owner, _, leaf = node.target.rpartition(".")
            flat = getattr(network.get_submodule(owner), leaf)
            grown[node.target] = _grow_parameter(flat, node.target)
        elif node.op == "call_module" or node.target in _POOLINGS:
            flat = _called_module(node, network)
            if isinstance(flat, _WINDOWS):
                in_time = _apply(rule, flat, node.target, scale)
                width = channels if node.all_input_nodes[0].op == "placeholder" else None
                layer = _grow_window(flat, *in_time, border, width)
                scale *= max(_pair(flat.stride))
            else:
                layer = _grow(flat, node.target)
            # Some run several times; some may be frozen while the others train.
            grown.setdefault(node.target, layer.train(flat.training))
        elif node.op in ("call_function", "call_method"):
            _grow_call(node)
        scales[node] = scale
    result = fx.GraphModule(grown, graph, class_name=type(network).__name__)
    result.training = network.training
    return result


class _Tracer(fx.Tracer):
    """Follows a network down to PyTorch's own layers."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return super().is_leaf_module(module, name) or isinstance(module, _stochastic_depth())


def _stochastic_depth() -> type[nn.Module]:
    """A layer too: followed inside, it would stay as it is now, in training or not."""
    from torchvision.ops import StochasticDepth

    return StochasticDepth


def _apply(
    rule: Rule, flat: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, name: str, scale: int
) -> tuple[int, int]:
    sizes = max(_pair(flat.kernel_size)), max(_pair(flat.stride))
    kernel, stride = rule(FlatLayer(name, not isinstance(flat, nn.Conv2d), *sizes, scale))
    if min(kernel, stride) < 1:
        raise ValueError(
            f"The rule gives {name} a kernel of {kernel} and a stride of {stride} in time; both "
            "must be at least 1."
        )
    return kernel, stride


_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def _grow_window(
    flat: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d,
    kernel: int,
    stride: int,
    border: Border,
    channels: int | None,
) -> nn.Module:
    """A convolution or pooling with a kernel and a stride in time."""
    kernels, strides = (kernel, *_pair(flat.kernel_size)), (stride, *_pair(flat.stride))
    # Without a stride as many frames go before as after, which PyTorch pads itself.
    even = stride == 1 and kernel % 2 == 1
    if isinstance(flat, nn.MaxPool2d):
        max_pool = nn.MaxPool3d if even else _MaxPool3d
        padding = (kernel // 2 if even else 0, *_pair(flat.padding))
        dilation = (1, *_pair(flat.dilation))
        return max_pool(kernels, strides, padding, dilation, ceil_mode=flat.ceil_mode)
    if isinstance(flat, nn.AvgPool2d):
        divisor = flat.divisor_override and kernel * flat.divisor_override
        rest = flat.ceil_mode, flat.count_include_pad, divisor
        average = _AvgPool3d(kernels, strides, (0, *_pair(flat.padding)), *rest)
        average.border = border
        return average
    if isinstance(flat.padding, str) or flat.padding_mode != "zeros":
        raise _KnowsNoTime(
            f"a convolution with {flat.padding_mode} {flat.padding!r} as its padding"
        )
    even = even and border == "zeros"
    grown = (nn.Conv3d if even else _Conv3d)(
        channels or flat.in_channels,
        flat.out_channels,
        kernels,
        strides,
        (kernel // 2 if even else 0, *_pair(flat.padding)),
        (1, *_pair(flat.dilation)),
        flat.groups,
        flat.bias is not None,
        device=flat.weight.device,
        dtype=flat.weight.dtype,
    )
    if isinstance(grown, _Conv3d):
        grown.border = border
    grown.weight.data = grow_weight(flat.weight.detach(), grown.weight.shape)
    if flat.bias is not None and grown.bias is not None:
        grown.bias.data = flat.bias.detach().clone()
    return grown


def grow_weight(flat: Tensor, shape: torch.Size) -> Tensor:
    """A 2D network's weight, for its layer in 3D.

    Args:
        flat: `(out, in, H, W)` of a convolution, or what is the same in 2D and 3D.
        shape: what it becomes; `(out, in, T, H, W)` of a convolution. Another number of inputs
            shares out the sum of all.
    """
    if flat.ndim == 4 and len(shape) == 5:
        if flat.shape[1] != shape[1]:
            flat = flat.sum(dim=1, keepdim=True).repeat(1, shape[1], 1, 1) / shape[1]
        return flat[:, :, None].repeat(1, 1, shape[2], 1, 1) / shape[2]
    if flat.ndim == 3 and len(shape) == 4:  # ConvNeXt's layer scale
        return flat[..., None].clone()
    return flat.clone()


def pad_time(maps: Tensor, kernel: int, stride: int, border: Border, value: float = 0) -> Tensor:
    """Frames before and after, so that T becomes T / stride, rounded up; the odd one comes after.

    Args:
        maps: `(B, C, T, H, W)`.
        kernel: in time, of the layer that follows.
        stride: in time, of that layer.
        border: of `value` all over, or the first and the last frame again.
        value: of the frames that are padded as "zeros".
    """
    length = maps.shape[2]
    total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
    before, after = total // 2, total - total // 2
    if total == 0:
        return maps
    if border == "replicate":
        frames = torch.arange(-before, length + after, device=maps.device).clamp(0, length - 1)
        return maps.index_select(2, frames)
    return functional.pad(maps, (0, 0, 0, 0, before, after), value=value)


class _Conv3d(nn.Conv3d):
    """A convolution that pads time by itself."""

    border: Border

    def forward(self, maps: Tensor) -> Tensor:
        padded = pad_time(maps, self.kernel_size[0], self.stride[0], self.border)
        return super().forward(padded)


class _MaxPool3d(nn.MaxPool3d):
    """Max pooling that pads time with what is never the largest, as PyTorch does in space."""

    kernel_size: tuple[int, int, int]
    stride: tuple[int, int, int]

    def forward(self, maps: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        result: Tensor = super().forward(pad_time(maps, kernel, stride, "zeros", -math.inf))
        return result


class _AvgPool3d(nn.AvgPool3d):
    """Average pooling that pads time by itself."""

    border: Border
    kernel_size: tuple[int, int, int]
    stride: tuple[int, int, int]
    padding: tuple[int, int, int]

    def forward(self, maps: Tensor) -> Tensor:
        padded = pad_time(maps, self.kernel_size[0], self.stride[0], self.border)
        if not self.count_include_pad:
            return super().forward(padded)
        # Unlike in 2D, PyTorch's own padding refuses maps that are smaller than the kernel.
        _, height, width = self.padding
        return functional.avg_pool3d(
            functional.pad(padded, (width, width, height, height)),
            self.kernel_size,
            self.stride,
            ceil_mode=self.ceil_mode,
            divisor_override=self.divisor_override,
        )


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


# These see neither positions nor time.
_UNCHANGED = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus),
    *(nn.Identity, nn.Dropout, nn.Flatten, nn.Linear, nn.LayerNorm),
)


def _grow(flat: nn.Module, name: str) -> nn.Module:
    """A layer without a window of its own."""
    if isinstance(flat, (*_UNCHANGED, _stochastic_depth())):
        return copy.deepcopy(flat)
    if isinstance(flat, nn.AdaptiveAvgPool2d):
        height, width = _pair(flat.output_size)
        return nn.AdaptiveAvgPool3d((1, height, width))
    if isinstance(flat, nn.BatchNorm2d):
        grown = nn.BatchNorm3d(
            flat.num_features, flat.eps, flat.momentum, flat.affine, flat.track_running_stats
        )
        grown.load_state_dict(flat.state_dict(), assign=True)
        return copy.deepcopy(grown)
    raise _KnowsNoTime(f"its layer {name}, a {type(flat).__name__},")


def _grow_parameter(flat: Tensor, name: str) -> nn.Parameter:
    """One that stands in a network's own code, not in a layer."""
    if isinstance(flat, nn.Parameter) and flat.ndim == 1:  # of a norm on channels that come last
        return copy.deepcopy(flat)
    if isinstance(flat, nn.Parameter) and flat.ndim == 3 and flat.shape[1:] == (1, 1):
        return nn.Parameter(flat.detach().clone()[..., None])  # ConvNeXt's layer scale
    raise _KnowsNoTime(f"its tensor {name} of shape {tuple(flat.shape)}")


# Poolings that are function calls in a network's code, and the layers that they are.
_POOLINGS: dict[Any, type[nn.Module]] = {
    functional.avg_pool2d: nn.AvgPool2d,
    functional.max_pool2d: nn.MaxPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
}


def _called_module(node: fx.Node, network: nn.Module) -> nn.Module:
    """The layer that a node calls; a pooling that was a function call becomes one."""
    if node.op == "call_module":
        return network.get_submodule(str(node.target))
    maps, *sizes = node.args
    pooling = _POOLINGS[node.target](*sizes, **node.kwargs)
    node.op, node.target, node.args, node.kwargs = "call_module", node.name, (maps,), {}
    return pooling


_UNCHANGED_CALLS = {
    *("add", "iadd", "mul", "imul", "relu", "relu_", "relu6", "silu", "gelu", "sigmoid"),
    *("hardswish", "hardsigmoid", "layer_norm"),
}
_ON_CHANNELS = {"cat", "chunk", "flatten"}  # the same where they are told dimension 1
_AXES = {(0, 2, 3, 1): (0, 2, 3, 4, 1), (0, 3, 1, 2): (0, 4, 1, 2, 3)}  # channels last, and back


def _grow_call(node: fx.Node) -> None:
    """Make a function call, or a tensor's method, one that takes maps with time."""
    name = getattr(node.target, "__name__", str(node.target))
    arguments: Any = node.args
    first, *rest = arguments
    if name == "mean" and rest == [[2, 3]]:
        node.args = (first, [2, 3, 4])
    elif name == "permute":
        axes = tuple(rest if isinstance(rest[0], int) else rest[0])
        if axes not in _AXES:
            raise _KnowsNoTime(f"its permutation of axes {axes}")
        node.args = (first, _AXES[axes])
    elif name == "channel_shuffle":
        node.target = _channel_shuffle
    elif name in _ON_CHANNELS:
        dimension = [None, *rest, *node.kwargs.values()][-1]
        if dimension != 1:
            raise _KnowsNoTime(f"its call of {name} along dimension {dimension}")
    elif name == "getitem" and rest and isinstance(rest[0], int):
        pass  # one of the parts that a map was cut into
    elif name not in _UNCHANGED_CALLS:
        raise _KnowsNoTime(f"its call of {name}")


def _channel_shuffle(maps: Tensor, groups: int) -> Tensor:
    return rearrange(maps, "b (g c) t h w -> b (c g) t h w", g=groups)
