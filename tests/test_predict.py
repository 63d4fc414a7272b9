import dataclasses
import resource
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from praxino.errors import VideoError
from praxino.models import create_model
from praxino.predict import _for_length, predict
from praxino.video.clip_spec import ClipSpec
from praxino.video.reader import open_video
from praxino.weights.checkpoint import load_model

REAL_CLIPS = (
    "arm_wrestling_kinetics.mp4",
    "kinetics_30fps.mp4",
    "spatiotemporal_6fps.mp4",
    "v_ApplyEyeMakeup_g01_c01.avi",
    "v_CricketShot_g04_c01_rgb.gif",
)


@pytest.fixture(scope="module")
def model(trained_run):
    return load_model(trained_run)


def frames_of(path: Path, short_side: int | None = None) -> np.ndarray:
    with open_video(path, short_side=short_side) as video:
        return np.stack([frame.pixels for frame in video])


def test_a_file_its_bytes_and_its_frames_get_the_same_answer(model, two_actions):
    path = two_actions / "darker" / "3.mp4"
    result = predict(path, model, clips=4)
    assert result.top(1)[0][0] == "darker"
    assert result.clip_scores.shape == (4, 2)
    np.testing.assert_allclose(result.scores, result.clip_scores.mean(axis=0))
    np.testing.assert_allclose(predict(path.read_bytes(), model, clips=4).scores, result.scores)
    array = predict(frames_of(path), model, clips=4, frames_per_second=10)
    np.testing.assert_allclose(array.scores, result.scores, atol=0.02)


def test_by_name_of_the_run_folder(trained_run, two_actions):
    assert predict(two_actions / "brighter" / "1.mp4", trained_run).top(1)[0][0] == "brighter"


def test_windows_of_a_file_and_of_an_iterator_agree(model, two_actions):
    path = two_actions / "brighter" / "0.mp4"
    # Windows of 8 frames at 8 per second: a video of 2 s has three that begin 0.5 s apart.
    model.clip_spec = dataclasses.replace(model.clip_spec, frames_per_second=8.0)
    try:
        of_file = predict(path, model, every_seconds=0.5)
        # Resized by the decoder in both cases, so that the pixels are the same.
        frames = iter(frames_of(path, model.clip_spec.resize_short))
        of_frames = predict(frames, model, every_seconds=0.5, frames_per_second=10)
    finally:
        model.clip_spec = dataclasses.replace(model.clip_spec, frames_per_second=None)
    np.testing.assert_allclose(of_file.clip_seconds[:, 0], [0.0, 0.5, 1.0])
    np.testing.assert_allclose(of_file.clip_seconds, of_frames.clip_seconds)
    np.testing.assert_allclose(of_file.clip_scores, of_frames.clip_scores, atol=1e-6)
    assert "one every 0.5 s" in of_file.protocol


def test_a_long_video_is_seen_in_clips_as_long_as_those_of_the_training(model, two_actions):
    frames = frames_of(two_actions / "brighter" / "0.mp4")
    assert model.card.notes["span_seconds"] == pytest.approx(2.0)
    short = predict(np.concatenate([frames, frames[:15]]), model, clips=2, frames_per_second=10)
    assert "8 frames over the whole span" in short.protocol
    twice = predict(np.concatenate([frames, frames]), model, clips=2, frames_per_second=10)
    assert "8 frames at 4 per second" in twice.protocol
    np.testing.assert_allclose(np.diff(twice.clip_seconds)[:, 0], [1.8, 1.8], atol=0.11)
    assert [twice.classes[row.argmax()] for row in twice.clip_scores] == ["brighter"] * 2


def test_memory_stays_flat_on_a_long_stream(model):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)

    def stream(seconds):
        for number in range(25 * seconds):
            yield np.roll(frame, number, axis=1)  # 37 kB each

    predict(stream(8), model, every_seconds=1.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = predict(stream(240), model, every_seconds=1.0)  # 221 MB of frames
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert len(result.clip_scores) > 230
    assert grown < 40


def test_a_broken_file_is_one_line(model, broken_video, tmp_path):
    with pytest.raises(VideoError, match=r"^broken\.mp4: "):
        predict(broken_video, model)
    with pytest.raises(VideoError, match=r"^missing\.mp4: "):
        predict(tmp_path / "missing.mp4", model)


def test_settings_out_of_range(model, two_actions):
    path = two_actions / "brighter" / "0.mp4"
    with pytest.raises(ValueError, match="clips must be at least 1, got 0"):
        predict(path, model, clips=0)
    with pytest.raises(ValueError, match=r"every_seconds must be at least 0\.001 s.*got -1"):
        predict(path, model, every_seconds=-1)
    with pytest.raises(ValueError, match="frames_per_second=25 is for arrays and iterators"):
        predict(path, model, frames_per_second=25)
    with pytest.raises(ValueError, match="Frame 0 must be a uint8 array"):
        predict(iter([np.zeros((4, 4, 3))]), model)
    with pytest.raises(ValueError, match="the stream holds no frame"):
        predict(iter([]), model)


def test_a_model_without_names_numbers_its_classes(numbered_video):
    model = create_model("small_3d", num_classes=3)
    assert sorted(name for name, _ in predict(numbered_video, model).top(3)) == [
        "class 0", "class 1", "class 2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", REAL_CLIPS)
def test_real_clips_go_through(model, lab_data, name):
    path = lab_data / "clips" / name
    result = predict(path, model, clips=2)
    assert result.scores.sum() == pytest.approx(1)
    with open_video(path) as video:
        assert (np.diff(result.clip_seconds, axis=1) > 0).all()
        assert result.clip_seconds.max() <= video.timestamps[-1] + 1


def test_frames_in_a_row_stay_so_in_a_long_video():
    """They are not spread further apart; frames by themselves are, and come closer together."""
    snippets = ClipSpec(18, snippet=6)
    assert _for_length(snippets, nn.Identity(), seconds=3600.0) == snippets
    assert not _for_length(ClipSpec(18), nn.Identity(), seconds=3600.0).spread
