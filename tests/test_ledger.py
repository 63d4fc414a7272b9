import json

import pytest

from praxino.errors import VideoError
from praxino.ledger import Ledger


def filled() -> Ledger:
    ledger = Ledger()
    ledger.ok("a.mp4")
    ledger.partial("b.mp4", 40, 52)
    ledger.failed("c.mp4", VideoError("c.mp4", "not a video.", code="unsupported_container"))
    ledger.skipped("d.mp4", "done_before")
    return ledger


def test_one_line_per_item_and_the_sum_is_the_number_of_items(tmp_path):
    ledger = filled()
    ledger.write(tmp_path / "items.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert lines == [
        {"item": "a.mp4", "status": "ok"},
        {
            "item": "b.mp4",
            "status": "partial",
            "code": "short",
            "message": "40 of 52 frames could be read",
            "frames_got": 40,
            "frames_expected": 52,
        },
        {
            "item": "c.mp4",
            "status": "failed",
            "code": "unsupported_container",
            "message": "c.mp4: not a video.",
        },
        {"item": "d.mp4", "status": "skipped", "code": "done_before"},
    ]
    assert ledger.counts == {"ok": 1, "partial": 1, "failed": 1, "skipped": 1}


def test_a_second_line_for_an_item_is_refused():
    ledger = filled()
    with pytest.raises(ValueError, match=r"already has a line for 'a\.mp4'"):
        ledger.failed("a.mp4", ValueError("late"))


def test_exit_code_is_one_when_something_failed():
    assert filled().exit_code == 1
    fine = Ledger()
    fine.ok("a")
    fine.partial("b", 1, 2)
    assert fine.exit_code == 0


def test_other_errors_are_named_by_their_class():
    ledger = Ledger()
    ledger.failed("a", OSError("disk"))
    assert ledger.failures[0].code == "OSError"
