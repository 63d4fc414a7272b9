"""Files that are odd but legal, and files whose headers lie: read as documented, or one VideoError.

Expected colours are worked out by hand from the stored values, expected times are those written.
"""

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from praxino.errors import VideoError
from praxino.video.convert import Converter
from praxino.video.reader import open_video

BT709, BT601, BT2020 = 1, 6, 9  # as H.273 numbers the matrices
LIMITED, FULL = 1, 2
FLAT = (120, 90, 170)  # Y, Cb, Cr of a flat picture, in 8 bits


def write_flat(
    path: Path,
    codec: str,
    pixel_format: str,
    values: Sequence[int] = FLAT,
    *,
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
    **context: object,
) -> Path:
    """Three pictures of one colour; `values` are the stored ones, plane by plane or byte by byte.

    Args:
        context: attributes of the encoder, for example `colorspace`.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for number in range(3):
            frame = av.VideoFrame(*size, pixel_format)
            frame.pts = number
            for plane, value in zip(frame.planes, _by_plane(frame, values), strict=True):
                np.frombuffer(plane, value.dtype).reshape(plane.height, -1)[:, : value.size] = value
            for name in {"colorspace", "color_range"} & context.keys():
                setattr(frame, name, context[name])
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _by_plane(frame: av.VideoFrame, values: Sequence[int]) -> list[NDArray[np.generic]]:
    bits = max(component.bits for component in frame.format.components)
    dtype = np.dtype("<u2" if bits > 8 else "u1")
    if len(frame.planes) == 1 and len(values) > 1:  # packed: the components lie side by side
        return [np.tile(np.array(values, dtype), frame.width)]
    return [
        np.full(plane.width, value << (bits - 8), dtype)
        for plane, value in zip(frame.planes, values, strict=True)
    ]


def rgb(
    values: Sequence[int] = FLAT, matrix: int = BT601, value_range: int = LIMITED
) -> NDArray[np.float64]:
    """Red, green and blue of Y, Cb, Cr, as ITU-R BT.601, BT.709 and BT.2020 define them."""
    red, blue = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722), BT2020: (0.2627, 0.0593)}[matrix]
    luma, *chroma = values
    grey = luma / 255 if value_range == FULL else (luma - 16) / 219
    cb, cr = ((value - 128) / (255 if value_range == FULL else 224) for value in chroma)
    r, b = grey + 2 * (1 - red) * cr, grey + 2 * (1 - blue) * cb
    g = (grey - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.array([r, g, b]), 0, 255)


X265 = {"x265-params": "log-level=none:pools=none"}
HDR = {"colorspace": BT2020, "color_primaries": 9, "color_trc": 16}
COLOURS = {  # name: codec, pixel format, stored values, context, RGB
    "untagged.mp4": ("libx264", "yuv420p", FLAT, {}, rgb()),
    "bt601.mp4": ("libx264", "yuv420p", FLAT, {"colorspace": BT601}, rgb()),
    "bt709.mp4": ("libx264", "yuv420p", FLAT, {"colorspace": BT709}, rgb(matrix=BT709)),
    "bt2020.mkv": ("ffv1", "yuv420p", FLAT, {"colorspace": BT2020}, rgb(matrix=BT2020)),
    "full_range.mp4": ("libx264", "yuv420p", FLAT, {"color_range": FULL}, rgb(value_range=FULL)),
    "full_range_bt709.webm": (
        *("libvpx-vp9", "yuv420p", FLAT, {"color_range": FULL, "colorspace": BT709}),
        rgb(matrix=BT709, value_range=FULL),
    ),
    "full_range_10_bit.mkv": (
        *("ffv1", "yuv420p10le", FLAT, {"color_range": FULL}, rgb(value_range=FULL)),
    ),
    "jpegs.avi": ("mjpeg", "yuvj420p", FLAT, {}, rgb(value_range=FULL)),
    "422.mp4": ("libx264", "yuv422p", FLAT, {}, rgb()),
    "444.mp4": ("libx264", "yuv444p", FLAT, {}, rgb()),
    "411.avi": ("ffv1", "yuv411p", FLAT, {}, rgb()),
    "410.avi": ("ffv1", "yuv410p", FLAT, {}, rgb()),
    "10_bit.mp4": ("libx265", "yuv420p10le", FLAT, {"options": X265}, rgb()),
    "10_bit_422.mov": ("prores_ks", "yuv422p10le", FLAT, {}, rgb()),
    "10_bit_h264.mp4": ("libx264", "yuv420p10le", FLAT, {}, rgb()),
    "12_bit_444.mp4": ("libx265", "yuv444p12le", FLAT, {"options": X265}, rgb()),
    "hdr.mp4": ("libx265", "yuv420p10le", FLAT, {"options": X265, **HDR}, rgb(matrix=BT2020)),
    "grey.mp4": ("libx264", "gray", (120,), {}, rgb((120, 128, 128))),
    "grey.mkv": ("ffv1", "gray", (120,), {}, rgb((120, 128, 128))),
    "grey_10_bit.mkv": ("ffv1", "gray10le", (120,), {}, rgb((120, 128, 128))),
    "planes_of_rgb.mkv": ("ffv1", "gbrp10le", (100, 44, 188), {}, np.array([188, 100, 44])),
    "rgb.avi": ("rawvideo", "bgr24", (44, 100, 188), {}, np.array([188, 100, 44])),
    "transparent_rgb.mkv": ("ffv1", "bgra", (44, 100, 188, 0), {}, np.array([188, 100, 44])),
    "transparent.webm": ("libvpx-vp9", "yuva420p", (*FLAT, 0), {}, rgb()),
    "transparent.mkv": ("ffv1", "yuva420p", (*FLAT, 0), {}, rgb()),
    "transparent.mov": ("prores_ks", "yuva444p10le", (*FLAT, 0), {}, rgb()),
}


@pytest.mark.parametrize("short_side", [None, 20])
@pytest.mark.parametrize("name", COLOURS)
def test_colours(name: str, short_side: int | None, tmp_path: Path) -> None:
    codec, pixel_format, values, context, expected = COLOURS[name]
    path = write_flat(tmp_path / name, codec, pixel_format, values, **context)
    with open_video(path, short_side=short_side) as video:
        pixels = video.frames([0, 2]).pixels
        assert video.info.problems == ()
    # Codecs lose a level, and so does swscale where it has no exact path.
    assert np.abs(pixels - expected).max() <= 4


SIZES = {
    "libx264": ("yuv444p", "mp4", [(1, 1), (2, 2), (3, 5), (17, 1)]),
    "libvpx-vp9": ("yuv420p", "webm", [(1, 1), (2, 2), (3, 5), (1, 17)]),
    "mpeg4": ("yuv420p", "avi", [(1, 1), (3, 5)]),
    "ffv1": ("yuv444p", "mkv", [(1, 1), (3, 5)]),
    "mjpeg": ("yuvj420p", "avi", [(1, 1), (3, 5)]),
}


@pytest.mark.parametrize(
    ("codec", "size"), [(codec, size) for codec in SIZES for size in SIZES[codec][2]]
)
def test_tiny_pictures(codec: str, size: tuple[int, int], tmp_path: Path) -> None:
    pixel_format, suffix, _ = SIZES[codec]
    path = write_flat(tmp_path / f"tiny.{suffix}", codec, pixel_format, size=size)
    width, height = size
    expected = rgb(value_range=FULL if codec == "mjpeg" else LIMITED)
    for short_side in (None, 7):
        with open_video(path, short_side=short_side) as video:
            pixels = video.frames([0, 2]).pixels
            assert len(list(video)) == len(video) == 3
        assert pixels.shape[1:3] == (height, width) if short_side is None else min(video.size) == 7
        assert np.abs(pixels - expected).max() <= 4


# --- Streams beside the video ---


def write_streams(path: Path, *streams: str, first_pts: int = 0) -> Path:
    """A file with these streams in this order, one second long.

    Args:
        streams: `video` (grey, 4 i), `bright` (white), `still` (one picture), `cover`, `sound`,
            `subtitles`; Matroska keeps a cover as `attachment`.
        first_pts: of the pictures, in 25ths of a second.
    """
    with av.open(str(path), "w") as container:
        packets: list[av.Packet] = []
        encoders = {}
        for name in streams:  # all streams are there before the first packet
            if name == "sound":
                encoders[name] = container.add_stream("flac", rate=8000)
            elif name == "subtitles":
                encoders[name] = container.add_mux_stream("subrip")
            elif name == "attachment":
                container.add_attachment("cover.png", "image/png", bytes(picture_packet("png")))
            else:
                codec = {"cover": "png", "still": "mjpeg"}.get(name, "libx264")
                encoders[name] = stream = container.add_stream(codec, rate=25)
                stream.width, stream.height = 64, 48
                stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
                if name == "cover":
                    stream.disposition = av.stream.Disposition.attached_pic
        for name, stream in encoders.items():
            if name == "subtitles":
                packet = av.Packet(b"Hello")
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = 0
                packet.duration = 900
                packets.append(packet)
                continue
            for number in range({"sound": 8, "cover": 1, "still": 1}.get(name, 25)):
                if name == "sound":
                    block = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), layout="mono")
                    block.sample_rate, block.pts = 8000, 1000 * number
                    packets += stream.encode(block)
                else:
                    value = {"video": 4 * number, "bright": 255}.get(name, 128)
                    frame = grey(value)
                    frame.pts = number + (first_pts if name in ("video", "bright") else 0)
                    packets += stream.encode(frame)
            packets += stream.encode(None)
        container.mux(packets)
    return path


def grey(value: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), "rgb24")


def picture_packet(codec: str) -> av.Packet:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "rgb24"
    encoder.time_base = Fraction(1, 25)
    return next(iter([*encoder.encode(grey(128)), *encoder.encode(None)]))


def numbers(pixels: NDArray[np.uint8]) -> list[int]:
    """Which frames these are, from their grey values 4 i."""
    return np.round(pixels.mean(axis=(-3, -2, -1)) / 4).astype(int).tolist()


STREAMS = {  # name: streams in this order, first pts, problems
    "cover_after.mp4": (("video", "cover"), 0, ()),
    "cover_first.mp4": (("cover", "video"), 0, ()),
    "cover_attached.mkv": (("attachment", "video", "sound"), 0, ()),
    "two_videos.mp4": (("video", "bright"), 0, ("has 2 video streams; the first is read",)),
    "two_videos.ts": (("video", "bright"), 0, ("has 2 video streams; the first is read",)),
    "subtitles_first.mkv": (("subtitles", "video"), 0, ()),
    "subtitles_after.mkv": (("video", "subtitles", "sound"), 0, ()),
    "sound_starts_first.mp4": (("sound", "video"), 10, ()),
    "sound_starts_first.mkv": (("video", "sound"), 10, ()),
}


@pytest.mark.parametrize("error", [OSError, ValueError, av.ArgumentError])
def test_a_picture_that_cannot_be_converted_is_damaged(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> av.VideoFrame:
        raise error(22, "no such conversion")

    path = write_grey(tmp_path / "x.mp4")
    with open_video(path) as video:
        monkeypatch.setattr(Converter, "_reformat", refuse)
        match = r"is damaged: a frame of 64 x 48 pixels in yuv420p cannot be converted \(.*no such"
        with pytest.raises(VideoError, match=match) as caught:
            video.frames([0])
        assert caught.value.code == "damaged"


@pytest.mark.parametrize("short_side", [None, 24])
def test_a_picture_that_there_is_no_room_for_is_not_called_damaged(
    short_side: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> av.VideoFrame:
        raise MemoryError

    with open_video(write_grey(tmp_path / "x.mp4"), short_side=short_side) as video:
        monkeypatch.setattr(Converter, "_reformat", no_room)
        with pytest.raises(
            VideoError, match="its decoding needs more memory than it may"
        ) as caught:
            video.frames([0])
        assert caught.value.code == "memory"


@pytest.mark.parametrize("name", STREAMS)
def test_the_first_video_stream_among_others(name: str, tmp_path: Path) -> None:
    streams, first_pts, problems = STREAMS[name]
    path = write_streams(tmp_path / name, *streams, first_pts=first_pts)
    with open_video(path) as video:
        assert numbers(video.frames(range(25)).pixels) == list(range(25))
        assert numbers(np.stack([frame.pixels for frame in video])) == list(range(25))
        np.testing.assert_allclose(video.timestamps, (first_pts + np.arange(25)) / 25, atol=0.001)
        assert video.info.problems == problems


@pytest.mark.parametrize(
    ("name", "streams"),
    [
        ("sound.mp4", ("sound",)),
        ("sound_with_cover.mp4", ("cover", "sound")),
        ("sound_with_cover.mkv", ("attachment", "sound")),
        ("words.mkv", ("subtitles",)),
    ],
)
def test_no_moving_pictures(name: str, streams: tuple[str, ...], tmp_path: Path) -> None:
    path = write_streams(tmp_path / name, *streams)
    message = r"has no video stream \(\d other streams\)\. Give a file with moving pictures\."
    with pytest.raises(VideoError, match=message) as caught:
        open_video(path)
    assert caught.value.code == "no_video_stream"


def test_a_still_picture_that_is_not_marked_as_a_cover_is_the_first_video(tmp_path: Path) -> None:
    path = write_streams(tmp_path / "still.mkv", "still", "video")
    with open_video(path) as video:
        assert len(video) == 1
        assert video.info.problems == ("has 2 video streams; the first is read",)


# --- Times and geometry ---


def write_grey(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = 60,
    pts: Sequence[int] | None = None,
    tick: Fraction = Fraction(1, 25),
    rate: Fraction = Fraction(25),
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    **context: object,
) -> Path:
    """Grey frames of value 4 i, 64 x 48."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        stream.codec_context.time_base = stream.time_base = tick
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for number in range(frames):
            frame = grey(4 * number).reformat(format=pixel_format)
            frame.pts, frame.time_base = number if pts is None else pts[number], tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def assert_all_there(path: Path, seconds: NDArray[np.floating], problems: str = "") -> None:
    """60 frames, in order, at these times to half a frame, by iteration and by every read."""
    half = np.diff(seconds).min() / 2
    with open_video(path) as video:
        assert len(video) == len(seconds)
        iterated = list(video)
        np.testing.assert_allclose(video.timestamps, seconds, rtol=0, atol=half)
        np.testing.assert_allclose([frame.seconds for frame in iterated], video.timestamps)
        assert numbers(np.stack([frame.pixels for frame in iterated])) == list(range(len(seconds)))
        order = np.random.default_rng(0).permutation(len(seconds))[:20]
        assert numbers(video.frames(order).pixels) == order.tolist()
        assert video.timestamps[-1] < video.end_seconds <= seconds[-1] + 3 * np.diff(seconds).max()
        inside = (video.timestamps + np.append(video.timestamps[1:], video.end_seconds)) / 2
        assert numbers(video.frames_at(inside).pixels) == list(range(len(seconds)))
        assert video.frames_expected in (None, len(seconds))
        assert problems in " ".join(video.info.problems)
        assert bool(problems) == bool(video.info.problems)
        assert np.isfinite([video.info.frames_per_second, video.info.duration_seconds]).all()


