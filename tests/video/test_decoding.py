"""The choices of how to decode: checked once, and carried along the whole road."""

import numpy as np
import pytest

from praxino.evaluate import evaluate, evaluate_again
from praxino.predict import predict
from praxino.recipe import DataConfig, ModelConfig, TrainConfig
from praxino.train import train
from praxino.video import child, torchcodec_video
from praxino.video.child import Limits
from praxino.video.decoding import Decoding
from praxino.video.reader import FileVideo, open_video


def test_the_choices_name_classes(numbered_video, monkeypatch) -> None:
    opened = []
    for module, name in ((child, "ChildVideo"), (torchcodec_video, "TorchcodecVideo")):
        monkeypatch.setattr(module, name, lambda *given, name=name: opened.append((name, *given)))
    with open_video(numbered_video) as video:
        assert type(video) is FileVideo
    open_video(numbered_video, short_side=32, threads=1, untrusted=True)
    open_video(numbered_video, threads=1, untrusted=True, limits=Limits(cpu_seconds=5))
    open_video(numbered_video, threads=2, backend="torchcodec")
    assert [(name, *rest) for name, _, *rest in opened] == [
        ("ChildVideo", 32, 1, Limits()),
        ("ChildVideo", None, 1, Limits(cpu_seconds=5)),
        ("TorchcodecVideo", None, 2),
    ]


@pytest.mark.parametrize("take", [Decoding, lambda **given: open_video("x.mp4", **given)])
def test_choices_that_do_not_exist(take) -> None:
    with pytest.raises(ValueError, match=r"There is no backend 'ffms'; there are pyav and torchco"):
        take(backend="ffms")
    with pytest.raises(ValueError, match=r"are decoded by pyav only, got backend 'torchcodec'\. L"):
        take(backend="torchcodec", untrusted=True)


def test_a_recipe_refuses_them_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match=r"decoded by pyav only, got backend 'torchcodec'"):
        DataConfig(backend="torchcodec", untrusted=True)


def test_limits_are_for_untrusted_videos(numbered_video) -> None:
    with pytest.raises(ValueError, match=r"limits are for untrusted videos; pass untrusted=True"):
        open_video(numbered_video, limits=Limits())


# --- along the whole road -------------------------------------------------------------------------


def _torchcodec_loads() -> None:
    if (reason := torchcodec_video.why_not()) is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("way", [{"untrusted": True}, {"backend": "torchcodec"}], ids=str)
def test_predicting_another_way_says_the_same(trained_run, two_actions, tmp_path, way) -> None:
    if "backend" in way:
        _torchcodec_loads()
    path = two_actions / "darker" / "0.mp4"
    usual, other = predict(path, trained_run), predict(path, trained_run, **way)
    # Another build of FFmpeg rounds colours another way; a child process is the same build.
    np.testing.assert_allclose(
        other.clip_scores, usual.clip_scores, atol=0.02 if "backend" in way else 0
    )
    assert other.decoding == Decoding(**way)
    for name in ("drawn.mp4", "timeline.png"):
        assert other.save(tmp_path / name).stat().st_size > 0


def test_evaluating_in_loader_processes_that_trust_nobody(trained_run, two_actions) -> None:
    usual = evaluate(trained_run, two_actions, clips=2, crops=1, workers=0)
    locked = evaluate(trained_run, two_actions, clips=2, crops=1, workers=1, untrusted=True)
    np.testing.assert_array_equal(locked.scores, usual.scores)


def test_an_evaluation_remembers_its_backend(trained_run, two_actions, tmp_path) -> None:
    _torchcodec_loads()
    result = evaluate(trained_run, two_actions, clips=2, crops=1, workers=0, backend="torchcodec")
    assert ", torchcodec, " in result.protocol_line()
    result.save(tmp_path)
    again, saved = evaluate_again(tmp_path / "result.json", workers=0)
    assert again.decoding.backend == saved["protocol"]["decoder"] == "torchcodec"


def test_training_on_untrusted_videos_comes_to_the_same(two_actions, tmp_path) -> None:
    curves = []
    for name, untrusted in (("usual", False), ("locked", True)):
        config = TrainConfig(
            data=DataConfig(str(two_actions), workers=1, untrusted=untrusted, limit_per_class=4),
            model=ModelConfig("small_3d", {"frames": 8, "size": 32}, weights=None),
            epochs=1,
            batch_size=4,
        )
        curves.append((train(config, tmp_path / name) / "metrics.jsonl").read_bytes())
    assert curves[0] == curves[1]
