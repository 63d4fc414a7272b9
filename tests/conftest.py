"""Fixtures shared by all tests: numbered videos, and the lab's real material where it is present."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def _lab_folder(variable: str, default: str) -> Path:
    folder = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / default))
    if not folder.is_dir():
        pytest.skip(f"{variable} is not set and {default} is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def lab_data() -> Path:
    """Real videos, annotations and weights (PRAXINO_LAB_DATA)."""
    return _lab_folder("PRAXINO_LAB_DATA", "data")


@pytest.fixture(scope="session")
def lab_goldens() -> Path:
    """Outputs of reference implementations under made-up weights (PRAXINO_LAB_GOLDENS)."""
    return _lab_folder("PRAXINO_LAB_GOLDENS", "goldens")


@pytest.fixture(scope="session")
def lab_oracles() -> Path:
    """Outputs of official evaluation codes (PRAXINO_LAB_ORACLES)."""
    return _lab_folder("PRAXINO_LAB_ORACLES", "oracles")


@pytest.fixture(scope="session")
def numbered_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 grey frames of value `4 * i`, 64 x 48 at 25 fps, so that a test sees which frame it got."""
    path = tmp_path_factory.mktemp("videos") / "numbered.mp4"
    write_numbered_video(path)
    return path


def write_numbered_video(path: Path, frames: int = 60, rate: int = 25) -> None:
    """Encode grey frames of value `4 * i` with libx264 (not with praxino's own writer)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = Fraction(1, rate)
        for number in range(frames):
            pixels = np.full((48, 64, 3), 4 * number, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
