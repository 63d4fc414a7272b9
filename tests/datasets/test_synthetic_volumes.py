"""Two tasks on volumes: what slices tell of them, and what networks make of them."""

import numpy as np
import pytest

from praxino.datasets.manifest import Manifest
from praxino.datasets.synthetic_volumes import CLASSES, WINDOW, render_volume, render_volumes
from praxino.evaluate import evaluate, evaluate_again
from praxino.predict import predict
from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.train import train
from praxino.video.augmentation import Augmentation
from praxino.video.reader import open_video


def test_the_same_arguments_give_the_same_files(tmp_path) -> None:
    first = render_volumes(tmp_path / "a", task="finding", volumes_per_class=10, seed=3)
    again = render_volumes(tmp_path / "b", task="finding", volumes_per_class=10, seed=3)
    manifest = Manifest.read(first)
    assert first.read_bytes() == again.read_bytes()
    assert manifest.classes == CLASSES["finding"]
    assert [len(manifest.select(split=split)) for split in ("train", "val", "test")] == [12, 2, 6]
    for row in manifest:
        content = manifest.path(row).read_bytes()
        assert content == (tmp_path / "b" / row.video).read_bytes()
    with open_video(manifest.path(manifest[0]), window=WINDOW["finding"]) as video:
        assert (len(video), video.size) == (16, (32, 32))
        assert 90 < video.frames([0]).pixels.mean() < 102  # 35 HU between 5 and 85
    assert render_volumes(tmp_path / "a", task="finding", volumes_per_class=10, seed=3) == first


def test_what_is_in_slices_does_not_tell_nodules_from_vessels() -> None:
    area = {
        name: np.stack([(render_volume(name, number) > -380).mean((1, 2)) for number in range(150)])
        for name in CLASSES["nodule"]
    }  # (150, T)
    # In any slice, and of a volume: alike to a small part of what they vary by.
    for axis, tolerance in ((0, 0.25), (1, 0.15)):
        means = [values.mean(axis=axis).mean() for values in area.values()]
        spread = np.mean([values.std() for values in area.values()])
        assert abs(means[0] - means[1]) < tolerance * spread
    nodules, vessels = area.values()
    assert 0.8 < nodules.std() / vessels.std() < 1.25


def test_from_slice_to_slice_spheres_end_and_vessels_go_on() -> None:
    def stays(name: str) -> float:
        """How much of what is bright in a slice is bright again one nodule's radius on."""
        bright = np.stack([render_volume(name, number) for number in range(40)]) > -380
        return float((bright[:, :-4] & bright[:, 4:]).sum() / bright[:, :-4].sum())

    assert stays("vessel") > stays("nodule") + 0.1


def test_a_finding_is_in_one_slice() -> None:
    for number in range(20):
        above = (render_volume("finding", number) > 59).sum(axis=(1, 2))  # three deviations
        assert (above >= 12).sum() == 1
        assert not (render_volume("clear", number) > 59).sum(axis=(1, 2)).max() >= 12


def test_refusals(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"There is no task 'nodul'\. Did you mean 'nodule'\?"):
        render_volumes(tmp_path / "a", task="nodul")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"There is no class 'vesel'\. Did you mean 'vessel'\?"):
        render_volume("vesel", 0)
    with pytest.raises(ValueError, match=r"volumes_per_class must be at least 10, got 3\."):
        render_volumes(tmp_path / "a", volumes_per_class=3)
    render_volumes(tmp_path / "a", volumes_per_class=10)
    with pytest.raises(ValueError, match=r"was rendered with seed=0, not 1\. Choose another fo"):
        render_volumes(tmp_path / "a", volumes_per_class=10, seed=1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"b holds something else\. Choose a new or an empty"):
        render_volumes(tmp_path / "b")


# --- what networks make of them -------------------------------------------------------------------


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    return {
        task: render_volumes(folder / task, task=task, volumes_per_class=100) for task in CLASSES
    }


def trained(manifest, task, name, run, **options):
    config = TrainConfig(
        data=DataConfig(str(manifest), workers=0, window=WINDOW[task], val_split=""),
        model=ModelConfig(name, {"frames": 16, "size": 32, **options}, weights=None),
        optim=OptimConfig(lr=3e-3),
        augmentation=Augmentation(crop="centre"),
        epochs=6,
        batch_size=8,
    )
    train(config, run)
    return evaluate(run, manifest, split="test", clips=1, crops=1, workers=0, window=WINDOW[task])


@pytest.mark.slow
def test_nodules_and_vessels_need_the_third_dimension(rendered, tmp_path) -> None:
    manifest = rendered["nodule"]
    in_3d = trained(manifest, "nodule", "small_3d", tmp_path / "3d")
    in_2d = trained(manifest, "nodule", "small_2d", tmp_path / "2d")
    assert in_3d.hit_at_1 >= 0.95
    assert 0.35 <= in_2d.hit_at_1 <= 0.65  # of 60 volumes; a coin is outside one time in 50


@pytest.mark.slow
def test_a_finding_in_one_slice_needs_the_largest_answer_only(rendered, tmp_path) -> None:
    manifest, run = rendered["finding"], tmp_path / "max"
    result = trained(manifest, "finding", "small_2d", run, pool="max")
    assert result.hit_at_1 >= 0.95
    # The window goes along: into the protocol, measuring again, and predicting.
    assert ", pyav, window 45, 80, " in result.protocol_line()
    result.save(tmp_path)
    again, saved = evaluate_again(tmp_path / "result.json", workers=0)
    assert again.numbers().items() <= saved.items()
    assert again.decoding.window == WINDOW["finding"]
    row = result.manifest[0]
    path = result.manifest.path(row)
    found = predict(path, run, clips=1, window=WINDOW["finding"])
    assert found.top(1)[0][0] == row.labels[0]
    np.testing.assert_allclose(found.scores, result.scores[0], atol=1e-5)
    assert found.decoding.window == WINDOW["finding"]
