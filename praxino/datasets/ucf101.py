"""UCF101 (Soomro, Zamir and Shah, 2012, arXiv:1212.0402): 101 classes, 13 320 clips, three splits.

The official lists are `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`; the videos lie in
one folder per class. Clips of one class are cut from 25 recordings each, numbered in the file name
(`v_Archery_g07_c02.avi`), and no recording is in both halves of a split.
"""

import re
from pathlib import Path
from typing import Literal

from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.tables import raise_problems

NUM_CLASSES = 101
SPLIT_SIZES = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}  # (train, test)
_CLIP = re.compile(r"(?P<label>\w+)/v_(?P<name>\w+)_(?P<group>g\d\d)_c\d\d\.avi")


def read_ucf101(
    annotations: str | Path, videos: str | Path, split: Literal[1, 2, 3] = 1
) -> Manifest:
    """Read one official split.

    Args:
        annotations: the folder of the lists (`ucfTrainTestlist`).
        videos: the folder that holds the class folders (`UCF-101`). It need not exist yet.
        split: 1, 2 or 3. Accuracy is usually the mean over the three.

    Returns:
        Rows in "train" and "test", classes in the official order, groups "g01" to "g25".

    Raises:
        ValueError: a list is missing, a line is not of the official form, or the counts differ
            from the published ones.
    """
    annotations = Path(annotations)
    if split not in SPLIT_SIZES:
        raise ValueError(f"UCF101 has the splits 1, 2 and 3, got {split!r}.")
    classes = _read_classes(annotations / "classInd.txt")
    rows: list[Row] = []
    problems: list[tuple[str, str]] = []
    sizes = []
    for name, half in ((f"trainlist0{split}.txt", "train"), (f"testlist0{split}.txt", "test")):
        lines = [line for line in _lines(annotations / name) if line[1]]
        for number, line in lines:
            # Training lines end in the number of the class; in some copies test lines do too.
            video, _, class_number = line.partition(" ")
            clip = _CLIP.fullmatch(video)
            # HandstandPushups holds clips called v_HandStandPushups_...: the case differs.
            if clip is None or clip["label"].lower() != clip["name"].lower():
                problems.append((f"{name}:{number}", f"{line!r} is not Class/v_Class_g01_c01.avi"))
            elif clip["label"] not in classes:
                problems.append((f"{name}:{number}", f"{clip['label']!r} is not in classInd.txt"))
            elif class_number and class_number != str(classes.index(clip["label"]) + 1):
                problems.append(
                    (f"{name}:{number}", f"class {class_number} is not {clip['label']!r}")
                )
            else:
                rows.append(Row(video, (clip["label"],), group=clip["group"], split=half))
        sizes.append(len(lines))
    raise_problems(f"UCF101 split {split}", problems)
    if tuple(sizes) != SPLIT_SIZES[split]:
        raise ValueError(
            f"UCF101 split {split} has {SPLIT_SIZES[split][0]} training and "
            f"{SPLIT_SIZES[split][1]} test clips, the lists in {annotations} have {sizes[0]} and "
            f"{sizes[1]}. Unpack the official lists again."
        )
    return Manifest.from_rows(rows, videos, classes)


def _read_classes(path: Path) -> list[str]:
    classes = [line.partition(" ")[2] for _, line in _lines(path) if line]
    if len(set(classes)) != NUM_CLASSES:
        raise ValueError(
            f"UCF101 has {NUM_CLASSES} classes, {path} lists {len(set(classes))}. Unpack the "
            "official lists again."
        )
    return classes


def _lines(path: Path) -> list[tuple[int, str]]:
    if not path.is_file():
        raise ValueError(f"There is no {path.name} in {path.parent}.")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(number, line.strip()) for number, line in enumerate(lines, 1)]