EVEN = np.arange(60) / 25
HOURLY = dict(pts=[3600 * number for number in range(60)], tick=Fraction(1))
MICROSECONDS = dict(pts=range(60), tick=Fraction(1, 10**6))
BFRAMES = {"bf": "2", "g": "12"}
WRAP_AT_1_S = str(2**33 / 90000 - 1.4 - 1)  # FFmpeg writes the first picture at 1.4 s

LEGAL = {  # name: how it is written, its times
    "interlaced_tff.mp4": (dict(options={"x264-params": "interlaced=1:tff=1:keyint=12"}), EVEN),
    "interlaced_bff.ts": (dict(options={"x264-params": "interlaced=1:bff=1:keyint=12"}), EVEN),
    "interlaced_mpeg2.mkv": (
        dict(
            codec="mpeg2video", options={"flags": "+ildct+ilme", "bf": "2", "qmax": "2", "b": "9M"}
        ),
        EVEN,
    ),
    "fragments.mp4": (dict(container_options={"movflags": "frag_keyframe+empty_moov"}), EVEN),
    "a_fragment_a_frame.mp4": (
        dict(options=BFRAMES, container_options={"movflags": "frag_every_frame+empty_moov"}),
        EVEN,
    ),
    "no_edit_list.mp4": (dict(options=BFRAMES, container_options={"use_editlist": "0"}), EVEN),
    "live.mkv": (dict(options=BFRAMES, container_options={"live": "1"}), EVEN),
    "192_byte_packets.ts": (
        dict(options=BFRAMES, container_options={"mpegts_m2ts_mode": "1"}),
        EVEN,
    ),
    "a_million_a_second.mp4": (MICROSECONDS, np.arange(60) / 10**6),
    "one_an_hour.mp4": (HOURLY, 3600.0 * np.arange(60)),
    "one_an_hour.mkv": (HOURLY, 3600.0 * np.arange(60)),
    "one_an_hour.flv": (HOURLY | dict(options={"bf": "0"}), 3600.0 * np.arange(60)),
    "one_an_hour.ts": (HOURLY | dict(options={"bf": "0"}), 3600.0 * np.arange(60)),  # two wraps
    "one_an_hour.avi": (
        dict(codec="mpeg4", rate=Fraction(1, 3600), tick=Fraction(3600), options={"qmax": "2"}),
        3600.0 * np.arange(60),
    ),
    "before_zero.mkv": (dict(pts=range(-30, 30), options=BFRAMES), EVEN),
    "before_zero.ts": (dict(pts=range(-30, 30)), EVEN),
    "late.mkv": (dict(pts=range(2500, 2560)), EVEN),
    "years_late.mkv": (dict(pts=range(2**30, 2**30 + 60)), EVEN),
    "years_late.mp4": (dict(pts=range(2**40, 2**40 + 60)), EVEN),
    "late.flv": (dict(pts=range(2500, 2560)), EVEN),
    "clock_wraps.ts": (
        dict(options=BFRAMES, container_options={"output_ts_offset": WRAP_AT_1_S}),
        EVEN,
    ),
    "clock_wraps_mpeg2.ts": (
        dict(
            codec="mpeg2video",
            options=BFRAMES | {"qmax": "2", "b": "9M"},
            container_options={"output_ts_offset": WRAP_AT_1_S},
        ),
        EVEN,
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_odd_times_and_layouts(name: str, tmp_path: Path) -> None:
    settings, seconds = LEGAL[name]
    assert_all_there(write_grey(tmp_path / name, **settings), seconds)


def test_time_stamps_closer_than_the_container_can_tell(tmp_path: Path) -> None:
    """60 frames in a millisecond, and Matroska counts milliseconds: placed at the nominal rate."""
    path = write_grey(tmp_path / "close.mkv", **MICROSECONDS)
    assert_all_there(path, EVEN, "59 of 60 time stamps are missing or do not increase")


@pytest.mark.parametrize("offset", ["0", "500"])
def test_recordings_one_after_the_other(offset: str, tmp_path: Path) -> None:
    """Two transport streams in one file; the clock of the second starts again, lower."""
    later = write_grey(tmp_path / "a.ts", container_options={"output_ts_offset": offset})
    second = write_grey(tmp_path / "b.ts")
    both = tmp_path / "both.ts"
    both.write_bytes(later.read_bytes() + second.read_bytes())
    with open_video(both) as video:
        np.testing.assert_allclose(video.timestamps, np.arange(120) / 25, atol=0.001)
        assert numbers(video.frames(range(120)).pixels) == [*range(60), *range(60)]
        assert "1 of 120 time stamps are missing or do not increase" in video.info.problems[0]


@pytest.mark.parametrize(
    ("aspect", "expected"), [(Fraction(2), 2.0), (Fraction(10, 11), 10 / 11), (Fraction(0, 1), 1.0)]
)
def test_pixels_that_are_not_square_are_told_and_given_as_stored(
    aspect: Fraction, expected: float, tmp_path: Path
) -> None:
    path = write_grey(tmp_path / "wide.mp4", frames=2, sample_aspect_ratio=aspect)
    with open_video(path) as video:
        assert video.info.pixel_aspect == pytest.approx(expected)
        assert video.size == (48, 64)


@pytest.mark.parametrize("order", ["tff=1", "bff=1"])
def test_interlaced_pictures_are_woven(order: str, tmp_path: Path) -> None:
    rows = np.full((48, 64, 3), 60, np.uint8)
    rows[::2] = 180
    path = tmp_path / "woven.mp4"
    with av.open(str(path), "w") as container:
        parameters = {"x264-params": f"interlaced=1:{order}", "crf": "1"}
        stream = container.add_stream("libx264", rate=25, options=parameters)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rows, "rgb24")))
        container.mux(stream.encode(None))
    with open_video(path) as video:
        assert np.abs(video.frames([0]).pixels[0].astype(int) - rows).max() <= 4


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv", "avi"])
def test_a_video_of_one_frame(suffix: str, tmp_path: Path) -> None:
    with open_video(write_grey(tmp_path / f"one.{suffix}", frames=1)) as video:
        assert (video.timestamps.tolist(), video.end_seconds) == ([0.0], pytest.approx(0.04))
        assert numbers(video.frames_at([0.0, 0.039]).pixels) == [0, 0]
        assert video.info.frames_per_second == pytest.approx(25)


