"""Several models' scores of the same videos, as one: late fusion, from tables of predictions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from praxino.errors import EnvironmentFault
from praxino.metrics import fusion
from praxino.score_tables import ScoreTable, aligned, read_scores

Rule = Literal["average", "product", "max", "svm"]
Scale = Literal["as_is", "softmax", "l2"]

_MERGE = {"average": fusion.average, "product": fusion.product, "max": fusion.maximum}
_SCALE: dict[Scale, Callable[[fusion.Floats], fusion.Floats]] = {
    "as_is": np.asarray,
    "softmax": fusion.softmax,
    "l2": fusion.l2_normalise,
}


@dataclass(frozen=True)
class Fusion:
    """Scores that were fused.

    Args:
        tables: what went in, all in the order of the first, on the scale on which they were fused.
        table: what came out.
        rule: by which.
        weights: of the tables, as they were used; they sum to 1. None: an SVM has its own.
        searched: whether the weights were chosen on these very videos.
        matched: how the tables' videos were laid together, in words.
    """

    tables: tuple[ScoreTable, ...]
    table: ScoreTable
    rule: Rule
    weights: tuple[float, ...] | None
    searched: bool
    matched: str


def fuse(
    paths: Sequence[str | Path],
    *,
    weights: Sequence[float] | None = None,
    by: Rule = "average",
    scale: Scale = "as_is",
    search: bool = False,
    train: Sequence[str | Path] = (),
    cost: float = 1.0,
) -> Fusion:
    """Fuse tables of scores that lie on disk; see `fuse_tables`.

    Args:
        paths: two or more, as `read_scores` takes them.
        weights: as `fuse_tables` takes them.
        by: likewise.
        scale: likewise.
        search: likewise.
        train: for `by="svm"`: the same models' tables of other videos, in the same order.
        cost: likewise.

    Raises:
        ValueError: a file is no table, or the tables do not belong together.
        EnvironmentFault: a library that is needed is not installed.
    """
    _check_count(len(paths))
    return fuse_tables(
        [read_scores(path) for path in paths],
        weights=weights,
        by=by,
        scale=scale,
        search=search,
        train=[read_scores(path) for path in train],
        cost=cost,
    )


def fuse_tables(
    tables: Sequence[ScoreTable],
    *,
    weights: Sequence[float] | None = None,
    by: Rule = "average",
    scale: Scale = "as_is",
    search: bool = False,
    train: Sequence[ScoreTable] = (),
    cost: float = 1.0,
) -> Fusion:
    """Fuse tables of the same videos and classes, in any order.

    A video that one of the models could not read has the others' scores; one that none could read
    counts as wrong.

    Args:
        tables: two or more.
        weights: one for each, only their ratios matter; all alike unless given.
        by: "average", "product" (of probabilities: their geometric mean), "max" of the models'
            scores, or "svm": a linear SVM on all of their scores, each model's of length one for
            each video, as in the first two-stream paper.
        scale: what becomes of each model's scores before: nothing, "softmax" (of logits), or "l2"
            (each video's scores have length one).
        search: choose the weights that are best on these videos; for `by="average"`.
        train: for `by="svm"`: the same models' tables of other videos, from which it learns.
        cost: of the SVM, usually C.

    Raises:
        ValueError: fewer than two tables, tables that do not belong together, or settings that do
            not.
        EnvironmentFault: the SVM needs scikit-learn, which is not installed.
    """
    _check_count(len(tables))
    if by not in (*_MERGE, "svm"):
        raise ValueError(f"Scores are fused by average, product, max or svm, not {by!r}.")
    if scale not in _SCALE:
        raise ValueError(f"Scores are taken as_is, or by softmax or l2, not {scale!r}.")
    if weights is not None and len(weights) != len(tables):
        raise ValueError(f"There are {len(tables)} tables and {len(weights)} weights.")
    if search and (by != "average" or weights is not None):
        raise ValueError(
            "A search finds the weights of an average: give neither weights nor a rule."
        )
    if (by == "svm") != bool(train) or (by == "svm" and weights is not None):
        raise ValueError(
            "An SVM learns its weights from the tables of other videos, which --train names; other "
            "rules need none."
        )
    beside, matched = aligned(tables)
    beside = [_scaled(table, scale) for table in beside]
    first = beside[0]
    if by == "svm":
        scores, used = _svm(beside, [_scaled(table, scale) for table in train], cost), None
    else:
        if search:
            if first.labels is None:
                raise ValueError("A search needs labels, and none of the tables has any.")
            weights, _ = fusion.search_weights([t.scores for t in beside], first.labels)
        given = np.ones(len(beside)) if weights is None else np.asarray(weights, dtype=float)
        scores = _merged(beside, by, given)
        used = tuple(float(value) for value in given / given.sum())
    name = " + ".join(table.name for table in beside)
    whole = ScoreTable(name, first.videos, first.classes, scores, first.labels)
    return Fusion(tuple(beside), whole, by, used, search, matched)


def _check_count(tables: int) -> None:
    if tables < 2:
        raise ValueError(f"Fusion needs two tables or more, got {tables}.")


def _scaled(table: ScoreTable, scale: Scale) -> ScoreTable:
    scores = np.where(table.read[:, None], _SCALE[scale](table.scores), 0.0)
    return ScoreTable(table.name, table.videos, table.classes, scores, table.labels)


def _merged(tables: Sequence[ScoreTable], rule: Rule, weights: fusion.Floats) -> fusion.Floats:
    """Each video's scores from those models that could read it."""
    scores = np.zeros_like(tables[0].scores)
    fusion.average(np.stack([table.scores for table in tables]), weights)  # checks both
    read = np.stack([t.read & (weight > 0) for t, weight in zip(tables, weights, strict=True)])
    for who in np.unique(read, axis=1).T:
        if who.any():
            rows = (read == who[:, None]).all(axis=0)
            streams = np.stack([t.scores[rows] for t, ok in zip(tables, who, strict=True) if ok])
            scores[rows] = _MERGE[rule](streams, weights[who])
    return scores


def _svm(tables: list[ScoreTable], train: list[ScoreTable], cost: float) -> fusion.Floats:
    """`(N, K)` distances to the planes of a linear SVM, one class against the rest."""
    if len(train) != len(tables):
        raise ValueError(
            f"There are {len(tables)} tables and {len(train)} to learn from. Name the same models' "
            "tables, in the same order."
        )
    train, _ = aligned(train)
    if train[0].labels is None:
        raise ValueError(f"{train[0].name} has no labels, from which an SVM could learn.")
    # Their classes in the order of those that are fused.
    if train[0].classes != tables[0].classes:
        raise ValueError(
            f"{train[0].name} has other classes than {tables[0].name}, or in another order."
        )
    both = set(train[0].videos) & set(tables[0].videos)
    if both:
        raise ValueError(
            f"The SVM would be tested on videos that it has learnt from: {sorted(both)[0]} is in "
            f"both lists, and {len(both) - 1} more."
        )
    if cost <= 0:
        raise ValueError(f"cost must be above 0, got {cost}.")
    try:
        from sklearn.svm import LinearSVC
    except ImportError:
        raise EnvironmentFault(
            "The SVM is scikit-learn's, which is not installed. Run: pip install "
            "'praxino[classical]'"
        ) from None
    known = np.unique(train[0].labels)
    if len(known) < 2:
        raise ValueError(f"{train[0].name} has videos of one class only, and an SVM needs two.")
    machine = LinearSVC(C=cost, random_state=0)
    machine.fit(fusion.svm_features([table.scores for table in train]), train[0].labels)
    margins = machine.decision_function(fusion.svm_features([table.scores for table in tables]))
    if margins.ndim == 1:  # of two classes there is one plane
        margins = np.stack([-margins, margins], axis=1)
    scores = np.full_like(tables[0].scores, margins.min() - 1)  # classes that it has never seen
    scores[:, known] = margins
    unread = ~np.any([table.read for table in tables], axis=0)
    scores[unread] = 0.0
    return scores
