"""The tables of `docs/reading_weights.md`: every name, layout and option in them exists."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from praxino.models import create_model, layouts_of

PAGE = Path(__file__).parents[2] / "docs" / "reading_weights.md"


def rows() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The options of each row, by layout and model."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if not line.startswith("| ") or line.startswith("| there"):
            continue
        *start, models, options = (cell.strip() for cell in line.strip("|").split("|"))
        layout = start[1] if len(start) == 2 else section
        given = dict(
            (match[1], ast.literal_eval(match[2]))
            for match in re.finditer(r"`(\w+)=([^`]+)`", options)
        )
        for name in re.findall(r"`(\w+)`", models):
            found.setdefault((layout, name), []).append(given)
    return found


@pytest.mark.parametrize("name", sorted({name for _, name in rows()}))
def test_every_row_can_be_built_and_reads_its_layout(name: str) -> None:
    of_name = {layout: options for (layout, found), options in rows().items() if found == name}
    with torch.device("meta"):
        models = [create_model(name, 3, **options) for row in of_name.values() for options in row]
    assert set(of_name) <= set(layouts_of(models[0]))


def test_the_tables_are_read() -> None:
    assert len(rows()) > 100
    assert rows()["pytorchvideo", "mvit_v1_b"] == [{"pool_eps": 1e-5}]
    assert rows()["hara", "resnet3d_18"] == [{}, {"shortcut": "A"}]
    assert rows()["jfzhang95", "c3d"] == [{}]
