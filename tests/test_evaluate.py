import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import nn

from praxino.datasets.folder import read_folder
from praxino.datasets.manifest import Manifest, Row
from praxino.errors import EnvironmentFault
from praxino.evaluate import Scores, evaluate, evaluate_again, score_videos, summarise
from praxino.ledger import Ledger
from praxino.models import create_model
from praxino.recipe import DataConfig, TrainConfig
from praxino.train import train
from praxino.video import torchcodec_video
from praxino.weights.checkpoint import load_model

OPTIONS = {"clips": 2, "crops": 1, "workers": 0, "device": "cpu"}


def test_numbers_predictions_and_protocol(trained_run, two_actions, tmp_path):
    manifest = read_folder(two_actions)
    result = evaluate(trained_run, manifest, **OPTIONS)
    assert result.hit_at_1 == result.mean_class_accuracy == result.hit_at_5 == 1.0
    assert result.confusion.tolist() == [[8, 0], [0, 8]]
    assert result.protocol["videos"] == 16
    assert "2 clips x centre crop, 8 frames over the whole span" in result.protocol_line()
    result.save(tmp_path)
    table = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert [row["correct"] for row in table] == [True] * 16
    assert table[0]["video"] == "brighter/0.mp4"
    np.testing.assert_allclose(sum(table[0]["scores"]), 1, atol=1e-6)
    assert json.loads((tmp_path / "result.json").read_text())["hit_at_1"] == 1.0
    assert (tmp_path / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    assert len((tmp_path / "items.jsonl").read_text().splitlines()) == 16


def test_the_same_whatever_the_batch_and_the_workers(trained_run, two_actions):
    manifest = read_folder(two_actions)
    model = load_model(trained_run)
    one = score_videos(model, manifest, clips=3, crops=3, batch_size=1, workers=0)
    many = score_videos(model, manifest, clips=3, crops=3, batch_size=50, workers=1)
    assert one.views[0].shape == (3, 3, 2)
    np.testing.assert_allclose(np.stack(one.views), np.stack(many.views), atol=1e-6)


def test_averages_are_of_probabilities_over_crops_then_clips():
    views = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.2, 0.8]]])  # 2 clips x 2 crops
    manifest = Manifest.from_rows([Row("a.mp4", ("x",))], ".", classes=("x", "y"))
    ledger = Ledger()
    ledger.ok("a.mp4")
    result = summarise(Scores([views], np.array([0]), ledger), manifest, {})
    np.testing.assert_allclose(result.scores, [[0.45, 0.55]])
    assert (result.clip_hit_at_1, result.hit_at_1, result.hit_at_5) == (0.5, 0.0, 1.0)


def test_a_video_that_cannot_be_read_counts_as_wrong_and_is_named(
    trained_run, two_actions, tmp_path
):
    manifest = read_folder(two_actions)
    (two_actions / "darker" / "broken.mp4").write_bytes(b"no video" * 99)
    try:
        rows = [*manifest.rows, Row("darker/broken.mp4", ("darker",))]
        with_broken = Manifest.from_rows(rows, manifest.root)
        result = evaluate(trained_run, with_broken, **OPTIONS)
        result.save(tmp_path)
    finally:
        (two_actions / "darker" / "broken.mp4").unlink()
    assert result.hit_at_1 == pytest.approx(16 / 17)
    assert result.per_class_accuracy.tolist() == pytest.approx([1.0, 8 / 9])
    assert [entry.item for entry in result.ledger.failures] == ["darker/broken.mp4"]
    assert result.confusion.sum() == 16
    assert pq.read_table(tmp_path / "predictions.parquet").to_pylist()[-1]["prediction"] is None


