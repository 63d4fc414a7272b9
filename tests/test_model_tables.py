"""The tables of `praxino models`, against the papers' and the lecture's own numbers."""

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from praxino.model_facts import facts_of
from praxino.model_page import model_page
from praxino.model_tables import _count, accuracy, giga, millions, short_paper
from praxino.model_tables import print_layers as layers
from praxino.model_tables import print_models as models
from praxino.models import MODELS, list_models, published_weights


def printed(show, *arguments, **options) -> str:
    console = Console(record=True, width=200, file=io.StringIO(), markup=False)
    show(console, *arguments, **options)
    return console.export_text()


def rows(text: str, header_lines: int) -> dict[str, list[str]]:
    """The lines of a table below its header: cells by the first one."""
    lines = [line.split() for line in text.splitlines()[header_lines:] if line.strip()]
    return {line[0]: line[1:] for line in lines}


# --- all models ----------------------------------------------------------------------------------


def test_one_line_for_each_model():
    text = printed(models, ["c3d", "toy_3d"])
    assert text.splitlines()[0].split() == [
        "model", "paper", "inputs", "clip", "params", "MACs", "weights:", "published", "top-1",
        "/", "top-5",
    ]  # fmt: skip
    assert rows(text, 1) == {
        "3d": [],
        "c3d": "Tran et al., ICCV 2015 rgb 16×112² 79.99 M 38.5 G ucf101: 83.1 / 95.9; sports1m: "
        "61.1 / 85.2; sports1m_mmaction2_backbone: not stated".split(),
        "teaching": [],
        "toy_3d": "Johnson, 2020 rgb 20×64² 9,034 0.0896 G -".split(),
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("toy*", ["toy_3d", "toy_early_fusion", "toy_late_fusion"]),
        ("small_?d", ["small_2d", "small_3d"]),
        ("toy_3d", ["toy_3d"]),
    ],
)
def test_the_models_that_match_a_pattern(pattern, names):
    assert list(rows(printed(models, list_models(pattern)), 1)) == ["teaching", *names]


def test_all_published_weights_are_named():
    line = " ".join(rows(printed(models, ["single_frame_resnet18"]), 1)["single_frame_resnet18"])
    assert "imagenet" in line
    assert line.endswith("69.8 / 89.1")  # torchvision's table


@pytest.mark.parametrize(
    ("paper", "year", "short"),
    [
        ("Karpathy et al., Large-scale Video Classification with CNNs, CVPR 2014", 2014,
         "Karpathy et al., CVPR 2014"),
        ("after Ji et al., 3D CNNs for Human Action Recognition, TPAMI 2013", 2013,
         "after Ji et al., TPAMI 2013"),
        ("Johnson, EECS 498 lecture 18: Videos, 2020", 2020, "Johnson, 2020"),
        ("Somebody, A Title, with a Comma, arXiv", 2021, "Somebody, 2021"),
    ],
)  # fmt: skip
def test_papers_are_named_by_author_and_place(paper, year, short):
    assert short_paper(paper, year) == short


@pytest.mark.parametrize("name", sorted(MODELS))
def test_everyshort_paper_has_its_year(name):
    short = short_paper(MODELS[name].paper, MODELS[name].year)
    assert short.endswith(str(MODELS[name].year))
    assert len(short) < 40


def test_published_accuracy():
    weights = published_weights("r3d_18")["kinetics400"]
    assert accuracy(weights) == "63.2 / 83.5"  # torchvision's table
    assert accuracy(dataclasses.replace(weights, accuracy={})) == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [(40_697_000_000, "40.7 G"), (111_150_000_000, "111 G"), (89_580_000, "0.0896 G")],
)
def test_three_digits(count, text):
    assert giga(count) == text


def test_a_model_without_stored_facts_is_measured(monkeypatch):
    stored = facts_of("toy_3d")
    monkeypatch.setattr("praxino.model_facts._stored", dict)
    assert facts_of("toy_3d") == stored


# --- the page ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_page_is_up_to_date():
    page = Path(__file__).parents[1] / "docs" / "models.md"
    assert page.read_text(encoding="utf-8") == model_page(), (
        "`python -m praxino.model_page > docs/models.md` writes it anew"
    )


def test_the_page_tells_inputs_paper_size_cost_weights_and_licence(monkeypatch):
    only = {name: MODELS[name] for name in ("r3d_18", "toy_3d")}
    monkeypatch.setattr("praxino.model_page.MODELS", only)
    page = model_page()
    assert "| `r3d_18` | Tran et al., CVPR 2018 | rgb | 16×112² | 33.37 M | 40.7 G |" in page
    weights = next(line for line in page.splitlines() if "r3d_18-b3b3357e.pth" in line)
    assert "| Kinetics-400 | 63.2 / 83.5 | video level, 5 clips" in weights
    assert "BSD-3-Clause" in weights
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## 3d",
        "## Teaching",
    ]


