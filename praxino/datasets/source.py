"""Whatever a user points at becomes a manifest: a folder of class folders, CSV or Parquet."""

from pathlib import Path

from praxino.datasets.folder import read_folder
from praxino.datasets.manifest import Manifest


def open_source(source: str | Path, *, root: str | Path | None = None) -> Manifest:
    """Read labelled videos from a folder of class folders, or a `.csv` or `.parquet` manifest.

    Args:
        source: the folder or manifest.
        root: where a manifest's videos are, if not beside it.

    Raises:
        ValueError: nothing there, or neither of these.
    """
    path = Path(source)
    if path.is_dir() and str(source):
        return read_folder(path)
    if path.suffix in (".csv", ".parquet") and path.is_file():
        return Manifest.read(path, root=root)
    what = "is no folder or manifest" if path.exists() and str(source) else "does not exist"
    raise ValueError(
        f"{str(source)!r} {what}: give a folder of class folders, or a .csv or .parquet manifest."
    )


def root_of(source: str | Path, root: str | Path | None = None) -> Path:
    """The folder that the video paths of `open_source(source, root=root)` start from."""
    path = Path(source)
    if path.suffix not in (".csv", ".parquet") or path.is_dir():
        return path  # a folder, whether it is still there or not
    return Path(root) if root is not None else path.parent
