"""Point-light figures: from an action and a person to the dots that show them, and their pixels.

A body is thirteen joints. An action points its nine segments somewhere at each moment, a person's
lengths turn that into places in space, a camera into places in the picture, paint into pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

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
PLAYED_BACKWARDS = {backward: forward for forward, backward in ORDER_PAIRS}
ACTIONS = tuple(sorted([*FORWARD_ACTIONS, *PLAYED_BACKWARDS]))

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
    """The dots of one of `ACTIONS`.

    The second action of an order pair is the first one filmed and played backwards, dot for dot:
    from equal generators come equal dots in opposite order.

    Args:
        action: one of `ACTIONS`.
        person: who does it.
        seconds: `(T,)`, evenly spaced, at least two.
        rng: draws all the rest.
        noise_dots: see `film`.
        dropped: see `film`.
    """
    joints = perform(PLAYED_BACKWARDS.get(action, action), person, seconds, rng)
    dots = film(joints, seconds, rng, noise_dots=noise_dots, dropped=dropped)
    if action in PLAYED_BACKWARDS:
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
