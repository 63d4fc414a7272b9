"""Videos in, flow out: files that training reads, or pictures to look at."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from praxino.atomic import PART, atomic_write, remove_parts
from praxino.errors import VideoError
from praxino.explain.animation import write_animation
from praxino.ledger import Ledger
from praxino.runs.run_lock import run_lock
from praxino.video.flow import BOUND, FlowFunction, flow_function, flow_to_bytes
from praxino.video.flow_pictures import draw_panels, longest_of
from praxino.video.flow_store import (
    FLOW_SUFFIX,
    WARPED_SUFFIX,
    FlowRecord,
    is_whole,
    write_flow,
    write_flow_images,
)
from praxino.video.reader import open_video
from praxino.video.video import Video
from praxino.video.warped_flow import warp_flow
from praxino.video.writer import VideoWriter

PICTURE_SUFFIXES = (".png", ".mp4", ".gif")
SMALLEST_SIDE = 16  # pixels; no method finds anything in smaller frames

_AT_ONCE = 9  # frames in memory
_GIF_FRAMES = 150  # a GIF is held in memory whole, and larger ones do not load in a browser
_MOMENTS, _TRIED = 3, 4  # rows of a .png, and pairs of frames of which each is the liveliest

Progress = Callable[[int, int], None]


def store_flow(
    videos: Mapping[Path, str],
    output: Path,
    *,
    method: str = "dis",
    short_side: int | None = None,
    warped: bool = False,
    images: bool = False,
    device: str | None = None,
    untrusted: bool = False,
    progress: Progress | None = None,
    complain: Callable[[Path, VideoError], object] | None = None,
    ledger: Ledger | None = None,
) -> Ledger:
    """Compute the flow of many videos and keep it, each video's whole or not at all.

    What is already there, whole and made in the same way from a file of the same size, is left as
    it is; so a job that was stopped goes on where it was.

    Args:
        videos: path -> name in the store, for example `kick/a.mp4`.
        output: the folder of the store.
        method: one of `praxino.video.flow.FLOW_METHODS`.
        short_side: to which the videos are resized first; None: not at all.
        warped: take the camera's motion out.
        images: write folders of JPEG pictures, as denseflow does, instead of packed files.
        device: for the methods on tensors; the GPU if there is one.
        untrusted: decode each video in a locked process of its own.
        progress: told (done, all): videos, or the frames of a single one.
        complain: told each video that cannot be done.
        ledger: gets a line for each video; a new one unless given.

    Returns:
        The ledger: ok, partial, failed, or skipped for what was already there.

    Raises:
        ValueError: no such method, two videos whose flow would be one file, or another process
            fills the folder.
        EnvironmentFault: the disk is full, OpenCV is missing, weights cannot be fetched.
    """
    ledger = Ledger() if ledger is None else ledger
    compute = flow_function(method, device=device)
    targets = {path: _target(output, name, warped, images) for path, name in videos.items()}
    _check_targets(targets)
    with run_lock(output):  # so that what is half written is nobody's any more
        for folder in {target.parent for target in targets.values()}:
            _remove_left_overs(folder)
        for number, (path, target) in enumerate(targets.items()):
            try:
                record = FlowRecord(
                    method, warped, BOUND, Path(videos[path]).name, _size_of(path), 2, short_side
                )
                if is_whole(target, record):
                    ledger.skipped(str(path), "already_there", f"{target} is whole")
                else:
                    of_frames = progress if len(videos) == 1 else None
                    with open_video(path, short_side=short_side, untrusted=untrusted) as video:
                        _store(video, target, record, compute, images, of_frames)
                        got, expected = video.frames_got, video.frames_expected
                    if expected is None or got >= expected:
                        ledger.ok(str(path))
                    else:
                        ledger.partial(str(path), got, expected)
            except VideoError as error:
                ledger.failed(str(path), error)
                if complain is not None:
                    complain(path, error)
            if progress is not None and len(videos) > 1:
                progress(number + 1, len(videos))
    return ledger


def draw_flow(
    path: str | Path,
    picture: str | Path,
    *,
    method: str = "dis",
    short_side: int | None = None,
    warped: bool = False,
    device: str | None = None,
    untrusted: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Draw the flow of a video: arrows, colour, u and v; of `lucas_kanade`, its confidence too.

    Args:
        path: of the video.
        picture: `.png` shows three moments, those of most motion; `.mp4` and `.gif` all frames.
        method: as `store_flow`, like the rest.
        short_side: as `store_flow`.
        warped: as `store_flow`.
        device: as `store_flow`.
        untrusted: as `store_flow`.
        progress: told (done, all) frames.

    Returns:
        `picture`.

    Raises:
        ValueError: another suffix, or a GIF of more than 150 frames.
        VideoError: the video cannot be read, or has one frame.
        EnvironmentFault: as `store_flow`.
    """
    picture = Path(picture)
    if picture.suffix.lower() not in PICTURE_SUFFIXES:
        raise ValueError(
            f"Cannot draw flow as {picture.name!r}: use {', '.join(PICTURE_SUFFIXES)}."
        )
    compute = flow_function(method, device=device)
    with open_video(path, short_side=short_side, untrusted=untrusted) as video:
        _check(video)
        if picture.suffix.lower() == ".png":
            _draw_moments(video, picture, compute, warped, method)
            return picture
        if picture.suffix.lower() == ".gif" and len(video) > _GIF_FRAMES:
            raise ValueError(
                f"{picture.name} would hold {len(video)} frames, and a GIF holds at most "
                f"{_GIF_FRAMES}. Write an .mp4."
            )
        longest = max(longest_of(flow) for _, _, flow in _samples(video, compute, warped))
        rate = video.info.frames_per_second
        sheets = (
            _in_two_rows(_panels(index, pixels, flow, longest, method))
            for index, pixels, flow in _pairs(video, compute, warped, progress)
        )
        if picture.suffix.lower() == ".gif":
            write_animation(picture, list(sheets), min(rate, 50))  # a GIF's shortest time is 1/50 s
        else:
            with VideoWriter(picture, min(rate, 1000)) as writer:
                for sheet in sheets:
                    writer.write(sheet)
    return picture


