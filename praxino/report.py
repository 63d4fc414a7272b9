"""A run folder's numbers as one HTML page that needs nothing else: curves, classes, worst clips."""

import base64
import datetime
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from praxino import draw
from praxino.atomic import write_text
from praxino.errors import VideoError
from praxino.results import Evaluation
from praxino.video.reader import open_video
from praxino.video.sampling import segments

STRIP_FRAMES = 4

STYLE = """
:root { color-scheme: light dark; --ink: #1c2230; --soft: #667085; --line: #e3e7ee; --card: #fff;
        --page: #f6f7f9; --blue: #2f6fde; --bad: #c8452f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf1; --soft: #9aa3b2; --line: #2c3340;
        --card: #1a1f29; --page: #12161d; --bad: #f0806c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
       margin: 0 auto; max-width: 1000px; padding: 2rem 1.2rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
.soft { color: var(--soft); } .bad { color: var(--bad); }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: 1.2rem; }
.number { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
          padding: .7rem 1.1rem; } .number b { display: block; font-size: 1.7rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
        padding: 1rem; overflow-x: auto; }
.card img { max-width: 100%; } .white { background: #fff; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.bar { background: var(--line); border-radius: 4px; height: .7rem; min-width: 160px; }
.bar i { display: block; background: var(--blue); border-radius: 4px; height: 100%; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: .8rem; }
.clips img { width: 100%; display: block; border-radius: 6px; }
pre { margin: 0; font-size: 12px; white-space: pre-wrap; }
"""


def write_report(folder: str | Path, evaluation: Evaluation | None = None) -> Path:
    """Write `report.html` from what a run folder holds.

    Args:
        folder: with `metrics.jsonl` and `config.json` of a training run, or not.
        evaluation: the newest evaluation, if there is one.

    Returns:
        The page.
    """
    folder = Path(folder)
    name = folder.resolve().name
    parts = [f"<h1>{html.escape(name)}</h1>"]
    if evaluation is not None:
        parts += _numbers(evaluation)
    history = _history(folder / "metrics.jsonl")
    if history:
        parts += ["<h2>Training</h2>", _picture(draw.curves(history), "training curves")]
    if evaluation is not None:
        parts += _classes(evaluation)
        parts += [
            "<h2>Confusion</h2>",
            _picture(draw.confusion(evaluation.confusion, evaluation.classes), "confusion"),
        ]
        parts += _worst(evaluation)
    if (folder / "config.json").is_file():
        settings = html.escape((folder / "config.json").read_text(encoding="utf-8"))
        parts += [
            "<h2>Settings</h2><details class=card><summary>config.json</summary>",
            f"<pre>{settings}</pre></details>",
        ]
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(name)} - praxino"
        f"</title><meta name=viewport content='width=device-width'><style>{STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _numbers(evaluation: Evaluation) -> list[str]:
    titles = {
        "hit_at_1": "video hit@1",
        "hit_at_5": "video hit@5",
        "clip_hit_at_1": "clip hit@1",
        "mean_class_accuracy": "mean class accuracy",
    }
    numbers = evaluation.numbers()
    cards = "".join(
        f"<div class=number><b>{numbers[key]:.1%}</b>{title}</div>" for key, title in titles.items()
    )
    parts = [
        f"<div><b>{html.escape(evaluation.protocol['model'])}</b>, {len(evaluation.classes)} "
        f"classes, {datetime.date.today().isoformat()}</div>",
        f"<div class=soft>{html.escape(evaluation.protocol_line())}</div>",
        f"<div class=numbers>{cards}</div>",
    ]
    failures = evaluation.ledger.failures
    if failures:
        lines = "".join(f"<div>{html.escape(entry.message)}</div>" for entry in failures[:20])
        parts.append(
            f"<p class=bad>{len(failures)} videos could not be read and count as wrong:</p>{lines}"
        )
    return parts


def _classes(evaluation: Evaluation) -> list[str]:
    order = np.argsort(np.nan_to_num(evaluation.per_class_accuracy, nan=2.0), kind="stable")
    rows = []
    for k in order:
        if not (evaluation.labels == k).any():
            continue  # the model knows it, these videos do not show it
        accuracy, count = evaluation.per_class_accuracy[k], int((evaluation.labels == k).sum())
        right = round(accuracy * count)
        rows.append(
            f"<tr><td>{html.escape(evaluation.classes[k])}<td class=n>{right} of {count}"
            f"<td class=n>{accuracy:.1%}"
            f"<td><div class=bar><i style='width:{100 * accuracy:.1f}%'></i></div>"
        )
    head = "<tr><th>class<th class=n>right<th class=n>accuracy<th>"
    return ["<h2>Classes, worst first</h2><div class=card><table>", head, *rows, "</table></div>"]


def _worst(evaluation: Evaluation) -> list[str]:
    rows = evaluation.worst()
    if not rows:
        which = "that could be read " if evaluation.ledger.failures else ""
        return [f"<h2>Worst clips</h2><p>Every video {which}is classified correctly.</p>"]
    cards = []
    for row in rows:
        label = evaluation.labels[row]
        best = int(evaluation.scores[row].argmax())
        cards.append(
            f"<div class=card>{_strip(evaluation, row)}"
            f"<div><b>{html.escape(evaluation.classes[label])}</b> "
            f"({evaluation.scores[row, label]:.0%}) taken for "
            f"<b class=bad>{html.escape(evaluation.classes[best])}</b> "
            f"({evaluation.scores[row, best]:.0%})</div>"
            f"<div class=soft>{html.escape(evaluation.videos[row])}</div></div>"
        )
    return ["<h2>Worst clips</h2><div class=clips>", *cards, "</div>"]


def _strip(evaluation: Evaluation, number: int) -> str:
    """A few frames of a row's span side by side."""
    row = evaluation.manifest.rows[number]
    path = evaluation.manifest.path(row)
    try:
        with open_video(path, short_side=112, **vars(evaluation.decoding)) as video:
            span = (row.start_seconds, row.end_seconds)
            indices = segments(video.timestamps, STRIP_FRAMES, span=span)
            frames = video.frames(indices).pixels
    except VideoError as error:
        return f"<div class=bad>{html.escape(str(error))}</div>"
    file = io.BytesIO()
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(file, "JPEG", quality=80)
    return f"<img alt='frames' src='data:image/jpeg;base64,{_base64(file.getvalue())}'>"


def _picture(png: bytes, what: str) -> str:
    source = f"data:image/png;base64,{_base64(png)}"
    return f"<div class='card white'><img alt='{what}' src='{source}'></div>"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _history(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]
