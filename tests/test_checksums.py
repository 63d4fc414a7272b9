"""Hashes of files, as the usual tool writes and reads them."""

import hashlib

import pytest

from praxino.checksums import changed_files, file_hash, write_sums


def test_changed_files_are_named(tmp_path):
    (tmp_path / "a b").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"two")
    write_sums(tmp_path, ["a b", "c"])
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    assert (tmp_path / "SHA256SUMS").read_text() == f"{one}  a b\n{two}  c\n"
    assert changed_files(tmp_path, ["a b", "c"]) == []
    (tmp_path / "a b").write_bytes(b"One")
    assert changed_files(tmp_path, ["a b", "c"]) == ["a b"]
    assert file_hash(tmp_path / "c") == two


def test_what_cannot_be_compared(tmp_path):
    (tmp_path / "a").touch()
    write_sums(tmp_path, [])
    with pytest.raises(ValueError, match=r"^SHA256SUMS does not name a$"):
        changed_files(tmp_path, ["a"])
    (tmp_path / "SHA256SUMS").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="codec can't decode"):
        changed_files(tmp_path, ["a"])
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(FileNotFoundError):
        changed_files(tmp_path, ["a"])
