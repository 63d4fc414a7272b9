"""What tasks return: results that print, rank, save and draw themselves."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from praxino.atomic import atomic_write, write_text
from praxino.computing import Computing
from praxino.datasets.manifest import Manifest
from praxino.ledger import Ledger
from praxino.video.decoding import Decoding

EVALUATED = "evaluated.parquet"  # the rows that an evaluation was made on


@dataclass(frozen=True)
class Recognition:
    """The actions named in one video.

    Args:
        video: the file's name, or what stands for it.
        classes: K names.
        scores: `(K,)` probabilities of the whole video: the mean over its clips.
        clip_seconds: `(V, 2)` start and end of each clip that was looked at.
        clip_scores: `(V, K)` probabilities of each clip.
        protocol: how the clips were chosen, in words.
        path: where the video can be read again, if it was a file.
        short: frames got and frames expected, if the file holds fewer than it promises.
        decoding: how the video was decoded, and is again to draw on it.
        computing: the engine and the precision.
    """

    video: str
    classes: tuple[str, ...]
    scores: NDArray[np.float64]
    clip_seconds: NDArray[np.float64]
    clip_scores: NDArray[np.float64]
    protocol: str
    path: Path | None = None
    short: tuple[int, int] | None = None
    decoding: Decoding = Decoding()
    computing: Computing = Computing("torch", "fp32")

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k best actions with their scores, best first."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(self.classes[i], float(self.scores[i])) for i in order]

    def scores_at(self, seconds: float) -> NDArray[np.float64]:
        """`(K,)` mean probabilities of the clips on air at `seconds`, or of the nearest one."""
        starts, ends = self.clip_seconds[:, 0], self.clip_seconds[:, 1]
        on_air = (starts <= seconds) & (seconds < ends)
        if not on_air.any():
            distance = np.maximum(starts - seconds, seconds - ends)
            on_air[np.argmin(distance)] = True
        return self.clip_scores[on_air].mean(axis=0)

    def to_dict(self, k: int | None = None) -> dict[str, object]:
        """Everything as plain values; scores best first."""
        return {
            "video": self.video,
            "protocol": self.protocol,
            **vars(self.computing),
            "scores": dict(self.top(k or len(self.classes))),
            "clips": [
                {"start_seconds": float(start), "end_seconds": float(end), "scores": row.tolist()}
                for (start, end), row in zip(self.clip_seconds, self.clip_scores, strict=True)
            ],
            "classes": list(self.classes),
        }

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_csv(self) -> str:
        """A line per class, best first: `video,label,score`."""
        return table_csv([self])

    def save(self, path: str | Path) -> Path:
        """Write the result in the form that the suffix names.

        `.json` and `.csv` hold the numbers; `.mp4` is the video with its scores drawn on it;
        `.png` is a timeline: the score curves of the best actions below a strip of frames.

        Raises:
            ValueError: another suffix, or a picture of frames that did not come from a file.
        """
        path, suffix = Path(path), Path(path).suffix.lower()
        if suffix == ".json":
            write_text(path, self.to_json())
        elif suffix == ".csv":
            write_text(path, self.to_csv())
        elif suffix in (".mp4", ".png"):
            from praxino import draw  # brings the decoder and matplotlib, to draw only

            draw.draw_scores(self, path) if suffix == ".mp4" else draw.timeline(self, path)
        else:
            raise ValueError(
                f"Cannot save a result as {path.name!r}: use .json, .csv, .mp4 or .png."
            )
        return path

    def __str__(self) -> str:
        lines = [f"{score:6.1%}  {name}" for name, score in self.top()]
        return "\n".join([self.video, *lines])


def table_csv(results: Sequence[Recognition], k: int | None = None) -> str:
    """Several results as one table: `video,label,score`, each video's best first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "label", "score"])
    for result in results:
        for label, score in result.top(k or len(result.classes)):
            writer.writerow([result.video, label, f"{score:.6f}"])
    return text.getvalue()


