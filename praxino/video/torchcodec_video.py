"""The second backend: torchcodec and the system's FFmpeg decode; everything else stays as it is.

Which frames a video has and when each is shown is read by PyAV, as for the default backend;
torchcodec turns packets into pictures. Each picture is known by its own time stamp, which must be
one of the table's, and its planes go through the same `Converter`: both backends give the same
pixels wherever their decoders do.

The gate is the same: container, codec and size are checked by PyAV before torchcodec sees a byte,
and torchcodec is handed an open file, never a path. But its FFmpeg guesses the container from the
content, and a file can begin as a video and be taken for a playlist; so FFmpeg is asked first what
it takes the file for, and all but the container that PyAV read is refused.

Two things are weaker. Pictures that grow in mid-stream are refused after they were decoded, and
torchcodec does not say which pictures its decoder patched: damage inside one that still decodes is
told by the default backend alone.
"""

import ctypes
import functools
import io
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import dropwhile
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from numpy.typing import NDArray

from praxino.errors import EnvironmentFault, VideoError
from praxino.video.convert import Converter, check_size
from praxino.video.decoder import CODECS, Decoder, Source, nothing_decodes
from praxino.video.frame_table import FrameTable, scan
from praxino.video.video import Frame, Video

if TYPE_CHECKING:
    from torchcodec.decoders import Demuxer, RawFrame, VideoStream

# Sound and text beside the pictures are not decoded, but FFmpeg looks into them when it opens a
# file. PyAV is given a list of what it may look into; torchcodec cannot be.
_BESIDE = (
    *("aac", "mp2", "mp3", "ac3", "eac3", "opus", "vorbis", "flac", "alac", "amr_nb", "amr_wb"),
    *("pcm_s16le", "pcm_s16be", "pcm_u8", "mov_text", "subrip", "ass", "webvtt"),
)

# Their decoders give nothing before a picture that needs no other, whatever the container calls a
# key frame. Others begin with grey ones, and torchcodec does not say what a picture needs.
_WAIT_FOR_KEY_FRAME = ("h264", "vp8", "vp9", "av1", "mjpeg", "prores", "dvvideo")

# Decoding on from the present frame is cheaper than a seek when the key frame is this near.
_SEEK_GAIN_FRAMES = 8

