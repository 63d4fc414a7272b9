"""Fixtures shared by all tests: small videos, and the lab's real material where it is present."""

import os
import signal

# Before torch is imported: tests run side by side, and two processes with two threads each on two
# cores wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import settings

# Under nohup this is ignored, here and in all that is started from here; tests send it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Machines are shared: a slow example is no failure, and a failure must come again.
settings.register_profile("praxino", deadline=None, derandomize=True)
settings.load_profile("praxino")

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
    """60 grey frames of value `4 * i`, 64 x 48 at 25 fps: a test sees which frame it got."""
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


@pytest.fixture(scope="session")
def two_actions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders: 8 videos that get brighter, and the same ones backwards.

    Only the order of the frames tells the classes apart; 20 frames of 48 x 40 at 10 fps.
    """
    folder = tmp_path_factory.mktemp("two_actions")
    rng = np.random.default_rng(0)
    for number in range(8):
        start, end = rng.integers(10, 60), rng.integers(160, 240)
        ramp = np.linspace(start, end, 20).astype(np.uint8)
        for name, values in (("brighter", ramp), ("darker", ramp[::-1])):
            noise = rng.integers(0, 12, (20, 40, 48, 1), dtype=np.uint8)
            write_frames(
                folder / name / f"{number}.mp4", values[:, None, None, None] + noise.repeat(3, 3)
            )
    return folder


def write_frames(path: Path, frames: np.ndarray, rate: int = 10) -> None:
    """Encode `(T, H, W, 3)` frames with libx264 (not with praxino's own writer)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def trained_run(two_actions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose small model tells `two_actions` apart."""
    from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
    from praxino.train import train
    from praxino.video.augmentation import Augmentation

    config = TrainConfig(
        data=DataConfig(str(two_actions), val_fraction=0.25, workers=0),
        model=ModelConfig("small_3d", {"frames": 8, "size": 32}, weights=None),
        augmentation=Augmentation(crop="random"),
        optim=OptimConfig(lr=0.003),
        epochs=15,
        batch_size=4,
    )
    return train(config, tmp_path_factory.mktemp("runs") / "two_actions")


@pytest.fixture
def broken_video(tmp_path: Path) -> Path:
    """A file that is called a video and is none."""
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"this is not a video" * 100)
    return path


@pytest.fixture(scope="session")
def made_up_gtea61(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GTEA61 in small: four people, three actions, a clip of each of 8 frames of 48 x 40, and flow.

    A square of a grey of its own moves to the right, down, or stays: the flow says the same.
    """
    from PIL import Image

    root = tmp_path_factory.mktemp("gtea61")
    actions = {"close_jar": (2, 0), "open_jar": (0, 2), "take_cup": (0, 0)}
    for person in ("S1", "S2", "S3", "S4"):
        for action, (u, v) in actions.items():
            clip = f"{person}/{action}/1"
            frames = root / "processed_frames2" / clip / "rgb"
            flows = [root / f"flow_{axis}_processed" / clip for axis in "xy"]
            for folder in (frames, *flows):
                folder.mkdir(parents=True)
            for number in range(1, 9):
                pixels = np.full((40, 48, 3), 30 + 20 * int(person[1]), np.uint8)
                top, left = 4 + v * number, 4 + u * number
                pixels[top : top + 16, left : left + 16] = 240
                Image.fromarray(pixels).save(frames / f"rgb{number:04d}.png")
                if number == 8:
                    continue
                for axis, length in enumerate((u, v)):
                    flow = np.full((40, 48), 128, np.uint8)  # no motion
                    flow[top : top + 16, left : left + 16] = 128 + round(length * 255 / 40)
                    Image.fromarray(flow).save(flows[axis] / f"flow_{'xy'[axis]}_{number:05d}.png")
    return root
