"""Splits that keep groups and videos whole: grouped, leave one group out, and the check."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from praxino.datasets.manifest import SPLITS, Manifest


def grouped_split(manifest: Manifest, fractions: Mapping[str, float], seed: int) -> Manifest:
    """Deal the rows into splits so that no group and no video is in two of them.

    Rows of one group, and rows of one video, stay together. Whole groups are dealt out, the
    largest first and equals in the order the seed gives, each to the split where it brings the
    number of rows of its classes closest to the fractions. Each class is rounded by itself: of
    three equal groups, 0.8 and 0.2 make 2 and 1, of two they make 2 and 0. The same manifest and
    seed give the same split on every machine.

    Args:
        manifest: its present splits are overwritten.
        fractions: split -> share of the rows, for example `{"train": 0.8, "val": 0.2}`; they
            sum to 1.
        seed: orders groups of equal size.

    Raises:
        ValueError: fractions that do not sum to 1, or so few groups that a split stays empty.
    """
    _check_fractions(fractions)
    bundle_of_row = _bundles(manifest)
    # How many rows of each class a bundle holds; "" for rows without a label, to deal them evenly.
    bundles: list[Counter[str]] = [Counter() for _ in range(max(bundle_of_row, default=-1) + 1)]
    for row, bundle in zip(manifest, bundle_of_row, strict=True):
        bundles[bundle].update(row.labels or ("",))
    totals = Counter(label for row in manifest for label in row.labels or ("",))

    names = list(fractions)
    lacking = [{label: fractions[name] * totals[label] for label in totals} for name in names]
    chosen = [0] * len(bundles)
    order = np.random.default_rng(seed).permutation(len(bundles)).tolist()
    for bundle in sorted(order, key=lambda number: -bundles[number].total()):
        # By how much the squared shortfalls of a split change if it gets the bundle, relative to
        # the size of each class: a rare class matters as much as a frequent one.
        changes = [
            sum(n * (n - 2 * short[label]) / totals[label] for label, n in bundles[bundle].items())
            for short in lacking
        ]
        chosen[bundle] = changes.index(min(changes))
        for label, n in bundles[bundle].items():
            lacking[chosen[bundle]][label] -= n
    for number, name in enumerate(names):
        if number not in chosen:
            raise ValueError(
                f"The split {name!r} ({fractions[name]:.0%}) stays empty: {len(manifest)} rows "
                f"form only {len(bundles)} groups that must stay whole. Add videos, or pass "
                "larger fractions."
            )
    return manifest.with_split([names[chosen[bundle]] for bundle in bundle_of_row])


def hold_out(
    manifest: Manifest, fraction: float = 0.2, seed: int = 0, split: str = "val"
) -> tuple[Manifest, str]:
    """Make sure that there is something to validate on, and say where it came from.

    Args:
        manifest: if it has rows of `split` and of "train", it is returned as it is. Otherwise
            a share of its training rows is held out; rows without a split count as training
            rows, rows of other splits stay where they are.
        fraction: share of the training rows to hold out, by `grouped_split`.
        seed: see `grouped_split`.
        split: the name of what is held out.

    Returns:
        The manifest, and one sentence for the log and the report.

    Raises:
        ValueError: there is nothing to train on, some rows have a split and some have none, or
            there are too few groups.
    """
    splits = manifest.splits
    if "" in splits and len(splits) > 1:
        raise ValueError(
            f"Some rows have no split and others are in {', '.join(filter(None, splits))}. "
            "Give every row a split, or none."
        )
    if "train" not in splits and "" not in splits:
        raise ValueError(f"There are no training rows; the splits are {', '.join(splits)}.")
    if split in splits:
        check_leakage(manifest)
        return manifest, "The splits are those of the data set."

    training = manifest.select(split="train" if "train" in splits else "")
    dealt = grouped_split(training, {"train": 1 - fraction, split: fraction}, seed)
    new_split = {(row.video, row.start_seconds, row.end_seconds): row.split for row in dealt}
    result = manifest.with_split(
        [
            new_split.get((row.video, row.start_seconds, row.end_seconds), row.split)
            for row in manifest
        ]
    )
    held_out = len(result.select(split=split))
    kept_whole = "groups" if any(row.group for row in training) else "videos"
    sentence = (
        f"{held_out} of {len(training)} training rows ({held_out / len(training):.1%}) are held "
        f"out as {split}, whole {kept_whole}, stratified by class, seed {seed}."
    )
    present = {label for row in dealt if row.split == split for label in row.labels}
    absent = [label for label in _labels(training) if label not in present]
    if absent:
        shown = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        sentence += f" {len(absent)} classes have no {split} rows: {shown}."
    return result, sentence


def leave_one_group_out(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """One fold per group: its rows are "test", all others "train".

    Args:
        manifest: every row has a group; its present splits are overwritten.

    Yields:
        The group left out and the manifest with its splits, in natural order (2 before 10).

    Raises:
        ValueError: a row has no group, there are fewer than two groups, or one video has rows
            of two groups.
    """
    for row in manifest:
        if not row.group:
            raise ValueError(
                f"Leaving a group out needs a group for every row; {row.video} has none."
            )
    groups = sorted(manifest.groups, key=_natural)
    if len(groups) < 2:
        raise ValueError(f"Leaving a group out needs two groups or more, got {len(groups)}.")
    for group in groups:
        fold = manifest.with_split(["test" if row.group == group else "train" for row in manifest])
        check_leakage(fold)
        yield group, fold


def check_leakage(manifest: Manifest) -> None:
    """Refuse a manifest in which a group or a video is in two splits.

    Raises:
        ValueError: names the first of them and how many there are.
    """
    splits: dict[tuple[str, str], set[str]] = {}
    for row in manifest:
        splits.setdefault(("video", row.video), set()).add(row.split)
        if row.group:
            splits.setdefault(("group", row.group), set()).add(row.split)
    leaks = [(kind, name, found) for (kind, name), found in splits.items() if len(found) > 1]
    if leaks:
        kind, name, found = leaks[0]
        where = " and ".join(repr(split) for split in (*SPLITS, "") if split in found)
        more = f" (and {len(leaks) - 1} more groups or videos)" if len(leaks) > 1 else ""
        raise ValueError(
            f"The {kind} {name!r} is in {where}{more}: test results would be too good. Use "
            "grouped_split, or correct the column."
        )


def _bundles(manifest: Manifest) -> list[int]:
    """For each row the number of its bundle: rows linked by a group or a video share one."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def top(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    for row in manifest:
        video = top(("video", row.video))
        if row.group:
            parent[video] = top(("group", row.group))
    numbers: dict[tuple[str, str], int] = {}
    return [numbers.setdefault(top(("video", row.video)), len(numbers)) for row in manifest]


def _check_fractions(fractions: Mapping[str, float]) -> None:
    unknown = [name for name in fractions if name not in SPLITS]
    if unknown:
        raise ValueError(f"Splits are called train, val and test, got {unknown[0]!r}.")
    values = list(fractions.values())
    if not values or min(values) <= 0 or abs(sum(values) - 1) > 1e-6:
        raise ValueError(f"Fractions are above 0 and sum to 1, got {dict(fractions)}.")


def _labels(manifest: Manifest) -> list[str]:
    found = {label for row in manifest for label in row.labels}
    return [label for label in manifest.classes if label in found]


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
