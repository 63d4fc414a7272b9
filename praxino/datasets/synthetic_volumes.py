"""Two rendered tasks on volumes: one that needs the third dimension, and one that does not.

* `nodule`: spheres (`nodule`) or cylinders through all slices (`vessel`). In a slice both are
  discs, and no slice tells them apart: every slice of either class has as many discs, at places
  that are drawn alike, and their radii are those of randomly cut spheres. Only from slice to slice
  does a sphere grow, shrink and end where a vessel goes on.
* `finding`: one bright spot in exactly one slice (`finding`), or none (`clear`), as a bleeding in a
  CT of the head may show. Nothing is to be gained from the slices around it: the largest answer of
  a network that looks at single slices is enough.

Each disc of a nodule volume is a cut through one of a row of spheres: where one ends the next one
begins, somewhere else. The rows are out of step with each other by equal amounts, so that all
radii occur in every slice; a vessel volume has vessels of just such radii. Cylinders are oblique,
their axis leans and their cuts are round, and what leaves at one side comes in at the other, lest
the edges tell.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from praxino.atomic import atomic_write, write_text
from praxino.datasets.manifest import Manifest, Row
from praxino.did_you_mean import did_you_mean

Task = Literal["nodule", "finding"]

CLASSES: dict[Task, tuple[str, str]] = {
    "nodule": ("nodule", "vessel"),
    "finding": ("clear", "finding"),
}
# Hounsfield units: nodules and vessels in lung, fresh blood in brain.
BACKGROUND = {"nodule": -800.0, "finding": 35.0}
OBJECT = {"nodule": 40.0, "finding": 75.0}
NOISE = {"nodule": 120.0, "finding": 8.0}  # standard deviation
WINDOW: dict[Task, tuple[float, float]] = {"nodule": (-400.0, 1400.0), "finding": (45.0, 80.0)}

RADIUS = 4.0  # of nodules, in pixels and in slices
ROWS = 4  # discs in a slice
MOST_LEAN = 0.8  # pixels that a vessel moves from one slice to the next
SPOT_RADII = (2.5, 4.0)

# Of ten volumes of a class six are trained on, one is validated on and three are tested on.
_SPLITS = ("train", "test", "train", "train", "val", "train", "test", "train", "train", "test")
_LEAST = {"volumes_per_class": 10, "seed": 0, "slices": 8, "size": 16}


@dataclass(frozen=True)
class _Settings:
    """The arguments of `render_volumes`, kept beside the volumes as `settings.json`."""

    task: Task
    volumes_per_class: int
    seed: int
    slices: int
    size: int
    rendering: int = 1  # raised whenever the same arguments would give other volumes

    def __post_init__(self) -> None:
        if self.task not in CLASSES:
            raise ValueError(f"There is no task {self.task!r}.{did_you_mean(self.task, CLASSES)}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")


def render_volumes(
    folder: str | Path,
    *,
    task: Task = "nodule",
    volumes_per_class: int = 300,
    seed: int = 0,
    slices: int = 16,
    size: int = 32,
) -> Path:
    """Render the volumes: `folder/<class>/<number>.npy` and `folder/manifest.csv`.

    The same arguments give the same files. The manifest is written last: a folder without one was
    interrupted, and is rendered anew.

    Args:
        folder: new, empty, or rendered with the same arguments.
        task: `nodule` or `finding`.
        volumes_per_class: at least 10, so that some are in every split.
        seed: another seed is other volumes.
        slices: in each volume, at least 8.
        size: height and width of a slice in pixels, at least 16.

    Returns:
        The path of the manifest.

    Raises:
        ValueError: an argument is out of its range, or the folder holds something else.
        EnvironmentFault: the disk is full or not writable.
    """
    settings = _Settings(task, volumes_per_class, seed, slices, size)
    folder = Path(folder)
    _claim(folder, settings)
    manifest = folder / "manifest.csv"
    if manifest.exists():
        return manifest
    rows = []
    for name in CLASSES[task]:
        for number in range(volumes_per_class):
            split = _SPLITS[number % len(_SPLITS)]
            rows.append(Row(f"{name}/{number:04d}.npy", (name,), split=split))
            volume = render_volume(name, number, seed=seed, slices=slices, size=size)
            with atomic_write(folder / rows[-1].video) as path, path.open("wb") as file:
                npy.write_array(file, volume, allow_pickle=False)
    Manifest.from_rows(rows, folder).write(manifest)
    return manifest


def render_volume(
    name: str, number: int, *, seed: int = 0, slices: int = 16, size: int = 32
) -> NDArray[np.int16]:
    """One volume of a class: `(slices, size, size)` in Hounsfield units.

    Args:
        name: the class.
        number: the same one gives the same volume, whatever else is rendered.
        seed: another seed is other volumes.
        slices: T.
        size: H and W.

    Raises:
        ValueError: there is no such class.
    """
    known = [(task, one) for task, pair in CLASSES.items() for one in pair]
    found = [place for place, (_, one) in enumerate(known) if one == name]
    if not found:
        names = [one for _, one in known]
        raise ValueError(f"There is no class {name!r}.{did_you_mean(name, names)}")
    task, rng = known[found[0]][0], np.random.default_rng([seed, found[0], number])
    there = _filled(name, slices, size, rng)
    units = BACKGROUND[task] + (OBJECT[task] - BACKGROUND[task]) * there
    units += rng.normal(0, NOISE[task], units.shape)
    return np.rint(units).astype(np.int16)


def _filled(name: str, slices: int, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How much of each voxel of `(T, H, W)` is of an object, from 0 to 1."""
    there = np.zeros((slices, size, size))
    if name == "finding":
        radius = rng.uniform(*SPOT_RADII)
        place = rng.uniform(radius, size - radius, (1, 2))
        there[rng.integers(slices)] = _discs(place, np.array([radius]), size)
    if name in ("nodule", "vessel"):
        start = rng.random()  # how far the first row is into a sphere, as a share of its diameter
        for row in range(ROWS):
            depth = start + row / ROWS + np.zeros(slices)  # in spheres, since the row began
            if name == "nodule":
                depth += np.arange(slices) / (2 * RADIUS)
                spheres = rng.uniform(0, size, (int(depth[-1]) + 1, 2))
                places = spheres[depth.astype(int)]  # (T, 2)
            else:
                angle, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0, MOST_LEAN)
                way = lean * np.array([np.sin(angle), np.cos(angle)])
                places = rng.uniform(0, size, 2) + np.arange(slices)[:, None] * way
            radii = RADIUS * np.sqrt(1 - (2 * (depth % 1) - 1) ** 2)
            there = np.maximum(there, _discs(places % size, radii, size))
    return there


def _discs(
    places: NDArray[np.float64], radii: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """`(T, H, W)` discs with soft edges at `(T, 2)` places; opposite sides of a picture touch."""
    away = np.abs(np.arange(size) - places[:, :, None])  # (T, 2, size)
    away = np.minimum(away, size - away)
    distance = np.hypot(away[:, 0, :, None], away[:, 1, None, :])  # (T, size, size)
    discs: NDArray[np.float64] = np.clip(radii[:, None, None] - distance + 0.5, 0, 1)
    return discs


def _claim(folder: Path, settings: _Settings) -> None:
    """Refuse a folder with other contents; otherwise leave the settings in it."""
    record, wanted = folder / "settings.json", asdict(settings)
    if record.is_file():
        found = _read_record(record)
        changed = [name for name, value in wanted.items() if found.get(name) != value]
        if changed:
            raise ValueError(
                f"{folder} was rendered with {changed[0]}={found.get(changed[0])!r}, not "
                f"{wanted[changed[0]]!r}. Choose another folder, or delete this one."
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} holds something else. Choose a new or an empty folder.")
    else:
        write_text(record, json.dumps(wanted, indent=2) + "\n")


def _read_record(record: Path) -> dict[str, object]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