def test_can_be_run_again_from_its_file(trained_run, two_actions, tmp_path):
    manifest = read_folder(two_actions)
    evaluate(trained_run, manifest, **OPTIONS).save(tmp_path)
    again, saved = evaluate_again(tmp_path / "result.json", workers=0)
    assert {name: saved[name] for name in again.numbers()} == again.numbers()

    listed = (tmp_path / "evaluated.parquet").read_bytes()
    fewer = dataclasses.replace(manifest, rows=manifest.rows[1:])
    fewer.write(tmp_path / "evaluated.parquet", keep_root=True)
    with pytest.raises(ValueError, match=r"evaluated\.parquet beside .* has changed since"):
        evaluate_again(tmp_path / "result.json", workers=0)
    (tmp_path / "evaluated.parquet").write_bytes(listed)
    changed = json.loads((tmp_path / "result.json").read_text())
    changed["protocol"]["weights_hash"] = "0"
    (tmp_path / "result.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="holds other weights than when"):
        evaluate_again(tmp_path / "result.json", workers=0)
    with pytest.raises(ValueError, match=r"is not a result\.json of praxino evaluate"):
        evaluate_again(trained_run / "config.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match=r"list\.json is not a result\.json"):
        evaluate_again(tmp_path / "list.json")
    evaluate(load_model(trained_run), manifest, **OPTIONS).save(tmp_path)
    with pytest.raises(ValueError, match="of a model that came from no file"):
        evaluate_again(tmp_path / "result.json")


@pytest.mark.parametrize("change", ["gone", "unknown"])
def test_the_decoder_of_a_result_is_checked(trained_run, tmp_path, change):
    saved = json.loads((trained_run / "result.json").read_text())
    if change == "gone":
        del saved["protocol"]["decoder"]
    else:
        saved["protocol"]["decoder"] = "paper"
    path = tmp_path / "result.json"
    path.write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=r"result\.json.*decoder"):
        evaluate_again(path, workers=0)


def test_a_backend_that_is_not_installed_is_told_before_anything_begins(
    trained_run, two_actions, tmp_path, monkeypatch
):
    monkeypatch.setattr(torchcodec_video, "why_not", lambda: "torchcodec is not installed")
    message = r"^torchcodec is not installed\. Install it with pip install"
    with pytest.raises(EnvironmentFault, match=message):
        evaluate(tmp_path / "no-such-run", two_actions, backend="torchcodec")
    data = DataConfig(str(tmp_path / "no-such-videos"), backend="torchcodec")
    with pytest.raises(EnvironmentFault, match=message):
        train(TrainConfig(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_training_leaves_can_be_run_again_too(trained_run):
    again, saved = evaluate_again(trained_run / "result.json", workers=0)
    assert {name: saved[name] for name in again.numbers()} == again.numbers()


def test_a_span_outside_its_video_counts_as_wrong_and_is_named(trained_run, two_actions):
    rows = [Row("darker/0.mp4", ("darker",)), Row("darker/0.mp4", ("darker",), 100.0, 102.0)]
    result = evaluate(trained_run, Manifest.from_rows(rows, two_actions), **OPTIONS)
    assert result.hit_at_1 == 0.5
    (entry,) = result.ledger.failures
    assert (entry.item, entry.code) == ("darker/0.mp4@100.0-102.0", "out_of_range")


def test_a_folder_or_file_in_place_of_a_manifest(trained_run, two_actions):
    assert evaluate(trained_run, two_actions, **OPTIONS).hit_at_1 == 1.0


def test_networks_that_cannot_be_measured(two_actions):
    with pytest.raises(TypeError, match="Linear has no clip_spec, so nobody knows which frames"):
        evaluate(nn.Linear(2, 2), two_actions)
    broken = create_model("small_3d", 2, frames=8, size=32)
    broken.head.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="The model's scores are not numbers"):
        evaluate(broken, two_actions, **OPTIONS)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got -3"):
        evaluate(create_model("small_3d", 2), two_actions, batch_size=-3, **OPTIONS)


def test_a_model_that_looks_at_the_whole_picture_has_one_crop(two_actions):
    model = create_model("small_3d", 2, frames=8, size=32)
    model.clip_spec = dataclasses.replace(model.clip_spec, fit="stretch")
    result = evaluate(model, two_actions, clips=1, workers=0)
    assert "1 clip x whole picture" in result.protocol_line()
    with pytest.raises(ValueError, match="looks at the whole picture: crops must be 1, got 3"):
        evaluate(model, two_actions, crops=3)


def test_what_cannot_be_measured(trained_run, two_actions):
    manifest = read_folder(two_actions)
    with pytest.raises(ValueError, match=r"crops must be one of \(1, 3, 10\), got 4"):
        evaluate(trained_run, manifest, crops=4)
    with pytest.raises(ValueError, match="clips must be at least 1, got 0"):
        evaluate(trained_run, manifest, clips=0)
    with pytest.raises(ValueError, match="No video is in split 'test'; the manifest has no splits"):
        evaluate(trained_run, manifest, split="test")
    strange = Manifest.from_rows([Row("a.mp4", ("jump",))], ".")
    with pytest.raises(ValueError, match="does not know 1 of the manifest's 1 classes: jump"):
        evaluate(trained_run, strange)


def test_classes_are_numbered_as_the_model_numbers_them(trained_run, two_actions):
    manifest = read_folder(two_actions)
    backwards = dataclasses.replace(manifest, classes=manifest.classes[::-1])
    assert evaluate(trained_run, backwards, **OPTIONS).hit_at_1 == 1.0
    only = manifest.select(labels=["darker"])
    result = evaluate(trained_run, dataclasses.replace(only, classes=("darker",)), **OPTIONS)
    assert result.classes == ("brighter", "darker")
    assert (result.hit_at_1, result.mean_class_accuracy) == (1.0, 1.0)
