"""Folders of numbered pictures, opened as videos."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from praxino.datasets.folder import find_videos, read_folder
from praxino.errors import VideoError
from praxino.video.frame_folder import RATE_FILE, is_frame_folder
from praxino.video.reader import open_video


def write_pictures(
    folder: Path, numbers: Iterable[int], name: str = "rgb{:04d}.png", **options: Any
) -> Path:
    """Grey pictures of value `4 * number`, 48 x 32."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.full((32, 48, 3), 4 * number % 256, np.uint8)
        Image.fromarray(pixels).save(folder / name.format(number), **options)
    return folder


def test_pictures_are_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [2, 10, 1, *range(3, 10)], name="{}.png")
    with open_video(folder) as video:
        assert video.frames([0, 9, 4]).pixels[:, 0, 0, 0].tolist() == [4, 40, 20]
        assert [frame.pixels[0, 0, 0] for frame in video] == list(range(4, 44, 4))
        assert video.size == (32, 48)
        assert video.info.frames_per_second == pytest.approx(25.0)
        assert video.end_seconds == pytest.approx(0.4)
        assert video.info.codec == "png"
        assert video.info.problems == ()


def test_the_short_side_is_resized(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1, 2])
    with open_video(folder, short_side=16) as video:
        assert video.frames([1]).pixels.shape == (1, 16, 24, 3)


def test_the_rate_is_read_from_its_file(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", range(1, 7))
    (folder / RATE_FILE).write_text("15\n")
    with open_video(folder) as video:
        assert video.timestamps == pytest.approx(np.arange(6) / 15)


@pytest.mark.parametrize("said", ["fast", "0", "-25", "nan", "1e9", "2" * 100, ""])
def test_a_rate_that_is_none(said: str, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1])
    (folder / RATE_FILE).write_text(said)
    with pytest.raises(VideoError, match=rf"says b'{said[:32]}'.*not a number of frames per sec"):
        open_video(folder)


def test_a_missing_number_is_a_lost_frame(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1, 2, 5])
    with open_video(folder) as video:
        assert video.timestamps == pytest.approx(np.array([0, 1, 4]) / 25)
        assert (video.frames_got, video.frames_expected) == (3, 5)
        assert video.info.problems == ("cut short: 3 of 5 frames are there",)


def test_flow_beside_the_frames_is_none(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1, 2], "img_{:05d}.jpg", quality=95)
    write_pictures(folder, [1], "flow_x_{:05d}.jpg")
    write_pictures(folder, [1], "y_{:05d}.jpg")
    with open_video(folder) as video:
        assert len(video) == 2
    only_flow = write_pictures(tmp_path / "flow", [1, 2], "flow_x_{:05d}.jpg")
    assert not is_frame_folder(only_flow)


def test_what_is_no_folder_of_frames(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert not is_frame_folder(tmp_path / "empty")
    assert not is_frame_folder(tmp_path / "nothing")
    assert not is_frame_folder(b"bytes")
    assert not is_frame_folder(write_pictures(tmp_path / ".hidden", [1]))


def test_pictures_of_two_kinds(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1])
    write_pictures(folder, [2], "map{:04d}.png")
    with pytest.raises(VideoError, match=r"kick: holds map0002.png and rgb0001.png, and nobody"):
        open_video(folder)
    twice = write_pictures(tmp_path / "twice", [1])
    write_pictures(twice, [1], "rgb{:02d}.png")
    with pytest.raises(VideoError, match=r"twice: holds rgb0001.png and rgb01.png, and nobody"):
        open_video(twice)


def test_pictures_of_two_sizes(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1])
    Image.new("RGB", (50, 40)).save(folder / "rgb0002.png")
    with open_video(folder) as video:
        with pytest.raises(VideoError, match=r"rgb0002.png is 50 x 40, the first one 48 x 32"):
            video.frames([1])


@pytest.mark.parametrize("content", [b"", b"no picture", "cut"])
def test_a_damaged_picture(content: bytes | str, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1, 2])
    path = folder / "rgb0002.png"
    path.write_bytes(path.read_bytes()[:60] if isinstance(content, str) else content)
    with open_video(folder) as video:
        with pytest.raises(VideoError, match=r"kick: rgb0002.png is no whole JPEG or PNG") as error:
            video.frames([1])
    assert error.value.code == "damaged"


def test_numbers_that_are_no_frames(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1, 999_999_999], "{}.png")
    with pytest.raises(VideoError, match=r"numbered from 1 to 999,999,999, above the limit"):
        open_video(folder)


def test_deep_grey_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kick").mkdir()
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "kick" / "1.png")
    with pytest.raises(VideoError, match=r"1.png has more than 8 bits in a channel \(I;16\)"):
        open_video(tmp_path / "kick")


def test_palettes_show_the_colour_they_hide(tmp_path: Path) -> None:
    (tmp_path / "kick").mkdir()
    picture = Image.new("P", (8, 8))
    picture.putpalette([200, 100, 50])
    picture.save(tmp_path / "kick" / "1.png", transparency=b"\x00")
    with open_video(tmp_path / "kick") as video:
        assert video.frames([0]).pixels[0, 0, 0].tolist() == [200, 100, 50]


def test_strangers_and_windows_are_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "kick", [1])
    with pytest.raises(VideoError, match="is a folder of frames, and these are read without a loc"):
        open_video(folder, untrusted=True)
    with pytest.raises(VideoError, match=re.escape("the window 40, 400 is for volumes")):
        open_video(folder, window=(40.0, 400.0))


def test_class_folders_of_frame_folders(tmp_path: Path) -> None:
    for clip in ("kick/a", "kick/b", "punch/a"):
        write_pictures(tmp_path / clip, [1, 2])
    manifest = read_folder(tmp_path)
    assert [(row.video, row.labels) for row in manifest] == [
        ("kick/a", ("kick",)),
        ("kick/b", ("kick",)),
        ("punch/a", ("punch",)),
    ]
    assert find_videos(tmp_path / "kick") == [tmp_path / "kick/a", tmp_path / "kick/b"]
    assert find_videos(tmp_path / "kick" / "a") == [tmp_path / "kick" / "a"]


def test_pictures_beside_videos_are_no_videos(tmp_path: Path, numbered_video: Path) -> None:
    for label in ("kick", "punch"):
        write_pictures(tmp_path / label / "thumbnails", [1, 2])
        (tmp_path / label / "1.mp4").write_bytes(numbered_video.read_bytes())
    assert [row.video for row in read_folder(tmp_path)] == ["kick/1.mp4", "punch/1.mp4"]
    assert find_videos(tmp_path) == [tmp_path / "kick/1.mp4", tmp_path / "punch/1.mp4"]


def test_real_folders(lab_data: Path) -> None:
    folders = find_videos(lab_data / "clips" / "frame_folders" / "demo_dataset")
    assert len(folders) == 4
    for folder in folders:
        with open_video(folder) as video:
            assert video.frames([0, len(video) - 1]).pixels.std() > 10
            assert video.info.problems == ()
