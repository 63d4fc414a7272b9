"""The one check every model makes before it looks at a clip."""

from torch import Tensor


def check_clip(
    clip: Tensor,
    model: str,
    *,
    channels: int = 3,
    frames: int | None = None,
    size: int | None = None,
    least_frames: int = 1,
    least_size: int = 1,
) -> None:
    """Refuse a tensor that is not a clip this model can take.

    Args:
        clip: should be `(B, C, T, H, W)`, floating point.
        model: its name, for the message.
        channels: C.
        frames: T, where the model takes no other.
        size: H and W, where the model takes no other.
        least_frames: the smallest T.
        least_size: the smallest H and W.

    Raises:
        ValueError: naming the axis that is wrong, its value and what it should be.
        TypeError: the clip holds integers.
    """
    shape = tuple(clip.shape)
    if clip.ndim != 5:
        raise ValueError(f"{model} needs a clip of shape (B, C, T, H, W), got {shape}.")
    if not clip.is_floating_point():
        raise TypeError(
            f"{model} needs floats, got {clip.dtype}. praxino.video.transforms.to_clip makes them."
        )
    found_channels, found_frames, height, width = shape[1:]
    if found_channels != channels:
        hint = " Are time and channels swapped?" if found_frames == channels else ""
        raise ValueError(
            f"{model} needs C={channels}, got C={found_channels} in a clip of shape {shape}.{hint}"
        )
    if frames is not None and found_frames != frames:
        raise ValueError(
            f"{model} was built for T={frames}, got T={found_frames} in a clip of shape {shape}. "
            f"Feed clips of {frames} frames, or build another one if it has the option `frames`."
        )
    if found_frames < least_frames:
        raise ValueError(
            f"{model} needs T of at least {least_frames}, got T={found_frames} in a clip of shape "
            f"{shape}."
        )
    if size is not None and (height, width) != (size, size):
        raise ValueError(
            f"{model} was built for H=W={size}, got {height} x {width} in a clip of shape {shape}. "
            f"Feed squares of {size} pixels, or build another one if it has the option `size`."
        )
    if min(height, width) < least_size:
        raise ValueError(
            f"{model} needs H and W of at least {least_size}, got {height} x {width} in a clip of "
            f"shape {shape}."
        )
