import io
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import Resize

from praxino.errors import VideoError
from praxino.video import decoder, frame_table
from praxino.video.reader import ArrayVideo, Video, open_video


def write(
    path: Path,
    codec: str = "libx264",
    *,
    values: Sequence[int] = range(0, 240, 4),
    pts: Sequence[int] | None = None,
    rate: int = 25,
    tick: Fraction | None = None,
    size: tuple[int, int] = (64, 48),
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: tuple[int, bool] = (0, False),
) -> Path:
    """Grey frames whose value tells their number: with PyAV, not with praxino's own writer."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        tick = tick or Fraction(1, rate)
        stream.codec_context.time_base = stream.time_base = tick
        if rotation != (0, False):
            stream.set_display_rotation(rotation[0], hflip=rotation[1])
        for number, value in enumerate(values):
            pixels = np.full((size[1], size[0], 3), value, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pixel_format)
            frame.pts = number if pts is None else pts[number]
            frame.time_base = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(pixels: np.ndarray) -> list[int]:
    """Which frames these are, from their grey values 4 i."""
    return np.round(pixels.mean(axis=(-3, -2, -1)) / 4).astype(int).tolist()


def raw_frames(path: Path) -> list[np.ndarray]:
    """All pictures in the order of display, by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def assert_reads_exactly(video: Video, expected: Sequence[np.ndarray], reads: int = 40) -> None:
    """Count, order, iteration and random reads all agree with an independent decode."""
    assert len(video) == len(expected)
    passed = 0
    for frame in video:
        assert frame.index == passed
        assert frame.seconds == pytest.approx(video.timestamps[passed], abs=1e-9)
        assert np.array_equal(frame.pixels, expected[passed])
        passed += 1
    assert passed == len(expected)
    for index in np.random.default_rng(0).integers(0, len(expected), reads):
        found = video.frames([index])
        assert found.indices.tolist() == [index]
        assert np.array_equal(found.pixels[0], expected[index]), f"frame {index}"


_MS = Fraction(1, 1000)

