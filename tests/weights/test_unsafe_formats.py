"""Files that run code when they are unpickled, given to everything that takes a path."""

import gzip
import importlib
import inspect
import io
import os
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import praxino
from praxino.checked_json import read_json
from praxino.command import cli
from praxino.convert import convert
from praxino.datasets import READERS
from praxino.datasets.folder import read_folder
from praxino.datasets.manifest import Manifest
from praxino.datasets.pointlight import draw_contact_sheet
from praxino.datasets.source import open_source
from praxino.datasets.tables import read_table
from praxino.errors import EnvironmentFault
from praxino.evaluate import evaluate, evaluate_again
from praxino.flow import draw_flow
from praxino.fuse import fuse
from praxino.models import create_model, load_weights
from praxino.predict import predict
from praxino.published_scores import read_published
from praxino.recipe import load_recipe, read_config
from praxino.report import write_report
from praxino.score_tables import read_scores
from praxino.train import train
from praxino.video.flow_store import read_record
from praxino.video.frame_folder import read_picture
from praxino.video.reader import open_video
from praxino.weights.caffemodel import read_caffemodel
from praxino.weights.checkpoint import find_checkpoint, load_model, read_card
from praxino.weights.reading import PICKLED, read_files, read_state
from praxino.weights.safetensors_header import load_tensors, read_header
from praxino.weights.tensorflow_checkpoint import read_checkpoint


class Burglar:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.canary}'",)


def hostile_files(canary: Path) -> dict[str, bytes]:
    """The same code in the forms in which pickles travel."""
    burglar = Burglar(canary)
    array = np.array([burglar], dtype=object)
    files = {name: io.BytesIO() for name in ("zip", "old", "npy", "npz")}
    torch.save({"state_dict": {"a": torch.zeros(1)}, "more": burglar}, files["zip"])
    torch.save({"a": burglar}, files["old"], _use_new_zipfile_serialization=False)
    np.save(files["npy"], array, allow_pickle=True)
    np.savez(files["npz"], a=array)
    found = {name: file.getvalue() for name, file in files.items()}
    plain = pickle.dumps(burglar, protocol=2)
    blobs = {"blobs": {"conv1_w": np.ones(2, dtype="f4"), "lr": burglar}}
    return found | {
        "pickle": plain,
        "joblib": gzip.compress(plain),
        "caffe2": pickle.dumps(blobs, protocol=2),
    }


SUFFIXES = (
    ".npy .npz .joblib .h5 .hdf5 .safetensors .caffemodel .index .json .csv .parquet .mp4 .avi "
    ".gif .py .txt"
).split()


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


@pytest.fixture
def files(tmp_path: Path, canary: Path) -> list[Path]:
    """Every form under every suffix, those that only the child reads left out."""
    folder = tmp_path / "files"
    folder.mkdir()
    made = []
    for form, content in hostile_files(canary).items():
        for suffix in SUFFIXES:
            made.append(folder / f"{form}{suffix}")
            made[-1].write_bytes(content)
    return made


def a_folder_of(path: Path) -> Path:
    """A folder in which every file that praxino looks for is this one."""
    folder = path.parent / f"{path.name}-folder"
    names = "best.safetensors last.safetensors config.json result.json manifest.parquet "
    names += "evaluated.parquet metrics.jsonl state/step-00000001/state.json "
    names += "state/step-00000001/model.safetensors kick/a.mp4 wave/b.mp4"
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(path.read_bytes())
    return folder


def model() -> torch.nn.Module:
    return create_model("small_3d", num_classes=2, frames=4, size=16)


def opened(path: Path) -> None:
    with open_video(path) as video:
        next(iter(video))


def evaluated(path: Path) -> None:
    """Evaluation counts what it cannot read as wrong, so the manifest alone is hostile here."""
    evaluate(model(), path, split="")


def config(**said: Any) -> Any:
    from praxino.recipe import DataConfig, ModelConfig, TrainConfig

    return TrainConfig(data=DataConfig(**said), model=ModelConfig("small_3d", weights=None))


