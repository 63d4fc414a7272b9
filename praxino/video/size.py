"""Why video is trained in short clips: the arithmetic of uncompressed sizes."""

BYTES_PER_PIXEL = 3


def raw_video_bytes(width: int, height: int, frames_per_second: float, seconds: float) -> int:
    """Bytes of RGB video without compression.

    Example:
        A minute of 640 x 480 at 30 frames per second is 1.66 GB (1.54 GiB):

        >>> raw_video_bytes(640, 480, 30, 60)
        1658880000
    """
    return round(width * height * BYTES_PER_PIXEL * frames_per_second * seconds)


def clip_bytes(frames: int, height: int, width: int) -> int:
    """Bytes of one uint8 RGB clip.

    Example:
        16 frames of 112 x 112 are 588 KiB:

        >>> clip_bytes(16, 112, 112) / 1024
        588.0
    """
    return frames * height * width * BYTES_PER_PIXEL


def frames_in_data_set(videos: int, seconds: float, frames_per_second: float) -> int:
    """How many frames a data set holds.

    Example:
        1.3 million videos of 30 s at 24 frames per second, and how many ImageNets (1.3 million
        pictures) that is:

        >>> frames_in_data_set(1_300_000, 30, 24)
        936000000
        >>> frames_in_data_set(1_300_000, 30, 24) // 1_300_000
        720
    """
    return round(videos * seconds * frames_per_second)
