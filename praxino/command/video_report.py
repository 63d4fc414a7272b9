"""What a video file really holds, for `praxino video`: every frame decoded and counted."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from praxino.errors import VideoError
from praxino.ledger import Ledger
from praxino.video.decoding import Backend, Window
from praxino.video.frame_table import DAMAGE_WITHOUT_COUNT
from praxino.video.reader import open_video
from praxino.video.video import VideoInfo
from praxino.video.volume import size_of


@dataclass(frozen=True)
class VideoReport:
    """What was found in one file that could be opened.

    Args:
        path: as the user named it.
        file_bytes: size of the file.
        info: what the reader measured.
        frames_decoded: pictures that came out when the whole file was read, without those that
            the decoder had to patch.
        frames_promised: by the container; None where it does not say and none is damaged.
        first_seconds: when the first frame is shown.
        gap_seconds: shortest, median and longest distance between two frames; None for one frame.
    """

    path: str
    file_bytes: int
    info: VideoInfo
    frames_decoded: int
    frames_promised: int | None
    first_seconds: float
    gap_seconds: tuple[float, float, float] | None

    @property
    def complete(self) -> bool:
        """Whether every promised frame decodes; for the ledger."""
        return self.frames_decoded >= (self.frames_promised or self.info.frames)

    @property
    def damaged(self) -> bool:
        """Whether frames are missing, or packets that are corrupt may have been some."""
        return not self.complete or any(
            mark in problem for problem in self.info.problems for mark in DAMAGE_WITHOUT_COUNT
        )

    @property
    def verdict(self) -> str:
        """The last line: `reads completely`, or `damaged: 97 of 120 frames`, or in between."""
        if not self.complete:
            promised = self.frames_promised or self.info.frames
            return f"damaged: {self.frames_decoded} of {promised} frames"
        if self.damaged:
            return f"damaged, though the {self.frames_decoded} frames that were found decode"
        count = len(self.info.problems)
        if not count:
            return "reads completely"
        return f"reads completely, with {count} {_plural(count, 'remark')} above"

    def record(self, ledger: Ledger) -> None:
        """Add this file's line to a ledger."""
        if self.complete:
            ledger.ok(self.path)
        else:
            promised = self.frames_promised or self.info.frames
            ledger.partial(self.path, self.frames_decoded, promised)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "video": self.path,
            "status": "ok" if self.complete else "partial",
            "verdict": self.verdict,
            "file_bytes": self.file_bytes,
            **vars(self.info),
            "frames_decoded": self.frames_decoded,
            "frames_promised": self.frames_promised,
            "first_seconds": self.first_seconds,
            "gap_seconds": self.gap_seconds,
        }


def report_video(
    path: str | os.PathLike[str],
    *,
    backend: Backend = "pyav",
    untrusted: bool = False,
    window: Window | None = None,
) -> VideoReport:
    """Read a video from end to end and tell what is in it.

    Args:
        path: a local file, or a folder that holds a DICOM series.
        backend: as in `open_video`.
        untrusted: as in `open_video`.
        window: as in `open_video`.

    Raises:
        VideoError: it cannot be opened, or nothing in it decodes.
    """
    with open_video(path, backend=backend, untrusted=untrusted, window=window) as video:
        came = sum(1 for _ in video)
        decoded, promised = min(came, video.frames_got), video.frames_expected
        seconds = video.timestamps
        gaps = np.diff(seconds)
        shortest_to_longest = None
        if gaps.size:
            shortest_to_longest = float(gaps.min()), float(np.median(gaps)), float(gaps.max())
        return VideoReport(
            path=os.fspath(path),
            file_bytes=size_of(Path(path)),
            info=video.info,
            frames_decoded=decoded,
            frames_promised=promised,
            first_seconds=float(seconds[0]),
            gap_seconds=shortest_to_longest,
        )


def failed_dict(path: str, error: VideoError) -> dict[str, Any]:
    """What JSON says of a file that cannot be read."""
    return {
        "video": path,
        "status": "failed",
        "verdict": f"cannot be read: {error.message}",
        "code": error.code,
    }


