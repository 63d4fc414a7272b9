"""Non-local blocks: each position looks at every other, in space and time.

Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971.

Notable: four ways of comparing two positions; the last norm's scale starts at zero, so that a block
begins as the identity and can be put into a network that has learned already; five of them, behind
every other bottleneck of res3 and res4, make the networks of section 5.
Differs from the paper: nothing in the block itself. PySlowFast divides the products of the embedded
Gaussian by the root of their length; MMAction2 does so in Slow only, pools behind phi and g instead
of before them, and has no bias before the last norm. All are options here.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar, Unpack

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import relu

from praxino.did_you_mean import did_you_mean
from praxino.models.c2d import c2d_r50
from praxino.models.i3d_resnet import i3d_r50, i3d_r50_32x2, i3d_r101
from praxino.models.resnet_video import (
    EVENLY_8X8,
    LAYOUTS,
    Options,
    VideoResNet,
    caffe2_weights,
    mmaction2_weights,
)
from praxino.models.row import ModelRow, Published
from praxino.models.slow import slow_r50, slow_r50_4x16
from praxino.models.slowfast import (
    SlowFast,
    SlowFastOptions,
    slowfast_16x8_r101_50_50,
    slowfast_r50,
    slowfast_r50_4x16,
)
from praxino.weights.published import Weights

__all__ = [
    "NonLocal",
    "c2d_nl_r50",
    "i3d_nl_r50",
    "i3d_nl_r50_32x2",
    "i3d_nl_r101",
    "insert_non_local",
    "slow_nl_mmaction2_r50",
    "slow_nl_mmaction2_r50_4x16",
    "slow_nl_r50",
    "slow_nl_r50_4x16",
    "slowfast_nl_16x8_r101_50_50",
    "slowfast_nl_r50",
    "slowfast_nl_r50_4x16",
]

Pairwise = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]


class BlockOptions(TypedDict, total=False):
    """How a non-local block compares and what it looks at.

    Args:
        pairwise: what two positions mean to one another, section 3.2: "gaussian" the exponential of
            x x, "embedded_gaussian" of theta phi, both normalised to a sum of one; "dot_product"
            theta phi, "concatenation" a learned ReLU of both, divided by the number of positions.
        scale: whether the embedded Gaussian's products are divided by the root of their length.
        pool: where 2 x 2 neighbours become one before they are looked at: "input" before phi and
            g, "embedding" behind them, or None.
        pool_frames: how many frames become one as well.
        out_bias: whether the last convolution has a bias before its norm.
    """

    pairwise: Pairwise
    scale: bool
    pool: Literal["input", "embedding"] | None
    pool_frames: int
    out_bias: bool


class NonLocal(nn.Module):
    """`x + norm(out(sum over j of f(x_i, x_j) g(x_j)))`, equation 6.

    Args:
        channels: C of the map; theta, phi and g have half as many.
        pairwise: see `BlockOptions`, as the rest.
        scale: of the embedded Gaussian.
        pool: "input", "embedding" or None.
        pool_frames: 1 or more.
        out_bias: of the last convolution.
    """

    def __init__(
        self,
        channels: int,
        *,
        pairwise: Pairwise = "embedded_gaussian",
        scale: bool = True,
        pool: Literal["input", "embedding"] | None = "input",
        pool_frames: int = 1,
        out_bias: bool = True,
    ) -> None:
        super().__init__()
        width = max(1, channels // 2)
        self.pairwise, self.scale = pairwise, scale
        self.theta: nn.Module = nn.Identity()
        self.phi: nn.Module = nn.Identity()
        if pairwise != "gaussian":  # which compares the positions as they are
            self.theta = nn.Conv3d(channels, width, 1)
            self.phi = nn.Conv3d(channels, width, 1)
        self.g = nn.Conv3d(channels, width, 1)
        if pairwise == "concatenation":
            self.pair = nn.Linear(2 * width, 1, bias=False)
        self.out = nn.Conv3d(width, channels, 1, bias=out_bias)
        self.norm = nn.BatchNorm3d(channels)
        self.window = (1, 1, 1) if pool is None else (pool_frames, 2, 2)
        self.pool_input = nn.MaxPool3d(self.window) if pool == "input" else nn.Identity()
        self.pool_embedding = nn.MaxPool3d(self.window) if pool == "embedding" else nn.Identity()
        for module in (self.theta, self.phi, self.g, self.out):
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.norm.weight)  # section 4.1: the identity, at first

    def forward(self, maps: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to the same.

        Raises:
            ValueError: the map is too small to be pooled.
        """
        frames, height, width = maps.shape[2:]
        if any(size < least for size, least in zip(maps.shape[2:], self.window, strict=True)):
            window = " x ".join(map(str, self.window))
            raise ValueError(
                f"A non-local block pools {window} positions, got a map of {frames} x {height} x "
                f"{width}. Feed larger clips, or build the model with pool=None."
            )
        around = self.pool_input(maps)
        theta = _rows(self.theta(maps))  # (B, N, D), N = T H W
        phi = _rows(self.pool_embedding(self.phi(around)))  # (B, M, D), M = N, or N / 4
        g = _rows(self.pool_embedding(self.g(around)))
        seen = self.pair_weights(theta, phi) @ g  # (B, N, D)
        seen = rearrange(seen, "b (t h w) d -> b d t h w", t=frames, h=height)
        result: Tensor = maps + self.norm(self.out(seen))
        return result

    def pair_weights(self, theta: Tensor, phi: Tensor) -> Tensor:
        """How much each position takes from each other.

        Args:
            theta: `(B, N, D)`: who looks.
            phi: `(B, M, D)`: who is looked at.

        Returns:
            `(B, N, M)`: f(x_i, x_j) / C(x), section 3.2.
        """
        if self.pairwise == "concatenation":
            # w [theta, phi] = w1 theta + w2 phi: no need to build all pairs.
            for_theta, for_phi = self.pair.weight.chunk(2, dim=1)  # (1, D) each
            return relu(theta @ for_theta.T + (phi @ for_phi.T).mT) / phi.shape[1]
        products = theta @ phi.mT  # (B, N, M)
        if self.pairwise == "dot_product":
            return products / phi.shape[1]
        if self.scale and self.pairwise == "embedded_gaussian":
            products = products / theta.shape[2] ** 0.5
        return products.softmax(dim=2)


