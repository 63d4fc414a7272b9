"""Which part of the input every number in a network depends on, found by following the operations.

Beside each tensor runs its span: for every element the first and the last frame, row and column of
the input that it depends on. Convolutions and pooling widen spans, views and permutations move
them, sums and concatenations join them. Spans hold indices of real input pixels, so padding never
counts and everything is clipped to the clip.

Conventions: the statistics of a normalisation layer are not counted (as everybody does), attention
and squeeze-and-excitation are, because through them an element depends on all others. An operation
without a rule here is taken to join everything it is given: too wide rather than too narrow.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

aten = torch.ops.aten

# Six tensors: first frame, row, column, and minus the last frame, row, column. The minus makes the
# minimum the union of two spans in all six. Each has the dimensions of the tensor it belongs to;
# one along which the span does not change has length 1.
Span = tuple[Tensor, ...]

_NOWHERE = 2**30  # the span of what depends on no input: neutral in a minimum

# Scores of attention, queries by keys, that are followed one by one; a ViT over a video has
# billions.
_MOST_SCORES = 2**20

_FRESH = {
    *(aten.new_zeros, aten.new_ones, aten.new_empty, aten.new_full, aten.zeros_like),
    *(aten.ones_like, aten.empty_like, aten.full_like, aten.fill_, aten.zero_),
}
_COPIES = {aten.clone, aten._to_copy, aten.alias, aten.detach}
_RESHAPES = {aten.view, aten._unsafe_view, aten.reshape}
# These treat a dimension of length 1 as they treat a dimension along which nothing changes.
_ON_COMPACT = {aten.permute, aten.transpose, aten.t, aten.unsqueeze, aten.roll, aten.flip}
_MOVES = {
    *(aten.expand, aten.slice, aten.select, aten.split, aten.split_with_sizes, aten.unsafe_split),
    *(aten.unbind, aten.squeeze, aten.cat, aten.stack, aten.repeat, aten.constant_pad_nd),
    *(aten.index_select, aten.index, aten.unfold),
}
_NORMS = {aten.native_batch_norm, aten.native_layer_norm, aten.native_group_norm,
          aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training}  # fmt: skip
_POOLS = {aten.max_pool2d_with_indices, aten.max_pool3d_with_indices, aten.avg_pool2d,
          aten.avg_pool3d, aten.avg_pool1d, aten.max_pool1d}  # fmt: skip
_ADAPTIVE_POOLS = {aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.adaptive_max_pool2d,
                   aten.adaptive_max_pool3d}  # fmt: skip
_REDUCTIONS = {aten.mean, aten.sum, aten.amax, aten.amin, aten.max, aten.min, aten.logsumexp,
               aten.linalg_vector_norm, aten.var, aten.std, aten.var_mean, aten.prod}  # fmt: skip
_ALONG_A_DIMENSION = {aten._softmax, aten._log_softmax, aten._safe_softmax, aten.cumsum}
_BATCH_NORM = aten._native_batch_norm_legit_no_training.default
_PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm}


class FollowReceptiveField(TorchDispatchMode):
    """While active, follows the spans of everything computed from the tensors given to `start`.

    Run the network under `torch.inference_mode()`, where a tensor keeps its identity from one
    operation to the next.

    Args:
        on_operation: called after each operation with its overload packet, its arguments by name
            and what it returned.
    """

    def __init__(self, on_operation: Callable[[Any, dict[str, Any], Any], None]) -> None:
        super().__init__()
        self.on_operation = on_operation
        self._spans: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._extents: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._owners: WeakIdKeyDictionary = WeakIdKeyDictionary()  # view -> the tensor it is of

    def start(self, clip: Tensor) -> None:
        """Take a `(B, C, T, H, W)` tensor as input: each element depends on its own pixel."""
        firsts = []
        for dim in (2, 3, 4):
            shape = [1] * 5
            shape[dim] = clip.shape[dim]
            firsts.append(torch.arange(clip.shape[dim], dtype=torch.int32).reshape(shape))
        self._remember(clip, (*firsts, *(-first for first in firsts)))

    def extent(self, tensor: Tensor) -> tuple[int, int, int]:
        """Frames, rows and columns seen by the element that sees most; zeros: it sees no input."""
        return self._extents.get(tensor, (0, 0, 0))

    def _remember(self, tensor: Tensor, span: Span) -> None:
        lengths = [1 - span[axis + 3] - span[axis] for axis in range(3)]
        self._spans[tensor] = span
        # Computed now: asked for later, outside this mode's own code, it would be followed as well.
        self._extents[tensor] = tuple(
            max(0, int(length.max())) if length.numel() else 0 for length in lengths
        )

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if operation is _BATCH_NORM and not self._spans:
            # Nothing to follow and no product in it: only the shape counts. Taken apart, the norms
            # would cost as much as all the rest.
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        with self:  # operations that are made of others are followed through these
            parts = operation.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        result = operation(*args, **kwargs)
        packet, named = operation.overloadpacket, _by_name(operation, args, kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if packet not in _FRESH and any(tensor in self._spans for tensor in tensors):
            outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            spans = self._follow(operation, packet, named, args, kwargs, tensors, outputs)
            for output, span in zip(outputs, spans, strict=True):
                self._remember(output, _compact(span))
            if operation._schema.is_mutable:
                self._widen_owner(outputs)
        if operation.is_view:
            for leaf in tree_leaves(result):
                self._owners[leaf] = self._owners.get(tensors[0], tensors[0])
        self.on_operation(packet, named, result)
        return result

    def _widen_owner(self, written: list[Tensor]) -> None:
        """Writing into a part of a tensor makes the whole depend on what was written."""
        for part in written:
            owner = self._owners.get(part)
            if owner is not None:
                whole = [_hull(self._spans[part], owner.ndim)]
                if owner in self._spans:
                    whole.append(self._spans[owner])
                self._remember(owner, _union(whole))

    def _span(self, tensor: Tensor) -> Span:
        found: Span | None = self._spans.get(tensor)
        return _nowhere(tensor.ndim) if found is None else found

    def _follow(
        self,
        operation: Any,
        packet: Any,
        named: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        outputs: list[Tensor],
    ) -> Sequence[Span]:
        """The span of each output."""
        first = tensors[0]
        if packet in _ON_COMPACT:
            return [tuple(operation(bound, *args[1:], **kwargs) for bound in self._span(first))]
        if packet in _MOVES and not _unknown_index(packet, named):
            return self._move(operation, args, kwargs, named)
        if packet in _RESHAPES and first.numel():
            return [_reshape(self._span(first), first.shape, outputs[0].shape)]
        if packet in _COPIES:
            return [self._span(first)]
        if packet in _NORMS:
            nothing = _nowhere(1)  # the statistics that are returned beside the result
            return [self._span(first), *(nothing for _ in outputs[1:])]
        if torch.Tag.pointwise in operation.tags or packet is aten.copy_:
            return [_union([self._span(tensor) for tensor in tensors])] * len(outputs)
        if packet is aten.convolution and named["weight"] not in self._spans:
            return [_convolve(self._span(first), first, outputs[0], named)]
        if packet in _POOLS:
            span = _pool(self._span(first), first, outputs[0], named)
            return [span] * len(outputs)
        if packet in _ADAPTIVE_POOLS:
            return [_adaptive_pool(self._span(first), first, outputs[0])] * len(outputs)
        if packet in _REDUCTIONS:
            return [_reduce(self._span(first), first, outputs[0], named)] * len(outputs)
        if packet in _ALONG_A_DIMENSION:
            return [tuple(b.amin(named["dim"], keepdim=True) for b in self._span(first))]
        if packet in _PRODUCTS:
            *bias, left, right = tensors
            rows = tuple(bound.amin(-1, keepdim=True) for bound in self._span(left))
            columns = tuple(bound.amin(-2, keepdim=True) for bound in self._span(right))
            if _elements([rows, columns]) > _MOST_SCORES:
                # Each query goes on to a sum over all keys, so for what follows nothing is lost.
                columns = tuple(bound.amin(-1, keepdim=True) for bound in columns)
            return [_union([rows, columns, *(self._span(tensor) for tensor in bias)])]
        if packet is aten.as_strided_ and first.shape == outputs[0].shape:
            return [self._span(first)]
        return [
            _union([_hull(self._span(tensor), output.ndim) for tensor in tensors])
            for output in outputs
        ]

    def _move(
        self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], named: dict[str, Any]
    ) -> list[Span]:
        """Do to the spans what the operation does to the elements."""
        if operation.overloadpacket is aten.constant_pad_nd:
            args = (*args[:2], _NOWHERE)
        sources = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        bounds_of_outputs = []
        for number in range(6):
            bounds = [self._span(source)[number] for source in sources]
            full = _stretched(operation.overloadpacket, named, sources, bounds)
            instead = {id(source): bound for source, bound in zip(sources, full, strict=True)}
            # Positions to pick are real numbers on a real device and stay as they are.
            moved = operation(
                *tree_map(
                    lambda leaf, instead=instead: (
                        instead[id(leaf)]
                        if isinstance(leaf, Tensor) and leaf.device.type == "meta"
                        else leaf
                    ),
                    args,
                ),
                **kwargs,
            )
            bounds_of_outputs.append([moved] if isinstance(moved, Tensor) else list(moved))
        return list(zip(*bounds_of_outputs, strict=True))


def _stretched(
    packet: Any, named: dict[str, Any], sources: list[Tensor], bounds: list[Tensor]
) -> list[Tensor]:
    """Stretch bounds to the sizes of their tensors where the operation needs to see those."""
    # These copy: all sources need one size, but of the tensors' own only that of cat's dimension.
    if packet is aten.stack:
        common = torch.broadcast_shapes(*(bound.shape for bound in bounds))
        return [bound.expand(common) for bound in bounds]
    if packet is aten.cat:
        common = torch.broadcast_shapes(*(_without(named["dim"], bound) for bound in bounds))
        joined = []
        for source, bound in zip(sources, bounds, strict=True):
            shape = list(common)
            shape[named["dim"]] = source.shape[named["dim"]]
            joined.append(bound.expand(shape))
        return joined
    if packet is aten.constant_pad_nd:
        (source,), (bound,) = sources, bounds
        pads = named["pad"]
        padded = {source.ndim - 1 - number // 2 for number, pad in enumerate(pads) if pad}
        return [bound.expand([n if d in padded else -1 for d, n in enumerate(source.shape)])]
    return [
        bound if source.device.type != "meta" else bound.expand(source.shape)
        for source, bound in zip(sources, bounds, strict=True)
    ]


def _without(dim: int, bound: Tensor) -> list[int]:
    shape = list(bound.shape)
    shape[dim] = 1
    return shape


def _reshape(span: Span, before: Sequence[int], after: Sequence[int]) -> Span:
    """Reshape spans, stretching only dimensions that are merged or split and along which they vary.

    Both shapes are cut into stretches of equal products: `(2, 6, 5)` to `(3, 4, 5)` changes only
    the first two dimensions.
    """
    stretches: list[tuple[list[int], list[int]]] = []
    old, new = 0, 0
    while old < len(before) or new < len(after):
        olds, news = [old] if old < len(before) else [], [new] if new < len(after) else []
        old, new = old + len(olds), new + len(news)
        while _product(before, olds) != _product(after, news):
            if _product(before, olds) < _product(after, news):
                olds.append(old)
                old += 1
            else:
                news.append(new)
                new += 1
        stretches.append((olds, news))
    reshaped = []
    for bound in span:
        wide, target = list(bound.shape), []
        for olds, news in stretches:
            varies = any(bound.shape[dim] > 1 for dim in olds)
            for dim in olds:
                wide[dim] = before[dim] if varies else 1
            target += [after[dim] if varies else 1 for dim in news]
        reshaped.append(bound.expand(wide).reshape(target))
    return tuple(reshaped)


def _product(shape: Sequence[int], dims: list[int]) -> int:
    return math.prod(shape[dim] for dim in dims)


def _by_name(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    arguments = operation._schema.arguments
    named = {argument.name: argument.default_value for argument in arguments}
    named.update({argument.name: value for argument, value in zip(arguments, args, strict=False)})
    named.update(kwargs)
    return named


def _unknown_index(packet: Any, named: dict[str, Any]) -> bool:
    """Whether the positions to pick are on the meta device, where nothing has a value."""
    if packet not in (aten.index, aten.index_select):
        return False
    positions = tree_leaves(named.get("indices", named.get("index")))
    return any(isinstance(leaf, Tensor) and leaf.device.type == "meta" for leaf in positions)


def _nowhere(dimensions: int) -> Span:
    return (torch.full([1] * dimensions, _NOWHERE, dtype=torch.int32),) * 6


def _union(spans: Sequence[Span]) -> Span:
    joined = spans[0]
    for span in spans[1:]:
        joined = tuple(torch.minimum(a, b) for a, b in zip(joined, span, strict=True))
    return joined


def _elements(spans: Sequence[Span]) -> int:
    """How many the union of these spans has."""
    shapes = [bound.shape for span in spans for bound in span]
    return math.prod(torch.broadcast_shapes(*shapes))


def _hull(span: Span, dimensions: int) -> Span:
    """One span that holds all of them."""
    return tuple(bound.min().reshape([1] * dimensions) for bound in span)


def _compact(span: Span) -> Span:
    """Cut every dimension along which a bound does not change down to one."""
    return tuple(_compact_bound(bound) for bound in span)


def _compact_bound(bound: Tensor) -> Tensor:
    for dim in range(bound.ndim):
        if bound.stride(dim) == 0 and bound.shape[dim] > 1:  # stretched, and not stored
            bound = bound.narrow(dim, 0, 1)
    for dim in range(bound.ndim):
        if bound.shape[dim] > 1:
            one = bound.narrow(dim, 0, 1)
            if bool((bound == one).all()):
                bound = one
    return bound


def _over_windows(bound: Tensor, dim: int, size: int, positions: Tensor) -> Tensor:
    """The union over the input positions that each output position looks at.

    Args:
        bound: of a tensor with `size` elements along `dim`, or 1 if it does not change.
        dim: the dimension the window moves along.
        size: the number of elements there are to look at.
        positions: `(outputs, taps)` indices; those outside `[0, size)` are padding.
    """
    if bound.shape[dim] == 1:
        return bound
    inside = (positions >= 0) & (positions < size)
    picked = bound.index_select(dim, positions.clamp(0, size - 1).flatten())
    picked = picked.unflatten(dim, positions.shape)
    padding = ~inside.reshape(*positions.shape, *[1] * (bound.ndim - dim - 1))
    return picked.masked_fill(padding, _NOWHERE).amin(dim + 1)


def _convolve(span: Span, source: Tensor, result: Tensor, named: dict[str, Any]) -> Span:
    weight, groups = named["weight"], named["groups"]
    span = tuple(_over_channels(bound, groups, result.shape[1]) for bound in span)
    for axis in range(weight.ndim - 2):
        dim, size = 2 + axis, source.shape[2 + axis]
        stride, padding, dilation = (
            _of_axis(named[name], axis) for name in ("stride", "padding", "dilation")
        )
        outputs = torch.arange(result.shape[dim])[:, None]
        taps = torch.arange(weight.shape[dim])[None] * dilation
        if named["transposed"]:
            offsets = outputs + padding - taps
            exact = offsets % stride == 0
            positions = torch.where(exact, offsets.div(stride, rounding_mode="floor"), -1)
        else:
            positions = outputs * stride - padding + taps
        span = tuple(_over_windows(bound, dim, size, positions) for bound in span)
    return span


def _over_channels(bound: Tensor, groups: int, channels: int) -> Tensor:
    if bound.shape[1] == 1 or groups == 1:
        return bound.amin(1, keepdim=True)
    grouped = bound.unflatten(1, (groups, -1)).amin(2)
    return grouped.repeat_interleave(channels // groups, dim=1)


def _pool(span: Span, source: Tensor, result: Tensor, named: dict[str, Any]) -> Span:
    kernel, stride = named["kernel_size"], named["stride"] or named["kernel_size"]
    axes = result.ndim - (1 if source.ndim == len(kernel) + 1 else 2)
    for axis in range(axes):
        dim = result.ndim - axes + axis
        outputs = torch.arange(result.shape[dim])[:, None] * _of_axis(stride, axis)
        taps = torch.arange(_of_axis(kernel, axis))[None] * _of_axis(named.get("dilation", 1), axis)
        positions = outputs - _of_axis(named["padding"], axis) + taps
        span = tuple(_over_windows(b, dim, source.shape[dim], positions) for b in span)
    return span


def _adaptive_pool(span: Span, source: Tensor, result: Tensor) -> Span:
    for dim in range(2, source.ndim):
        size, outputs = source.shape[dim], result.shape[dim]
        starts = [output * size // outputs for output in range(outputs)]
        stops = [math.ceil((output + 1) * size / outputs) for output in range(outputs)]
        longest = max(stop - start for start, stop in zip(starts, stops, strict=True))
        positions = torch.tensor(
            [
                [start + tap if start + tap < stop else -1 for tap in range(longest)]
                for start, stop in zip(starts, stops, strict=True)
            ]
        )
        span = tuple(_over_windows(bound, dim, size, positions) for bound in span)
    return span


def _reduce(span: Span, source: Tensor, result: Tensor, named: dict[str, Any]) -> Span:
    dims = named.get("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(source.ndim))
    span = tuple(bound.amin(dims, keepdim=True) for bound in span)
    if result.ndim < source.ndim:
        gone = {dim % source.ndim for dim in dims}
        kept = [1] * result.ndim
        span = tuple(
            bound.squeeze(sorted(gone)) if result.ndim else bound.reshape(kept) for bound in span
        )
    return span


def _of_axis(value: int | Sequence[int], axis: int) -> int:
    if isinstance(value, int):
        return value
    return value[axis] if len(value) > 1 else value[0]
