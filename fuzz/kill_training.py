"""Stop a training run at random moments, resume it until it ends, compare it with one left alone.

    python fuzz/kill_training.py --runs 20                   # kill -9
    python fuzz/kill_training.py --runs 20 --signal TERM     # exit code and time to exit, too
    python fuzz/kill_training.py --saves 20                  # kill -9 in a loop of saves only

Every file that a run comes to is compared by its SHA-256: models, optimizer, random numbers,
metrics, predictions; of the TensorBoard curves, every point. Half of the kills hit the main
process only, half its whole group. `--saves` does the same to the pattern that most training
code has, `torch.save` into the final file, for comparison. Leaves with 1 if anything differed, was
damaged, showed a traceback or lived on.
"""

import argparse
import hashlib
import importlib
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # as in the runs: the number of threads changes last digits

import av
import numpy as np
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from torch import nn

from praxino.command import cli
from praxino.errors import EnvironmentFault
from praxino.runs import training_state

training = importlib.import_module("praxino.train")  # the file, not the function of that name

RESULTS = (
    "best.safetensors",
    "last.safetensors",
    "metrics.jsonl",
    "training_items.jsonl",
    "items.jsonl",
    "predictions.parquet",
    "manifest.parquet",
    "config.json",
)
PHASES = ("start", "step", "save", "validation", "evaluation")


def make_videos(folder: Path) -> None:
    """Two classes that only the order of the frames tells apart, 8 videos of each."""
    rng = np.random.default_rng(0)
    for number in range(8):
        ramp = np.linspace(rng.integers(10, 60), rng.integers(160, 240), 12).astype(np.uint8)
        for name, values in (("brighter", ramp), ("darker", ramp[::-1])):
            path = folder / name / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            with av.open(str(path), "w") as container:
                stream = container.add_stream("libx264", rate=10, options={"crf": "12"})
                stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
                for value in values:
                    pixels = rng.integers(0, 12, (40, 48, 3), dtype=np.uint8) + value
                    frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))


def arguments(videos: Path, run: Path, epochs: int) -> list[str]:
    """A run with dropout, augmentation, two loader processes and validation in every epoch."""
    said = f"train {videos} --run {run} --model.name small_3d --model.options.frames 4"
    said += " --model.options.size 16 --model.weights none --data.val-fraction 0.25"
    said += f" --data.workers 2 --epochs {epochs} --clips-per-video 4 --batch-size 4"
    return [*said.split(), "--save-every-seconds", "0.05"]


# --- starting and stopping -----------------------------------------------------------------------


def start(words: list[str], log: Path, phase: mmap.mmap, *, fresh: bool) -> int:
    """Run the command line in a process group of its own; gives its process id.

    Forked from this process unless `fresh`, which spares the seconds that the imports take and
    tells in `phase` what the run is doing.
    """
    phase[0] = 0
    if fresh:
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "praxino", *words],
                stdout=file,
                stderr=file,
                start_new_session=True,
            ).pid
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has none
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        training._train = _phased(training._train, phase, "step", "start", leaves="step")
        training_state.save_state = _phased(training_state.save_state, phase, "save")
        training._validate = _phased(training._validate, phase, "validation")
        training.evaluate = _phased(training.evaluate, phase, "evaluation", leaves="evaluation")
        cli.main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 71
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _phased(
    function: Callable, phase: mmap.mmap, name: str, first: str | None = None, leaves: str = "step"
) -> Callable:
    def wrapped(*args: object, **kwargs: object) -> object:
        phase[0] = PHASES.index(first or name)
        try:
            return function(*args, **kwargs)
        finally:
            phase[0] = PHASES.index(leaves)

    return wrapped


def wait(pid: int, seconds: float) -> int | None:
    """The exit code, as a shell gives it, or None if it still runs after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def members(group: int) -> list[int]:
    """Processes of a group that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


# --- comparing -----------------------------------------------------------------------------------


def digest(run: Path) -> dict[str, str]:
    """SHA-256 of all that a run came to."""
    state = sorted((run / "state").glob("step-*[0-9]"))[-1]
    files = [run / name for name in RESULTS]
    files += [state / f"{name}.safetensors" for name in ("model", "optimizer", "random")]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    progress = json.loads((state / "state.json").read_text())["progress"]
    del progress["curves"]  # in how many files they are depends on how often it was stopped
    result = json.loads((run / "result.json").read_text())
    del result["protocol"]["checkpoint"]  # the path of the run
    for name, said in (("state", progress), ("result", result), ("curves", curves(run))):
        found[name] = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    return found


