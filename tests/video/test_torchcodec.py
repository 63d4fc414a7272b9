"""The second backend shows the same frames as the first, or says in one line that it cannot.

What it reads here, with FFmpeg 5.1 (each row is tested below; pixels equal to the default backend's
in every frame, at full size and resized):

    MP4, MOV        H.264, HEVC, AV1, ProRes, with B-frames, open GOP, variable rate, rotation
    Matroska, WebM  H.264, HEVC, VP8, VP9, AV1, MPEG-4, MPEG-2
    AVI             H.264, MPEG-4 with packed B-frames too (Xvid, UCF101, UT-Interaction)
    MPEG-TS, PS     H.264, HEVC, MPEG-2
    FLV, GIF, Ogg   H.264; GIF; VP8
    refused         files whose frames share a time stamp, pictures with gaps between their samples
                    (yuyv422, rgb0, palettes), files with streams of codecs that are not on the list
"""

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from praxino.errors import EnvironmentFault, VideoError
from praxino.video import torchcodec_video
from praxino.video.decoder import check_source
from praxino.video.reader import FileVideo, Video
from praxino.video.torchcodec_video import TorchcodecVideo, why_not

Opener = Callable[..., TorchcodecVideo]


@pytest.fixture
def open_it() -> Opener:
    """Opens a path or bytes by torchcodec."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)

    def opened(source: Path | bytes, short_side: int | None = None, threads: int = 1):
        return TorchcodecVideo(check_source(source), short_side, threads)

    return opened


def by_default(source: Path | bytes, short_side: int | None = None) -> FileVideo:
    return FileVideo(check_source(source), short_side, 1)


def all_pixels(video: Video) -> NDArray[np.uint8]:
    frames = list(video)
    assert [frame.index for frame in frames] == list(range(len(video)))
    assert [frame.seconds for frame in frames] == video.timestamps.tolist()
    return np.stack([frame.pixels for frame in frames])


def written(
    codec: str,
    form: str,
    *,
    size: tuple[int, int] = (96, 64),
    frames: int = 40,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    colours: tuple[int, int] = (2, 0),
) -> bytes:
    """A video of moving coloured noise."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        context.colorspace, context.color_range = colours
        context.time_base = Fraction(1, 25)
        for number in range(frames):
            picture = np.roll(noise // 2 + 3 * (number % 40), (number, 2 * number), axis=(0, 1))
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
H264 = {"crf": "20", "x264-params": "keyint=10:bframes=2"}


@pytest.fixture(scope="module")
def plain() -> bytes:
    return written("libx264", "mp4", options=H264)


# --- the same frames ------------------------------------------------------------------------------


def test_every_frame_of_every_kind_is_the_default_backends(patterned_video, open_it) -> None:
    with by_default(patterned_video.path) as expected, open_it(patterned_video.path) as video:
        pixels = all_pixels(video)
        assert patterned_video.numbers(pixels).tolist() == list(range(300))
        assert np.array_equal(pixels, all_pixels(expected))
        assert np.array_equal(video.timestamps, expected.timestamps)
        assert (video.info, video.frames_got) == (expected.info, 300)

        rng = np.random.default_rng(0)
        for index in rng.permutation(300)[:15]:
            frame = video.frames([index])
            assert frame.indices == [index]
            assert np.array_equal(frame.pixels[0], pixels[index])
        views = rng.integers(0, 300, (10, 6))
        assert np.array_equal(video.clips(views).pixels, pixels[views])
        middles = video.timestamps + 0.004
        assert video.frames_at(middles[::7]).indices.tolist() == list(range(0, 300, 7))


CLIPS = ("kinetics_30fps.mp4", "v_ApplyEyeMakeup_g01_c01.avi", "v_CricketShot_g04_c01_rgb.gif")


@pytest.mark.parametrize("name", [f"clips/{clip}" for clip in CLIPS] + ["ut-interaction"])
def test_real_videos_resized_are_the_default_backends(lab_data: Path, name: str, open_it) -> None:
    path = lab_data / name
    if path.is_dir():
        path = min(path.rglob("*.avi"))
    with by_default(path, 96) as expected, open_it(path, 96, threads=2) as video:
        assert np.array_equal(all_pixels(video), all_pixels(expected))
        indices = np.linspace(0, len(video) - 1, 8).astype(int)
        assert np.array_equal(video.frames(indices).pixels, expected.frames(indices).pixels)


@pytest.mark.parametrize(
    ("codec", "form", "options"),
    [
        ("libx264", "mp4", {"colours": (1, 0)}),  # BT.709
        ("libx264", "mp4", {"colours": (1, 2)}),  # the full range
        ("libx264", "mp4", {"size": (98, 62)}),
        ("libx264", "matroska", {"pixel_format": "yuv444p", "size": (97, 63)}),
        ("libx264", "mp4", {"pixel_format": "yuv420p10le"}),
        ("libx264", "mp4", {"options": {"x264-params": "interlaced=1"}}),
        ("prores_ks", "mov", {"pixel_format": "yuv422p10le"}),
        ("prores_ks", "mov", {"pixel_format": "yuva444p10le", "options": {"profile": "4444"}}),
        ("mjpeg", "avi", {"pixel_format": "yuvj422p", "size": (97, 63)}),
        ("ffv1", "matroska", {"pixel_format": "gray", "size": (97, 63)}),
        ("utvideo", "avi", {"pixel_format": "gbrp", "size": (97, 63)}),
        ("rawvideo", "avi", {"pixel_format": "bgr24", "size": (97, 63)}),
        ("rawvideo", "matroska", {"pixel_format": "nv12"}),
    ],
)
def test_odd_pictures(codec: str, form: str, options: dict, open_it) -> None:
    content = written(codec, form, **options)
    for short_side in (None, 40):
        with by_default(content, short_side) as expected, open_it(content, short_side) as video:
            assert video.info == expected.info
            assert np.array_equal(all_pixels(video), all_pixels(expected))


@pytest.mark.parametrize("short_side", [None, 64, 32])
def test_frames_that_are_kept_do_not_change(short_side: int | None, open_it) -> None:
    # Stored as they come out: nothing is converted, and nothing is copied on the way.
    content = written("rawvideo", "mov", frames=8, pixel_format="rgb24")
    with by_default(content, short_side) as expected, open_it(content, short_side) as video:
        assert np.array_equal(all_pixels(video), all_pixels(expected))
        kept = [video.frames([index]).pixels for index in range(8)]
        assert np.array_equal(np.concatenate(kept), all_pixels(expected))


def test_pictures_with_gaps_between_samples_are_refused(open_it) -> None:
    content = written("rawvideo", "avi", pixel_format="yuyv422")
    with (
        open_it(content) as video,
        pytest.raises(VideoError, match=r"not given away \(yuyv422 has gaps.* Use backend pyav"),
    ):
        video.frames([0])


def test_a_rotated_video_is_turned_once(tmp_path: Path, plain: bytes, open_it) -> None:
    matrix = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    upright = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    track = plain.index(b"tkhd")
    place = plain.index(upright, track)
    content = plain[:place] + matrix + plain[place + 36 :]
    with by_default(content) as expected, open_it(content) as video:
        assert video.size == (96, 64)
        assert video.info.rotation == expected.info.rotation == 270
        assert np.array_equal(all_pixels(video), all_pixels(expected))


def test_memory_is_flat(tmp_path: Path, open_it) -> None:
    path = tmp_path / "long.mp4"
    path.write_bytes(written("libx264", "mp4", size=(320, 240), frames=400))  # 92 MB as RGB

    def megabytes() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    with open_it(path) as video:
        rest = iter(video)
        for _ in range(20):
            next(rest)
        before = megabytes()
        assert sum(1 for _ in rest) == 380
    assert megabytes() - before < 20


# --- what is lost is told -------------------------------------------------------------------------


def without(video: TorchcodecVideo, lost: set[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchcodec not decode the pictures of these seconds."""
    every = torchcodec_video._Pictures.__iter__
    monkeypatch.setattr(
        torchcodec_video._Pictures,
        "__iter__",
        lambda pictures: (
            picture for picture in every(pictures) if round(picture.pts_seconds, 3) not in lost
        ),
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_frame_that_does_not_come_is_told(
    plain: bytes, open_it, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    with open_it(plain, threads=threads) as video:
        pixels = all_pixels(video)
    with open_it(plain, threads=threads) as video:
        without(video, {0.28, 1.56}, monkeypatch)
        frames = video.frames([6, 7, 8, 39])
        assert frames.indices.tolist() == [6, 6, 8, 38]
        assert np.array_equal(frames.pixels, pixels[[6, 6, 8, 38]])
        assert video.frames_got == 38
        assert video.info.problems == ("2 of 40 frames do not decode",)
        assert [frame.index for frame in video] == [*range(7), *range(8, 39)]
    with open_it(plain, threads=threads) as video:
        assert sum(1 for _ in video) == 38
        assert video.frames_got == 38


def test_threads_that_give_up_at_the_end_are_helped_by_one(
    plain: bytes, open_it, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = torchcodec_video._Pictures.__iter__
    opened: list[int] = []
    start = torchcodec_video._Pictures.__init__

    def noted(pictures: torchcodec_video._Pictures, *arguments: object) -> None:
        opened.append(arguments[-1])
        start(pictures, *arguments)

    monkeypatch.setattr(torchcodec_video._Pictures, "__init__", noted)
    monkeypatch.setattr(
        torchcodec_video._Pictures,
        "__iter__",
        lambda pictures: islice(every(pictures), 35 if opened[-1] == 2 else None),
    )
    with open_it(plain, threads=2) as video:
        assert [frame.index for frame in video] == list(range(40))
        assert opened == [2, 2, 1]
        assert (video.frames_got, video.info.problems) == (40, ())
    with open_it(plain, threads=2) as video:
        assert video.frames([38, 39]).indices.tolist() == [38, 39]


def test_a_decoder_that_fails_at_its_last_pictures(
    plain: bytes, open_it, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        """A decoder with something damaged among the pictures that wait in it."""

        def __init__(self, decoder: object) -> None:
            self.decode, self.reset = decoder.decode, decoder.reset

        def drain(self) -> None:
            raise RuntimeError("Could not receive frame from decoder: Invalid data")

    start = torchcodec_video._Pictures.__init__

    def started(pictures: torchcodec_video._Pictures, *arguments: object) -> None:
        start(pictures, *arguments)
        pictures._decoder = Failing(pictures._decoder)

    monkeypatch.setattr(torchcodec_video._Pictures, "__init__", started)
    with open_it(plain) as video:
        came = [frame.index for frame in video]
        assert came == list(range(len(came)))
        assert 0 < len(came) == video.frames_got < 40
        assert video.frames([39]).indices.tolist() == [len(came) - 1]


def test_a_first_frame_that_does_not_come_is_an_error(
    plain: bytes, open_it, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_it(plain) as video:
        without(video, {0.0}, monkeypatch)
        message = "by torchcodec: no picture comes with the time of its first frame. Use backend"
        with pytest.raises(VideoError, match=message) as caught:
            video.frames([0])
        assert caught.value.code == "backend"
        with pytest.raises(VideoError, match=message):
            list(video)


def test_a_frame_that_comes_only_once_is_an_error(
    plain: bytes, open_it, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_it(plain) as video:
        monkeypatch.setattr(video, "_find", lambda index: None)
        with pytest.raises(VideoError, match="frame 5 does not decode the same way twice"):
            video.frames([5])


def test_frames_that_share_a_time_stamp_are_refused(tmp_path: Path, open_it) -> None:
    transport = written("libx264", "mpegts", options=H264)
    with (
        open_it(transport + transport) as video,
        pytest.raises(VideoError, match="some of its frames have no time stamp or share one"),
    ):
        list(video)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(len(content) * rng.uniform(0.3, 1))]


def _hole(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(0, len(content) - 1000))
    return content[:place] + bytes(1000) + content[place + 1000 :]


def _drop(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(0, len(content) - 700))
    return content[:place] + content[place + 700 :]


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    hurt = np.frombuffer(content, np.uint8).copy()
    hurt[rng.integers(0, len(hurt), 8)] ^= 1 << 5
    return hurt.tobytes()


@pytest.mark.parametrize("damage", [_cut, _hole, _drop, _flip])
@pytest.mark.parametrize(
    ("codec", "form"),
    [("libx264", "mp4"), ("libx264", "mpegts"), ("mpeg4", "avi"), ("libvpx-vp9", "webm")],
)
def test_damaged_files_give_frames_with_a_ledger_or_an_error(
    codec: str, form: str, damage: Callable, open_it
) -> None:
    intact = written(codec, form, muxer=FRAGMENTS if form == "mp4" else {}, options={"g": "10"})
    rng = np.random.default_rng(0)
    for _ in range(4):
        content = damage(intact, rng)
        try:
            with open_it(content, threads=int(rng.integers(1, 3))) as video:
                indices = [frame.index for frame in video]
                whole = set(indices) - video._scanned().patched
                assert len(whole) == video.frames_got
                told = bool(video.info.problems)
                assert told or len(indices) == len(video)
                given = video.frames(np.arange(len(video))).indices
                assert set(given) <= set(indices)
        except VideoError as error:
            assert "\n" not in str(error)  # noqa: PT017


# --- the gate -------------------------------------------------------------------------------------

SESSION = b"""
v=0
o=- 0 0 IN IP4 127.0.0.1
s=x
c=IN IP4 127.0.0.1
t=0 0
m=video 5004 RTP/AVP 96
a=rtpmap:96 H264/90000
"""
PLAYLIST = (
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    b'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
)


def session_in_a_transport_stream() -> bytes:
    """Begins with three empty packets, then four that are none; the first holds an SDP session."""
    empty = b"\x47\x1f\xff\x10"
    packets = [(empty + SESSION).ljust(188, b"\n"), *[empty.ljust(188, b"\n")] * 2]
    return b"".join(packets) + 4 * b"H".ljust(188, b"\n") + written("libx264", "mpegts")


def playlist_in_an_mp4(path: Path) -> Path:
    """Begins with a box to skip, so large that its size holds no zero byte: a playlist is in it."""
    size = 0x01010101
    movie = written("libx264", "mp4", muxer=FRAGMENTS)
    with path.open("wb") as file:
        file.write(size.to_bytes(4, "big") + b"free" + PLAYLIST)
        file.seek(size)  # a hole, which takes no room on disk
        file.write(movie)
    return path


def refers_to(other: Path, mp4: bytes) -> bytes:
    """An MP4 that says that its pictures lie in another file, as QuickTime writes it."""
    place = str(other).encode()
    place += b"\0" * (len(place) % 2)
    alias = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12)
    alias += bytes([len(other.name)]) + other.name.encode().ljust(63, b"\0") + bytes(16)
    alias += b"\0\1\0\1" + bytes(16) + b"\0\2" + len(place).to_bytes(2, "big") + place
    alias += b"\xff\xff\0\0"
    here, there = b"url \0\0\0\1", b"alis\0\0\0\0" + alias
    changed = bytearray(mp4.replace(here, there))
    inside = changed.index(there)
    grown, at = len(there) - len(here), changed.index(b"moov")
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref", b"alis"):
        at = changed.index(box, at)
        size = int.from_bytes(changed[at - 4 : at], "big") + grown
        changed[at - 4 : at] = size.to_bytes(4, "big")
    assert at == inside
    return bytes(changed)


def test_a_video_that_torchcodec_takes_for_a_playlist_is_refused(tmp_path: Path, open_it) -> None:
    hidden = tmp_path / "hidden.mp4"
    for source, name in (
        (session_in_a_transport_stream(), "sdp"),
        (playlist_in_an_mp4(hidden), "dash"),
    ):
        with by_default(source) as video:
            assert len(video) == 40
        with pytest.raises(VideoError, match=f"its FFmpeg takes it for {name}. Use") as caught:
            open_it(source)
        assert caught.value.code == "backend"


@pytest.mark.slow
def test_torchcodec_opens_nothing_else(tmp_path: Path, open_it) -> None:
    """A playlist, a session, and an MP4 whose pictures lie in another file, under strace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(written("libx264", "mp4"))
    (tmp_path / "reference.mp4").write_bytes(refers_to(secret, secret.read_bytes()))
    (tmp_path / "session.ts").write_bytes(session_in_a_transport_stream())
    playlist_in_an_mp4(tmp_path / "playlist.mp4")
    lines = f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    (tmp_path / "list.mp4").write_bytes(lines)
    (tmp_path / "list.ts").write_bytes(b"ffconcat version 1.0\nfile secret.mp4\n")
    (tmp_path / "plain.mp4").write_bytes(secret.read_bytes())
    names = ("reference.mp4", "session.ts", "playlist.mp4", "list.mp4", "list.ts", "plain.mp4")
    program = """
import sys
from praxino.errors import VideoError
from praxino.video.decoder import check_source
from praxino.video.torchcodec_video import TorchcodecVideo, _Pictures
print(len(list(_Pictures(check_source(sys.argv[1]), 0, "h264", 1))))
for path in sys.argv[1:]:
    try:
        with TorchcodecVideo(check_source(path), None, 1) as video:
            print(sum(1 for frame in video))
    except VideoError as error:
        print(error.code)
"""
    log = tmp_path / "strace.txt"
    calls_to_see = "trace=open,openat,openat2,creat,socket"
    traced = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", calls_to_see, "-o", str(log)]
    paths = [str(tmp_path / name) for name in names]
    done = subprocess.run(
        [*traced, sys.executable, "-c", program, *paths], capture_output=True, text=True
    )
    # The reference is not followed, so that there are no pictures.
    expected = ["0", "damaged", "backend", "backend", *["unsupported_container"] * 2, "40"]
    assert done.stdout.split() == expected, done.stderr
    calls = log.read_text()
    assert calls.count(str(tmp_path / "plain.mp4")) >= 3  # strace sees it
    assert str(secret) not in calls
    assert "AF_INET" not in calls


def test_streams_beside_the_video_must_be_on_the_list(plain: bytes, open_it, monkeypatch) -> None:
    monkeypatch.setattr(torchcodec_video.Decoder, "codecs", ("h264", "flic"))
    with pytest.raises(VideoError, match="also look into a stream of flic, which is not on"):
        open_it(plain)


def test_torchcodec_must_find_the_same_codec(plain: bytes, open_it, monkeypatch) -> None:
    monkeypatch.setattr(torchcodec_video.Decoder, "_check_codec", lambda decoder: "hevc")
    with pytest.raises(VideoError, match="its FFmpeg finds h264 instead of hevc"):
        open_it(plain)


def test_pictures_that_grow_are_too_large(plain: bytes, open_it, monkeypatch) -> None:
    with open_it(plain) as video:
        assert len(video) == 40
        monkeypatch.setattr("praxino.video.convert.MAX_SIDE", 90)
        monkeypatch.setattr(torchcodec_video, "_copy_planes", None)  # refused before any copy
        with pytest.raises(VideoError, match="96 x 64 pixels are above the limit of 90"):
            video.frames([3])


def test_a_header_that_torchcodec_does_not_read(plain: bytes, open_it) -> None:
    source = check_source(plain[:900])
    with pytest.raises(VideoError, match=r"by torchcodec: Could not open.*pyav, the default"):
        torchcodec_video._Pictures(source, 0, "h264", 1)


def test_a_closed_video_is_not_read(plain: bytes, open_it) -> None:
    with open_it(plain) as video:
        pass
    video.close()
    with pytest.raises(ValueError, match=r"is closed\. Read it inside its with block"):
        video.frames([0])


# --- where torchcodec is not there ----------------------------------------------------------------

ABSENT = """Could not load libtorchcodec. Likely causes:
  1. FFmpeg is not properly installed in your environment.
FFmpeg version 8:
Traceback (most recent call last):
OSError: libavutil.so.60: cannot open shared object file: No such file or directory
OSError: Could not load this library: /x/libtorchcodec_core8.so
"""


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (ABSENT, "the shared libraries of FFmpeg 4 to 9 are not found"),
        (f"{ABSENT}OSError: /x/core5.so: undefined symbol: abc\n", "/x/core5.so: undefined symbol"),
        ("Demuxer, /__w/src/Demuxer.cpp:120, Could not open: Invalid data\nmore", "Could not open"),
        ("", "it gives no reason"),
    ],
)
def test_reasons_are_one_line(message: str, reason: str) -> None:
    condensed = torchcodec_video._condensed(message)
    assert condensed.startswith(reason)
    assert "\n" not in condensed


def test_without_torchcodec(monkeypatch: pytest.MonkeyPatch, plain: bytes) -> None:
    for module in [name for name in sys.modules if name.startswith("torchcodec")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_NoTorchcodec(), *sys.meta_path])
    why_not.cache_clear()
    try:
        assert why_not() == "torchcodec is not installed"
        with pytest.raises(
            EnvironmentFault, match=r"not installed. Install it with pip install 'praxino\[torchco"
        ):
            TorchcodecVideo(check_source(plain), None, 1)
    finally:
        why_not.cache_clear()


class _NoTorchcodec:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torchcodec":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_torch_is_imported_with_the_first_video() -> None:
    program = "import sys, praxino.video.torchcodec_video; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"
