"""Video files as NumPy frames, by index or by second, exactly.

    with open_video("kick.mp4", short_side=128) as video:
        clip = video.frames([0, 10, 20])       # clip.pixels: (3, 128, W, 3) uint8
        for frame in video: ...                # one after the other, flat memory

A volume's slices are frames too: what holds of them stands in `volume.py`.

Frames are counted by a scan and never taken from the header, and each is checked by its own time
stamp when it is read. Conventions:

* **Seconds** count from the start of the container, as players do: second 0 is where its first
  stream starts, often the sound, so the first frame may be a little later. No frame is before 0.
* **Which frame at second t:** the last one whose time is not above t, the one on screen. The last
  frame stays as long as the file says; as long as is usual there, if that is beyond reason (under
  half the shortest distance, or over 10 seconds and ten times the longest).
* **Which stream:** the first video stream that is no cover picture; `info.problems` tells others.
* **Size:** pixels as stored, turned as the file's rotation says. A sample aspect ratio other than
  1 is not applied (no published training pipeline does); `info.pixel_aspect` tells it.
* **Interlaced** pictures come with both fields woven, as stored.
* **Colour:** RGB by the matrix and range that the file names; BT.601 and limited range where it
  names none. High dynamic range is not tone mapped, more than 8 bits are rounded to 8, grey is
  given three times, and transparent pixels show the colour that they hide.
* **Resizing:** a triangle filter as wide as the reduction (swscale's bilinear), so that small
  pictures do not alias; the sizes are torchvision's `Resize(short_side)`.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, cast
from zlib import crc32

import av
import numpy as np
from numpy.typing import NDArray

from praxino.devices import cores
from praxino.errors import VideoError
from praxino.video.convert import Converter
from praxino.video.decoder import Decoder, Source, check_source, nothing_decodes
from praxino.video.decoding import Backend, Decoding, Window
from praxino.video.frame_folder import FrameFolderVideo, is_frame_folder
from praxino.video.frame_table import Clock, FrameCounter, FrameTable, scan
from praxino.video.video import Frame, Video
from praxino.video.volume import (
    SLICES_PER_SECOND,
    VOLUME_SUFFIXES,
    Volume,
    is_volume,
    read_volume,
)

if TYPE_CHECKING:
    from praxino.video.child import Limits

# Decoding on from the present frame is cheaper than a seek when the key frame is this near.
_SEEK_GAIN_FRAMES = 8

# After a recovery point so many frames at most are compared with those of a longer run-up.
_CHECKED_FRAMES = 100


def open_video(
    source: str | os.PathLike[str] | bytes,
    *,
    short_side: int | None = None,
    threads: int = 0,
    backend: Backend = "pyav",
    untrusted: bool = False,
    window: Window | None = None,
    limits: "Limits | None" = None,
) -> Video:
    """Open a video: a file, its bytes, a volume, a folder of frames; the only door to a decoder.

    The first frame is decoded here, so that a video that opens has at least one.

    Args:
        source: path of a local regular file, or its content; or path of a volume: `.nii`,
            `.nii.gz`, `.npy`, or a folder that holds a DICOM series; or path of a folder of
            numbered pictures (see `frame_folder.py`).
        short_side: resize so that the shorter side has this many pixels, in the decoder.
        threads: decoding threads; 0 takes as many as there are cores, at most 4. Use 1 in the
            workers of a data loader.
        backend: `torchcodec` shows the same frames, where it is installed and can read the file.
        untrusted: decode in a process of its own, which is bounded in memory and time and can
            reach neither files nor the network: for videos from strangers. Volumes and folders of
            frames are refused.
        window: centre and width of what is shown of a volume, from black to white, in its units;
            None: as `volume.py` says.
        limits: those bounds, if not the usual ones.

    Raises:
        VideoError: `not_found`, `not_a_regular_file`, `empty`, `unsupported_container`,
            `codec_not_allowed`, `no_video_stream`, `too_large` or `damaged`; `backend` from
            torchcodec; `decoder_crash`, `memory` or `timeout` from an untrusted video; `untrusted`
            of a volume or a folder; `window` of anything but a volume; `mixed` or `rate` of a
            folder of frames.
        ValueError: `short_side` or `threads` is out of range, or the backend cannot do that.
        EnvironmentFault: torchcodec does not load, no process can be started, or what reads a
            volume is not installed.
    """
    _check_short_side(short_side)
    if threads < 0:
        raise ValueError(f"threads must be 0 (automatic) or more, got {threads}.")
    Decoding(backend, untrusted, window)  # checks them
    if limits is not None and not untrusted:
        raise ValueError("limits are for untrusted videos; pass untrusted=True with them.")
    if is_volume(source):
        return _open_volume(cast("str | os.PathLike[str]", source), short_side, untrusted, window)
    if is_frame_folder(source):
        folder = cast("str | os.PathLike[str]", source)
        _refuse_window(os.fspath(folder), window)
        if untrusted:
            raise _not_in_a_locked_process(os.fspath(folder), "a folder of frames", "these")
        return FrameFolderVideo(folder, short_side)
    checked, threads = check_source(source), threads or min(4, cores())
    _refuse_window(checked.name, window)
    if untrusted:
        from praxino.video import child

        return child.ChildVideo(checked, short_side, threads, limits or child.Limits())
    if backend == "torchcodec":
        from praxino.video.torchcodec_video import TorchcodecVideo  # brings torch

        return TorchcodecVideo(checked, short_side, threads)
    return FileVideo(checked, short_side, threads)


def _open_volume(
    path: str | os.PathLike[str], short_side: int | None, untrusted: bool, window: Window | None
) -> "VolumeVideo":
    if untrusted:
        raise _not_in_a_locked_process(os.fspath(path), "a volume", "volumes")
    return VolumeVideo(read_volume(path, window), short_side=short_side)


def _refuse_window(name: str, window: Window | None) -> None:
    if window is not None:
        raise VideoError(
            name,
            f"is a video, and the window {window[0]:g}, {window[1]:g} is for volumes "
            f"({', '.join(VOLUME_SUFFIXES)} and DICOM). Leave the window out.",
            code="window",
        )


def _not_in_a_locked_process(name: str, what: str, such: str) -> VideoError:
    return VideoError(
        name,
        f"is {what}, and {such} are read without a locked process. Leave it out, or read it as a "
        "file that you trust.",
        code="untrusted",
    )


class FileVideo(Video):
    """A video that is decoded from a file or from bytes; made by `open_video`."""

    def __init__(self, source: Source, short_side: int | None, threads: int) -> None:
        self._source, self._threads = source, threads
        self._table: FrameTable | None = None
        self._current: av.VideoFrame | None
        self._points_checked = False
        self._wanted: set[int] = set()  # time stamps of the frames that the read at hand asks for
        self._need_all()
        self._decoder = Decoder(source, threads)
        self._start()
        try:
            first = self._advance()
            if first is None:
                raise nothing_decodes(source.name)
            convert = Converter(source.name, first, short_side)
        except BaseException:
            self.close()
            raise
        self._first, self._place = first, 0
        super().__init__(source.name, self._decoder.codec, source.container)
        self._describe(self._decoder, first, convert)

    def _scanned(self) -> FrameTable:
        self._check_open()
        if self._table is None:
            self._table = scan(self._source, self._first, self._threads)
            if not self._table.by_packets:  # then the scan decoded all of them
                self._lost, self._patched = None, set(self._table.patched)
        return self._table

    def __iter__(self) -> Iterator[Frame]:
        self._check_open()
        with closing(Decoder(self._source, self._threads)) as decoder:
            clock = Clock(decoder, self._first)
            table = self._table
            by_packets = table.by_packets if table else decoder.counts_by_packets
            counter = FrameCounter(self.name, by_packets)
            for frame in decoder.frames(counter.packet):
                index = counter.index(frame)
                if index is not None:
                    self._note_damage(frame, index)
                    yield Frame(self._convert(frame), clock.seconds(frame), index)
            # Reached when the caller takes all frames: then this is known for certain.
            if self._table is None or self._table.by_packets:
                self._lost = counter.end()

    def close(self) -> None:
        """Give back memory, decoding threads and the file."""
        self._decoder.close()
        self._coming.close()  # it knows this video, and would keep it until the next collection
        self._current, self._table = None, None

    def _check_open(self) -> None:
        if self._decoder.closed:
            raise ValueError(f"{self.name} is closed. Read it inside its with block.")

    def _start(self) -> None:
        """Note that the decoder stands before the first frame."""
        self._coming = self._decoder.frames(unneeded=self._unneeded)
        self._place = -1  # index of the last frame that came out
        self._current = None

    def _advance(self) -> av.VideoFrame | None:
        self._current = next(self._coming, None)
        return self._current

    def _unneeded(self, packet: av.Packet) -> bool:
        """Whether a picture was not asked for; those after the last one may be asked for next."""
        return (
            packet.pts is not None
            and packet.pts < self._last_wanted
            and packet.pts not in self._wanted
        )

    def _fetch_all(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        table = self._scanned()
        # Where some frames are lost, others are shown in their place.
        if table.by_packets and not self._lost:
            self._wanted = {table.ticks[index] for index in indices}
            self._last_wanted = table.ticks[indices[-1]]
        yield from super()._fetch_all(indices)
        self._need_all()

    def _need_all(self) -> None:
        self._wanted = set()
        self._last_wanted = -(2**63)

    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        table = self._scanned()
        if table.kept is not None:
            return index, self._convert(table.kept[index])
        shown = self._on_screen(index)
        frame = self._find(shown)
        if frame is None and (self._threads > 1 or (self._lost is None and table.by_packets)):
            if self._lost is None and table.by_packets:
                # A packet does not decode: find all of these at once, by decoding from the start.
                self._lost = self._find_lost()
            self._threads = 1  # several give up at the last packets when one of these is damaged
            self._reopen()
            shown = self._on_screen(index)
            frame = self._find(shown)
        if frame is None:
            raise self._not_twice(shown)
        return shown, self._convert(frame)

    def _find_lost(self) -> frozenset[int]:
        table = self._scanned()
        with closing(Decoder(self._source, self._threads)) as decoder:
            found = {table.index_of(frame.pts) for frame in decoder.frames()}
        return frozenset(index for index in range(len(self)) if index not in found)

    def _find(self, index: int) -> av.VideoFrame | None:
        """The frame with this index, by the shortest way that leads to it."""
        keys = self._scanned().key_frames
        before = int(np.searchsorted(keys, index, side="right"))  # key frames up to this one
        if self._place == index and self._current is not None:
            return self._current
        near = before == 0 or keys[before - 1] <= self._place + _SEEK_GAIN_FRAMES
        if self._place < index and near and (frame := self._run_to(index)) is not None:
            return frame
        if not self._points_checked:
            self._check_recovery_points()
            return self._find(index)
        # One key frame back, then two, four: pictures that follow a key frame in the file may be
        # shown before it, and containers call pictures key frames that are none.
        step = 1
        while step <= before and keys[before - step] > _SEEK_GAIN_FRAMES:
            frame = self._run_from_key(int(keys[before - step]), index)
            if frame is not None:
                return frame
            step *= 2
        self._reopen()
        return self._run_to(index)

    def _reopen(self) -> None:
        self._decoder.close()
        self._decoder = Decoder(self._source, self._threads)
        self._need_all()
        self._start()

    def _check_recovery_points(self) -> None:
        """Use them no more if decoding from the first gives other pictures than from before it.

        Some encoders put the note on every I-picture, and let later ones refer to earlier ones.
        """
        self._points_checked = True
        table = self._scanned()
        points = table.recovery_points[table.recovery_points > 0]
        if not points.size:
            return
        point = int(points[0])
        sure = np.setdiff1d(table.key_frames, table.recovery_points)
        before = int(sure[sure < point][-1]) if (sure < point).any() else 0
        after = table.key_frames[table.key_frames > point]
        end = min(point + _CHECKED_FRAMES, int(after[0]) if after.size else len(self))
        expected = self._checksums(before, point, end)
        found = self._checksums(point, point, end)
        lies = any(found.get(index, checksum) != checksum for index, checksum in expected.items())
        if lies:
            table.problems.append("its recovery points are none; reads start at IDR pictures")
        if lies or not found:  # nothing comes out where pictures are refreshed bit by bit
            table.key_frames = sure

    def _checksums(self, key: int, first: int, end: int) -> dict[int, int]:
        """Of the frames `first` to `end - 1`, by index, as they come when decoding from a key."""
        table, found = self._scanned(), {}
        with closing(Decoder(self._source, self._threads)) as decoder:
            if key > 0:
                decoder.seek(table.seek_ticks.get(table.ticks[key], table.ticks[key]))
            started = key == 0
            for frame in decoder.frames():
                started = started or frame.key_frame
                index = table.index_of(frame.pts)
                if index is None or not started:
                    continue
                if index >= end:
                    break
                if index >= first:
                    found[index] = crc32(self._convert(frame).tobytes())
        return found

    def _run_from_key(self, key: int, index: int) -> av.VideoFrame | None:
        table = self._scanned()
        self._decoder.seek(table.seek_ticks.get(table.ticks[key], table.ticks[key]))
        self._start()
        # What comes before a real key frame lacks the pictures it refers to.
        while (frame := self._advance()) is not None:
            place = table.index_of(frame.pts) if frame.key_frame else None
            if place is not None:
                self._place = place
                self._note_damage(frame, place)
                return self._run_to(index) if place <= index else None
        return None

    def _run_to(self, index: int) -> av.VideoFrame | None:
        """Decode on to this frame; None when it is not among those that come."""
        table = self._scanned()
        while self._place < index and (frame := self._advance()) is not None:
            if not table.ticks:
                self._place += 1
            elif (place := table.index_of(frame.pts)) is not None:
                self._place = place
            self._note_damage(frame, self._place)
        return self._current if self._place == index else None

    def _note_damage(self, frame: av.VideoFrame, index: int) -> None:
        if frame.is_corrupt:
            self._patched.add(index)


class ArrayVideo(Video):
    """Frames in memory behind the interface of a video file.

    Args:
        pixels: `(T, H, W, 3)` uint8 RGB, T at least 1.
        frames_per_second: above 0.
        short_side: resize as `open_video` does.
        name: what errors call it.

    Raises:
        TypeError: `pixels` is not uint8.
        ValueError: another shape, or no rate.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        frames_per_second: float,
        *,
        short_side: int | None = None,
        name: str = "<array>",
    ) -> None:
        super().__init__(name, "none", "array")
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8:
            raise TypeError(
                f"Frames are uint8 RGB in 0 to 255, got {pixels.dtype}. Convert them first."
            )
        if pixels.ndim != 4 or pixels.shape[-1] != 3 or 0 in pixels.shape:
            raise ValueError(
                f"Frames have the shape (T, H, W, 3) with T, H and W above 0, got {pixels.shape}."
            )
        if not 0 < frames_per_second < float("inf"):
            raise ValueError(f"frames_per_second must be above 0, got {frames_per_second}.")
        _check_short_side(short_side)
        self._pixels = pixels
        self._convert = Converter(name, self._frame(0), short_side)
        self._size = self._convert.size
        self._table = FrameTable(
            seconds=np.arange(len(pixels)) / frames_per_second,
            last_seconds=1 / frames_per_second,
            expected=len(pixels),
        )

    def _scanned(self) -> FrameTable:
        return self._table

    def _frame(self, index: int) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(self._pixels[index]), "rgb24")

    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        return index, self._convert(self._frame(index))

    def __iter__(self) -> Iterator[Frame]:
        for index, seconds in enumerate(self.timestamps):
            yield Frame(self._fetch(index)[1], float(seconds), index)

    def close(self) -> None:
        """Nothing to give back: the array is the caller's."""


class VolumeVideo(ArrayVideo):
    """The slices of a volume; made by `open_video`."""

    def __init__(self, volume: Volume, *, short_side: int | None) -> None:
        super().__init__(volume.pixels, SLICES_PER_SECOND, short_side=short_side, name=volume.name)
        self._codec, self._container = volume.numbers, volume.container
        self._profile, self._pixel_aspect = volume.shown, volume.pixel_aspect
        self._pixel_format = volume.pixel_format
        self._table.key_frames = np.arange(len(volume.pixels))
        self._table.problems += volume.problems


def _check_short_side(short_side: int | None) -> None:
    if short_side is not None and short_side < 1:
        raise ValueError(f"short_side must be at least 1 pixel, got {short_side}.")
