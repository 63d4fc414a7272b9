"""Kinetics-400, -600 and -700 (Kay et al., 2017, arXiv:1705.06950; Carreira et al., 2018, 2019).

The official lists are CSV files with the columns label, youtube_id, time_start, time_end, split
and, in some releases, is_cc. A clip cut from its video is called `<id>_<start>_<end>.mp4` with
the seconds in six digits. Clips disappear from the web, so part of a list is usually missing:
`Manifest.drop_missing` leaves those rows out and says how many there were.
"""

import csv
import re
from pathlib import Path
from typing import Literal

from praxino.datasets.folder import videos_by_stem
from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.tables import raise_problems

VALIDATION_ROWS = {400: 19_906, 600: 30_000}
_SPLITS = {"train": "train", "val": "val", "validate": "val", "test": "test"}


def read_kinetics(
    annotations: str | Path, videos: str | Path, num_classes: Literal[400, 600, 700]
) -> Manifest:
    """Read one official list.

    Args:
        annotations: the CSV of one split.
        videos: the folder with the cut clips, flat or in class folders, of any video format; a
            clip that is not there is expected at `<label>/<id>_<start>_<end>.mp4`.
        num_classes: which Kinetics the list must be.

    Returns:
        One row per clip, without times because the clips are already cut; the group is the
        video's id. Classes are in alphabetical order, as in the published label maps.

    Raises:
        ValueError: missing columns, wrong lines, the wrong number of classes, or a validation
            list with another number of rows than published.
    """
    annotations = Path(annotations)
    if not annotations.is_file():
        raise ValueError(f"There is no file {annotations}.")
    on_disk = videos_by_stem(videos)
    rows: list[Row] = []
    problems: list[tuple[str, str]] = []
    with annotations.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = {"label", "youtube_id", "time_start", "time_end", "split"}
        if absent := sorted(columns - set(reader.fieldnames or ())):
            raise ValueError(f"{annotations.name}: no column {', '.join(absent)} in the header.")
        for cells in reader:
            try:
                rows.append(_row(cells, on_disk))
            except ValueError as error:
                problems.append((f"{annotations.name}:{reader.line_num}", str(error)))
    raise_problems(annotations.name, problems)
    manifest = Manifest.from_rows(rows, videos)
    if len(manifest.classes) != num_classes:
        raise ValueError(
            f"Kinetics-{num_classes} has {num_classes} classes, {annotations.name} has "
            f"{len(manifest.classes)}."
        )
    expected = VALIDATION_ROWS.get(num_classes)
    if manifest.splits == ("val",) and expected and len(manifest) != expected:
        raise ValueError(
            f"The validation list of Kinetics-{num_classes} has {expected} rows, "
            f"{annotations.name} has {len(manifest)}."
        )
    return manifest


def _row(cells: dict[str, str], on_disk: dict[str, str]) -> Row:
    if not all(isinstance(value, str) for value in cells.values()):
        raise ValueError("not as many cells as the header has columns")
    identity = cells["youtube_id"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{11}", identity):
        raise ValueError(f"youtube_id={identity!r} is not an id of 11 characters")
    for name in ("time_start", "time_end"):
        if not re.fullmatch(r"\d{1,6}", cells[name]):
            raise ValueError(f"{name}={cells[name]!r} is not a whole number of seconds")
    start, end = int(cells["time_start"]), int(cells["time_end"])
    if end <= start:
        raise ValueError(f"time_end={end} is not after time_start={start}")
    if cells["split"] not in _SPLITS:
        raise ValueError(f"split={cells['split']!r} is not one of {', '.join(_SPLITS)}")
    stem, label = f"{identity}_{start:06d}_{end:06d}", cells["label"]
    video = on_disk.get(stem, f"{label}/{stem}.mp4")
    return Row(video, (label,), group=identity, split=_SPLITS[cells["split"]])
