"""Point-light people: a data set that is rendered, not downloaded.

After the moving-light displays of Johansson, "Visual perception of biological motion and a model
for its analysis", Perception & Psychophysics 14, 1973: thirteen bright dots on the joints of a
person in the dark. One frame is a cloud of dots; in motion, everybody sees who walks and who sits.

Three questions can be asked of a model, each with its own part of the data:

* **appearance** (variant "appearance"): the classes differ in colours, shapes and ground only; what
  the figure does is drawn at random.
* **motion** (variant "motion"): the classes differ in what the figure does; all look alike.
* **order** (the pairs in `ORDER_PAIRS`): a video of one class is a video of the other played
  backwards. Both show the same single frames, so whoever tells them apart has seen the order.

The last sentence must hold for the files, not only for the figures: each frame is encoded for
itself at a fixed quantiser, so that no frame is better or worse than another for where it stands.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from praxino.atomic import atomic_write, write_text
from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.pointlight_figures import (
    ACTIONS,
    LOOKS,
    ORDER_PAIRS,
    PLAYED_BACKWARDS,
    Array,
    draw,
    point_lights,
    random_person,
)
from praxino.did_you_mean import did_you_mean
from praxino.errors import EnvironmentFault
from praxino.video.reader import open_video

Variant = Literal["motion", "appearance"]

CLASSES: dict[Variant, tuple[str, ...]] = {
    "motion": ACTIONS,
    "appearance": tuple(sorted(LOOKS)),
}
PEOPLE = 20
# Of ten people seven are trained on, one is validated on and two are tested on.
_SPLITS = ("train", "train", "train", "val", "train", "train", "test", "train", "train", "test")
_LEAST = {
    "videos_per_class": 10,
    "seed": 0,
    "size": 32,
    "frames_per_second": 8,
    "seconds": 1,
    "noise_dots": 0,
}


@dataclass(frozen=True)
class _Settings:
    """The arguments of `render_pointlight`, kept beside the videos as `settings.json`."""

    variant: Variant
    classes: tuple[str, ...]
    videos_per_class: int
    seed: int
    size: int
    frames_per_second: int
    seconds: float
    noise_dots: int
    dropped: float
    rendering: int = 1  # raised whenever the same arguments would give other pictures

    def __post_init__(self) -> None:
        known = CLASSES[self.variant]
        for name in self.classes:
            if name not in known:
                raise ValueError(
                    f"There is no {self.variant} class {name!r}.{did_you_mean(name, known)}"
                )
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two or more, each once, got {self.classes}.")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if self.size % 2:
            raise ValueError(f"size must be even, as H.264 wants it, got {self.size}.")
        if not 0 <= self.dropped < 1:
            raise ValueError(f"dropped must be at least 0 and below 1, got {self.dropped}.")

    @property
    def frames(self) -> int:
        return round(self.seconds * self.frames_per_second)


def render_pointlight(
    folder: str | Path,
    *,
    variant: Variant = "motion",
    classes: Sequence[str] | None = None,
    videos_per_class: int = 60,
    seed: int = 0,
    size: int = 64,
    frames_per_second: int = 16,
    seconds: float = 2.0,
    noise_dots: int = 4,
    dropped: float = 0.1,
) -> Path:
    """Render the data set: `folder/<class>/<number>.mp4` and `folder/manifest.csv`.

    The same arguments give the same files, and a video depends on its class and number but not on
    what else is rendered. The manifest is written last: a folder without one was interrupted, and
    rendering again with the same arguments adds what is missing. In a finished folder that is
    nothing. Twenty people do everything, each in one split only; they are the manifest's groups.

    Args:
        folder: new, empty, or begun with the same arguments.
        variant: what tells the classes apart, "motion" or "appearance".
        classes: some of `CLASSES[variant]`; None is all of them.
        videos_per_class: at least 10, so that somebody is in every split.
        seed: another seed is other people.
        size: height and width in pixels, even, at least 32.
        frames_per_second: at least 8.
        seconds: how long each video is, at least 1; rounded to whole frames.
        noise_dots: dots in each frame that belong to nobody.
        dropped: the share of the time that each joint is hidden, in [0, 1).

    Returns:
        The path of the manifest.

    Raises:
        ValueError: an argument is out of its range, or the folder holds something else.
        EnvironmentFault: the disk is full or not writable.
    """
    if variant not in CLASSES:
        raise ValueError(f"There is no variant {variant!r}.{did_you_mean(variant, CLASSES)}")
    chosen = CLASSES[variant] if classes is None else tuple(classes)
    settings = _Settings(
        variant, chosen, videos_per_class, seed, size, frames_per_second, seconds, noise_dots,
        dropped,
    )  # fmt: skip
    folder = Path(folder)
    _claim(folder, settings)

    rows = []
    for name in chosen:
        for number in range(videos_per_class):
            person = number % PEOPLE
            row = Row(
                video=f"{name}/{number:04d}.mp4",
                labels=(name,),
                start_seconds=0.0,
                end_seconds=settings.frames / frames_per_second,
                group=f"person_{person:02d}",
                split=_SPLITS[person % len(_SPLITS)],
            )
            rows.append(row)
            if not (folder / row.video).exists():
                pixels = _render_video(name, number, settings)
                with atomic_write(folder / row.video) as path:
                    _encode(path, pixels, frames_per_second)
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        Manifest.from_rows(rows, folder).write(manifest)
    return manifest


def _claim(folder: Path, settings: _Settings) -> None:
    """Refuse a folder with other contents; otherwise leave the settings in it."""
    record = folder / "settings.json"
    wanted = json.loads(json.dumps(asdict(settings)))
    found = _read_record(record)
    if found is not None:
        for name, value in wanted.items():
            if found.get(name) != value:
                raise ValueError(
                    f"{folder} was rendered with {name}={found.get(name)!r}, not {value!r}. "
                    "Choose another folder, or delete this one."
                )
        return
    if folder.exists() and (
        not folder.is_dir() or any(not entry.name.startswith(".") for entry in folder.iterdir())
    ):
        raise ValueError(f"{folder} holds something else. Choose a new or an empty folder.")
    write_text(record, json.dumps(wanted, indent=2) + "\n")


def _read_record(record: Path) -> dict[str, object] | None:
    """What `_claim` wrote; None if there is no such file or somebody else's."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "rendering" in found else None