def _store(
    video: Video,
    target: Path,
    record: FlowRecord,
    compute: FlowFunction,
    images: bool,
    progress: Progress | None,
) -> None:
    _check(video)
    record = FlowRecord(**{**vars(record), "source_frames": len(video)})
    flows = (flow_to_bytes(flow) for _, _, flow in _pairs(video, compute, record.warped, progress))
    if images:
        write_flow_images(target, record, flows)
    else:
        write_flow(target, record, flows)


def _check(video: Video) -> None:
    if len(video) < 2:
        raise VideoError(
            video.name,
            "has one frame, and flow leads from one frame to the next. Leave it out.",
            code="short",
        )
    if min(video.size) < SMALLEST_SIDE:
        raise VideoError(
            video.name,
            f"its frames are {video.size[1]} x {video.size[0]} pixels, and flow needs at least "
            f"{SMALLEST_SIDE} a side. Use a larger short side.",
            code="too_small",
        )


def _pairs(
    video: Video, compute: FlowFunction, warped: bool, progress: Progress | None
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
    """Each frame but the last: its index, its pixels, the flow to the next one; in flat memory."""
    count = len(video)
    waiting: list[NDArray[np.uint8]] = []
    done = 0
    for pixels in _every_frame(video, count):
        waiting.append(pixels)
        if len(waiting) == _AT_ONCE or done + len(waiting) == count:
            if len(waiting) > 1:
                flows = _flow_of(np.stack(waiting), compute, warped)
                for offset, flow in enumerate(flows):
                    yield done + offset, waiting[offset], flow
            done += len(waiting) - 1
            if progress is not None:
                progress(done, count - 1)
            waiting = waiting[-1:]


def _every_frame(video: Video, count: int) -> Iterator[NDArray[np.uint8]]:
    """`count` frames; one that does not decode is shown as on a screen, by the one before it."""
    shown = 0
    last: NDArray[np.uint8] | None = None
    for frame in video:
        if last is not None:
            for _ in range(frame.index - shown):
                yield last
                shown += 1
        last = frame.pixels
        yield last
        shown = frame.index + 1
    for _ in range(count - shown):
        assert last is not None  # a video that opens has a frame
        yield last


def _flow_of(frames: NDArray[np.uint8], compute: FlowFunction, warped: bool) -> NDArray[np.float32]:
    flow = compute(frames)
    return warp_flow(frames, flow) if warped else flow


def _samples(
    video: Video, compute: FlowFunction, warped: bool
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
    """Some pairs of frames, evenly spread: index, pixels, flow."""
    count = min(_MOMENTS * _TRIED, len(video) - 1)
    for index in np.unique(np.linspace(0, len(video) - 2, count).round().astype(int)):
        frames = video.frames([index, index + 1]).pixels
        yield int(index), frames[0], _flow_of(frames, compute, warped)[0]


def _draw_moments(
    video: Video, picture: Path, compute: FlowFunction, warped: bool, method: str
) -> None:
    from PIL import Image

    samples = list(_samples(video, compute, warped))
    moments = [
        max((samples[i] for i in part), key=lambda one: float(np.abs(one[2]).mean()))
        for part in np.array_split(np.arange(len(samples)), _MOMENTS)
        if len(part)
    ]
    longest = max(longest_of(flow) for _, _, flow in moments)
    rows = [
        np.concatenate(_panels(index, pixels, flow, longest, method), axis=1)
        for index, pixels, flow in moments
    ]
    with atomic_write(picture) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format="PNG", optimize=True)


def _panels(
    index: int, pixels: NDArray[np.uint8], flow: NDArray[np.float32], longest: float, method: str
) -> list[NDArray[np.uint8]]:
    sure = None
    if method == "lucas_kanade":
        import torch

        from praxino.video.flow_pyramid import grey_images
        from praxino.video.lucas_kanade import confidence

        sure = confidence(grey_images(pixels[None], torch.device("cpu")))[0].numpy()
    return draw_panels(pixels, flow, longest, f"frame {index}", sure)


def _in_two_rows(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    if len(panels) % 2:
        panels = [*panels, np.zeros_like(panels[0])]
    half = len(panels) // 2
    upper, lower = np.concatenate(panels[:half], axis=1), np.concatenate(panels[half:], axis=1)
    return np.concatenate([upper, lower])


def _target(output: Path, name: str, warped: bool, images: bool) -> Path:
    if images:
        return (output / name).with_suffix("")
    return output / f"{name}{WARPED_SUFFIX if warped else FLOW_SUFFIX}"


def names_in_store(paths: Iterable[Path], given: Iterable[str | Path]) -> dict[Path, str]:
    """What videos are called in a store; flow that lies among them is left out.

    Args:
        paths: of the videos.
        given: what the user named: videos below a folder keep their place below it, others go by
            their file name.
    """
    folders = [Path(one) for one in given if Path(one).is_dir()]
    names = {}
    for path in paths:
        if path.name.endswith((FLOW_SUFFIX, WARPED_SUFFIX)):
            continue
        above = [folder for folder in folders if path != folder and path.is_relative_to(folder)]
        names[path] = path.relative_to(above[0]).as_posix() if above else path.name
    return names


def _remove_left_overs(folder: Path) -> None:
    """What a process left half written that was killed: files, and folders of pictures."""
    for half in folder.glob(f"{PART}*"):
        if half.is_dir():
            shutil.rmtree(half, ignore_errors=True)
    remove_parts(folder)


def _check_targets(targets: Mapping[Path, Path]) -> None:
    taken: dict[Path, Path] = {}
    for path, target in targets.items():
        if target in taken:
            raise ValueError(
                f"{taken[target]} and {path} would both have their flow in {target}. Give their "
                "common folder, or rename one."
            )
        taken[target] = path


def _size_of(path: Path) -> int:
    from praxino.video.volume import size_of

    try:
        return size_of(path)
    except OSError:
        return 0  # what is wrong with it is told when it is opened
