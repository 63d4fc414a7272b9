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

import difflib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from praxino.atomic import atomic_write, write_text
from praxino.datasets.manifest import Manifest, Row

Array = NDArray[np.floating[Any]]
Variant = Literal["motion", "appearance"]

_PAIRED_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
JOINTS = ("head", *(f"{side}_{joint}" for joint in _PAIRED_JOINTS for side in ("left", "right")))

# ---------------------------------------------------------------------------------------------
# What the figure does: the direction of each segment of the body over time
# ---------------------------------------------------------------------------------------------

# A segment points where two angles say: how far it swings away from straight down (the trunk: from
# straight up), and in which upright plane: 0 degrees is forward, 90 degrees is sideways, outwards.
LIMBS = ("upper_arm", "forearm", "thigh", "shin")
SEGMENTS = ("trunk", *(f"{side}_{limb}" for limb in LIMBS for side in ("left", "right")))


class Posture(NamedTuple):
    """Where the segments of the body point at each of T moments."""

    degrees: Array  # (T, 9, 2): swing and plane of each of SEGMENTS
    lift: Array  # (T,): how far the lower foot is above the ground, in body heights


def _posture(moments: Array, *, lift: Array | float = 0.0, **segments: object) -> Posture:
    """Name the segments that do not hang; a limb without a side stands for both of them.

    A segment is its swing in degrees, or swing and plane; each a number or one for each moment.
    """
    degrees = np.zeros((len(moments), len(SEGMENTS), 2))
    for name, angles in segments.items():
        swing, plane = angles if isinstance(angles, tuple) else (angles, 0.0)
        for segment in (f"left_{name}", f"right_{name}") if name in LIMBS else (name,):
            degrees[:, SEGMENTS.index(segment), 0] = swing
            degrees[:, SEGMENTS.index(segment), 1] = plane
    return Posture(degrees, np.broadcast_to(lift, moments.shape))


# Actions done once take progress from 0 to 1; the others take the phase of their cycle in radians.


def _sit_down(progress: Array) -> Posture:
    # Leaning forward on the way keeps the weight above the feet, as everybody does.
    lean = 12 * progress + 30 * np.sin(np.pi * progress)
    return _posture(
        progress, trunk=lean, thigh=88 * progress, shin=-8 * progress,
        upper_arm=25 * progress, forearm=10 + 55 * progress,
    )  # fmt: skip


def _open_arms(progress: Array) -> Posture:
    # From the hands together before the chest to a T.
    upper_arm = (45 + 45 * progress, 20 + 72 * progress)
    forearm = (105 - 17 * progress, -35 + 127 * progress)
    return _posture(progress, upper_arm=upper_arm, forearm=forearm)


def _raise_arms(progress: Array) -> Posture:
    return _posture(progress, upper_arm=5 + 165 * progress, forearm=12 + 160 * progress)


def _gait(phase: Array, stride: float, knee: float, arm: float, elbow: float) -> dict[str, Array]:
    """Legs and arms of walking and running: the sides half a cycle apart, arms against legs."""
    segments = {}
    for side, shift in (("left", 0.0), ("right", np.pi)):
        swing = np.sin(phase + shift)
        # The knee folds while its leg swings forward, most before it passes the other leg.
        fold = np.maximum(0, np.cos(phase + shift + 0.5)) ** 2
        thigh = stride * (swing + 0.15)
        segments[f"{side}_thigh"] = thigh
        segments[f"{side}_shin"] = thigh - 6 - knee * fold
        segments[f"{side}_upper_arm"] = -arm * swing
        segments[f"{side}_forearm"] = -arm * swing + elbow
    return segments


def _walk(phase: Array) -> Posture:
    return _posture(phase, trunk=3, **_gait(phase, stride=26, knee=55, arm=24, elbow=18))


def _run(phase: Array) -> Posture:
    # Both feet leave the ground twice in a cycle, when the legs are widest apart.
    flight = 0.05 * np.maximum(0, -np.cos(2 * phase))
    gait = _gait(phase, stride=42, knee=95, arm=42, elbow=85)
    return _posture(phase, lift=flight, trunk=12, **gait)


