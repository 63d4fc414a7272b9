"""Settings made to harm: refused in one line that names the setting, at once, in little memory."""

import dataclasses
import json
import resource
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxino.checked_json import checked, parse_json, read_json
from praxino.datasets.source import open_source
from praxino.evaluate import evaluate_again
from praxino.models import create_model
from praxino.recipe import TrainConfig, from_json, load_recipe, read_config, to_json
from praxino.video.augmentation import Augmentation
from praxino.video.clip_spec import ClipSpec

DEEP = 100_000
FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not JSON: Expecting value: line 1 column 1"),
    "ten megabytes": (b"[" + b"0," * 5_000_000 + b"0]", "is larger than 1,000,000 bytes"),
    "ten megabytes of space": (b" " * 10_000_000 + b"{}", "is larger than 1,000,000 bytes"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, "is nested too deeply"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "is nested too deeply"),
    "deep and cut": (b"[" * DEEP, "is nested too deeply"),
    "a name twice": (b'{"epochs": 1, "epochs": 2}', "'epochs' is there twice"),
    "an inner name twice": (b'{"optim": {"lr": 1, "lr": 2}}', "'lr' is there twice"),
    "UTF-16": ('{"epochs": 1}'.encode("utf-16"), "is UTF-16. Save it as UTF-8"),
    "UTF-16, big end first": (b"\xfe\xff\0{\0}", "is UTF-16. Save it as UTF-8"),
    "UTF-32": ('{"epochs": 1}'.encode("utf-32"), "is UTF-16. Save it as UTF-8"),
    "Latin-1": (b'{\n"model": {"name": "\xfc"}}', "line 2: the byte 0xfc is not UTF-8"),
    "NUL": (b'{"epochs": 1}\0', "is not JSON: Extra data: line 1 column 14"),
    "NULs": (b"\0" * 100, "is not JSON: Expecting value"),
    "a number": (b"3", "must be settings of TrainConfig, got 3"),
    "a list": (b"[]", r"must be settings of TrainConfig, got \[\]"),
    "null": (b"null", "must be settings of TrainConfig, got None"),
    "text": (b'"epochs"', "must be settings of TrainConfig, got 'epochs'"),
    "a comma too many": (b'{\n"epochs": 1,\n}', "is not JSON: .*line [23] column"),
    "a comment": (b'{\n"epochs": 1 // many\n}', "is not JSON: Expecting ',' delimiter: line 2"),
    "YAML": (b"epochs: 1", "is not JSON"),
    "YAML that runs": (b"!!python/object/apply:os.system ['touch canary']", "is not JSON"),
    "Python": (b"__import__('os').system('touch canary')", "is not JSON"),
    "single quotes": (b"{'epochs': 1}", "is not JSON: Expecting property name"),
    "5000 digits": (b'{"epochs": ' + b"9" * 5000 + b"}", "the number '999.*does not fit"),
    "a million digits": (b'{"epochs": ' + b"9" * 900_000 + b"}", "the number '999.*does not fit"),
    "1e400": (b'{"epochs": 1e400}', "the number '1e400' is too large"),
    "-1e400": (b'{"optim": {"lr": -1e400}}', "the number '-1e400' is too large"),
    "2^63": (b'{"seed": 9223372036854775808}', "'9223372036854775808' does not fit into 64 bits"),
    "NaN": (b'{"optim": {"lr": NaN}}', "NaN is not a number; leave the setting out"),
    "Infinity": (b'{"optim": {"lr": Infinity}}', "Infinity is not a number"),
    "-Infinity": (b'{"optim": {"lr": -Infinity}}', "-Infinity is not a number"),
    "a long name": (b'{"' + b"x" * 900_000 + b'": 1}', "TrainConfig has no setting 'xxx"),
    "a pickle": (b"\x80\x04\x95\x10", "line 1: the byte 0x80 is not UTF-8"),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_are_refused_at_once(tmp_path: Path, name: str) -> None:
    content, message = FILES[name]
    path = tmp_path / "config.json"
    path.write_bytes(content)
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        read_config(path)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50_000  # kilobytes
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    with pytest.raises(ValueError, match=message):
        from_json(content)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json", Path("/dev/zero")):
        with pytest.raises(ValueError, match=rf"There is no file {path}\."):
            read_config(path)


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(to_json(TrainConfig(epochs=3)), encoding="utf-8-sig")
    assert read_config(tmp_path / "config.json") == TrainConfig(epochs=3)


# --- settings of the wrong type ------------------------------------------------------------------

