"""KTH (Schuldt, Laptev and Caputo, ICPR 2004): 6 actions, 25 people, 4 scenarios, 2391 sequences.

The official list is `00sequences.txt`: for each of the 599 videos its sequences as frame ranges.
A row of the manifest is one sequence. Training, validation and test people are the authors'.
"""

import re
from pathlib import Path

from praxino.datasets.folder import videos_by_stem
from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.tables import raise_problems

CLASSES = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")
NUM_SEQUENCES = 2391
FRAMES_PER_SECOND = 25
PEOPLE = {
    "train": (11, 12, 13, 14, 15, 16, 17, 18),
    "val": (1, 4, 19, 20, 21, 23, 24, 25),
    "test": (2, 3, 5, 6, 7, 8, 9, 10, 22),
}
_SPLIT_OF = {person: split for split, people in PEOPLE.items() for person in people}
_VIDEO = re.compile(r"(?P<video>person(?P<person>\d\d)_(?P<label>[a-z]+)_d[1-4])\s+(?P<rest>.*)")
_RANGES = re.compile(r"frames\s+\d+-\d+(,\s*\d+-\d+)*")


def read_kth(annotations: str | Path, videos: str | Path) -> Manifest:
    """Read the sequences with the official split by person.

    Args:
        annotations: the file `00sequences.txt`.
        videos: the folder with the videos (`person01_boxing_d1_uncomp.avi`), flat or in class
            folders; a video that is not there yet is expected in its class folder.

    Returns:
        2391 rows in "train", "val" and "test", group "person01" to "person25". The inclusive
        frame ranges, counted from 1, become half-open seconds at 25 frames a second; the ranges
        of a few videos overlap by some frames, as published.

    Raises:
        ValueError: a line is not of the official form, or the number of sequences is wrong.
    """
    annotations = Path(annotations)
    if not annotations.is_file():
        raise ValueError(f"There is no file {annotations}; KTH needs its 00sequences.txt.")
    on_disk = videos_by_stem(videos)
    rows: list[Row] = []
    problems: list[tuple[str, str]] = []
    for number, line in enumerate(annotations.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("person"):
            continue  # a blank line, or the explanation above the table
        place, found = f"{annotations.name}:{number}", _VIDEO.fullmatch(line.rstrip())
        if found is None or found["label"] not in CLASSES or int(found["person"]) not in _SPLIT_OF:
            problems.append((place, f"{line!r} does not start with person01_boxing_d1 or the like"))
        elif found["rest"] == "*missing*":
            continue  # one video was never recorded
        elif not _RANGES.fullmatch(found["rest"]):
            problems.append(
                (place, f"{found['rest']!r} is not frames and ranges like 1-95, 96-185")
            )
        else:
            stem, label = f"{found['video']}_uncomp", found["label"]
            for first, last in re.findall(r"(\d+)-(\d+)", found["rest"]):
                try:
                    row = Row(
                        on_disk.get(stem, f"{label}/{stem}.avi"),
                        (label,),
                        start_seconds=(int(first) - 1) / FRAMES_PER_SECOND,
                        end_seconds=int(last) / FRAMES_PER_SECOND,
                        group=f"person{found['person']}",
                        split=_SPLIT_OF[int(found["person"])],
                    )
                except ValueError as error:
                    problems.append((place, f"frames {first}-{last}: {error}"))
                else:
                    rows.append(row)
    raise_problems("KTH", problems)
    if len(rows) != NUM_SEQUENCES:
        raise ValueError(
            f"KTH has {NUM_SEQUENCES} sequences, {annotations} lists {len(rows)}. Download the "
            "official 00sequences.txt again."
        )
    return Manifest.from_rows(rows, videos, CLASSES)
