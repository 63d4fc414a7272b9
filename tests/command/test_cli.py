import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from praxino.command.cli import run
from praxino.datasets.manifest import Manifest
from praxino.recipe import load_recipe

TRAIN = [
    "--model.name=small_3d", "--model.weights=none", "--model.options.frames=8",
    "--model.options.size=32", "--data.workers=0", "--batch-size=4", "--augmentation.crop=random",
]  # fmt: skip


def test_train_evaluate_predict_from_a_folder(two_actions, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(two_actions, "my_videos")
    assert run(["train", "my_videos", *TRAIN, "--epochs=2", "--data.val-fraction=0.25"]) == 0
    said = capsys.readouterr()
    assert "12 training and 4 validation videos, brighter, darker (2 classes)" in said.err
    assert "epoch   2  loss" in said.err
    assert "Report: runs/my_videos/report.html" in said.out
    assert run(["train", "my_videos", "--run=runs/my_videos", "--resume"]) == 0
    assert "Resuming at epoch 3" in capsys.readouterr().err

    changed = ["train", "my_videos", "--run=runs/my_videos", "--resume", "--epochs=9"]
    assert run(changed) == 2
    assert "was started with other settings of epochs" in capsys.readouterr().err

    command = ["evaluate", "runs/my_videos", "--data=my_videos", "--split=all", "--workers=0"]
    assert run([*command, "--clips=2"]) == 0
    said = capsys.readouterr().out
    assert "clip hit@1" in said
    assert "16 videos (all rows), 2 clips x 3 crops" in said
    assert run(["evaluate", "runs/my_videos/result.json", "--workers=0"]) == 0
    assert "hit_at_1:" in capsys.readouterr().out

    one = ["predict", "my_videos/darker/0.mp4", "--model=runs/my_videos"]
    assert run([*one, "--save=out.mp4", "--json=a.json", "--csv=a.csv", "--clips=2"]) == 0
    said = capsys.readouterr().out
    assert "brighter" in said
    assert "%" in said
    assert json.loads((tmp_path / "a.json").read_text())[0]["classes"] == ["brighter", "darker"]
    assert (tmp_path / "a.csv").read_text().startswith("video,label,score\n")
    assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_a_folder_with_a_broken_file_goes_on_and_reports(
    trained_run, two_actions, broken_video, tmp_path, capsys
):
    folder = tmp_path / "mixed"
    shutil.copytree(two_actions / "darker", folder / "good")
    shutil.copy(broken_video, folder / "bad.mp4")
    arguments = [
        str(folder),
        "--model",
        str(trained_run),
        "--ledger",
        str(tmp_path / "items.jsonl"),
    ]
    assert run(["predict", *arguments]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"praxino: {folder}/bad.mp4: ")
    assert said.out.endswith(f"9 videos: 8 ok, 1 failed\n  failed: {folder}/bad.mp4\n")
    lines = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines].count("failed") == 1


