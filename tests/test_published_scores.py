"""Score files that authors have published, and what praxino makes of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from praxino.command.cli import run
from praxino.errors import EnvironmentFault
from praxino.fuse import fuse
from praxino.metrics.classification import hit_at_k
from praxino.metrics.fusion import l2_normalise
from praxino.published_scores import VARIABLE, Hmdb51Scores, read_published, verify_scores
from praxino.score_tables import read_scores

SPLITS = (1, 2, 3)


@pytest.fixture
def scores(lab_data: Path) -> Path:
    pytest.importorskip("h5py")
    pytest.importorskip("scipy.io")
    return lab_data / "published-scores"


def percentages(tables: list) -> list[float]:
    found = [100 * table.accuracy() for table in tables]
    return [round(value, 2) for value in (*found, np.mean(found))]


def test_hmdb51_by_fuse(scores: Path) -> None:
    """ActionVLAD's two streams, and with the SVM on dense trajectories: 66.54 and 69.72."""
    both, with_idt = [], []
    for split in SPLITS:
        streams = [scores / "actionvlad" / f"hmdb51_{s}_split{split}.h5" for s in ("rgb", "flow")]
        both.append(fuse(streams, weights=[1, 2]))
        with_idt.append(Hmdb51Scores(scores).with_idt(split))
    assert percentages([found.table for found in both]) == [66.73, 66.54, 66.34, 66.54]
    assert percentages([found.tables[0] for found in both]) == [51.37, 49.22, 48.63, 49.74]
    assert percentages([found.tables[1] for found in both]) == [58.95, 59.74, 60.59, 59.76]
    assert percentages(with_idt) == [70.13, 68.95, 70.07, 69.72]


def test_hmdb51_of_the_svm(scores: Path) -> None:
    tables = [read_scores(scores / "ltc" / f"hmdb51_idt_split{split}.mat") for split in SPLITS]
    assert percentages(tables) == [56.73, 57.19, 57.78, 57.23]


def test_rows_or_columns_as_they_stand_are_an_error_that_shows(scores: Path) -> None:
    """What the alignment is for: the fused accuracy of split 1 without it."""
    vlad, idt = Hmdb51Scores(scores).both_streams(1), Hmdb51Scores(scores).idt(1)
    assert vlad.labels is not None
    mixed = 0.75 * l2_normalise(vlad.scores) + 0.25 * l2_normalise(idt.scores)
    assert round(100 * hit_at_k(mixed, vlad.labels, 1), 1) == 59.9


def test_verify_compares_what_is_published(
    scores: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {row.model: row for row in verify_scores(scores)}
    assert {row.verdict for row in found.values()} == {"equal"}
    assert found["ActionVLAD, RGB + 2 flow"].ours.endswith(", 66.54")
    assert found["ActionVLAD + iDT"].ours == "70.13, 68.95, 70.07, 69.72"
    monkeypatch.setattr("praxino.verify.PUBLISHED", ())
    monkeypatch.setenv(VARIABLE, str(scores))
    assert run(["verify", "--json", "-"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 5


def test_what_is_not_at_hand_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert {row.verdict for row in verify_scores(None)} == {"not at hand"}
    (row, *_) = verify_scores(tmp_path)
    assert row.why == f"no rgb_split1.h5 in {tmp_path}"
    monkeypatch.setattr("praxino.verify.PUBLISHED", ())
    assert run(["verify"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "5 not at hand" in shown
    assert f"--scores FOLDER, or {VARIABLE}, says where the published score files are" in shown


def made(folder: Path, lines: str = "kick/2 40 0\nwave/1 30 1\n") -> Path:
    """A score file as ActionVLAD's, of two videos."""
    h5py = pytest.importorskip("h5py")
    (folder / "AllVideos.txt").write_text("wave/first.avi\nkick/second.avi\n")
    (folder / "test_split1.txt").write_text(lines)
    with h5py.File(folder / "rgb_split1.h5", "w") as file:
        file["stream0/logits"] = np.array([[2.0, 1.0], [0.0, 3.0]])
    return folder / "rgb_split1.h5"


def test_actionvlads_videos_are_lines_of_a_list(tmp_path: Path) -> None:
    found = read_published(made(tmp_path))
    assert found.videos == ("kick/second.avi", "wave/first.avi")
    assert found.classes == ("kick", "wave")
    assert found.accuracy() == 1.0


def test_lists_are_found_where_the_repository_has_them(tmp_path: Path) -> None:
    (tmp_path / "train_test_lists").mkdir()
    (tmp_path / "final_logits").mkdir()
    made(tmp_path / "train_test_lists")
    (tmp_path / "train_test_lists" / "rgb_split1.h5").rename(
        tmp_path / "final_logits" / "rgb_split1.h5"
    )
    assert len(read_published(tmp_path / "final_logits" / "rgb_split1.h5").videos) == 2


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("scipy.io")
    path = made(tmp_path, "kick/3 40 0\n")
    with pytest.raises(
        ValueError, match=r"The list of rgb_split1\.h5 has a line 'kick/3 40 0', wh"
    ):
        read_published(path)
    path = made(tmp_path)
    with h5py.File(path, "w") as file:
        file["other"] = np.ones(3)
    with pytest.raises(ValueError, match=r"rgb_split1\.h5 holds no stream0/logits: "):
        read_published(path)
    (tmp_path / "AllVideos.txt").unlink()
    with pytest.raises(
        ValueError, match=r"rgb_split1\.h5 needs the list AllVideos\.txt of its rep"
    ):
        read_published(path)
    with pytest.raises(ValueError, match=r"rgb\.h5 names no split, such as rgb_split1\.h5"):
        read_published(tmp_path / "rgb.h5")
    (tmp_path / "idt.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(ValueError, match=r"idt\.mat holds no scores_idt, gt_idt, vn_idt: "):
        read_published(tmp_path / "idt.mat")


def test_without_its_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        EnvironmentFault, match=r"rgb_split1\.h5 is read by h5py, .*praxino\[scores"
    ):
        read_published(path)
    (row, *_) = verify_scores(tmp_path)
    assert row.verdict == "not at hand"
    assert "praxino[scores]" in row.why
