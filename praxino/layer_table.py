"""Any model as a table: layer, size, receptive field, multiply-adds, parameters.

The model runs on the meta device, where tensors have shapes but no numbers: any network at any
input size in moments, and nothing of the model changes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from praxino.receptive_field import FollowReceptiveField

aten = torch.ops.aten


@dataclass(frozen=True)
class LayerRow:
    """One line of the table.

    Args:
        name: of the module, as `model.get_submodule` takes it.
        kind: what it does, for example `Conv3D(3x3x3, 3->12)`.
        size: of its result, without the batch: C, T, H, W; frames that were folded into the batch
            are T again. Shorter where axes are gone, such as T after early fusion.
        receptive_field: T, H, W: how much of the clip the unit that sees most depends on.
        multiply_adds: of convolutions and matrix products, for one clip. Norms, pooling and
            activations count nothing.
        parameters: weights and biases, each counted where it is used first; those of a module that
            never runs by itself count for the module around it.
    """

    name: str
    kind: str
    size: tuple[int, ...]
    receptive_field: tuple[int, int, int]
    multiply_adds: int
    parameters: int


def layer_table(
    model: nn.Module,
    clip_shape: tuple[int, int, int, int] | None = None,
    *,
    receptive_fields: bool = True,
) -> list[LayerRow]:
    """The layers of a model in the order in which they run, the input first.

    A layer is a module that mixes positions or channels, or that has parameters; a convolution, a
    pooling or a product in the code between modules is a line of its own. Activations, dropout and
    reshaping are left out.

    Args:
        model: takes `(B, C, T, H, W)` clips.
        clip_shape: C, T, H, W; None: as `model.clip_spec` says.
        receptive_fields: follow what each unit sees, which takes most of the time; otherwise the
            layers' receptive fields are zeros.

    Raises:
        ValueError: no clip shape was given and the model has none, or it cannot take this one.
    """
    clip = _meta_clip(model, clip_shape)
    table = _Table(model, frames=clip.shape[2])
    with _eval_mode(model), table.watch(), torch.inference_mode():
        on_meta = {
            name: torch.empty_like(tensor, device="meta")
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
        }
        clip = torch.empty_like(clip)  # an inference tensor, like all others
        if receptive_fields:
            table.follow.start(clip)
        with table.follow:
            functional_call(model, on_meta, (clip,))
    channels, *rest = clip.shape[1:]
    first = LayerRow("input", "Input", (channels, *rest), (1, 1, 1), 0, 0)
    return [first, *table.rows]


def multiply_adds(model: nn.Module, clip_shape: tuple[int, int, int, int] | None = None) -> int:
    """Multiply-adds of one clip: convolutions and matrix products only.

    Args:
        model: as in `layer_table`.
        clip_shape: as in `layer_table`.
    """
    rows = layer_table(model, clip_shape, receptive_fields=False)
    return sum(row.multiply_adds for row in rows)


def count_parameters(model: nn.Module) -> int:
    """Weights and biases of a model, shared ones counted once; buffers are none."""
    return sum(parameter.numel() for parameter in model.parameters())


def _meta_clip(model: nn.Module, clip_shape: tuple[int, int, int, int] | None) -> Tensor:
    spec: Any = getattr(model, "clip_spec", None)
    if clip_shape is None:
        if spec is None:
            raise ValueError(
                f"{type(model).__name__} has no clip_spec: say clip_shape=(C, T, H, W)."
            )
        clip_shape = (spec.channels, spec.frames, spec.size, spec.size)
    if len(clip_shape) != 4 or min(clip_shape) < 1:
        raise ValueError(f"clip_shape is (C, T, H, W), each at least 1, got {clip_shape}.")
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    return torch.empty(1, *clip_shape, dtype=dtype, device="meta")


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass
class _Call:
    """A module while it runs."""

    module: nn.Module
    first_row: int
    operations: list[tuple[str, int]] = field(default_factory=list)  # kind, multiply-adds


class _Table:
    """Collects rows while a model runs: which module is running, and what it computes."""

    def __init__(self, model: nn.Module, frames: int) -> None:
        self.frames = frames
        self.rows: list[LayerRow] = []
        self.follow = FollowReceptiveField(self.operation)
        self._names = {module: name for name, module in model.named_modules()}
        # Taken now: while the model runs, stand-ins on the meta device take their place.
        self._parameters = {m: list(m.parameters()) for m in model.modules()}
        self._counted: set[int] = set()
        self._running: list[_Call] = []

    @contextmanager
    def watch(self) -> Iterator[None]:
        handles = []
        for module in self._names:
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def operation(self, packet: Any, arguments: dict[str, Any], result: Any) -> None:
        kind = _kind(packet, arguments, result)
        if kind is None or not self._running:
            return
        call, count = self._running[-1], _multiply_adds(packet, arguments, result)
        if _is_leaf(call.module):
            call.operations.append((kind, count))
        else:
            self._add(call.module, kind, result, count, parameters=0)

    def _enter(self, module: nn.Module, clips: Any) -> None:
        self._running.append(_Call(module, len(self.rows)))

    def _leave(self, module: nn.Module, clips: Any, result: Any) -> None:
        call = self._running.pop()
        # All of what is below, because some modules lend their weights to a function and never run.
        fresh = [p for p in self._parameters[module] if id(p) not in self._counted]
        self._counted.update(map(id, fresh))
        parameters = sum(p.numel() for p in fresh)
        own_rows = [
            number
            for number in range(call.first_row, len(self.rows))
            if self.rows[number].name == self._names[module]
        ]
        if own_rows:  # what the module computes itself is listed; its own parameters belong there
            first = self.rows[own_rows[0]]
            total = first.parameters + parameters
            self.rows[own_rows[0]] = replace(first, parameters=total)
        elif call.operations or parameters or (_is_leaf(module) and self._parameters[module]):
            speaks = len(call.operations) == 1 and isinstance(module, _SAID_BY_OPERATION)
            kind = call.operations[0][0] if speaks else type(module).__name__
            if isinstance(module, nn.Linear):  # on more than two axes torch takes another product
                kind = f"Linear({module.in_features}->{module.out_features})"
            count = sum(count for _, count in call.operations)
            self._add(module, kind, result, count, parameters)

    def _add(self, module: nn.Module, kind: str, result: Any, count: int, parameters: int) -> None:
        tensor = next((leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)), None)
        if tensor is None:
            return
        size, seen = _size(tensor, self.frames), self.follow.extent(tensor)
        self.rows.append(LayerRow(self._names[module], kind, size, seen, count, parameters))


_SAID_BY_OPERATION = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _size(tensor: Tensor, frames: int) -> tuple[int, ...]:
    batch, *rest = tensor.shape if tensor.ndim else (1,)
    folded = batch > 1 or frames == 1
    if tensor.ndim == 4 and folded:  # (T, C, H, W): frames were folded into the batch of one clip
        channels, height, width = rest
        return channels, batch, height, width
    return (*rest, batch) if batch > 1 else tuple(rest)


def _kind(packet: Any, arguments: dict[str, Any], result: Any) -> str | None:
    """What an operation is called in the table; None: it mixes neither positions nor channels."""
    if packet is aten.convolution:
        return _convolution_kind(arguments)
    if packet in _POOLS:
        kernel = arguments["kernel_size"]
        return f"{_POOLS[packet]}{len(kernel)}D({_by(kernel)})"
    if packet in _ADAPTIVE_POOLS:
        return _ADAPTIVE_POOLS[packet]
    if packet in (aten.mm, aten.addmm):
        into, out = arguments["mat2"].shape
        return f"Linear({into}->{out})"
    if packet in (aten.bmm, aten.baddbmm):
        return "MatMul"
    if packet in _REDUCTIONS:
        source, dims = arguments["self"], arguments.get("dim")
        dims = [dims] if isinstance(dims, int) else list(dims or range(source.ndim))
        positions = set(range(2, source.ndim))
        if packet is aten.mean and positions and {d % source.ndim for d in dims} == positions:
            return "GlobalAvgPool"
        return _REDUCTIONS[packet]
    return None


_POOLS = {
    aten.max_pool2d_with_indices: "Pool",
    aten.max_pool3d_with_indices: "Pool",
    aten.avg_pool2d: "AvgPool",
    aten.avg_pool3d: "AvgPool",
}
_ADAPTIVE_POOLS = {
    aten._adaptive_avg_pool2d: "AdaptiveAvgPool2D",
    aten._adaptive_avg_pool3d: "AdaptiveAvgPool3D",
    aten.adaptive_max_pool2d: "AdaptiveMaxPool2D",
    aten.adaptive_max_pool3d: "AdaptiveMaxPool3D",
}
_REDUCTIONS = {
    aten.mean: "Mean",
    aten.sum: "Sum",
    aten.amax: "Max",
    aten.max: "Max",
    aten.logsumexp: "LogSumExp",
}


def _convolution_kind(arguments: dict[str, Any]) -> str:
    weight, groups = arguments["weight"], arguments["groups"]
    first, second, *kernel = weight.shape
    into, out = (first, second * groups) if arguments["transposed"] else (second * groups, first)
    name = "ConvTranspose" if arguments["transposed"] else "Conv"
    grouped = f", groups={groups}" if groups > 1 else ""
    return f"{name}{len(kernel)}D({_by(kernel)}, {into}->{out}{grouped})"


def _by(sizes: Sequence[int]) -> str:
    return "x".join(str(size) for size in sizes)


def _multiply_adds(packet: Any, arguments: dict[str, Any], result: Any) -> int:
    if packet is aten.convolution:
        positions = arguments["input"] if arguments["transposed"] else result
        # Each element is multiplied once with every weight of one filter.
        return int(positions.numel() * arguments["weight"][0].numel())
    if packet in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm):
        right = arguments["batch2"] if packet is aten.baddbmm else arguments["mat2"]
        return int(result.numel() * right.shape[-2])
    return 0