# Everything that reads what a path names: function and parameter, and how to call it.
READS: dict[str, Callable[[Path], object]] = {
    "checked_json.read_json(path)": read_json,
    "video.frame_folder.read_picture(path)": lambda path: read_picture("folder", path),
    "weights.checkpoint.find_checkpoint(path)": lambda path: load_model(find_checkpoint(path)),
    "weights.checkpoint.load_model(path)": load_model,
    "weights.checkpoint.read_card(path)": read_card,
    "datasets.manifest.Manifest.read(path)": Manifest.read,
    "datasets.source.open_source(source)": open_source,
    "datasets.tables.read_table(path)": lambda path: list(read_table(path)[0]),
    "evaluate.evaluate(manifest)": evaluated,
    "evaluate.evaluate(model)": lambda path: evaluate(path, path),
    "evaluate.evaluate_again(path)": evaluate_again,
    "flow.draw_flow(path)": lambda path: draw_flow(path, path.parent / "out.png"),
    "fuse.fuse(paths)": lambda path: fuse([path, path]),
    "models.create_model(weights)": lambda path: create_model("small_3d", weights=path),
    "models.load_weights(source)": lambda path: load_weights(model(), "small_3d", path),
    "predict.predict(model)": lambda path: predict(path, path),
    "predict.predict(source)": lambda path: predict(path, model()),
    "published_scores.read_published(path)": read_published,
    "recipe.load_recipe(reference)": lambda path: load_recipe(f"{path}:run"),
    "recipe.read_config(path)": read_config,
    "convert.convert(classes)": lambda path: convert(
        save_file(model().state_dict(), path.parent / "net.safetensors")
        or path.parent / "net.safetensors",
        "small_3d",
        classes=path,
        output=path.parent / "out.safetensors",
        frames=4,
        size=16,
    ),
    "convert.convert(file)": lambda path: convert(
        path, "small_3d", output=path.parent / "out.safetensors"
    ),
    "score_tables.read_scores(path)": read_scores,
    "train.train(config)": lambda path: train(config(source=str(path)), path.parent / "run"),
    "video.flow_store.read_record(path)": read_record,
    "video.reader.open_video(source)": opened,
    "weights.caffemodel.read_caffemodel(path)": read_caffemodel,
    "weights.reading.read_files(files)": lambda path: read_files({path.name: path}),
    "weights.reading.read_state(path)": read_state,
    "weights.safetensors_header.load_tensors(path)": load_tensors,
    "weights.safetensors_header.read_header(path)": read_header,
    "weights.tensorflow_checkpoint.read_checkpoint(files)": lambda path: read_checkpoint(
        {"net.index": path, "net.data-00000-of-00001": path}
    ),
}


@pytest.mark.parametrize("entry", READS)
def test_nothing_that_takes_a_file_unpickles_it(files: list[Path], entry: str) -> None:
    for path in files:
        with pytest.raises((ValueError, EnvironmentFault)) as caught:
            READS[entry](path)
        assert "\n" not in str(caught.value), (path, caught.value)
        assert len(str(caught.value)) < 1500


