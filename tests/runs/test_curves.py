"""TensorBoard files that are cut back to a saved point."""

import errno
import os
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from praxino.errors import EnvironmentFault
from praxino.runs.curves import Curves, cut_back


def points(run) -> list[tuple[int, float]]:
    curves = EventAccumulator(str(run)).Reload()
    if "loss" not in curves.Tags()["scalars"]:
        return []
    return [(point.step, point.value) for point in curves.Scalars("loss")]


def names(run) -> list[str]:
    return sorted(path.name for path in run.glob("events*"))


def test_tensorboard_reads_what_was_written(tmp_path):
    with Curves(tmp_path, 0) as curves:
        for step in range(1, 4):
            curves.add("loss", 1 / 2**step, step)
            assert points(tmp_path)[-1] == (step, 1 / 2**step)  # at once, with nothing closed
    assert points(tmp_path) == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert names(tmp_path) == ["events.out.tfevents.0000000001"]


def test_what_came_after_the_saved_point_is_gone_even_if_the_clock_goes_back(tmp_path, monkeypatch):
    with Curves(tmp_path, 0) as curves:
        curves.add("loss", 1.0, 1)
        curves.add("loss", 2.0, 2)
        saved = curves.position()
        curves.add("loss", 3.0, 3)
        curves.add("loss", 4.0, 4)
    with Curves(tmp_path, 2) as curves:  # of a session that never saved
        curves.add("loss", 30.0, 3)
    assert saved[0] == 1
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86400)
    assert cut_back(tmp_path, *saved) == []
    assert points(tmp_path) == [(1, 1.0), (2, 2.0)]
    with Curves(tmp_path, 2) as curves:
        curves.add("loss", 3.0, 3)
        assert curves.position()[0] == 2
    assert points(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert cut_back(tmp_path, 0, 0) == []
    assert names(tmp_path) == []


def test_a_tensorboard_that_is_watching_forgets_what_is_done_again(tmp_path):
    with Curves(tmp_path, 0) as curves:
        for step in (1, 2, 3):
            curves.add("loss", 1.0, step)
    watching = EventAccumulator(str(tmp_path)).Reload()
    with Curves(tmp_path, 1) as curves:
        curves.add("loss", 7.0, 2)
    watching.Reload()
    assert [(p.step, p.value) for p in watching.Scalars("loss")] == [(1, 1.0), (2, 7.0)]


def test_missing_curves_are_told(tmp_path):
    with Curves(tmp_path, 0) as curves:
        curves.add("loss", 1.0, 1)
        saved = curves.position()
    missing = [f"A part of the TensorBoard curves in {tmp_path} is missing."]
    os.truncate(tmp_path / names(tmp_path)[0], saved[1] - 1)
    assert cut_back(tmp_path, *saved) == missing
    (tmp_path / names(tmp_path)[0]).unlink()
    assert cut_back(tmp_path, *saved) == missing


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "events.out.tfevents.1700000000.host.12.0").write_bytes(b"mine")
    with Curves(tmp_path, 0):
        pass
    cut_back(tmp_path, 0, 0)
    assert names(tmp_path) == ["events.out.tfevents.1700000000.host.12.0"]


def test_a_full_disk_is_told_at_once(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    with Curves(tmp_path, 0) as curves:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, curves._file.fileno())
        os.close(full)
        with pytest.raises(EnvironmentFault, match=r"Cannot write .*0000000001: No space left"):
            curves.add("loss", 1.0, 1)


def test_a_disk_that_fails_while_flushing_is_told(tmp_path, monkeypatch):
    def failing(handle):
        raise OSError(errno.EIO, "Input/output error")

    with Curves(tmp_path, 0) as curves:
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(EnvironmentFault, match="Input/output error"):
            curves.position()
    with pytest.raises(EnvironmentFault, match="Cannot write"):
        Curves(tmp_path / "none", 0)
