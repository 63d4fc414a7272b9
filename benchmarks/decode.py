"""Reading frames: praxino beside OpenCV, decord and torchcodec, same file, one thread, one run.

python benchmarks/decode.py VIDEO [VIDEO ...] [--json FILE]

Every reader opens the file, does the task, and closes it. The figure is the fastest of several
rounds, and the readers take turns, so that a busy machine is busy for all of them.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from praxino.video.reader import open_video

ROUNDS = 5
SHORT_SIDE, CLIP, VIEWS = 128, 16, 10


def praxino_all(path: str) -> int:
    with open_video(path, threads=1) as video:
        return sum(1 for _ in video)


def praxino_resized(path: str) -> int:
    with open_video(path, short_side=SHORT_SIDE, threads=1) as video:
        return sum(1 for _ in video)


def praxino_clip(path: str) -> int:
    with open_video(path, threads=1) as video:
        return len(video.frames(_clip(len(video))).pixels)


def praxino_views(path: str) -> int:
    with open_video(path, threads=1) as video:
        return video.clips(_views(len(video))).pixels.shape[0]


def opencv_all(path: str, resize: bool = False) -> int:
    import cv2

    cv2.setNumThreads(1)
    capture, count = cv2.VideoCapture(path), 0
    while True:
        good, frame = capture.read()
        if not good:
            return count
        frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if resize:
            height, width = frame.shape[:2]
            scale = SHORT_SIDE / min(height, width)
            cv2.resize(frame, (round(width * scale), round(height * scale)))
        count += 1


def opencv_resized(path: str) -> int:
    return opencv_all(path, resize=True)


def decord_all(path: str, **size: int) -> int:
    import decord

    reader = decord.VideoReader(path, num_threads=1, **size)
    return sum(1 for index in range(len(reader)) if reader[index].asnumpy() is not None)


def decord_resized(path: str) -> int:
    with open_video(path, short_side=SHORT_SIDE) as video:
        width, height = video.info.width, video.info.height
    return decord_all(path, width=width, height=height)


def decord_clip(path: str) -> int:
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    return len(reader.get_batch(_clip(len(reader))).asnumpy())


def decord_views(path: str) -> int:
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    return sum(1 for clip in _views(len(reader)) if len(reader.get_batch(clip).asnumpy()))


def torchcodec_all(path: str) -> int:
    from torchcodec.decoders import VideoDecoder

    return sum(1 for _ in VideoDecoder(path, num_ffmpeg_threads=1))


def torchcodec_clip(path: str) -> int:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=1)
    return len(decoder.get_frames_at(list(_clip(len(decoder)))))


def torchcodec_views(path: str) -> int:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=1)
    return sum(1 for clip in _views(len(decoder)) if decoder.get_frames_at(list(clip)))


def _clip(count: int) -> np.ndarray:
    """16 frames in a row from the middle."""
    start = max(0, count // 2 - CLIP // 2)
    return np.minimum(np.arange(start, start + CLIP), count - 1)


def _views(count: int) -> np.ndarray:
    starts = np.linspace(0, max(0, count - CLIP), VIEWS).astype(int)
    return np.minimum(starts[:, None] + np.arange(CLIP), count - 1)


TASKS: dict[str, dict[str, Callable[[str], int]]] = {
    "all frames": {
        "praxino": praxino_all,
        "cv2": opencv_all,
        "decord": decord_all,
        "torchcodec": torchcodec_all,
    },
    f"all, short side {SHORT_SIDE}": {
        "praxino": praxino_resized,
        "cv2": opencv_resized,
        "decord": decord_resized,
    },
    f"a clip of {CLIP}": {
        "praxino": praxino_clip,
        "decord": decord_clip,
        "torchcodec": torchcodec_clip,
    },
    f"{VIEWS} clips of {CLIP}": {
        "praxino": praxino_views,
        "decord": decord_views,
        "torchcodec": torchcodec_views,
    },
}


def loads(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        print(f"skipped: {name} ({str(error).splitlines()[0]})")
        return False
    return True


def measure(readers: dict[str, Callable[[str], int]], path: str) -> dict[str, Any]:
    best: dict[str, Any] = {name: float("inf") for name in readers}
    for _ in range(ROUNDS):
        for name, read in readers.items():
            started = time.perf_counter()
            try:
                read(path)
            except Exception as error:  # a peer that fails is a finding, not an end
                best[name] = f"failed: {type(error).__name__}"
                continue
            if not isinstance(best[name], str):
                best[name] = min(best[name], time.perf_counter() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    installed = {name for name in ("cv2", "decord", "torchcodec") if loads(name)} | {"praxino"}
    found: dict[str, Any] = {}
    for path in arguments.videos:
        print(f"\n{Path(path).name}")
        for task, readers in TASKS.items():
            times = measure({n: r for n, r in readers.items() if n in installed}, path)
            own, cells = times["praxino"], []
            for name, value in times.items():
                if isinstance(value, str):
                    cells.append(f"{name} {value}")
                else:
                    cells.append(f"{name} {1000 * value:7.1f} ms ({value / own:4.2f}x)")
            print(f"  {task:20s} " + "   ".join(cells))
            found.setdefault(Path(path).name, {})[task] = times
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
