"""Wrong command lines: each ends in one line that helps, exit code 2, and nothing written.

Most are generated from the commands themselves, so that a new command or option is tried too.
"""

import subprocess
import sys
import typing

import pytest

from praxino.command.cli import arguments_by_command, run
from praxino.command.usage import _choices, _parts

COMMANDS = arguments_by_command()


def complete(command: str) -> list[str]:
    """A command line that parses; what it names need not exist."""
    words = command.split()
    for argument in COMMANDS[command]:
        if argument.required:
            named = [argument.name] if argument.field_info.is_keyword else []
            is_number = not {int, float}.isdisjoint(_parts(argument.hint))
            words += [*named, "7" if is_number else "nowhere"]
    return words


def positionals(command: str) -> list[str]:
    return [one.name for one in COMMANDS[command] if one.required and one.name[:2] != "--"]


def misspelt(name: str) -> str:
    """Without one letter in the middle."""
    return name[: len(name) // 2 + 1] + name[len(name) // 2 + 2 :]


def generated() -> list[tuple[list[str], str]]:
    """Wrong command lines, each with what must be said about it."""
    found: list[tuple[list[str], str]] = []
    for command, arguments in COMMANDS.items():
        words, near = command.split(), complete(command)
        found.append(([*words[:-1], misspelt(words[-1])], f"Did you mean {words[-1]!r}?"))
        found.append(([*near, "--nonsense"], f"{command} has no option --nonsense"))
        if any(one.required for one in arguments):
            found.append((words, f"{command} needs "))
        if not any(one.field_info.kind.name == "VAR_POSITIONAL" for one in arguments) and not any(
            typing.get_origin(one.hint) is list for one in arguments
        ):
            extra = [*near, *["1"] * (1 + sum(one.name[:2] != "--" for one in arguments))]
            found.append((extra, f"{command} has no use for '1'"))
        # The settings of training are many, and parsed alike: every third is tried.
        step = {"train": 3, "baseline": 30}.get(command, 1)
        for argument in list(arguments)[::step]:
            found += about_option(command, argument, near)
    return found


def about_option(command, argument, near: list[str]) -> list[tuple[list[str], str]]:
    name, kind = argument.name, argument.hint
    if not name.startswith("--") or not argument.parse:
        return []
    bare = name.removeprefix("--")
    found = []
    if len(bare.rpartition(".")[2]) > 4:
        found.append(([*near, misspelt(name)], f"Did you mean {name}?"))
    found.append(([*near, "–" + bare, "1"], f"Did you mean {name}?"))
    if len(bare) > 1:
        found.append(([*near, "-" + bare, "1"], f"Did you mean {name}?"))
    if argument.required:
        return found
    if bool in _parts(kind):
        return [*found, ([*near, f"{name}=perhaps"], f"{name} is a switch and takes no value")]
    if typing.get_origin(kind) is dict:
        return found
    found.append(([*near, name], f"{name} needs "))
    if _choices(kind):
        wrong = misspelt(_choices(kind)[0]) + "z"
        found.append(([*near, name, wrong], f"{name} must be {_choices(kind)[0]}"))
        found.append(([*near, *[name, _choices(kind)[0]] * 2], f"{name} is given twice"))
    elif float in _parts(kind) and typing.get_origin(kind) is not tuple:
        found.append(([*near, name, "much"], f"{name} must be a number, got 'much'"))
    elif int in _parts(kind):
        found.append(([*near, name, "3.5"], f"{name} must be a whole number, got '3.5'"))
        found.append(([*near, *[name, "3"] * 2], f"{name} is given twice"))
    others = [other for other in COMMANDS if all(name not in one.names for one in COMMANDS[other])]
    if others and "." not in name and len(bare) > 3:
        other = others[-1]
        found.append(([*complete(other), name], f"{other} has no option {name}."))
    return found


GENERATED = generated()


def test_there_are_hundreds_of_wrong_command_lines_over_all_commands():
    assert len(GENERATED) >= 200
    assert {"predict", "train", "evaluate", "video", "doctor", "data import"} <= set(COMMANDS)


def check(arguments, code, said, folder, capsys):
    assert run(arguments) == code, arguments
    streams = capsys.readouterr()
    assert streams.err.startswith("praxino: "), arguments
    assert streams.err.count("\n") == 1, arguments
    assert said in streams.err, (arguments, streams.err)
    assert "internal error" not in streams.err, arguments
    assert not list(folder.iterdir()), arguments


def test_generated_command_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, said in GENERATED:
        check(arguments, 2, said, tmp_path, capsys)


RECIPES = {
    "empty.py": "",
    "broken.py": "def mine(:\n",
    "fails.py": "def mine():\n    return 1 / 0\n",
    "wrong.py": "def mine():\n    return 3\n",
}

# Code 1 is for an item that fails, 3 for the machine; everything else here is wrong usage.
BY_HAND = [
    (["zzz"], 2, "There is no command 'zzz'. There is: baseline, convert, data,"),
    ([""], 2, "There is no command ''."),
    (["help"], 2, "Did you mean '--help'?"),
    (["--epochs", "3"], 2, "A command comes first, --epochs is none. It is an option of train."),
    (["--versio"], 2, "Did you mean --version?"),
    (["-x"], 2, "A command comes first, -x is none. See praxino --help."),
    (["--"], 2, "A command comes first"),
    (["predict", "a.mp4", "--model", "m", "--epochs", "3"], 2, "It is an option of train."),
    (["train", "x", "--lr", "3"], 2, "Did you mean --optim.lr?"),
    (["train", "x", "--top", "3"], 2, "It is an option of predict."),
    (["train", "x", "--epochs=3=4"], 2, "must be a whole number, got '3=4'"),
    (["train", "x", "--epochs="], 2, "must be a whole number, got ''"),
    (["train", "x", "--epochs", "0"], 2, "epochs must be at least 1, got 0"),
    (["train", "x", "--seed", "1e3"], 2, "must be a whole number, got '1e3'"),
    (["train", "x", "--seed", "9" * 30], 2, "seed must be at least 0 and below"),
    (["train", "x", "--optim.lr", "nan"], 2, "lr must be above 0, got nan"),
    (["train", "x", "--augmentation.scale", "0.5"], 2, "needs 2 values, got 1"),
    (["train", "x", "--model.options", "3"], 2, "--model.options.NAME VALUE, got '3'"),
    (["train", "x", "--augmentation.crop", "middle"], 2, "crop='middle'"),
    (["train", "nowhere"], 2, "'nowhere' does not exist"),
    (["train", "../recipes/empty.py"], 2, "recipes/empty.py"),
    (["train", "nowhere.py:mine"], 2, "There is no recipe file 'nowhere.py'"),
    (["train", "../recipes/empty.py:mine"], 2, "has no recipe 'mine'"),
    (["train", "../recipes/broken.py:mine"], 2, "line 1: SyntaxError"),
    (["train", "../recipes/fails.py:mine"], 2, "line 2: ZeroDivisionError"),
    (["train", "../recipes/wrong.py:mine"], 2, "must return a TrainConfig, not int"),
    (["train", "nowhere", "--resume", "--run", "gone"], 2, "There is no run to resume in gone"),
    (["predict", "a.mp4", "--model", "m", "--json", "--csv"], 2, "needs a file, or - for standard"),
    (["predict", "nowhere.mp4", "--model", "gone"], 2, "no checkpoint or run folder at gone"),
    (["predict", ".", "--model", "gone"], 2, "No video in '.'"),
    (["predict", "*.mp4", "--model", "gone"], 2, "No video in '*.mp4'"),
    (["evaluate", "gone"], 2, "needs --data"),
    (["evaluate", "gone.json"], 2, "gone.json"),
    (["evaluate", "gone", "--data", "nowhere"], 2, "nowhere"),
    (["fuse", "a.parquet"], 2, "Fusion needs two tables or more, got 1."),
    (["fuse", "a.parquet", "b.parquet", "--weights", "1;2"], 2, "such as 1,1.5; got '1;2'"),
    (["fuse", "a.parquet", "b.parquet", "--output", "c.txt"], 2, "must end in .parquet or .csv"),
    (["fuse", "a.csv", "b.csv", "--output", "b.csv"], 2, "b.csv is one of the tables to be read"),
    (["fuse", "a.parquet", "b.parquet"], 2, "There is no table of scores a.parquet."),
    (["verify", "c3d", "--scores", "here"], 2, "--scores is of no model's architecture"),
    (["flow", "nowhere.mp4"], 2, "flow needs either --output, a folder to keep it in"),
    (["flow", "nowhere.mp4", "--output", "x", "--picture", "y.png"], 2, "flow needs either"),
    (["flow", "nowhere.mp4", "--picture", "y.png", "--images"], 2, "--images and --ledger go with"),
    (["flow", "a.mp4", "b.mp4", "--picture", "y.png"], 2, "draws one video, and there are 2"),
    (["flow", "nowhere.mp4", "--picture", "y.jpg"], 2, "as 'y.jpg': use .png, .mp4, .gif"),
    (["flow", "nowhere.mp4", "--picture", "y.png"], 1, "nowhere.mp4: there is no such file"),
    (["flow", "nowhere.mp4", "--output", "x", "--method", "tvl"], 2, "Did you mean 'tvl1'?"),
    (["flow", "nowhere.mp4", "--output", "x", "--short-side", "0"], 2, "short_side must be"),
    (["flow", "a.mp4", "b/a.mp4", "--output", "x"], 2, "would both have their flow in x/a.mp4"),
    (["video", "nowhere.mp4"], 1, "nowhere.mp4: there is no such file"),
    (["video", "https://example.org/a.mp4"], 2, "is a URL"),
    (["video", "/dev/null"], 1, "not a regular file"),
    (["video", "../recipes/empty.py"], 1, "is empty (0 bytes)"),
    (["video", "../recipes/fails.py"], 1, "is not a video that praxino reads"),
    (["models", "r3d_81"], 2, "Did you mean 'r3d_18'?"),
    (["models", "zzz"], 2, "There is: actionvlad,"),
    (["size", "0", "480"], 2, "width must be above 0, got 0"),
    (["size", "640", "480", "--fps", "nan"], 2, "fps must be above 0, got nan"),
    (["data", "import", "ucf102", "a", "--videos=.", "--to=x.csv"], 2, "Did you mean 'ucf101'?"),
    (["data", "import", "kth", "gone", "--videos=.", "--to=x.csv"], 2, "gone"),
    (["data", "pointlight", "x", "--videos-per-class", "0"], 2, "must be at least 10, got 0"),
    (["data", "pointlight", "x", "--seed", "-1"], 2, "seed must be at least 0, got -1"),
]


def test_command_lines_written_by_hand(tmp_path, monkeypatch, capsys):
    (tmp_path / "recipes").mkdir()
    for name, text in RECIPES.items():
        (tmp_path / "recipes" / name).write_text(text)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for arguments, code, said in BY_HAND:
        check(arguments, code, said, tmp_path / "here", capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predct", "a.mp4"], "Did you mean 'predict'?"),
        (["train", "x", "–epochs", "3"], "begins with a long dash"),
        (["evaluate", "run", "--crops", "5"], "--crops must be 1, 3 or 10, got '5'"),
        (["data"], None),
        (["predict", "-h", "--nonsense"], None),
    ],
)
def test_the_program_itself_says_the_same(arguments, said, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "praxino", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    if said is None:  # the help, asked for or not
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: praxino")
    else:
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert said in done.stderr
    assert not list(tmp_path.iterdir())
