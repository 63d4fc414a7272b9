r"""Ego-RNN on GTEA61: the table of its parts for 7 and 16 frames, and the search around its task.

    python benchmarks/ego_rnn.py table GTEA61 [--to runs/ego_rnn] [--frames 7 16] [--tiny]
    python benchmarks/ego_rnn.py sweep GTEA61 [--to runs/ego_rnn] [--frames 7] [--tiny]
    python benchmarks/ego_rnn.py join RGB_RUN FLOW_RUN --to FILE

`table` and `sweep` train all that they need by `recipes/ego_rnn.py`, stage after stage, each in a
run folder of its own; what has been trained is kept, and a run that was stopped goes on. GTEA61 is
the folder in which the data set was prepared, with its warped flow. Accuracies are of S2, the last
epoch, one clip of the centre (five clips of flow). `sweep` compares settings of the motion task on
S2 too, which is all that the data set has to compare on: its best number is kind. `--tiny` is an
epoch of small networks from nothing, on whatever actions there are: it shows that all of it works.

`join` writes the weights that the joint network starts from. Where a network looks before and after
the task is added: `praxino explain attention BEFORE VIDEO --after AFTER --output FOLDER`.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from praxino.atomic import write_text
from praxino.datasets.gtea61 import pack_gtea61_flow, read_gtea61
from praxino.evaluate import evaluate, needs_flow
from praxino.models import create_model
from praxino.models.ego_rnn import join_streams
from praxino.recipe import TrainConfig, load_recipe, tiny
from praxino.train import train
from praxino.weights.checkpoint import load_model

RECIPES = Path(__file__).parents[1] / "recipes" / "ego_rnn.py"
FLOW_CLIPS = 5
SMALL: dict[str, Any] = {"backbone": "resnet18", "size": 64}  # --tiny

# What the table calls it, its recipe, and the row whose weights it starts from.
ROWS = {
    "ConvLSTM, stage 1": ("convlstm_stage_1", None),
    "ConvLSTM": ("convlstm_stage_2", "ConvLSTM, stage 1"),
    "ConvLSTM with attention, stage 1": ("stage_1", None),
    "ConvLSTM with attention": ("stage_2", "ConvLSTM with attention, stage 1"),
    "Warped flow": ("flow", None),
    "Two streams, trained jointly": ("joint", "ConvLSTM with attention"),
    "With the motion task, still or moving": ("motion", "ConvLSTM with attention, stage 1"),
    "With the motion task, how much": ("motion_regression", "ConvLSTM with attention, stage 1"),
}

# Three settings of each form of the task; those that are not said are the recipe's.
SETS: dict[str, tuple[dict[str, float | str], ...]] = {
    "motion": (
        {"task_weight": 1.0, "lr": 1e-4, "threshold": 1.0},
        {"task_weight": 0.3, "lr": 1e-4, "threshold": 1.0},
        {"task_weight": 1.0, "lr": 1e-4, "threshold": 0.5},
        {"task_weight": 1.0, "lr": 3e-4, "threshold": 1.0},
    ),
    "motion_regression": (
        {"task_weight": 1.0, "lr": 1e-4, "distance": "squared"},
        {"task_weight": 10.0, "lr": 1e-4, "distance": "squared"},
        {"task_weight": 3.0, "lr": 1e-4, "distance": "absolute"},
        {"task_weight": 10.0, "lr": 3e-4, "distance": "squared"},
    ),
}


@dataclasses.dataclass(frozen=True)
class Work:
    """Where everything is.

    Args:
        videos: the folder in which GTEA61 was prepared.
        to: for run folders, tables, and the packed flow.
        tiny: small networks, one epoch.
    """

    videos: Path
    to: Path
    tiny: bool

    def prepare(self) -> None:
        """Write the manifest and pack the flow."""
        manifest = read_gtea61(None, self.videos, complete=not self.tiny)
        self.to.mkdir(parents=True, exist_ok=True)
        manifest.write(self.to / "gtea61.parquet", keep_root=True)
        packed = pack_gtea61_flow(manifest, self.to / "flow")
        print(f"{len(manifest)} videos; packed the flow of {packed}.", flush=True)

    def config(self, recipe: str, frames: int, weights: Path | None) -> TrainConfig:
        """A recipe for so many frames, from these weights, on this machine's folders."""
        config = load_recipe(f"{RECIPES}:{recipe}")
        stacked = config.model.name == "ego_rnn_flow"  # its frames are the flow's
        options = {**config.model.options, **({} if stacked else {"frames": frames})}
        start = config.model.weights if weights is None else str(weights)
        if self.tiny:
            options |= SMALL | ({} if stacked else {"hidden": 8})
            start = None if weights is None else start
        source = str(self.to / "gtea61.parquet")
        data = dataclasses.replace(
            config.data, source=source, videos=str(self.videos), flow=str(self.to / "flow")
        )
        model = dataclasses.replace(config.model, options=options, weights=start)
        changed = dataclasses.replace(config, data=data, model=model)
        return dataclasses.replace(tiny(changed), epochs=1) if self.tiny else changed

    def trained(self, config: TrainConfig, name: str) -> Path:
        """The run folder, trained to its end."""
        run = self.to / name
        if not (run / "report.html").exists():  # what training writes last
            print(f"{run}: {config.model.name}, {config.epochs} epochs", flush=True)
            train(config, run, resume=(run / "config.json").exists())
        return run

    def accuracy(self, run: Path, clips: int = 1) -> float:
        """Hit@1 on S2, measured once and kept beside the run."""
        kept = run / "accuracy.json"
        if not kept.exists():
            model: Any = load_model(run)
            videos = read_gtea61(None, self.videos, complete=not self.tiny)
            flow = str(self.to / "flow") if needs_flow(model.clip_spec) else None
            result = evaluate(model, videos, split="test", clips=clips, crops=1, flow=flow)
            write_text(kept, json.dumps({"hit_at_1": result.hit_at_1}))
        return float(json.loads(kept.read_text(encoding="utf-8"))["hit_at_1"])

    def row(self, name: str, frames: int) -> Path:
        """The run of a row of the table, and before it those that it starts from."""
        recipe, before = ROWS[name]
        folder = recipe if recipe == "flow" else f"{recipe}_{frames}"
        weights = None
        if before is not None:
            weights = self.row(before, frames) / "last.safetensors"
        if recipe == "joint":
            rgb, flow = self.row("ConvLSTM with attention", frames), self.row("Warped flow", frames)
            weights = self.to / f"joined_{frames}.safetensors"
            if not weights.exists():
                join(rgb, flow, weights)
        return self.trained(self.config(recipe, frames, weights), folder)


