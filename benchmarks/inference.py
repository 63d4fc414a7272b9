"""Classifying clips: praxino's engines beside torchvision and PyTorchVideo. Same weights, one run.

python benchmarks/inference.py [--models r3d_18 ...] [--videos FOLDER] [--clips 8] [--json FILE]

For each model one set of made-up weights is given to the peer and, through praxino's converter, to
praxino: the peer's own initial ones, with the statistics of its norms measured on the clips and its
classifier centred on them, so that which class wins depends on the clip. Then all ways take turns,
clip by clip, so that a busy machine is busy for all of them. A figure is a way's fastest clip: CPU
seconds, what a core has to do, and wall seconds, which count what other programs take. Beside them
stand the speed as a multiple of the first way's, by CPU seconds, the share of clips with the first
way's best class, and how far the logits are at most from its own, as a share of the largest one.

The first way is the peer, in float32, as its users run it. Inception I3D has no package: there it
is praxino's own plain torch. PyTorchVideo asks for packages that are no longer made; this finds it:

    pip install --target peers --no-deps pytorchvideo fvcore iopath portalocker termcolor tabulate
    PYTHONPATH=peers python benchmarks/inference.py
"""

import argparse
import copy
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from praxino.computing import Computing
from praxino.datasets.folder import find_videos
from praxino.datasets.pointlight import render_pointlight
from praxino.engines import has_bf16, running, settle
from praxino.errors import EnvironmentFault, VideoError
from praxino.models import MODELS, create_model
from praxino.video import sampling, transforms
from praxino.video.reader import open_video

CPU = torch.device("cpu")
WAYS = ("torch fp32", "channels_last_3d", "torch bf16", "openvino fp32", "openvino bf16")
SLOW_TO_START = ("compile fp32", "compile bf16")  # only when asked for: minutes for each

Way = Callable[[Tensor], Tensor]


# --- the peers ------------------------------------------------------------------------------------


def torchvision_r3d_18() -> nn.Module:
    from torchvision.models.video import r3d_18

    return r3d_18()


