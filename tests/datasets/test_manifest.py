import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxino.datasets import manifest as manifest_module
from praxino.datasets.manifest import ClassCount, Manifest, Row

# SHA-256 of '["hug", "kick"]\n["a.mp4", ["kick"], null, 2.5, "p1", "train"]', hashed by sha256sum.
HASH_ON_PAPER = "88ef41c8dc6af0258fdaef57a954e2131dfb9706c5e0b9af5d0d8e72eb9c462a"


def csv_file(folder: Path, text: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def three_rows(root: Path) -> Manifest:
    rows = [
        Row("a.mp4", ("kick",), 0.0, 2.5, "p1", "train"),
        Row("a.mp4", ("kick", "hug"), 2.5, 4.0, "p1", "train"),
        Row("sub/b.mp4", (), group="p2", split="test"),
    ]
    return Manifest.from_rows(rows, root)


# Reading


def test_two_columns_are_enough(tmp_path: Path) -> None:
    manifest = Manifest.read(csv_file(tmp_path, "video,label\nx/a.mp4,kick\nb.mp4,hug\n"))
    assert manifest.rows == (Row("x/a.mp4", ("kick",)), Row("b.mp4", ("hug",)))
    assert manifest.classes == ("hug", "kick")
    assert manifest.path(manifest[0]) == tmp_path / "x/a.mp4"
    assert [manifest.class_ids(row) for row in manifest] == [(1,), (0,)]


def test_all_columns_in_any_order_with_extra_ones(tmp_path: Path) -> None:
    text = (
        "split,end_seconds,start_seconds,labels,group,video,notes\n"
        "train,2.5,1,kick; hug,p1,a.mp4,blurred\n\n,,,,,b.mp4,\n"
    )
    manifest = Manifest.read(csv_file(tmp_path, text))
    assert manifest.rows == (
        Row("a.mp4", ("kick", "hug"), 1.0, 2.5, "p1", "train"),
        Row("b.mp4"),
    )


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = csv_file(tmp_path, b"\xef\xbb\xbfvideo,label\r\na.mp4,kick\r\n")
    assert Manifest.read(path).rows == (Row("a.mp4", ("kick",)),)


def test_given_classes_set_the_order(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "video,label\na.mp4,kick\n")
    assert Manifest.read(path, classes=["kick", "hug"]).classes == ("kick", "hug")
    with pytest.raises(ValueError, match=r"list.csv:2: label='kick' is not one of the 1 classes.*"):
        Manifest.read(path, classes=["kicks"])


def test_same_path_written_differently_is_one_video(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "video,label\n./x//a.mp4,kick\nx/a.mp4,kick\n")
    with pytest.raises(ValueError, match=r"list.csv:3: 'x/a.mp4': the same video and span as list"):
        Manifest.read(path)


def test_absolute_path_inside_the_root_becomes_relative(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"video,label\n{tmp_path}/x/a.mp4,kick\n")
    assert Manifest.read(path)[0].video == "x/a.mp4"
    assert Manifest.read(path, root="/")[0].video == f"{tmp_path}/x/a.mp4".lstrip("/")
    with pytest.raises(ValueError, match=r"x/a.mp4' is absolute and not inside the root"):
        Manifest.read(path, root=tmp_path / "y")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../a.mp4,kick,,", r"video='../a.mp4' leads out of the root by '..'"),
        ("x/../a.mp4,kick,,", r"leads out of the root"),
        ("..\\a.mp4,kick,,", r"leads out of the root"),
        ("/etc/passwd,kick,,", r"video='/etc/passwd' is absolute and not inside the root"),
        ("C:\\a.mp4,kick,,", r"is absolute"),
        ("a\0.mp4,kick,,", r"video='a\\x00.mp4' contains NUL"),
        (",kick,,", r"video='' is not a path"),
        (".,kick,,", r"video='.' is not a path"),
        ("a.mp4,ki\0ck,,", r"label='ki\\x00ck' is not a class name"),
        ("a.mp4,kick;kick,,", r"labels=\('kick', 'kick'\) names a class twice"),
        ("a.mp4,kick,nan,", r"start_seconds=nan is not finite"),
        ("a.mp4,kick,,inf", r"end_seconds=inf is not finite"),
        ("a.mp4,kick,soon,", r"start_seconds='soon' is not a number"),
        ("a.mp4,kick,-1,", r"start_seconds=-1.0 is below 0"),
        ("a.mp4,kick,3,2", r"end_seconds=2.0 is not after start_seconds=3.0"),
        ("a.mp4,kick,2,2", r"end_seconds=2.0 is not after start_seconds=2.0"),
        ("a.mp4,kick,,0", r"end_seconds=0.0 is not after start_seconds=0"),
        ("a.mp4,kick", r"2 cells, but the header names 4 columns"),
        ("a.mp4,kick,,,", r"5 cells, but the header names 4 columns"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    header = "video,label,start_seconds,end_seconds\nfine.mp4,kick,,\n"
    with pytest.raises(ValueError, match=rf"^list.csv:3: .*{message}"):
        Manifest.read(csv_file(tmp_path, header + line + "\n"))


def test_bad_split_is_named(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "video,label,split\na.mp4,kick,validation\n")
    with pytest.raises(
        ValueError, match=r"list.csv:2: split='validation' is not one of train, val"
    ):
        Manifest.read(path)


def test_all_problems_are_listed_up_to_twenty(tmp_path: Path) -> None:
    lines = [f"../{number}.mp4,kick" for number in range(25)]
    with pytest.raises(ValueError, match=r"^list.csv: 25 problems\n") as caught:
        Manifest.read(csv_file(tmp_path, "\n".join(["video,label", *lines])))
    shown = str(caught.value).splitlines()
    assert len(shown) == 22
    assert shown[1].startswith("list.csv:2: ")
    assert shown[20].startswith("list.csv:21: ")
    assert shown[21] == "... and 5 more"


def test_problems_of_both_kinds_come_in_order_of_lines(tmp_path: Path) -> None:
    text = 'video,label\n"new\nline.mp4",kick\na.mp4,kick\na.mp4,hug\n../b.mp4,hug\n'
    with pytest.raises(ValueError, match=r"2 problems") as caught:
        Manifest.read(csv_file(tmp_path, text))
    first, second = str(caught.value).splitlines()[1:]
    assert first == (
        "list.csv:5: 'a.mp4': the same video and span as list.csv:4, with other labels; put all "
        "labels of a span into one row"
    )
    assert second.startswith("list.csv:6: video='../b.mp4'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.csv: the file is empty; a manifest starts with the line video,label"),
        ("video,label\n", "list.csv: the table has a header but no rows"),
        ("a.mp4 0\nb.mp4 1\n", "no column 'video' and no column 'labels' in the header 'a.mp4 0'"),
        ("video;label\na;b\n", "A manifest is comma-separated"),
        ("vidoe,label\na,b\n", "column 'vidoe': did you mean 'video'?"),
        ("path,action\na,b\n", "column 'path': did you mean 'video'. column 'action': did you "),
        ("video,label,splt\na,b,c\n", "column 'splt': did you mean 'split'?"),
        ("video,label,start\na,b,1\n", "column 'start': did you mean 'start_seconds'?"),
        ("video,label,labels\na,b,c\n", "the header names the column 'labels' twice"),
        ('video,label\n"a.mp4,b\n', "list.csv:2: not readable as CSV: unexpected end of data"),
        ("video,label\na,b\n".encode("utf-16"), "the file is UTF-16. Save it as UTF-8"),
        (b"video,label\nd\xe9j\xe0.mp4,b\n", "byte 0xe9 near line 1 is not UTF-8"),
        ("video,label\n" + "a" * 1_100_000, "list.csv:2: a line of over 1000000 characters"),
    ],
)
def test_file_that_is_no_manifest(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Manifest.read(csv_file(tmp_path, text))


def test_other_suffix_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no manifest .*none.csv"):
        Manifest.read(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"list.txt: a manifest ends in .parquet or .csv"):
        Manifest.read(csv_file(tmp_path, "video,label\na,b\n", "list.txt"))
    with pytest.raises(ValueError, match=r"list.txt: a manifest ends in .parquet or .csv"):
        three_rows(tmp_path).write(tmp_path / "list.txt")


def test_foreign_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {"video": ["a.mp4", "b.mp4"], "label": ["kick", "hug"], "split": [None, "val"]}
    )
    pq.write_table(table, tmp_path / "list.parquet")
    manifest = Manifest.read(tmp_path / "list.parquet")
    assert manifest.rows == (Row("a.mp4", ("kick",)), Row("b.mp4", ("hug",), split="val"))


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"list.parquet: not readable as Parquet"):
        Manifest.read(path)
    columns = {"video": [7, 8], "label": ["kick", "hug"], "start_seconds": ["x", "y"]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(
        ValueError, match=r"list.parquet:2: video=8 is not a path; start_seconds='y"
    ):
        Manifest.read(path)
    pq.write_table(pa.table({"video": ["a.mp4"], "label": [3]}), path)
    with pytest.raises(ValueError, match=r"list.parquet:1: label=3 is not a class name"):
        Manifest.read(path)
    table = pa.table({"video": ["a.mp4"], "label": ["kick"]})
    pq.write_table(table.replace_schema_metadata({"praxino.classes": "[1"}), path)
    with pytest.raises(ValueError, match=r"the class list in the file is damaged: b'\[1'"):
        Manifest.read(path)


# Writing


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_round_trip_above_the_root_rewrites_the_paths(tmp_path: Path, suffix: str) -> None:
    manifest = three_rows(tmp_path / "videos")
    manifest.write(tmp_path / f"all{suffix}")
    again = Manifest.read(tmp_path / f"all{suffix}")
    assert again.root == tmp_path
    assert [row.video for row in again] == ["videos/a.mp4", "videos/a.mp4", "videos/sub/b.mp4"]
    assert [again.path(row) for row in again] == [manifest.path(row) for row in manifest]
    assert [row.labels for row in again] == [row.labels for row in manifest]
    assert sorted(os.listdir(tmp_path)) == [f"all{suffix}"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_round_trip_away_from_the_root(tmp_path: Path, suffix: str) -> None:
    manifest = three_rows(tmp_path / "videos")
    path = tmp_path / "run" / f"all{suffix}"
    with pytest.raises(ValueError, match=r"run does not contain the videos' folder .*videos"):
        manifest.write(path)
    manifest.write(path, keep_root=True)
    again = Manifest.read(path, root=tmp_path / "videos")
    assert again == manifest
    assert again.hash == manifest.hash


def test_parquet_keeps_the_classes_and_their_order(tmp_path: Path) -> None:
    classes = ["kick", "hug", "never seen"]
    Manifest.from_rows(three_rows(tmp_path), tmp_path, classes).write(tmp_path / "all.parquet")
    assert Manifest.read(tmp_path / "all.parquet").classes == tuple(classes)


def test_csv_cannot_hold_a_class_with_a_semicolon(tmp_path: Path) -> None:
    manifest = Manifest.from_rows([Row("a.mp4", ("sit; stand",))], tmp_path)
    with pytest.raises(ValueError, match=r"The class 'sit; stand' contains ';'"):
        manifest.write(tmp_path / "all.csv")
    manifest.write(tmp_path / "all.parquet")
    assert Manifest.read(tmp_path / "all.parquet") == manifest


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VIDEOS = st.sampled_from(
    ["a';touch pwned;'.mp4", "-rf.mp4", "--help", "%03d.jpg", "new\nline.mp4", "re\rturn.mp4"]
)
GROUPS = NAMES.map(str.strip)


@settings(max_examples=40)
@given(
    video=st.one_of(
        VIDEOS, NAMES.filter(lambda name: name.strip() and not set(name) & set("/\\.:"))
    ),
    labels=st.lists(GROUPS.filter(bool), unique=True, max_size=3),
    group=GROUPS,
)
def test_any_name_survives_both_formats(
    tmp_path_factory: pytest.TempPathFactory, video: str, labels: list[str], group: str
) -> None:
    folder = tmp_path_factory.mktemp("names")
    manifest = Manifest.from_rows([Row(video, tuple(labels), 0.1, 1 / 3, group)], folder)
    manifest.write(folder / "all.parquet")
    assert Manifest.read(folder / "all.parquet") == manifest
    if not any(";" in label for label in labels):
        manifest.write(folder / "all.csv")
        assert Manifest.read(folder / "all.csv") == manifest


# Rows made in Python


def test_row_checks_itself() -> None:
    with pytest.raises(TypeError, match=r"labels must be a tuple of class names, got 'kick'"):
        Row("a.mp4", "kick")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"group=' p1' is not a name"):
        Row("a.mp4", group=" p1")
    with pytest.raises(ValueError, match=r"video='a\\udcff.mp4' contains NUL or is not valid"):
        Row("a\udcff.mp4")
    with pytest.raises(ValueError, match=r"end_seconds=True is not a number"):
        Row("a.mp4", end_seconds=True)


def test_manifest_checks_its_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 1: 'a.mp4': the same video and span as row 0$"):
        Manifest.from_rows([Row("a.mp4"), Row("a.mp4", start_seconds=0.0)], tmp_path)
    with pytest.raises(ValueError, match=r"label='hugs' is not one of the 1 .* Did you mean 'hug'"):
        Manifest((Row("a.mp4", ("hugs",)),), tmp_path, ("hug",))
    with pytest.raises(ValueError, match=r"classes: a class is listed twice"):
        Manifest((), tmp_path, ("hug", "hug"))


# Asking


def test_select(tmp_path: Path) -> None:
    manifest = three_rows(tmp_path)
    assert len(manifest.select(split="train")) == 2
    assert len(manifest.select(split="val")) == 0
    assert manifest.select(labels=["hug"]).rows == (manifest[1],)
    assert manifest.select(labels=["hug"]).classes == ("hug", "kick")
    assert manifest.select(groups=["p2"]).rows == (manifest[2],)
    assert manifest.select(split="train", where=lambda row: len(row.labels) == 1)[0] == manifest[0]
    assert manifest.splits == ("train", "test")
    assert manifest.groups == ("p1", "p2")
    assert manifest.videos == ("a.mp4", "sub/b.mp4")


def test_select_refuses_what_does_not_exist(tmp_path: Path) -> None:
    manifest = three_rows(tmp_path)
    with pytest.raises(ValueError, match=r"There is no split 'trian'. Did you mean 'train'"):
        manifest.select(split="trian")
    with pytest.raises(ValueError, match=r"There is no class 'kicks'. Did you mean 'kick'"):
        manifest.select(labels=["kicks"])
    with pytest.raises(ValueError, match=r"There is no group 'subject'. There are \['p1', 'p2'\]"):
        manifest.select(groups=["subject"])
    with pytest.raises(TypeError, match=r"Pass a list of names, got the string 'kick'"):
        manifest.select(labels="kick")


def test_with_split(tmp_path: Path) -> None:
    manifest = three_rows(tmp_path)
    assert [row.split for row in manifest.with_split("val")] == ["val"] * 3
    assert [row.split for row in manifest.with_split(["val", "", "test"])] == ["val", "", "test"]
    with pytest.raises(ValueError, match=r"Got 2 split names for 3 rows"):
        manifest.with_split(["val", "test"])
    with pytest.raises(ValueError, match=r"split='dev' is not one of train, val, test or empty"):
        manifest.with_split("dev")


def test_counts(tmp_path: Path) -> None:
    assert three_rows(tmp_path).counts() == [
        ClassCount("hug", "train", rows=1, videos=1, seconds=1.5),
        ClassCount("kick", "train", rows=2, videos=1, seconds=4.0),
        ClassCount("", "test", rows=1, videos=1, seconds=None),
    ]


def test_missing_videos_are_counted_and_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    manifest = three_rows(tmp_path)
    assert manifest.missing() == ["sub/b.mp4"]
    present, report = manifest.drop_missing()
    assert len(present) == 2
    assert report == f"1 of 2 videos are in {tmp_path}; 1 are missing, the first is sub/b.mp4."


def test_hash_depends_on_content_and_order_but_not_on_the_root(tmp_path: Path) -> None:
    row, other = Row("a.mp4", ("kick",), None, 2.5, "p1", "train"), Row("b.mp4", ("hug",))
    manifest = Manifest.from_rows([row], tmp_path, ["hug", "kick"])
    assert manifest.hash == HASH_ON_PAPER
    assert manifest.hash == Manifest.from_rows([row], "/elsewhere", ["hug", "kick"]).hash
    both = Manifest.from_rows([row, other], tmp_path)
    assert both.hash != Manifest.from_rows([other, row], tmp_path).hash
    assert both.hash != Manifest.from_rows([row, other], tmp_path, ["kick", "hug"]).hash


def test_repr_is_one_short_line(tmp_path: Path) -> None:
    assert repr(three_rows(tmp_path)) == f"Manifest(2 train, 1 test; 2 classes; {tmp_path})"
    assert repr(Manifest.from_rows([], "v")) == "Manifest(no rows; 0 classes; v)"


def test_no_path_outside_the_root_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[str] = []
    monkeypatch.setattr(
        manifest_module.Path, "is_file", lambda path: touched.append(str(path)) or True
    )
    path = csv_file(tmp_path, "video,label\n../../secret.mp4,kick\n/etc/passwd,kick\n")
    with pytest.raises(ValueError, match=r"2 problems"):
        Manifest.read(path)
    assert touched == [str(path)]
