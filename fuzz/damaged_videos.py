"""Small videos of many kinds, and ways to damage them: the same seed gives the same bytes.

Every frame carries its number as eight black or white squares, so that one can tell which frame
came out. The videos are written with PyAV, not with praxino's own writer.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

FRAMES, RATE = 75, 25
HEIGHT, WIDTH, SQUARE = 64, 96, 12  # pixels
MIN_SOURCE_BYTES = 20_000  # smaller than this, a hole of 4 kB would leave nothing


@dataclass(frozen=True)
class Kind:
    """How one kind of video is written."""

    codec: str
    options: dict[str, str]
    pixel_format: str = "yuv420p"
    container_options: tuple[tuple[str, str], ...] = ()
    sound: str = ""  # name of an audio codec


_H264 = {"crf": "17", "threads": "1", "x264-params": "keyint=15:bframes=2:b-adapt=0:scenecut=0"}
_FRAGMENTS = (("movflags", "frag_keyframe+empty_moov+default_base_moof"),)

KINDS: dict[str, Kind] = {
    "h264_index_first.mp4": Kind("libx264", _H264, container_options=(("movflags", "faststart"),)),
    "h264_sound.mov": Kind("libx264", _H264, sound="aac"),
    "h264_fragments.mp4": Kind("libx264", _H264, container_options=_FRAGMENTS),
    "h264.mkv": Kind("libx264", _H264),
    "mpeg4_sound.mkv": Kind("mpeg4", {"g": "15", "b": "400000"}, sound="flac"),
    "vp9.webm": Kind("libvpx-vp9", {"g": "15", "deadline": "realtime", "b": "400000"}),
    "vp8.webm": Kind("libvpx", {"g": "15", "deadline": "realtime", "b": "400000"}),
    "mpeg4.avi": Kind("mpeg4", {"g": "15", "bf": "2", "b": "400000"}),
    "mjpeg.avi": Kind("mjpeg", {"q": "8"}, "yuvj420p"),
    "h264.ts": Kind("libx264", _H264),
    "mpeg2_sound.ts": Kind("mpeg2video", {"g": "15", "bf": "2", "b": "400000"}, sound="mp2"),
    "h264.flv": Kind("libx264", _H264),
    "mpeg2.mpg": Kind("mpeg2video", {"g": "15", "bf": "2", "b": "400000"}),
    "vp8.ogv": Kind("libvpx", {"g": "15", "deadline": "realtime", "b": "400000"}),
    "hevc.mp4": Kind("libx265", {"crf": "22", "x265-params": "keyint=15:log-level=none:pools=1"}),
    "prores.mov": Kind("prores_ks", {}, "yuv422p10le"),
    "huffyuv.avi": Kind("huffyuv", {}, "yuv422p"),
    "frames.gif": Kind("gif", {}, "rgb8"),
}


def make_videos(folder: Path, names: tuple[str, ...] = tuple(KINDS)) -> dict[str, bytes]:
    """Write the intact videos and return their bytes by name; all have `FRAMES` frames."""
    folder.mkdir(parents=True, exist_ok=True)
    return {name: _write(folder / name, KINDS[name]) for name in names}


def _write(path: Path, kind: Kind) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    # +bitexact: no random identifiers and no version strings, so that the bytes are the same again.
    options = {"fflags": "+bitexact", **dict(kind.container_options)}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(kind.codec, rate=RATE, options=kind.options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, kind.pixel_format
        stream.codec_context.time_base = Fraction(1, RATE)
        stream.codec_context.thread_count = 1
        sound = container.add_stream(kind.sound, rate=48_000) if kind.sound else None
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(_picture(number, noise), "rgb24")
            frame = frame.reformat(format=kind.pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            if sound is not None:
                _mux_silence(container, sound, number)
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    content = path.read_bytes()
    assert len(content) > MIN_SOURCE_BYTES, f"{path.name} has only {len(content)} bytes"
    return content


def _mux_silence(
    container: av.container.OutputContainer, sound: av.AudioStream, number: int
) -> None:
    samples = 48_000 // RATE
    shape, layout = (1, samples), sound.codec_context.layout.name
    sample_format = sound.codec_context.format.name
    if sound.codec_context.format.is_planar:
        shape = (sound.codec_context.layout.nb_channels, samples)
    else:
        shape = (1, samples * sound.codec_context.layout.nb_channels)
    kind = np.float32 if "flt" in sample_format else np.int16
    block = av.AudioFrame.from_ndarray(np.zeros(shape, kind), sample_format, layout)
    block.sample_rate, block.pts = 48_000, number * samples
    container.mux(sound.encode(block))


def _picture(number: int, noise: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A moving texture under the number's eight bits."""
    pixels = np.roll(noise // 2 + 64, (number, 2 * number), axis=(0, 1))
    pixels = np.repeat(np.repeat(pixels[::4, ::4], 4, axis=0), 4, axis=1)
    bits = (number >> np.arange(8)) & 1
    pixels[:SQUARE, : 8 * SQUARE] = np.repeat(bits * 255, SQUARE)[None, :, None]
    return pixels


def number_of(pixels: NDArray[np.uint8]) -> int:
    """The number that a frame carries; nonsense if its squares are damaged."""
    inside = pixels[3 : SQUARE - 3, : 8 * SQUARE].mean(axis=(0, 2)).reshape(8, SQUARE)
    bits = inside[:, 3:-3].mean(axis=1) > 127
    return int((bits << np.arange(8)).sum())


# Damage: functions of the content and a generator


def _flip_bits(content: bytes, places: NDArray[np.int64], rng: np.random.Generator) -> bytes:
    hurt = bytearray(content)
    for place in places:
        hurt[place] ^= 1 << int(rng.integers(8))
    return bytes(hurt)


def _bits(count: int) -> "Damage":
    return lambda content, rng: _flip_bits(content, rng.integers(0, len(content), count), rng)


def _cut(low: float, high: float) -> "Damage":
    return lambda content, rng: content[: int(len(content) * rng.uniform(low, high))]


def _drop(size: int) -> "Damage":
    def damage(content: bytes, rng: np.random.Generator) -> bytes:
        place = int(rng.integers(0, len(content) - size))
        return content[:place] + content[place + size :]

    return damage


def _overwrite(size: int, noise: bool) -> "Damage":
    def damage(content: bytes, rng: np.random.Generator) -> bytes:
        place = int(rng.integers(0, len(content) - size))
        patch = rng.bytes(size) if noise else bytes(size)
        return content[:place] + patch + content[place + size :]

    return damage


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(0, len(content)))
    return content[:place] + rng.bytes(1000) + content[place:]


