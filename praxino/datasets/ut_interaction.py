"""UT-Interaction (Ryoo and Aggarwal, SDHA 2010), segmented: 2 sets, 6 interactions, 120 clips.

A clip is called `<number>_<sequence>_<class>.avi`: `10_2_1.avi` is clip 10, cut from sequence 2,
class 1 (hug). Sequences 1 to 10 are set 1 (a parking lot), 11 to 20 set 2 (a windy lawn); each
sequence shows one pair of people. The authors leave one sequence out, within each set.
"""

import csv
import re
from pathlib import Path

from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.tables import raise_problems

CLASSES = ("handshake", "hug", "kick", "point", "punch", "push")  # numbered from 0 in file names
SETS = ("set1", "set2")
CLIPS_PER_CLASS, SEQUENCES_PER_SET = 10, 10  # in each set
_CLIP = re.compile(r"\d+_(?P<sequence>\d{1,2})_(?P<label>[0-5])\.avi")


def read_ut_interaction(annotations: str | Path | None, videos: str | Path) -> Manifest:
    """Read both sets, from the official file names or from a table.

    Args:
        annotations: None reads the names in `segmented_set1` and `segmented_set2`. For clips that
            were renamed: a CSV with the columns clip (path relative to `videos`), label,
            sequence ("seq01") and set ("set1").
        videos: the folder that holds the two set folders.

    Returns:
        120 rows without a split, group "set1/seq01" to "set2/seq20". `cross_set` and
        `praxino.datasets.splits.leave_one_group_out` make the splits.

    Raises:
        ValueError: a set folder is missing, a name or line is not of the form above, or a class
            has not 10 clips in a set.
    """
    videos = Path(videos)
    if annotations is None:
        rows, problems = _rows_of_names(videos)
    else:
        rows, problems = _rows_of_table(Path(annotations))
    raise_problems("UT-Interaction", problems)
    for name in SETS:
        own = [row for row in rows if row.group.startswith(name)]
        sequences = len({row.group for row in own})
        if sequences != SEQUENCES_PER_SET:
            problems.append((name, f"{sequences} sequences, published are {SEQUENCES_PER_SET}"))
        for label in CLASSES:
            clips = sum(row.labels == (label,) for row in own)
            if clips != CLIPS_PER_CLASS:
                problem = f"{clips} clips of {label!r}, published are {CLIPS_PER_CLASS}"
                problems.append((name, problem))
    raise_problems(f"UT-Interaction in {videos}", problems)
    return Manifest.from_rows(rows, videos, CLASSES)


def cross_set(manifest: Manifest, test: str = "set2") -> Manifest:
    """Train on one set, test on the other: another place, other people.

    Args:
        manifest: from `read_ut_interaction`.
        test: "set1" or "set2".
    """
    if test not in SETS:
        raise ValueError(f"The sets of UT-Interaction are set1 and set2, got {test!r}.")
    return manifest.with_split(
        ["test" if row.group.startswith(f"{test}/") else "train" for row in manifest]
    )


def _rows_of_names(videos: Path) -> tuple[list[Row], list[tuple[str, str]]]:
    rows, problems = [], []
    for name in SETS:
        folder = videos / f"segmented_{name}"
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}; unpack segmented_{name}.zip there.")
        for path in sorted(folder.glob("*.avi"), key=lambda path: _number(path.name)):
            found = _CLIP.fullmatch(path.name)
            if found is None or _set_of(int(found["sequence"])) != name:
                problem = f"not <number>_<sequence of {name}>_<class 0-5>.avi"
                problems.append((f"{folder.name}/{path.name}", problem))
            else:
                group = f"{name}/seq{int(found['sequence']):02d}"
                label = CLASSES[int(found["label"])]
                rows.append(Row(f"{folder.name}/{path.name}", (label,), group=group))
    return rows, problems


def _rows_of_table(table: Path) -> tuple[list[Row], list[tuple[str, str]]]:
    if not table.is_file():
        raise ValueError(f"There is no file {table}.")
    rows, problems = [], []
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = {"clip", "label", "sequence", "set"}
        if absent := sorted(columns - set(reader.fieldnames or ())):
            raise ValueError(f"{table.name}: no column {', '.join(absent)} in the header.")
        for cells in reader:
            place = f"{table.name}:{reader.line_num}"
            sequence = re.fullmatch(r"seq(\d\d)", cells["sequence"] or "")
            if cells["label"] not in CLASSES:
                problems.append((place, f"label={cells['label']!r} is not a class"))
            elif sequence is None or _set_of(int(sequence[1])) != cells["set"]:
                problem = f"sequence={cells['sequence']!r} is not in set={cells['set']!r}"
                problems.append((place, problem))
            else:
                group = f"{cells['set']}/{cells['sequence']}"
                try:
                    rows.append(Row(cells["clip"], (cells["label"],), group=group))
                except ValueError as error:
                    problems.append((place, str(error)))
    return rows, problems


def _set_of(sequence: int) -> str:
    """The set a sequence belongs to; "" if there is no such sequence."""
    return f"set{(sequence + 9) // 10}" if 1 <= sequence <= 20 else ""


def _number(name: str) -> tuple[int, str]:
    first = name.partition("_")[0]
    return (int(first) if first.isdecimal() else -1, name)