KINDS = {
    "h264_bframes.mp4": dict(codec="libx264", options={"bf": "3", "g": "12"}),
    "h264_long_gop.mp4": dict(codec="libx264", options={"g": "60", "bf": "2"}),
    "h264_open_gop.mkv": dict(
        codec="libx264", options={"x264-params": "keyint=10:open-gop=1:bframes=3:b-adapt=0"}
    ),
    "h264_intra_refresh.mp4": dict(
        codec="libx264", options={"x264-params": "keyint=10:intra-refresh=1"}
    ),
    "h264.avi": dict(codec="libx264", options={"bf": "0", "g": "10"}),
    "h264.ts": dict(codec="libx264", options={"g": "10"}),
    "h264.flv": dict(codec="libx264", options={"g": "10"}),
    "hevc_open_gop.mp4": dict(
        codec="libx265", options={"x265-params": "keyint=10:open-gop=1:bframes=3:log-level=none"}
    ),
    "vp8.webm": dict(codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16"}),
    "vp9.webm": dict(codec="libvpx-vp9", options={"lag-in-frames": "16", "g": "20"}),
    "av1.mp4": dict(codec="libsvtav1", options={"preset": "12"}),
    "mpeg4.avi": dict(codec="mpeg4", options={"bf": "2", "g": "12"}),
    "mpeg4.mp4": dict(codec="mpeg4", options={"bf": "2", "g": "12"}),
    "mpeg1.mpg": dict(codec="mpeg1video", options={"g": "12"}),
    "mpeg2.ts": dict(codec="mpeg2video", options={"bf": "2", "g": "12"}),
    "mjpeg.avi": dict(codec="mjpeg", pixel_format="yuvj420p"),
    "flv1.flv": dict(codec="flv"),
    "ffv1.mkv": dict(codec="ffv1"),
    "huffyuv.avi": dict(codec="huffyuv", pixel_format="yuv422p"),
    "rawvideo.avi": dict(codec="rawvideo"),
    "prores.mov": dict(codec="prores_ks", pixel_format="yuv422p10le"),
    "pictures.gif": dict(codec="gif", pixel_format="rgb8"),
    "vp8.ogv": dict(codec="libvpx"),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_is_read_exactly(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, **KINDS[name])
    with open_video(path) as video:
        assert_reads_exactly(video, raw_frames(path))
        assert video.frames_expected in (None, 60)
        assert video.info.problems == ()
        np.testing.assert_allclose(np.diff(video.timestamps), 1 / 25, atol=0.006)
        assert video.timestamps[0] == 0


def test_frames_in_any_order_with_repetitions(numbered_video: Path) -> None:
    with open_video(numbered_video) as video:
        found = video.frames([59, 0, 17, 17, 3, 0])
    assert numbers(found.pixels) == [59, 0, 17, 17, 3, 0]
    assert found.indices.tolist() == [59, 0, 17, 17, 3, 0]
    np.testing.assert_allclose(found.seconds, [2.36, 0, 0.68, 0.68, 0.12, 0])


def test_clips_are_read_in_one_pass_and_each_frame_converted_once(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_video(numbered_video) as video:
        converted = []
        convert = video._convert
        monkeypatch.setattr(video, "_convert", lambda frame: converted.append(0) or convert(frame))
        monkeypatch.setattr(type(video), "size", property(lambda self: convert.size))
        found = video.clips([[0, 10, 20], [10, 20, 30]])
    assert found.pixels.shape == (2, 3, 48, 64, 3)
    assert [numbers(clip) for clip in found.pixels] == [[0, 10, 20], [10, 20, 30]]
    assert found.indices.tolist() == [[0, 10, 20], [10, 20, 30]]
    assert found.seconds.shape == (2, 3)
    assert len(converted) == 4


def test_the_frame_on_screen_at_a_second(numbered_video: Path) -> None:
    with open_video(numbered_video) as video:  # 0.04 s a frame
        found = video.frames_at([0, 0.039, 0.04, 1.0, 2.399])
    assert numbers(found.pixels) == [0, 0, 1, 25, 59]


def test_iteration_needs_no_scan(numbered_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_scan(*_: object) -> None:
        raise AssertionError("scanned")

    monkeypatch.setattr("praxino.video.reader.scan", no_scan)
    with open_video(numbered_video) as video:
        assert [frame.index for frame in video] == list(range(60))
        assert [frame.index for frame in video] == list(range(60))  # again from the start


def test_two_iterations_and_random_reads_do_not_disturb_each_other(numbered_video: Path) -> None:
    with open_video(numbered_video) as video:
        for one, two in zip(video, video, strict=True):
            assert one.index == two.index
            other = 59 - one.index
            assert numbers(video.frames([other]).pixels) == [other]


def test_bytes_are_read_like_the_file(numbered_video: Path) -> None:
    with open_video(numbered_video.read_bytes()) as video:
        assert_reads_exactly(video, raw_frames(numbered_video))


def test_a_path_may_be_a_string_and_hold_odd_names(numbered_video: Path, tmp_path: Path) -> None:
    for name in ("a%03d.mp4", "-i.mp4", "concat:x|y.mp4", "é #1?.mp4", "no suffix", "film.jpg"):
        path = tmp_path / name
        path.write_bytes(numbered_video.read_bytes())
        with open_video(str(path)) as video:
            assert len(video) == 60


def test_info(numbered_video: Path) -> None:
    with open_video(numbered_video) as video:
        info = video.info
    assert (info.codec, info.container) == ("h264", "mov")
    assert (info.width, info.height, info.rotation, info.pixel_aspect) == (64, 48, 0, 1)
    assert (info.frames, info.frames_declared) == (60, 60)
    assert info.frames_per_second == pytest.approx(25)
    assert info.duration_seconds == pytest.approx(2.4)
    assert not info.variable_rate
    assert info.problems == ()


def test_timestamps_are_read_only(numbered_video: Path) -> None:
    with open_video(numbered_video) as video, pytest.raises(ValueError, match="read-only"):
        video.timestamps[0] = 1


def test_variable_frame_rate(tmp_path: Path) -> None:
    pts = np.cumsum([0, 10, 10, 50, 10, 200, 10, 10, 30, 70])
    path = write(tmp_path / "vfr.mp4", values=range(0, 40, 4), pts=pts, tick=Fraction(1, 1000))
    with open_video(path) as video:
        np.testing.assert_allclose(video.timestamps, pts / 1000, atol=1e-9)
        assert video.info.variable_rate
        assert numbers(video.frames_at([0.0699, 0.07, 0.25, 0.285]).pixels) == [2, 3, 4, 5]


def test_negative_times_start_at_zero(tmp_path: Path) -> None:
    pts = range(-5, 55)
    path = write(tmp_path / "negative.mkv", "libx264", pts=pts)
    with open_video(path) as video:
        assert_reads_exactly(video, raw_frames(path))
        assert video.timestamps[0] == 0
        np.testing.assert_allclose(np.diff(video.timestamps), 0.04, atol=0.0011)


def test_a_late_start_of_the_only_stream_is_second_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "late.ts", "libx264", pts=range(1000, 1060))
    with open_video(path) as video:
        np.testing.assert_allclose(video.timestamps, np.arange(60) / 25, atol=1e-4)


def write_with_sound(path: Path, first_video_pts: int) -> None:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("flac", rate=8000)
        picture = container.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for block in range(8):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 2000), np.int16), layout="mono")
            samples.sample_rate, samples.pts = 8000, 2000 * block
            container.mux(sound.encode(samples))
        for number in range(25):
            pixels = np.full((48, 64, 3), 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = number + first_video_pts
            container.mux(picture.encode(frame))
        container.mux(sound.encode(None))
        container.mux(picture.encode(None))


def test_seconds_count_from_the_start_of_the_sound(tmp_path: Path) -> None:
    write_with_sound(tmp_path / "sound.mkv", first_video_pts=10)
    with open_video(tmp_path / "sound.mkv") as video:
        np.testing.assert_allclose(video.timestamps, 0.4 + np.arange(25) / 25, atol=0.001)
        assert numbers(video.frames_at([0.0, 0.41]).pixels) == [0, 0]
        assert video.info.problems == ()


def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    """An mp4 cut on a picture that is no key frame: the pictures before it are there but hidden."""
    path = write(tmp_path / "cut.mp4", options={"bf": "0", "g": "60"})
    content = bytearray(path.read_bytes())
    place = content.index(b"elst")
    assert struct.unpack(">IIIi", content[place + 4 : place + 20])[1] == 1  # one entry
    media_time = 20 * 512  # ticks of 1/12800 s; the frame 20
    content[place + 16 : place + 20] = struct.pack(">i", media_time)
    path.write_bytes(content)
    with open_video(path) as video:
        assert_reads_exactly(video, raw_frames(path))
        assert numbers(video.frames([0, 39]).pixels) == [20, 59]
        assert video.timestamps[0] == 0


@pytest.mark.parametrize("degrees", [90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_orientation_is_that_of_the_file(degrees: int, mirrored: bool, tmp_path: Path) -> None:
    quarters = np.zeros((48, 64), np.uint8)
    quarters[:24, :32], quarters[:24, 32:], quarters[24:, :32] = 200, 150, 100
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees, hflip=mirrored)
        frame = av.VideoFrame.from_ndarray(np.stack([quarters] * 3, axis=-1), "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    upright = np.rot90(quarters, degrees // 90)
    upright = upright[:, ::-1] if mirrored else upright
    with open_video(path) as video:
        info = video.info
        found = video.frames([0]).pixels[0, ..., 0]
    assert (info.height, info.width) == upright.shape == found.shape
    assert mirrored or info.rotation == degrees % 360
    inside = (slice(12, None, 20), slice(12, None, 20))  # clear of the edges that H.264 blurs
    assert np.abs(found[inside].astype(int) - upright[inside]).max() < 8
    with open_video(path, short_side=24) as video:
        assert min(video.size) == 24
        assert video.size[0] / video.size[1] == pytest.approx(upright.shape[0] / upright.shape[1])


def test_a_slanted_rotation_is_not_applied_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "slanted.mp4", rotation=(45, False))
    with open_video(path) as video:
        assert video.size == (48, 64)
        assert "rotation of 45 degrees is no multiple of 90" in video.info.problems[0]


def test_colours_follow_the_matrix_that_the_file_names(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 255
    for name, matrix in (("bt709", 1), ("bt601", 6)):
        path = tmp_path / f"{name}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.colorspace = matrix
            frame = av.VideoFrame.from_ndarray(red, "rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=matrix if matrix == 1 else 5)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with open_video(path) as video:
            assert np.abs(video.frames([0]).pixels[0].astype(int) - red).max() < 8, name


@pytest.mark.parametrize(
    ("size", "short_side"), [((64, 48), 24), ((48, 64), 31), ((340, 256), 128), ((64, 48), 96)]
)
def test_resized_like_torchvision(size: tuple[int, int], short_side: int, tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", values=[100], size=size)
    reference = Resize(short_side)(Image.new("RGB", size))
    with open_video(path, short_side=short_side) as video:
        assert video.size == (reference.height, reference.width)
        pixels = video.frames([0]).pixels
    assert pixels.shape == (1, reference.height, reference.width, 3)
    assert np.abs(pixels.astype(int) - 100).max() <= 2


def test_resizing_does_not_alias(lab_data: Path) -> None:
    path = lab_data / "clips" / "arm_wrestling_kinetics.mp4"
    with open_video(path) as video:
        full = video.frames([0, 100, 200]).pixels
    with open_video(path, short_side=128) as video:
        small = video.frames([0, 100, 200]).pixels
    for picture, found in zip(full, small, strict=True):
        size = (found.shape[1], found.shape[0])
        expected = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
        assert np.abs(found.astype(int) - np.asarray(expected)).mean() < 2.0


# What is refused, and how


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("list.txt", b"ffconcat version 1.0\nfile '/etc/passwd'\n"),
        ("call.sdp", b"v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\n"),
        ("dash.mpd", b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>"),
        ("text.avi", b"not a video at all\n" * 50),
        ("sound.wav", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(100)),
        ("picture.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100)),
        ("page.mp4", b"<!DOCTYPE html><title>404</title>"),
        ("one.mp4", b"\x00"),
    ],
)
def test_what_is_no_video_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    for source in (tmp_path / name, content):
        with pytest.raises(VideoError, match="is not a video that praxino reads") as caught:
            open_video(source)
        assert caught.value.code == "unsupported_container"
        assert repr(content[:8]) in str(caught.value)


@pytest.mark.parametrize("url", ["http://example.org/x.mp4", "rtsp://10.0.0.1/x", "file:///x.mp4"])
def test_urls_are_refused(url: str) -> None:
    with pytest.raises(VideoError, match=r"is a URL\. praxino reads local files only") as caught:
        open_video(url)
    assert caught.value.code == "not_a_regular_file"


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, kind in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe.mp4", "a device, pipe or socket"),
        (Path("/dev/zero"), "a device, pipe or socket"),
    ):
        with pytest.raises(VideoError, match=f"is {kind}, not a regular file") as caught:
            open_video(path)
        assert caught.value.code == "not_a_regular_file"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4: there is no such file") as caught:
        open_video(tmp_path / "gone.mp4")
    assert caught.value.code == "not_found"
    with pytest.raises(VideoError, match=r"cannot be opened \(embedded null byte"):
        open_video("nul\0.mp4")


def test_a_file_that_goes_away_between_reads(numbered_video: Path, tmp_path: Path) -> None:
    path = tmp_path / "fleeting.mp4"
    path.write_bytes(numbered_video.read_bytes())
    with open_video(path) as video:
        path.unlink()
        with pytest.raises(VideoError, match=r"there is no such file") as caught:
            len(video)
    assert caught.value.code == "not_found"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    for source in (tmp_path / "empty.mp4", b""):
        with pytest.raises(VideoError, match=r"is empty \(0 bytes\)") as caught:
            open_video(source)
        assert caught.value.code == "empty"


def test_a_source_of_another_type() -> None:
    with pytest.raises(TypeError, match="path or bytes, got int"):
        open_video(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["cinepak", "qtrle", "png"])
def test_a_codec_off_the_list_is_refused(codec: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.mov", codec, pixel_format="rgb24")
    with pytest.raises(VideoError, match=f"codec '{codec}' is not on the list") as caught:
        open_video(path)
    assert caught.value.code == "codec_not_allowed"


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("flac", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), layout="mono")
        samples.sample_rate, samples.pts = 8000, 0
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"has no video stream \(1 other streams\)") as caught:
        open_video(tmp_path / "sound.mkv")
    assert caught.value.code == "no_video_stream"


@pytest.mark.parametrize("size", [(8448, 16), (6144, 6144)])
def test_too_large_a_picture_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path / "x.mkv", "mjpeg", values=[0], size=size, pixel_format="yuvj420p")
    match = f"{size[0]} x {size[1]} pixels are above the limit of 8192 pixels"
    with pytest.raises(VideoError, match=match) as caught:
        open_video(path)
    assert caught.value.code == "too_large"


def test_too_large_a_result_is_refused(numbered_video: Path) -> None:
    with pytest.raises(VideoError, match="10666 x 8000 pixels are above the limit"):
        open_video(numbered_video, short_side=8000)


def test_too_many_frames_are_refused(
    numbered_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_table, "MAX_FRAMES", 50)
    for path in (numbered_video, write(tmp_path / "x.avi", "mpeg4")):
        with open_video(path) as video:
            with pytest.raises(VideoError, match=r"more than 50 frames, the limit\. Cut it"):
                len(video)
            came = []
            with pytest.raises(VideoError, match=r"more than 50 frames, the limit\. Cut it"):
                came.extend(frame.index for frame in video)
            assert came == list(range(len(came)))
            assert len(came) <= 50
    monkeypatch.setattr(frame_table, "MAX_FRAMES", 60)
    for path in (numbered_video, tmp_path / "x.avi"):
        with open_video(path) as video:
            assert sum(1 for _ in video) == len(video) == 60


def test_so_many_packets_that_do_not_decode_are_counted_in_no_time() -> None:
    counter = frame_table.FrameCounter("x.mp4", by_packets=True)
    start = time.process_time()
    for pts in range(100_000):  # by going through those that wait: more than a minute
        counter.packet(SimpleNamespace(pts=pts, dts=pts, is_discard=False))
    assert time.process_time() - start < 5
    assert counter.end() == set(range(100_000))


@pytest.mark.parametrize("exponent", [58, 60])
@pytest.mark.parametrize("first_read", [len, list])
def test_times_that_are_too_large_to_tell_frames_apart(
    exponent: int, first_read: Callable[[Video], object], tmp_path: Path
) -> None:
    path = write(tmp_path / "x.mkv", pts=[2**exponent + 40 * i for i in range(60)], tick=_MS)
    match = "is damaged: two frames share the time .* s, which is too large to tell them apart"
    with open_video(path) as video, pytest.raises(VideoError, match=match) as caught:
        first_read(video)
    assert caught.value.code == "damaged"


def test_indices_out_of_range(numbered_video: Path) -> None:
    with open_video(numbered_video) as video:
        for index in (60, -1):
            match = rf"numbered\.mp4: no frame {index}, the video has frames 0 to 59"
            with pytest.raises(VideoError, match=match) as caught:
                video.frames([0, index])
            assert caught.value.code == "out_of_range"


def test_seconds_out_of_range(numbered_video: Path) -> None:
    with open_video(numbered_video) as video:
        for second, shown in ((2.4, "2.40"), (-0.5, "-0.50"), (float("nan"), "nan")):
            match = rf"numbered\.mp4: no frame at {shown} s, the video ends at 2\.40 s"
            with pytest.raises(VideoError, match=match) as caught:
                video.frames_at([0, second])
            assert caught.value.code == "out_of_range"


@pytest.mark.parametrize("indices", [[], [0.5], 3, [[1, 2]], [True]])
def test_indices_of_another_kind(indices: object, numbered_video: Path) -> None:
    with open_video(numbered_video) as video:
        with pytest.raises(ValueError, match=r"whole numbers of shape \(T,\), at least one; got"):
            video.frames(indices)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"whole numbers of shape \(V, T\)"):
            video.clips([1, 2])  # type: ignore[list-item]
        with pytest.raises(ValueError, match=r"one row of seconds, got shape \(0,\)"):
            video.frames_at([])


def test_settings_out_of_range(numbered_video: Path) -> None:
    with pytest.raises(ValueError, match="short_side must be at least 1 pixel, got 0"):
        open_video(numbered_video, short_side=0)
    with pytest.raises(ValueError, match=r"threads must be 0 \(automatic\) or more, got -1"):
        open_video(numbered_video, threads=-1)


def test_a_closed_video_is_not_read(numbered_video: Path) -> None:
    with open_video(numbered_video) as video:
        pass
    for read in (lambda: len(video), lambda: next(iter(video)), lambda: video.frames([0])):
        with pytest.raises(ValueError, match=r"numbered\.mp4 is closed"):
            read()


# Damage: never silent, never another frame


def test_a_truncated_file_ends_early_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", container_options={"movflags": "+faststart"})
    content = path.read_bytes()
    short = content[: content.index(b"mdat") + (len(content) - content.index(b"mdat")) * 2 // 3]
    with open_video(short) as video:
        got = len(video)
        assert 0 < got < 60
        assert video.frames_expected == 60
        assert f"cut short: {got} of 60 frames are there" in video.info.problems
        assert video.info.frames_declared == 60
        assert [frame.index for frame in video] == list(range(got))
        # B-frames stand in the file after the later picture that they refer to.
        found = video.frames(range(got))
        assert numbers(found.pixels) == np.round(found.seconds * 25).astype(int).tolist()


def test_a_truncated_avi_ends_early_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "x.avi", "mpeg4", options={"bf": "2"}, size=(320, 240))
    content = path.read_bytes()
    with open_video(content[: len(content) * 2 // 3]) as video:
        assert 0 < len(video) < 60
        assert video.frames_expected == 60
        assert f"cut short: {len(video)} of 60 frames are there" in video.info.problems


def test_a_truncated_matroska_ends_early_and_says_so(tmp_path: Path) -> None:
    content = write(tmp_path / "x.mkv").read_bytes()
    with open_video(content[: len(content) // 2]) as video:
        assert 0 < len(video) < 50
        assert video.frames_expected == pytest.approx(60, abs=1)
        assert "cut short" in "".join(video.info.problems)


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """Packet 30 of 60, all of them key frames, is zeroed; everything else is whole."""
    path = write(tmp_path / "holed.mp4", options={"g": "1"})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    place, size = packets[30]
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    return path


def test_a_frame_that_does_not_decode_is_the_one_on_screen_and_told(holed: Path) -> None:
    with open_video(holed) as video:
        assert len(video) == 60
        found = video.frames([29, 30, 31])
        assert numbers(found.pixels) == [29, 29, 31]
        assert found.indices.tolist() == [29, 29, 31]
        np.testing.assert_allclose(found.seconds, np.array([29, 29, 31]) / 25)
        assert (video.frames_got, video.frames_expected) == (59, 60)
        assert "1 of 60 frames do not decode" in video.info.problems


@pytest.mark.parametrize("name", ["x.mp4", "x.avi"])
@pytest.mark.parametrize("pass_first", [False, True])
def test_threads_that_give_up_at_the_end_are_helped_by_one(
    name: str, pass_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = decoder.Decoder.frames

    def give_up(self: decoder.Decoder, *arguments: object, **options: object) -> Iterator[object]:
        # A pass over all pictures looks again with one thread; reads by index leave out pictures.
        gives_up = self._threads > 1 and "unneeded" in options
        frames = every(self, *arguments, **options)
        yield from takewhile(lambda frame: not gives_up or frame.time < 2, frames)

    monkeypatch.setattr(frame_table, "KEEP_BYTES", 0)
    monkeypatch.setattr(decoder.Decoder, "frames", give_up)
    path = write(tmp_path / name, "mpeg4")
    with open_video(path, threads=1) as video:
        pixels = video.frames(range(60)).pixels
    with open_video(path, threads=4) as video:
        if pass_first:
            assert sum(1 for _ in video) == 60
        found = video.frames([3, 55, 59, 4])
        assert found.indices.tolist() == [3, 55, 59, 4]
        assert np.array_equal(found.pixels, pixels[[3, 55, 59, 4]])
        assert (video.frames_got, video.info.problems) == (60, ())


def test_iteration_skips_a_frame_that_does_not_decode_and_keeps_the_numbers(holed: Path) -> None:
    with open_video(holed) as video:
        seen = [(frame.index, frame.seconds, numbers(frame.pixels)) for frame in video]
        assert (video.frames_got, video.frames_expected) == (59, 60)
    expected = [index for index in range(60) if index != 30]
    assert [index for index, _, _ in seen] == expected
    assert [number for _, _, number in seen] == expected
    np.testing.assert_allclose([seconds for _, seconds, _ in seen], np.array(expected) / 25)


def test_frames_are_numbered_by_their_packets() -> None:
    counter = frame_table.FrameCounter("x.mp4", by_packets=True)
    for pts, dts in ((0, -2), (4, -1), (2, 0), (1, 1), (3, 2), (5, 3), (6, 4)):
        counter.packet(SimpleNamespace(pts=pts, dts=dts, is_discard=False))
    came = [0, 1, 1, 3, 2, 5]  # 2 and 4 are lost, 1 comes twice, 2 comes after 3
    assert [counter.index(SimpleNamespace(pts=pts)) for pts in came] == [0, 1, None, 3, None, 5]
    assert counter.end() == {2, 4, 6}


def test_a_video_cut_before_its_first_key_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "x.ts", options={"g": "20", "bf": "0"})
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    with open_video(content[: 3 * 188] + content[positions[5] :]) as video:
        first = numbers(video.frames([0]).pixels)
        assert first == [20]
        assert [frame.index for frame in video] == list(range(len(video)))
        assert len(video) == 40
        assert "no key frame to decode them from" in "".join(video.info.problems)


def test_pictures_that_change_their_size_are_given_as_the_first(tmp_path: Path) -> None:
    small = write(tmp_path / "small.ts", values=[40, 80]).read_bytes()
    large = write(tmp_path / "large.ts", values=[120, 160], size=(96, 96)).read_bytes()
    with open_video(small + large) as video:
        found = video.frames(range(len(video)))
        assert found.pixels.shape == (4, 48, 64, 3)
        assert numbers(found.pixels) == [10, 20, 30, 40]
        assert "change their size; all are given as the first, 64 x 48" in video.info.problems[-1]


def test_a_picture_that_grows_too_large_is_refused(tmp_path: Path) -> None:
    small = write(tmp_path / "small.ts", values=[40, 80]).read_bytes()
    large = write(tmp_path / "large.ts", values=[0], size=(8448, 16)).read_bytes()
    with (
        open_video(small + large) as video,
        pytest.raises(VideoError, match="8448 x 16 pixels are above the limit") as caught,
    ):
        video.frames(range(len(video)))
    assert caught.value.code == "too_large"


def test_the_first_of_two_video_streams_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            for stream, value in zip(streams, (4 * number, 200), strict=True):
                pixels = np.full((48, 64, 3), value, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    with open_video(path) as video:
        assert numbers(video.frames(range(10)).pixels) == list(range(10))
        assert "has 2 video streams; the first is read" in video.info.problems


def test_a_header_without_pictures_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", container_options={"movflags": "+faststart"})
    content = path.read_bytes()
    with pytest.raises(VideoError, match="damaged: not one frame of it decodes") as caught:
        open_video(content[: content.index(b"mdat") + 4])
    assert caught.value.code == "damaged"


def test_a_broken_header_is_damaged() -> None:
    with pytest.raises(VideoError, match="damaged: its header cannot be read") as caught:
        open_video(b"\x00\x00\x00\x20ftypisom" + bytes(500))
    assert caught.value.code == "damaged"


def test_time_stamps_that_do_not_increase_are_counted_by_decoding(tmp_path: Path) -> None:
    """Two recordings in one MPEG-TS: the time stamps of the second begin anew."""
    once = write(tmp_path / "x.ts", options={"bf": "0"}).read_bytes()
    with open_video(once + once) as video:
        assert len(video) == 120
        assert numbers(video.frames([59, 60, 119]).pixels) == [59, 0, 59]
        assert (np.diff(video.timestamps) > 0).all()
        np.testing.assert_allclose(video.timestamps, np.arange(120) / 25, atol=1e-4)
        assert "time stamps are missing or do not increase" in video.info.problems[0]
        for frame in video:
            assert frame.seconds == pytest.approx(video.timestamps[frame.index])


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(write(tmp_path / "x.avi", "mpeg4").read_bytes())
    content[len(content) // 3 : len(content) // 3 + 2000] = os.urandom(2000)
    with open_video(bytes(content)) as video:
        video.frames(range(len(video)))
    assert capfd.readouterr() == ("", "")


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """The content with noise, a hole, a gap or without its end."""
    hurt = bytearray(content)
    place, size = int(generator.integers(0, len(hurt))), int(generator.integers(1, 400))
    kind = generator.integers(0, 4)
    if kind == 0:
        hurt[place : place + size] = generator.bytes(size)
    elif kind == 1:
        hurt[place : place + size] = bytes(size)
    else:
        del hurt[place : place + size if kind == 2 else None]
    return bytes(hurt)


@pytest.mark.parametrize("name", ["x.mp4", "x.avi", "x.mkv", "x.ts"])
def test_random_damage_gives_frames_or_a_video_error(name: str, tmp_path: Path) -> None:
    codec = "mpeg4" if name == "x.avi" else "libx264"
    content = write(tmp_path / name, codec, options={"g": "12"}).read_bytes()
    generator = np.random.default_rng(0)
    read = 0
    for _ in range(25):
        with suppress(VideoError), open_video(damaged(content, generator), threads=1) as video:
            found = video.frames(generator.integers(0, len(video), 8))
            assert len(found) == 8
            indices = [frame.index for frame in video]
            assert len(indices) <= len(video)
            assert indices == sorted(set(indices))
            assert (np.diff(video.timestamps) > 0).all()
            read += 1
    assert read > 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_open_and_fail_leaves_no_file_or_thread_behind(holed: Path) -> None:
    content = holed.read_bytes()

    def use() -> None:
        with open_video(holed) as video:
            video.frames([40, 2])
            next(iter(video))
        for source in (content[:900], b"GIF89a", holed.parent):
            with pytest.raises(VideoError):
                open_video(source)

    use()
    before = [len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task")]
    for _ in range(30):
        use()
    assert [len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task")] == before


# The lab's real videos


def ut_interaction(lab_data: Path) -> Iterator[Path]:
    return iter(sorted((lab_data / "ut-interaction").rglob("*.avi")))


@pytest.mark.slow
def test_every_ut_interaction_clip_is_read_exactly(lab_data: Path) -> None:
    """MPEG-4 in AVI with packed B-frames; 119 of 120 headers declare a wrong number of frames."""
    wrong_headers = 0
    for path in ut_interaction(lab_data):
        expected = raw_frames(path)
        with open_video(path) as video:
            assert_reads_exactly(video, expected, reads=5)
            info = video.info
            assert video.frames_got == video.frames_expected == len(expected)
        assert info.problems == ()
        assert info.frames_per_second == pytest.approx(30, rel=0.03)
        wrong_headers += info.frames_declared != len(expected)
    assert wrong_headers == 119


def test_a_long_avi_is_decoded_again_instead_of_kept(
    lab_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_table, "KEEP_BYTES", 1_000_000)
    for path in list(ut_interaction(lab_data))[::40]:
        with open_video(path) as video:
            assert_reads_exactly(video, raw_frames(path), reads=15)


@pytest.mark.parametrize(
    ("name", "frames", "rate"),
    [
        ("arm_wrestling_kinetics.mp4", 280, 28),
        ("kinetics_30fps.mp4", 300, 30),
        ("spatiotemporal_6fps.mp4", 57, 6),
        ("v_ApplyEyeMakeup_g01_c01.avi", 164, 25),
        ("v_BaseballPitch_g01_c01.avi", 107, 30000 / 1001),
        ("v_CricketShot_g04_c01_rgb.gif", 79, 25),
    ],
)
def test_lab_clips_are_read_exactly(name: str, frames: int, rate: float, lab_data: Path) -> None:
    path = lab_data / "clips" / name
    with open_video(path) as video:
        assert len(video) == frames
        assert video.info.frames_per_second == pytest.approx(rate)
        np.testing.assert_allclose(video.timestamps, np.arange(frames) / rate, atol=1e-6)
        assert_reads_exactly(video, raw_frames(path), reads=10)


# Arrays


def test_an_array_has_the_interface_of_a_file(numbered_video: Path) -> None:
    pixels = np.stack(raw_frames(numbered_video))
    with ArrayVideo(pixels, 25) as video, open_video(numbered_video) as file:
        assert_reads_exactly(video, list(pixels), reads=5)
        np.testing.assert_allclose(video.timestamps, file.timestamps)
        assert video.end_seconds == pytest.approx(file.end_seconds)
        assert video.info.frames == video.frames_got == video.frames_expected == 60
        assert np.array_equal(video.frames_at([0.5]).pixels, file.frames_at([0.5]).pixels)
        assert np.array_equal(video.clips([[1, 2]]).pixels, file.clips([[1, 2]]).pixels)
    with ArrayVideo(pixels, 25, short_side=24) as video:
        assert video.frames([0]).pixels.shape == (1, 24, 32, 3)
        with pytest.raises(VideoError, match="<array>: no frame 60"):
            video.frames([60])


@pytest.mark.parametrize(
    ("pixels", "rate", "match"),
    [
        (np.zeros((4, 8, 8), np.uint8), 25, r"\(T, H, W, 3\).*got \(4, 8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), 25, r"got \(0, 8, 8, 3\)"),
        (np.zeros((4, 3, 8, 8), np.uint8), 25, r"got \(4, 3, 8, 8\)"),
        (np.zeros((4, 8, 8, 3), np.uint8), 0, "frames_per_second must be above 0, got 0"),
        (np.zeros((4, 8, 8, 3), np.uint8), float("nan"), "must be above 0, got nan"),
    ],
)
def test_arrays_that_are_no_video(pixels: np.ndarray, rate: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ArrayVideo(pixels, rate)


def test_arrays_of_another_type() -> None:
    with pytest.raises(TypeError, match="uint8 RGB in 0 to 255, got float64"):
        ArrayVideo(np.zeros((4, 8, 8, 3)), 25)  # type: ignore[arg-type]


def test_the_codec_list_names_real_codecs() -> None:
    for codec in decoder.CODECS:
        assert av.Codec(codec, "r").canonical_name == codec


def test_frames_show_shapes_instead_of_numbers(numbered_video: Path) -> None:
    with open_video(io.BytesIO(numbered_video.read_bytes()).getvalue()) as video:
        assert repr(video.frames([0, 25])) == "Frames(pixels (2, 48, 64, 3), 0.00 to 1.00 s)"
