"""What a model wants to be fed: the contract between models and the video road."""

import math
from dataclasses import dataclass
from typing import Literal

CHANNELS = {"rgb": 3, "flow": 2, "rgb_difference": 3, "warped_flow": 2, "grey": 1}
FLOWS = ("flow", "warped_flow")  # what `Motion` adds to the colours

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOW_MEAN, FLOW_STD = (0.5, 0.5), (0.5, 0.5)  # -20 to 20 pixels become -1 to 1
KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True)
class ClipSpec:
    """How many frames, how far apart, how large, how normalised.

    Frames are `1 / frames_per_second` seconds apart, or `stride_frames` frames of the video's own
    rate apart; when both are None the frames are spread over the whole span (TSN's segments).

    Args:
        frames: T, the number of frames in a clip.
        frames_per_second: the clip's own rate, whatever the video's (SPEC: "16 frames at 5 fps").
        stride_frames: the published alternative: every n-th frame of the video.
        size: height and width of the square that enters the model, in pixels.
        resize_short: the short side before cropping, in pixels.
        mean: per channel, for values in [0, 1]; for differences of colours, in [-1, 1].
        std: as `mean`. Flow of -20 to 20 pixels is 0 to 1: mean .5 and std .025 give pixels.
        inputs: what streams the model takes, in the order of the clip's channels.
        fit: how a picture becomes a square: "crop" cuts it out of the resized picture, "stretch"
            squeezes the whole picture into it, so that nothing at the sides is lost.
        even: frames that are spread over the span keep equal distances in training too, for models
            that compare neighbours: all of them move together, not each within its segment.
        snippet: how many frames in a row each segment gives, where frames are spread (TSN on flow
            or differences): the first `snippet` frames of a clip are of the first segment.
    """

    frames: int
    frames_per_second: float | None = None
    stride_frames: int | None = None
    size: int = 112
    resize_short: int = 128
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    inputs: tuple[str, ...] = ("rgb",)
    fit: Literal["crop", "stretch"] = "crop"
    even: bool = False
    snippet: int = 1

    def __post_init__(self) -> None:
        if self.frames_per_second is not None and self.stride_frames is not None:
            raise ValueError(
                f"A clip has one spacing: got frames_per_second={self.frames_per_second} and "
                f"stride_frames={self.stride_frames}. Set one of them to None."
            )
        for name in ("frames", "frames_per_second", "stride_frames", "size", "resize_short"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"ClipSpec.{name} must be above 0, got {value}.")
        if self.snippet < 1 or self.frames % self.snippet:
            raise ValueError(
                f"frames={self.frames} are not whole snippets of snippet={self.snippet} frames. "
                f"Take a multiple of {self.snippet}."
            )
        if self.snippet > 1 and not self.spread:
            raise ValueError(
                f"Snippets of snippet={self.snippet} frames are spread over the span; with "
                f"frames_per_second={self.frames_per_second} and "
                f"stride_frames={self.stride_frames} they have a distance. Set both to None."
            )
        if self.resize_short < self.size:
            raise ValueError(
                f"A crop of size={self.size} does not fit a short side of "
                f"resize_short={self.resize_short} pixels."
            )
        if self.fit not in ("crop", "stretch"):
            raise ValueError(f"fit is 'crop' or 'stretch', not {self.fit!r}.")
        unknown = [name for name in self.inputs if name not in CHANNELS]
        if unknown:
            raise ValueError(f"Unknown input {unknown[0]!r}; the inputs are {', '.join(CHANNELS)}.")
        if not self.inputs:
            raise ValueError(f"inputs names no stream; the inputs are {', '.join(CHANNELS)}.")
        if not all(map(math.isfinite, self.mean)):
            raise ValueError(f"mean must be finite numbers, got {self.mean}.")
        if not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"std must be numbers above 0, got {self.std}.")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"mean and std have a number for each of the {self.channels} channels of "
                f"{' and '.join(self.inputs)}, got {self.mean} and {self.std}."
            )

    @property
    def channels(self) -> int:
        """C, of all streams together."""
        return sum(CHANNELS[name] for name in self.inputs)

    @property
    def spread(self) -> bool:
        """Whether the frames cover the whole span rather than keep a fixed distance."""
        return self.frames_per_second is None and self.stride_frames is None

    @property
    def sampling(self) -> str:
        """The frames of a clip in words, as protocols print them."""
        if self.frames_per_second is not None:
            return f"{self.frames} frames at {self.frames_per_second:g} per second"
        if self.stride_frames is not None:
            return f"{self.frames} frames, stride {self.stride_frames}"
        if self.snippet > 1:
            segments = self.frames // self.snippet
            return f"{segments} x {self.snippet} frames in a row over the whole span"
        return f"{self.frames} frames over the whole span"
