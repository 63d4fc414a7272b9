import csv
import io
import json

import numpy as np
import pytest

from praxino.results import Recognition, table_csv

RESULT = Recognition(
    video="kick.mp4",
    classes=("kick", "punch", "wave"),
    scores=np.array([0.2, 0.7, 0.1]),
    clip_seconds=np.array([[0.0, 1.0], [1.0, 2.0]]),
    clip_scores=np.array([[0.3, 0.6, 0.1], [0.1, 0.8, 0.1]]),
    protocol="mean over 2 clips",
)


def test_top_is_best_first_and_ties_keep_the_order_of_classes():
    assert RESULT.top(2) == [("punch", 0.7), ("kick", 0.2)]
    assert len(RESULT.top(9)) == 3


@pytest.mark.parametrize(
    ("seconds", "row"), [(0.0, 0), (0.99, 0), (1.0, 1), (1.7, 1), (2.0, 1), (9.0, 1), (-1.0, 0)]
)
def test_scores_at_a_moment(seconds, row):
    assert RESULT.scores_at(seconds).tolist() == RESULT.clip_scores[row].tolist()


def test_overlapping_clips_are_averaged():
    both = Recognition(
        "a", ("x", "y"), np.array([0.5, 0.5]), np.array([[0.0, 2.0], [1.0, 3.0]]),
        np.array([[1.0, 0.0], [0.0, 1.0]]), "",
    )  # fmt: skip
    assert both.scores_at(1.5).tolist() == [0.5, 0.5]


def test_json_and_csv(tmp_path):
    said = json.loads(RESULT.save(tmp_path / "a.json").read_text())
    assert list(said["scores"]) == ["punch", "kick", "wave"]
    assert said["clips"][1] == {
        "start_seconds": 1.0, "end_seconds": 2.0, "scores": [0.1, 0.8, 0.1],
    }  # fmt: skip
    assert RESULT.save(tmp_path / "a.csv").read_text() == (
        "video,label,score\nkick.mp4,punch,0.700000\nkick.mp4,kick,0.200000\n"
        "kick.mp4,wave,0.100000\n"
    )


def test_names_with_commas_and_quotes_survive_the_csv():
    odd = Recognition('a,"b".mp4', ("x",), np.ones(1), np.zeros((1, 2)), np.ones((1, 1)), "")
    rows = list(csv.reader(io.StringIO(table_csv([odd, RESULT], 1))))
    assert rows[1] == ['a,"b".mp4', "x", "1.000000"]
    assert rows[2][0] == "kick.mp4"


def test_unknown_suffix_and_nothing_to_draw_on(tmp_path):
    with pytest.raises(ValueError, match=r"Cannot save a result as 'a\.txt': use \.json"):
        RESULT.save(tmp_path / "a.txt")
    for name in ("a.mp4", "a.png"):
        with pytest.raises(ValueError, match=r"Cannot draw on 'kick\.mp4': it was not read from"):
            RESULT.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_prints_itself():
    assert str(RESULT).splitlines()[:2] == ["kick.mp4", " 70.0%  punch"]