def _rows(maps: Tensor) -> Tensor:
    return rearrange(maps, "b d t h w -> b (t h w) d")


def insert_non_local(
    model: nn.Module, after: Sequence[str], **options: Unpack[BlockOptions]
) -> None:
    """Put non-local blocks behind layers of a model, which computes what it did until they learn.

    What was `model.res3[1]` is then `model.res3[1].layer`, and the block `model.res3[1].non_local`.
    A checkpoint rebuilds a model by its name in the table, so weights of a model that was changed
    here are loaded by changing another one in the same way.

    Args:
        model: any of this package: what it is fed stands in `model.clip_spec`.
        after: names of layers, as `praxino models NAME` prints them, whose result is
            `(B, C, T, H, W)`.
        **options: of `NonLocal`.

    Raises:
        ValueError: no layer of that name, or its result is no such map; the model is unchanged.
    """
    layers = dict(model.named_modules())
    for name in after:
        if name not in layers or not name:
            hint = did_you_mean(name, filter(None, layers))
            raise ValueError(f"{type(model).__name__} has no layer {name!r}.{hint}")
    shapes = _shapes(model, after)
    for name in after:
        if len(shapes.get(name, ())) != 5:
            raise ValueError(
                f"A non-local block needs a map (B, C, T, H, W), and {name!r} of "
                f"{type(model).__name__} gives {shapes.get(name, 'none')}. Name another layer."
            )
    device = next(model.parameters()).device
    for name in after:
        block = NonLocal(shapes[name][1], **options).to(device).train(model.training)
        model.set_submodule(
            name, nn.Sequential(OrderedDict(layer=layers[name], non_local=block)), strict=True
        )