def join(rgb: Path, flow: Path, to: Path) -> None:
    """Write the weights of two runs as those that the joint network starts from.

    Args:
        rgb: a run of `ego_rnn`.
        flow: a run of `ego_rnn_flow`, of the same classes.
        to: a `.safetensors` file.

    Raises:
        ValueError: the runs are of other models, or of different classes.
    """
    frames, motion = load_model(rgb), load_model(flow)
    cards: tuple[Any, Any] = (frames.card, motion.card)
    for card, name in zip(cards, ("ego_rnn", "ego_rnn_flow"), strict=True):
        if card.model != name:
            raise ValueError(f"join wants a run of {name}, got one of {card.model}.")
    if cards[0].classes != cards[1].classes:
        raise ValueError(
            f"The runs know {len(cards[0].classes)} and {len(cards[1].classes)} classes that are "
            "not the same. Train both on one manifest."
        )
    options = {**cards[0].options, "flow_frames": cards[1].options.get("frames", 5)}
    joint = create_model("ego_rnn_joint", len(cards[0].classes), **options)
    state = join_streams(frames.state_dict(), motion.state_dict(), joint)
    save_file({name: value.contiguous() for name, value in state.items()}, to)


def table(work: Work, frames: Sequence[int]) -> str:
    """Train and measure every row; the table as Markdown."""
    rows = [name for name in ROWS if not name.endswith("stage 1")]
    lines = [
        f"| | {' | '.join(f'{count} frames' for count in frames)} |",
        f"|---|{'---:|' * len(frames)}",
    ]
    for name in rows:
        clips = FLOW_CLIPS if ROWS[name][0] == "flow" else 1
        found = [work.accuracy(work.row(name, count), clips) for count in frames]
        lines.append(f"| {name} | {' | '.join(f'{100 * one:.2f} %' for one in found)} |")
    return "\n".join(lines) + "\n\nThe flow network stacks five fields whatever the frames.\n"


def sweep(work: Work, frames: int) -> str:
    """Train and measure the motion task in every setting; the table as Markdown."""
    start = work.row("ConvLSTM with attention, stage 1", frames) / "last.safetensors"
    found = []
    for recipe, sets in SETS.items():
        for number, settings in enumerate(sets, start=1):
            config = _with(work.config(recipe, frames, start), settings)
            run = work.trained(config, f"{recipe}_{frames}_set_{number}")
            found.append((recipe, settings, work.accuracy(run)))
    best = max(accuracy for *_, accuracy in found)
    lines = [f"| task | settings | S2, {frames} frames |", "|---|---|---:|"]
    for recipe, settings, accuracy in found:
        task = "how much moves" if recipe == "motion_regression" else "still or moving"
        said = ", ".join(f"{name} {value}" for name, value in settings.items())
        mark = "**" if accuracy == best else ""
        lines.append(f"| {task} | {said} | {mark}{100 * accuracy:.2f} %{mark} |")
    return "\n".join(lines) + "\n"


def _with(config: TrainConfig, settings: Mapping[str, float | str]) -> TrainConfig:
    options = {name: value for name, value in settings.items() if name != "lr"}
    model = dataclasses.replace(config.model, options={**config.model.options, **options})
    optim = dataclasses.replace(config.optim, lr=float(settings["lr"]))
    return dataclasses.replace(config, model=model, optim=optim)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands above."""
    parser = argparse.ArgumentParser(description="Ego-RNN on GTEA61")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("table", "sweep"):
        command = commands.add_parser(name)
        command.add_argument("videos", type=Path)
        command.add_argument("--to", type=Path, default=Path("runs/ego_rnn"))
        command.add_argument("--tiny", action="store_true")
        if name == "table":
            command.add_argument("--frames", type=int, nargs="+", default=[7, 16])
        else:
            command.add_argument("--frames", type=int, default=7)
    command = commands.add_parser("join")
    command.add_argument("rgb", type=Path)
    command.add_argument("flow", type=Path)
    command.add_argument("--to", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.command == "join":
        join(given.rgb, given.flow, given.to)
        print(f"Wrote {given.to}")
        return
    work = Work(given.videos, given.to, given.tiny)
    work.prepare()
    made = table(work, given.frames) if given.command == "table" else sweep(work, given.frames)
    write_text(given.to / f"{given.command}.md", made)
    print(made)


if __name__ == "__main__":
    main()
