import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from praxino.command.cli import run
from praxino.explain import charts
from praxino.explain.charts import (
    Point,
    comparison,
    kinetics400_bars,
    kinetics400_points,
    sports1m_bars,
)
from praxino.model_facts import ModelFacts
from praxino.models.row import FAMILIES

CROWD = [
    Point(name, ModelFacts(8, 224, parameters * 10**6, giga * 10**9), top1, more)
    for name, parameters, giga, top1, more in (
        ("x3d_xs", 4, 1, 69.5, False),
        ("i3d_r50", 28, 37, 73.3, False),
        ("slow_r50", 32, 40, 73.4, False),
        ("slowfast_r50", 34, 41, 73.5, False),
        ("r2plus1d_34", 64, 42, 73.4, False),
        ("mvit_v2_l", 200, 1000, 86.1, True),
    )
]


@pytest.fixture
def no_measuring(monkeypatch):
    monkeypatch.setattr(charts, "facts_of", lambda name: ModelFacts(8, 224, 10**7, 10**10))


def heights(figure) -> list[float]:
    return [round(float(bar.get_height()), 2) for bar in figure.axes[0].patches]


def test_sports1m_is_the_table_of_the_lecture_and_c3d():
    assert heights(sports1m_bars()) == [77.7, 76.8, 78.7, 80.2, 85.2]


def test_kinetics400_has_the_numbers_that_are_confirmed():
    scratch, imagenet = heights(kinetics400_bars())[:6], heights(kinetics400_bars())[6:]
    assert scratch[:3] == [68.4, 61.5, 71.6]
    assert imagenet[:3] == [71.1, 63.4, 74.2]
    assert all(one < two for one, two in zip(scratch, imagenet, strict=True))


def test_points_are_those_of_the_table(no_measuring):
    points = {point.model: point for point in kinetics400_points()}
    assert points["x3d_m"].top1 == 76.4  # the best of three
    assert not points["x3d_m"].more_data
    assert points["r2plus1d_34_ig65m"].top1 == 80.0  # its other weights are for 8 frames
    assert points["r2plus1d_34_ig65m"].more_data
    assert "c3d" not in points  # nothing is published of it on Kinetics-400
    tops = [point.top1 for point in points.values()]
    assert tops == sorted(tops, reverse=True)


def test_every_point_has_a_name_that_covers_nothing():
    figure = comparison(CROWD)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = figure.axes[0].texts
    assert {text.get_text() for text in texts} == {point.model for point in CROWD}
    boxes = [super(type(text), text).get_window_extent(canvas.get_renderer()) for text in texts]
    for one, two in itertools.combinations(boxes, 2):
        assert not one.overlaps(two)
    assert all(figure.bbox.contains(*corner) for box in boxes for corner in box.corners())
    for point in CROWD:
        place = (point.facts.multiply_adds / 1e9, point.top1)
        x, y = figure.axes[0].transData.transform(place)
        assert not any(box.contains(x, y) for box in boxes)


def test_larger_models_are_larger_and_more_data_is_hollow():
    dots = comparison(CROWD).axes[0].collections
    areas = [float(dot.get_sizes()[0]) for dot in dots]
    assert areas == sorted(areas)
    assert [len(dot.get_facecolor()) for dot in dots] == [1, 1, 1, 1, 1, 0]


def test_every_family_has_a_colour():
    assert set(charts.COLOURS) == set(FAMILIES)
    assert len(set(charts.COLOURS.values())) == len(FAMILIES)


def test_files_are_written_whole(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(charts, "kinetics400_points", lambda: CROWD)
    assert run(["explain", "charts", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out.count("Wrote") == 3
    files = sorted((tmp_path / "a").iterdir())
    assert [path.name for path in files] == ["architectures.png", "kinetics400.png", "sports1m.png"]
    for path in files:
        with Image.open(path) as picture:
            assert min(picture.size) > 300


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "c").write_text("a file")
    assert run(["explain", "charts", str(tmp_path / "c")]) == 3
    assert "cannot be written to" in capsys.readouterr().err