def _shapes(model: nn.Module, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """What layers give for the model's own clip; found on the meta device, with no arithmetic."""
    spec: Any = model.clip_spec
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, result: Any) -> None:
            shapes[name] = tuple(result.shape) if isinstance(result, Tensor) else ()

        return hook

    on_meta = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    clip = torch.empty(1, spec.channels, spec.frames, spec.size, spec.size, device="meta")
    handles = [model.get_submodule(name).register_forward_hook(note(name)) for name in names]
    training = [module for module in model.modules() if module.training]
    try:
        with torch.no_grad():
            functional_call(model.eval(), on_meta, (clip,))
    finally:
        for module in training:
            module.training = True
        for handle in handles:
            handle.remove()
    return shapes


class NonLocalOptions(Options, BlockOptions, total=False):
    """`Options` of the network, `BlockOptions` of its non-local blocks."""


class SlowFastNonLocalOptions(SlowFastOptions, BlockOptions, total=False):
    """`SlowFastOptions` of the network, `BlockOptions` of its non-local blocks."""


# Behind every other bottleneck of an R50's res3 and res4; in an R101 PySlowFast has them there too.
FIVE = ("res3.1", "res3.3", "res4.1", "res4.3", "res4.5")
# MMAction2's Slow has them behind the others.
FIVE_EARLIER = ("res3.0", "res3.2", "res4.0", "res4.2", "res4.4")

MMACTION2 = NonLocalOptions(scale=False, pool="embedding", out_bias=False, window=None)


def c2d_nl_r50(num_classes: int = 400, **options: Unpack[NonLocalOptions]) -> VideoResNet:
    """C2D 8x8, R50, with five non-local blocks.

    Args:
        num_classes: K.
        **options: see `NonLocalOptions`.
    """
    return _with_blocks(c2d_r50, FIVE, num_classes, options)


def i3d_nl_r50(num_classes: int = 400, **options: Unpack[NonLocalOptions]) -> VideoResNet:
    """I3D 8x8, R50, with five non-local blocks: 35.4 million parameters.

    Args:
        num_classes: K.
        **options: see `NonLocalOptions`.
    """
    return _with_blocks(i3d_r50, FIVE, num_classes, options)


def i3d_nl_r50_32x2(num_classes: int = 400, **options: Unpack[NonLocalOptions]) -> VideoResNet:
    """I3D 32x2, R50, with five non-local blocks, both as MMAction2 builds them.

    Args:
        num_classes: K.
        **options: see `NonLocalOptions`; MMAction2 has weights for three kinds of `pairwise`.
    """
    return _with_blocks(i3d_r50_32x2, FIVE, num_classes, MMACTION2 | options)


def i3d_nl_r101(num_classes: int = 400, **options: Unpack[NonLocalOptions]) -> VideoResNet:
    """I3D 8x8, R101, with five non-local blocks.

    Args:
        num_classes: K.
        **options: see `NonLocalOptions`.
    """
    return _with_blocks(i3d_r101, FIVE, num_classes, options)


def slow_nl_r50(num_classes: int = 400, **options: Unpack[NonLocalOptions]) -> VideoResNet:
    """Slow 8x8, R50, with five dot-product blocks, as PySlowFast builds it.

    Args:
        num_classes: K.
        **options: see `NonLocalOptions`.
    """
    options = NonLocalOptions(pairwise="dot_product") | options
    return _with_blocks(slow_r50, FIVE, num_classes, options)


def slow_nl_r50_4x16(num_classes: int = 400, **options: Unpack[NonLocalOptions]) -> VideoResNet:
    """Slow 4x16, R50, with five dot-product blocks, as PySlowFast builds it.

    Args:
        num_classes: K.
        **options: see `NonLocalOptions`.
    """
    options = NonLocalOptions(pairwise="dot_product") | options
    return _with_blocks(slow_r50_4x16, FIVE, num_classes, options)


