import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from praxino.errors import EnvironmentFault, VideoError
from praxino.ledger import Ledger
from praxino.video import child_process, sandbox
from praxino.video.child import ChildVideo, Limits, sandbox_report
from praxino.video.decoder import check_source
from praxino.video.reader import FileVideo, Video

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


def opened(source: Path | bytes, limits: Limits = Limits(), short_side: int | None = None) -> Video:
    return ChildVideo(check_source(source), short_side, 1, limits)


@pytest.fixture(autouse=True, scope="module")
def no_process_left() -> Iterator[None]:
    yield
    child_process.end_idle()


@pytest.fixture
def none_idle() -> Iterator[None]:
    """Every video of the test gets a process that was started in it."""
    child_process.end_idle()
    yield
    child_process.end_idle()


def assert_same(source: Path | bytes, short_side: int | None = None) -> None:
    """All that a video says and shows is the same in a child as in this process."""
    with (
        FileVideo(check_source(source), short_side, 1) as here,
        opened(source, short_side=short_side) as there,
    ):
        assert there.size == here.size
        last = len(here) - 1
        for indices in ([0], [last, 0, last // 2, 0], list(range(0, last + 1, 3))):
            one, other = here.frames(indices), there.frames(indices)
            assert np.array_equal(one.pixels, other.pixels)
            assert np.array_equal(one.seconds, other.seconds)
            assert np.array_equal(one.indices, other.indices)
        clips = np.linspace(0, last, 12).astype(int).reshape(3, 4)
        assert np.array_equal(here.clips(clips).pixels, there.clips(clips).pixels)
        middle = [here.end_seconds / 2]
        assert np.array_equal(here.frames_at(middle).indices, there.frames_at(middle).indices)
        assert np.array_equal(here.timestamps, there.timestamps)
        for one_frame, other_frame in zip(here, there, strict=True):
            assert (one_frame.index, one_frame.seconds) == (other_frame.index, other_frame.seconds)
            assert np.array_equal(one_frame.pixels, other_frame.pixels)
        assert there.info == here.info
        assert there.frames_got == here.frames_got
        assert there.frames_expected == here.frames_expected


def test_the_same_as_in_this_process(numbered_video: Path) -> None:
    assert_same(numbered_video)
    assert_same(numbered_video, short_side=24)
    assert_same(numbered_video.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["kinetics_30fps.mp4", "v_ApplyEyeMakeup_g01_c01.avi", "v_CricketShot_g04_c01_flow.gif"],
)
def test_lab_clips_are_the_same_as_in_this_process(name: str, lab_data: Path) -> None:
    assert_same(lab_data / "clips" / name, short_side=64)


def test_a_damaged_video_is_the_same_as_in_this_process(
    numbered_video: Path, tmp_path: Path
) -> None:
    content = bytearray(numbered_video.read_bytes())
    middle = content.index(b"mdat") + 900
    content[middle : middle + 300] = bytes(300)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    assert_same(damaged)
    with opened(damaged) as video:
        list(video)
        assert video.info.problems


def test_errors_are_the_same_as_in_this_process(tmp_path: Path) -> None:
    content = b"\0\0\0\x18ftypisom" + bytes(200)
    with pytest.raises(VideoError) as here:
        FileVideo(check_source(content), None, 1)
    with pytest.raises(VideoError) as there:
        opened(content)
    assert (str(there.value), there.value.code) == (str(here.value), here.value.code)
    path = tmp_path / "fleeting.gif"
    path.write_bytes(b"GIF89a")
    source = check_source(path)
    path.unlink()
    with pytest.raises(VideoError, match="there is no such file"):
        ChildVideo(source, None, 1)


def test_two_passes_and_random_reads_do_not_disturb_each_other(numbered_video: Path) -> None:
    with opened(numbered_video) as video:
        video._at_once = 7
        first, second = iter(video), iter(video)
        for index in range(60):
            assert next(first).pixels.mean() == pytest.approx(4 * index, abs=2)
            if index % 2:
                assert next(second).index == index // 2
            assert video.frames([59 - index]).pixels.mean() == pytest.approx(
                4 * (59 - index), abs=2
            )
        assert next(first, None) is None


def test_two_videos_at_once(numbered_video: Path, none_idle: None) -> None:
    with opened(numbered_video) as one, opened(numbered_video) as other:
        assert one.frames([3]).pixels.mean() < other.frames([30]).pixels.mean()
    assert sum(map(len, child_process._idle.values())) == 2


def test_no_process_reads_two_videos_unless_told(numbered_video: Path, none_idle: None) -> None:
    forks = set()
    for _ in range(3):
        with opened(numbered_video) as video:
            forks.add(fork_of(video))
    assert len(forks) == 3


def test_one_process_reads_one_video_after_the_other(numbered_video: Path) -> None:
    forks = set()
    for _ in range(5):
        with opened(numbered_video, Limits(videos_per_process=3)) as video:
            video.frames([1])
            forks.add(fork_of(video))
    assert len(forks) == 2


def fork_of(video: Video) -> int:
    parent = video._session._process._process.pid
    (fork,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(fork)


def test_a_closed_video_is_not_read(numbered_video: Path) -> None:
    with opened(numbered_video) as video:
        frames = iter(video)
        next(frames)
    with pytest.raises(ValueError, match=r"numbered\.mp4 is closed\. Read it inside"):
        video.frames([0])
    with pytest.raises(ValueError, match="is closed"):
        next(frames)
    video.close()


def test_a_read_that_was_interrupted_ends_the_video(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(numbered_video) as video:

        def interrupted(*_: object) -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(video._session._process, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            video.frames([0])
        with pytest.raises(ValueError, match=r"a read of it was interrupted\. Open it again"):
            video.frames([0])
    with opened(numbered_video) as video:
        assert len(video) == 60


@pytest.mark.parametrize("name", ["memory_bytes", "cpu_seconds", "wall_seconds"])
def test_limits_are_above_zero(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Limits\.{name} must be above 0, got 0"):
        Limits(**{name: 0})


# What a child may do wrong. The children of these tests run a main of their own, in which reading
# some packet goes wrong as told; praxino itself has no switch for that.


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, none_idle: None):
    """Children whose n-th packet, in a file that ends with `marker`, runs `fault`."""

    def install(fault: str, packet: int = 5, marker: str = "") -> None:
        program = tmp_path / "faulty_child.py"
        program.write_text(
            textwrap.dedent("""
            import ctypes, os, signal, sys, time
            import numpy as np
            from praxino.video import child_main, decoder

            read_packets = decoder.Decoder.packets

            def packets(self):
                file = self.source.open()
                file.seek(-4, os.SEEK_END)
                marked = not MARKER or file.read() == MARKER
                file.close()
                for number, packet in enumerate(read_packets(self), 1):
                    if number == PACKET and marked and self.source.name == "video":
                        FAULT
                    yield packet

            decoder.Decoder.packets = packets
            child_main.main(*map(int, sys.argv[1:]))
            """)
            .replace("FAULT", fault)
            .replace("PACKET", str(packet))
            .replace("MARKER", repr(marker.encode()))
        )
        monkeypatch.setattr(child_process, "_PROGRAM", (str(program),))

    return install


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_decoder_that_dies_is_an_error_and_is_replaced(
    name: str, faulty, numbered_video: Path, tmp_path: Path
) -> None:
    faulty(f"signal.raise_signal(signal.{name})", packet=30, marker="bad!")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(numbered_video.read_bytes() + b"\0\0\0\x0cfreebad!")
    with opened(numbered_video) as video:
        assert len(video) == 60
    with opened(bad) as video:
        for _ in range(2):
            with pytest.raises(
                VideoError, match=rf"bad\.mp4: its decoder died \({name}\)\. Leave the file out"
            ) as caught:
                len(video)
            assert caught.value.code == "decoder_crash"
    with opened(numbered_video) as video:
        assert len(list(video)) == 60
    assert sum(map(len, child_process._idle.values())) == 1


def test_a_decoder_that_dies_of_a_signal_without_a_name(faulty, numbered_video: Path) -> None:
    faulty("signal.raise_signal(signal.SIGRTMIN + 5)")
    with opened(numbered_video) as video:
        match = rf"its decoder died \(signal {signal.SIGRTMIN + 5}\)"
        with pytest.raises(VideoError, match=match):
            len(video)


def test_a_video_answers_only_for_itself(faulty, numbered_video: Path) -> None:
    """The process dies of what an earlier video broke; the later one is read all the same."""
    faulty(
        "self.was = 1; packets.count = getattr(packets, 'count', 0) + 1; "
        "packets.count == 4 and signal.raise_signal(signal.SIGSEGV)",
        packet=20,
    )
    for _ in range(6):
        with opened(numbered_video, Limits(videos_per_process=50)) as video:
            seen = [frame.pixels.mean() for frame in video]
        np.testing.assert_allclose(seen, np.arange(60) * 4, atol=2)


@pytest.mark.slow
def test_fifty_crashes_in_a_job_of_five_hundred(
    faulty, numbered_video: Path, tmp_path: Path
) -> None:
    faults = ("SIGSEGV", "SIGABRT", "SIGKILL")
    faulty(f"signal.raise_signal(getattr(signal, {faults}[os.getpid() % 3]))", marker="bad!")
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    good.write_bytes(numbered_video.read_bytes())
    bad.write_bytes(numbered_video.read_bytes() + b"\0\0\0\x0cfreebad!")
    wrong = set(np.random.default_rng(0).choice(500, 50, replace=False).tolist())
    ledger = Ledger()
    for number in range(500):
        try:
            with opened(bad if number in wrong else good) as video:
                assert len(video.frames([0, 20, 40, 59])) == 4
                ledger.ok(f"{number}.mp4")
        except VideoError as error:
            ledger.failed(f"{number}.mp4", error)
    assert ledger.counts == {"ok": 450, "partial": 0, "failed": 50, "skipped": 0}
    assert {entry.item for entry in ledger.failures} == {f"{number}.mp4" for number in wrong}
    assert {entry.code for entry in ledger.failures} == {"decoder_crash"}


def test_endless_computing_ends_at_the_limit_of_processor_time(
    faulty, numbered_video: Path
) -> None:
    faulty("while True: pass")
    start = time.monotonic()
    with (
        opened(numbered_video, Limits(cpu_seconds=1)) as video,
        pytest.raises(
            VideoError, match=r"more than 1 s of processor time, the limit\. Cut"
        ) as caught,
    ):
        len(video)
    assert caught.value.code == "timeout"
    assert time.monotonic() - start < 60


def test_endless_waiting_ends_at_the_limit_of_time(faulty, numbered_video: Path) -> None:
    faulty("time.sleep(1000)")
    start = time.monotonic()
    with opened(numbered_video, Limits(wall_seconds=1)) as video:
        gone = fork_of(video)
        with pytest.raises(VideoError, match=r"takes more than 1 s, the limit\. Cut") as caught:
            len(video)
    assert caught.value.code == "timeout"
    assert time.monotonic() - start < 30
    wait_for_the_end_of(gone)


@pytest.mark.parametrize(
    "fault",
    ["np.ones(2**27)", "ctypes.memset(ctypes.create_string_buffer(2**30), 1, 2**30)"],
)
def test_too_much_memory_is_an_error(fault: str, faulty, numbered_video: Path) -> None:
    faulty(fault)
    with (
        opened(numbered_video, Limits(memory_bytes=2**29)) as video,
        pytest.raises(VideoError, match=r"more memory than it may have\. Leave it out") as caught,
    ):
        len(video)
    assert caught.value.code == "memory"


@pytest.mark.parametrize("megabytes", [64, 120])
def test_too_little_memory_is_not_called_damage(megabytes: int, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 4096, 2304, "yuv420p"
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame(4096, 2304, "yuv420p")))
        container.mux(stream.encode(None))
    limits = Limits(memory_bytes=megabytes * 2**20)
    with (
        pytest.raises(VideoError, match="needs more memory than it may have") as caught,
        ChildVideo(check_source(path), None, 4, limits) as video,
    ):
        list(video)
    assert caught.value.code == "memory"


def test_an_exception_in_the_child_is_told(faulty, numbered_video: Path) -> None:
    faulty("raise RuntimeError('a fault of ours')")
    with (
        opened(numbered_video) as video,
        pytest.raises(VideoError, match=r"decoder failed \(RuntimeError: a fault of ours\)"),
    ):
        len(video)


# What a child that an attacker has taken over may send.


@pytest.fixture
def lied_to(numbered_video: Path, monkeypatch: pytest.MonkeyPatch):
    """A video whose child's next answers are what `lie` takes."""
    with opened(numbered_video) as video:
        process, killed = video._session._process, []

        def lie(*said: bytes, shared: tuple[bytes, ...] = (), size: int | None = None) -> Video:
            """Each answer, with the shared memory to begin like this."""
            answers = [(len(s) if size is None else size).to_bytes(4, "little") + s for s in said]
            answer, left = bytearray(), [*shared]

            def send(*_: object) -> None:
                answer.extend(answers.pop(0))
                if left:
                    os.pwrite(process.shared, left.pop(0), 0)

            def receive(most: int, seconds: float) -> bytes:
                piece = bytes(answer[:most])
                del answer[:most]
                return piece

            monkeypatch.setattr(process, "send", send)
            monkeypatch.setattr(process, "receive", receive)
            monkeypatch.setattr(process, "kill", lambda: killed.append(1))
            return video

        yield lie
        monkeypatch.undo()  # it has heard none of this, and may have the next video
        assert killed


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (b"no JSON", "7 bytes that are no answer"),
        (b"[1]", "an answer without fields"),
        (b"[" * 60_000, "60000 bytes that are no answer"),
        (b'{"frames": 99999999999}', "a wrong 'frames'"),
        (b'{"frames": 0}', "a wrong 'frames'"),
        (b'{"frames": 1.5}', "a wrong 'frames'"),
        (b'{"frames": true}', "a wrong 'frames'"),
        (b'{"frames": NaN}', "a wrong 'frames'"),
        (b'{"frames": "60"}', "a wrong 'frames'"),
        (b"{}", "a wrong 'frames'"),
    ],
)
def test_lies_about_the_table_are_refused(said: bytes, match: str, lied_to) -> None:
    video = lied_to(said)
    with pytest.raises(VideoError, match=match) as caught:
        len(video)
    assert caught.value.code == "decoder_crash"


TABLE = b'{"frames": 3, "key_frames": 2, "last_seconds": 0.04, "expected": null}'


@pytest.mark.parametrize(
    ("seconds", "key_frames", "match"),
    [
        ([0.0, 0.1, 0.1], [0, 1], "seconds"),
        ([0.0, 1e-300, 0.1], [0, 1], "seconds"),
        ([-0.1, 0.0, 0.1], [0, 1], "seconds"),
        ([0.0, 0.1, np.nan], [0, 1], "seconds"),
        ([0.0, 0.1, np.inf], [0, 1], "seconds"),
        ([0.0, 0.1, 1e300], [0, 1], "seconds"),
        ([0.0, 0.1, 0.2], [1, 0], "key_frames"),
        ([0.0, 0.1, 0.2], [0, 0], "key_frames"),
        ([0.0, 0.1, 0.2], [0, 3], "key_frames"),
        ([0.0, 0.1, 0.2], [-1, 0], "key_frames"),
    ],
)
def test_lies_in_the_columns_of_the_table_are_refused(
    seconds: list[float], key_frames: list[int], match: str, lied_to
) -> None:
    columns = np.array(seconds).tobytes(), np.array(key_frames).tobytes()
    video = lied_to(TABLE, b"{}", b"{}", shared=(b"", *columns))
    with pytest.raises(VideoError, match=f"sent a wrong '{match}'"):
        len(video)


@pytest.mark.parametrize(
    "wrong", ["0", "1e-300", "-1", "1e300", "Infinity", "true", "1" + "0" * 4000]
)
def test_lies_about_the_last_frame_are_refused(wrong: str, lied_to) -> None:
    said = TABLE.replace(b"0.04", wrong.encode())
    video = lied_to(said, b"{}", b"{}", shared=(b"", np.array([0.0, 0.1, 0.2]).tobytes()))
    with pytest.raises(VideoError, match="sent a wrong 'last_seconds'"):
        video.info  # noqa: B018


OPENED = (
    '{"codec": "h264", "height": 48, "width": 64, "rotation": 0, "pixel_aspect": 1.0, '
    '"frames_declared": 60, "profile": "High", "pixel_format": "yuv420p", "other_streams": [], '
    '"tick": 0.001}'
)


@pytest.mark.parametrize(
    ("true", "lie"),
    [
        ('"codec": "h264"', '"codec": "made_up"'),
        ('"height": 48', '"height": 0'),
        ('"rotation": 0', '"rotation": 360'),
        ('"pixel_aspect": 1.0', '"pixel_aspect": Infinity'),
        ('"pixel_aspect": 1.0', '"pixel_aspect": 1' + "0" * 4000),
        ('"frames_declared": 60', '"frames_declared": 1e9'),
        ('"profile": "High"', '"profile": 3'),
        ('"other_streams": []', '"other_streams": [3]'),
        ('"tick": 0.001', '"tick": 1' + "0" * 4000),
        ('"tick": 0.001', '"tick": -1'),
        ('"tick": 0.001', '"tick": "0"'),
    ],
)
def test_lies_about_what_is_opened_are_refused(
    true: str, lie: str, numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert true in OPENED
    said = OPENED.replace(true, lie).encode()
    answer = bytearray(len(said).to_bytes(4, "little") + said)

    def receive(_: object, most: int, seconds: float) -> bytes:
        piece = bytes(answer[:most])
        del answer[:most]
        return piece

    killed = []
    monkeypatch.setattr(child_process.ChildProcess, "receive", receive)
    monkeypatch.setattr(child_process.ChildProcess, "kill", lambda process: killed.append(process))
    name = true.split('"')[1]
    with pytest.raises(VideoError, match=f"sent a wrong '{name}'"):
        opened(numbered_video)
    assert killed


def test_an_answer_that_is_too_long_is_not_read(lied_to) -> None:
    with pytest.raises(VideoError, match="4294967295 bytes that are no answer"):
        len(lied_to(b"", size=2**32 - 1))


def test_an_answer_that_drips_ends_at_the_limit_of_time(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(numbered_video, Limits(wall_seconds=2)) as video:
        video._session._seconds_left = 0.3
        granted = []

        def receive(most: int, seconds: float) -> bytes:
            granted.append(seconds)
            assert len(granted) < 20
            time.sleep(0.05)
            return bytes([len(granted) == 2])  # of an answer of 256 bytes

        monkeypatch.setattr(video._session._process, "receive", receive)
        with pytest.raises(VideoError, match=r"takes more than 2 s, the limit") as caught:
            len(video)
    assert caught.value.code == "timeout"
    assert all(seconds > 0 for seconds in granted)


def test_the_time_to_take_in_a_request_counts(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(numbered_video, Limits(wall_seconds=2)) as video:
        video._session._seconds_left = 0.1
        monkeypatch.setattr(video._session._process, "send", lambda *_: time.sleep(0.2))
        with pytest.raises(VideoError, match=r"takes more than 2 s, the limit"):
            len(video)


@pytest.mark.parametrize(
    "said",
    [
        b'{"indices": [5]}',
        b'{"indices": [-1]}',
        b'{"indices": [1.0]}',
        b'{"indices": [0, 0]}',
        b'{"indices": []}',
        b'{"indices": 3}',
    ],
)
def test_lies_about_frames_are_refused(said: bytes, lied_to) -> None:
    seconds = np.array([0.0, 0.1, 0.2, 0.3]).tobytes()
    table = TABLE.replace(b'"frames": 3', b'"frames": 4')
    key_frames = np.array([0, 1]).tobytes()
    video = lied_to(table, b"{}", b"{}", said, shared=(b"", seconds, key_frames))
    with pytest.raises(VideoError, match="sent a wrong 'indices'"):
        video.frames([3])


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (b'{"indices": [1, 0], "seconds": [0.0, 1.0], "more": false}', "'indices'"),
        (b'{"indices": [0, 1], "seconds": [1.0, 1.0], "more": false}', "'seconds'"),
        (b'{"indices": [0], "seconds": [Infinity], "more": false}', "'seconds'"),
        (b'{"indices": [0], "seconds": [], "more": false}', "'seconds'"),
        (b'{"indices": [], "seconds": [], "more": true}', "'more'"),
    ],
)
def test_lies_in_a_pass_are_refused(said: bytes, match: str, lied_to) -> None:
    video = lied_to(said)
    with pytest.raises(VideoError, match=f"sent a wrong {match}"):
        next(iter(video))


def test_text_of_a_child_is_one_short_line(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = b'{"error": "\\u001b[2Jred\\n' + b"x" * 1000 + b'", "code": "made_up"}'
    answer = [len(said).to_bytes(4, "little"), said]
    with opened(numbered_video) as video:
        monkeypatch.setattr(video._session._process, "receive", lambda *_: answer.pop(0))
        with pytest.raises(VideoError) as caught:
            len(video)
    assert caught.value.message.startswith("?[2Jred?xxx")
    assert len(caught.value.message) == 400
    assert caught.value.code == "damaged"


def test_pictures_that_the_child_cuts_off_are_an_error(numbered_video: Path) -> None:
    with opened(numbered_video) as video:
        frames = iter(video)
        next(frames)  # the rest of the answer lies in the shared memory
        os.truncate(video._session._process.shared, 0)
        with pytest.raises(VideoError, match=r"out of order \(it sent too little memory\)"):
            next(frames)


def test_memory_that_the_child_cuts_off_is_an_error(numbered_video: Path) -> None:
    with opened(numbered_video) as video:
        assert len(video) == 60
        os.truncate(video._session._process.shared, 0)
        with pytest.raises(VideoError, match=r"its decoder (is out of order|died \(SIGBUS\))"):
            video.frames([3])


# The processes themselves.


def test_the_sandbox_holds_and_was_tried() -> None:
    report = sandbox_report()
    assert set(report) == {
        *("no_files", "no_network", "no_programs", "no_processes", "no_signals"),
        *("memory_limit", "cpu_limit"),
    }
    assert report["memory_limit"]
    assert report["cpu_limit"]
    if platform.machine() in sandbox._MACHINES:
        assert all(report.values()), report


# What still must be refused when seccomp is all there is, each as a standard function of Python
# or of the C library; `other` is a process of the same user, `file` is open for reading.
CALLS = {
    "fchmod": "os.fchmod(file, 0)",
    "fchown": "os.fchown(file, os.getuid(), -1)",
    "futimens": "os.utime(file)",
    "utimensat": "os.utime(path)",
    "fsetxattr": "os.setxattr(file, 'user.a', b'')",
    "setxattr": "os.setxattr(path, 'user.a', b'')",
    "fremovexattr": "os.removexattr(file, 'user.a')",
    "flock": "fcntl.flock(file, fcntl.LOCK_EX)",
    "lease": "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "lock": "fcntl.lockf(file, fcntl.LOCK_SH)",
    "file flags": "fcntl.ioctl(file, 0x40086602, struct.pack('l', 0))",
    "chdir": "os.chdir('/')",
    "chroot": "os.chroot('/')",
    "socketpair": "socket.socketpair()",
    "setpriority": "os.setpriority(os.PRIO_PROCESS, other, 1)",
    "affinity": "os.sched_setaffinity(other, os.sched_getaffinity(0))",
    "scheduler": "os.sched_setscheduler(other, os.SCHED_BATCH, os.sched_param(0))",
    "parameters": "os.sched_setparam(other, os.sched_param(0))",
    "owner of signals": "fcntl.fcntl(pipe, fcntl.F_SETOWN, other)",
    "signal of readiness": "fcntl.fcntl(pipe, fcntl.F_SETSIG, 9)",
    "extended owner": "fcntl.fcntl(pipe, 15, struct.pack('ii', 1, other))",
    "FIOSETOWN": "fcntl.ioctl(pair, 0x8901, struct.pack('i', other))",
    "SIOCSPGRP": "fcntl.ioctl(pair, 0x8902, struct.pack('i', other))",
    "queued signal": "raw({'x86_64': 297, 'aarch64': 240}[machine], other, other, 0, queued)",
    "shmget": "raw_name('shmget', 0x5eed, 4096, 0o1600)",
    "shmat": "raw_name('shmat', 0, None, 0)",
    "shmctl": "raw_name('shmctl', 0, 3, bytes(512))",
    "msgget": "raw_name('msgget', 0x5eed, 0o1600)",
    "msgctl": "raw_name('msgctl', 0, 3, bytes(512))",
    "msgsnd": "raw_name('msgsnd', -1, bytes(16), 0, 0)",
    "msgrcv": "raw_name('msgrcv', -1, bytes(16), 0, 0, 0)",
    "semget": "raw_name('semget', 0x5eed, 1, 0o1600)",
    "semop": "raw_name('semop', -1, bytes(6), 1)",
    "semctl": "raw_name('semctl', -1, 0, 3, bytes(512))",
}

ATTEMPTS = """
import contextlib, ctypes, fcntl, os, platform, socket, struct, subprocess, sys, tempfile
from praxino.video import sandbox

machine = platform.machine()
libc = ctypes.CDLL(None, use_errno=True)
reading, pipe = os.pipe()
pair, _ = socket.socketpair()
other = int(sys.argv[1])
path = sys.argv[2]
file = os.open(path, os.O_RDONLY)
queued = struct.pack("iii", 0, 0, -1) + bytes(116)

def check(answer):
    if answer == -1:
        raise OSError(ctypes.get_errno(), "")

def raw(*arguments):
    check(libc.syscall(*arguments))

def raw_name(name, *arguments):
    check(getattr(libc, name)(*arguments))

if sys.argv[3] == "locked":
    sandbox._forbid_calls(libc)
print(os.getpid())
for attempt in sys.argv[4:]:
    ctypes.set_errno(0)
    try:
        eval(attempt)
        print("done")
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.skipif(platform.machine() not in sandbox._MACHINES, reason="no filter for it")
def test_the_filter_alone_keeps_off_other_processes_and_the_file(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"a video")
    path.chmod(0o640)
    before = path.stat()
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            told = {}
            for how in ("locked", "free"):
                if how == "free":
                    assert other.poll() is None
                    assert path.stat() == before
                command = [sys.executable, "-c", ATTEMPTS, str(other.pid), str(path), how]
                done = subprocess.run(
                    [*command, *CALLS.values()], capture_output=True, text=True, check=True
                )
                told[how] = dict(zip(CALLS, done.stdout.split()[1:], strict=True))
        finally:
            other.kill()
            remove_shared()
    assert set(told["locked"].values()) == {"1"}, told["locked"]  # EPERM
    harmless = {name for name, error in told["free"].items() if error == "1"}
    assert harmless <= {"chroot"}  # of those that need to be root


def remove_shared() -> None:
    """What the free attempts left in the system."""
    for kind in ("-M", "-Q", "-S"):
        subprocess.run(["ipcrm", kind, str(0x5EED)], capture_output=True)


WITHOUT_CALLS = "sandbox._forbid_calls = lambda *_: None"


@pytest.fixture
def badly_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, none_idle: None):
    """Children on a system without some locks: what is run before their main."""

    def install(before: str) -> None:
        program = tmp_path / "badly_locked.py"
        program.write_text(
            "import sys\nfrom praxino.video import child_main, sandbox\n"
            f"{before}\nchild_main.main(*map(int, sys.argv[1:]))\n"
        )
        monkeypatch.setattr(child_process, "_PROGRAM", (str(program),))

    return install


def test_missing_locks_are_told(badly_locked, numbered_video: Path) -> None:
    badly_locked(WITHOUT_CALLS)
    with opened(numbered_video) as video:
        (problem,) = video.info.problems
    assert problem.startswith("its decoding was not locked in fully: on this system it could run p")
    assert "start processes" in problem
    assert "open files" not in problem  # Landlock


def test_a_linux_without_any_lock_decodes_no_untrusted_video(
    badly_locked, numbered_video: Path
) -> None:
    badly_locked("sandbox._LINUX = False")
    with pytest.raises(
        EnvironmentFault, match=r"neither files nor the network can be locked \(no "
    ):
        opened(numbered_video)
    with pytest.raises(EnvironmentFault, match="neither files nor the network can be locked"):
        sandbox_report()


def test_another_system_without_locks_tells_them(
    badly_locked, numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    badly_locked("sandbox._LINUX = False")
    monkeypatch.setattr(sys, "platform", "darwin")
    with opened(numbered_video) as video:
        (problem,) = video.info.problems
    assert "it could open files, reach the network, run programs, start processes" in problem
    assert not sandbox_report()["no_files"]


def test_a_child_that_cannot_try_its_locks_does_not_start(
    badly_locked, numbered_video: Path
) -> None:
    badly_locked("sandbox.locks_that_hold = lambda *_: sys.exit(3)")
    with pytest.raises(EnvironmentFault, match=r"does not start \(it could not try its locks\)"):
        opened(numbered_video)


def test_the_child_knows_no_secret_of_the_environment(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    with opened(numbered_video) as video:
        environment = Path(f"/proc/{video._session._process._process.pid}/environ").read_bytes()
    assert b"secret" not in environment


def test_a_module_in_the_working_folder_is_not_run(numbered_video: Path, tmp_path: Path) -> None:
    for name in ("numpy", "av", "json", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this must not run')")
    code = textwrap.dedent(f"""
        import os
        from praxino.video.child import ChildVideo
        from praxino.video.decoder import check_source
        os.chdir({str(tmp_path)!r})
        with ChildVideo(check_source({str(numbered_video)!r}), None, 1) as video:
            print(len(video))
        """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("60\n", "")


def test_a_child_that_does_not_start_is_told(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, none_idle: None
) -> None:
    program = tmp_path / "broken.py"
    program.write_text("raise RuntimeError('no such luck')")
    monkeypatch.setattr(child_process, "_PROGRAM", (str(program),))
    with pytest.raises(EnvironmentFault, match=r"does not start \(RuntimeError: no such luck\)"):
        opened(numbered_video)


def test_other_systems_are_told(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch, none_idle: None
) -> None:
    monkeypatch.delattr("socket.send_fds")
    with pytest.raises(EnvironmentFault, match="Untrusted videos need Linux or macOS"):
        opened(numbered_video)


def test_a_python_that_is_gone_is_told(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch, none_idle: None
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(EnvironmentFault, match=r"does not start \(.*/no/such/python"):
        opened(numbered_video)
    assert os.listdir("/proc/self/fd") == before


def test_a_child_that_does_not_listen_keeps_nobody_from_closing(numbered_video: Path) -> None:
    with opened(numbered_video) as video:
        process, descriptor = video._session._process, video._session._video
        os.kill(fork_of(video), signal.SIGSTOP)
        process._fork.setblocking(False)
        with suppress(BlockingIOError):
            while process._fork.send(b" " * 1000):
                pass
        start = time.monotonic()
    assert time.monotonic() - start < 20
    assert process.is_gone
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_no_more_processes_are_kept_than_there_are_cores(
    numbered_video: Path, monkeypatch: pytest.MonkeyPatch, none_idle: None
) -> None:
    monkeypatch.setattr(child_process, "cores", lambda: 1)
    with opened(numbered_video) as one, opened(numbered_video) as other:
        processes = [video._session._process for video in (one, other)]
    assert [process.is_gone for process in processes] == [True, False]


def test_a_fork_while_another_thread_takes_a_process() -> None:
    """Its lock is held for ever there, since that thread is not in the fork."""
    with child_process._lock:
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            child_process.end_idle()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_fork_leaves_an_open_video_to_its_parent(numbered_video: Path, none_idle: None) -> None:
    with opened(numbered_video) as video:
        process = video._session._process
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with pytest.raises(
                    ValueError, match=r"was opened before this process was forked\."
                ):
                    len(video)
                assert process._control.fileno() == -1  # else it would outlive its parent
                video.close()
                with opened(numbered_video) as own:
                    assert len(own) == 60
                child_process.end_idle()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(video) == 60


def test_a_child_outlives_the_thread_that_started_it(numbered_video: Path, none_idle: None) -> None:
    videos: list[Video] = []
    thread = threading.Thread(target=lambda: videos.append(opened(numbered_video)))
    thread.start()
    thread.join()
    with videos[0] as video:
        assert len(video) == 60


@pytest.mark.parametrize("who", ["the parent", "the process between"])
def test_a_decoder_that_computes_for_ever_ends_with_the_processes_above(
    who: str, faulty, numbered_video: Path
) -> None:
    faulty("while True: pass")
    code = textwrap.dedent(f"""
        import threading, time
        from praxino.video import child_process
        from praxino.video.child import ChildVideo
        from praxino.video.decoder import check_source
        child_process._PROGRAM = {child_process._PROGRAM!r}
        video = ChildVideo(check_source({str(numbered_video)!r}), None, 1)
        threading.Thread(target=video.__len__, daemon=True).start()
        print(video._session._process._process.pid, flush=True)
        time.sleep(100)
        """)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        between = int(parent.stdout.readline())
        (fork,) = map(int, Path(f"/proc/{between}/task/{between}/children").read_text().split())
        time.sleep(0.5)  # until it computes
        try:
            assert is_alive(fork)
            os.kill(parent.pid if who == "the parent" else between, signal.SIGKILL)
            wait_for_the_end_of(fork)
            wait_for_the_end_of(between)
        finally:
            parent.kill()
            with suppress(ProcessLookupError):
                os.killpg(between, signal.SIGKILL)


def test_processes_end_with_their_parent(numbered_video: Path) -> None:
    code = textwrap.dedent(f"""
        import os, signal
        from praxino.video.child import ChildVideo
        from praxino.video.decoder import check_source
        video = ChildVideo(check_source({str(numbered_video)!r}), None, 1)
        print(video._session._process._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    wait_for_the_end_of(int(done.stdout))


def wait_for_the_end_of(process: int) -> None:
    deadline = time.monotonic() + 20
    while is_alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class _Means(Dataset[torch.Tensor]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        with opened(self.path) as video:
            return torch.tensor(video.frames([index]).pixels.mean())


def test_in_the_workers_of_a_data_loader(numbered_video: Path) -> None:
    with opened(numbered_video):
        pass  # the workers inherit an idle process, which is not theirs
    loader = DataLoader(_Means(numbered_video), num_workers=2, batch_size=None)
    np.testing.assert_allclose([float(mean) for mean in loader], np.arange(12) * 4, atol=2)
    with opened(numbered_video) as video:
        assert len(video) == 60


def test_nothing_is_left_behind(numbered_video: Path) -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    with opened(numbered_video):
        pass
    before = held()
    for _ in range(20):
        with opened(numbered_video) as video:
            video.frames([2])
        with pytest.raises(VideoError):
            opened(b"GIF89a" + bytes(20))
    assert held() == before
    child_process.end_idle()
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if _is_zombie_of_ours(pid)]


def _is_zombie_of_ours(process: Path) -> bool:
    try:
        state, parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state == "Z" and int(parent) == os.getpid()
