"""Videos of which every frame carries its own number, in the kinds that readers get wrong.

The truth is what was written: the number in the pixels and the time given to the muxer. A seek that
lands elsewhere shows another number; one that decodes from the wrong place shows broken blocks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from numpy.typing import NDArray

FRAMES, HEIGHT, WIDTH = 300, 64, 128
_BITS, _BLOCK = 16, 32  # 8 x 2 blocks of 16 x 32 pixels


class PatternedVideo(NamedTuple):
    """A video whose frames show their numbers.

    Args:
        path: the file.
        seconds: `(300,)`, when each frame was asked to be shown, from 0.
        tick: how far the container may round that, in seconds.
    """

    path: Path
    seconds: NDArray[np.float64]
    tick: float

    def numbers(self, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The numbers that pictures `(..., 64, 128, 3)` show; -1 where blocks are broken."""
        return read_numbers(pixels)


def draw_number(number: int) -> NDArray[np.uint8]:
    """A picture of 8 x 2 blocks, dark for 0 and bright for 1, over a texture that moves.

    Ten bits are the number, six are a check, so that a mixture of two pictures is no number.
    """
    code = number | (number * 37 + 11) % 64 << 10
    bits = (code >> np.arange(_BITS) & 1).reshape(2, 8)
    blocks = np.kron(bits, np.ones((_BLOCK, WIDTH // 8)))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    texture = 24 * np.sin((columns + 2 * number) / 5) * np.cos((rows + number) / 7)
    grey = 48 + 160 * blocks + texture
    tint = np.array([1.0, 0.9, 0.8])
    return np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8)


def read_numbers(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What `draw_number` wrote; -1 where the check fails or a block is neither dark nor bright."""
    grey = pixels.mean(-1)
    blocks = grey.reshape(*grey.shape[:-2], 2, _BLOCK, 8, WIDTH // 8).mean((-3, -1))
    bits = (blocks > 115).reshape(*blocks.shape[:-2], _BITS)
    codes = (bits << np.arange(_BITS)).sum(-1)
    numbers = codes & 1023
    clear = (np.abs(blocks - 115) > 35).all((-2, -1))
    return np.where(clear & (codes >> 10 == (numbers * 37 + 11) % 64), numbers, -1)


def _x264(parameters: str, **options: str) -> dict[str, str]:
    return {"preset": "veryfast", "x264-params": parameters, **options}


def _x265(parameters: str) -> dict[str, str]:
    return {"preset": "veryfast", "x265-params": f"{parameters}:pools=none:log-level=none"}


@dataclass(frozen=True)
class Kind:
    """How to write one kind of video.

    Args:
        codec: encoder.
        options: of the encoder.
        uneven: whether frames are shown for 10 to 90 ms instead of 40.
        rewrite: what happens to the packets between encoder and file.
    """

    codec: str
    options: dict[str, str] = field(default_factory=dict)
    uneven: bool = False
    rewrite: Callable[[list[av.Packet]], list[av.Packet]] = list


def _copy(packet: av.Packet, content: bytes) -> av.Packet:
    copy = av.Packet(content)
    copy.stream, copy.time_base, copy.duration = packet.stream, packet.time_base, packet.duration
    copy.pts, copy.dts, copy.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
    return copy


def _without_sei(packets: list[av.Packet]) -> list[av.Packet]:
    """H.264 in which nothing tells that one can start to decode at a picture that is no IDR."""
    result = []
    for packet in packets:
        units = bytes(packet).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
        kept = [b"\0\0\0\1" + unit for unit in units if unit[0] & 31 != 6]
        result.append(_copy(packet, b"".join(kept)))
    return result


def _false_recovery_points(packets: list[av.Packet]) -> list[av.Packet]:
    """Every 25th picture says that decoding can start there, and is no I-picture."""
    note = b"\0\0\0\1\x06\x06\x01\xc4\x80"  # SEI, recovery point after 0 frames, exact
    result = _without_sei(packets)
    for number in range(25, len(result), 25):
        result[number] = _copy(result[number], note + bytes(result[number]))
        result[number].is_keyframe = True
    return result


def _packed(packets: list[av.Packet]) -> list[av.Packet]:
    """DivX's way to put B-frames into AVI: in one chunk with the picture before, then a filler.

    The marks are a user data that ends in `p`, and a filler whose vop_coded is 0.
    """
    filler = bytes.fromhex("000001b6504f")
    result: list[av.Packet] = []
    for packet, after in zip(packets, [*packets[1:], None], strict=True):
        content = bytes(packet)
        if packet.is_keyframe:
            user_data = content.index(b"\0\0\1\xb2")
            end = content.index(b"\0\0\1", user_data + 4)
            content = content[:user_data] + b"\0\0\1\xb2DivX503b1393p" + content[end:]
        if _is_b_picture(content):
            content = filler
        elif after is not None and _is_b_picture(bytes(after)):
            content += bytes(after)
        result.append(_copy(packet, content))
        result[-1].pts = result[-1].dts = len(result) - 1
    return result


def _is_b_picture(mpeg4: bytes) -> bool:
    return mpeg4.startswith(b"\0\0\1\xb6") and mpeg4[4] >> 6 == 2


def _all_key_frames(packets: list[av.Packet]) -> list[av.Packet]:
    """Every picture is called a key frame, as careless muxers do."""
    for packet in packets:
        packet.is_keyframe = True
    return packets


KINDS = {
    "h264.mp4": Kind("libx264", _x264("")),
    "h264_gop60.mp4": Kind("libx264", _x264("keyint=60:min-keyint=60:scenecut=0:bframes=3")),
    "h264_gop250_uneven.mp4": Kind("libx264", _x264("keyint=250:scenecut=0:bframes=3"), True),
    "h264_no_bframes_uneven.mkv": Kind("libx264", _x264("keyint=30:bframes=0"), True),
    "h264_pyramid_uneven.ts": Kind(
        "libx264", _x264("keyint=60:scenecut=0:bframes=7:b-pyramid=normal:b-adapt=0"), True
    ),
    "h264_open_gop.mp4": Kind("libx264", _x264("keyint=24:open-gop=1:bframes=3:b-adapt=0")),
    "h264_open_gop.ts": Kind("libx264", _x264("keyint=24:open-gop=1:bframes=3:b-adapt=0")),
    "h264_open_gop_unmarked.mkv": Kind(
        "libx264", _x264("keyint=24:open-gop=1:bframes=3:ref=4"), rewrite=_without_sei
    ),
    "h264_intra_refresh.mp4": Kind("libx264", _x264("keyint=40:intra-refresh=1:ref=1:bframes=0")),
    "hevc_all_key_frames.mkv": Kind(
        "libx265", _x265("keyint=24:open-gop=1:bframes=4"), rewrite=_all_key_frames
    ),
    "hevc_all_key_frames.mp4": Kind(
        "libx265", _x265("keyint=24:open-gop=1:bframes=4"), rewrite=_all_key_frames
    ),
    "h264.flv": Kind("libx264", _x264("keyint=60")),
    "h264.avi": Kind("libx264", _x264("keyint=60:bframes=0")),
    "hevc_open_gop.mp4": Kind("libx265", _x265("keyint=24:open-gop=1:bframes=4:b-adapt=0")),
    "hevc_open_gop_uneven.mkv": Kind(
        "libx265", _x265("keyint=30:open-gop=1:bframes=3:b-adapt=0"), True
    ),
    "hevc_open_gop.ts": Kind("libx265", _x265("keyint=24:open-gop=1:bframes=4:b-adapt=0")),
    "hevc_radl.mp4": Kind("libx265", _x265("keyint=24:no-open-gop=1:radl=2:bframes=4:b-adapt=0")),
    "hevc_intra_refresh.mp4": Kind(
        "libx265", _x265("keyint=40:intra-refresh=1:ref=1:bframes=0:scenecut=0")
    ),
    "vp8.webm": Kind("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    "vp9_uneven.webm": Kind(
        "libvpx-vp9",
        {"auto-alt-ref": "1", "lag-in-frames": "25", "g": "60", "cpu-used": "5", "crf": "30"},
        True,
    ),
    "av1.mp4": Kind("libsvtav1", {"preset": "8", "crf": "20", "g": "60", "svtav1-params": "lp=1"}),
    "av1_forward_key_frames.mkv": Kind(
        "libsvtav1",
        {"preset": "8", "crf": "20", "g": "48", "svtav1-params": "irefresh-type=1:lp=1"},
    ),
    "mpeg4_bframes.avi": Kind("mpeg4", {"bf": "2", "g": "24", "b_strategy": "0"}),
    "mpeg4_packed.avi": Kind("mpeg4", {"bf": "1", "g": "24", "b_strategy": "0"}, rewrite=_packed),
    "mpeg4_uneven.mkv": Kind("mpeg4", {"bf": "2", "g": "60"}, True),
    "mpeg2_open_gop.ts": Kind("mpeg2video", {"bf": "2", "g": "24", "b": "2M"}),
    "mpeg2_open_gop.mpg": Kind("mpeg2video", {"bf": "2", "g": "24", "b": "2M"}),
    "mpeg2_open_gop.mkv": Kind("mpeg2video", {"bf": "2", "g": "24", "b": "2M"}),
}

# Files that lie about where decoding can start; readers that believe them give broken pictures.
LYING_KINDS = {
    f"h264_false_recovery_points.{suffix}": Kind(
        "libx264",
        _x264("keyint=250:scenecut=0:ref=4:bframes=0"),
        rewrite=_false_recovery_points,
    )
    for suffix in ("mp4", "mkv", "ts")
}

# How far a container rounds times; MP4 and AVI keep those of the encoder.
_TICKS = {".mkv": 1 / 1000, ".webm": 1 / 1000, ".flv": 1 / 1000, ".ts": 1 / 90000}


def write_patterned(path: Path, kind: Kind) -> PatternedVideo:
    """Write 300 numbered frames as one kind of video."""
    tick = Fraction(1, 1000) if kind.uneven else Fraction(1, 25)
    gaps = np.random.default_rng(0).integers(10, 90, FRAMES) if kind.uneven else np.ones(FRAMES)
    pts = np.concatenate(([0], np.cumsum(gaps)[:-1])).astype(int)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(kind.codec, rate=25, options=kind.options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = stream.time_base = tick
        packets: list[av.Packet] = []
        for number, ticks in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(draw_number(number), "rgb24")
            frame.pts, frame.time_base = int(ticks), tick
            packets += stream.encode(frame)
        packets += stream.encode(None)
        container.mux(kind.rewrite(packets))
    return PatternedVideo(path, pts * float(tick), _TICKS.get(path.suffix, float(tick) / 1000))


class _Written(Mapping[str, PatternedVideo]):
    """Writes each video when it is asked for first."""

    def __init__(self, folder: Path, kinds: dict[str, Kind]) -> None:
        self._folder, self._kinds = folder, kinds
        self._videos: dict[str, PatternedVideo] = {}

    def __getitem__(self, name: str) -> PatternedVideo:
        if name not in self._videos:
            self._videos[name] = write_patterned(self._folder / name, self._kinds[name])
        return self._videos[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


@pytest.fixture(scope="session")
def patterned_videos(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, PatternedVideo]:
    """Name -> video whose frames show their numbers; written at the first use."""
    return _Written(tmp_path_factory.mktemp("patterned"), KINDS)


@pytest.fixture(params=KINDS)
def patterned_video(
    request: pytest.FixtureRequest, patterned_videos: Mapping[str, PatternedVideo]
) -> PatternedVideo:
    """Each of `patterned_videos`: a test that takes this one runs for every kind."""
    return patterned_videos[request.param]


@pytest.fixture(params=LYING_KINDS)
def lying_video(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PatternedVideo:
    """As `patterned_video`, but some pictures are no place to start from, as the file says."""
    return _Written(tmp_path_factory.mktemp("lying"), LYING_KINDS)[request.param]