def curves(run: Path) -> list[tuple[str, int, float]]:
    """Every point in the TensorBoard files, in their order."""
    points = []
    for path in sorted(run.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                points.append((value.tag, event.step, value.tensor.float_val[0]))
    return points


# --- the two experiments -------------------------------------------------------------------------


def stop_and_resume(options: argparse.Namespace, folder: Path) -> dict:
    """One run left alone, then `options.runs` that are stopped at random and resumed."""
    videos, number = folder / "videos", getattr(signal, f"SIG{options.signal}")
    make_videos(videos)
    phase = mmap.mmap(-1, 1)  # shared with what is forked from here
    log, rng = folder / "log.txt", random.Random(options.seed)
    begun = time.monotonic()
    whole = arguments(videos, folder / "whole", options.epochs)
    if wait(start(whole, log, phase, fresh=options.fresh), 3600) != 0:
        sys.exit(f"The undisturbed run failed: see {log}.")
    length, expected = time.monotonic() - begun, digest(folder / "whole")
    last = (folder / "whole" / "metrics.jsonl").read_text().splitlines()[-1]
    steps = json.loads(last)["step"]
    print(f"undisturbed: {steps} steps, {length:.1f} s", flush=True)

    equal, stops, codes, seconds, different, stray = 0, Counter(), Counter(), [], [], []
    groups = []
    for attempt in range(options.runs):
        run, stopped = folder / f"run-{attempt:02d}", 0
        while True:
            words = arguments(videos, run, options.epochs)
            if (run / "config.json").exists():
                words.append("--resume")
            pid = start(words, log, phase, fresh=options.fresh)
            # The first is stopped for certain, wherever it is; later ones half of the time.
            again = stopped == 0 or rng.random() < 0.5
            code = wait(pid, rng.uniform(0, length) if again else 3600)
            if code is None:
                where = "untold" if options.fresh else PHASES[phase[0]]
                asked = time.monotonic()
                whole_group = rng.random() < 0.5
                (os.killpg if whole_group else os.kill)(pid, number)
                code = wait(pid, 60)
                if code is None:
                    sys.exit(f"Process {pid} did not end within 60 s of {options.signal}.")
                seconds.append(time.monotonic() - asked)
                stops[where] += code != 0
                groups.append(pid)
                codes[code] += 1
                stopped += code != 0
            elif code:
                sys.exit(f"Attempt {attempt} ended with exit code {code}: see {log}.")
            if code == 0:
                if stopped:
                    break
                shutil.rmtree(run)  # it ended before it could be stopped
        found = digest(run)
        differs = [name for name in expected if found[name] != expected[name]]
        equal += not differs
        different += [f"{run.name}: {', '.join(differs)}"] if differs else []
        print(f"{run.name}: stopped {stopped} times, {differs or 'equal'}", flush=True)
        if not differs:
            shutil.rmtree(run)
    time.sleep(12)  # loader processes whose parent is gone look for it every five seconds
    stray = [group for group in groups if members(group)]
    said = log.read_text(errors="replace")
    return {
        "signal": options.signal,
        "runs": options.runs,
        "equal": equal,
        "steps": steps,
        "stops": sum(stops.values()),
        "stops_by_phase": dict(stops),
        "exit_codes": dict(codes),
        "slowest_exit_seconds": round(max(seconds), 2),
        "different": different,
        "states_found_damaged": said.count("is damaged"),
        "tracebacks": said.count("Traceback"),
        "groups_that_live_on": len(stray),
    }


def kill_in_saves(kills: int, folder: Path, seed: int) -> dict:
    """Kill loops that do nothing but save; count how often the newest checkpoint is unreadable."""
    rng, unreadable = random.Random(seed), Counter()

    def learner() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.ones(1, 512)).sum().backward()
        optimizer.step()
        return model, optimizer

    ways = ("praxino", "torch.save into the final file")
    for way in ways:
        for kill in range(kills):
            place = folder / f"{way[:5]}-{kill}"
            place.mkdir()
            pid = os.fork()
            if pid == 0:
                model, optimizer = learner()
                for step in range(1, 10**6):
                    if way == "praxino":
                        progress = training_state.Progress(step=step)
                        training_state.save_state(place, model, optimizer, progress)
                    else:
                        both = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                        torch.save(both, place / f"{step:08d}.pt")
                os._exit(0)
            whole = "state/step-*[0-9]" if way == "praxino" else "00000002.pt"  # so 1 is whole
            while not any(place.glob(whole)):
                time.sleep(0.001)
            time.sleep(rng.uniform(0.3, 1.5))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            try:
                if way == "praxino":
                    if training_state.load_state(place, *learner())[2]:
                        unreadable[way] += 1
                else:
                    torch.load(sorted(place.glob("*.pt"))[-1], weights_only=True)
            except (ValueError, RuntimeError, EOFError, OSError, EnvironmentFault):
                unreadable[way] += 1
            shutil.rmtree(place)
        print(f"{way}: newest checkpoint unreadable after {unreadable[way]} of {kills} kills")
    return {"kills": kills, "newest_unreadable": {way: unreadable[way] for way in ways}}


def problems(report: dict[str, dict]) -> list[str]:
    """A line for each thing that no stop may lead to."""
    lines = []
    if "training" in report:
        training = report["training"]
        lines += [f"Not as if left alone: {line}" for line in training["different"]]
        for name in ("states_found_damaged", "tracebacks", "groups_that_live_on"):
            if training[name]:
                lines.append(f"{name.replace('_', ' ')}: {training[name]}, expected 0.")
    if "saves" in report and (times := report["saves"]["newest_unreadable"]["praxino"]):
        lines.append(f"praxino's newest state was unreadable after {times} kills, expected 0.")
    return lines


def main() -> None:
    """Read the options, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=0, help="runs to stop and to resume")
    parser.add_argument("--saves", type=int, default=0, help="kills in a loop of saves")
    parser.add_argument("--signal", default="KILL", choices=("KILL", "TERM", "INT", "USR1", "HUP"))
    parser.add_argument("--epochs", type=int, default=17, help="of 12 steps each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="a new interpreter for each start")
    parser.add_argument("--folder", type=Path, help="keep everything here")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kill-training-"))
    folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, dict] = {}
    if options.saves:
        report["saves"] = kill_in_saves(options.saves, folder, options.seed)
    if options.runs:
        report["training"] = stop_and_resume(options, folder)
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))
    if options.folder is None:
        shutil.rmtree(folder)
    found = problems(report)
    for line in found:
        print(line, file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