def pytorchvideo_slowfast_r50() -> nn.Module:
    from pytorchvideo.models.slowfast import create_slowfast

    class TwoInputs(nn.Module):
        """PyTorchVideo's users cut the clip in two before; the same frames."""

        def __init__(self) -> None:
            super().__init__()
            self.network = create_slowfast()

        def forward(self, clip: Tensor) -> Tensor:
            frames = clip.shape[2]
            slow = clip.index_select(2, torch.linspace(0, frames - 1, frames // 4).long())
            return self.network([slow, clip])

    return TwoInputs()


def pytorchvideo_x3d_s() -> nn.Module:
    from pytorchvideo.models.x3d import create_x3d

    return create_x3d(input_clip_length=13, input_crop_size=160, head_activation=None)


PEERS: dict[str, Callable[[], nn.Module]] = {
    "r3d_18": torchvision_r3d_18,
    "slowfast_r50": pytorchvideo_slowfast_r50,
    "x3d_s": pytorchvideo_x3d_s,
}


def built(name: str, clips: list[Tensor]) -> tuple[nn.Module, nn.Module | None]:
    """Praxino's model and its peer, if there is one, with the same weights."""
    torch.manual_seed(0)
    ours, peer = create_model(name), None
    if name in PEERS:
        toolkit = PEERS[name].__name__.split("_")[0]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".torch.jit.script. is deprecated")
                peer = PEERS[name]()
        except ImportError as error:
            print(f"{name}: {toolkit} is not installed ({error}); beside praxino's own torch fp32")
    centre(ours if peer is None else peer, clips)
    if peer is not None:
        state = getattr(peer, "network", peer).state_dict()
        ours.load_state_dict(MODELS[name].layouts[toolkit](dict(state), ours))
    return ours.eval(), peer


@torch.no_grad()
def centre(model: nn.Module, clips: list[Tensor]) -> None:
    """Let the norms know the clips, and no class win on all of them."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, nn.BatchNorm3d):
            part.momentum = None  # the mean over all that it sees
    model.train()
    for clip in clips[:2]:
        model(clip)
    model.eval()
    last = [part for part in model.modules() if isinstance(part, nn.Linear)]
    head = last[-1]
    head.bias.zero_()
    logits = torch.cat([model(clip) for clip in clips])
    spread = logits.std(0).mean().clamp(min=1e-6)
    head.bias.copy_(-logits.mean(0) / spread)
    head.weight.div_(spread)


# --- the clips ------------------------------------------------------------------------------------


def clips_of(videos: list[Path], spec: Any) -> list[Tensor]:
    """One clip `(1, 3, T, H, W)` from the middle of each video that can be read."""
    found = []
    for path in videos:
        try:
            with open_video(path, short_side=spec.resize_short) as video:
                indices = sampling.test_clips(video.timestamps, spec, 1)
                found.append(transforms.test_views(video.clips(indices).pixels[0], spec, 1))
        except VideoError as error:
            print(f"skipped: {error}")
    return found


def videos_of(folder: Path | None, count: int, scratch: Path) -> list[Path]:
    """`count` videos, evenly spread over those of a folder; without one, point lights."""
    if folder is None:
        render_pointlight(scratch / "pointlight", videos_per_class=10, size=128)
        folder = scratch / "pointlight"
    every = find_videos(folder)
    chosen = np.unique(np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int))
    return [every[number] for number in chosen]


# --- measuring ------------------------------------------------------------------------------------


def measure(name: str, asked: list[str], videos: list[Path]) -> Iterator[dict[str, Any]]:
    """A row for each way of computing one model."""
    clips = clips_of(videos, create_model(name, 1).clip_spec)
    ours, peer = built(name, clips)
    with ExitStack() as stack:
        ways = ways_of(ours, asked, stack)
        if peer is not None:
            ways = {PEERS[name].__name__.split("_")[0]: eager(peer), **ways}
        for run in ways.values():  # so that everything is prepared
            run(clips[0])
        logits: dict[str, list[Tensor]] = {way: [] for way in ways}
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for clip in clips:
            for way, run in ways.items():
                cpu, wall = time.process_time(), time.perf_counter()
                logits[way].append(run(clip))
                seconds[way].append((time.process_time() - cpu, time.perf_counter() - wall))
    first = next(iter(ways))
    theirs = torch.cat(logits[first])
    fastest = {way: np.min(seconds[way], axis=0) for way in ways}
    for way in ways:
        found = torch.cat(logits[way])
        yield {
            "model": name,
            "way": way,
            "cpu_seconds": float(fastest[way][0]),
            "wall_seconds": float(fastest[way][1]),
            "speed": float(fastest[first][0] / fastest[way][0]),
            "agreement": float((found.argmax(1) == theirs.argmax(1)).double().mean()),
            "classes": len(theirs.argmax(1).unique()),
            "difference": float((found - theirs).abs().max() / theirs.abs().max()),
            "clips": len(clips),
        }


def ways_of(model: nn.Module, asked: list[str], stack: ExitStack) -> dict[str, Way]:
    """The ways that this machine can go; why not, of the others."""
    ways: dict[str, Way] = {}
    for way in asked:
        if way == "channels_last_3d":
            ways[way] = eager(model, torch.channels_last_3d)
            continue
        engine, precision = way.split()
        try:
            computing, _ = settle(Computing(engine, precision), "cpu")  # type: ignore[arg-type]
        except EnvironmentFault as error:
            print(f"skipped: {way} ({error})")
            continue
        if computing.precision != precision:
            print(f"skipped: {way} (it would compute in {computing.precision})")
            continue
        ways[way] = stack.enter_context(running(copy.deepcopy(model), CPU, computing, 1))
    return ways


def eager(model: nn.Module, layout: torch.memory_format = torch.contiguous_format) -> Way:
    """Plain torch, as in everybody's own script."""
    network = copy.deepcopy(model).to(memory_format=layout).eval()

    @torch.inference_mode()
    def run(clip: Tensor) -> Tensor:
        return network(clip.contiguous(memory_format=layout))

    return run


def processor() -> str:
    """Its name, the threads in use, and whether it has units for bf16."""
    known = Path("/proc/cpuinfo")
    names = [line for line in known.read_text().splitlines() if line.startswith("model name")]
    bf16 = "with" if has_bf16(CPU) else "without"
    return (
        f"{names[0].partition(': ')[2] if names else platform.processor()} "
        f"({torch.backends.cpu.get_cpu_capability()}), {bf16} bf16, "
        f"{torch.get_num_threads()} thread(s); torch {torch.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["r3d_18", "i3d", "slowfast_r50", "x3d_s"])
    parser.add_argument("--ways", nargs="+", choices=(*WAYS, *SLOW_TO_START))
    parser.add_argument("--videos", type=Path, default=os.environ.get("PRAXINO_LAB_DATA"))
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(processor())
    ways = arguments.ways
    if ways is None:  # without units for bf16 torch emulates it, ten times slower than fp32
        ways = [way for way in WAYS if has_bf16(CPU) or "bf16" not in way]
    print(f"{'model':13s} {'way':17s} {'CPU s':>7s} {'wall s':>7s} {'speed':>6s}  same best class")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        videos = videos_of(arguments.videos, arguments.clips, Path(scratch))
        for name in arguments.models:
            for row in measure(name, ways, videos):
                rows.append(row)
                print(
                    f"{name:13s} {row['way']:17s} {row['cpu_seconds']:7.2f} "
                    f"{row['wall_seconds']:7.2f} {row['speed']:5.2f}x  {row['agreement']:.1%} of "
                    f"{row['clips']} ({row['classes']} classes), logits {row['difference']:.1e}",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps({"processor": processor(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