@dataclass(frozen=True)
class Evaluation:
    """A model's numbers on labelled videos, with the protocol they were measured by.

    Args:
        manifest: the N rows.
        classes: K names.
        videos: N names, one for each row.
        labels: `(N,)` class indices.
        scores: `(N, K)` probabilities; all zero for a video that could not be read.
        clip_hit_at_1: share of single clips classified correctly.
        hit_at_1: share of videos whose best class is right.
        hit_at_5: share of videos whose five best classes hold the right one.
        mean_class_accuracy: the mean of `per_class_accuracy` over classes that occur.
        per_class_accuracy: `(K,)`; NaN for a class without videos.
        confusion: `(K, K)` counts, a row for each true class.
        protocol: everything needed to measure the same again.
        ledger: one line per video.
        decoding: how the videos were decoded, and are again for the report's pictures.
    """

    manifest: Manifest
    classes: tuple[str, ...]
    videos: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    clip_hit_at_1: float
    hit_at_1: float
    hit_at_5: float
    mean_class_accuracy: float
    per_class_accuracy: NDArray[np.float64]
    confusion: NDArray[np.int64]
    protocol: dict[str, Any]
    ledger: Ledger
    decoding: Decoding = Decoding()

    def numbers(self) -> dict[str, float]:
        """The headline numbers, in [0, 1]."""
        return {
            "clip_hit_at_1": self.clip_hit_at_1,
            "hit_at_1": self.hit_at_1,
            "hit_at_5": self.hit_at_5,
            "mean_class_accuracy": self.mean_class_accuracy,
        }

    def protocol_line(self) -> str:
        """The protocol in a line, to stand beside every number."""
        said = self.protocol
        crops = {1: "centre crop", 3: "3 crops", 10: "10 crops"}[said["crops"]]
        pixels = f"short side {said['resize_short']} -> {said['size']} px"
        if said["fit"] == "stretch":
            crops, pixels = "whole picture", f"stretched to {said['size']} px"
        split = f"split {said['split']}" if said["split"] else "all rows"
        clips = f"{said['clips']} clip" + ("s" if said["clips"] > 1 else "")
        window = said.get("window")
        shown = f"window {window[0]:g}, {window[1]:g}, " if window else ""
        computed = "".join(f"{said[word]}, " for word in ("engine", "precision") if word in said)
        return (
            f"{said['videos']} videos ({split}), {clips} x {crops}, {said['sampling']}, "
            f"{pixels}, {said['decoder']}, {shown}{computed}"
            f"manifest {said['manifest_hash'][:8]}, weights {said['weights_hash'][:8]}"
        )

    def worst(self, count: int = 12) -> list[int]:
        """Rows of the wrong videos, the most confidently wrong first."""
        own = self.scores[np.arange(len(self.labels)), self.labels]
        margin = self.scores.max(axis=1) - own
        wrong = np.flatnonzero(margin > 0)
        return [int(row) for row in wrong[np.argsort(-margin[wrong], kind="stable")][:count]]

    def to_dict(self) -> dict[str, Any]:
        """Numbers and protocol as plain values."""
        return {
            **self.numbers(),
            "per_class_accuracy": {
                name: None if np.isnan(value) else float(value)
                for name, value in zip(self.classes, self.per_class_accuracy, strict=True)
            },
            "confusion": self.confusion.tolist(),
            "classes": list(self.classes),
            "items": self.ledger.counts,
            "protocol": self.protocol,
        }

    def save(self, folder: str | Path) -> Path:
        """Write numbers, predictions, confusion matrix, the list of videos and their ledger.

        `result.json`, `predictions.parquet`, `confusion.png`, `evaluated.parquet`, `items.jsonl`.
        """
        from praxino import draw  # brings matplotlib, to draw only

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / "predictions.parquet") as temporary:
            pq.write_table(self.predictions(), temporary)
        self.manifest.write(folder / EVALUATED, keep_root=True)
        self.ledger.write(folder / "items.jsonl")
        with atomic_write(folder / "confusion.png") as temporary:
            temporary.write_bytes(draw.confusion(self.confusion, self.classes))
        write_text(folder / "result.json", json.dumps(self.to_dict(), indent=2))
        return folder

    def predictions(self) -> pa.Table:
        """A row per video: its label, the prediction, whether it is right, and all scores."""
        best = self.scores.argmax(axis=1)
        read = [self.ledger.entries[name].status != "failed" for name in self.videos]
        return pa.table(
            {
                "video": list(self.videos),
                "label": [self.classes[k] for k in self.labels],
                "prediction": [
                    self.classes[k] if ok else None for k, ok in zip(best, read, strict=True)
                ],
                "correct": [
                    bool(ok and k == label)
                    for k, label, ok in zip(best, self.labels, read, strict=True)
                ],
                "score": self.scores.max(axis=1),
                "scores": list(self.scores),
            }
        ).replace_schema_metadata({"praxino.classes": json.dumps(self.classes)})
