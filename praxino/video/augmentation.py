"""How training clips are varied: plain numbers, so that a recipe can be read without torch."""

import math
from dataclasses import dataclass

CROPS = ("random_resized", "random_sides", "random", "multi_scale_corner", "centre")


@dataclass(frozen=True)
class Augmentation:
    """How training clips are varied. The numbers of frames and pixels stand in `ClipSpec`.

    Args:
        crop: "random_resized" (Inception), "random_sides" (a share of each side), "random" (a
            square of the model's size from the resized clip; C3D), "multi_scale_corner" (TSN), or
            "centre" (no variation).
        scale: the share of the picture's area that a "random_resized" crop keeps. ImageNet's 0.08
            would often cut the action out.
        ratio: width over height of a "random_resized" crop before it is made square.
        sides: least and largest share of each side that a "random_sides" crop keeps.
        corner_scales: sides of a "multi_scale_corner" crop, as shares of the short side.
        flip_probability: of mirroring left and right. See `FlipPairs` for classes that swap.
        brightness: strength s gives a factor from [1 - s, 1 + s], drawn once per clip.
        contrast: as `brightness`.
        saturation: as `brightness`.
        hue: strength h turns the colour wheel by up to h of a full turn, at most 0.5.
    """

    crop: str = "random_resized"
    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    sides: tuple[float, float] = (0.7, 1.0)
    corner_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    flip_probability: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise ValueError(f"There is no crop={self.crop!r}; the choices are {', '.join(CROPS)}.")
        if not 0 <= self.flip_probability <= 1:
            raise ValueError(f"flip_probability must be in [0, 1], got {self.flip_probability}.")
        _check_range("scale", self.scale, limit=1.0)
        _check_range("ratio", self.ratio)
        _check_range("sides", self.sides, limit=1.0)
        if not self.corner_scales or not all(0 < scale <= 1 for scale in self.corner_scales):
            raise ValueError(f"corner_scales must be in (0, 1], got {self.corner_scales}.")
        check_jitter(self.brightness, self.contrast, self.saturation, self.hue)


def _check_range(name: str, limits: tuple[float, float], limit: float = math.inf) -> None:
    if not 0 < limits[0] <= limits[1] <= limit:
        raise ValueError(
            f"{name} must be two numbers in (0, {limit:g}], the lower one first, got {limits}."
        )


def check_jitter(brightness: float, contrast: float, saturation: float, hue: float) -> None:
    """Raise ValueError, with the limit, for a strength that `transforms.colour_jitter` refuses."""
    for name, strength in (
        ("brightness", brightness),
        ("contrast", contrast),
        ("saturation", saturation),
        ("hue", hue),
    ):
        if not 0 <= strength < math.inf or (name == "hue" and strength > 0.5):
            limit = "in [0, 0.5]" if name == "hue" else "at least 0"
            raise ValueError(f"{name} must be {limit}, got {strength}.")