def _wave(phase: Array) -> Posture:
    return _posture(
        phase, left_upper_arm=(105, 80), left_forearm=(175 - 40 * np.sin(phase), 90)
    )  # fmt: skip


def _jumping_jack(phase: Array) -> Posture:
    wide = (1 - np.cos(phase)) / 2
    arm = (8 + 158 * wide, 90)
    leg = (2 + 24 * wide, 90)
    return _posture(
        phase, lift=0.05 * np.sin(phase) ** 2, upper_arm=arm, forearm=arm, thigh=leg, shin=leg
    )


@dataclass(frozen=True)
class Action:
    """How an action runs in time.

    Args:
        posture: progress or phase `(T,)` in, posture out.
        cycle_seconds: length of one cycle; None for what is done once.
        feet_planted: whether the feet stay on their spot; otherwise the hip does (a treadmill),
            so that the place in the picture tells nothing about the action.
    """

    posture: Callable[[Array], Posture]
    cycle_seconds: float | None = None
    feet_planted: bool = True


FORWARD_ACTIONS = {
    "sit_down": Action(_sit_down),
    "open_arms": Action(_open_arms),
    "raise_arms": Action(_raise_arms),
    "walk": Action(_walk, cycle_seconds=1.2, feet_planted=False),
    "run": Action(_run, cycle_seconds=0.75, feet_planted=False),
    "wave": Action(_wave, cycle_seconds=0.7),
    "jumping_jack": Action(_jumping_jack, cycle_seconds=1.0),
}

ORDER_PAIRS = (
    ("sit_down", "stand_up"),
    ("open_arms", "close_arms"),
    ("raise_arms", "lower_arms"),
)
_PLAYED_BACKWARDS = {backward: forward for forward, backward in ORDER_PAIRS}

# ---------------------------------------------------------------------------------------------
# Who does it: the body
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """A build and a temper. Lengths are in body heights.

    Args:
        tempo: 1 is the usual speed, 1.2 is a fifth faster.
        amplitude: 1 is the usual size of movements.
    """

    neck: float = 0.13
    trunk: float = 0.30
    shoulder_width: float = 0.22
    hip_width: float = 0.13
    upper_arm: float = 0.17
    forearm: float = 0.15
    thigh: float = 0.24
    shin: float = 0.25
    tempo: float = 1.0
    amplitude: float = 1.0


def random_person(rng: np.random.Generator) -> Person:
    """Draw a person: each length up to 12 % off the usual, slower or faster, livelier or not."""
    usual = vars(Person())
    return Person(**{name: value * rng.uniform(0.88, 1.12) for name, value in usual.items()})