def slow_nl_mmaction2_r50(
    num_classes: int = 400, **options: Unpack[NonLocalOptions]
) -> VideoResNet:
    """Slow 8x8, R50, with five non-local blocks where and as MMAction2 has them.

    Args:
        num_classes: K.
        **options: see `NonLocalOptions`.
    """
    options = MMACTION2 | NonLocalOptions(scale=True) | options
    return _with_blocks(slow_r50, FIVE_EARLIER, num_classes, options)


def slow_nl_mmaction2_r50_4x16(
    num_classes: int = 400, **options: Unpack[NonLocalOptions]
) -> VideoResNet:
    """Slow 4x16, R50, with five non-local blocks where and as MMAction2 has them.

    Args:
        num_classes: K.
        **options: see `NonLocalOptions`.
    """
    options = MMACTION2 | NonLocalOptions(scale=True) | options
    return _with_blocks(slow_r50_4x16, FIVE_EARLIER, num_classes, options)


def slowfast_nl_r50(num_classes: int = 400, **options: Unpack[SlowFastNonLocalOptions]) -> SlowFast:
    """SlowFast 8x8, R50, with five dot-product blocks in Slow, as PySlowFast builds it.

    Args:
        num_classes: K.
        **options: see `SlowFastNonLocalOptions`.
    """
    # Its lateral convolutions span 5 frames, as in the paper; those of its SlowFast 8x8 span 7.
    options = SlowFastNonLocalOptions(pairwise="dot_product", fusion_kernel=5) | options
    return _with_blocks(slowfast_r50, FIVE, num_classes, options)


def slowfast_nl_r50_4x16(
    num_classes: int = 400, **options: Unpack[SlowFastNonLocalOptions]
) -> SlowFast:
    """SlowFast 4x16, R50, with five dot-product blocks in Slow, as PySlowFast builds it.

    Args:
        num_classes: K.
        **options: see `SlowFastNonLocalOptions`.
    """
    options = SlowFastNonLocalOptions(pairwise="dot_product") | options
    return _with_blocks(slowfast_r50_4x16, FIVE, num_classes, options)


def slowfast_nl_16x8_r101_50_50(
    num_classes: int = 400, **options: Unpack[SlowFastNonLocalOptions]
) -> SlowFast:
    """SlowFast 16x8, R101, with three dot-product blocks in Slow's res4: the paper's strongest.

    Args:
        num_classes: K.
        **options: see `SlowFastNonLocalOptions`; the paper's 234 G multiply-adds are those of
            `pool_frames=2`, while PySlowFast's settings for Kinetics leave out its pooling of
            frames: `pool_frames=1`.
    """
    after = ("res4.6", "res4.13", "res4.20")
    options = SlowFastNonLocalOptions(pairwise="dot_product", pool_frames=2) | options
    return _with_blocks(slowfast_16x8_r101_50_50, after, num_classes, options)


Model = TypeVar("Model", bound=nn.Module)


def _with_blocks(
    build: Callable[..., Model],
    after: Sequence[str],
    num_classes: int,
    options: Mapping[str, object],
) -> Model:
    of_blocks = BlockOptions.__annotations__
    model = build(num_classes, **{key: options[key] for key in options if key not in of_blocks})
    chosen: Any = {key: options[key] for key in options if key in of_blocks}
    trunk = "slow" if isinstance(model, SlowFast) else "trunk"
    insert_non_local(model, [f"{trunk}.{name}" for name in after], **chosen)
    return model


_IMAGENET = "ImageNet, then Kinetics-400"