def _swap_blocks(content: bytes, rng: np.random.Generator) -> bytes:
    size = 4096
    one, two = sorted(rng.choice(len(content) // size, 2, replace=False) * size)
    return b"".join(
        (
            content[:one],
            content[two : two + size],
            content[one + size : two],
            content[one : one + size],
            content[two + size :],
        )
    )


def _repeat_block(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(0, len(content) - 4096))
    return content[: place + 4096] + content[place:]


def _index_noise(content: bytes, rng: np.random.Generator) -> bytes:
    """Noise in what tells where frames are: the table of MP4, AVI or Matroska, else the start."""
    places = [content.rfind(mark) for mark in (b"stbl", b"trun", b"idx1", b"\x1c\x53\xbb\x6b")]
    place = max(places) if max(places) >= 0 else 0
    place += int(rng.integers(4, 400))
    return content[:place] + rng.bytes(16) + content[place + 16 :]


def _lose_units(content: bytes, rng: np.random.Generator) -> bytes:
    """Whole transport packets missing, as after a bad reception; elsewhere as many bytes."""
    count, first = int(rng.integers(1, 30)), int(rng.integers(4, len(content) // 188 - 40))
    return content[: 188 * first] + content[188 * (first + count) :]


def _flip_every_10_kb(content: bytes, rng: np.random.Generator) -> bytes:
    return _flip_bits(content, np.arange(int(rng.integers(10_000)), len(content), 10_000), rng)


Damage = Callable[[bytes, np.random.Generator], bytes]

NO_DAMAGE = "none"

DAMAGES: dict[str, Damage] = {
    NO_DAMAGE: lambda content, rng: content,
    "1 bit": _bits(1),
    "16 bits": _bits(16),
    "a bit every 10 kB": _flip_every_10_kb,
    "8 bits in the header": lambda content, rng: _flip_bits(content, rng.integers(0, 512, 8), rng),
    "noise in the index": _index_noise,
    "cut in the middle": _cut(0.5, 0.5),
    "cut anywhere": _cut(0.05, 0.99),
    "last percent missing": _cut(0.985, 0.9999),
    "only the header": _cut(0.005, 0.03),
    "start cut off": lambda content, rng: content[int(len(content) * rng.uniform(0.001, 0.3)) :],
    "1 to 16 bytes dropped": lambda content, rng: _drop(int(rng.integers(1, 17)))(content, rng),
    "1 kB dropped": _drop(1000),
    "transport packets dropped": _lose_units,
    "4 kB of zeros": _overwrite(4096, noise=False),
    "4 kB of noise": _overwrite(4096, noise=True),
    "1 kB inserted": _insert,
    "blocks swapped": _swap_blocks,
    "a block twice": _repeat_block,
    "noise appended": lambda content, rng: content + rng.bytes(int(rng.integers(1, 5000))),
    "the file twice": lambda content, rng: content + content,
    "packets taken out": lambda content, rng: _take_out_packets(content, rng),
}


CUTS = ("cut in the middle", "cut anywhere", "last percent missing", "only the header")


def damaged(content: bytes, damage: str, seed: int) -> bytes:
    """The content after one kind of damage."""
    # The name is part of the seed, so that two kinds do not hit the same places.
    rng = np.random.default_rng([seed, *damage.encode()])
    return DAMAGES[damage](content, rng)


def _take_out_packets(content: bytes, rng: np.random.Generator) -> bytes:
    """A whole container in which 1 to 10 neighbouring pictures are missing."""
    with av.open(io.BytesIO(content)) as source:
        picture = source.streams.video[0]
        copies, total = io.BytesIO(), 0
        # FFmpeg reads Ogg, GIF and MPEG-PS by these names too; for MOV it names a list.
        name = {"matroska,webm": "matroska"}.get(source.format.name, source.format.name)
        name = "mov" if "mov" in name.split(",") else name
        first, count = int(rng.integers(1, FRAMES - 12)), int(rng.integers(1, 11))
        with av.open(copies, "w", format=name, options={"fflags": "+bitexact"}) as target:
            outputs = {
                stream.index: target.add_stream_from_template(stream)
                for stream in source.streams
                if stream.type in ("video", "audio")
            }
            packets = [
                packet
                for packet in source.demux(*source.streams.video, *source.streams.audio)
                if packet.size  # not PyAV's own, which mark the end
            ]
            _fill_decode_times([packet for packet in packets if packet.stream == picture])
            for packet in packets:
                if packet.stream.index == picture.index:
                    total += 1
                    if first < total <= first + count:
                        continue
                packet.stream = outputs[packet.stream.index]
                target.mux(packet)
    return copies.getvalue()


def _fill_decode_times(packets: list[av.Packet]) -> None:
    """Matroska holds none, and FFmpeg cannot guess those of the first pictures."""
    missing = [packet for packet in packets if packet.dts is None]
    known = next(packet.dts for packet in packets if packet.dts is not None)
    for place, packet in enumerate(missing):
        packet.dts = known - len(missing) + place


def not_videos() -> dict[str, bytes]:
    """Files that are no video, by name."""
    rng = np.random.default_rng(0)
    jpeg, archive = io.BytesIO(), b"PK\x03\x04" + rng.bytes(3000)
    Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(jpeg, "jpeg")
    return {
        "empty.mp4": b"",
        "one_byte.mp4": b"\x00",
        "text.mp4": b"this is not a video\n" * 200,
        "picture.mp4": jpeg.getvalue(),
        "archive.zip.avi": archive,
        "page.html.mkv": b"<!doctype html><html><body>404 Not Found</body></html>",
        "noise.ts": rng.bytes(100_000),
        "zeros.mp4": bytes(1_000_000),
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n",
    }