WHOLE, TEXT = "must be a whole number, got", "must be text, got"
VALUES: list[tuple[str, Any, str]] = [
    ("epochs", "3", f"epochs {WHOLE} '3'"),
    ("epochs", 3.0, rf"epochs {WHOLE} 3\.0"),
    ("epochs", True, f"epochs {WHOLE} True"),
    ("epochs", None, f"epochs {WHOLE} None"),
    ("epochs", [3], rf"epochs {WHOLE} \[3\]"),
    ("epochs", {"a": 3}, f"epochs {WHOLE}"),
    ("epochs", -3, "epochs must be at least 1, got -3"),
    ("epoch", 3, "TrainConfig has no setting 'epoch'. Did you mean 'epochs'"),
    ("seed", -1, "seed must be at least 0"),
    ("batch_size", "8", "batch_size must be a whole number or null, got '8'"),
    ("batch_size", False, "batch_size must be a whole number or null, got False"),
    ("save_every_seconds", "soon", "save_every_seconds must be a number, got 'soon'"),
    ("save_every_seconds", True, "save_every_seconds must be a number, got True"),
    (
        "mixed_precision",
        "bf-16",
        "must be 'auto' or 'no' or 'bf16', got 'bf-16'. Did you mean 'bf1",
    ),
    ("mixed_precision", False, "mixed_precision must be 'auto' or 'no' or 'bf16', got False"),
    ("optim.lr", "0.1", r"optim\.lr must be a number or null, got '0\.1'"),
    ("optim.lr", [0.1], r"optim\.lr must be a number or null, got \[0\.1\]"),
    ("optim.lr", -0.1, r"lr must be above 0, got -0\.1"),
    (
        "optim.name",
        "adamx",
        r"optim\.name must be 'adamw' or 'adam' or 'sgd', got 'adamx'. Did you mean 'adam",
    ),
    ("optim.name", ["sgd"], r"optim\.name must be 'adamw' or 'adam' or 'sgd', got \['sgd'\]"),
    ("optim.name", "x" * 100_000, r"optim\.name must be 'adamw' or 'adam' or 'sgd', got 'xxx"),
    ("optim", None, "optim must be settings of OptimConfig, got None"),
    ("optim", [], r"optim must be settings of OptimConfig, got \[\]"),
    ("data.skip_bad", 1, r"data\.skip_bad must be true or false, got 1"),
    ("data.skip_bad", "no", r"data\.skip_bad must be true or false, got 'no'"),
    ("data.source", 3, rf"data\.source {TEXT} 3"),
    ("data.source", "a\0b", rf"data\.source {TEXT} 'a\\x00b'"),
    ("data.val_fraction", 1, r"val_fraction must be above 0 and below 1, got 1\.0"),
    ("data.workers", 2.5, r"data\.workers must be a whole number or null, got 2\.5"),
    ("model.name", None, rf"model\.name {TEXT} None"),
    ("model.options", [], r"model\.options must be an object, got \[\]"),
    ("model.options", {"frames": [8]}, r"model\.options\.frames must be true or false or a whole"),
    ("model.options", {"frames": None}, r"model\.options\.frames must be true or false or a who"),
    ("model.weights", 3, r"model\.weights must be text or null, got 3"),
    ("model.weight", "none", "ModelConfig has no setting 'weight'. Did you mean 'weights'"),
    ("clip.fit", "stretched", r"clip\.fit must be 'crop' or 'stretch' or null, .* mean 'stretch'"),
    ("clip.frames", 8.5, r"clip\.frames must be a whole number or null, got 8\.5"),
    ("augmentation.crop", "randm", "There is no crop='randm'"),
    (
        "augmentation.scale",
        [0.5],
        r"augmentation\.scale must be a list of 2: a number, a number, g",
    ),
    ("augmentation.scale", 0.5, r"augmentation\.scale must be a list of 2: a number, a number"),
    ("augmentation.scale", [0.5, "1"], r"augmentation\.scale\[1\] must be a number, got '1'"),
    ("augmentation.scale", [1.0, 0.5], "scale must be two numbers in"),
    ("augmentation.corner_scales", [], "corner_scales must be in"),
    (
        "augmentation.corner_scales",
        "all",
        r"corner_scales must be a list, each a number, got 'all'",
    ),
    ("augmentation.hue", 0.6, r"hue must be in \[0, 0\.5\], got 0\.6"),
]


