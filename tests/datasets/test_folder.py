from pathlib import Path

import pytest

from praxino.datasets.folder import is_video, read_folder, videos_by_stem
from praxino.datasets.manifest import Row


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_class_folders(tmp_path: Path) -> None:
    make(tmp_path, "kick/b.mp4", "kick/a.MOV", "hug/a.avi", "hug/notes.txt")
    make(tmp_path, "hug/._a.avi", ".cache/x.mp4", "README.md")
    manifest = read_folder(tmp_path)
    assert manifest.rows == (
        Row("hug/a.avi", ("hug",)),
        Row("kick/a.MOV", ("kick",)),
        Row("kick/b.mp4", ("kick",)),
    )
    assert manifest.classes == ("hug", "kick")
    assert manifest.missing() == []


def test_split_folders(tmp_path: Path) -> None:
    make(tmp_path, "train/kick/a.mp4", "train/hug/a.mp4", "Validation/hug/b.mp4", "test/hug/c.mp4")
    manifest = read_folder(tmp_path)
    assert {(row.video, row.labels[0], row.split) for row in manifest} == {
        ("train/kick/a.mp4", "kick", "train"),
        ("train/hug/a.mp4", "hug", "train"),
        ("Validation/hug/b.mp4", "hug", "val"),
        ("test/hug/c.mp4", "hug", "test"),
    }


def test_links_to_videos_and_class_folders_are_followed(tmp_path: Path) -> None:
    store = make(tmp_path / "store", "k/a.mp4", "h.mp4")
    root = make(tmp_path / "videos", "hug/own.mp4")
    (root / "kick").symlink_to(store / "k", target_is_directory=True)
    (root / "hug" / "linked.mp4").symlink_to(store / "h.mp4")
    assert read_folder(root).videos == ("hug/linked.mp4", "hug/own.mp4", "kick/a.mp4")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"has no class folders; a classifier needs at least two"),
        (["kick/a.mp4"], r"has only the class 'kick'; a classifier needs at least two"),
        (["a.mp4", "b.mp4"], r"holds 'a.mp4' beside its class folders \(2 such videos\)"),
        (["a.mp4", "kick/b.mp4", "hug/c.mp4"], r"holds 'a.mp4' beside its class folders"),
        (["kick/b.mp4", "hug/c.txt"], r"hug has no videos \(it has files ending in .txt\)"),
        (["kick/a.mp4", "hug/p1/a.mp4"], r"hug/p1 holds videos inside a class folder"),
        (["kick/a.mp4", "hug/a.WMV"], r"hug/a.WMV is of a kind that praxino does not open"),
        (["train/kick/a.mp4", "hug/a.mp4"], r"the split folder 'train' beside 'hug'"),
        (["train/a.mp4", "val/b.mp4"], r"train holds 'a.mp4' beside its class folders"),
        (
            ["train/kick/a.mp4", "train/hug/a.mp4", "val/hop/a.mp4"],
            r"the class 'hop' occurs in val but not in train",
        ),
    ],
)
def test_other_layouts_are_explained(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_folder(make(tmp_path, *names))


def test_missing_folder_and_broken_link(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no folder .*none"):
        read_folder(tmp_path / "none")
    make(tmp_path, "kick/a.mp4", "hug/a.mp4")
    (tmp_path / "hug" / "b.mp4").symlink_to(tmp_path / "gone.mp4")
    with pytest.raises(ValueError, match=r"b.mp4 is a broken link or not a file"):
        read_folder(tmp_path)


def test_videos_by_stem(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "deep/er/b.mkv", "c.txt")
    assert videos_by_stem(tmp_path) == {"a": "a.mp4", "b": "deep/er/b.mkv"}
    assert videos_by_stem(tmp_path / "none") == {}
    make(tmp_path, "kick/a.avi")
    with pytest.raises(ValueError, match=r"holds a.mp4 and kick/a.avi: the same name twice"):
        videos_by_stem(tmp_path)


def test_is_video_looks_at_the_name_only() -> None:
    assert is_video(Path("a.MP4"))
    assert not is_video(Path(".a.mp4"))
    assert not is_video(Path("a.jpg"))
