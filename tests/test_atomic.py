import os
import stat

import pytest

from praxino.atomic import atomic_write, check_writable, write_text
from praxino.errors import EnvironmentFault


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_half_way():
        with atomic_write(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFault, match=r"Cannot write .*a\.txt: No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_file_has_the_suffix_and_the_result_the_usual_rights(tmp_path):
    with atomic_write(tmp_path / "a.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")
    plain = tmp_path / "plain"
    plain.write_bytes(b"x")
    rights = [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a.mp4", plain)]
    assert rights[0] == rights[1]


def test_folders_and_devices_are_not_replaced_and_links_stay_links(tmp_path):
    with pytest.raises(ValueError, match=r"it is a folder\. Name another file"):
        write_text(tmp_path, "x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: it is not a regular file"):
        write_text(tmp_path / "pipe", "x")
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        EnvironmentFault, match=r"Cannot write .*a\.txt: (Not a directory|File exists)"
    ):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_the_longest_name_and_names_that_are_no_text(tmp_path):
    write_text(tmp_path / ("n" * 251 + ".txt"), "x")
    write_text(tmp_path / "odd.txt", "name \udcff")
    assert (tmp_path / "odd.txt").read_text() == "name \\udcff"


def test_whether_a_place_can_be_written_to_is_known_before(tmp_path):
    check_writable(tmp_path / "new" / "folders" / "a.txt")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"Cannot write .*: it is a folder\. Name another file\."):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(EnvironmentFault, match=r"file cannot be written to\. Name another"):
        check_writable(tmp_path / "file" / "a.txt")
