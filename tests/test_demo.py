"""The tour in small: the same steps on fewer videos, and what it promises about the models."""

import pytest
from rich.console import Console

from praxino import demo
from praxino.weights.checkpoint import load_model


@pytest.mark.slow
def test_the_tour_ends_with_its_files_and_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "VIDEOS_PER_CLASS", {"motion": 10, "appearance": 10})
    monkeypatch.setattr(demo, "EPOCHS", {"motion": 1, "appearance": 1})
    console = Console(record=True, width=120)
    answers = demo.run_demo(tmp_path / "demo", console)
    said = console.export_text()
    assert set(answers) == {"small_2d", "small_3d"}
    assert set(answers["small_3d"]) == {"appearance", "motion", "order"}
    assert "What can it see?" in said
    named = [line.split()[0] for line in said.splitlines() if f"  {tmp_path}" in line]
    assert len(named) == 4
    for name in named:
        assert (tmp_path / "demo" / name.rpartition("demo/")[2]).stat().st_size > 1000
    with pytest.raises(ValueError, match=r"is not empty\. Remove it, or name another"):
        demo.run_demo(tmp_path / "demo", console)


@pytest.mark.slow
def test_order_is_in_no_single_frame(tmp_path):
    """The issue that point lights were made for: 3D sees order, frames one by one do not."""
    from praxino.datasets.manifest import Manifest
    from praxino.datasets.pointlight import answer_questions, render_pointlight
    from praxino.evaluate import evaluate
    from praxino.train import train

    pairs = ("sit_down", "stand_up", "raise_arms", "lower_arms")
    manifest = render_pointlight(tmp_path / "data", classes=pairs, videos_per_class=60)
    right = {}
    for name in ("small_2d", "small_3d"):
        config = demo.pointlight_config(name, manifest, epochs=14)
        run = train(config, tmp_path / name)
        videos = Manifest.read(manifest)
        result = evaluate(
            load_model(run / "last.safetensors"), videos, split="test", clips=1, crops=1
        )
        right[name] = answer_questions(result.scores, result.labels, videos.classes)["order"]
    assert right["small_3d"].accuracy > 0.9
    assert right["small_2d"].accuracy < 0.75  # chance is 0.5, on 48 videos
