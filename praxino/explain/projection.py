"""What of a clip excites a unit: its activation, projected back to pixels.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014: the deconvnet,
with which Tran et al. (ICCV 2015, Sec. 3.3) looked at C3D's conv5b, and saw appearance in the first
frames and motion in those that follow. Springenberg et al., "Striving for Simplicity", ICLR 2015
workshop: guided backpropagation.

Notable: both are gradients that go back through ReLUs in another way. A ReLU's own gradient stops
where the ReLU was off; the deconvnet stops what is negative instead; guided backpropagation stops
both. The switches of max pooling are the gradient's already.
Differs from the papers: any network; activations other than ReLU, and attention, keep their own
gradient.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from praxino.did_you_mean import did_you_mean

Method = Literal["guided", "deconvnet", "gradient"]


@dataclass(frozen=True)
class Unit:
    """A unit of a layer, and what of the clip excites it.

    Args:
        channel: of the layer.
        position: where in the layer's map the channel is strongest: T, H, W, or what of these the
            layer has; of a layer of tokens, the token.
        activation: there.
        projection: `(C, T, H, W)`, in the clip's own normalised units; positive where more of it
            would excite the unit more.
    """

    channel: int
    position: tuple[int, ...]
    activation: float
    projection: Tensor

    @property
    def share_of_frames(self) -> Tensor:
        """`(T,)`: how much of the projection's energy lies in each frame; the sum is one."""
        energy = self.projection.square().sum(dim=(0, 2, 3))
        return energy / energy.sum().clamp(min=torch.finfo(energy.dtype).tiny)


@dataclass(frozen=True)
class Projections:
    """Units of one layer, the strongest first.

    Args:
        layer: its name.
        method: how gradients went back.
        relus: how many ReLUs the model ran; of none, every method is the plain gradient.
        units: the units.
    """

    layer: str
    method: Method
    relus: int
    units: tuple[Unit, ...]


def project_units(
    model: nn.Module,
    clip: Tensor,
    layer: str,
    *,
    channels: tuple[int, ...] | None = None,
    count: int = 9,
    method: Method = "guided",
) -> Projections:
    """Find the units of a layer that a clip excites most, and project them back to the clip.

    Of each channel the strongest unit is taken. The model is as before afterwards.

    Args:
        model: takes `(B, C, T, H, W)` clips.
        clip: `(C, T, H, W)`, normalised as `model.clip_spec` says.
        layer: a module's name, as `praxino models NAME` prints it.
        channels: which; None: those that are excited most.
        count: how many, where `channels` does not say it.
        method: how to go back through ReLUs: see this file's docstring.

    Raises:
        ValueError: no layer or channel of that name, one that the clip does not reach or that runs
            several times, or settings out of range.
    """
    if method not in get_args(Method):
        raise ValueError(f"A method is {', '.join(get_args(Method))}, not {method!r}.")
    if count < 1:
        raise ValueError(f"At least 1 unit is to be shown, got {count}.")
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        raise ValueError(
            f"{type(model).__name__} has no layer {layer!r}; praxino models lists them."
            f"{did_you_mean(layer, names)}"
        )
    pixels = clip[None].detach().clone().requires_grad_()  # (1, C, T, H, W)
    back = _Backwards(method)
    # Without gradients of its own, the model keeps less in memory and nothing in `.grad`.
    tensors = (*model.named_parameters(), *model.named_buffers())
    frozen = {name: tensor.detach() for name, tensor in tensors}
    with _eval_mode(model), _results_of(model.get_submodule(layer)) as results, back:
        functional_call(model, frozen, (pixels,))
    maps = _channels_first(_only(results, layer), layer)  # (channels, ...)
    flat = maps.flatten(1)
    strongest = flat.max(dim=1)
    if channels is None:
        channels = tuple(strongest.values.argsort(descending=True)[:count].tolist())
    units = []
    for channel in channels:
        if not 0 <= channel < len(flat):
            raise ValueError(f"{layer} has channels 0 to {len(flat) - 1}, not {channel}.")
        place = strongest.indices[channel]
        unit = flat[channel, place]
        (projection,) = torch.autograd.grad(unit, pixels, retain_graph=True)
        where = tuple(int(index) for index in torch.unravel_index(place, maps.shape[1:]))
        units.append(Unit(channel, where, unit.item(), projection[0]))
    return Projections(layer, method, back.relus, tuple(units))


class _Backwards(TorchFunctionMode):
    """While a network runs, its ReLUs are replaced, wherever in its code they stand."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.relus = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _RELUS:
            return func(*args, **kwargs)
        self.relus += 1
        values = args[0] if args else kwargs["input"]
        if self.method == "gradient":
            return values.clamp(min=0)
        return _Relu.apply(values, self.method == "guided")


_RELUS = {
    nn.functional.relu,
    nn.functional.relu_,
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
}


class _Relu(torch.autograd.Function):
    """A ReLU through which only positive gradients go back; guided, and only where it was on."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, guided: bool) -> Tensor:
        ctx.guided = guided
        result = values.clamp(min=0)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (result,) = ctx.saved_tensors
        positive = gradient.clamp(min=0)
        return (positive * (result > 0) if ctx.guided else positive), None


@contextlib.contextmanager
def _results_of(module: nn.Module) -> Iterator[list[Any]]:
    """What a module returns each time it runs; a copy, because what follows may work in place."""
    results: list[Any] = []

    def keep(module: nn.Module, inputs: Any, result: Any) -> None:
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        results.append(tensors[0].clone() if tensors else None)

    handle = module.register_forward_hook(keep)
    try:
        yield results
    finally:
        handle.remove()


def _only(results: list[Any], layer: str) -> Tensor:
    if len(results) != 1:
        raise ValueError(
            f"{layer} runs {len(results)} times in a clip, and a unit is of one: name another "
            "layer."
        )
    if results[0] is None or not results[0].requires_grad:
        raise ValueError(f"No gradient leads from {layer} to the clip: name another layer.")
    result: Tensor = results[0]
    return result


def _channels_first(maps: Tensor, layer: str) -> Tensor:
    """`(channels, ...)`: what is behind the channels are positions, frames before rows."""
    if maps.ndim == 5:  # clips are square, so the two sides that are equal are height and width
        last = maps.shape[2] == maps.shape[3] and maps.shape[3] != maps.shape[4]
        return maps[0].movedim(-1 if last else 0, 0)
    if maps.ndim == 4:  # (T, C, H, W): frames were folded into the batch, or there is one
        return maps.transpose(0, 1)
    if maps.ndim in (2, 3):  # vectors, or tokens
        channels = maps.movedim(-1, 0)  # (D, B) or (D, B, N)
        return channels[:, 0] if channels.shape[1] == 1 and maps.ndim == 3 else channels
    raise ValueError(f"{layer} gives {tuple(maps.shape)}, which is no map: name another layer.")


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
