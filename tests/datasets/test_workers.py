"""Loader processes that die or hang."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.utils.data import Dataset

from praxino.datasets.workers import LoaderFault, WatchedLoader, _say_nothing_of_a_lost_peer
from praxino.errors import EnvironmentFault, raised_by_praxino
from praxino.video.decoding import Decoding

ROWS = 8


class Examples(Dataset[int]):
    """Rows 0 to 7; reading one of them does what a test wants."""

    def __init__(self, at: int = -1, happens=None) -> None:
        self.at, self.happens = at, happens

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, key) -> int:
        row = key[-1] if isinstance(key, tuple) else key
        if row == self.at:
            self.happens()
        return row


def watched(examples, *, workers=2, stall_seconds=30.0, **options) -> WatchedLoader[int]:
    return WatchedLoader(
        examples,
        "video-{}.mp4".format,
        workers=workers,
        stall_seconds=stall_seconds,
        batch_size=None,
        **options,
    )


def read_all(loader: WatchedLoader[int]) -> list[int]:
    with loader as batches:
        return list(batches)


@pytest.fixture
def alarm() -> Iterator[Callable]:
    """An answer to SIGCHLD that is not torch's, which an earlier `DataLoader` may have left."""
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    yield signal.getsignal(signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_reads_everything_and_its_processes_are_gone(alarm, workers):
    loader = watched(Examples(), workers=workers, persistent_workers=workers > 0)
    with loader as batches:
        assert list(batches) == list(batches) == list(range(ROWS))
        assert len(loader._processes) == workers
        assert all(process.is_alive() for process in loader._processes)
        assert signal.getsignal(signal.SIGCHLD) == alarm
    assert not any(process.is_alive() for process in loader._processes)


def die_of(name: str):
    return lambda: os.kill(os.getpid(), getattr(signal, name))


DEATHS = {
    "SIGKILL": (
        die_of("SIGKILL"),
        r"by signal SIGKILL, as the system does when memory is short\. The loader was reading "
        r"video-5\.mp4\. Fewer of them need less: --data\.workers 1\.",
    ),
    "SIGSEGV": (
        die_of("SIGSEGV"),
        r"by signal SIGSEGV\. The loader was reading video-5\.mp4\. If it happens again, leave",
    ),
    "SIGBUS": (
        die_of("SIGBUS"),
        r"by signal SIGBUS\. .* It may be that the shared memory, /dev/shm, is full\.",
    ),
    "exit": (lambda: os._exit(3), r"with exit code 3\. .* Use --data\.workers 0 to see why\."),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_dead_process_is_named_with_the_video_it_read(death):
    happens, message = DEATHS[death]
    loader, begun = watched(Examples(5, happens), stall_seconds=1.0), time.monotonic()
    with pytest.raises(LoaderFault, match=rf"^Loader process \d+ was ended {message}"):
        read_all(loader)
    assert time.monotonic() - begun < 30
    assert not any(process.is_alive() for process in loader._processes)


def test_a_death_does_not_break_into_what_the_main_process_does():
    loader = watched(Examples(), workers=1, stall_seconds=1.0, prefetch_factor=2)
    steps = []

    def loop() -> None:
        with loader as batches:
            for batch in batches:
                if not steps:
                    loader._processes[0].kill()
                    loader._processes[0].join()
                steps.append(batch)

    with pytest.raises(LoaderFault, match="was ended by signal SIGKILL"):
        loop()
    assert steps[0] == 0  # the step at hand was done, and what had been sent was used
    assert len(steps) < ROWS


def test_a_process_that_hangs_is_ended_with_the_video_it_hangs_at(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    def hang() -> None:
        (tmp_path / "pipe").read_bytes()  # nobody writes

    loader, begun = watched(Examples(3, hang), stall_seconds=1.0), time.monotonic()
    message = (
        r"^Reading video-3\.mp4 takes longer than 1 seconds\. Look at the disk or the file; "
        r"--data\.stall-seconds allows more\.$"
    )
    with pytest.raises(LoaderFault, match=message):
        read_all(loader)
    assert time.monotonic() - begun < 30
    assert not any(process.is_alive() for process in loader._processes)


def test_a_slow_batch_is_not_a_hang():
    slow = Examples(2, lambda: time.sleep(0.7))
    rows = [[2, 2, 2, 0], [1, 2, 2, 2]]  # each batch takes longer than is allowed for one clip
    loader = WatchedLoader(
        slow, str, workers=1, stall_seconds=1.5, batch_sampler=rows, collate_fn=list
    )
    assert read_all(loader) == rows


class Tensors(Examples):
    def __getitem__(self, key):
        return torch.ones(1000)


def test_what_a_dead_process_has_sent_may_be_out_of_reach():
    loader = watched(Tensors(), workers=1, stall_seconds=1.0, prefetch_factor=4)

    def loop() -> None:
        with loader as batches:
            for _ in batches:
                time.sleep(0.3)  # until the next ones are on their way
                loader._processes[0].kill()

    with pytest.raises(LoaderFault, match="was ended by signal SIGKILL"):
        loop()


def two_passes(loader: WatchedLoader[int], between: int) -> None:
    with loader as batches:
        list(batches)
        os.kill(loader._processes[1].pid, between)
        list(batches)


def test_processes_that_do_not_live_to_see_another_pass():
    for number, message in (
        (
            signal.SIGKILL,
            r"^Loader process \d+ was ended by signal SIGKILL.* short\. Fewer of them",
        ),
        (signal.SIGSTOP, r"^The loader processes do not answer\. Try again, or use --data\.work"),
    ):
        loader = watched(Examples(), stall_seconds=1.0, persistent_workers=True)
        with pytest.raises(LoaderFault, match=message):
            two_passes(loader, number)
        assert not any(process.is_alive() for process in loader._processes)


class Unsendable(Examples):
    def __getitem__(self, key):
        return lambda: key


def test_what_is_lost_between_the_processes_is_missed(capfd):
    message = r"^The loader processes have sent nothing for 1 seconds\. Try again, or use"
    with pytest.raises(LoaderFault, match=message):
        read_all(watched(Unsendable(), stall_seconds=1.0))
    capfd.readouterr()


def test_errors_of_the_data_set_stay_what_they_are():
    def fail() -> None:
        raise RuntimeError("the connection timed out")

    for workers in (0, 1):
        with pytest.raises(RuntimeError, match="the connection timed out") as caught:
            read_all(watched(Examples(1, fail), workers=workers))
        assert not isinstance(caught.value, LoaderFault)


def no_backend() -> None:
    raise EnvironmentFault("torchcodec is not installed. Install it.")


def no_such_backend() -> None:
    Decoding("paper")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"batch_size": None}, {"batch_sampler": [[0, 1]], "collate_fn": list}]
)
def test_errors_of_ours_come_home_in_one_line(options):
    for happens, kind, message in (
        (no_backend, EnvironmentFault, r"^torchcodec is not installed\. Install it\.$"),
        (no_such_backend, ValueError, r"^There is no backend 'paper'; there are .* torchcodec\.$"),
    ):
        with pytest.raises(kind, match=message) as caught:
            read_all(WatchedLoader(Examples(1, happens), str, workers=1, **options))
        assert raised_by_praxino(caught.value)  # so it is no internal error


