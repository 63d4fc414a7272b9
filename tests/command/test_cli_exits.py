"""Ctrl-C, closed pipes, full disks, no locale, no home: an exit code and one line, no traceback."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from praxino.command import exits, video_report
from praxino.command.cli import run
from praxino.errors import EnvironmentFault, Stopped, VideoError

PRAXINO = f"{sys.executable} -m praxino"


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in which {} is praxino."""
    return subprocess.run(
        ["bash", "-c", "set -o pipefail; " + line.replace("{}", PRAXINO)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "FOLDER": str(folder), **environment},
    )


# --- what surrounds the process ------------------------------------------------------------------

SURROUNDINGS = {
    "closed pipe": "{} ARGS | head -1 | cut -c1-20",
    "stdin closed": "{} ARGS <&-",
    "stdout closed": "{} ARGS >&-",
    "stderr closed": "{} ARGS 2>&-",
    "all closed": "{} ARGS <&- >&- 2>&-",
    "stderr full": "{} ARGS 2>/dev/full",
    "dumb terminal": "TERM=dumb {} ARGS",
    "terminal": "script -qec '{} ARGS' /dev/null",
    "narrow": "COLUMNS=20 {} ARGS",
    "no width": "COLUMNS=0 {} ARGS",
    "ascii": "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii {} ARGS",
    "no such locale": "LC_ALL=xx_invalid {} ARGS",
    "no home": "env -u HOME {} ARGS",
    "home read-only": "HOME=/proc {} ARGS",
    "warnings are errors": "PYTHONWARNINGS=error {} ARGS",
    "no asserts": "PYTHONOPTIMIZE=1 {} ARGS",
}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["--help", "video VIDEO"])
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_odd_surroundings_are_no_error(name, arguments, numbered_video, tmp_path):
    line = SURROUNDINGS[name].replace("ARGS", arguments.replace("VIDEO", str(numbered_video)))
    done = shell(line, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", ["--help", "size 640 480", "video VIDEO"])
def test_a_full_disk_behind_standard_output_is_told(arguments, numbered_video, tmp_path):
    line = "{} " + arguments.replace("VIDEO", str(numbered_video)) + " >/dev/full"
    done = shell(line, tmp_path)
    assert done.returncode == 3
    assert done.stderr == (
        "praxino: the output is not written: No space left on device. "
        "Free some space or name another place.\n"
    )


TRAIN = (
    "FOLDER --run run --epochs 1 --model.name small_3d --model.weights none "
    "--model.options.frames 8 --model.options.size 32 --data.workers 0 --batch-size 4"
)
COMMANDS = {  # each once; `demo` is these, one after the other, for minutes
    "predict": "predict VIDEO --model RUN --clips 1 --untrusted",
    "evaluate": "evaluate RUN --data FOLDER --split all --clips 1 --workers 0 --output out",
    "train": f"train {TRAIN}",
    "baseline": f"baseline {TRAIN}",
    "models": "models small_3d",
    "pointlight": "data pointlight points --videos-per-class 10",
    "doctor": "doctor",
    "size": "size 640 480",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_worst_surroundings_at_once(name, trained_run, two_actions, tmp_path):
    line = COMMANDS[name].replace("FOLDER", str(two_actions)).replace("RUN", str(trained_run))
    line = line.replace("VIDEO", str(two_actions / "darker" / "0.mp4"))
    bare = "env -u HOME TERM=dumb LC_ALL=xx_invalid PYTHONIOENCODING=ascii COLUMNS=20 {} "
    done = shell(f"{bare}{line} <&- | head -1 | cut -c1-20", tmp_path)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    if name in ("predict", "evaluate", "models"):
        full = shell(f"{{}} {line} >/dev/full", tmp_path)
        assert full.returncode == 3
        assert full.stderr.count("\n") == 1
        assert "the output is not written: No space left on device" in full.stderr


def test_a_working_folder_that_is_gone_is_told(tmp_path):
    done = shell("mkdir gone; cd gone; rmdir ../gone; {} models c3d", tmp_path)
    assert done.returncode == 3
    assert done.stderr == (
        "praxino: the folder you are in is no longer there. Change into one that is: cd ~\n"
    )


def test_a_full_disk_behind_a_file_leaves_nothing(numbered_video, tmp_path):
    done = shell(f"ulimit -f 0; {{}} video {numbered_video} --json out.json", tmp_path)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "out.json" in done.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_that_is_printed_ends_in_a_file_when_the_streams_are_closed(
    numbered_video, tmp_path
):
    done = shell(f"{{}} video {numbered_video} --json out.json <&- >&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert json.loads((tmp_path / "out.json").read_text())[0]["frames_decoded"] == 60


def test_letters_that_cannot_be_shown_are_escaped(numbered_video, tmp_path):
    (tmp_path / "\u043a\u0438\u043d\u043e.mp4").write_bytes(numbered_video.read_bytes())
    done = shell(
        "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii {} video *.mp4",
        tmp_path,
        LC_ALL="C.UTF-8",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "reads completely"
    assert done.stdout.splitlines()[0].startswith("\\udcd0\\udcba")


@pytest.mark.slow
def test_a_reader_that_left_does_not_cost_the_files(trained_run, two_actions, tmp_path):
    videos = two_actions / "darker"
    line = f"{{}} predict {videos} --model {trained_run} --clips=1 --csv out.csv --ledger l.jsonl"
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        line.replace("{}", PRAXINO).split(), stdout=writes, stderr=subprocess.PIPE, cwd=tmp_path
    )
    os.close(writes)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "l.jsonl").read_text().count('"ok"') == 8
    assert (tmp_path / "out.csv").read_text().count("\n") == 17


# --- signals -------------------------------------------------------------------------------------


def stopped(arguments: list[str], number: int, seconds: float) -> tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "praxino", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Python's own start-up, in which it prints a traceback of its own, is over once it has
    # imported praxino; the kernel tells when the process asks for signals.
    while not _answers(process.pid, signal.SIGTERM):
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def _answers(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")],
)
def test_a_signal_while_the_program_starts(number, code, word, seconds, tmp_path):
    arguments = ["data", "pointlight", str(tmp_path / "made"), "--videos-per-class=400"]
    assert stopped(arguments, number, seconds) == (code, f"praxino: {word}\n")


def test_a_job_that_is_stopped_gives_every_item_its_line(numbered_video, tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(numbered_video.read_bytes())
    report = video_report.report_video

    def stop_at_b(path, **options):
        if path.name == "b.mp4":
            raise Stopped(signal.SIGTERM)
        return report(path, **options)

    monkeypatch.setattr(video_report, "report_video", stop_at_b)
    ledger = tmp_path / "items.jsonl"
    assert run(["video", str(tmp_path), "--ledger", str(ledger)]) == 143
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "skipped", "skipped"]
    assert lines[1]["code"] == "not_reached"


def test_a_signal_that_is_ignored_stays_so(numbered_video, tmp_path):
    done = shell(
        f"trap '' INT TERM; {{}} video {numbered_video} --json - & sleep 0.3; "
        "kill -INT $!; kill -TERM $!; wait $!",
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)


# --- what goes wrong inside ----------------------------------------------------------------------


def ends(error: BaseException) -> int:
    def command() -> int:
        raise error

    return exits.in_one_line(command)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (VideoError("a.mp4", "is empty.", code="empty"), 1, "a.mp4: is empty."),
        (EnvironmentFault("the disk is full."), 3, "the disk is full."),
        (OSError(errno.EROFS, "Read-only file system", "x.csv"), 3, "x.csv: Read-only file system"),
        (OSError(errno.EMFILE, "Too many open files"), 3, "ulimit -n"),
        (MemoryError(), 3, "the memory of this machine is used up"),
        (FloatingPointError("the loss is nan."), 3, "the loss is nan."),
        (RuntimeError("DataLoader worker (pid 7) died"), 3, "DataLoader worker (pid 7) died"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Stopped(signal.SIGTERM), 143, "stopped by SIGTERM"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_errors_and_their_codes(error, code, said, capfd):
    assert ends(error) == code
    streams = capfd.readouterr()
    assert said in streams.err
    assert streams.err.count("\n") == bool(said)


def test_a_fault_of_praxino_itself_is_one_line_and_a_file(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # Wrong usage is what praxino itself refuses; the same class of error from elsewhere is not.
    for error in (ZeroDivisionError("division by zero"), ValueError("not ours"), TypeError("nor")):
        assert ends(error) == 70
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"internal error, {type(error).__name__}: {error}. Please report it with" in said
        kept = Path(said.split("the file ")[1].rstrip(".\n"))
        assert "Traceback" in kept.read_text()
        assert str(error) in kept.read_text()
    monkeypatch.setenv("PRAXINO_DEBUG", "1")
    assert ends(ZeroDivisionError("division by zero")) == 70
    assert "Traceback" in capsys.readouterr().err


def test_wrong_usage_is_what_praxino_raises(capsys, monkeypatch):
    assert run(["size", "0", "480"]) == 2
    assert "width must be above 0" in capsys.readouterr().err
    monkeypatch.setattr("praxino.video.size.raw_video_bytes", lambda *_: None)
    assert run(["size", "640", "480"]) == 70  # a TypeError in cli.py, which no one has raised
    assert "internal error, TypeError" in capsys.readouterr().err


def test_an_internal_fault_without_a_temporary_folder(capsys, monkeypatch):
    def no_folder(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkstemp", no_folder)
    assert ends(ZeroDivisionError("division by zero")) == 70
    assert "what it says with PRAXINO_DEBUG=1" in capsys.readouterr().err
