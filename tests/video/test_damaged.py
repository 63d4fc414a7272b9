"""Damage is never silent; what is whole raises no alarm."""

import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from praxino.datasets.clips import missing_frames
from praxino.video.decoder import Decoder, check_source
from praxino.video.reader import open_video
from praxino.video.structure import structure_problems

ROOT = Path(__file__).resolve().parents[2]

PROBED = ("h264_fragments.mp4", "h264.mkv", "mpeg4.avi", "h264.ts", "h264.flv", "mpeg2.mpg")


def python(*arguments: str) -> str:
    """What a fresh interpreter prints: the probe forks, which a process with threads should not."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def write(
    path: Path,
    codec: str = "libx264",
    *,
    pts: Sequence[int] = range(60),
    tick: Fraction = Fraction(1, 25),
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    movflags: str = "",
) -> bytes:
    """Frames of moving noise, so that every picture takes some bytes."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    flags = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", options=flags) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.codec_context.time_base = stream.time_base = tick
        for number, time in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), "rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def packets_of(content: bytes) -> list[tuple[int, int]]:
    """Position and size of each picture in the file."""
    with av.open(io.BytesIO(content)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def overwritten(content: bytes, place: int, size: int, patch: bytes = b"\0") -> bytes:
    return content[:place] + (patch * size)[:size] + content[place + size :]


# Every kind of damage


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("probe")
    path, finds = folder / "results.json", folder / "finds"
    options = ("--seeds", "1", "--json", str(path), "--keep", str(finds))
    python("-m", "fuzz.probe", *options, "--videos", *PROBED)
    return json.loads(path.read_text())


@pytest.mark.slow
def test_every_damaged_file_is_whole_or_partial_or_told_or_an_error(results: list[dict]) -> None:
    outcomes = Counter(result["outcome"] for result in results)
    assert set(outcomes) == {"ok", "partial", "told", "failed"}
    assert outcomes["partial"] > 30, "damage that takes no frames away proves nothing"
    kinds = Counter(result["damage"] for result in results)
    assert len(kinds) > 20
    assert kinds["none"] == len(PROBED)


@pytest.mark.slow
def test_a_partial_file_tells_about_how_much_is_missing(results: list[dict]) -> None:
    partial = [result for result in results if result["outcome"] == "partial"]
    for result in partial:
        assert result["frames"] < result["expected"], result
    # At a cut, nothing but what is left says how much there was.
    inside = [result for result in partial if "cut" not in result["damage"]]
    right = [result for result in inside if abs(result["expected"] - 75) <= 2]
    assert len(right) > 0.7 * len(inside)


@pytest.mark.slow
def test_no_video_is_an_error_of_one_line(results: list[dict]) -> None:
    no_videos = [result for result in results if result["damage"] == "no video"]
    assert len(no_videos) == 9
    for result in no_videos:
        assert result["outcome"] == "failed"
        assert "\n" not in result["detail"]


@pytest.mark.slow
def test_the_probe_sees_a_silent_loss_a_crash_a_hang_and_a_greedy_child() -> None:
    code = """
import os, time
from pathlib import Path
from fuzz import bounded, probe
from fuzz.damaged_videos import make_videos
import tempfile
bounded.TIME_LIMIT_SECONDS = 2
with tempfile.TemporaryDirectory() as folder:
    content = make_videos(Path(folder), ("mpeg4.avi",))["mpeg4.avi"]
bounded.TIME_LIMIT_SECONDS = 20
print(probe.judge(content, 75).outcome, probe.judge(content, 76).outcome)
bounded.TIME_LIMIT_SECONDS = 1
def crash():
    yield 1
    os.abort()
def hang():
    yield 1
    time.sleep(60)
def greedy():
    yield bytearray(4 * 2**30) and 1
print(*(bounded.run(task).ending for task in (crash, hang, greedy)))
probe.open_video = lambda *_, **__: {}["x"]
bounded.TIME_LIMIT_SECONDS = 20
print(probe.judge(content, 75).outcome)
"""
    assert python("-c", code).split() == ["ok", "SILENT", "crash", "hang", "oom", "WRONG"]


@pytest.mark.slow
def test_made_up_inputs_give_frames_or_rows_or_an_error(tmp_path: Path) -> None:
    options = ["--minutes", "0.01", "--keep", str(tmp_path)]
    code = f"from fuzz import inputs; inputs.EXAMPLES = 25; exit(inputs.main({options}))"
    assert "'video': 25, 'csv': 25, 'parquet': 25" in python("-c", code)


@pytest.mark.slow
def test_a_find_is_shrunk_and_kept_and_can_be_tried_again(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from fuzz import inputs
def read(path):
    if b"inf" in Path(path).read_bytes():
        raise KeyError("inf")
inputs.Manifest.read = read
inputs.fault_of_video = lambda content: ""
inputs.EXAMPLES = 60
# What hypothesis makes up first depends on the constants in the code that it tests.
any(inputs.fuzz(0.001, seed, Path({str(tmp_path)!r})) for seed in range(20))
(kept,) = Path({str(tmp_path)!r}).glob("*.csv")
print(kept.read_bytes())
print(inputs.fault_of(kept))
"""
    *_, content, fault = python("-c", code).splitlines()
    assert "inf" in content
    assert len(content) < 60, "not shrunk"
    assert fault == "WRONG: KeyError: 'inf'"


# Structure: one sentence for each way in which a file does not hold together


@pytest.mark.parametrize(
    ("name", "codec", "part"),
    [
        ("x.mp4", "libx264", "box"),
        ("x.mkv", "libx264", "cluster"),
        ("x.flv", "libx264", "tag"),
        ("x.mpg", "mpeg2video", "packet"),
        ("x.gif", "gif", "block"),
    ],
)
def test_where_lengths_do_not_lead_on(name: str, codec: str, part: str, tmp_path: Path) -> None:
    pixel_format = "rgb8" if codec == "gif" else "yuv420p"
    content = write(tmp_path / name, codec, pixel_format=pixel_format)

    def problems(of: bytes) -> str:
        return "; ".join(structure_problems(check_source(of)))

    assert problems(content) == ""
    cut = problems(content[: len(content) * 2 // 3])
    assert f"too short for its last {part}" in cut or "ends in the middle of a head" in cut
    middle = len(content) // 2
    hole = problems(content[:middle] + content[middle + 5 :])
    assert f"there is no {part}" in hole or "does not end where it says" in hole
    behind = problems(content + b"\xff" * 70)
    assert f"at byte {len(content)} there is no {part}" in behind or "the last 70 bytes" in behind


def _box(name: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + name + content


_FTYP = _box(b"ftyp", b"isom")
_EBML = b"\x1a\x45\xdf\xa3\x84head\x18\x53\x80\x67"  # and the start of a segment
_FLV = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
_PACK = b"\x00\x00\x01\xba" + b"\x21" + bytes(7)  # of MPEG-1
_GIF = b"GIF89a\x02\x00\x02\x00\x00\x00\x00"
_OGG = b"OggS\x00\x06" + bytes(20) + b"\x01\x00"  # a page of one empty segment

STRAY = {  # a file, the part that is missing, and where
    "box of a length below 8": (_FTYP + b"\x00\x00\x00\x07moov", "box", 12),
    "box without a name": (_FTYP + b"\x00\x00\x00\x08mo\x00v", "box", 12),
    "unknown element of Matroska": (_EBML + b"\x85\xec\x80\x42\x86\x80", "cluster", 16),
    "number of more than 8 bytes": (_EBML + b"\x84\xec\x80\x00\x00", "cluster", 16),
    "tag of another kind": (_FLV + b"\x0a\x00\x00\x00" + bytes(11), "tag", 13),
    "no start code": (_PACK + b"\x00\x00\x02\xe0", "packet", 12),
    "start code of a picture": (_PACK + b"\x00\x00\x01\x00", "packet", 12),
    "neither extension nor picture": (_GIF + b"?", "block", 13),
    "page of another name": (_OGG + b"OggT" + bytes(24), "page", 28),
}


@pytest.mark.parametrize("name", STRAY)
def test_where_a_part_should_begin_and_does_not(name: str) -> None:
    content, part, place = STRAY[name]
    said = f"at byte {place} there is no {part}, where the one before ends"
    assert said in structure_problems(check_source(content))
    # Up to there, all is in place.
    stray = [p for p in structure_problems(check_source(content[:place])) if "there is no" in p]
    assert stray == []


def test_a_segment_that_is_longer_than_its_file(tmp_path: Path) -> None:
    content = write(tmp_path / "x.mkv")
    # Without its last element, which leaves no cut behind.
    last = content.rindex(b"\x1c\x53\xbb\x6b")
    problems = structure_problems(check_source(content[:last]))
    assert problems == [f"the file is {len(content) - last} bytes shorter than its header says"]


def test_a_gif_without_its_last_byte(tmp_path: Path) -> None:
    content = write(tmp_path / "x.gif", "gif", pixel_format="rgb8")
    with open_video(content[:-1]) as video:
        expected = "the file is cut short: the mark at the end of a GIF is missing"
        assert expected in video.info.problems


def test_a_gif_picture_that_swallows_the_next_ones(tmp_path: Path) -> None:
    content = write(tmp_path / "x.gif", "gif", pixel_format="rgb8")
    next_picture, _ = packets_of(content)[31]
    # 8 bytes of control, 10 of a picture's head, the size of a code, then the first block.
    assert content[next_picture + 19] == 255
    # The empty block that ends picture 30 becomes one that leads to it.
    with open_video(overwritten(content, next_picture - 1, 1, bytes([19]))) as video:
        assert len(video) == 59
        said = "1 of 59 pictures have blocks of all sizes, and may hide others"
        assert video.info.problems == (said,)


def test_ogg_pages_that_are_damaged_or_missing(tmp_path: Path) -> None:
    content = write(tmp_path / "x.ogv", "libvpx")
    pages = [place for place in range(len(content)) if content[place : place + 4] == b"OggS"]
    assert structure_problems(check_source(content)) == []
    middle = pages[len(pages) // 2]
    flipped = overwritten(content, middle + 100, 1)
    assert structure_problems(check_source(flipped)) == ["1 Ogg pages are missing or damaged"]
    after = pages[len(pages) // 2 + 1]
    without = content[:middle] + content[after:]
    assert structure_problems(check_source(without)) == ["1 Ogg pages are missing or damaged"]
    ending = "the file is cut short: the last Ogg page of a stream is missing"
    assert structure_problems(check_source(content[: pages[-1]])) == [ending]


def test_transport_packets_that_are_cut_or_displaced(tmp_path: Path) -> None:
    content = write(tmp_path / "x.ts")
    assert structure_problems(check_source(content)) == []
    cut = structure_problems(check_source(content[:-88]))
    assert cut == ["the last 100 bytes are no whole transport packet of 188"]
    middle = len(content) // 2
    displaced = structure_problems(
        check_source(content[:middle] + bytes(188 + 7) + content[middle:])
    )
    assert "the transport packets are displaced before the end of the file" in displaced


# Holes in a constant rate


@pytest.mark.parametrize("name", ["x.mkv", "x.ts", "x.flv"])
def test_a_hole_in_a_constant_rate_is_a_loss(name: str, tmp_path: Path) -> None:
    pts = [*range(30), *range(37, 60)]
    with open_video(write(tmp_path / name, pts=pts)) as video:
        assert (video.frames_got, video.frames_expected) == (53, 60)
        said = "7 frames are left out of its otherwise constant rate, the first after 1.16 s"
        assert said in video.info.problems


@pytest.mark.parametrize("movflags", ["", "frag_keyframe+empty_moov"])
def test_a_hole_in_mp4_is_told_and_no_loss(movflags: str, tmp_path: Path) -> None:
    pts = [*range(30), *range(37, 60)]
    with open_video(write(tmp_path / "x.mp4", pts=pts, movflags=movflags)) as video:
        assert (video.frames_got, video.frames_expected) == (53, 53)
        assert "7 frames are left out" in video.info.problems[0]


def test_a_jump_of_the_clock_is_not_a_thousand_lost_frames(tmp_path: Path) -> None:
    pts = [*range(30), *range(1030, 1060)]
    with open_video(write(tmp_path / "x.ts", pts=pts, options={"bf": "0"})) as video:
        assert video.frames_expected in (None, 60)


@pytest.mark.parametrize("name", ["x.mkv", "x.flv"])
def test_the_last_frames_are_missed_where_the_file_is_cut(name: str, tmp_path: Path) -> None:
    content = write(tmp_path / name)
    place, size = packets_of(content)[57]
    with open_video(content[: place + size + 30]) as video:
        assert 57 <= len(video) <= 58
        assert video.frames_expected == 60
        assert f"cut short: {len(video)} of 60 frames are there" in video.info.problems


def test_parts_in_the_wrong_order_are_no_lost_frames(tmp_path: Path) -> None:
    parts = [range(20), range(40, 60), range(20, 40), range(60, 80)]
    with open_video(b"".join(write(tmp_path / "x.ts", pts=part) for part in parts)) as video:
        assert len(video) == 80
        assert video.frames_expected in (None, 80)
        assert "1 of 80 time stamps are missing or do not increase" in video.info.problems[0]


_RANDOM = np.random.default_rng(0)
VARIABLE = {
    "any time": np.cumsum(_RANDOM.integers(10, 90, 60)),
    "every second frame dropped or so": np.cumsum(_RANDOM.choice([40, 80, 120], 60)),
    "24 frames shown at 60": np.cumsum([33, 50] * 30),
    "a clock that jitters": np.arange(60) * 40 + _RANDOM.integers(0, 12, 60),
    "23.976 frames in whole milliseconds": np.round(np.arange(60) * 1001 / 24),
    "one frame for ten seconds now and then": np.cumsum([40, 40, 9000] * 20),
}


@pytest.mark.parametrize("times", VARIABLE)
@pytest.mark.parametrize("name", ["x.mkv", "x.mp4", "x.flv", "x.ts"])
def test_a_whole_video_of_variable_rate_raises_no_alarm(
    name: str, times: str, tmp_path: Path
) -> None:
    pts = (VARIABLE[times] - VARIABLE[times][0]).astype(int).tolist()
    with open_video(write(tmp_path / name, pts=pts, tick=Fraction(1, 1000))) as video:
        assert sum(1 for _ in video) == 60
        assert video.frames_expected in (None, 60)
        assert video.info.problems == ()


def test_the_lab_clips_raise_no_alarm(lab_data: Path) -> None:
    paths = [path for path in sorted((lab_data / "clips").iterdir()) if path.suffix in SUFFIXES]
    assert len(paths) > 5
    for path in paths:
        with open_video(path) as video:
            got = sum(1 for _ in video)
            assert video.info.problems == (), path.name
            assert video.frames_expected in (None, got)


SUFFIXES = (".mp4", ".avi", ".gif")


# Pictures that come, but damaged


@pytest.mark.parametrize("road", ["iterate", "by index"])
def test_a_picture_that_the_decoder_patched_is_counted(road: str, tmp_path: Path) -> None:
    content = write(tmp_path / "x.mp4", options={"g": "20"})
    place, size = packets_of(content)[33]
    with open_video(
        overwritten(content, place + size // 2, size // 2, b"\xa5"), threads=1
    ) as video:
        if road == "iterate":
            assert sum(1 for _ in video) == 60
        else:
            video.frames(range(60))
        assert (video.frames_got, video.frames_expected) == (59, 60)
        said = "1 of 60 frames are damaged and were patched by the decoder"
        assert said in "".join(video.info.problems)


@pytest.mark.parametrize(("number", "place", "came"), [(40, 1000, 60), (33, 20, 59)])
def test_a_damaged_picture_is_missed_where_the_file_promises_nothing(
    number: int, place: int, came: int, tmp_path: Path
) -> None:
    content = write(tmp_path / "x.ts", options={"g": "20", "crf": "15" if came == 60 else "23"})
    # Inside of one transport packet, so that nothing but the picture itself shows it.
    place += packets_of(content)[number][0]
    with open_video(content, threads=1) as video:
        assert (sum(1 for _ in video), video.frames_got, video.frames_expected) == (60, 60, None)
    with open_video(overwritten(content, place, 120, b"\xa5"), threads=1) as video:
        assert (sum(1 for _ in video), video.frames_got, video.frames_expected) == (came, 59, 60)
        assert missing_frames(video) == (59, 60)


def test_damage_is_told_when_frames_were_counted_by_decoding(tmp_path: Path) -> None:
    content = write(tmp_path / "x.mpg", "mpeg2video", options={"b": "800000"})
    middle = len(content) // 2 + 300  # within a packet
    with open_video(overwritten(content, middle, 200)) as video:
        assert "were patched by the decoder" in "".join(video.info.problems)
        assert video.frames_got < video.frames_expected


def test_packets_that_give_no_picture_are_told_where_frames_are_counted(tmp_path: Path) -> None:
    content = write(tmp_path / "x.mpg", "mpeg2video")
    start = content.index(b"\x00\x00\x01\x00")  # of the first picture; the next ones are whole
    with open_video(overwritten(content, start, 4)) as video:
        assert (video.frames_got, video.frames_expected) == (59, 60)
        assert "1 packets give no picture" in video.info.problems


def test_a_jpeg_that_does_not_decode_to_its_end_is_no_picture(tmp_path: Path) -> None:
    content = write(tmp_path / "x.avi", "mjpeg", pixel_format="yuvj420p")
    place, size = packets_of(content)[30]
    with open_video(overwritten(content, place + size // 2, size // 2, b"\xff\xd9")) as video:
        assert (video.frames_got, video.frames_expected) == (59, 60)
        assert "1 packets do not decode" in video.info.problems


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("is_corrupt", "1 packets are marked as corrupt or cut short"),
        ("error", "reading stopped at an error, before the end of the file"),
    ],
)
def test_what_the_demuxer_complains_about_is_told(
    what: str, said: str, numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = Decoder.packets

    def complaining(self: Decoder) -> Iterator[av.Packet]:
        yield from packets(self)
        self.corrupt_packets += what == "is_corrupt"
        self.errors += what == "error"

    monkeypatch.setattr(Decoder, "packets", complaining)
    with open_video(numbered_video) as video:
        assert video.info.problems == (said,)