def page(report: VideoReport) -> list[str]:
    """The report of one file, as lines to be read in five seconds."""
    info = report.info
    lines = [
        (report.path, ""),
        ("container", f"{_container(info)}, {_bytes(report.file_bytes)}"),
        ("video", f"{_codec(info)}, {_size(info)}"),
        ("frames", _frames(report)),
        ("time", _time(report)),
        ("rate", _rate(report)),
        ("key frames", _key_frames(report)),
        ("also holds", "; ".join(info.other_streams) or "no sound, nothing else"),
        *(("problem", problem) for problem in info.problems),
    ]
    return [f"  {title:<12}{text}" if text else title for title, text in lines] + [report.verdict]


# One line a file: how it ended first, its name last, so that no name is ever cut.
_ROW = "{:<10} {:>15} {:>11} {:>10} {:>11}  {:<10} {}"
HEADINGS = _ROW.format("", "frames", "per second", "seconds", "size", "codec", "file")


def row(report: VideoReport) -> str:
    """The report of one file among many, as one line."""
    info, promised = report.info, report.frames_promised
    count = str(report.frames_decoded)
    if not report.complete:
        count += f" of {promised or info.frames}"
    rate = f"{info.frames_per_second:.2f}" + ("~" if info.variable_rate else " ")
    remarks = f"  ({'; '.join(info.problems)})" if info.problems else ""
    return _ROW.format(
        "damaged" if report.damaged else "ok",
        count,
        rate,
        f"{info.duration_seconds:.2f}",
        f"{info.width} x {info.height}",
        info.codec,
        report.path + remarks,
    )


def failed_row(path: str, error: VideoError) -> str:
    """The line of a file that cannot be read."""
    return _ROW.format("unreadable", "", "", "", "", "", f"{path}: {error.message}")


_CONTAINERS = {
    "mov": "MP4 or MOV",
    "matroska": "Matroska or WebM",
    "mpegts": "MPEG-TS",
    "mpeg": "MPEG-PS",
    "ogg": "Ogg",
    "nifti": "NIfTI",
    "npy": "NumPy",
    "dicom": "DICOM series",
}


def _container(info: VideoInfo) -> str:
    return _CONTAINERS.get(info.container, info.container.upper())


def _codec(info: VideoInfo) -> str:
    return f"{info.codec} {f'({info.profile}) ' if info.profile else ''}{info.pixel_format}"


def _size(info: VideoInfo) -> str:
    width, height, aspect = info.width, info.height, info.pixel_aspect
    words = f"{width} x {height} pixels"
    if info.rotation in (90, 270):
        words += f", stored as {height} x {width} and turned by {info.rotation} degrees"
        aspect = 1 / aspect  # that of the stored pixel
    elif info.rotation:
        words += f", stored turned by {info.rotation} degrees"
    if abs(aspect - 1) > 0.001:
        words += f"; players show {round(width * aspect)} x {height}, pixels are not square"
    return words


def _frames(report: VideoReport) -> str:
    declared, promised = report.info.frames_declared, report.frames_promised
    if promised is None:
        return f"{report.frames_decoded} decode; the file does not say how many there should be"
    words = f"{report.frames_decoded} of {promised} decode"
    if declared is not None and declared != promised:
        words += f"; the header's count, {declared}, is wrong"
    return words


def _time(report: VideoReport) -> str:
    seconds = report.info.duration_seconds
    minutes = f" ({int(seconds // 60)} min {seconds % 60:.0f} s)" if seconds >= 100 else ""
    start = f"; the first frame comes at {report.first_seconds:.3f} s"
    return f"{seconds:.2f} s{minutes}{start if report.first_seconds > 0 else ''}"


def _rate(report: VideoReport) -> str:
    words = f"{report.info.frames_per_second:.2f} frames per second"
    if report.gap_seconds is None:
        return words
    if not report.info.variable_rate:
        return f"{words}, constant"
    shortest, median, longest = (1000 * gap for gap in report.gap_seconds)
    return f"{words}, VARIABLE: gaps of {shortest:.1f} to {longest:.1f} ms, median {median:.1f} ms"


def _key_frames(report: VideoReport) -> str:
    info, keys = report.info, report.info.key_frames
    if not keys:
        return "not told: the time stamps do not tell frames apart, so reading starts at the first"
    longest = int(np.diff([*keys, info.frames]).max())
    seconds = longest / info.frames_per_second
    return f"{len(keys)}, at most {longest} {_plural(longest, 'frame')} ({seconds:.1f} s) apart"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _plural(count: int, word: str) -> str:
    return word if count == 1 else word + "s"
