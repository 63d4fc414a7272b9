"""Accuracies of architectures as pictures, from published numbers and the table of models."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from praxino.atomic import atomic_write
from praxino.model_facts import ModelFacts, facts_of
from praxino.models import MODELS, published_weights

BLUE, GREY, GREEN = "#2f6fde", "#b9c0cc", "#3c9d6b"
COLOURS = {
    "frames": "#8c8c8c",
    "fusion": "#8c6d31",
    "3d": "#2f6fde",
    "inflated": "#17a2b8",
    "factorised": "#e07b39",
    "pathways": "#c0392b",
    "efficient": "#3c9d6b",
    "shift": "#8e5bbf",
    "recurrent": "#6b7a2f",
    "two-stream": "#1f3a5f",
    "aggregation": "#c9a227",
    "attention": "#d4479b",
    "teaching": "#4d4d4d",
}

# Video hit@5, as Karpathy et al. (CVPR 2014) measured it; the lectures show the same table.
SPORTS1M_HIT_AT_5 = {
    "single frame": 77.7,
    "early fusion": 76.8,
    "late fusion": 78.7,
    "slow fusion": 80.2,
}

# Top-1 on Kinetics-400, from scratch and from ImageNet weights: what is published of two streams
# (github.com/google-deepmind/kinetics-i3d), and models of which the table has both.
I3D_TWO_STREAMS = (71.6, 74.2)
SCRATCH_AND_IMAGENET = {
    "I3D, RGB": ("i3d", "kinetics400_deepmind_scratch", "kinetics400_deepmind"),
    "I3D, flow": ("i3d_flow", "kinetics400_deepmind_scratch", "kinetics400_deepmind"),
    "Slow-only 4 x 16": (
        "slow_r50_4x16",
        "kinetics400_mmaction2",
        "kinetics400_mmaction2_imagenet",
    ),
    "Slow-only 8 x 8": ("slow_r50", "kinetics400_mmaction2", "kinetics400_mmaction2_imagenet"),
    "TPN": ("tpn_slow_r50", "kinetics400", "kinetics400_imagenet"),
}
MORE_DATA = ("IG-65M", "Sports-1M", "ImageNet-21k", "ImageNet-22k")


@dataclass(frozen=True)
class Point:
    """An architecture in the comparison.

    Args:
        model: in the table.
        facts: of the model.
        top1: the best that is published for its own number of frames, on Kinetics-400, in percent.
        more_data: whether it saw more than Kinetics-400 and ImageNet's thousand classes before.
    """

    model: str
    facts: ModelFacts
    top1: float
    more_data: bool


def draw_charts(folder: str | Path) -> list[Path]:
    """Write `sports1m.png`, `kinetics400.png` and `architectures.png`.

    Raises:
        EnvironmentFault: the disk is full or not writable.
    """
    charts = {
        "sports1m": sports1m_bars(),
        "kinetics400": kinetics400_bars(),
        "architectures": comparison(kinetics400_points()),
    }
    return [_save(figure, Path(folder) / f"{name}.png") for name, figure in charts.items()]


def sports1m_bars() -> Figure:
    """Fusion in time beside a 3D network: video hit@5 on Sports-1M."""
    c3d = published_weights("c3d")["sports1m"].accuracy["top5"]
    bars = {**SPORTS1M_HIT_AT_5, "C3D": c3d}
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    colours = [GREY, *(BLUE,) * (len(bars) - 2), GREEN]
    _label(axes, axes.bar(list(bars), list(bars.values()), color=colours, width=0.62))
    axes.set_ylim(72, 88)
    axes.set_title("Sports-1M: video hit@5, in percent (the axis begins at 72)", loc="left")
    return figure


def kinetics400_bars() -> Figure:
    """What ImageNet weights are worth to start from: top-1 on Kinetics-400."""
    bars = {}
    for name, (model, *keys) in SCRATCH_AND_IMAGENET.items():
        known = published_weights(model)
        bars[name] = tuple(known[key].accuracy["top1"] for key in keys)
        if name == "I3D, flow":
            bars["I3D, two streams"] = I3D_TWO_STREAMS
    figure = Figure(figsize=(8.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for offset, index, colour, label in (
        (-0.2, 0, GREY, "from scratch"),
        (0.2, 1, BLUE, "from ImageNet weights"),
    ):
        values = [pair[index] for pair in bars.values()]
        places = [place + offset for place in range(len(bars))]
        _label(axes, axes.bar(places, values, color=colour, width=0.38, label=label))
    axes.set_xticks(range(len(bars)), list(bars))
    axes.set_ylim(56, 82)
    axes.axvline(2.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_title("Kinetics-400: top-1, in percent (the axis begins at 56)", loc="left")
    axes.set_xlabel("left: on the test set, whole videos; right: on the validation set, 30 views")
    axes.legend(frameon=False, loc="upper left", ncols=2)
    return figure


def kinetics400_points() -> list[Point]:
    """Models of the table whose accuracy on Kinetics-400 is published, the best first.

    Of each the best weights that are for its own number of frames. What a toolkit has rebuilt in
    its own way, and which therefore has its name, is left out.
    """
    points = []
    for model in MODELS:
        found = [
            (weights.accuracy["top1"], any(name in weights.trained_on for name in MORE_DATA))
            for key, weights in published_weights(model).items()
            if weights.num_classes == 400
            and "top1" in weights.accuracy
            and not key.endswith("_frames")  # fed otherwise than the model's own clip
        ]
        if found and "mmaction2" not in model:
            points.append(Point(model, facts_of(model), *max(found)))
    return sorted(points, key=lambda point: -point.top1)


def comparison(points: Sequence[Point]) -> Figure:
    """Accuracy over multiply-adds for one view; the larger a point, the more parameters."""
    figure = Figure(figsize=(13.5, 10), layout="constrained")
    axes = figure.subplots()
    for point in points:
        colour = COLOURS[MODELS[point.model].family]
        axes.scatter(
            point.facts.multiply_adds / 1e9,
            point.top1,
            s=_area(point.facts.parameters),
            facecolor="none" if point.more_data else colour,
            edgecolor=colour,
            alpha=0.75,
            linewidth=1.4,
        )
    axes.set_xscale("log")
    axes.set_xlabel("G multiply-adds for one view, of the model's own clip")
    axes.set_ylabel("top-1 on Kinetics-400, in percent, as published")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(x=0.08, y=0.06)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e8ec", linewidth=0.6)
    axes.set_axisbelow(True)
    families = dict.fromkeys(MODELS[point.model].family for point in points)
    handles = [_dot(COLOURS[family], family) for family in COLOURS if family in families]
    handles.append(_dot("#777777", "saw larger sets before", hollow=True))
    handles += [_dot("#cccccc", f"{size} M parameters", size * 1e6) for size in (5, 50, 200)]
    legend = axes.legend(
        handles=handles, frameon=False, loc="upper left", fontsize=9, labelspacing=0.9
    )
    _name(figure, axes, legend, points)
    return figure


def _area(parameters: float) -> float:
    """In square points."""
    return 2.2 * parameters / 1e6 + 12


def _dot(colour: str, label: str, parameters: float = 20e6, *, hollow: bool = False) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="",
        marker="o",
        markersize=_area(parameters) ** 0.5,
        markerfacecolor="none" if hollow else colour,
        markeredgecolor=colour,
        label=label,
    )


# Where a name may stand: how far from its point, and in which direction, the nearest first.
_RINGS = tuple(range(4, 90, 4))
_DIRECTIONS = tuple(math.radians(angle) for angle in (0, 180, 30, -30, 150, -150, 90, -90, 60, -60))


def _name(figure: Figure, axes: Axes, legend: Legend, points: Sequence[Point]) -> None:
    """Write each model's name near its point, where it covers neither points nor other names."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # the layout is settled only now
    renderer = canvas.get_renderer()
    per_point = figure.dpi / 72
    discs = []
    for point in points:
        x, y = axes.transData.transform((point.facts.multiply_adds / 1e9, point.top1))
        discs.append((x, y, per_point * _area(point.facts.parameters) ** 0.5 / 2))
    taken = [legend.get_window_extent(renderer)]
    taken += [Bbox.from_bounds(x - r, y - r, 2 * r, 2 * r) for x, y, r in discs]
    # Those in a crowd choose first: the others find a place anyway.
    crowd = [sum(math.dist(one[:2], two[:2]) < 60 * per_point for two in discs) for one in discs]
    order = sorted(range(len(points)), key=lambda number: -crowd[number])
    for number in order:
        point, (x, y, radius) = points[number], discs[number]
        text = axes.annotate(
            point.model,
            (point.facts.multiply_adds / 1e9, point.top1),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=COLOURS[MODELS[point.model].family],
            ha="center",
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": "#9aa3b2",
                "linewidth": 0.6,
                "relpos": (0.5, 0.5),
            },
        )
        size = Text.get_window_extent(text, renderer)
        for ring, angle in itertools.product(_RINGS, _DIRECTIONS):
            away_x = math.cos(angle) * (radius + ring * per_point + size.width / 2)
            away_y = math.sin(angle) * (radius + ring * per_point + size.height / 2)
            box = Bbox.from_bounds(
                x + away_x - size.width / 2 - 2,
                y + away_y - size.height / 2 - 1,
                size.width + 4,
                size.height + 2,
            )
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1
            if inside and not box.count_overlaps(taken):
                break
        text.xyann = (away_x / per_point, away_y / per_point)
        taken.append(box)
        if ring < 8 and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)


def _label(axes: Axes, bars: BarContainer) -> None:
    """Each bar's value above it; no frame."""
    axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _save(figure: Figure, path: Path) -> Path:
    with matplotlib.rc_context({"font.size": 9}), atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