def test_patterns_and_several_results(trained_run, two_actions, tmp_path, capsys):
    arguments = [str(two_actions / "*" / "[01].mp4"), "--model", str(trained_run), "--csv=-"]
    assert run(["predict", *arguments, "--save", str(tmp_path / "drawn")]) == 0
    said = capsys.readouterr()
    assert "4 videos: 4 ok" in said.err
    assert said.out.startswith("video,label,score\n")
    assert said.out.count("\n") == 10  # 4 videos x 2 classes, and nothing but the table
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == ["0.mp4", "1.mp4", "darker-0.mp4", "darker-1.mp4"]
    assert run(["predict", str(two_actions / "*.avi"), "--model", str(trained_run)]) == 2
    assert "No video in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["predct", "a.mp4"], 2, "Did you mean 'predict'?"),
        (["predict", "a.mp4"], 2, "--model"),
        (["predict", "a.mp4", "--model", "nowhere"], 2, "There is no checkpoint or run folder at"),
        (["evaluate", "nowhere"], 2, "praxino evaluate needs --data"),
        (["train", "nowhere"], 2, "'nowhere' does not exist: give a folder of class folders"),
        (["train", "x", "--optim.lrr", "3"], 2, "Did you mean --optim.lr?"),
        (["train", "x", "--epochs", "0"], 2, "epochs must be at least 1, got 0"),
        (["train", "x", "--epochs", "many"], 2, "many"),
        (["train", "none.py:x"], 2, "There is no recipe file 'none.py'"),
        (["models", "r3d_81"], 2, "Did you mean 'r3d_18'?"),
        (["data", "pointlight"], 2, "FOLDER"),
        (["size", "0", "480"], 2, "width must be above 0, got 0"),
        (["models", "c3d", "--classes", "0"], 2, "--classes must be at least 1, got 0"),
        (["models", "--family", "fussion"], 2, "no family 'fussion'. Did you mean 'fusion'?"),
        (["models", "c3d", "--family", "fusion"], 2, "the family 'fusion' matches 'c3d'"),
        (["models", "--frames", "8"], 2, "--frames is for the layers of one model; name it"),
        (["data", "import", "ucf102", "--videos=.", "--to=x.csv"], 2, "Did you mean 'ucf101'?"),
        (["data", "import", "kth", "a", "b", "--videos=.", "--to=x.csv"], 2, "got 2"),
        (["data", "import", "ucf101", "--videos=.", "--to=x.csv"], 2, "annotation file or folder"),
        (["data", "import", "kth", "a", "--split=2", "--videos=.", "--to=x.csv"], 2, "--split"),
        (["data", "import", "kinetics", "a", "--videos=.", "--to=x.csv"], 2, "--num-classes"),
        (["predict", "", "--model=."], 2, "A video's name is empty"),
        (["train", "x", "--resume"], 2, "--resume needs --run"),
    ],
)
def test_mistakes_are_one_line_and_no_traceback(
    arguments, code, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("praxino: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_saving_says_what_it_can(trained_run, two_actions, tmp_path, capsys):
    both = [str(two_actions / "darker" / f"{n}.mp4") for n in (0, 1)]
    model = f"--model={trained_run}"
    assert run(["predict", *both, model, f"--save={tmp_path / 'one.mp4'}"]) == 2
    assert "is one file, and there are 2 videos. Name a folder" in capsys.readouterr().err
    assert run(["predict", both[0], model, f"--save={tmp_path / 'a.gif'}"]) == 2
    assert "Cannot save a drawn video as 'a.gif'" in capsys.readouterr().err
    assert run(["predict", both[0], model, "--top=0"]) == 2
    assert "--top must be at least 1, got 0" in capsys.readouterr().err
    assert run(["predict", both[0], model, "--device=quantum"]) == 2
    assert "There is no device 'quantum'" in capsys.readouterr().err
    assert run(["predict", both[0], model, "--every=0"]) == 2
    assert "every_seconds must be at least 0.001 s and not endless, got" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert run(["predict", both[0], model, f"--save={tmp_path / 'new'}"]) == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["0.mp4"]


def test_names_are_data_not_markup(trained_run, two_actions, tmp_path, capsys):
    odd = tmp_path / "[bold]x[-red] :smile:.mp4"
    shutil.copy(two_actions / "darker" / "0.mp4", odd)
    assert run(["predict", str(odd), f"--model={trained_run}"]) == 0
    assert str(odd) in capsys.readouterr().out


def test_ten_thousand_clips_of_a_short_video_are_few(trained_run, two_actions, capsys):
    path = str(two_actions / "darker" / "0.mp4")
    assert run(["predict", path, f"--model={trained_run}", "--clips=10000"]) == 0
    assert "darker" in capsys.readouterr().out


def test_import_writes_a_manifest(lab_data, tmp_path, capsys):
    videos = lab_data / "ut-interaction"
    to = tmp_path / "ut.parquet"
    arguments = ["data", "import", "ut_interaction", f"--videos={videos}", f"--to={to}"]
    assert run([*arguments, "--test=set2"]) == 0
    assert "120 of 120 videos are in" in capsys.readouterr().out
    assert len(Manifest.read(to, root=videos).select(split="test")) == 60
    (tmp_path / "empty").mkdir()
    arguments = ["data", "import", "kth", str(lab_data / "annotations/kth/00sequences.txt")]
    assert run([*arguments, f"--videos={tmp_path / 'empty'}", f"--to={to}", "--test=set1"]) == 2
    assert "The reader of kth has no option --test" in capsys.readouterr().err
    assert run([*arguments, f"--videos={tmp_path / 'empty'}", f"--to={to}"]) == 2
    assert "None of the 2391 rows that kth lists has its video in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")],
)
def test_a_stopped_training_says_how_to_go_on(two_actions, tmp_path, number, code, word):
    command = [sys.executable, "-m", "praxino", "train", str(two_actions), *TRAIN]
    process = subprocess.Popen(
        [*command, f"--run={tmp_path / 'run'}", "--epochs=500", "--data.val-fraction=0.25"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while "epoch" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith(f"praxino: {word}; to go on: praxino train ")


def test_flags_change_single_settings_of_a_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from praxino.recipe import *\n"
        "def mine():\n"
        "    return TrainConfig(epochs=7, optim=OptimConfig(lr=0.5, momentum=0.3),\n"
        "                       model=ModelConfig('c3d', {'dropout': 0.1}, weights=None))\n"
    )
    seen = {}

    def pretend(config, run, resume):
        seen.update(config=config, run=run)
        return 0

    monkeypatch.setattr("praxino.command.cli._train", pretend)
    assert run(["train", "mine.py:mine", "--optim.lr", "0.05", "--model.options.frames", "8"]) == 0
    config = seen["config"]
    assert (config.epochs, config.optim.lr, config.optim.momentum) == (7, 0.05, 0.3)
    assert config.model.options == {"dropout": 0.1, "frames": 8}
    assert str(seen["run"]) == "runs/mine"
    assert run(["train", "mine.py:mine", "--tiny"]) == 0
    assert seen["config"].epochs == 2
    assert run(["baseline", "videos"]) == 0
    assert seen["config"].model.name.startswith("single_frame")
    capsys.readouterr()


def test_models_prints_the_lectures_columns(capsys, monkeypatch):
    monkeypatch.setattr("praxino.command.cli.out", Console(width=200))
    assert run(["models", "toy_late_fusion"]) == 0
    said = capsys.readouterr().out
    for cell in ("12×20×64×64", "1×3×3", "24×20×16×16", "1×14×14", "24×1×1×1", "20×64×64"):
        assert cell in said
    assert run(["models", "r3d_18", "--frames", "32", "--size", "64"]) == 0
    assert "64×32×32×32" in capsys.readouterr().out
    assert run(["models", "toy_*"]) == 0


def test_size_of_raw_video(capsys):
    assert run(["size", "640", "480"]) == 0
    assert "1,658,880,000 bytes = 1.66 GB = 1.54 GiB" in capsys.readouterr().out
    assert run(["size", "1920", "1080"]) == 0
    assert "11.2 GB = 10.4 GiB" in capsys.readouterr().out
    assert run(["size", "112", "112", "--frames", "16"]) == 0
    assert "588 KiB" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["models"], ["models", "c3d"], ["train", "--help"]])