WEIGHTS_I3D = {
    "kinetics400": caffe2_weights(
        "I3D_NLN_8x8_R50.pkl", {"top1": 74.0, "top5": 91.1}, clip=EVENLY_8X8
    ),
}
WEIGHTS_I3D_32X2 = {
    "kinetics400": mmaction2_weights(
        "i3d/i3d_imagenet-pretrained-r50-nl-embedded-gaussian_8xb8-32x2x1-100e_kinetics400-rgb",
        "20220812-afd8f562",
        {"top1": 74.73, "top5": 91.80},
        trained_on=_IMAGENET,
    ),
    "kinetics400_dot_product": mmaction2_weights(
        "i3d/i3d_imagenet-pretrained-r50-nl-dot-product_8xb8-32x2x1-100e_kinetics400-rgb",
        "20220812-8e1f2148",
        {"top1": 74.80, "top5": 92.07},
        trained_on=_IMAGENET,
        options={"pairwise": "dot_product"},
    ),
    "kinetics400_gaussian": mmaction2_weights(
        "i3d/i3d_imagenet-pretrained-r50-nl-gaussian_8xb8-32x2x1-100e_kinetics400-rgb",
        "20220812-0c5cbf5a",
        {"top1": 73.97, "top5": 91.33},
        trained_on=_IMAGENET,
        options={"pairwise": "gaussian"},
    ),
}
WEIGHTS_SLOW_4X16 = {
    "kinetics400": mmaction2_weights(
        "slowonly/slowonly_r50-in1k-pre-nl-embedded-gaussian_8xb16-4x16x1-steplr-150e_kinetics400-rgb",
        "20220901-cf739c75",
        {"top1": 75.07, "top5": 91.69},
        trained_on=_IMAGENET,
    ),
}


def _row(build: Callable[..., nn.Module], weights: Mapping[str, Weights] | None = None) -> ModelRow:
    return ModelRow(build, PAPER, 2018, "attention", weights=weights or {}, layouts=LAYOUTS)


PAPER = "Wang et al., Non-local Neural Networks, CVPR 2018"
MODELS = {
    "c2d_nl_r50": _row(c2d_nl_r50),
    "i3d_nl_r101": _row(i3d_nl_r101),
    "i3d_nl_r50": _row(i3d_nl_r50, WEIGHTS_I3D),
    "i3d_nl_r50_32x2": _row(i3d_nl_r50_32x2, WEIGHTS_I3D_32X2),
    "slow_nl_mmaction2_r50": _row(slow_nl_mmaction2_r50),
    "slow_nl_mmaction2_r50_4x16": _row(slow_nl_mmaction2_r50_4x16, WEIGHTS_SLOW_4X16),
    "slow_nl_r50": _row(slow_nl_r50),
    "slow_nl_r50_4x16": _row(slow_nl_r50_4x16),
    "slowfast_nl_16x8_r101_50_50": _row(slowfast_nl_16x8_r101_50_50),
    "slowfast_nl_r50": _row(slowfast_nl_r50),
    "slowfast_nl_r50_4x16": _row(slowfast_nl_r50_4x16),
}

_MMACTION2 = "MMAction2's model zoo"

PUBLISHED = (
    Published("i3d_nl_r50_32x2", _MMACTION2, parameters="35,397,840", multiply_adds="59.3 G"),
    Published(
        "i3d_nl_r50_32x2",
        _MMACTION2,
        options={"pairwise": "dot_product"},
        parameters="35,397,840",
        multiply_adds="59.3 G",
    ),
    Published(
        "i3d_nl_r50_32x2",
        _MMACTION2,
        options={"pairwise": "gaussian"},
        parameters="31,723,728",
        multiply_adds="56.5 G",
    ),
    Published("slowfast_nl_16x8_r101_50_50", "SlowFast paper, table 2", multiply_adds="234 G"),
    Published(
        "slow_nl_mmaction2_r50", _MMACTION2, parameters="39,808,464", multiply_adds="96.66 G"
    ),
    Published(
        "slow_nl_mmaction2_r50_4x16", _MMACTION2, parameters="39,808,464", multiply_adds="43.23 G"
    ),
)