# --- Headers that lie ---


def patched(path: Path, name: bytes, offset: int, value: bytes) -> Path:
    """Overwrite bytes behind the only occurrence of a box's name."""
    content = bytearray(path.read_bytes())
    assert content.count(name) == 1
    place = content.index(name) + len(name) + offset
    assert content[place : place + len(value)] != value
    content[place : place + len(value)] = value
    path.write_bytes(content)
    return path


def u32(value: int) -> bytes:
    return struct.pack(">I", value & 0xFFFFFFFF)


MANY = u32(2**31 - 1)
MP4_READ = {  # what is patched, and the problem that is told
    "stts_count": (b"stts", 8, MANY, "promises 2,147,483,647 frames"),
    "stco_count": (b"stco", 4, MANY, ""),
    "stsc_samples": (b"stsc", 12, MANY, ""),
    "stsc_first_chunk_0": (b"stsc", 8, u32(0), ""),
    "media_duration": (b"mdhd", 16, u32(0xFFFFFFF0), ""),
    "media_duration_0": (b"mdhd", 16, u32(0), ""),
    "movie_duration": (b"mvhd", 16, u32(0xFFFFFFF0), ""),
    "movie_timescale_0": (b"mvhd", 12, u32(0), ""),
    "edit_count": (b"elst", 4, MANY, ""),
    "edit_duration": (b"elst", 8, u32(0xFFFFFFFF), ""),
    "edit_rate_0": (b"elst", 16, u32(0), ""),
    "no_key_frame_listed": (b"stss", 4, u32(0), ""),
    "key_frame_beyond_the_end": (b"stss", 8, MANY, ""),
    "first_key_frame_is_20": (b"stss", 8, u32(20), ""),
    "matrix_of_zeros": (b"tkhd", 40, bytes(36), ""),
    "matrix_of_half_size": (
        *(b"tkhd", 40),
        struct.pack(">9I", 0x8000, 0, 0, 0, 0x8000, 0, 0, 0, 0x40000000),
        "",
    ),
    "slanted_matrix": (
        *(b"tkhd", 40),
        struct.pack(">9I", 0x10000, 0x5000, 0, 0, 0x10000, 0, 0, 0, 0x40000000),
        "rotation of -16 degrees is no multiple of 90 and not applied",
    ),
    "picture_size_0": (b"avc1" + bytes(6), 18, bytes(4), ""),
    "picture_size_65535": (b"avc1" + bytes(6), 18, b"\xff" * 4, ""),
}


