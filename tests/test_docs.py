"""What the documents say can be typed: every command parses, every name in Python exists."""

import re
import shlex
from pathlib import Path

import pytest

from praxino.command.cli import _parse_training, app
from praxino.recipe import TrainConfig, load_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / "recipes").glob("*.py"),
]


def commands() -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        if page.suffix == ".md":  # what stands in code blocks; elsewhere it is prose
            text = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
        found += re.findall(r"^\s*(praxino [a-z].*)$", text, re.MULTILINE)
    return found


def test_there_are_commands_to_check():
    assert len(commands()) > 12


@pytest.mark.parametrize("line", commands())
def test_every_command_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line, comments=True)[1:]
    if words[0] in ("train", "baseline"):
        recipe = next((word for word in words if ".py:" in word), None)
        base = load_recipe(recipe) if recipe else TrainConfig()
        config, _, _ = _parse_training(words[0], words[1:], base)
        assert isinstance(config, TrainConfig)
    else:
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_python_in_the_readme_uses_names_that_exist():
    import praxino

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(code, "README.md", "exec")
        for name in re.findall(r"praxino\.(\w+)", code):
            assert name in praxino.__all__


def test_pictures_and_links_are_there():
    for page in PAGES:
        if page.suffix == ".md":
            text = page.read_text(encoding="utf-8")
            for target in re.findall(r"\]\(([^)#:]+)\)", text):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