def test_a_mistake_in_a_process_keeps_its_traceback():
    with pytest.raises(ValueError, match=r"in DataLoader worker process 0\.\nOriginal Traceback"):
        read_all(watched(Examples(1, lambda: int("x")), workers=1))


SMALL_SHM = """
import torch
from torch.utils.data import Dataset
from praxino.datasets.workers import LoaderFault, WatchedLoader, _say_nothing_of_a_lost_peer
from praxino.errors import EnvironmentFault, raised_by_praxino
from praxino.video.decoding import Decoding

class Large(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, row):
        return torch.ones(1 << 20)  # 4 MiB

with WatchedLoader(Large(), str, workers=1, batch_size=None) as loader:
    try:
        list(loader)
    except LoaderFault as error:
        print("TOLD", error)
"""


@pytest.mark.slow
def test_a_small_shared_memory_is_told():
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs /dev/shm && exec "$@"']
    try:
        allowed = subprocess.run([*mount, "sh", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("a small /dev/shm needs the right to mount")
    done = subprocess.run(
        [*mount, "sh", sys.executable, "-c", SMALL_SHM], capture_output=True, text=True, timeout=60
    )
    message = "TOLD The loader has failed: the shared memory, /dev/shm, is full. Make it larger"
    assert done.stdout.startswith(message), done.stderr
    assert done.stderr == ""


def test_starting_processes_draws_nothing_from_the_generator_of_dropout():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    read_all(watched(Examples(), workers=1))
    assert torch.equal(torch.rand(4), expected)


def test_the_alarm_that_another_loader_left_on_stays_off_for_ours():
    """Torch's would raise while the processes are being ended, or in the middle of a step."""
    before = signal.getsignal(signal.SIGCHLD)
    signal_handling = torch.utils.data._utils.signal_handling

    def alarm(number, frame):
        raise RuntimeError("DataLoader worker is killed by signal: Killed.")

    alarm.__module__ = signal_handling.__name__
    signal.signal(signal.SIGCHLD, alarm)
    try:
        for _ in range(3):
            with watched(Examples()) as batches:
                assert next(iter(batches)) == 0
        assert signal.getsignal(signal.SIGCHLD) is alarm
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(("error", "told"), [(ConnectionResetError(), 0), (ValueError("ours"), 1)])
def test_a_process_says_nothing_when_its_peer_has_ended(error, told, capsys):
    _say_nothing_of_a_lost_peer(type(error), error, None)
    assert capsys.readouterr().err.count("ours") == told
