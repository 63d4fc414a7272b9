"""The tour: render point lights, train two models, ask three questions, and look at the answers.

The two models differ in one thing: `small_3d` sees sixteen frames together, `small_2d` one by one.
"""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from praxino.datasets.manifest import Manifest
from praxino.datasets.pointlight import (
    CLASSES,
    Answer,
    Variant,
    answer_questions,
    draw_contact_sheet,
    render_pointlight,
)
from praxino.evaluate import evaluate
from praxino.predict import predict
from praxino.recipe import DataConfig, ModelConfig, OptimConfig, TrainConfig
from praxino.report import write_report
from praxino.train import Epoch, Listener, train
from praxino.video.augmentation import Augmentation
from praxino.video.reader import open_video
from praxino.video.writer import write_video
from praxino.weights.checkpoint import LAST

MODELS = {"small_2d": "frames one by one", "small_3d": "16 frames together"}
VIDEOS_PER_CLASS: dict[Variant, int] = {"motion": 60, "appearance": 20}
EPOCHS: dict[Variant, int] = {"motion": 8, "appearance": 6}
# What the film at the end shows, one after the other.
SCENES = ("walk", "sit_down", "stand_up", "jumping_jack", "open_arms", "close_arms", "run")


def pointlight_config(model: str, manifest: str | Path, *, epochs: int = 8) -> TrainConfig:
    """How the small models are trained on point lights.

    Args:
        model: `small_2d` or `small_3d`.
        manifest: from `render_pointlight`.
        epochs: over the training videos.
    """
    return TrainConfig(
        data=DataConfig(str(manifest)),
        model=ModelConfig(model, weights=None),
        # The figure fills the picture: any smaller crop would cut limbs off.
        augmentation=Augmentation(crop="centre"),
        optim=OptimConfig(lr=0.002),
        epochs=epochs,
        batch_size=8,
    )


def run_demo(folder: str | Path, console: Console) -> dict[str, dict[str, Answer]]:
    """Do everything once and leave it in `folder`.

    Args:
        folder: must not hold a demo already.
        console: where the tour is told.

    Returns:
        For each model its answers to the three questions.

    Raises:
        ValueError: `folder` exists and is not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty. Remove it, or name another: praxino demo FOLDER.")

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, soft_wrap=True)

    answers: dict[str, dict[str, Answer]] = {model: {} for model in MODELS}
    for variant in CLASSES:
        data = folder / "data" / variant
        say(f"Rendering {len(CLASSES[variant])} classes of {variant} into {data}", "bold")
        manifest_path = render_pointlight(
            data, variant=variant, videos_per_class=VIDEOS_PER_CLASS[variant]
        )
        manifest = Manifest.read(manifest_path)
        for model, sees in MODELS.items():
            run = folder / "runs" / f"{model}_{variant}"
            say(f"Training {model} ({sees}) on {variant}", "bold")
            config = pointlight_config(model, manifest_path, epochs=EPOCHS[variant])
            train(config, run, listener=Listener(epoch=lambda epoch: say(_line(epoch))))
            # The last epoch, not the best: with so few validation videos "best" is mostly luck.
            result = evaluate(run / LAST, manifest, split="test", clips=1, crops=1)
            result.save(run)
            write_report(run, result)
            answers[model] |= answer_questions(result.scores, result.labels, manifest.classes)

    console.print(_answers_table(answers))
    say(
        "Both models see how things look, and single postures tell most of these motions apart.\n"
        "Whether somebody sits down or stands up is in no single frame: that takes time.\n"
    )
    draw_contact_sheet(folder / "data" / "motion" / "manifest.csv", folder / "classes.png")
    _film(folder / "data" / "motion" / "manifest.csv", folder / "film.mp4")
    seen = predict(
        folder / "film.mp4", folder / "runs" / "small_3d_motion" / LAST, every_seconds=0.25
    )
    seen.save(folder / "film_named.mp4")
    seen.save(folder / "timeline.png")
    say("Open", "bold")
    for name, what in (
        ("film_named.mp4", "seven actions in a row, named while they happen"),
        ("timeline.png", "the same as a picture"),
        ("classes.png", "what the videos look like"),
        ("runs/small_3d_motion/report.html", "curves, confusion matrix, worst clips"),
    ):
        say(f"  {folder / name}   {what}")
    return answers


def _line(epoch: Epoch) -> str:
    shown = f"  epoch {epoch.epoch:2d}  loss {epoch.train_loss:.2f}"
    if epoch.val_hit_at_1 is not None:
        shown += f"  validation hit@1 {epoch.val_hit_at_1:.0%}"
    return shown


def _answers_table(answers: dict[str, dict[str, Answer]]) -> Table:
    questions = ("appearance", "motion", "order")
    table = Table(title="What can it see? (accuracy on test videos)", title_justify="left")
    table.add_column("model")
    for question in questions:
        table.add_column(question, justify="right")
    for model, found in answers.items():
        cells = [f"{found[question].accuracy:.2f}" for question in questions]
        table.add_row(f"{model}: {MODELS[model]}", *cells)
    chances = next(iter(answers.values()))
    table.add_row("chance", *(f"{chances[question].chance:.2f}" for question in questions))
    return table


def _film(manifest_path: Path, path: Path) -> None:
    """Test videos of several actions, one after the other, in one file."""
    manifest = Manifest.read(manifest_path)
    test = manifest.select(split="test")
    frames, rate = [], 0.0
    for scene in SCENES:
        row = next(row for row in test if row.labels == (scene,))
        with open_video(test.path(row)) as video:
            frames += [frame.pixels for frame in video]
            rate = video.info.frames_per_second
    write_video(path, np.stack(frames), rate, quality=10)