@pytest.mark.slow
@pytest.mark.parametrize("form", ["zip", "old", "pickle", "npz", "joblib", "caffe2"])
def test_the_child_does_not_run_it_either(tmp_path: Path, canary: Path, form: str) -> None:
    content = hostile_files(canary)[form]
    suffix = PICKLED[len(form) % len(PICKLED)]
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"net\{suffix} cannot be read as weights: ") as caught:
        create_model("small_3d", weights=path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch advises to try without


FOLDERS: dict[str, Callable[[Path], object]] = {
    "checkpoint.load_model": load_model,
    "datasets.folder.read_folder": lambda path: predict(Path(read_folder(path).path), model()),
    "evaluate.evaluate": lambda path: evaluate(path, path),
    "evaluate.evaluate_again": lambda path: evaluate_again(path / "result.json"),
    "report.write_report": write_report,
    "cli evaluate": lambda path: cli.run(["evaluate", str(path), "--data", str(path)]),
    "cli convert": lambda path: cli.run(["convert", str(path), "--model", "small_3d"]),
    "cli predict": lambda path: cli.run(["predict", str(path), "--model", str(path)]),
    "datasets.pointlight.draw_contact_sheet": lambda path: draw_contact_sheet(
        path / "manifest.parquet", path / "sheet.png"
    ),
    **{
        f"datasets.{name}": lambda path, read=read: read(path / "config.json", path)
        for name, read in READERS.items()
    },
}


@pytest.mark.parametrize("entry", FOLDERS)
def test_nothing_in_a_folder_is_unpickled(tmp_path: Path, canary: Path, entry: str) -> None:
    for form, content in hostile_files(canary).items():
        path = tmp_path / form
        path.write_bytes(content)
        try:
            FOLDERS[entry](a_folder_of(path))
        except (ValueError, TypeError, OSError, EnvironmentFault):
            pass  # refusing is right, and so is passing over what it has no use for


# Parameters that name what is read, of functions that are tested here or only hand them on.
READING_NAMES = "path file files source model manifest weights reference data classes".split()
WRITERS = {
    "atomic", "weights.download", "errors", "ledger", "results", "command.terminal",
    "video.writer", "demo", "draw", "runs.run_lock", "runs.curves",
}  # fmt: skip
HANDED_ON = {
    "weights.checkpoint.save_model(path)",
    "weights.checkpoint.save_tensors(path)",
    "command.cli.convert(classes)",
    "command.cli.convert(file)",
    "command.cli.evaluate(data)",
    "weights.reading.check_file(path)",  # of read_files, which looks at the first bytes
    "weights.reading.holds_weights(path)",  # looks at names only
    "weights.tensorflow_checkpoint.files_of(path)",  # looks at names only
    "datasets.folder.is_video(path)",  # looks at the name only
    "datasets.manifest.Manifest.write(path)",
    "datasets.pointlight.draw_contact_sheet(manifest)",
    "datasets.source.root_of(source)",
    "datasets.tables.write_table(path)",
    "score_tables.ScoreTable.save(path)",
    "video.decoder.Source.__init__(path)",
    "datasets.folder.read_folder(path)",  # below, as a folder
    "video.frame_table.scan(source)",  # of open_video, as the next three are
    "video.structure.structure_problems(source)",
    "video.decoder.check_source(source)",
    "video.decoder.open_regular(path)",
    "command.video_report.report_video(path)",  # open_video, and a table
    "checksums.file_hash(path)",  # of bytes, whatever they are
    "explain.animation.write_animation(path)",  # it writes, as the next three do
    "explain.convolution.draw_sliding(path)",
    "explain.filters.draw_filters(path)",
    "explain.skips.draw_skips(path)",
    "models.options_with(weights)",  # a name is looked up, a file is not opened
    "video.flow_store.is_whole(path)",  # of read_record, and says no where that raises
    "video.flow_store.write_flow(path)",
    "video.volume.read_volume(source)",  # of open_video; tests/video/test_volume.py
    "video.volume.size_of(path)",  # adds up the sizes of files
}


def entries() -> Iterator[str]:
    """`module.function(parameter)` of all public functions with a path among their parameters."""
    for module_info in pkgutil.walk_packages(praxino.__path__, "praxino."):
        if module_info.name.endswith(("__main__", "child_main")):
            continue
        module = importlib.import_module(module_info.name)
        place = module.__name__.removeprefix("praxino.")
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            functions = {f"{place}.{name}": thing} if inspect.isfunction(thing) else {}
            if inspect.isclass(thing):
                functions = {
                    f"{place}.{name}.{inner}": getattr(thing, inner)
                    for inner in vars(thing)
                    if inspect.isfunction(found := getattr(thing, inner)) or inspect.ismethod(found)
                    if inner[0] != "_"
                }
            for where, function in functions.items():
                if place not in WRITERS:
                    for parameter in inspect.signature(function).parameters.values():
                        kind = str(parameter.annotation)
                        if parameter.name in READING_NAMES and ("Path" in kind or "Source" in kind):
                            yield f"{where}({parameter.name})"


def test_every_entry_that_takes_a_path_is_tested_here() -> None:
    found = set(entries())
    assert len(found) > 20
    missing = found - set(READS) - HANDED_ON
    assert not missing, f"Add to READS, or say in HANDED_ON why not: {sorted(missing)}"


def test_the_canary_works(tmp_path: Path) -> None:
    pickle.loads(hostile_files(tmp_path / "canary")["pickle"])
    assert (tmp_path / "canary").exists()