# --- the layers of one model ---------------------------------------------------------------------

# Sizes and receptive fields are the lecture's; multiply-adds are outputs times kernel, parameters
# are kernel and bias.
LATE = {
    "input": "Input 3×20×64×64 1×1×1",
    "conv1": "Conv2D(3x3, 3->12) 12×20×64×64 1×3×3 26.54 M 336",
    "pool1": "Pool2D(4x4) 12×20×16×16 1×6×6",
    "conv2": "Conv2D(3x3, 12->24) 24×20×16×16 1×14×14 13.27 M 2,616",
    "pool": "GlobalAvgPool 24×1×1×1 20×64×64",
    "head": "Linear(24->10) 10 20×64×64 240 250",
    "total": "39.81 M 3,202",
}
EARLY = {
    "input": "Input 3×20×64×64 1×1×1",
    "conv1": "Conv2D(3x3, 60->12) 12×64×64 20×3×3 26.54 M 6,492",
    "pool1": "Pool2D(4x4) 12×16×16 20×6×6",
    "conv2": "Conv2D(3x3, 12->24) 24×16×16 20×14×14 663,552 2,616",
    "pool": "GlobalAvgPool 24×1×1 20×64×64",
    "head": "Linear(24->10) 10 20×64×64 240 250",
    "total": "27.21 M 9,358",
}
CNN_3D = {
    "input": "Input 3×20×64×64 1×1×1",
    "conv1": "Conv3D(3x3x3, 3->12) 12×20×64×64 3×3×3 79.63 M 984",
    "pool1": "Pool3D(4x4x4) 12×5×16×16 6×6×6",
    "conv2": "Conv3D(3x3x3, 12->24) 24×5×16×16 14×14×14 9.953 M 7,800",
    "pool": "GlobalAvgPool 24×1×1×1 20×64×64",
    "head": "Linear(24->10) 10 20×64×64 240 250",
    "total": "89.58 M 9,034",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("toy_late_fusion", LATE), ("toy_early_fusion", EARLY), ("toy_3d", CNN_3D)],
)
def test_the_lectures_three_columns(name, expected):
    assert rows(printed(layers, name), 2) == {key: row.split() for key, row in expected.items()}


def test_the_titles_of_the_columns():
    first, second = printed(layers, "toy_3d").splitlines()[:2]
    assert first.split() == ["size", "receptive", "multiply-", "para-"]
    assert second.split() == ["layer", "operation", "C×T×H×W", "field", "T×H×W", "adds", "meters"]


def test_c3d():
    table = rows(printed(layers, "c3d"), 2)
    assert table["total"] == ["38.55", "G", "79.99", "M"]
    # Tran et al. 2015, Fig. 3: 64, 128, 256, 256, 512 ... maps, pool5 of 512 x 1 x 4 x 4.
    assert table["conv1a"][2:] == ["64×16×112×112", "3×3×3", "1.040", "G", "5,248"]
    assert table["pool5"][1] == "512×1×4×4"
    assert table["fc6"][0] == "Linear(8192->4096)"


def test_another_clip_and_other_classes():
    table = rows(printed(layers, "toy_3d", frames=8, size=32, classes=5), 2)
    assert table["input"][1] == "3×8×32×32"
    assert table["pool1"][1] == "12×2×8×8"
    assert table["head"][:2] == ["Linear(24->5)", "5"]
    # conv1: 12 * 8 * 32 * 32 outputs of 81; conv2: 24 * 2 * 8 * 8 outputs of 324; head: 120.
    assert table["total"] == ["8.958", "M", f"{984 + 7800 + 125:,}"]


def test_a_model_that_is_built_for_its_number_of_frames():
    table = rows(printed(layers, "early_fusion_resnet18", frames=5, size=96), 2)
    assert table["input"][1] == "3×5×96×96"
    assert next(row for row in table.values() if row[0].startswith("Conv2D"))[1] == "15->64)"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, ""), (7, "7"), (999_999, "999,999"), (10**6, "1.000 M"), (12_345_678, "12.35 M"),
        (123_456_789, "123.5 M"), (10**9, "1.000 G"), (38_549_000_000, "38.55 G"),
        (1_234_567_890_123, "1235 G"),
    ],
)  # fmt: skip
def test_four_digits(number, text):
    assert _count(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(9_034, "9,034"), (10_000, "0.01 M"), (78_410_000, "78.41 M")]
)
def testmillions(number, text):
    assert millions(number) == text
