import resource
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from praxino.errors import EnvironmentFault
from praxino.video.reader import open_video
from praxino.video.writer import VideoWriter, write_video


def coloured(height: int, width: int, frames: int = 10) -> np.ndarray:
    """Smooth colours that differ by frame: `(T, H, W, 3)` uint8."""
    y, x = np.mgrid[0:height, 0:width]
    pictures = [
        np.stack([255 * x / width, 255 * y / height, np.full_like(x, 20 * number)], axis=-1)
        for number in range(frames)
    ]
    return np.array(pictures).astype(np.uint8)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    pixels = coloured(48, 64)
    write_video(tmp_path / "x.mp4", pixels, 25)
    with open_video(tmp_path / "x.mp4") as video:
        assert len(video) == 10
        np.testing.assert_allclose(video.timestamps, np.arange(10) / 25)
        found = video.frames(range(10)).pixels
    assert np.abs(found.astype(int) - pixels).mean() < 3


def test_plays_in_browsers(tmp_path: Path) -> None:
    """H.264, yuv420p, the index before the pictures, colours named."""
    path = tmp_path / "x.mp4"
    write_video(path, coloured(48, 64), 25)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert context.color_range == 1
        first = next(container.decode(stream))
        # An independent conversion, told the matrix by hand.
        rgb = first.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
    assert np.abs(rgb.astype(int) - coloured(48, 64)[0]).mean() < 3


def test_odd_sizes_grow_by_a_copied_edge(tmp_path: Path) -> None:
    pixels = coloured(49, 65)
    write_video(tmp_path / "x.mp4", pixels, 25, quality=5)
    with open_video(tmp_path / "x.mp4") as video:
        assert video.size == (50, 66)
        found = video.frames([3]).pixels[0].astype(int)
    assert np.abs(found[:49, :65] - pixels[3]).mean() < 3
    assert np.abs(found[49] - found[48]).mean() < 3
    assert np.abs(found[:, 65] - found[:, 64]).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5)])
def test_the_smallest_pictures(size: tuple[int, int], tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", coloured(*size), 25)
    with open_video(tmp_path / "x.mp4") as video:
        assert len(video) == 10


@pytest.mark.parametrize(
    ("rate", "measured"),
    [(Fraction(30000, 1001), 30000 / 1001), (29.97, 29.97), (12.5, 12.5), (1, 1), (0.5, 0.5)],
)
def test_rates(rate: float | Fraction, measured: float, tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", coloured(48, 64), rate)
    with open_video(tmp_path / "x.mp4") as video:
        assert video.info.frames_per_second == pytest.approx(measured, rel=1e-6)
        assert video.end_seconds == pytest.approx(10 / measured, rel=1e-6)


def test_key_frames_come_every_two_seconds(tmp_path: Path) -> None:
    write_video(tmp_path / "x.mp4", np.concatenate([coloured(48, 64)] * 6), 10)
    with av.open(str(tmp_path / "x.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert keys[0] == 0
    assert np.diff([*keys, 60]).max() <= 20


def test_quality_decides_size_and_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3)).astype(np.uint8)
    sizes = []
    for quality in (5, 40):
        path = tmp_path / f"{quality}.mp4"
        write_video(path, noise, 25, quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] > 3 * sizes[1]


def test_nothing_is_left_when_the_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"the file before")

    def frames() -> Iterator[np.ndarray]:
        yield coloured(48, 64)[0]
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_video(path, frames(), 25)
    assert path.read_bytes() == b"the file before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.mp4: no frame was written"):
        write_video(tmp_path / "x.mp4", [], 25)
    assert list(tmp_path.iterdir()) == []


def test_sizes_must_not_change(tmp_path: Path) -> None:
    frames = [coloured(48, 64)[0], coloured(48, 62)[0]]
    match = r"x\.mp4: frame 1 is 62 x 48 pixels, the first one 64 x 48"
    with pytest.raises(ValueError, match=match):
        write_video(tmp_path / "x.mp4", frames, 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 4), (0, 64, 3), (1, 48, 64, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shape \(H, W, 3\), got \("):
        write_video(tmp_path / "x.mp4", [np.zeros(shape, np.uint8)], 25)


def test_other_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="uint8 RGB in 0 to 255, got float32"):
        write_video(tmp_path / "x.mp4", [np.zeros((48, 64, 3), np.float32)], 25)


def test_settings_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"written as \.mp4, got 'x\.avi'"):
        VideoWriter(tmp_path / "x.avi", 25)
    for rate in (0, -1, 1001, float("nan")):
        with pytest.raises(ValueError, match=f"above 0 and at most 1000, got {rate}"):
            VideoWriter(tmp_path / "x.mp4", rate)
    with pytest.raises(ValueError, match=r"from 0 \(best\) to 51, got 52"):
        VideoWriter(tmp_path / "x.mp4", 25, quality=52)


def test_a_writer_is_used_in_its_with_block(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "x.mp4", 25)
    with pytest.raises(ValueError, match=r"x\.mp4: write inside the writer's with block"):
        writer.write(coloured(48, 64)[0])
    with writer:
        writer.write(coloured(48, 64)[0])
    with pytest.raises(ValueError, match="write inside the writer's with block"):
        writer.write(coloured(48, 64)[0])


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files may not grow beyond 20 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("frames", [3, 100])
@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_the_machine_s_fault(frames: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (frames, 96, 128, 3)).astype(np.uint8)
    match = r"x\.mp4: the video cannot be written \(File too large\)"
    with pytest.raises(EnvironmentFault, match=match):
        write_video(tmp_path / "x.mp4", noise, 25, quality=5)
    assert list(tmp_path.iterdir()) == []