@pytest.mark.parametrize(("setting", "value", "message"), VALUES, ids=lambda v: str(v)[:30])
def test_values_of_the_wrong_type_are_named(setting: str, value: Any, message: str) -> None:
    said = json.loads(to_json(TrainConfig()))
    part, _, inner = setting.rpartition(".")
    (said[part] if part else said)[inner] = value
    with pytest.raises(ValueError, match=rf"^run/config\.json: .*{message}") as caught:
        from_json(json.dumps(said), "run/config.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_whole_numbers_will_do_for_numbers() -> None:
    found = from_json('{"optim": {"lr": 1}, "augmentation": {"scale": [1, 1]}}')
    assert found == from_json('{"optim": {"lr": 1.0}, "augmentation": {"scale": [1.0, 1.0]}}')
    assert type(found.optim.lr) is float


@pytest.mark.parametrize("kind", [TrainConfig, Augmentation, ClipSpec])
def test_every_setting_survives_and_none_takes_everything(kind: type) -> None:
    """For each field of each dataclass: its own value is accepted, some other kind is not."""
    whole = json.loads(json.dumps(dataclasses.asdict(kind(8) if kind is ClipSpec else kind())))
    checked(kind, whole, "here")

    def fields(kind: type, value: dict[str, Any]) -> None:
        for name, one in value.items():
            for strange in ("\0", [None], {"\0": [0]}, -1e300, [[]]):
                with pytest.raises(ValueError, match=r"^here: "):
                    checked(kind, value | {name: strange}, "here")
            hint = {field.name: field for field in dataclasses.fields(kind)}[name]
            if isinstance(one, dict) and dataclasses.is_dataclass(hint.default_factory):
                fields(hint.default_factory, one)

    fields(kind, whole)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
NAMES = [field.name for field in dataclasses.fields(TrainConfig)]


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4))
def test_whatever_the_settings_are_there_is_one_answer(said: dict[str, Any]) -> None:
    try:
        config = from_json(json.dumps(said))
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert from_json(to_json(config)) == config


@given(st.binary(max_size=60) | st.text('{}[]",:0123456789.eE-+ntfalsrue\\u', max_size=40))
def test_whatever_the_bytes_are_there_is_one_answer(content: bytes | str) -> None:
    try:
        parse_json(content, "x")
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both outcomes are right


def test_kinds_of_values_in_words() -> None:
    with pytest.raises(ValueError, match=r"^x: a must be 1 or 2, got True\.$"):
        checked(Literal[1, 2], True, "x", "a")
    with pytest.raises(ValueError, match=r"^x: a must be null, got 0\.$"):
        checked(None, 0, "x", "a")
    with pytest.raises(ValueError, match=r"^x: a\.b must be text, got 1\.$"):
        checked(dict[str, str], {"b": 1}, "x", "a")
    assert checked(Any, [1, {}], "x") == [1, {}]
    assert checked(tuple[int, ...], [1, 2], "x") == (1, 2)


# --- other files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"[" * DEEP,
        b"{}",
        b"3",
        b'{"protocol": 3}',
        b'{"protocol": {}}',
        b'{"protocol": {"checkpoint": 3, "root": ".", "manifest_hash": "x"}}',
        b"\xff\xfe{}",
    ],
)
def test_a_result_that_is_no_result(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"result\.json") as caught:
        evaluate_again(path)
    assert "\n" not in str(caught.value)


def test_nothing_but_a_named_python_file_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = f"from pathlib import Path\nPath({str(canary)!r}).touch()\ndef run(): pass\n"
    for name in ("evil.pyc", "evil.txt", "evil", "evil.json", "evil.so", "evil.PY"):
        (tmp_path / name).write_text(code)
        with pytest.raises(ValueError, match=r"A recipe is a function in a \.py file, got '.*evil"):
            load_recipe(f"{tmp_path / name}:run")
    assert not canary.exists()
    (tmp_path / "evil.py").write_text(code)
    with pytest.raises(ValueError, match="must return a TrainConfig, not NoneType"):
        load_recipe(f"{tmp_path / 'evil.py'}:run")
    assert canary.exists()  # so this test would have seen it


def test_what_a_recipe_raises_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def run():\n    raise KeyError('a\\nb\\x1b[31m')\n")
    with pytest.raises(ValueError, match=r"bad\.py, line 2: KeyError") as caught:
        load_recipe(f"{path}:run")
    assert str(caught.value).isprintable()
    path.write_bytes(b"\0\1\2")
    with pytest.raises(ValueError, match=r"bad\.py, line .*null bytes"):
        load_recipe(f"{path}:run")


def test_no_setting_of_a_run_folder_makes_a_python_file_run(tmp_path: Path) -> None:
    """The settings that are names of files or of things are given to all that takes them."""
    canary, evil = tmp_path / "canary", tmp_path / "evil.py"
    evil.write_text(f"from pathlib import Path\nPath({str(canary)!r}).touch()\ndef run(): pass\n")
    for value in (str(evil), f"{evil}:run"):
        said = {"data": {"source": value}, "model": {"name": value, "weights": value}}
        (tmp_path / "config.json").write_text(json.dumps(said))
        config = read_config(tmp_path / "config.json")
        with pytest.raises(ValueError, match=r"evil\.py.*give a folder of class folders"):
            open_source(config.data.source)
        with pytest.raises(ValueError, match=r"There is no model named '.*evil\.py"):
            create_model(config.model.name)
        with pytest.raises(ValueError, match=r"evil\.py: weights are \.safetensors|no such file"):
            create_model("small_3d", weights=config.model.weights)
    assert not canary.exists()


def test_read_json_has_a_limit_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"a": [1.5, true, null, "\\u00fc"]}')
    assert read_json(path) == {"a": [1.5, True, None, "ü"]}
    with pytest.raises(ValueError, match=r"result\.json is larger than 10 bytes, which is the l"):
        read_json(path, largest=10)