@pytest.mark.parametrize("name", MP4_READ)
def test_an_mp4_that_lies_about_what_the_packets_tell(name: str, tmp_path: Path) -> None:
    box, offset, value, problem = MP4_READ[name]
    path = patched(write_grey(tmp_path / "lie.mp4", options=BFRAMES), box, offset, value)
    assert_all_there(path, EVEN, problem)


MP4_DAMAGED = {
    "sample_count": (b"stsz", 8, MANY),
    "sample_count_0": (b"stsz", 8, u32(0)),
    "sample_size": (b"stsz", 4, MANY),
    "first_sample_size": (b"stsz", 12, MANY),
    "times_count": (b"stts", 4, MANY),
    "chunk_beyond_the_end": (b"stco", 8, MANY),
    "description_9": (b"stsc", 16, u32(9)),
    "only_an_empty_edit": (b"elst", 12, u32(-1)),
    "edit_beyond_the_end": (b"elst", 12, u32(10**7)),
    "edit_of_no_duration": (b"elst", 8, u32(0)),
    "key_frame_count": (b"stss", 4, MANY),
}


@pytest.mark.parametrize("name", MP4_DAMAGED)
def test_an_mp4_whose_lie_leaves_nothing_to_read(name: str, tmp_path: Path) -> None:
    path = patched(write_grey(tmp_path / "lie.mp4", options=BFRAMES), *MP4_DAMAGED[name])
    with pytest.raises(VideoError, match=r"lie\.mp4: is damaged: .*\.") as caught:
        assert_all_there(path, EVEN)
    assert caught.value.code == "damaged"
    assert "\n" not in str(caught.value)


