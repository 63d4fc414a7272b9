"""Three ways to let frames know of each other: recurrence, convolution over time, self-attention.

python benchmarks/sequence_ops.py [--frames 64 128 ...] [--features 256] [--json FILE]

One layer of each, from vectors `(B, T, D)` to vectors of the same size, forwards and backwards as
in training. For each T: the time of a pass, the peak of the memory that it takes, how many products
must follow one another (what cannot be computed side by side), and how many layers or steps lie
between the first frame and the last (how far a gradient must travel).

Memory is counted by watching each tensor that comes and goes, so it is the same on any machine;
times are the fastest of several, in one run, and only their ratios and their growth mean anything.
"""

import argparse
import json
import math
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

KERNEL = 3  # frames that the convolution spans
HEADS = 4


class Recurrence(nn.Module):
    """A plain recurrent layer: each frame waits for the one before it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.of_input, self.of_state = nn.Linear(features, features), nn.Linear(features, features)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`."""
        inputs, state = self.of_input(vectors), torch.zeros_like(vectors[:, 0])
        states = []
        for frame in inputs.unbind(1):
            state = torch.tanh(frame + self.of_state(state))
            states.append(state)
        return torch.stack(states, dim=1)


class Convolution(nn.Module):
    """A convolution over time: each frame sees its neighbours, in one go."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(features, features, KERNEL, padding=KERNEL // 2)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`."""
        result: Tensor = self.conv(vectors.transpose(1, 2)).transpose(1, 2)
        return result


class SelfAttention(nn.Module):
    """Self-attention as it is written: T x T scores for each head, kept for the way back."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.project, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`."""
        batch, frames, features = vectors.shape
        split = self.project(vectors).view(batch, frames, 3, HEADS, features // HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (B, heads, T, D / heads) each
        scores = (query @ key.transpose(2, 3) / math.sqrt(features // HEADS)).softmax(-1)
        looked: Tensor = self.out((scores @ value).transpose(1, 2).flatten(2))
        return looked


class PeakMemory(TorchDispatchMode):
    """Adds up the storages that live at a time, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and count what it makes."""
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._seen:
                    self._seen.add(key)
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._gone, key, size)
        return result

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


# Each operation with how many products follow one another, and how far the first frame is from the
# last, both as functions of T.
OPERATIONS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], int], Callable[[int], int]]]
OPERATIONS = {
    "recurrence": (Recurrence, lambda frames: frames + 1, lambda frames: frames - 1),
    # A stack of them: each layer carries a frame (K - 1) / 2 further.
    "convolution": (
        Convolution,
        lambda frames: 1,
        lambda frames: math.ceil((frames - 1) / (KERNEL // 2)),
    ),
    "self-attention": (SelfAttention, lambda frames: 4, lambda frames: 1),
}


def measure(name: str, frames: int, features: int, batch: int, rounds: int) -> dict[str, float]:
    """Time and memory of a pass forwards and backwards, and what follows from T alone."""
    build, in_a_row, path = OPERATIONS[name]
    torch.manual_seed(0)
    layer = build(features)
    vectors = torch.randn(batch, frames, features)

    def run() -> None:
        layer(vectors).sum().backward()
        layer.zero_grad()

    run()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    with PeakMemory() as memory:
        run()
    return {
        "milliseconds": 1e3 * min(seconds),
        "megabytes": memory.peak / 1e6,
        "products_in_a_row": in_a_row(frames),
        "path_length": path(frames),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048])
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.features % HEADS:
        parser.error(f"--features must be a multiple of {HEADS}, got {arguments.features}.")
    found: list[dict[str, Any]] = []
    print("| operation | T | ms | MB | products in a row | first to last frame |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in OPERATIONS:
        for frames in arguments.frames:
            numbers = measure(name, frames, arguments.features, arguments.batch, arguments.rounds)
            found.append({"operation": name, "frames": frames} | numbers)
            print(
                f"| {name} | {frames} | {numbers['milliseconds']:.1f} | "
                f"{numbers['megabytes']:.1f} | {numbers['products_in_a_row']} | "
                f"{numbers['path_length']} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
