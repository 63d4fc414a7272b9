"""How videos are to be decoded: by which library, and whether in a process of its own."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Backend = Literal["pyav", "torchcodec"]
Window = tuple[float, float]  # centre and width, in a volume's units


@dataclass(frozen=True)
class Decoding:
    """The choices of `open_video` that a whole job makes once; `vars` gives its arguments.

    Args:
        backend: `pyav`; or `torchcodec`, which shows the same frames where it can read them.
        untrusted: decode in a locked process of its own, bounded in memory and time.
        window: centre and width of what is shown of volumes, from black to white, in their units
            (Hounsfield units of CT); for jobs on volumes only.

    Raises:
        ValueError: there is no such backend, or it cannot do what is asked; a window without
            width.
    """

    backend: Backend = "pyav"
    untrusted: bool = False
    window: Window | None = None

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            known = " and ".join(get_args(Backend))
            raise ValueError(f"There is no backend {self.backend!r}; there are {known}.")
        if self.untrusted and self.backend != "pyav":
            raise ValueError(
                f"Untrusted videos are decoded by pyav only, got backend {self.backend!r}. "
                "Leave one of the two out."
            )
        if self.window is not None:
            centre, width = self.window
            if not (math.isfinite(centre) and 0 < width < math.inf):
                raise ValueError(
                    f"A window is a centre and a width above 0, got {centre} and {width}. Soft "
                    "tissue of CT is seen in 40 and 400."
                )
            if self.untrusted:
                raise ValueError(
                    "A window is for volumes, and these are not read as untrusted files. Leave one "
                    "of the two out."
                )

    def check_usable(self) -> None:
        """See, before a job begins, that its first video will not fail for want of a library.

        Raises:
            EnvironmentFault: torchcodec is wanted, and not installed or does not load.
        """
        if self.backend == "torchcodec":
            from praxino.video.torchcodec_video import check_usable

            check_usable()