MP4_PARTLY = {
    "timescale_0": (b"mdhd", 12, u32(0)),
    "timescale": (b"mdhd", 12, u32(0xFFFFFFFF)),
    "frames_last_years": (b"stts", 12, MANY),
    "frames_last_nothing": (b"stts", 12, u32(0)),
    "no_samples_in_a_chunk": (b"stsc", 12, u32(0)),
    "all_shown_as_late_as_the_first": (b"ctts", 8, MANY),
}


@pytest.mark.parametrize("name", MP4_PARTLY)
def test_an_mp4_whose_lie_costs_frames_is_partial(name: str, tmp_path: Path) -> None:
    path = patched(write_grey(tmp_path / "lie.mp4", options=BFRAMES), *MP4_PARTLY[name])
    with open_video(path) as video:
        iterated = [frame.index for frame in video]
        assert (np.diff([*video.timestamps, video.end_seconds]) > 0).all()
        assert set(iterated) <= set(range(len(video)))
        found = video.frames(range(len(video)))
        assert numbers(found.pixels) == sorted(numbers(found.pixels))
        assert video.frames_got < video.frames_expected
        assert any("cut short" in text or "do not decode" in text for text in video.info.problems)


def test_an_mp4_whose_times_go_back_is_told_and_refused(tmp_path: Path) -> None:
    path = patched(write_grey(tmp_path / "lie.mp4", options=BFRAMES), b"stts", 12, u32(-512))
    with open_video(path) as video:
        assert len(list(video)) == video.frames_got < video.frames_expected
        with pytest.raises(VideoError, match=r"frame \d+ does not decode the same way twice"):
            video.frames(range(len(video)))