def body_joints(posture: Posture, person: Person, feet_planted: bool = True) -> Array:
    """Place the joints of a body in a posture.

    Returns:
        `(T, 13, 3)` in the order of `JOINTS`: forward, to the left, up, in body heights. The lower
        ankle is at height `posture.lift`; the ankles' middle, or the hip, is above the origin.
    """
    swing, plane = np.radians(posture.degrees[..., 0]), np.radians(posture.degrees[..., 1])
    hanging = np.stack(
        [np.sin(swing) * np.cos(plane), np.sin(swing) * np.sin(plane), -np.cos(swing)], axis=-1
    )  # (T, 9, 3)
    direction = {name: hanging[:, number] for number, name in enumerate(SEGMENTS)}
    up_the_trunk = direction["trunk"] * (1, 1, -1)  # it stands, the limbs hang

    place = {"head": up_the_trunk * (person.trunk + person.neck)}
    for side, outwards in (("left", 1.0), ("right", -1.0)):
        away = np.array([1.0, outwards, 1.0])  # the right side is the mirror of the left
        shoulder = up_the_trunk * person.trunk + (0, outwards * person.shoulder_width / 2, 0)
        elbow = shoulder + away * direction[f"{side}_upper_arm"] * person.upper_arm
        hip = np.broadcast_to((0, outwards * person.hip_width / 2, 0), shoulder.shape)
        knee = hip + away * direction[f"{side}_thigh"] * person.thigh
        place |= {
            f"{side}_shoulder": shoulder,
            f"{side}_elbow": elbow,
            f"{side}_wrist": elbow + away * direction[f"{side}_forearm"] * person.forearm,
            f"{side}_hip": hip,
            f"{side}_knee": knee,
            f"{side}_ankle": knee + away * direction[f"{side}_shin"] * person.shin,
        }
    joints = np.stack([place[name] for name in JOINTS], axis=1)  # (T, 13, 3)

    ankles = joints[:, [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")]]
    joints[..., 2] += (posture.lift - ankles[..., 2].min(axis=1))[:, None]
    if feet_planted:
        joints[..., 0] -= ankles[..., 0].mean(axis=1)[:, None]
    return joints


def perform(action: str, person: Person, seconds: Array, rng: np.random.Generator) -> Array:
    """Let a person do one of `FORWARD_ACTIONS`: where the joints are at each of T seconds.

    An action done once is preceded and followed by stillness of random length: neither the first
    nor the last frames are a fixed part of it.

    Returns:
        `(T, 13, 3)` in body heights, see `body_joints`.
    """
    how = FORWARD_ACTIONS[action]
    tempo = person.tempo * rng.uniform(0.9, 1.1)
    if how.cycle_seconds is None:
        length = rng.uniform(0.4, 0.6) / tempo  # of the action, in lengths of the video
        begin = rng.uniform(0.05, 0.95 - length)
        elapsed = (seconds - seconds[0]) / (seconds[-1] - seconds[0])
        progress = np.clip((elapsed - begin) / length, 0, 1)
        moments = progress * progress * (3 - 2 * progress)  # starts and stops gently
    else:
        moments = 2 * np.pi * (seconds * tempo / how.cycle_seconds + rng.uniform())
    posture = how.posture(moments)
    livelier = posture.degrees * (person.amplitude, 1.0)  # the swing, not the plane
    joints = body_joints(Posture(livelier, posture.lift), person, how.feet_planted)
    left_handed = rng.uniform() < 0.5
    return joints * (1, -1, 1) if left_handed else joints


# ---------------------------------------------------------------------------------------------
# How it is seen: camera, dots, pixels
# ---------------------------------------------------------------------------------------------


class Dots(NamedTuple):
    """Dots in the picture at T moments, P of them: 13 joints, then the noise."""

    places: Array  # (T, P, 2): x to the right, y down, in picture sides; [0, 1) is inside
    visible: NDArray[np.bool_]  # (T, P)


def film(
    joints: Array, seconds: Array, rng: np.random.Generator, *, noise_dots: int, dropped: float
) -> Dots:
    """See a body from a random place: three-quarter views from both sides, near or infinitely far.

    The noise and the gaps look the same forwards and backwards in time.

    Args:
        joints: `(T, 13, 3)` from `perform`.
        seconds: `(T,)`, evenly spaced.
        rng: draws the viewpoint, which joints are hidden when, and the noise.
        noise_dots: how many dots drift through the picture without belonging to the body.
        dropped: the share of the time that each joint is hidden, in [0, 1).
    """
    side = rng.choice((-1, 1))
    yaw, pitch = side * rng.uniform(20, 70), rng.uniform(-5, 15)
    closeness = rng.choice((0.0, rng.uniform(0.1, 0.3)))  # 1 / distance; 0 is infinitely far
    turned = joints @ _rotation("up", yaw)  # now: towards the viewer, to the right, up
    turned = (turned - (0, 0, 0.55)) @ _rotation("right", pitch)
    height, centre = rng.uniform(0.52, 0.68), rng.uniform(0.46, 0.54, size=2)
    nearer = height / (1 - closeness * turned[..., :1])
    body = centre + nearer * turned[..., 1:] * (1, -1)  # the picture's y points down

    drift = rng.uniform(-0.3, 0.3, size=(noise_dots, 2))  # picture sides per second
    noise = (rng.uniform(size=(noise_dots, 2)) + seconds[:, None, None] * drift) % 1.0
    seen = _seen(joints.shape[:2], seconds[1] - seconds[0], dropped, rng)
    never_hidden = np.ones(noise.shape[:2], dtype=bool)
    return Dots(np.concatenate([body, noise], axis=1), np.concatenate([seen, never_hidden], axis=1))


def point_lights(
    action: str,
    person: Person,
    seconds: Array,
    rng: np.random.Generator,
    *,
    noise_dots: int = 4,
    dropped: float = 0.1,
) -> Dots:
    """The dots of one of `CLASSES["motion"]`.

    The second action of an order pair is the first one filmed and played backwards, dot for dot:
    from equal generators come equal dots in opposite order.

    Args:
        action: one of `CLASSES["motion"]`.
        person: who does it.
        seconds: `(T,)`, evenly spaced, at least two.
        rng: draws all the rest.
        noise_dots: see `film`.
        dropped: see `film`.
    """
    joints = perform(_PLAYED_BACKWARDS.get(action, action), person, seconds, rng)
    dots = film(joints, seconds, rng, noise_dots=noise_dots, dropped=dropped)
    if action in _PLAYED_BACKWARDS:
        return Dots(dots.places[::-1], dots.visible[::-1])
    return dots


def _rotation(axis: Literal["up", "right"], degrees: float) -> Array:
    """The matrix that turns row vectors (forward, right, up) about an axis."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if axis == "up":
        return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def _seen(
    shape: tuple[int, int], frame_seconds: float, dropped: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """`(T, P)`: each joint vanishes now and then, for 0.3 s on average, `dropped` of the time.

    Seen or hidden is a stationary chain of two states, and played backwards that is the same chain.
    """
    appears = min(1.0, frame_seconds / 0.3) * (1 - dropped)
    vanishes = min(1.0, frame_seconds / 0.3) * dropped
    seen = np.empty(shape, dtype=bool)
    seen[0] = rng.uniform(size=shape[1]) >= dropped
    for now in range(1, shape[0]):
        chance = rng.uniform(size=shape[1])
        seen[now] = np.where(seen[now - 1], chance >= vanishes, chance < appears)
    return seen


@dataclass(frozen=True)
class Look:
    """Colours are red, green, blue in [0, 1]."""

    dot: tuple[float, float, float] = (0.95, 0.95, 0.95)
    ground: tuple[float, float, float] = (0.05, 0.05, 0.05)
    shape: Literal["round", "cross"] = "round"
    texture: Literal["plain", "stripes", "checks"] = "plain"


LOOKS = {
    "white_on_black": Look(),
    "black_on_white": Look(dot=(0.1, 0.1, 0.1), ground=(0.9, 0.9, 0.9)),
    "red_on_blue": Look(dot=(0.9, 0.2, 0.15), ground=(0.1, 0.15, 0.5)),
    "blue_on_red": Look(dot=(0.2, 0.35, 0.95), ground=(0.5, 0.1, 0.1)),
    "yellow_on_green": Look(dot=(0.95, 0.85, 0.2), ground=(0.1, 0.35, 0.15)),
    "crosses": Look(shape="cross"),
    "stripes": Look(texture="stripes"),
    "checks": Look(texture="checks"),
}


def draw(dots: Dots, look: Look, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint dots on a ground.

    Args:
        dots: at T moments.
        look: colours, shape and texture; each colour varies by 5 % around it.
        size: height and width in pixels.
        rng: draws the shade of the colours and where the texture begins.

    Returns:
        `(T, size, size, 3)`.
    """
    radius = 0.022  # in picture sides: 1.4 pixels of 64
    pixels = ((np.arange(size) + 0.5) / size).astype(np.float32)
    x, y = np.moveaxis(dots.places.astype(np.float32), -1, 0)[..., None]
    across, down = np.abs(pixels - x), np.abs(pixels - y)  # (T, P, W), (T, P, H)

    # A shape is a sum of columns times rows of pixels, so that painting is multiplying matrices.
    if look.shape == "round":
        profiles = [[np.exp(-0.85 * (apart / radius) ** 2) for apart in (down, across)]]
    else:
        short, long = (
            [np.clip((reach * radius - apart) * size + 0.5, 0, 1) for apart in (down, across)]
            for reach in (0.4, 2.0)
        )
        profiles = [[short[0], long[1]], [long[0], short[1]]]
    shown = dots.visible[..., None]
    cover = sum((column * shown).transpose(0, 2, 1) @ row for column, row in profiles)
    cover = np.minimum(cover, 1)[..., None]  # (T, H, W, 1)

    dot, ground = (
        np.clip(np.add(colour, rng.uniform(-0.05, 0.05, size=3)), 0, 1).astype(np.float32)
        for colour in (look.dot, look.ground)
    )
    background = np.minimum(ground + 0.3 * _texture(look.texture, pixels, rng)[..., None], 1)
    picture = background + cover * (dot - background)
    return np.rint(picture * 255).astype(np.uint8)


def _texture(name: str, pixels: Array, rng: np.random.Generator) -> Array:
    """`(H, W)` in [0, 1]: stripes or checks an eighth of the picture wide, begun anywhere."""
    x, y = (np.sign(np.sin(2 * np.pi * (4 * pixels + rng.uniform()))) for _ in range(2))
    if name == "plain":
        return np.zeros((len(pixels), len(pixels)), dtype=np.float32)
    pattern = x * y[:, None] if name == "checks" else np.tile(x, (len(pixels), 1))
    return ((1 + pattern) / 2).astype(np.float32)


# ---------------------------------------------------------------------------------------------
# The data set: files and their table
# ---------------------------------------------------------------------------------------------

CLASSES: dict[Variant, tuple[str, ...]] = {
    "motion": tuple(sorted([*FORWARD_ACTIONS, *_PLAYED_BACKWARDS])),
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
                raise ValueError(f"There is no {self.variant} class {name!r}.{_hint(name, known)}")
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
    """
    if variant not in CLASSES:
        raise ValueError(f"There is no variant {variant!r}.{_hint(variant, tuple(CLASSES))}")
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
    if record.is_file():
        found = json.loads(record.read_text(encoding="utf-8"))
        for name, value in wanted.items():
            if found.get(name) != value:
                raise ValueError(
                    f"{folder} was rendered with {name}={found.get(name)!r}, not {value!r}. "
                    "Choose another folder, or delete this one."
                )
    elif folder.exists() and (
        not folder.is_dir() or any(not entry.name.startswith(".") for entry in folder.iterdir())
    ):
        raise ValueError(f"{folder} holds something else. Choose a new or an empty folder.")
    else:
        write_text(record, json.dumps(wanted, indent=2) + "\n")


def _render_video(name: str, number: int, settings: _Settings) -> NDArray[np.uint8]:
    variant = get_args(Variant).index(settings.variant)
    # Distinct seeds: everything a video draws is fixed by what it is, not by what came before.
    person = random_person(np.random.default_rng([settings.seed, 0, number % PEOPLE]))
    place = CLASSES[settings.variant].index(name)
    rng = np.random.default_rng([settings.seed, 1 + variant, place, number])

    moving, look = settings.variant == "motion", "white_on_black"
    action, look = (name, look) if moving else (str(rng.choice(CLASSES["motion"])), name)
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

    With the usual settings the first frame would be the sharpest, and "sharp and standing" would
    give `sit_down` away. One thread and no dates: the same pixels give the same bytes.
    """
    options = {"g": "1", "qp": "18", "preset": "veryfast", "threads": "1"}
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options=options)
        stream.width, stream.height, stream.pix_fmt = pixels.shape[2], pixels.shape[1], "yuv420p"
        for image in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(known)}."


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
    from praxino.video.reader import open_video

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


def answer_questions(scores: Array, labels: Array, classes: Sequence[str]) -> dict[str, Answer]:
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
    if not (np.all(scores >= 0) and np.allclose(scores.sum(axis=1), 1, atol=1e-3)):
        raise ValueError("scores must be probabilities: each row at least 0 and with the sum 1.")
    if labels.min() < 0 or labels.max() >= len(classes):
        wrong = labels[(labels < 0) | (labels >= len(classes))][0]
        raise ValueError(f"labels must be in 0 ... {len(classes) - 1}, got {wrong}.")

    if set(classes) <= set(CLASSES["appearance"]):
        return {"appearance": _top_answer(scores, labels)}
    if not set(classes) <= set(CLASSES["motion"]):
        stranger = next(name for name in classes if name not in CLASSES["motion"])
        raise ValueError(f"{stranger!r} is not a motion class.{_hint(stranger, CLASSES['motion'])}")

    merged = [_PLAYED_BACKWARDS.get(name, name) for name in classes]
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
    return Answer(right, len(labels), np.bincount(labels).max() / len(labels))
