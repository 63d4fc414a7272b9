"""Every frame asked for is the right one, in every kind of file and by every way of asking.

The truth is the number drawn into each picture and the time given to the muxer; whole pictures are
compared with what FFmpeg decodes from the first packet to the last.
"""

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from praxino.video import frame_table
from praxino.video.reader import open_video

ALL = np.arange(300)


def decoded_in_order(path: Path) -> list[NDArray[np.uint8]]:
    """All pictures, by PyAV alone and without a seek."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that has to decode keeps no picture, as in a long video, so that reads must seek."""
    monkeypatch.setattr(frame_table, "KEEP_BYTES", 0)


def test_times_and_iteration(patterned_video) -> None:
    with open_video(patterned_video.path, threads=1) as video:
        frames = [(frame.index, frame.seconds, frame.pixels) for frame in video]
        assert [index for index, _, _ in frames] == ALL.tolist()
        assert patterned_video.numbers(np.stack([pixels for _, _, pixels in frames])).tolist() == (
            ALL.tolist()
        )
        for seconds in ([seconds for _, seconds, _ in frames], video.timestamps):
            np.testing.assert_allclose(
                seconds, patterned_video.seconds, rtol=0, atol=patterned_video.tick
            )
        assert video.frames_expected in (None, 300)
        assert video.info.problems == ()


@pytest.mark.usefixtures("nothing_kept")
def test_single_reads_in_random_order_are_the_pictures_of_a_decode_in_order(
    patterned_video,
) -> None:
    expected = decoded_in_order(patterned_video.path)
    order = np.random.default_rng(0).permutation(ALL)[:60]
    with open_video(patterned_video.path, threads=1) as video:
        wrong = [
            index
            for index in order
            if not np.array_equal(video.frames([index]).pixels[0], expected[index])
        ]
    assert wrong == []


@pytest.mark.usefixtures("nothing_kept")
def test_sparse_reads_of_a_fresh_video_are_the_pictures_of_a_decode_in_order(
    patterned_video,
) -> None:
    expected = decoded_in_order(patterned_video.path)
    generator = np.random.default_rng(1)
    for threads in (1, 1, 1, 2):
        indices = generator.integers(0, 300, 8)
        with open_video(patterned_video.path, threads=threads) as video:
            found = video.frames(indices)
        assert found.indices.tolist() == indices.tolist()
        assert np.array_equal(found.pixels, [expected[index] for index in indices])


@pytest.mark.usefixtures("nothing_kept")
def test_all_frames_at_once_and_many_clips(patterned_video) -> None:
    views = np.sort(np.random.default_rng(2).integers(0, 300, (10, 8)), axis=1)
    with open_video(patterned_video.path, threads=1) as video:
        assert patterned_video.numbers(video.frames(ALL[::-1]).pixels).tolist() == (
            ALL[::-1].tolist()
        )
        clips = video.clips(views)
    assert np.array_equal(patterned_video.numbers(clips.pixels), views)
    assert np.array_equal(clips.indices, views)


@pytest.mark.usefixtures("nothing_kept")
def test_the_frame_on_screen_at_any_second(patterned_video) -> None:
    starts = patterned_video.seconds
    ends = np.append(starts[1:], starts[-1] + 0.01)
    with open_video(patterned_video.path, threads=1) as video:
        for part in (0.1, 0.5, 0.9):  # the shortest frame lasts 10 ms, no container rounds by 1 ms
            found = video.frames_at(starts + part * (ends - starts))
            assert patterned_video.numbers(found.pixels).tolist() == ALL.tolist()


@pytest.mark.usefixtures("nothing_kept")
def test_recovery_points_that_are_none_are_found_out(lying_video) -> None:
    expected = decoded_in_order(lying_video.path)
    order = np.random.default_rng(0).permutation(ALL)[:40]
    with open_video(lying_video.path, threads=1) as video:
        assert len(video.info.key_frames) > 10
        assert video.info.problems == ()
        for index in order:
            assert np.array_equal(video.frames([index]).pixels[0], expected[index]), index
        assert video.info.problems == ("its recovery points are none; reads start at IDR pictures",)
        assert len(video.info.key_frames) == 2


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("name", ["h264_open_gop.mp4", "h264_open_gop.ts"])
def test_recovery_points_that_are_some_are_used(name: str, patterned_videos) -> None:
    with open_video(patterned_videos[name].path, threads=1) as video:
        video.frames([290])
        assert len(video.info.key_frames) == 13
        video.frames([250])
        assert video._decoder.packets_seen < 40  # from the key frame 240, not from the start


def test_the_pattern_shows_what_it_should(patterned_videos: Mapping[str, object]) -> None:
    """The checks above can fail: two pictures mixed, or one half replaced, have no number."""
    video = patterned_videos["h264.mp4"]
    first, second = decoded_in_order(video.path)[20:22]
    assert video.numbers(np.stack([first, second])).tolist() == [20, 21]
    mixed = ((first.astype(int) + second) // 2).astype(np.uint8)
    half = np.concatenate([first[:32], second[32:]])
    grey = np.full_like(first, 128)
    assert video.numbers(np.stack([mixed, half, grey])).tolist() == [-1, -1, -1]