def uneven_pts() -> list[int]:
    gaps = np.random.default_rng(0).integers(20, 60, 60)
    return (np.cumsum(gaps) - gaps[0]).tolist()


@pytest.mark.parametrize("seconds", [3 * 10**8, 10])
def test_a_last_frame_of_years(seconds: int, tmp_path: Path) -> None:
    """Its duration is in a row of its own where the times are uneven; ten seconds are believed."""
    settings = dict(tick=Fraction(1, 1000), container_options={"use_editlist": "0"})
    path = write_grey(tmp_path / "end.mp4", pts=uneven_pts(), options={"bf": "0"}, **settings)
    content = bytearray(path.read_bytes())
    place = content.index(b"stts") + 8
    rows = int.from_bytes(content[place : place + 4], "big")
    content[place + 8 * rows : place + 8 * rows + 4] = u32(min(seconds * 16000, 2**31 - 1))
    path.write_bytes(content)
    with open_video(path) as video:
        last = video.end_seconds - video.timestamps[-1]
    assert last == pytest.approx(10) if seconds == 10 else 0.02 < last < 0.06


def test_a_last_frame_of_one_tick(tmp_path: Path) -> None:
    """So FFmpeg reads every frame of VP9 in MP4."""
    path = write_grey(tmp_path / "end.mp4", "libvpx-vp9", pts=uneven_pts(), tick=Fraction(1, 1000))
    with open_video(path) as video:
        assert 0.02 < video.end_seconds - video.timestamps[-1] < 0.06


