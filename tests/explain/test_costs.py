import pytest
import torch

from praxino.command.cli import run
from praxino.explain.growth import growth
from praxino.explain.training_time import TrainingWork, measured_rate, training_work


def test_inflation_multiplies_kernels_and_nothing_else():
    found = growth("resnet18", num_classes=101, frames=8, size=32)
    assert found.flat_parameters == 11_228_325
    # 1x1 convolutions, norms and the classifier stay; 3x3 become 3x3x3, the 7x7 becomes 7x7x7.
    first, pointwise, norms, head = 3 * 64 * 49, (64 + 2 * 128 + 4 * 256) * 128, 9600, 513 * 101
    three = found.flat_parameters - first - pointwise - norms - head
    assert found.grown_parameters == 7 * first + pointwise + norms + head + 3 * three
    assert found.grown_parameters == 33_255_717  # the survey's "33 M"
    assert found.flat_multiply_adds % 8 == 0  # the same for each frame


def test_growth_from_the_command_line(capsys):
    line = ["explain", "growth", "googlenet", "--classes", "101", "--frames", "4", "--size", "64"]
    assert run(line) == 0
    said = capsys.readouterr().out
    assert "googlenet, 101 classes, a clip of 4×64²" in said
    assert "parameters: 5.70 M in 2D, frame by frame; 12.39 M inflated (2.17 times)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["growth", "resnet19"], "Did you mean"),
        (["growth", "resnet18", "--frames", "0"], "--frames must be at least 1, got 0"),
        (["training-time", "c4d", "--videos", "9", "--epochs", "9"], "no model named 'c4d'. Did"),
        (["training-time", "c3d", "--videos", "0", "--epochs", "9"], "videos must be above 0, got"),
        (["training-time", "c3d", "--videos", "9", "--epochs", "0"], "epochs must be above 0, got"),
        (
            ["training-time", "c3d", "--videos=9", "--epochs=9", "--rate=0"],
            "A rate is above 0 multiply-adds in a second, got 0",
        ),
        (
            ["training-time", "c3d", "--videos=9", "--epochs=9", "--days=-1"],
            "days must be above 0, got -1",
        ),
        (
            ["training-time", "c3d", "--videos=9", "--epochs=9", "--days=1", "--rate=1"],
            "--days asks for the rate that --rate says. Give one of them",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, said, capsys):
    assert run(["explain", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_work_is_arithmetic():
    work = TrainingWork(1000, videos=10, clips=2, epochs=5)
    assert work.multiply_adds == 3 * 1000 * 10 * 2 * 5
    assert work.days(rate=300_000 / 86_400) == pytest.approx(1)
    assert work.rate(days=1) == pytest.approx(300_000 / 86_400)


def test_what_the_surveys_training_times_imply():
    """3 to 4 days on UCF101, 2 months on Sports-1M; it says five clips of each video."""
    ucf101 = training_work("c3d", videos=9_537, clips=5, epochs=1)
    sports1m = training_work("c3d", videos=1_000_000, clips=5, epochs=1)
    assert ucf101.multiply_adds == pytest.approx(3 * 38.55e9 * 47_685, rel=1e-3)
    # For the same number of epochs Sports-1M is 105 times the work, and took 17 times as long.
    assert sports1m.multiply_adds / ucf101.multiply_adds == pytest.approx(104.9, abs=0.1)
    assert sports1m.rate(60) / 1e9 == pytest.approx(111.5, abs=0.2)  # for each epoch
    assert ucf101.rate(3.5) / 1e9 == pytest.approx(18.2, abs=0.1)


def test_a_known_training_from_the_command_line(capsys):
    line = ["explain", "training-time", "c3d", "--videos", "1000000", "--clips", "5"]
    assert run([*line, "--epochs", "1", "--days", "60"]) == 0
    assert "In 60 days: 111.5 G a second" in capsys.readouterr().out
    assert run([*line, "--epochs", "1", "--rate", "111.5"]) == 0
    said = capsys.readouterr().out
    assert "38.55 G multiply-adds a clip × 3" in said
    assert "At 111.5 G a second (as given): 60 days" in said


def test_this_machine_has_a_rate(monkeypatch, capsys):
    assert 1e8 < measured_rate(torch.device("cpu"), seconds=0.01) < 1e14
    monkeypatch.setattr("praxino.explain.training_time.measured_rate", lambda device: 2e9)
    line = ["explain", "training-time", "c3d", "--videos", "10", "--epochs", "1"]
    assert run([*line, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "At 2 G a second (measured on cpu, on a convolution that suits it): 0.161 hours" in said
