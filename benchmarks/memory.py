"""Peak memory of `praxino predict` on a long video beside a short one.

python benchmarks/memory.py VIDEO [--minutes 3 180] [--every 1] [--json FILE]

The videos are made by repeating one clip, without encoding it anew. Each prediction runs in a
process of its own, both ways: evenly spread clips, and a window every so many seconds. The peak is
the process's own (`ru_maxrss`); the model is a small 3D network that has learnt nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av

PREDICT = """
import resource, sys, time
from praxino.command.cli import run
started = time.perf_counter()
code = run(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
print("peak", peak / 1024, time.perf_counter() - started)
sys.exit(code)
"""


def repeat(clip: str, target: Path, minutes: float) -> int:
    """Write the clip's packets again and again; the number of frames."""
    count = 0
    with av.open(clip) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size]
        one = out.add_stream_from_template(stream)
        tick = float(stream.time_base)
        length = max(p.pts + (p.duration or 0) for p in packets) - min(p.pts for p in packets)
        times = [(packet.pts, packet.dts) for packet in packets]
        for round_ in range(round(60 * minutes / (length * tick))):
            for packet, (shown, decoded) in zip(packets, times, strict=True):
                packet.stream, packet.time_base = one, stream.time_base
                packet.pts, packet.dts = shown + round_ * length, decoded + round_ * length
                out.mux(packet)
                count += 1
    return count


def untrained(folder: Path) -> Path:
    import torch

    from praxino.models import create_model
    from praxino.weights.checkpoint import Card, save_model

    torch.manual_seed(0)
    model = create_model("small_3d", num_classes=3)
    card = Card("small_3d", {}, ("kick", "punch", "wave"), model.clip_spec, {})
    save_model(folder / "model.safetensors", model, card)
    return folder / "model.safetensors"


def peak(video: Path, model: Path, options: list[str]) -> tuple[float, float]:
    """Megabytes and seconds."""
    command = [sys.executable, "-c", PREDICT, "predict", str(video), "--model", str(model)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    said = next(line for line in done.stdout.splitlines() if line.startswith("peak"))
    megabytes, seconds = said.split()[1:]
    return float(megabytes), float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video")
    parser.add_argument("--minutes", type=float, nargs=2, default=[3, 180])
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = untrained(folder)
        videos = [(folder / f"{minutes:g}_minutes.mp4", minutes) for minutes in arguments.minutes]
        for path, minutes in videos:
            frames = repeat(arguments.video, path, minutes)
            print(f"{path.name}: {frames:,} frames, {path.stat().st_size / 1e6:,.0f} MB")
        ways = {"10 clips": [], f"every {arguments.every:g} s": ["--every", str(arguments.every)]}
        for way, options in ways.items():
            short, long = (peak(path, model, options) for path, _ in videos)
            ratio = long[0] / short[0]
            found[way] = {"megabytes": [short[0], long[0]], "seconds": [short[1], long[1]]}
            print(
                f"{way:12s} {short[0]:6.0f} MB and {long[0]:6.0f} MB: {ratio:.3f}x"
                f"   ({short[1]:.0f} s and {long[1]:.0f} s)",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