def le32(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFFFFFF)


AVI_READ = {  # what is patched, the rate that comes of it, and the problem that is told
    "frame_time_0": (b"avih", 4, le32(0), 25, ""),
    "frame_time": (b"avih", 4, le32(-1), 25, ""),
    "total_0": (b"avih", 20, le32(0), 25, ""),
    "total": (b"avih", 20, le32(2**31 - 1), 25, ""),
    "scale_0": (b"strh", 24, le32(0), 25, ""),
    "rate_0": (b"strh", 28, le32(0), 25, ""),
    "rate_1e6": (b"strh", 24, le32(1) + le32(10**6), 10**6, ""),
    "start": (b"strh", 32, le32(2**31 - 1), 25, ""),
    "length_0": (b"strh", 36, le32(0), 25, ""),
    "length": (b"strh", 36, le32(-1), 25, "promises 4,294,967,295 frames"),
    "sample_size": (b"strh", 48, le32(1), 25, ""),
    "picture_size_0": (b"strf", 8, bytes(8), 25, ""),
    "picture_size": (b"strf", 8, le32(2**31 - 1) * 2, 25, ""),
    "no_index": (b"idx1", -4, b"JUNK", 25, ""),
}


@pytest.mark.parametrize("name", AVI_READ)
def test_an_avi_that_lies(name: str, tmp_path: Path) -> None:
    box, offset, value, rate, problem = AVI_READ[name]
    options = {"bf": "0", "g": "12", "qmax": "2"}
    path = patched(write_grey(tmp_path / "lie.avi", "mpeg4", options=options), box, offset, value)
    assert_all_there(path, np.arange(60) / rate, problem)


