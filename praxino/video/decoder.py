"""The one place that calls a decoder, and the gate in front of it.

Nothing is opened by name: praxino opens the file itself and hands FFmpeg the open file, so that a
path is never taken for a URL, a pattern or a list of other files. The container is told from the
file's first bytes and must be on the list below; so must the codec, before a packet is decoded.
"""

import io
import os
import re
import stat
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, dropwhile, islice
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
from numpy.typing import NDArray

from praxino.errors import VideoError
from praxino.video.convert import MAX_PIXELS, check_size, no_memory

CODECS = (
    *("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "h263", "flv1", "theora"),
    *("mpeg1video", "mpeg2video", "msmpeg4v2", "msmpeg4v3", "mjpeg", "dvvideo", "prores"),
    *("gif", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo"),
)
CONTAINERS = "MP4, MOV, 3GP, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, FLV, Ogg or GIF"

# In these a codec's packet is one shown picture, so that counting packets counts frames. VP8 has
# hidden packets, and AVI holds no display times at all.
_COUNTABLE_CONTAINERS = ("mov", "matroska", "mpegts", "flv", "gif")
_UNCOUNTABLE_CODECS = ("vp8",)

# Here FFmpeg makes up count and duration from what is there, so that they promise nothing.
_HEADERLESS = ("mpegts", "mpeg", "gif")

# A unit of H.264 is one of a picture if its last five bits are 1 to 5, of an IDR picture if 5.
_H264_PICTURE = re.compile(rb"\x00\x00\x01[\x01-\x05\x21-\x25\x41-\x45\x61-\x65]")
_H264_IDR = 5

# MPEG-4 says "as before" in packets of 1 to 7 bytes; encoders also use them to fill slots.
_NOTHING_NEW_BYTES = 8

# Of files of numbers, where time means nothing; Matroska counts thousandths, so 40 for each frame.
GREY_FRAMES_PER_SECOND = 25

_SLICE_END = 8  # bytes of FFV1
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# A pipe has no writer to wait for; on Windows, a file is read byte by byte.
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# PyAV is silent unless told otherwise; a library that talks on stderr breaks the error contract.
av.logging.set_level(None)


@dataclass(frozen=True)
class Source:
    """A video that passed the first half of the gate: a regular, non-empty file or bytes."""

    name: str
    path: Path | None
    content: bytes
    container: str

    def open(self) -> io.IOBase:
        """A fresh handle at the first byte.

        Raises:
            VideoError: `not_found`, if the file has gone since.
        """
        if self.path is None:
            return io.BytesIO(self.content)
        return SizedFile(open_regular(self.name, self.path))


class SizedFile(io.RawIOBase):
    """An open file as long as it was when this was made, with a position of its own.

    A file that grows while it is read would have no end; and passes over one descriptor, as a
    process that can open no file makes them, would move each other's position.

    Args:
        descriptor: of a regular file; closed with this.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._place = 0

    def read(self, size: int | None = -1) -> bytes:
        """Up to this many bytes from here on."""
        rest = max(0, self._size - self._place)
        os.lseek(self._descriptor, self._place, os.SEEK_SET)
        found = os.read(self._descriptor, rest if size is None or size < 0 else min(size, rest))
        self._place += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, as far as the file goes; `io.BufferedReader` reads so."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there, and say where that is."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """Where the next read starts."""
        return self._place

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Close the descriptor."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def open_regular(name: str, path: Path) -> int:
    """A descriptor of a local regular file; nothing else is opened, and nothing is waited for.

    Raises:
        VideoError: `not_found` or `not_a_regular_file`.
    """
    # The first look keeps devices from being opened at all; the second one sees what was opened,
    # should a pipe have taken the file's place in between.
    try:
        _check_regular(name, path.stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | _NO_WAITING)
    except FileNotFoundError:
        message = "there is no such file. Check the path."
        raise VideoError(name, message, code="not_found") from None
    except VideoError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _cannot_open(name, error) from None
    try:
        _check_regular(name, os.fstat(descriptor).st_mode)
    except VideoError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(name: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
        raise VideoError(
            name,
            f"is {kind}, not a regular file. Give the path of one video file.",
            code="not_a_regular_file",
        )


def check_source(source: str | os.PathLike[str] | bytes) -> Source:
    """Refuse everything but local regular files and bytes that look like an allowed container.

    Raises:
        VideoError: `not_found`, `not_a_regular_file`, `empty` or `unsupported_container`.
        TypeError: `source` is neither a path nor bytes.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
        name, head, path = f"<{len(content)} bytes>", content[:1024], None
    elif isinstance(source, str | os.PathLike):
        name, path, content = os.fspath(source), Path(source), b""
        head = _read_head(name, path)
    else:
        raise TypeError(f"A video is a path or bytes, got {type(source).__name__}.")
    if not head:
        raise VideoError(name, "is empty (0 bytes). Copy or download it again.", code="empty")
    container = _container_of(head)
    if container is None:
        raise VideoError(
            name,
            f"is not a video that praxino reads (it begins with {head[:8]!r}). Convert it to "
            f"{CONTAINERS}.",
            code="unsupported_container",
        )
    return Source(name, path, content, container)


def _read_head(name: str, path: Path) -> bytes:
    if "://" in name and not path.exists():
        raise VideoError(
            name,
            "is a URL. praxino reads local files only: download it first.",
            code="not_a_regular_file",
        )
    with SizedFile(open_regular(name, path)) as file:
        return file.read(1024)


def _cannot_open(name: str, error: Exception) -> VideoError:
    message = f"cannot be opened ({_reason(error)}). Check the path and its permissions."
    return VideoError(name, message, code="not_found")


def _container_of(head: bytes) -> str | None:
    """FFmpeg's name of the container that starts with these bytes."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    beginnings = {
        b"\x1a\x45\xdf\xa3": "matroska",
        b"\x00\x00\x01\xba": "mpeg",
        b"FLV\x01": "flv",
        b"OggS": "ogg",
        b"GIF87a": "gif",
        b"GIF89a": "gif",
    }
    for beginning, container in beginnings.items():
        if head.startswith(beginning):
            return container
    # Transport packets are 188 bytes, each led by 0x47; cameras put four more bytes before each.
    for offset, size in ((0, 188), (4, 192)):
        if len(head) > offset + 2 * size and all(head[offset + n * size] == 0x47 for n in range(3)):
            return "mpegts"
    return None


class Decoder:
    """One pass over one video stream: packets, frames, seeking. Errors become VideoError.

    Args:
        source: what `check_source` let through.
        threads: decoding threads; 1 in a loader's worker.
    """

    def __init__(self, source: Source, threads: int) -> None:
        self.source = source
        self.closed = False
        self.errors = 0  # packets that the demuxer or the decoder refused
        self.corrupt_packets = 0  # that the demuxer marks: cut short, or first after a gap
        self.packets_seen = 0
        self.pictures_seen = 0  # packets that hold a shown picture which is not the one before
        self._threads = threads
        self._sought: int | None = None
        self._open_things = ExitStack()
        file = self._open_things.enter_context(source.open())
        try:
            self._container = self._open_things.enter_context(self._open_container(file))
            self.stream = self._pick_stream()
            self.codec = self._check_codec()
            context = self.stream.codec_context
            check_size(source.name, context.width, context.height)
            context.thread_type = "AUTO"
            context.thread_count = threads
            context.options = {"max_pixels": str(MAX_PIXELS)}
            if self.codec == "mjpeg":
                # Else the part of a JPEG that does not decode shows what happens to be in memory.
                context.options |= {"err_detect": "explode"}
        except BaseException:
            self.close()
            raise

    def _open_container(self, file: io.IOBase) -> av.container.InputContainer:
        # The container is forced; the lists bind whatever FFmpeg may open or probe inside it. The
        # codec list holds names of decoders, and does not bind the decoder that PyAV opens later.
        options = {
            "format_whitelist": self.source.container,
            "protocol_whitelist": "file",
            "codec_whitelist": ",".join((*CODECS, "libdav1d", "flv", "msmpeg4")),
            "max_streams": "64",
        }
        try:
            return av.open(
                file,
                mode="r",
                format=self.source.container,
                options=options,
                metadata_errors="replace",
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            message = f"is damaged: its header cannot be read ({_reason(error)}). "
            raise VideoError(
                self.source.name, message + "Copy or download it again.", code="damaged"
            ) from None

    def _pick_stream(self) -> av.video.stream.VideoStream:
        streams = self._container.streams.video
        cover = av.stream.Disposition.attached_pic
        moving = [stream for stream in streams if not stream.disposition & cover]
        if not moving:
            raise VideoError(
                self.source.name,
                f"has no video stream ({len(self._container.streams)} other streams). "
                "Give a file with moving pictures.",
                code="no_video_stream",
            )
        self.video_streams = len(moving)
        return moving[0]

    def _check_codec(self) -> str:
        context = self.stream.codec_context
        codec = context.codec.canonical_name if context is not None else "unknown"
        if codec not in CODECS:
            raise VideoError(
                self.source.name,
                f"its codec {codec!r} is not on the list of codecs that are decoded "
                f"({', '.join(CODECS)}). Convert it to H.264.",
                code="codec_not_allowed",
            )
        return codec

    @property
    def other_streams(self) -> tuple[str, ...]:
        """The streams that are not decoded, in words: `audio aac, 44100 Hz`."""
        return tuple(
            _in_words(stream) for stream in self._container.streams if stream is not self.stream
        )

    @property
    def codecs(self) -> tuple[str, ...]:
        """FFmpeg's names of the codecs of all streams, this one's too; without unknown ones."""
        contexts = (stream.codec_context for stream in self._container.streams)
        return tuple(context.codec.canonical_name for context in contexts if context is not None)

    @property
    def tags(self) -> dict[str, str]:
        """What the container says of itself; by whoever wrote it."""
        return dict(self._container.metadata)

    @property
    def tick(self) -> Fraction:
        """Seconds per unit of the stream's time stamps."""
        return self.stream.time_base or Fraction(1, av.time_base)

    @property
    def counts_by_packets(self) -> bool:
        """Whether packets of this container and codec tell frames and their times."""
        return self.source.container in _COUNTABLE_CONTAINERS and self.a_packet_is_a_picture

    @property
    def a_packet_is_a_picture(self) -> bool:
        """Whether every packet of this codec is one shown picture."""
        # The fields of an interlaced picture may come as two packets.
        progressive = self.stream.codec_context.field_order in (0, 1)
        return progressive and self.codec not in _UNCOUNTABLE_CODECS

    @property
    def is_mpeg(self) -> bool:
        """Whether the container is MPEG-TS or MPEG-PS.

        Their clock starts again when its 33 bits are full, and they find a picture by the time at
        which it is decoded rather than shown.
        """
        return self.source.container in ("mpegts", "mpeg")

    @property
    def container_start_seconds(self) -> float:
        """Where the container's first stream starts; 0 where that is unknown."""
        start = self._container.start_time
        return 0.0 if start is None else start / av.time_base

    @property
    def declared_frames(self) -> int | None:
        """The number of frames in the header; None where it has none."""
        return None if self.source.container in _HEADERLESS else self.stream.frames or None

    @property
    def declared_seconds(self) -> float | None:
        """The video's duration as the header declares it; None where it does not."""
        if self.source.container in _HEADERLESS:
            return None
        if self.stream.duration:
            return float(self.stream.duration * self.tick)
        # Matroska declares that of the longest stream, and the sound may be longer.
        if self._container.duration and len(self._container.streams) == 1:
            # It counts from second 0 of the file's clock, where recordings often do not start.
            return self._container.duration / av.time_base - max(0.0, self.container_start_seconds)
        return None

    def is_recovery_point(self, packet: av.Packet) -> bool:
        """Whether this key frame is one by the encoder's word only.

        Nothing after an IDR picture of H.264 refers to what came before it. Other key frames have
        a note, a "recovery point", that says so.
        """
        if self.codec != "h264":
            return False
        content, headers = memoryview(packet), self.stream.codec_context.extradata or b""
        if headers[:1] != b"\x01":  # units begin with 00 00 01
            picture = _H264_PICTURE.search(content)
            return picture is not None and picture[0][3] & 31 != _H264_IDR
        length_bytes, place = (headers[4] & 3) + 1, 0
        while place + length_bytes < len(content):
            length = int.from_bytes(content[place : place + length_bytes], "big")
            kind = content[place + length_bytes] & 31
            if 1 <= kind <= _H264_IDR:
                return kind != _H264_IDR
            place += length_bytes + length
        return False

    def packets(self) -> Iterator[av.Packet]:
        """The stream's packets in file order, without the empty one that ends PyAV's."""
        try:
            for packet in self._container.demux(self.stream):
                # A packet that the end of the file cuts would decode to half a picture. MPEG-TS
                # marks every packet after a gap, and those mostly decode.
                self.corrupt_packets += packet.is_corrupt
                if packet.is_corrupt and self.source.container not in ("mpegts", "mpeg"):
                    continue
                if packet.size:
                    self.packets_seen += 1
                    if packet.size > _NOTHING_NEW_BYTES and not packet.is_discard:
                        self.pictures_seen += 1
                    yield packet
        except MemoryError:
            raise no_memory(self.source.name) from None
        except (av.FFmpegError, OSError):
            self.errors += 1

    def frames(
        self,
        watch: Callable[[av.Packet], None] | None = None,
        unneeded: Callable[[av.Packet], bool] | None = None,
    ) -> Generator[av.VideoFrame, None, None]:
        """The frames from here to the end, in the order of display.

        Args:
            watch: is shown each packet before it is decoded.
            unneeded: whether a packet's picture need not come out; it does not where no other
                picture refers to it, which saves a third to a half of the time.
        """
        self._open_codec()
        before, given, last = self.pictures_seen, 0, None
        skipping, self.stream.codec_context.skip_frame = False, "DEFAULT"
        for packet in chain(self.packets(), (None,)):
            if watch is not None and packet is not None:
                watch(packet)
            if unneeded is not None and packet is not None and unneeded(packet) != skipping:
                skipping = not skipping
                self.stream.codec_context.skip_frame = "NONREF" if skipping else "DEFAULT"
            for frame in self._decode(packet):
                given, last = given + 1, frame.pts
                yield frame
        # After an error PyAV cannot go on emptying a decoder that works in several threads. Where
        # pictures are missing, look at the end of the file again with one thread.
        missing = given < self.pictures_seen - before and self.codec not in _UNCOUNTABLE_CODECS
        if unneeded is None and missing and self._threads > 1 and last is not None:
            with closing(Decoder(self.source, threads=1)) as again:
                if self._sought is not None:
                    again.seek(self._sought)
                rest = dropwhile(lambda frame: frame.pts != last, again.frames())
                yield from islice(rest, 1, None)

    def _open_codec(self) -> None:
        """Start the decoding threads. Without room for them PyAV would decode nothing, silently."""
        try:
            self.stream.codec_context.open(strict=False)
        except (MemoryError, BlockingIOError):
            raise no_memory(self.source.name) from None
        except av.FFmpegError:
            self.errors += 1  # each packet will fail alike

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """The frames that come out when this packet goes in; None empties the decoder."""
        try:
            return self.stream.codec_context.decode(packet)
        except MemoryError:  # no damage: elsewhere the same file decodes
            raise no_memory(self.source.name) from None
        except (av.FFmpegError, OSError):
            self.errors += 1
            return []

    def seek(self, ticks: int) -> None:
        """Go to the last key frame at or before this time, as far as the container can tell."""
        self._sought = ticks
        try:
            self._container.seek(ticks, stream=self.stream, backward=True, any_frame=False)
        except (av.FFmpegError, OSError):
            self.errors += 1

    def close(self) -> None:
        """Give back memory, threads and the file."""
        self.closed = True
        self._open_things.close()


class GreyReader:
    """Reads the grey pictures that `GreyWriter` wrote, by number, exactly as they were written.

    Args:
        source: of the file.

    Raises:
        VideoError: as `Decoder`; `damaged` if it holds no grey pictures.
    """

    def __init__(self, source: Source) -> None:
        self._decoder = Decoder(source, threads=1)
        context = self._decoder.stream.codec_context
        if self._decoder.codec != "ffv1" or context.pix_fmt != "gray":
            self.close()
            raise VideoError(
                source.name,
                f"holds {self._decoder.codec} in {context.pix_fmt}, not grey pictures in FFV1. "
                "Write it anew with praxino.",
                code="damaged",
            )
        self.tags = self._decoder.tags
        self.size = (context.height, context.width)
        self._coming: Generator[av.VideoFrame, None, None] | None = None
        self._next = -1  # number of the picture that comes next
        self._damaged = False  # the one that came last

    def picture(self, number: int) -> NDArray[np.uint8]:
        """The picture `(H, W)` of this number, from 0; successive ones come without a seek.

        Raises:
            VideoError: `damaged` if it is not there, or not as it was written.
        """
        if self._coming is None or number != self._next:
            self._decoder.seek(round(number / GREY_FRAMES_PER_SECOND / self._decoder.tick))
            self._coming = self._decoder.frames(watch=self._note_damage)
        self._next = number + 1
        frame = next(self._coming, None)
        seconds = None if frame is None or frame.pts is None else frame.pts * self._decoder.tick
        right = seconds is not None and round(seconds * GREY_FRAMES_PER_SECOND) == number
        if frame is None or not right or self._damaged:
            self._coming = None
            raise VideoError(
                self._decoder.source.name,
                f"is damaged: picture {number} is not there or not whole. Write it anew.",
                code="damaged",
            )
        if (frame.height, frame.width) != self.size or frame.format.name != "gray":
            raise VideoError(
                self._decoder.source.name,
                f"is damaged: picture {number} is {frame.width} x {frame.height} in "
                f"{frame.format.name}, the file {self.size[1]} x {self.size[0]}. Write it anew.",
                code="damaged",
            )
        picture: NDArray[np.uint8] = frame.to_ndarray()  # type: ignore[assignment]
        return picture

    def _note_damage(self, packet: av.Packet) -> None:
        self._damaged = not _ffv1_is_whole(bytes(packet))

    def close(self) -> None:
        """Give back the file."""
        self._decoder.close()


def _ffv1_is_whole(packet: bytes) -> bool:
    """Whether the checksum of every slice is right; FFmpeg only grumbles where one is not.

    A slice ends with its size without this end (24 bits), a status (8) and a CRC (32) that makes
    the CRC of all of it 0 (RFC 9043).
    """
    end = len(packet)
    while end:
        start = end - _SLICE_END - int.from_bytes(packet[end - 8 : end - 5], "big")
        if start < 0:
            return False
        # The same polynomial as zlib's, which takes bits from the other end and inverts.
        mirrored = packet[start:end].translate(_MIRRORED)
        if zlib.crc32(mirrored, 0xFFFFFFFF) != 0xFFFFFFFF:
            return False
        end = start
    return True


def _in_words(stream: av.stream.Stream) -> str:
    context = stream.codec_context  # None for data that FFmpeg knows no decoder for
    words = f"{stream.type} {context.codec.canonical_name if context is not None else '(unknown)'}"
    if isinstance(stream, av.AudioStream) and context is not None:
        words += f", {stream.codec_context.sample_rate} Hz"
    return words


def nothing_decodes(name: str) -> VideoError:
    """The error for a file with a header and no picture."""
    message = "is damaged: not one frame of it decodes. Copy or download it again."
    return VideoError(name, message, code="damaged")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
