from collections import Counter
from pathlib import Path

import pytest

from praxino.datasets.kinetics import read_kinetics
from praxino.datasets.manifest import Row

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


def test_kinetics_400(lab_data: Path) -> None:
    folder = lab_data / "annotations"
    manifest = read_kinetics(folder / "kinetics" / "kinetics-400_val.csv", "k400", 400)
    assert len(manifest) == 19_906
    assert manifest.splits == ("val",)
    label_map = folder / "label_maps" / "kinetics" / "label_map_k400.txt"
    assert list(manifest.classes) == label_map.read_text().splitlines()
    assert manifest[0] == Row(
        "abseiling/0wR5jVB-WPk_000417_000427.mp4", ("abseiling",), None, None, "0wR5jVB-WPk", "val"
    )


def test_kinetics_600(lab_data: Path) -> None:
    folder = lab_data / "annotations"
    manifest = read_kinetics(folder / "kinetics" / "kinetics-600_val.csv", "k600", 600)
    assert len(manifest) == 30_000
    assert set(Counter(row.labels for row in manifest).values()) == {50}
    label_map = folder / "label_maps" / "kinetics" / "label_map_k600.txt"
    assert list(manifest.classes) == label_map.read_text().splitlines()


def test_clips_on_disk_are_found_flat_or_in_folders_and_the_rest_dropped(
    lab_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "abseiling").mkdir()
    (tmp_path / "abseiling" / "0wR5jVB-WPk_000417_000427.mkv").touch()
    (tmp_path / "3caPS4FHFF8_000036_000046.mp4").touch()
    annotations = lab_data / "annotations" / "kinetics" / "kinetics-400_val.csv"
    manifest, report = read_kinetics(annotations, tmp_path, 400).drop_missing()
    assert manifest.videos == (
        "abseiling/0wR5jVB-WPk_000417_000427.mkv",
        "3caPS4FHFF8_000036_000046.mp4",
    )
    assert report.startswith(f"2 of 19906 videos are in {tmp_path}; 19904 are missing, the first")
    assert len(manifest.classes) == 400


def test_training_lists_may_have_any_number_of_rows(tmp_path: Path) -> None:
    lines = [f"class {n % 400:03d},id{n:09d},{n},{n + 10},train,1\n" for n in range(1000)]
    (tmp_path / "train.csv").write_text(HEADER + "".join(lines))
    manifest = read_kinetics(tmp_path / "train.csv", tmp_path, 400)
    assert manifest.splits == ("train",)
    assert manifest[7].video == "class 007/id000000007_000007_000017.mp4"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hug,../../../et,0,10,val,0", r"list.csv:2: youtube_id='../../../et' is not an id of 11"),
        ("hug,abcdefghijk,0.5,10,val,0", r"list.csv:2: time_start='0.5' is not a whole number"),
        ("hug,abcdefghijk,0,x,val,0", r"list.csv:2: time_end='x' is not a whole number"),
        ("hug,abcdefghijk,10,10,val,0", r"list.csv:2: time_end=10 is not after time_start=10"),
        ("hug,abcdefghijk,0,10,dev,0", r"list.csv:2: split='dev' is not one of train, val, valid"),
        ("hug,abcdefghijk", r"list.csv:2: not as many cells as the header has columns"),
        ("hug,abcdefghijk,0,10,val,0,1", r"list.csv:2: not as many cells as the header has col"),
        ("../x,abcdefghijk,0,10,val,0", r"list.csv:2: video='../x/.*' leads out of the root"),
        ("hug,abcdefghijk,0,10,val,0", r"Kinetics-400 has 400 classes, list.csv has 1"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(HEADER + line + "\n")
    with pytest.raises(ValueError, match=message):
        read_kinetics(tmp_path / "list.csv", tmp_path, 400)


def test_validation_list_of_the_wrong_length(tmp_path: Path) -> None:
    lines = [f"class {n:03d},id{n:09d},{n},{n + 10},validate,1\n" for n in range(400)]
    (tmp_path / "val.csv").write_text(HEADER + "".join(lines))
    with pytest.raises(ValueError, match=r"list of Kinetics-400 has 19906 rows, val.csv has 400"):
        read_kinetics(tmp_path / "val.csv", tmp_path, 400)


def test_missing_file_and_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no file .*none.csv"):
        read_kinetics(tmp_path / "none.csv", tmp_path, 400)
    (tmp_path / "list.csv").write_text("label,youtube_id\n")
    with pytest.raises(ValueError, match=r"list.csv: no column split, time_end, time_start"):
        read_kinetics(tmp_path / "list.csv", tmp_path, 400)
