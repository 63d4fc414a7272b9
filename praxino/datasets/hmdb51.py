"""HMDB51 (Kuehne et al., ICCV 2011): 51 classes, 6 766 clips, three splits of 70 + 30 per class.

The official lists are 153 files `<class>_test_split<N>.txt`, a line per clip: its name and 1 for
training, 2 for testing or 0 for unused in this split. The videos lie in one folder per class.
"""

import re
from pathlib import Path
from typing import Literal

from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.tables import raise_problems

NUM_CLASSES = 51
TRAIN_PER_CLASS, TEST_PER_CLASS = 70, 30
NUM_CLIPS = 6766  # listed in every split, used or not
_USE = {"0": None, "1": "train", "2": "test"}


def read_hmdb51(
    annotations: str | Path, videos: str | Path, split: Literal[1, 2, 3] = 1
) -> Manifest:
    """Read one official split.

    Args:
        annotations: the folder of the lists (`testTrainMulti_7030_splits`).
        videos: the folder that holds the class folders. It need not exist yet.
        split: 1, 2 or 3. Accuracy is usually the mean over the three.

    Returns:
        3570 "train" and 1530 "test" rows, classes in alphabetical order. The group is the class
        and the recording that the clip was cut from: what stands before the class in its name.
        Within a class no recording is in both halves; the same film may serve two classes.

    Raises:
        ValueError: lists are missing, a line is not of the official form, or the counts differ
            from the published ones.
    """
    annotations = Path(annotations)
    if split not in (1, 2, 3):
        raise ValueError(f"HMDB51 has the splits 1, 2 and 3, got {split!r}.")
    ending = f"_test_split{split}.txt"
    # Sorted by class, not by file: climb comes before climb_stairs, climb_test... after it.
    classes = sorted(path.name.removesuffix(ending) for path in annotations.glob(f"*{ending}"))
    if len(classes) != NUM_CLASSES:
        raise ValueError(
            f"HMDB51 has {NUM_CLASSES} classes, {annotations} has {len(classes)} files *{ending}. "
            "Unpack the official lists again."
        )
    rows: list[Row] = []
    problems: list[tuple[str, str]] = []
    listed = 0
    for label in classes:
        path = annotations / f"{label}{ending}"
        class_rows = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            listed += 1
            found = re.fullmatch(rf"([^/]+)_{re.escape(label)}_([^/]+\.avi) ([012])", line.strip())
            if found is None:
                problem = f"{line!r} is not <recording>_{label}_<...>.avi and 0, 1 or 2"
                problems.append((f"{path.name}:{number}", problem))
            elif half := _USE[found[3]]:
                video = f"{label}/{found[1]}_{label}_{found[2]}"
                class_rows.append(Row(video, (label,), group=f"{label}/{found[1]}", split=half))
        train = sum(row.split == "train" for row in class_rows)
        test = len(class_rows) - train
        if (train, test) != (TRAIN_PER_CLASS, TEST_PER_CLASS):
            problem = f"{train} training and {test} test clips, published are 70 and 30"
            problems.append((path.name, problem))
        rows += class_rows
    if listed != NUM_CLIPS:
        problems.append((str(annotations), f"{listed} clips, published are {NUM_CLIPS}"))
    raise_problems(f"HMDB51 split {split}", problems)
    return Manifest.from_rows(rows, videos, classes)
