"""Reading frames: praxino beside torchcodec, decord and OpenCV. Same files, one thread, one run.

python benchmarks/decode.py VIDEO [VIDEO ...] [--json FILE] [--rounds 5]

Every reader opens the file, does the task, and closes it. The readers take turns, so that a busy
machine is busy for all of them, and the figure is each one's fastest round, in CPU milliseconds:
what a core has to do, however many other programs share it. Beside it stands how many times
praxino's own time that is, so above 1 praxino is faster.

"decode only" is PyAV handing out pictures that nobody looks at: no reader on this FFmpeg can be
faster. Thirty views are ten clips of 16 frames, every fourth, in three crops. Toolkits of the field
read the file once for each clip (or for each view); praxino, once.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxino.video.reader import open_video

SHORT_SIDE, CLIP, UNIFORM, CLIPS, STRIDE = 128, 16, 8, 10, 4
PEERS = ("torchcodec", "decord", "cv2")

Indices = NDArray[np.int64]
Reader = Callable[[str], object]


# --- what is asked for ----------------------------------------------------------------------------


def random_clip(count: int) -> Indices:
    """16 frames in a row from somewhere, the same place for all readers."""
    start = int(np.random.default_rng(count).integers(0, max(1, count - CLIP)))
    return np.minimum(np.arange(start, start + CLIP), count - 1)


def uniform(count: int) -> Indices:
    return np.linspace(0, count - 1, UNIFORM).astype(np.int64)


def views(count: int) -> Indices:
    """`(clips, frames)`: ten clips of 16 frames, every fourth, evenly spread."""
    starts = np.linspace(0, max(0, count - CLIP * STRIDE), CLIPS).astype(np.int64)
    return np.minimum(starts[:, None] + STRIDE * np.arange(CLIP), count - 1)


# --- praxino --------------------------------------------------------------------------------------


def praxino_all(path: str) -> None:
    with open_video(path, threads=1) as video:
        for _ in video:
            pass


def praxino_resized(path: str) -> None:
    with open_video(path, short_side=SHORT_SIDE, threads=1) as video:
        for _ in video:
            pass


def praxino_some(path: str, which: Callable[[int], Indices]) -> None:
    with open_video(path, threads=1) as video:
        video.frames(which(len(video)))


def praxino_views(path: str) -> None:
    with open_video(path, threads=1) as video:
        video.clips(views(len(video)))


def praxino_clip_by_clip(path: str) -> None:
    for number in range(CLIPS):
        with open_video(path, threads=1) as video:
            video.frames(views(len(video))[number])


# --- its peers ------------------------------------------------------------------------------------


def decode_only(path: str) -> None:
    import av

    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass


def torchcodec_all(path: str) -> None:
    for _ in _torchcodec(path):
        pass


def torchcodec_resized(path: str) -> None:
    from torchcodec.transforms import Resize

    height, width = _size(path)
    for _ in _torchcodec(path, transforms=[Resize((height, width))]):
        pass


def torchcodec_then_torchvision(path: str) -> None:
    from torchvision.transforms.v2.functional import resize

    for frame in _torchcodec(path):
        resize(frame, [SHORT_SIDE], antialias=True)


def torchcodec_some(path: str, which: Callable[[int], Indices]) -> None:
    decoder = _torchcodec(path)
    decoder.get_frames_at(which(len(decoder)).tolist())


def torchcodec_clip_by_clip(path: str) -> None:
    for number in range(CLIPS):
        decoder = _torchcodec(path)
        decoder.get_frames_at(views(len(decoder))[number].tolist())


def _torchcodec(path: str, **options: Any) -> Any:
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(path, num_ffmpeg_threads=1, **options)


def decord_all(path: str, **size: int) -> None:
    reader = _decord(path, **size)
    for index in range(len(reader)):
        reader[index].asnumpy()


def decord_resized(path: str) -> None:
    height, width = _size(path)
    decord_all(path, width=width, height=height)


def decord_some(path: str, which: Callable[[int], Indices]) -> None:
    reader = _decord(path)
    reader.get_batch(which(len(reader))).asnumpy()


def decord_clip_by_clip(path: str) -> None:
    for number in range(CLIPS):
        reader = _decord(path)
        reader.get_batch(views(len(reader))[number]).asnumpy()


def _decord(path: str, **size: int) -> Any:
    import decord

    return decord.VideoReader(path, num_threads=1, **size)


def opencv_all(path: str, resize: bool = False) -> None:
    import cv2

    size = _size(path)[::-1] if resize else None
    capture = _opencv(path)
    while True:
        good, frame = capture.read()
        if not good:
            return
        frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if size is not None:  # without antialiasing, as it comes
            cv2.resize(frame, size)


def opencv_resized(path: str) -> None:
    opencv_all(path, resize=True)


def opencv_some(path: str, which: Callable[[int], Indices]) -> None:
    import cv2

    capture = _opencv(path)
    wanted = which(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    capture.set(cv2.CAP_PROP_POS_FRAMES, int(wanted[0]))
    needed, place = set(wanted.tolist()), int(wanted[0])
    while place <= wanted[-1] and capture.grab():
        if place in needed:
            cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        place += 1


def opencv_clip_by_clip(path: str) -> None:
    for number in range(CLIPS):
        opencv_some(path, lambda count, number=number: views(count)[number])


def _opencv(path: str) -> Any:
    import cv2

    cv2.setNumThreads(1)
    return cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def _size(path: str) -> tuple[int, int]:
    """Height and width after resizing, for readers that must be told."""
    with open_video(path, short_side=SHORT_SIDE, threads=1) as video:
        return video.size


# --- measuring ------------------------------------------------------------------------------------

# Each reader's name begins with the package that it needs.
TASKS: dict[str, dict[str, Reader]] = {
    "all frames": {
        "praxino": praxino_all,
        "decode only": decode_only,
        "torchcodec": torchcodec_all,
        "decord": decord_all,
        "cv2": opencv_all,
    },
    f"all, resized to {SHORT_SIDE}": {
        "praxino": praxino_resized,
        "decode only": decode_only,
        "torchcodec": torchcodec_resized,
        "torchcodec + torchvision": torchcodec_then_torchvision,
        "decord": decord_resized,
        "cv2": opencv_resized,
    },
    f"random clip of {CLIP}": {
        "praxino": lambda path: praxino_some(path, random_clip),
        "torchcodec": lambda path: torchcodec_some(path, random_clip),
        "decord": lambda path: decord_some(path, random_clip),
        "cv2": lambda path: opencv_some(path, random_clip),
    },
    f"{UNIFORM} frames, evenly spread": {
        "praxino": lambda path: praxino_some(path, uniform),
        "torchcodec": lambda path: torchcodec_some(path, uniform),
        "decord": lambda path: decord_some(path, uniform),
        "cv2": lambda path: opencv_some(path, uniform),
    },
    "30 views": {
        "praxino": praxino_views,
        "decode only": decode_only,
        "praxino, clip by clip": praxino_clip_by_clip,
        "torchcodec, clip by clip": torchcodec_clip_by_clip,
        "decord, clip by clip": decord_clip_by_clip,
        "cv2, clip by clip": opencv_clip_by_clip,
    },
}


def missing_peers() -> set[str]:
    """Peers that cannot be imported, each said by name with the reason."""
    missing = set()
    for name in PEERS:
        try:
            importlib.import_module(f"{name}.decoders" if name == "torchcodec" else name)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"skipped: {name} ({str(error).strip().splitlines()[0]})")
            missing.add(name)
    return missing


def measure(readers: dict[str, Reader], path: str, rounds: int) -> dict[str, float | str]:
    """CPU milliseconds of each reader's fastest round, or what it failed with."""
    found: dict[str, float | str] = {}
    for _ in range(rounds):
        for name, read in readers.items():
            if isinstance(found.get(name), str):
                continue
            started = time.process_time()
            try:
                read(path)
            except Exception as error:  # a peer that fails is a finding, not an end
                if name.startswith("praxino"):
                    raise
                found[name] = f"failed: {str(error).strip().splitlines()[0][:60]}"
                continue
            used = 1000 * (time.process_time() - started)
            before = found.get(name)
            found[name] = min(before, used) if isinstance(before, float) else used
    return found


def print_task(task: str, times: dict[str, float | str]) -> None:
    own = times["praxino"]
    assert isinstance(own, float)
    print(f"  {task}")
    for name, value in times.items():
        if isinstance(value, str):
            print(f"    {name:26s} {value}")
        else:
            print(f"    {name:26s} {value:8.1f} ms  {value / own:5.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    missing = missing_peers()
    if "torchcodec" not in missing:
        import torch

        torch.set_num_threads(1)
    found: dict[str, dict[str, dict[str, float | str]]] = {}
    for path in arguments.videos:
        print(f"\n{Path(path).name}: CPU time, and how many times praxino's")
        for task, readers in TASKS.items():
            there = {name: one for name, one in readers.items() if name.split()[0] not in missing}
            there = {name: one for name, one in there.items() if name.split(",")[0] not in missing}
            times = measure(there, path, arguments.rounds)
            print_task(task, times)
            found.setdefault(Path(path).name, {})[task] = times
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
