"""What happens to the pixels of a clip before a model sees it.

All frames of a clip are treated alike, and randomness comes from the generator passed in. The
functions on clips take `(C, T, H, W)`, uint8 or float: cropping a uint8 clip is a view and costs
nothing, so `train_transform` and `test_views` turn to float last.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import functional as pictures

from praxino.video.augmentation import Augmentation, check_jitter
from praxino.video.clip_spec import FLOWS, ClipSpec

# --- The two roads from decoded frames to a model's input ---


def train_transform(
    frames: NDArray[np.uint8],
    spec: ClipSpec,
    rng: np.random.Generator,
    augmentation: Augmentation,
    *,
    flip: bool | None = None,
) -> Tensor:
    """A random view of a clip, for training.

    Args:
        frames: (T, H, W, 3) uint8 as decoded, of any size that holds the crop; flow in further
            channels, as `Motion.add` gives it.
        spec: the size and normalisation that the model wants.
        rng: where the randomness comes from, usually `sampling.view_rng`.
        augmentation: what to vary.
        flip: whether to mirror; None draws it. Draw it outside where labels change with it.

    Returns:
        (C, T, size, size) float, normalised, contiguous.

    Raises:
        ValueError: frames of another kind, or too small.
    """
    clip = _as_clip(frames)
    if augmentation.crop == "random_resized":
        clip = random_resized_crop(clip, spec.size, rng, augmentation.scale, augmentation.ratio)
    elif augmentation.crop == "random_sides":
        clip = random_sides_crop(clip, spec.size, rng, augmentation.sides)
    elif spec.fit == "stretch":
        if augmentation.crop != "centre":
            raise ValueError(
                f"crop={augmentation.crop!r} cuts squares, and fit='stretch' wants the whole "
                f"picture. Use random_sides, random_resized or centre."
            )
        clip = stretch(clip, spec.size)
    else:
        clip = resize_short(clip, spec.resize_short)
        if augmentation.crop == "random":
            clip = random_crop(clip, spec.size, rng)
        elif augmentation.crop == "multi_scale_corner":
            clip = multi_scale_corner_crop(clip, spec.size, rng, augmentation.corner_scales)
        else:
            clip = centre_crop(clip, spec.size)
    if flip is None:
        flip = rng.random() < augmentation.flip_probability
    if flip:
        clip = _mirror(clip)
    clip = _to_float(clip)
    colours = colour_jitter(
        clip[:3],
        rng,
        augmentation.brightness,
        augmentation.contrast,
        augmentation.saturation,
        augmentation.hue,
    )
    clip = colours if len(clip) == 3 else torch.cat([colours, clip[3:]])
    return as_streams(clip, spec)


def test_views(frames: NDArray[np.uint8], spec: ClipSpec, crops: int = 1) -> Tensor:  # noqa: PT028
    """The fixed views of a clip, for evaluation: resized to `spec.resize_short`, then cropped.

    Where `spec.fit` is "stretch", the one view is the whole picture, made square.

    Args:
        frames: (T, H, W, 3) uint8 as decoded, of any size; flow in further channels, as
            `Motion.add` gives it.
        spec: the sizes and normalisation that the model wants.
        crops: 1 takes the centre, 3 is `three_crops`, 10 is `ten_crops`.

    Returns:
        (crops, C, T, size, size) float, normalised, contiguous.

    Raises:
        ValueError: frames of another kind, or another number of crops.
    """
    if spec.fit == "stretch":
        if crops != 1:
            raise ValueError(
                f"A clip that is stretched has one view, the whole picture; got crops={crops}."
            )
        views = stretch(_as_clip(frames), spec.size)[None]
        return as_streams(_to_float(views), spec)
    clip = resize_short(_as_clip(frames), spec.resize_short)
    if crops == 1:
        views = centre_crop(clip, spec.size)[None]
    elif crops == 3:
        views = three_crops(clip, spec.size)
    elif crops == 10:
        views = ten_crops(clip, spec.size)
    else:
        raise ValueError(f"A clip has 1, 3 or 10 crops, got crops={crops}.")
    return as_streams(_to_float(views), spec)


# --- Layout and range ---


def to_clip(frames: NDArray[np.uint8]) -> Tensor:
    """Decoded frames as a clip.

    Args:
        frames: (T, H, W, C) uint8.

    Returns:
        (C, T, H, W) float32 in [0, 1], contiguous.

    Raises:
        ValueError: another type or number of axes.
    """
    return _to_float(_as_clip(frames))


def from_clip(clip: Tensor) -> NDArray[np.uint8]:
    """The inverse of `to_clip`; values outside [0, 1] are cut off.

    Args:
        clip: (C, T, H, W) float in [0, 1].

    Returns:
        (T, H, W, C) uint8, contiguous.
    """
    levels = (clip * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 3, 0).numpy(force=True))


def to_tchw(clip: Tensor) -> Tensor:
    """`(C, T, H, W)`, as 3D models want it, to `(T, C, H, W)` for image functions; a view."""
    return clip.transpose(0, 1)


def from_tchw(frames: Tensor) -> Tensor:
    """`(T, C, H, W)` to `(C, T, H, W)`; a view."""
    return frames.transpose(0, 1)


def to_grey(clip: Tensor) -> Tensor:
    """The brightness of colours, for models that take one channel (`inputs=("grey",)`).

    Args:
        clip: (..., 3, T, H, W) float. Three equal channels, as volumes have, stay what they are.

    Returns:
        (..., 1, T, H, W), by ITU-R 601.
    """
    red, green, blue = clip.split(1, dim=-4)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def rgb_difference(clip: Tensor) -> Tensor:
    """What changes from each frame to the next (Wang et al., TSN, ECCV 2016, Sec. 3.2).

    Args:
        clip: `(..., 3, T, H, W)` float in [0, 1], T at least 2.

    Returns:
        The same shape, in [-1, 1]; the last frame repeats the difference of the one before it.

    Raises:
        ValueError: one frame only.
    """
    if clip.shape[-3] < 2:
        raise ValueError(
            f"A difference needs two frames, got a clip of shape {tuple(clip.shape)}. Use clips of "
            "2 frames or more."
        )
    change = clip.diff(dim=-3)
    return torch.cat([change, change[..., -1:, :, :]], dim=-3)


def normalise(clip: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel.

    Args:
        clip: (..., C, T, H, W) float in [0, 1].
        mean: C values.
        std: C values above 0.

    Returns:
        A new tensor of the same shape.

    Raises:
        ValueError: not one mean and one deviation per channel.
    """
    return _normalise_in_place(clip.clone(), mean, std)