# FFmpeg's numbers for what a frame's colours mean.
_MATRICES = {
    **{"gbr": 0, "bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7},
    **{"ycgco": 8, "bt2020nc": 9, "bt2020c": 10},
}
_UNKNOWN_MATRIX, _UNKNOWN_RANGE = 2, 0
_RANGES = {"tv": 1, "pc": 2}

_NO_STAMP = -(2**62)  # FFmpeg's "no time stamp" is far below

_LEAST_PROBE_BYTES, _MOST_PROBE_BYTES = 2**11, 2**20
_PADDING_BYTES = 64

# How a missing library is told on Linux, macOS and Windows, and what torch says to that.
_ABSENT = (
    *("cannot open shared object", "Library not loaded", "Could not find module"),
    "Could not load this library",
)

_SURE = 25  # of 100; at or below, FFmpeg wants to see more of the file


@functools.cache
def why_not() -> str | None:
    """Why torchcodec cannot be used here, in one line; None where it can."""
    try:
        import torchcodec
    except ModuleNotFoundError as error:
        if error.name == "torchcodec":
            return "torchcodec is not installed"
        return f"torchcodec does not load: {error}"
    except (ImportError, OSError, RuntimeError) as error:
        return f"torchcodec does not load: {_condensed(str(error.__cause__ or error))}"
    version = getattr(torchcodec, "__version__", "of unknown version")
    try:
        from torchcodec.decoders import Demuxer
    except ImportError:
        return f"torchcodec {version} is too old, 0.17 or later is needed"
    try:
        Demuxer(b"no video")
    except (RuntimeError, ValueError) as error:
        if getattr(torchcodec, "core_library_path", None) is None:
            return f"torchcodec {version} does not load: {_condensed(str(error))}"
    try:
        _probe_function()
    except (AttributeError, OSError) as error:
        return f"torchcodec {version} does not let its FFmpeg be asked about files: {error}"
    return None


def _condensed(message: str) -> str:
    """The part that matters of what torchcodec says in many lines."""
    # On loading: one report for each version of FFmpeg, all but one of them "there is none".
    reasons = re.findall(r"^\w*Error: (.+)$", message, flags=re.MULTILINE)
    if reasons:
        others = [reason for reason in reasons if not any(word in reason for word in _ABSENT)]
        return others[-1] if others else "the shared libraries of FFmpeg 4 to 9 are not found"
    # On files: behind the place in its own sources.
    return (
        re.sub(r"^.*?\.cpp:\d+, ", "", message.strip()).partition("\n")[0] or "it gives no reason"
    )


def check_usable() -> None:
    """Refuse to begin where torchcodec cannot be used.

    Raises:
        EnvironmentFault: it is not installed or does not load.
    """
    if (reason := why_not()) is not None:
        raise EnvironmentFault(
            f"{reason}. Install it with pip install 'praxino[torchcodec]', and FFmpeg with its "
            "shared libraries (apt install ffmpeg), or use backend pyav, the default."
        )


class TorchcodecVideo(Video):
    """A video whose pictures torchcodec decodes; `open_video(path, backend="torchcodec")` makes it.

    Iterating scans the file first, unlike the default backend; pictures are not kept.

    Args:
        source: what `check_source` let through.
        short_side: of the frames that come out, in pixels; None keeps the size.
        threads: decoding threads.

    Raises:
        EnvironmentFault: torchcodec is not installed or does not load.
        VideoError: as `open_video`, and `backend` for a file that only the default backend reads.
    """

    def __init__(self, source: Source, short_side: int | None, threads: int) -> None:
        check_usable()
        self._source, self._threads = source, threads
        with closing(Decoder(source, threads)) as decoder:
            first = next(decoder.frames(), None)
            if first is None:
                raise nothing_decodes(source.name)
            _check_other_streams(source.name, decoder)
            super().__init__(source.name, decoder.codec, source.container)
            self._describe(decoder, first, Converter(source.name, first, short_side))
            self._stream_index = decoder.stream.index
        self._first = self._vessel = first
        self._table: FrameTable | None = None
        self._coming: Iterator[tuple[int, RawFrame]]
        self._current: RawFrame | None
        self._place: int  # index of the last picture that came
        self._proven: dict[int, bool] = {}  # whether PyAV found that a key frame is one
        self._closed = False
        self._pictures = self._open(self._threads)
        self._start()

    def _open(self, threads: int) -> "_Pictures":
        return _Pictures(self._source, self._stream_index, self._codec, threads)

    def _scanned(self) -> FrameTable:
        if self._closed:
            raise ValueError(f"{self.name} is closed. Read it inside its with block.")
        if self._table is None:
            table = scan(self._source, self._first, self._threads)
            table.kept = None  # PyAV's pictures
            if self._container == "avi":
                # Its pictures have no times, only slots, which `seconds` counts from the first one.
                slots = np.rint(table.seconds / self._tick).astype(np.int64)
                self._slots = slots + (self._first.dts or 0)
            elif not table.ticks:
                raise _not_by_torchcodec(
                    self.name, "some of its frames have no time stamp or share one"
                )
            self._table, self._patched = table, set(table.patched)
        return self._table

    def _index_of(self, ticks: int) -> int | None:
        """The frame that comes with this time stamp; None where there is none."""
        if self._container != "avi":
            return self._scanned().index_of(ticks)
        place = int(np.searchsorted(self._slots, ticks))
        return place if place < len(self) and self._slots[place] == ticks else None

    def __iter__(self) -> Iterator[Frame]:
        seconds = self._scanned().seconds
        lost: list[int] = []
        coming = 0
        for index, picture in self._from_start():
            lost.extend(range(coming, index))
            coming = index + 1
            yield Frame(self._to_pixels(picture), float(seconds[index]), index)
        self._note_lost([*lost, *range(coming, len(self))])

    def close(self) -> None:
        """Give back memory, decoding threads and the file."""
        if not self._closed:
            self._pictures.close()
        self._closed = True
        self._coming, self._current, self._table = iter(()), None, None

    def _fetch(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        shown = self._on_screen(index)
        picture = self._find(shown)
        if picture is None and self._lost is None:
            # A packet does not decode: find all of these at once, by decoding from the start.
            lost = np.ones(len(self), dtype=bool)
            for place, _ in self._from_start():
                lost[place] = False
            self._note_lost(np.flatnonzero(lost).tolist())
            self._threads = 1  # several give up at the last packets when one of these is damaged
            self._reopen()
            shown = self._on_screen(index)
            picture = self._find(shown)
        if picture is None:
            raise self._not_twice(shown)
        return shown, self._to_pixels(picture)

    def _note_lost(self, lost: list[int]) -> None:
        if lost and lost[0] == 0:
            raise _not_by_torchcodec(self.name, "no picture comes with the time of its first frame")
        self._lost = frozenset(lost)

    def _from_start(self) -> Iterator[tuple[int, "RawFrame"]]:
        """All pictures that decode, with their index; the end with one thread where it is lost."""
        last = -1
        for threads in dict.fromkeys((self._threads, 1)):
            with closing(self._open(threads)) as pictures:
                for index, picture in self._numbered(pictures):
                    if index > last:
                        yield index, picture
                        last = index
            if last == len(self) - 1:
                break

    def _find(self, index: int) -> "RawFrame | None":
        """The picture of this frame, by the shortest way that leads to it; None if it is lost."""
        table = self._scanned()
        keys = table.key_frames if self._container != "avi" else table.key_frames[:0]
        before = int(np.searchsorted(keys, index, side="right"))  # key frames up to this one
        if self._place == index and self._current is not None:
            return self._current
        near = before == 0 or keys[before - 1] <= self._place + _SEEK_GAIN_FRAMES
        if self._place < index and near and (picture := self._run_to(index)) is not None:
            return picture
        # One key frame back, then two, four: containers call pictures key frames that are none.
        step = 1
        while step <= before and keys[before - step] > _SEEK_GAIN_FRAMES:
            key = int(keys[before - step])
            if self._decoding_can_start_at(key):
                self._pictures.seek(table.ticks[key] * self._tick)
                self._start(key)
                if (picture := self._run_to(index)) is not None:
                    return picture
            step *= 2
        self._reopen()
        return self._run_to(index)

    def _decoding_can_start_at(self, key: int) -> bool:
        table = self._scanned()
        if not table.by_packets or self._codec in _WAIT_FOR_KEY_FRAME:
            return True
        if key not in self._proven:
            ticks = table.ticks[key]
            with closing(Decoder(self._source, threads=1)) as decoder:
                decoder.seek(ticks)
                coming = dropwhile(lambda frame: (frame.pts or 0) < ticks, decoder.frames())
                frame = next(coming, None)
            self._proven[key] = frame is not None and frame.pts == ticks and bool(frame.key_frame)
        return self._proven[key]

    def _run_to(self, index: int) -> "RawFrame | None":
        while self._place < index and (coming := next(self._coming, None)) is not None:
            self._place, self._current = coming
        return self._current if self._place == index else None

    def _reopen(self) -> None:
        self._pictures.close()
        self._pictures = self._open(self._threads)
        self._start()

    def _start(self, key: int | None = None) -> None:
        """Note that pictures come from the start, or from a key frame that was sought."""
        self._place, self._current = -1, None
        self._coming = self._numbered(self._pictures)
        if key is not None:
            # What comes before a key frame may lack the pictures it refers to.
            self._coming = dropwhile(lambda numbered: numbered[0] != key, self._coming)

    def _numbered(self, pictures: "_Pictures") -> Iterator[tuple[int, "RawFrame"]]:
        """The pictures from here on that are frames of the table, in its order, with their index.

        Out of damaged packets a decoder may make a picture twice, or one with a time of its own.
        """
        previous = -1
        for picture in pictures:
            ticks = round(picture.pts_seconds / self._tick)
            # In AVI, the last one leaves a decoder that reorders pictures without a slot.
            index = previous + 1 if ticks < _NO_STAMP else self._index_of(ticks)
            if index is not None and previous < index < len(self):
                yield index, picture
                previous = index

    def _to_pixels(self, picture: "RawFrame") -> NDArray[np.uint8]:
        check_size(self.name, picture.width, picture.height)
        try:
            pixels = self._convert(self._to_pyav(picture))
        except (RuntimeError, NotImplementedError) as error:
            raise _not_by_torchcodec(
                self.name, f"its pictures are not given away ({error})"
            ) from None
        # A picture that needs no conversion comes back as it went in: in the vessel's memory.
        planes = (np.asarray(memoryview(plane)) for plane in self._vessel.planes)
        return pixels.copy() if any(np.may_share_memory(pixels, p) for p in planes) else pixels

    def _to_pyav(self, picture: "RawFrame") -> av.VideoFrame:
        """The picture as PyAV's, until the next one.

        It is written over the first one that PyAV decoded, which knows more about itself than
        torchcodec tells and than could be set here, such as where its colours were sampled.
        """
        kind = self._vessel.width, self._vessel.height, self._vessel.format.name
        if kind != (picture.width, picture.height, picture.pixel_format):
            self._vessel = av.VideoFrame(picture.width, picture.height, picture.pixel_format)
        self._vessel.make_writable()
        self._vessel.colorspace = _MATRICES.get(picture.color_space, _UNKNOWN_MATRIX)
        self._vessel.color_range = _RANGES.get(picture.color_range, _UNKNOWN_RANGE)
        _copy_planes(picture, self._vessel)
        return self._vessel


class _Pictures:
    """One pass of torchcodec over a video: pictures in the order of display, and seeking.

    Args:
        source: what `check_source` let through.
        number: of the video's stream in the file.
        codec: of that stream, as PyAV finds it.
        threads: decoding threads.
    """

    def __init__(self, source: Source, number: int, codec: str, threads: int) -> None:
        self._file = source.open()
        try:
            container = _container_for_torchcodec(self._file)
            if source.container not in container.split(","):
                raise _not_by_torchcodec(
                    source.name, f"its FFmpeg takes it for {container or 'no video'}"
                )
            self._demuxer, stream = self._open_demuxer(source, number)
            if stream.metadata.codec != codec:
                raise _not_by_torchcodec(
                    source.name, f"its FFmpeg finds {stream.metadata.codec} instead of {codec}"
                )
            self._decoder = stream.make_decoder("cpu", num_ffmpeg_threads=threads)
        except BaseException:
            self._file.close()
            raise

    def _open_demuxer(self, source: Source, number: int) -> "tuple[Demuxer, VideoStream]":
        from torchcodec.decoders import Demuxer, VideoStream

        try:
            demuxer = Demuxer(cast(io.RawIOBase, self._file), streams=number)
        except (RuntimeError, ValueError, OSError) as error:
            raise _not_by_torchcodec(source.name, _condensed(str(error))) from None
        return demuxer, cast(VideoStream, demuxer.streams[0])

    def __iter__(self) -> Iterator["RawFrame"]:
        packets = iter(self._demuxer)
        while True:
            try:
                packet = next(packets, None)
            except RuntimeError:  # the file cannot be read on from here
                packet = None
            try:
                decoded = self._decoder.drain() if packet is None else self._decoder.decode(packet)
            except RuntimeError:  # a damaged packet, or one among those that wait
                decoded = []
            yield from decoded
            if packet is None:
                return

    def seek(self, seconds: float) -> None:
        """Go to the last key frame at or before this time, as far as the container can tell."""
        try:
            self._demuxer.seek(seconds)
        except RuntimeError:
            return  # then the pictures that come are not those that were sought
        self._decoder.reset()

    def close(self) -> None:
        """Give back memory, threads and the file."""
        del self._decoder, self._demuxer
        self._file.close()


def _not_by_torchcodec(name: str, why: str) -> VideoError:
    return VideoError(
        name,
        f"cannot be read by torchcodec: {why}. Use backend pyav, the default, which reads it.",
        code="backend",
    )


def _check_other_streams(name: str, decoder: Decoder) -> None:
    unknown = set(decoder.codecs).difference(CODECS, _BESIDE)
    if unknown:
        raise _not_by_torchcodec(
            name, f"it would also look into a stream of {min(unknown)}, which is not on the list"
        )


def _copy_planes(picture: "RawFrame", frame: av.VideoFrame) -> None:
    components = [samples.numpy() for samples in picture.planes]
    places = [component.plane for component in frame.format.components]
    for number, plane in enumerate(frame.planes):
        # Red, green and blue of one pixel may lie side by side in one plane.
        side_by_side = sorted(
            (samples for samples, place in zip(components, places, strict=True) if place == number),
            key=lambda samples: samples.ctypes.data,
        )
        count = len(side_by_side)
        if any(samples.strides[1] != count * samples.itemsize for samples in side_by_side):
            raise NotImplementedError(f"{picture.pixel_format} has gaps between its samples")
        height, width = side_by_side[0].shape
        rows = np.asarray(memoryview(plane)).view(side_by_side[0].dtype).reshape(plane.height, -1)
        pixels = rows[:, : width * count].reshape(height, width, count)
        for offset, samples in enumerate(side_by_side):
            pixels[:, :, offset] = samples


class _ProbeData(ctypes.Structure):
    """FFmpeg's AVProbeData."""

    _fields_ = (
        ("filename", ctypes.c_char_p),
        ("buffer", ctypes.c_char_p),
        ("size", ctypes.c_int),
        ("mime_type", ctypes.c_char_p),
    )


@functools.cache
def _probe_function() -> Callable[..., "ctypes._Pointer[ctypes.c_char_p]"]:
    import torchcodec

    # A symbol is also looked for in the libraries that this one is linked to.
    function = ctypes.CDLL(torchcodec.core_library_path).av_probe_input_format2
    function.restype = ctypes.POINTER(ctypes.c_char_p)  # AVInputFormat begins with its name
    function.argtypes = [ctypes.POINTER(_ProbeData), ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
    return function


def _container_for_torchcodec(file: io.IOBase) -> str:
    """What torchcodec's FFmpeg takes an open file for: names of containers, empty for no video.

    The file is looked at as FFmpeg does when it opens one: at more and more of it, until it is
    sure.
    """
    size, content = _LEAST_PROBE_BYTES, b""
    while True:
        file.seek(0)
        content = file.read(size)
        at_end = len(content) < size or size >= _MOST_PROBE_BYTES
        score = ctypes.c_int(0 if at_end else _SURE)
        data = _ProbeData(b"", content + bytes(_PADDING_BYTES), len(content), None)
        found = _probe_function()(ctypes.byref(data), 1, ctypes.byref(score))
        if found or at_end:
            file.seek(0)
            return found[0].decode() if found else ""
        size *= 2
