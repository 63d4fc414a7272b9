"""Optical flow: how fast each method is and how far it errs, beside OpenCV called directly.

python benchmarks/flow.py [--size 240 320] [--rounds 3] [--threads 1] [--device cpu] [--json FILE]

Two frames of a made-up scene with natural statistics (as much contrast at every scale) whose flow
is known: it slides a little, slides far, turns, comes nearer; or a square moves over it. All ways
take turns, scene by scene, so that a busy machine is busy for all of them. Speed is of each way's
fastest round: pairs of frames in a second, and CPU seconds a pair, which other programs on the
machine change least. The error is the mean end-point error in pixels, 12 pixels at the edge left
out. One thread each, unless told otherwise.

Below stands what keeping flow costs: packed files beside folders of JPEG pictures.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from praxino.errors import EnvironmentFault
from praxino.video.flow import (
    FLOW_METHODS,
    compute_flow,
    flow_from_bytes,
    flow_to_bytes,
    import_opencv,
)
from praxino.video.flow_store import FlowRecord, FlowStore, write_flow, write_flow_images

Array = NDArray[np.float64]
Way = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

HERE = Path(__file__).parent
EDGE = 12


# --- scenes ---------------------------------------------------------------------------------------


def picture(x: Array, y: Array, seed: int) -> Array:
    """Random blotches at any place, without end: each twice as large has as much contrast."""
    lattice = np.random.default_rng(seed).uniform(-1, 1, (256, 256))
    total = np.zeros(x.shape)
    for octave, size in enumerate((3, 6, 12, 24, 48, 96)):
        column, row = x / size + 37 * octave, y / size + 61 * octave
        left, top = np.floor(column).astype(int), np.floor(row).astype(int)
        right, below = column - left, row - top
        right, below = (3 - 2 * right) * right**2, (3 - 2 * below) * below**2
        corner = [[lattice[(top + j) % 256, (left + i) % 256] for i in (0, 1)] for j in (0, 1)]
        upper = corner[0][0] * (1 - right) + corner[0][1] * right
        lower = corner[1][0] * (1 - right) + corner[1][1] * right
        total += upper * (1 - below) + lower * below
    return np.clip(127.5 + 50 * total, 0, 255)


def scenes(height: int, width: int) -> dict[str, tuple[NDArray[np.uint8], Array]]:
    """Two frames `(2, H, W, 3)` and the flow `(H, W, 2)` between them, by name."""
    y, x = np.mgrid[:height, :width].astype(float)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    around = np.stack([x, y], axis=-1) - centre
    turn = np.radians(2.5)
    motions = {
        "slides": (np.eye(2), np.array([2.3, -1.4])),
        "slides far": (np.eye(2), np.array([13.0, 6.5])),
        "turns": (
            np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]),
            np.zeros(2),
        ),
        "comes nearer": (1.05 * np.eye(2), np.zeros(2)),
    }
    found = {}
    for name, (matrix, shift) in motions.items():
        came_from = (around - shift) @ np.linalg.inv(matrix).T + centre
        first, second = picture(x, y, 0), picture(came_from[..., 0], came_from[..., 1], 0)
        found[name] = as_frames(first, second), around @ (matrix - np.eye(2)).T + shift
    left, top, side, shift = width // 3, height // 3, height // 3, np.array([5.0, 3.0])
    pictures = []
    for moved in (0, 1):
        inner_x, inner_y = x - left - moved * shift[0], y - top - moved * shift[1]
        inside = (inner_x >= 0) & (inner_x < side) & (inner_y >= 0) & (inner_y < side)
        pictures.append(np.where(inside, picture(inner_x, inner_y, 1), picture(x, y, 0)))
        if not moved:
            flow = np.where(inside[..., None], shift, 0.0)
    found["square"] = as_frames(*pictures), flow
    return found


def as_frames(first: Array, second: Array) -> NDArray[np.uint8]:
    grey = np.stack([first, second]).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


# --- ways -----------------------------------------------------------------------------------------


def directly(method: str) -> Way:
    """OpenCV without praxino, as its documentation shows it."""
    cv2 = import_opencv()
    if method == "dis":
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda frames: dis.calc(*grey(frames), None)[None]
    if method == "tvl1":
        tvl1 = cv2.optflow.DualTVL1OpticalFlow_create()
        return lambda frames: tvl1.calc(*grey(frames), None)[None]
    options = (0.5, 3, 15, 3, 5, 1.2, 0)
    return lambda frames: cv2.calcOpticalFlowFarneback(*grey(frames), None, *options)[None]


def grey(frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    cv2 = import_opencv()
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]


def ways_of(device: str) -> dict[str, Way]:
    """praxino's methods, and OpenCV's own; why not, of those that cannot be had here."""
    ways: dict[str, Way] = {}
    for method in FLOW_METHODS:
        try:
            compute_flow(np.zeros((2, 32, 32, 3), np.uint8), method, device=device)
        except EnvironmentFault as error:
            print(f"{method} is left out: {error}")
            continue
        ways[method] = lambda frames, method=method: compute_flow(frames, method, device=device)
        if method in ("farneback", "dis", "tvl1"):
            ways[f"OpenCV {method}"] = directly(method)
    return ways


@dataclass
class Figures:
    """What one way has shown."""

    cpu_seconds: float = float("inf")
    wall_seconds: float = float("inf")
    errors: dict[str, float] = field(default_factory=dict)


def measure(height: int, width: int, rounds: int, device: str) -> dict[str, Figures]:
    """Each way on each scene; the fastest round counts, its mean over the scenes."""
    ways, pairs = ways_of(device), scenes(height, width)
    found = {name: Figures() for name in ways}
    inner = np.s_[EDGE:-EDGE, EDGE:-EDGE]
    for _ in range(rounds):
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for scene, (frames, truth) in pairs.items():
            for name, way in ways.items():
                cpu, wall = time.process_time(), time.perf_counter()
                flow = way(frames)[0]
                times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
                found[name].errors[scene] = float(
                    np.linalg.norm(flow[inner] - truth[inner], axis=-1).mean()
                )
        for name, figures in found.items():
            cpu, wall = np.mean(times[name], axis=0)
            figures.cpu_seconds = min(figures.cpu_seconds, float(cpu))
            figures.wall_seconds = min(figures.wall_seconds, float(wall))
    return found


# --- keeping it -----------------------------------------------------------------------------------


@dataclass
class Kept:
    """What one way of keeping flow costs, for each flow."""

    kilobytes: float
    write_milliseconds: float
    read_milliseconds: float
    error: float


def keep(height: int, width: int, count: int = 32) -> dict[str, Kept]:
    """Flow of a camera that trembles over a scene, kept and read again in clips of 8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(float)
    places = np.cumsum(rng.normal(0, 1.5, (count + 1, 2)), axis=0)
    grey = np.stack([picture(x + dx, y + dy, 0) for dx, dy in places])
    noisy = np.clip(grey + rng.normal(0, 2, grey.shape), 0, 255).round().astype(np.uint8)
    flow = compute_flow(np.repeat(noisy[..., None], 3, axis=-1), "dis")
    stored = flow_to_bytes(flow)
    record = FlowRecord("dis", False, 20.0, "a.mp4", 1, count + 1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("packed", "JPEG pictures"):
            root = Path(folder, name)
            root.mkdir()
            start = time.perf_counter()
            if name == "packed":
                write_flow(root / "a.mp4.flow.mkv", record, stored)
            else:
                write_flow_images(root / "a", record, stored)
            written = time.perf_counter() - start
            store, start = FlowStore(root), time.perf_counter()
            clips = [store.flow("a.mp4", range(first, first + 8)) for first in range(0, count, 8)]
            read = time.perf_counter() - start
            size = sum(path.stat().st_size for path in root.rglob("*.*"))
            back = flow_from_bytes(np.concatenate(clips))
            error = float(np.linalg.norm(back - np.clip(flow, -20, 20), axis=-1).mean())
            found[name] = Kept(
                size / 1000 / count, 1000 * written / count, 1000 * read / count, error
            )
    return found


# --- telling --------------------------------------------------------------------------------------


def page(found: dict[str, Figures], kept: dict[str, Kept], where: str, size: str) -> str:
    """The tables, as Markdown."""
    names = list(next(iter(found.values())).errors)
    lines = [
        "# Optical flow: speed and error of each method",
        "",
        "Written by `python benchmarks/flow.py`, which says what is measured and how: pairs of",
        f"frames of {size} pixels, {where}.",
        "",
        f"| method | pairs a second | CPU s a pair | error: {' | '.join(names)} |",
        "|---|---:|---:|" + "---:|" * len(names),
    ]
    for name, figures in found.items():
        errors = " | ".join(f"{figures.errors[scene]:.3f}" for scene in names)
        lines.append(
            f"| {name} | {1 / figures.wall_seconds:.3g} | {figures.cpu_seconds:.3g} | {errors} |"
        )
    absent = [method for method in FLOW_METHODS if method not in found]
    if absent:
        lines += ["", f"Left out, as it could not be had there: {', '.join(absent)}."]
    lines += [
        "",
        "Pairs a second count what other programs on the machine take; CPU seconds hardly do.",
        "OpenCV's TV-L1 starts from a copy 0.41 times as large as the picture, ours from one a",
        "sixteenth as large, if that has 16 pixels: so it finds motions that are larger.",
        "",
        "## Keeping it",
        "",
        "A trembling camera with noise, 8 bits within 20 pixels; read in clips of 8 flows.",
        "",
        "| kept as | kB a flow | ms to write | ms to read | error in pixels |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, one in kept.items():
        lines.append(
            f"| {name} | {one.kilobytes:.1f} | {one.write_milliseconds:.1f} | "
            f"{one.read_milliseconds:.1f} | {one.error:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, default=HERE / "flow.md")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    cv2 = import_opencv()
    cv2.setNumThreads(asked.threads)
    found = measure(*asked.size, asked.rounds, asked.device)
    kept = keep(*asked.size)
    threads = "one thread" if asked.threads == 1 else f"{asked.threads} threads"
    where = (
        f"on {asked.device} of {platform.machine()}, {threads}, OpenCV {cv2.__version__}, "
        f"torch {torch.__version__.split('+')[0]}"
    )
    text = page(found, kept, where, f"{asked.size[1]} x {asked.size[0]}")
    print(text)
    asked.markdown.write_text(text, encoding="utf-8")
    if asked.json is not None:
        said = {
            "where": where,
            "methods": {name: vars(figures) for name, figures in found.items()},
            "kept": {name: vars(one) for name, one in kept.items()},
        }
        asked.json.write_text(json.dumps(said, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
