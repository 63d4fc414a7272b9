"""One run folder, one process."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from praxino.errors import EnvironmentFault
from praxino.runs import run_lock as module
from praxino.runs.run_lock import LOCK, run_lock

HOLD = (
    "import sys, time\nfrom praxino.runs.run_lock import run_lock\n"
    "with run_lock(__import__('pathlib').Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n    time.sleep(60)\n"
)

# Each waits for the same moment, tries, and keeps what it got until the others have tried.
RACE = (
    "import sys, time\nfrom pathlib import Path\nfrom praxino.runs.run_lock import run_lock\n"
    "for race in range(20):\n"
    "    run = Path(sys.argv[1]) / str(race)\n"
    "    while time.time() < float(sys.argv[2]) + race * 0.25: pass\n"
    "    try:\n"
    "        with run_lock(run):\n"
    "            print(race, 'won', flush=True)\n"
    "            time.sleep(0.15)\n"
    "    except ValueError as error:\n"
    "        print(race, error, flush=True)\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that has `tmp_path / "run"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def refusal(run) -> str:
    with pytest.raises(ValueError, match="is in use by") as caught, run_lock(run):
        pass
    return str(caught.value)


def test_a_second_process_is_refused_with_pid_host_and_way_out(holder, tmp_path):
    pid, host = holder.pid, socket.gethostname()
    assert refusal(tmp_path / "run") == (
        f"{tmp_path / 'run'} is in use by process {pid} on {host}. Wait for it, end it with "
        f"`kill {pid}`, or name another run folder."
    )
    assert (tmp_path / "run" / LOCK).read_text() == f"{pid} {host}\n"  # it was not overwritten


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()
    with run_lock(tmp_path / "run") as warning:
        assert warning is None
        assert (tmp_path / "run" / LOCK).read_text().split()[0] == str(os.getpid())
    assert not (tmp_path / "run" / LOCK).exists()


def test_processes_that_the_owner_forked_do_not_have_the_lock(tmp_path):
    with run_lock(tmp_path):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with run_lock(tmp_path):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_lock_of_another_host_is_respected(tmp_path):
    (tmp_path / LOCK).write_text("4242 gpu-node-7\n")
    assert refusal(tmp_path) == (
        f"{tmp_path} is in use by process 4242 on gpu-node-7, another host. If that is over, "
        f"remove {tmp_path / LOCK} and try again."
    )
    (tmp_path / LOCK).unlink()
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize("target", ["nowhere/file", "file"])
def test_a_link_in_place_of_the_lock_is_refused(tmp_path, target):
    (tmp_path / "file").write_text("of somebody else")
    (tmp_path / LOCK).symlink_to(tmp_path / target)
    message = rf"{LOCK} is a link, and must be a file of its own\. Remove it\.$"
    with pytest.raises(ValueError, match=message), run_lock(tmp_path):
        pass
    assert (tmp_path / "file").read_text() == "of somebody else"


def test_twice_in_one_process(tmp_path):
    with run_lock(tmp_path):
        assert "is in use by this very process. Name another run folder." in refusal(tmp_path)
        assert "is in use by this very process" in refusal(tmp_path / ".")
    with run_lock(tmp_path):
        pass


def test_nothing_is_left_of_a_run_that_came_to_nothing(tmp_path):
    with run_lock(tmp_path / "runs" / "new"):
        assert (tmp_path / "runs" / "new" / LOCK).exists()
    assert not (tmp_path / "runs" / "new").exists()
    (tmp_path / "mine").mkdir()
    with run_lock(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()
    with run_lock(tmp_path / "filled"):
        (tmp_path / "filled" / "config.json").touch()
    assert [path.name for path in (tmp_path / "filled").iterdir()] == ["config.json"]


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "lockf", no_locks)
    with run_lock(tmp_path) as warning:
        assert warning == (
            f"The file system of {tmp_path} keeps no locks (No locks available): see that nothing "
            f"else trains there."
        )


def test_a_lock_file_that_is_removed_meanwhile_is_made_again(tmp_path, monkeypatch):
    real, calls = module._lock, []

    def lock(handle, run):
        if not calls:
            (run / LOCK).unlink()  # by the one who has just ended
        calls.append(handle)
        return real(handle, run)

    monkeypatch.setattr(module, "_lock", lock)
    with run_lock(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert len(calls) == 2


def test_other_faults_of_the_disk_are_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"Cannot write .*file: File exists"):
        with run_lock(tmp_path / "file"):
            pass

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.fcntl, "lockf", broken)
    with pytest.raises(EnvironmentFault, match=r"Cannot write .*: Input/output error"):
        with run_lock(tmp_path):
            pass


@pytest.mark.slow
def test_of_two_that_start_together_one_wins(tmp_path):
    begin = str(time.time() + 1.5)
    command = [sys.executable, "-c", RACE, str(tmp_path), begin]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line for process in both for line in process.communicate()[0].splitlines()]
    pids = {process.pid for process in both}
    for race in range(20):
        said = [line.partition(" ")[2] for line in lines if line.split()[0] == str(race)]
        assert sorted(line == "won" for line in said) == [False, True], said
        (lost,) = (line for line in said if line != "won")
        found = re.search(r"in use by process (\d+) on", lost)
        assert found is not None, lost
        assert int(found[1]) in pids


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="/proc keeps no files")
def test_a_folder_in_which_no_file_stays(tmp_path):
    with (
        pytest.raises(EnvironmentFault, match=r"^No lock could be made in /proc in 1000 tries: fi"),
        run_lock(Path("/proc")),
    ):
        pass