def _render_video(name: str, number: int, settings: _Settings) -> NDArray[np.uint8]:
    # What a video draws is fixed by what it is, not by what was drawn before it. Streams: 0 makes
    # the people, 1 and 2 the videos of the two variants.
    person = random_person(np.random.default_rng([settings.seed, 0, number % PEOPLE]))
    stream = 1 + list(CLASSES).index(settings.variant)
    place = CLASSES[settings.variant].index(name)
    rng = np.random.default_rng([settings.seed, stream, place, number])

    if settings.variant == "motion":
        action, look = name, "white_on_black"
    else:
        action, look = str(rng.choice(ACTIONS)), name
    dots = point_lights(
        action,
        person,
        np.arange(settings.frames) / settings.frames_per_second,
        rng,
        noise_dots=settings.noise_dots,
        dropped=settings.dropped,
    )
    return draw(dots, LOOKS[look], settings.size, rng)


def _encode(path: Path, pixels: NDArray[np.uint8], frames_per_second: int) -> None:
    """H.264 in which every frame stands for itself (a group of one) at the same quantiser.

    Not `VideoWriter`: as in any good video its first frame is the sharpest, and "sharp and
    standing" gives `sit_down` away. One thread: the same pixels give the same bytes.
    """
    options = {"g": "1", "qp": "18", "preset": "veryfast", "threads": "1"}
    height, width = pixels.shape[1:3]
    try:
        with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream("libx264", rate=frames_per_second, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for image in pixels:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise EnvironmentFault(
            f"{path.parent}: no video can be written here ({reason}). Check the disk, then render "
            "again: what is there is kept."
        ) from None


def draw_contact_sheet(
    manifest: str | Path, picture: str | Path, *, frames: int = 8, frame_size: int = 96
) -> None:
    """Draw one video of each class as a row of frames, order pairs below each other.

    Args:
        manifest: what `render_pointlight` returned.
        picture: where to write, a `.png`.
        frames: how many, spread over the video from its first to its last frame.
        frame_size: height and width of each in the picture, in pixels.
    """
    table = Manifest.read(manifest)
    paired = [name for pair in ORDER_PAIRS for name in pair if name in table.classes]
    names = [*paired, *(name for name in table.classes if name not in paired)]

    margin, gap, font = 16, 4, ImageFont.load_default(size=16)
    label_width = math.ceil(max(font.getlength(name) for name in names)) + margin
    pitch = frame_size + gap
    sheet = Image.new(
        "RGB",
        (2 * margin + label_width + frames * pitch - gap, 2 * margin + len(names) * pitch - gap),
        (24, 27, 33),
    )
    pen = ImageDraw.Draw(sheet)
    for line, name in enumerate(names):
        top = margin + line * pitch
        where = (margin + label_width - margin // 2, top + frame_size // 2)
        pen.text(where, name.replace("_", " "), fill=(225, 228, 235), font=font, anchor="rm")
        row = next(row for row in table if row.labels == (name,))
        with open_video(table.path(row)) as video:
            spread = np.linspace(0, len(video) - 1, frames).round().astype(int)
            for column, pixels in enumerate(video.frames(spread).pixels):
                image = Image.fromarray(pixels).resize((frame_size, frame_size))
                sheet.paste(image, (margin + label_width + column * pitch, top))
    with atomic_write(picture) as path:
        sheet.save(path)


# ---------------------------------------------------------------------------------------------
# What a model has seen
# ---------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """How well one question was answered.

    Args:
        right: videos answered rightly; one that is undecided between two answers counts half.
        videos: how many were asked about.
        chance: the accuracy of the best answer that looks at no video.
    """

    right: float
    videos: int
    chance: float

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.right / self.videos


def answer_questions(
    scores: ArrayLike, labels: ArrayLike, classes: Sequence[str]
) -> dict[str, Answer]:
    """Say what a model has seen: appearance, motion, order.

    * `appearance`: the class has the highest score (variant "appearance").
    * `motion`: the same, after the scores of each order pair have been added up, so that nobody is
      asked which of the two it was. Postures help here: it can be answered from single frames.
    * `order`: asked about videos of order pairs only, and within the pair only: the right class
      has a higher score than its reversal. Chance is a half, and nothing but order helps.

    A question that the classes do not ask is left out.

    Args:
        scores: `(N, K)` probabilities.
        labels: `(N,)` integers, the positions of the true classes.
        classes: K names, all from one variant.

    Raises:
        ValueError: shapes that do not belong together, scores that are no probabilities, labels
            out of range, or classes of another data set.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape != (len(labels), len(classes)) or not len(labels):
        raise ValueError(
            f"scores must be (N, K) for N labels and K classes, got {scores.shape} for "
            f"{len(labels)} labels and {len(classes)} classes."
        )
    odd = (scores < 0).any(axis=1) | ~np.isclose(scores.sum(axis=1), 1, atol=1e-3)
    if odd.any():
        raise ValueError(
            "scores must be probabilities, at least 0 and with the sum 1; row "
            f"{odd.argmax()} is {scores[odd.argmax()]}. Leave out videos without scores."
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        wrong = labels[(labels < 0) | (labels >= len(classes))][0]
        raise ValueError(f"labels must be in 0 ... {len(classes) - 1}, got {wrong}.")

    if set(classes) <= set(CLASSES["appearance"]):
        return {"appearance": _top_answer(scores, labels)}
    if not set(classes) <= set(ACTIONS):
        stranger = next(name for name in classes if name not in ACTIONS)
        raise ValueError(f"{stranger!r} is not a motion class.{did_you_mean(stranger, ACTIONS)}")

    merged = [PLAYED_BACKWARDS.get(name, name) for name in classes]
    actions = sorted(set(merged))
    action_of = np.array([actions.index(name) for name in merged])
    answers = {"motion": _top_answer(scores @ np.eye(len(actions))[action_of], action_of[labels])}

    right, videos, constant = 0.0, 0, 0
    for pair in ORDER_PAIRS:
        if not set(pair) <= set(classes):
            continue
        first, second = (classes.index(name) for name in pair)
        lead = scores[:, first] - scores[:, second]
        of_first, of_second = lead[labels == first], -lead[labels == second]
        for margins in (of_first, of_second):
            right += float(np.sum(margins > 0) + 0.5 * np.sum(margins == 0))
        videos += len(of_first) + len(of_second)
        constant += max(len(of_first), len(of_second))
    if videos:
        answers["order"] = Answer(right, videos, constant / videos)
    return answers


def _top_answer(scores: Array, labels: Array) -> Answer:
    right = int(np.sum(scores.argmax(axis=1) == labels))
    return Answer(right, len(labels), int(np.bincount(labels).max()) / len(labels))