def test_a_reader_that_has_seen_enough_is_no_error(command):
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "praxino", *command], stdout=writes, stderr=subprocess.PIPE
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_of_every_command_is_there():
    for command in ([], ["train"], ["predict"], ["evaluate"], ["models"], ["data", "pointlight"]):
        done = subprocess.run(
            [sys.executable, "-m", "praxino", *command, "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0
        assert "Usage: " in done.stdout


def test_recipes_of_the_repository_can_be_read(pytestconfig):
    for path in sorted((pytestconfig.rootpath / "recipes").glob("*.py")):
        names = re.findall(r"(?m)^def ([a-z]\w*)\(\) -> TrainConfig:$", path.read_text())
        assert names, path
        for name in names:
            assert load_recipe(f"{path}:{name}").epochs > 0


# --- outputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--save", "a.mp4"],
            r"^praxino: a.mp4 is one of the videos to be read\. Write to",
        ),
        (["--save", "."], r"^praxino: a.mp4 is one of the videos to be read\."),
        (["--csv", "a.mp4"], r"^praxino: a.mp4 is one of the videos to be read\."),
        (
            ["--ledger", "b.avi"],
            r"^praxino: b.avi would be a table named like a video\. Call it",
        ),
        (["--json", "folder"], r"^praxino: Cannot write .*folder: it is a folder\. Name another"),
        (
            ["--clips=3", "--every=1"],
            r"^praxino: --clips and --every are two ways of looking",
        ),
        (["--every=nan"], r"every_seconds must be at least 0\.001 s and not endless, got nan"),
        (["--every=1e-9"], r"every_seconds must be at least 0\.001 s and not endless, got 1e-09"),
        (["--model="], r"^praxino: --model is empty\. Name a run folder or a checkpoint\."),
    ],
)
def test_what_predict_refuses_before_any_work(
    trained_run, two_actions, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(two_actions / "darker" / "0.mp4", "a.mp4")
    Path("folder").mkdir()
    before = Path("a.mp4").read_bytes()
    model = [] if "--model=" in options else [f"--model={trained_run}"]
    assert run(["predict", "a.mp4", *model, *options]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert Path("a.mp4").read_bytes() == before
    assert sorted(os.listdir()) == ["a.mp4", "folder"]


def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(
    trained_run, two_actions, monkeypatch, capsys
):
    video = str(two_actions / "darker" / "0.mp4")
    options = [f"--model={trained_run}", "--csv=/proc/1/out.csv"]
    assert run(["predict", video, *options]) == 3
    said = capsys.readouterr()
    assert "Cannot write /proc/1/out.csv: /proc/1 cannot be written to. Name another" in said.err
    assert not said.out


def test_one_empty_folder_among_several_is_one_failed_item(
    trained_run, two_actions, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    video = str(two_actions / "darker" / "0.mp4")
    inputs = [video, str(tmp_path / "empty"), str(tmp_path / "none*.mp4")]
    assert run(["predict", *inputs, f"--model={trained_run}", "--clips=1"]) == 1
    assert "3 videos: 1 ok, 2 failed" in capsys.readouterr().out


def test_a_name_cannot_steer_the_terminal(trained_run, two_actions, tmp_path, capsys):
    video = tmp_path / "new\nline\x1b[31m.mp4"
    shutil.copy(two_actions / "darker" / "0.mp4", video)
    assert run(["predict", str(video), f"--model={trained_run}", "--clips=1"]) == 0
    assert run(["video", str(video)]) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert said.out.count("new\\nline\\x1b[31m.mp4") == 2


def test_a_run_folder_that_is_a_file(two_actions, tmp_path, capsys):
    (tmp_path / "run").write_text("x")
    assert run(["train", str(two_actions), f"--run={tmp_path / 'run'}"]) == 2
    assert "is a file. Name a folder, new or of a run." in capsys.readouterr().err
