"""What is published, beside what we have."""

import json
from collections.abc import Callable
from typing import Any

import pytest

import praxino.verify
from praxino.command.cli import run
from praxino.models.row import Published
from praxino.models.table import PUBLISHED
from praxino.verify import number, verify, written_like


@pytest.mark.parametrize(
    ("printed", "value"),
    [("28.0 M", 28.0e6), ("33,371,472", 33_371_472), ("0.386 G", 0.386e9), ("588 K", 588e3)],
)
def test_reads_numbers_as_they_are_printed(printed: str, value: float) -> None:
    assert number(printed) == pytest.approx(value, rel=1e-12)
    assert written_like(printed, round(value)) == printed


def test_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match=r"^'28\.0M' is no number such as '28\.0 M' or '33,371"):
        number("28.0M")


def test_a_count_is_written_with_the_published_digits() -> None:
    assert written_like("28.0 M", 28_043_472) == "28.0 M"
    assert written_like("28 M", 28_543_472) == "29 M"
    assert written_like("1", 1234) == "1,234"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Verify one claim about `toy_3d`."""

    def compare(**claim: Any) -> list[Any]:
        claims = (Published(**{"model": "toy_3d", "source": "a lecture"} | claim),)
        monkeypatch.setattr(praxino.verify, "PUBLISHED", claims)
        return list(verify())

    return compare


@pytest.mark.parametrize(
    ("claim", "what", "ours", "verdict"),
    [
        ({"parameters": "9,034"}, "parameters", "9,034", "equal"),
        ({"parameters": "9,035"}, "parameters", "9,034", "differs"),
        ({"parameters": "9.0 K"}, "parameters", "9.0 K", "equal"),
        ({"model": "toy_3d + toy_3d", "parameters": "18,068"}, "parameters", "18,068", "equal"),
        ({"options": {"num_classes": 1}, "parameters": "8,809"}, "parameters", "8,809", "equal"),
        ({"multiply_adds": "0.0896 G"}, "multiply-adds", "0.0896 G", "equal"),
        ({"multiply_adds": "0.0903 G"}, "multiply-adds", "0.0896 G", "equal"),  # 0.8 % more
        ({"multiply_adds": "0.0907 G"}, "multiply-adds", "0.0896 G", "differs"),  # 1.2 %
        ({"clip": (3, 4, 8, 8), "multiply_adds": "280 K"}, "multiply-adds", "280 K", "equal"),
        ({"layer_multiply_adds": {"head": "240"}}, "multiply-adds of head", "240", "equal"),
        ({"layer_multiply_adds": {"conv": "1"}}, "multiply-adds of conv", "0", "differs"),
        ({"sizes": {"conv1": (12, 20, 64, 64)}}, "size of conv1", "12×20×64×64", "equal"),
        ({"sizes": {"conv1": (12, 64, 64)}}, "size of conv1", "12×20×64×64", "differs"),
        (
            {"receptive_fields": {"conv2": (14, 14, 14)}},
            "receptive field of conv2",
            "14×14×14",
            "equal",
        ),
        ({"parameters": "1", "erratum": "a slip"}, "parameters", "9,034", "erratum"),
        ({"parameters": "9,034", "erratum": "a slip"}, "parameters", "9,034", "differs"),
    ],
)
def test_compares(
    published: Callable[..., list[Any]], claim: dict[str, Any], what: str, ours: str, verdict: str
) -> None:
    (found,) = published(**claim)
    assert (found.what, found.ours, found.verdict) == (what, ours, verdict)


def test_a_layer_must_exist(published: Callable[..., list[Any]]) -> None:
    with pytest.raises(ValueError, match="a lecture speaks of a layer 'conv9', and toy_3d has non"):
        published(sizes={"conv9": (1,)})


@pytest.mark.slow
def test_nothing_published_differs() -> None:
    assert [row for row in verify() if row.verdict == "differs"] == []


def test_only_the_models_that_are_asked_for() -> None:
    assert {row.model for row in verify(["toy_3d", "r3d_18"])} == {"toy_3d", "r3d_18"}
    assert {claim.model for claim in PUBLISHED} > {"toy_3d", "r3d_18"}


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRAXINO_PUBLISHED_SCORES", raising=False)
    right = Published("toy_3d", "a lecture", parameters="9,034", multiply_adds="0.0896 G")
    monkeypatch.setattr(praxino.verify, "PUBLISHED", (right,))
    assert run(["verify"]) == 0
    assert "2 equal" in capsys.readouterr().out
    assert run(["verify", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    of_scores = ["not at hand"] * 5  # tests/test_published_scores.py
    assert [row["verdict"] for row in found] == ["equal", "equal", *of_scores]
    wrong = Published("toy_3d", "a lecture", parameters="1")
    slip = Published("toy_3d", "a slide", parameters="1", erratum="a digit is missing")
    monkeypatch.setattr(praxino.verify, "PUBLISHED", (wrong, slip))
    assert run(["verify"]) == 1
    shown = capsys.readouterr().out
    assert "1 differs, 1 erratum" in shown
    assert "erratum: a slide: a digit is missing" in shown


def test_the_command_knows_its_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "toy_4d"]) == 2
    assert "There is no model named 'toy_4d'. Did you mean 'toy_3d'" in capsys.readouterr().err
    assert run(["verify", "small_2d"]) == 2
    assert "No number is published of small_2d." in capsys.readouterr().err