def element(name: bytes, value: Callable[[int], bytes]) -> Callable[[Path], Path]:
    """Overwrite the only Matroska element of this name; `value` is told how many bytes it has."""

    def patch(path: Path) -> Path:
        size = path.read_bytes().split(name)[1][0] & 0x7F
        return patched(path, name, 1, value(size))

    return patch


MKV_READ = {
    "duration_nan": (element(b"\x44\x89", lambda _: struct.pack(">d", np.nan)), 1 / 25, ""),
    "duration_1e300": (element(b"\x44\x89", lambda _: struct.pack(">d", 1e300)), 1 / 25, ""),
    "duration_of_ages": (
        element(b"\x44\x89", lambda _: struct.pack(">d", 1e13)),
        *(1 / 25, "promises 10,000,000,000 seconds, which no video has"),
    ),
    "duration_negative": (element(b"\x44\x89", lambda _: struct.pack(">d", -5)), 1 / 25, ""),
    "clock_of_nanoseconds": (element(b"\x2a\xd7\xb1", lambda _: b"\0\0\1"), 40e-9, ""),
    "clock_0": (element(b"\x2a\xd7\xb1", lambda _: b"\0\0\0"), 1 / 25, ""),
    "frame_duration_0": (element(b"\x23\xe3\x83", bytes), 1 / 25, ""),
    "frame_duration_1": (element(b"\x23\xe3\x83", lambda n: b"\1".rjust(n, b"\0")), 1 / 25, ""),
    "frame_duration": (element(b"\x23\xe3\x83", lambda n: b"\xff" * n), 1 / 25, ""),
}


@pytest.mark.parametrize("name", MKV_READ)
def test_a_matroska_that_lies(name: str, tmp_path: Path) -> None:
    patch, period, problem = MKV_READ[name]
    path = patch(write_grey(tmp_path / "lie.mkv", options=BFRAMES))
    assert_all_there(path, period * np.arange(60), problem)


@pytest.mark.parametrize("name", ["duration", "framerate", "width", "filesize"])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e300, np.nan])
def test_an_flv_that_lies(name: str, value: float, tmp_path: Path) -> None:
    path = write_grey(tmp_path / "lie.flv", options=BFRAMES)
    patched(path, name.encode(), 1, struct.pack(">d", value))
    assert_all_there(path, EVEN)


def test_a_transport_stream_cut_among_its_pictures(tmp_path: Path) -> None:
    """The head is gone up to some B-frames, the tail from some B-frames on."""
    content = write_grey(tmp_path / "whole.ts", options={"bf": "3", "g": "12"}).read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(content[40 * 188 :])
    with open_video(path) as video:
        first = 60 - len(video)
        assert numbers(video.frames(range(len(video))).pixels) == list(range(first, 60))
        np.testing.assert_allclose(np.diff(video.timestamps), 1 / 25, atol=0.001)
        assert "pictures have no key frame to decode them from" in video.info.problems[0]
    path.write_bytes(content[: 60 * 188])
    with open_video(path) as video:
        shown = numbers(video.frames(range(len(video))).pixels)
        assert shown == np.round(video.timestamps * 25).astype(int).tolist()
        assert video.frames_got < video.frames_expected