def denormalise(clip: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The inverse of `normalise`, to look at what a model saw.

    Args:
        clip: (..., C, T, H, W), normalised.
        mean: C values.
        std: C values.

    Returns:
        The same shape, in [0, 1] up to rounding.

    Raises:
        ValueError: not one mean and one deviation per channel.
    """
    means, stds = _per_channel(clip, mean, std)
    return (clip * stds).add_(means)


# --- Resize and crop ---


def resize_short(clip: Tensor, short_side: int) -> Tensor:
    """Resize so that the shorter side is `short_side` pixels; bilinear, antialiased, aspect kept.

    Args:
        clip: (C, T, H, W), uint8 or float. One that has that size already is returned as it is.
        short_side: in pixels.

    Returns:
        (C, T, H', W') of the same type; the long side rounds down, as in torchvision.
    """
    height, width = clip.shape[-2:]
    if min(height, width) == short_side:
        return clip
    long_side = short_side * max(height, width) // min(height, width)
    new = (short_side, long_side) if height <= width else (long_side, short_side)
    return _resize(clip, *new)


def centre_crop(clip: Tensor, size: int) -> Tensor:
    """The square of `size` pixels in the middle of `(..., H, W)`; a view."""
    height, width = clip.shape[-2:]
    # round() takes halves to the even number, as torchvision does.
    return _crop(clip, round((height - size) / 2), round((width - size) / 2), size)


def three_crops(clip: Tensor, size: int) -> Tensor:
    """Three squares along the long side: left, centre, right, or top, centre, bottom.

    They cover the picture when its short side is `size`, as in the 30-view protocol.

    Args:
        clip: (C, T, H, W).
        size: in pixels, at most the short side.

    Returns:
        (3, C, T, size, size).

    Raises:
        ValueError: the clip is too small.
    """
    height, width = clip.shape[-2:]
    top, left = round((height - size) / 2), round((width - size) / 2)
    if height > width:
        corners = [(0, left), (top, left), (height - size, left)]
    else:
        corners = [(top, 0), (top, left), (top, width - size)]
    return torch.stack([_crop(clip, *corner, size) for corner in corners])


def ten_crops(clip: Tensor, size: int) -> Tensor:
    """Four corners and the centre, then the same of the mirrored clip.

    Args:
        clip: (C, T, H, W).
        size: in pixels, at most the short side.

    Returns:
        (10, C, T, size, size): top left, top right, bottom left, bottom right, centre; mirrored.

    Raises:
        ValueError: the clip is too small.
    """
    return torch.cat([_five_crops(clip, size), _five_crops(_mirror(clip), size)])


def random_crop(clip: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """A square of `size` pixels from anywhere in `(..., H, W)`; a view.

    Raises:
        ValueError: the clip is too small.
    """
    _check_holds(clip, size)
    height, width = clip.shape[-2:]
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    return _crop(clip, int(top), int(left), size)


def random_resized_crop(
    clip: Tensor,
    size: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.5, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """A random box, resized to a square (Szegedy et al. 2015, "Going deeper with convolutions").

    Args:
        clip: (C, T, H, W), uint8 or float.
        size: of the result, in pixels; the box may be smaller.
        rng: where the randomness comes from.
        scale: least and largest share of the picture's area.
        ratio: least and largest width over height, drawn evenly in the logarithm.

    Returns:
        (C, T, size, size).
    """
    height, width = clip.shape[-2:]
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = np.exp(rng.uniform(*np.log(ratio)))
        box_width, box_height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return _resize(clip[..., top : top + box_height, left : left + box_width], size, size)
    # A very wide or tall picture may hold no such box: the largest one of a fitting shape, centred.
    box_width = min(width, max(1, round(height * ratio[1])))
    box_height = min(height, max(1, round(width / ratio[0])))
    top, left = (height - box_height) // 2, (width - box_width) // 2
    return _resize(clip[..., top : top + box_height, left : left + box_width], size, size)


def random_sides_crop(
    clip: Tensor, size: int, rng: np.random.Generator, sides: tuple[float, float] = (0.7, 1.0)
) -> Tensor:
    """A random share of the width and another of the height, stretched to a square.

    Unlike `random_resized_crop`, the shape of the box follows the picture's, so a wide picture
    keeps what is at its sides. Goes with `ClipSpec.fit = "stretch"`.

    Args:
        clip: (C, T, H, W), uint8 or float.
        size: of the result, in pixels; the box may be smaller.
        rng: where the randomness comes from.
        sides: least and largest share of each side.

    Returns:
        (C, T, size, size).
    """
    height, width = clip.shape[-2:]
    box_height = max(1, round(height * rng.uniform(*sides)))
    box_width = max(1, round(width * rng.uniform(*sides)))
    top = int(rng.integers(height - box_height + 1))
    left = int(rng.integers(width - box_width + 1))
    return _resize(clip[..., top : top + box_height, left : left + box_width], size, size)


def stretch(clip: Tensor, size: int) -> Tensor:
    """The whole picture as a square of `size` pixels: (C, T, H, W) to (C, T, size, size)."""
    return _resize(clip, size, size)


def multi_scale_corner_crop(
    clip: Tensor,
    size: int,
    rng: np.random.Generator,
    scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
) -> Tensor:
    """A box of random sides in a corner or in the centre, resized to a square (TSN, Sec. 3.2).

    Corners, because boxes from anywhere show the middle most of the time.

    Args:
        clip: (C, T, H, W), uint8 or float.
        size: of the result, in pixels.
        rng: where the randomness comes from.
        scales: possible sides, as shares of the short side, in order. Width and height differ by at
            most one place in this list, so that nothing is stretched much.

    Returns:
        (C, T, size, size).
    """
    height, width = clip.shape[-2:]
    sides = [max(1, int(min(height, width) * scale)) for scale in scales]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    box_height, box_width = pairs[rng.integers(len(pairs))]
    down, across = height - box_height, width - box_width
    places = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
    top, left = places[rng.integers(len(places))]
    return _resize(clip[..., top : top + box_height, left : left + box_width], size, size)


# --- Mirror ---


def horizontal_flip(clip: Tensor) -> Tensor:
    """Mirror left and right of `(..., H, W)`. See `FlipPairs` for what that does to labels."""
    return clip.flip(-1)


@dataclass(frozen=True)
class FlipPairs:
    """Classes that turn into each other in a mirror, such as "swipe left" and "swipe right".

    Args:
        swaps: class name to the class name of its mirror image, in both directions. Classes that
            are not named keep their label.
    """

    swaps: Mapping[str, str]

    def __post_init__(self) -> None:
        for name, mirrored in self.swaps.items():
            if self.swaps.get(mirrored) != name:
                raise ValueError(
                    f"A mirror works both ways: {name!r} becomes {mirrored!r}, which becomes "
                    f"{self.swaps.get(mirrored)!r}. Add {mirrored!r}: {name!r} to the swaps."
                )

    @classmethod
    def from_names(cls, classes: Sequence[str]) -> "FlipPairs":
        """The pairs of classes whose names differ in "left" and "right" only.

        Args:
            classes: all class names. One whose mirror image is not among them is left as it is.
        """
        mirrored = {name: _LEFT_OR_RIGHT.sub(_other_side, name) for name in classes}
        return cls({a: b for a, b in mirrored.items() if a != b and b in mirrored})

    def labels_after(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """What each label becomes when its clip is mirrored.

        Args:
            classes: the K class names in the order of the labels.

        Returns:
            (K,) labels: `labels_after(classes)[label]`, or `targets[:, labels_after(classes)]` for
            multi-hot rows, as swapping twice changes nothing.

        Raises:
            ValueError: a class is there without its mirror image.
        """
        label = {name: number for number, name in enumerate(classes)}
        after = np.arange(len(classes))
        for name, mirrored in self.swaps.items():
            if name in label and mirrored not in label:
                raise ValueError(
                    f"Mirrored, {name!r} becomes {mirrored!r}, which is not among the "
                    f"{len(classes)} classes. Add it, or train with flip_probability=0."
                )
            if name in label:
                after[label[name]] = label[mirrored]
        return after


# Whole words, also between underscores: "upright" and "bright" have no side.
_LEFT_OR_RIGHT = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)


def _other_side(match: re.Match[str]) -> str:
    side = match.group()
    other = "right" if side.lower() == "left" else "left"
    return other.upper() if side.isupper() else other.title() if side[0].isupper() else other


# --- Colour ---


def colour_jitter(
    clip: Tensor,
    rng: np.random.Generator,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Tensor:
    """Change the colours of a whole clip alike: brightness, contrast, saturation, hue, in turn.

    Args:
        clip: (3, T, H, W) float in [0, 1].
        rng: where the randomness comes from.
        brightness: strength s gives a factor from [1 - s, 1 + s]; 0 leaves the clip alone.
        contrast: as `brightness`; towards or away from each frame's mean grey.
        saturation: as `brightness`; towards or away from each pixel's grey.
        hue: strength h turns the colour wheel by up to h of a full turn, at most 0.5.

    Returns:
        (3, T, H, W) float in [0, 1].

    Raises:
        ValueError: a strength below 0, or a hue above 0.5.
    """
    check_jitter(brightness, contrast, saturation, hue)
    if not (brightness or contrast or saturation or hue):
        return clip
    clip = clip.clone()  # and from here on in place
    if brightness:
        _blend(clip, clip.new_zeros(()), _factor(brightness, rng))
    if contrast:
        _blend(clip, _grey(clip).mean(dim=(-2, -1), keepdim=True), _factor(contrast, rng))
    if saturation:
        _blend(clip, _grey(clip), _factor(saturation, rng))
    if hue:
        clip = from_tchw(pictures.adjust_hue(to_tchw(clip), rng.uniform(-hue, hue))).contiguous()
    return clip


def _factor(strength: float, rng: np.random.Generator) -> float:
    return rng.uniform(max(0.0, 1 - strength), 1 + strength)


def _blend(clip: Tensor, other: Tensor, share: float) -> None:
    clip.mul_(share).add_(other, alpha=1 - share).clamp_(0, 1)


def _grey(clip: Tensor) -> Tensor:
    red, green, blue = clip.unbind(0)
    return 0.2989 * red + 0.587 * green + 0.114 * blue  # ITU-R 601, as Pillow and torchvision


# --- Parts ---


def _as_clip(frames: NDArray[np.uint8]) -> Tensor:
    """(T, H, W, C) uint8 frames as a (C, T, H, W) uint8 view."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or 0 in frames.shape:
        raise ValueError(
            f"Frames must be (T, H, W, C) uint8 and not empty, got shape {frames.shape} of "
            f"{frames.dtype}."
        )
    # torch wants to be allowed to write, and no negative strides; a copy only where it must be.
    return torch.from_numpy(np.require(frames, requirements=["C", "W"])).permute(3, 0, 1, 2)


def _to_float(clip: Tensor) -> Tensor:
    return clip.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _mirror(clip: Tensor) -> Tensor:
    """A clip in the mirror: colours, and flow that points to the other side."""
    clip = horizontal_flip(clip)
    if len(clip) <= 3:
        return clip
    mirrored, u = clip.clone(), clip[3::2]
    # The byte 128 stands for no motion, and has to stay there: 255 - u would make it 127.
    whole = 255 if clip.dtype == torch.uint8 else 1
    mirrored[3::2] = (u.float().neg() + 256 / 255 * whole).clamp(max=whole).to(clip.dtype)
    return mirrored


def as_streams(clip: Tensor, spec: ClipSpec) -> Tensor:
    """The streams that a model wants, normalised.

    Args:
        clip: `(..., 3 + 2 n, T, H, W)` float in [0, 1]: colours, and a pair of channels for each
            stream of flow. Where only colours are wanted, it is changed in place.
        spec: which streams, in which order, and how they are normalised.

    Returns:
        `(..., C, T, H, W)`.

    Raises:
        ValueError: flow is missing or not wanted, or a difference of one frame is.
    """
    if spec.inputs == ("rgb",):  # most models; no copy
        return _normalise_in_place(clip, spec.mean, spec.std)
    colours, fields = clip[..., :3, :, :, :], clip[..., 3:, :, :, :]
    if fields.shape[-4] != 2 * sum(name in FLOWS for name in spec.inputs):
        raise ValueError(
            f"A clip of {' and '.join(spec.inputs)} needs other channels than the "
            f"{fields.shape[-4]} behind the colours. praxino.video.motion.Motion.add gives them."
        )
    flows = iter(fields.split(2, dim=-4))
    streams = []
    for name in spec.inputs:
        if name in FLOWS:
            streams.append(next(flows))
        elif name == "grey":
            streams.append(to_grey(colours))
        else:
            streams.append(colours if name == "rgb" else rgb_difference(colours))
    stacked = streams[0].contiguous() if len(streams) == 1 else torch.cat(streams, dim=-4)
    return _normalise_in_place(stacked, spec.mean, spec.std)


def _normalise_in_place(clip: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    # Fresh memory costs more than the arithmetic: in place, a training clip takes half the time.
    means, stds = _per_channel(clip, mean, std)
    return clip.sub_(means).div_(stds)


def _per_channel(
    clip: Tensor, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, Tensor]:
    channels = clip.shape[-4]
    if not len(mean) == len(std) == channels:
        raise ValueError(
            f"A clip of shape {tuple(clip.shape)} needs {channels} means and deviations, got "
            f"{len(mean)} and {len(std)}."
        )
    return clip.new_tensor(mean).view(-1, 1, 1, 1), clip.new_tensor(std).view(-1, 1, 1, 1)


def _resize(clip: Tensor, height: int, width: int) -> Tensor:
    if tuple(clip.shape[-2:]) == (height, width):
        return clip
    frames = interpolate(
        to_tchw(clip), size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return from_tchw(frames)


def _crop(clip: Tensor, top: int, left: int, size: int) -> Tensor:
    _check_holds(clip, size)
    return clip[..., top : top + size, left : left + size]


def _five_crops(clip: Tensor, size: int) -> Tensor:
    _check_holds(clip, size)
    down, across = clip.shape[-2] - size, clip.shape[-1] - size
    corners = [(0, 0), (0, across), (down, 0), (down, across)]
    crops = [_crop(clip, *corner, size) for corner in corners]
    return torch.stack([*crops, centre_crop(clip, size)])


def _check_holds(clip: Tensor, size: int) -> None:
    if size > min(clip.shape[-2:]):
        raise ValueError(
            f"A crop of {size} pixels does not fit a clip of shape {tuple(clip.shape)}. Resize it "
            f"first, to a short side of at least {size}."
        )
