"""May a run go on in a world that has changed? One answer for each change.

Going on is refused where the numbers would be of another run, allowed with a line where they may
come out a little different, and allowed in silence where they come out the same, bit for bit.
`docs/resuming.md` has the table.
"""

import dataclasses
import json
from collections import Counter
from pathlib import Path

from praxino.atomic import write_text
from praxino.checksums import SUMS, changed_files, write_sums
from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.source import open_source
from praxino.recipe import TrainConfig, from_json, to_json
from praxino.runs.training_state import World, has_state
from praxino.video.volume import size_of
from praxino.weights.checkpoint import LAST

CONFIG, MANIFEST = "config.json", "manifest.parquet"
SIZES = "video_sizes.json"  # bytes of each video; null where there was none
_KEPT = (CONFIG, MANIFEST, SIZES)  # as they are; their hashes are written down

# What may be another one each time: it changes where, when and how fast, but no number.
# (Skipping bad videos changes what comes after; what came before had none, or had skipped them.)
_FREE_DATA = ("source", "videos", "workers", "stall_seconds", "skip_bad")


def write_inputs(run: Path, config: TrainConfig, manifest: Manifest) -> None:
    """Write what a run is started with, to be found unchanged on resuming."""
    write_text(run / CONFIG, to_json(config))
    manifest.write(run / MANIFEST, keep_root=True)
    write_text(run / SIZES, json.dumps(_sizes(manifest)))
    write_sums(run, _KEPT)


def never_began(run: Path) -> bool:
    """Whether a run was stopped before its first state was whole, so that nothing can be lost."""
    return not has_state(run) and not (run / LAST).exists()


def settings(run: Path, given: TrainConfig) -> TrainConfig:
    """The settings a run was started with, and those of now where they are free to change.

    Raises:
        ValueError: there is no run, its own files are damaged, or other settings have changed.
    """
    if not (run / CONFIG).is_file():
        raise ValueError(f"There is no run to resume in {run}: it has no {CONFIG}.")
    if not never_began(run):
        _check_sums(run)
    saved = from_json((run / CONFIG).read_text(encoding="utf-8"), str(run / CONFIG))
    if given == TrainConfig():
        return saved
    free = {name: getattr(given.data, name) for name in _FREE_DATA}
    now = dataclasses.replace(
        saved,
        data=dataclasses.replace(saved.data, **free),
        save_every_seconds=given.save_every_seconds,
    )
    if given != now:
        old, new = (json.loads(to_json(config)) for config in (now, given))
        changed = [name for name in old if old[name] != new[name]]
        raise ValueError(
            f"{run} was started with other settings of {', '.join(changed)}. "
            f"Resume it without changing them, or start another run."
        )
    return now


def changes_of_world(then: World, now: World) -> list[str]:
    """A line for each thing of this machine that may change the last digits."""
    return [
        f"This run was on {name} {old} and goes on with {new}: the numbers may differ slightly."
        for name, old in vars(then).items()
        if (new := getattr(now, name)) != old
    ]


def changes_of_videos(run: Path, manifest: Manifest, config: TrainConfig) -> list[str]:
    """A line if the videos, or the list of them, have changed since the run was started.

    Args:
        run: the run folder.
        manifest: the rows that the run was started with.
        config: the settings, for where these rows came from.

    Raises:
        ValueError: videos are gone.
    """
    then = json.loads((run / SIZES).read_text(encoding="utf-8"))
    sizes = list(zip(manifest.videos, then, _sizes(manifest), strict=True))
    gone = [video for video, old, new in sizes if old is not None and new is None]
    if gone:
        raise ValueError(
            f"{len(gone)} of {len(sizes)} videos that the run was started with are no longer in "
            f"{manifest.root}, the first is {gone[0]}. Put them back, or name the folder that they "
            f"are in now."
        )
    lines = []
    others = [video for video, old, new in sizes if old != new]
    if others:
        lines.append(
            f"{len(others)} of {len(sizes)} videos have changed since the run was started, the "
            f"first is {others[0]}: the numbers will differ."
        )
    more, fewer = _changes_of_list(manifest, config)
    if more or fewer:
        lines.append(
            f"{config.data.source} now lists {more} more and {fewer} fewer spans; the run goes on "
            f"with those it was started with."
        )
    return lines


def _sizes(manifest: Manifest) -> list[int | None]:
    paths = [manifest.root / video for video in manifest.videos]
    return [size_of(path) if path.exists() else None for path in paths]


def _check_sums(run: Path) -> None:
    try:
        changed = changed_files(run, _KEPT)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{run / SUMS} or a file that it names is gone or damaged ({error}). Bring it back "
            f"from a copy, or start another run."
        ) from None
    if changed:
        raise ValueError(
            f"{run / changed[0]} has changed since the run was started. Bring it back from a copy, "
            f"or start another run."
        )


def _changes_of_list(manifest: Manifest, config: TrainConfig) -> tuple[int, int]:
    """How many labelled spans the source has gained and lost, whatever their splits."""
    try:
        now = open_source(config.data.source, root=config.data.videos)
    except ValueError:  # the list is gone or broken, which changes nothing for this run
        return 0, 0

    def spans(rows: tuple[Row, ...]) -> Counter[tuple[object, ...]]:
        return Counter((r.video, r.labels, r.start_seconds, r.end_seconds) for r in rows)

    then_spans, now_spans = spans(manifest.rows), spans(now.rows)
    return (now_spans - then_spans).total(), (then_spans - now_spans).total()
