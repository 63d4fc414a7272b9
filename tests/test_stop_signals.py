# ruff: noqa: PT012 - signals come in the middle of a block
"""When a signal stops a long job."""

import io
import os
import signal
import sys
import threading
from contextlib import suppress

import av
import pytest

from praxino.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, Stopped
from praxino.stop_signals import signals_wait, stop_signals


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGINT", EXIT_INTERRUPTED), ("SIGTERM", EXIT_TERMINATED), ("SIGHUP", 129), ("SIGUSR1", 138)],
)
def test_at_once_where_nothing_is_half_done(name, code):
    before = signal.getsignal(getattr(signal, name))
    reached = []
    with pytest.raises(Stopped, match=f"^{name}$") as caught, stop_signals():
        send(name)
        reached.append("too far")
    assert caught.value.exit_code == code
    assert not reached
    assert signal.getsignal(getattr(signal, name)) == before


def test_a_held_block_is_done_first():
    done = []
    with pytest.raises(Stopped), stop_signals() as stop:
        with stop.held():
            send("SIGTERM")
            with stop.held():
                done.append("inner")
            done.append("outer")
        done.append("too far")
    assert done == ["inner", "outer"]
    assert not stop.hurried


def test_the_body_of_a_loop_is_done_first_but_waiting_is_not():
    done = []

    def batches():
        yield 1
        yield 2
        send("SIGTERM")  # while the loop waits for its next batch
        done.append("too far")

    with pytest.raises(Stopped), stop_signals() as stop:
        for batch in stop.whole_steps(batches()):
            done.append(batch)
    assert done == [1, 2]

    with pytest.raises(Stopped), stop_signals() as stop:
        for batch in stop.whole_steps([3, 4]):
            send("SIGTERM")
            done.append(batch)
    assert done == [1, 2, 3]


def test_only_a_second_ctrl_c_is_in_a_hurry():
    done = []
    with pytest.raises(Stopped), stop_signals() as stop, stop.held():
        for name in ("SIGTERM", "SIGTERM", "SIGINT"):
            send(name)
        done.append("not yet")
        send("SIGINT")
        done.append("too far")
    assert done == ["not yet"]
    assert stop.hurried


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_signals():
            send("SIGHUP")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_process_leaves_it_to_its_parent():
    with stop_signals() as stop:
        pid = os.fork()
        if pid == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                stop.raise_if_asked()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0


def test_other_threads_change_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def job():
        with stop_signals() as stop, stop.held():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert seen == [before]


class Dropping:
    def __del__(self) -> None:
        send("SIGTERM")  # what is raised in here is printed, and dropped


def test_an_exception_that_python_drops_comes_again():
    done = []
    with pytest.raises(Stopped, match="SIGTERM"), stop_signals() as stop:
        Dropping()
        done.append("dropped")
        for batch in stop.whole_steps([1]):
            done.append(batch)
    assert done == ["dropped"]


class Interrupted(io.BytesIO):
    """A file during whose next read or seek a signal comes."""

    broken = ""

    def read(self, size: int | None = -1) -> bytes:
        self._break("read")
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._break("seek")
        return super().seek(offset, whence)

    def _break(self, name: str) -> None:
        if self.broken == name:
            self.broken = ""
            send("SIGTERM")


@pytest.mark.parametrize("name", ["read", "seek"])
def test_a_signal_while_ffmpeg_reads_shows_no_traceback(numbered_video, capsys, name):
    file = Interrupted(numbered_video.read_bytes())
    file.broken = name
    with pytest.raises(Stopped, match="SIGTERM"), stop_signals():
        with suppress(av.FFmpegError), av.open(file) as container:
            list(container.decode(video=0))
        assert not file.broken
    assert capsys.readouterr().err == ""


def test_other_errors_that_python_drops_are_still_printed(capsys):
    hooks = sys.unraisablehook, sys.excepthook
    with stop_signals():
        sys.excepthook(ValueError, ValueError("of another kind"), None)
    assert "of another kind" in capsys.readouterr().err
    assert (sys.unraisablehook, sys.excepthook) == hooks


def test_signals_wait_until_processes_are_started():
    done = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"), stop_signals():
        with signals_wait():
            send("SIGTERM")
            done.append("started")
        done.append("too far")
    assert done == ["started"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_supervisor_that_repeats_itself_does_not_break_into_saving():
    done = []
    with pytest.raises(Stopped), stop_signals() as stop:
        try:
            send("SIGTERM")
        except Stopped:
            stop.answer()
            for name in ("SIGTERM", "SIGINT", "SIGHUP"):
                send(name)
            done.append("saved")
            raise
    assert done == ["saved"]
    assert not stop.hurried
