import shutil
from pathlib import Path

import pytest

from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.source import open_source, root_of

ROWS = (Row("hug/a.mp4", ("hug",)), Row("kick/b.mp4", ("kick",)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders with two (empty) videos, and the same as manifests in both formats."""
    for row in ROWS:
        (tmp_path / "videos" / row.video).parent.mkdir(parents=True)
        (tmp_path / "videos" / row.video).touch()
    return tmp_path / "videos"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_of_class_folders(folder, kind):
    manifest = open_source(kind(folder))
    assert manifest.rows == ROWS
    assert root_of(kind(folder)) == manifest.root == folder
    assert manifest.missing() == []


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_manifest_beside_its_videos(folder, name, kind):
    Manifest.from_rows(ROWS, folder).write(folder / name)
    source = kind(folder / name)
    manifest = open_source(source)
    assert manifest.rows == ROWS
    assert root_of(source) == manifest.root == folder
    assert manifest.missing() == []


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_manifest_away_from_its_videos(folder, tmp_path, name, kind):
    (tmp_path / "lists").mkdir()
    source = kind(tmp_path / "lists" / name)
    Manifest.from_rows(ROWS, folder).write(source, keep_root=True)
    manifest = open_source(source, root=kind(folder))
    assert manifest.rows == ROWS
    assert root_of(source, kind(folder)) == manifest.root == folder
    assert manifest.missing() == []
    assert open_source(source).missing() == ["hug/a.mp4", "kick/b.mp4"]


def test_a_folder_is_its_own_root(folder, tmp_path):
    assert open_source(folder, root=tmp_path).root == root_of(folder, tmp_path) == folder


def test_relative_sources(folder, monkeypatch):
    Manifest.from_rows(ROWS, folder).write(folder / "list.csv")
    monkeypatch.chdir(folder)
    manifest = open_source("list.csv")
    assert root_of("list.csv") == manifest.root == Path()
    assert manifest.missing() == []
    (folder / "list.csv").unlink()
    assert open_source(".").root == root_of(".") == Path()


def test_a_folder_that_is_called_like_a_table(folder):
    shutil.move(folder, folder.with_name("videos.csv"))
    assert open_source(folder.with_name("videos.csv")).rows == ROWS


WHAT_TO_GIVE = r": give a folder of class folders, or a \.csv or \.parquet manifest\.$"


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv", "nowhere.parquet", "nowhere.txt"])
def test_nothing_there(tmp_path, name):
    with pytest.raises(ValueError, match=rf"/{name}' does not exist{WHAT_TO_GIVE}"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["kick.mp4", "list.json", "list"])
def test_a_file_of_another_kind(tmp_path, name):
    (tmp_path / name).write_text("video,label\na.mp4,kick\n")
    with pytest.raises(ValueError, match=rf"/{name}' is no folder or manifest{WHAT_TO_GIVE}"):
        open_source(tmp_path / name)


def test_an_empty_name_is_not_the_folder_one_is_in(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=rf"^'' does not exist{WHAT_TO_GIVE}"):
        open_source("")


def test_where_videos_start_from_is_known_when_they_are_gone(tmp_path):
    assert root_of(tmp_path / "gone") == tmp_path / "gone"
    assert root_of(tmp_path / "gone.csv") == tmp_path
    assert root_of(tmp_path / "gone.csv", tmp_path / "videos") == tmp_path / "videos"
