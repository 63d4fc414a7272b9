"""Weights made to harm: nothing runs, nothing is half loaded, nothing asks for much memory."""

import json
import random
import resource
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import nn

from praxino.errors import EnvironmentFault
from praxino.models import MODELS, create_model, load_weights
from praxino.video.clip_spec import ClipSpec
from praxino.weights.checkpoint import Card, load_model, read_card, save_model, weights_hash
from praxino.weights.fitting import differences, load_strict
from praxino.weights.reading import read_state
from praxino.weights.safetensors_header import DTYPES, LARGEST_HEADER, load_tensors, read_header


def framed(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with the header as it is."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def one(name: str = "a", dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> bytes:
    """A file of one tensor and eight bytes of data."""
    said = {name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
    return framed(json.dumps(said).encode(), bytes(8))


def two(first: tuple[int, int], second: tuple[int, int], size: int) -> bytes:
    said = {
        name: {"dtype": "U8", "shape": [end - start], "data_offsets": [start, end]}
        for name, (start, end) in (("a", first), ("b", second))
    }
    return framed(json.dumps(said).encode(), bytes(size))


ENTRY = '"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}'
MORE = ENTRY.replace('"shape"', '"x": 1, "shape"').join("{}").encode()
DEEP = "[" * 100_000 + "]" * 100_000

HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it has 0 bytes, of 8 that tell the length of its header"),
    "seven bytes": (b"\0" * 7, "it has 7 bytes, of 8 that tell the length of its header"),
    "no header": (framed(b""), r"its header starts with b'', not with '\{'"),
    "header of 2^63 bytes": (framed(b"{}", length=2**63), r"would have 9,223,372,036,854,775,808"),
    "header of 2^64 - 1 bytes": (framed(b"{}", length=2**64 - 1), "would have 18,446,744"),
    "header of 100 MB and one": (framed(b"{}", length=100_000_001), "limit is 4,000,000"),
    "header longer than the file": (framed(b"{}", length=3), "has 3 bytes, the file only 10"),
    "a list": (framed(b"[]"), r"starts with b'\[\]'"),
    "a space first": (framed(b" {}"), r"starts with b' \{\}'"),
    "not UTF-8": (framed(b'{"\xff": 1}'), "line 1: the byte 0xff is not UTF-8"),
    "not JSON": (framed(b"{a: 1}"), "the header is not JSON: Expecting property name"),
    "JSON and more": (framed(b"{}{}"), "the header is not JSON: Extra data"),
    "a name twice": (framed(f"{{{ENTRY}, {ENTRY}}}".encode(), b"x"), "'a' is there twice"),
    "deep": (framed(f'{{"a": {DEEP}}}'.encode()), "is nested too deeply"),
    "deep shape": (framed(f'{{"a": {{"shape": {DEEP}}}}}'.encode()), "is nested too deeply"),
    "5000 digits": (one(shape=None).replace(b"null", b"9" * 5000), "the number '999"),
    "NaN": (one(shape=(float("nan"),)), "NaN is not a number"),
    "metadata of numbers": (framed(b'{"__metadata__": {"a": 1}}'), "metadata is not an object of"),
    "metadata is a list": (framed(b'{"__metadata__": []}'), "metadata is not an object of texts"),
    "entry is a number": (framed(b'{"a": 1}'), "'a' has no dtype, shape and data_offsets"),
    "entry lacks offsets": (framed(b'{"a": {"dtype": "U8", "shape": []}}'), "'a' has no dtype, sh"),
    "entry with more": (framed(MORE), "'a' has no dtype, shape and data_offsets"),
    "unknown dtype": (one(dtype="F33"), "'a' has the unknown dtype 'F33'"),
    "dtype is a list": (one(dtype=["F32"]), r"'a' has the unknown dtype \['F32'\]"),
    "negative length": (one(shape=(-2,)), r"'a' has the impossible shape \[-2\]"),
    "length is true": (one(shape=(True,)), r"'a' has the impossible shape \[True\]"),
    "length is a fraction": (one(shape=(2.0,)), r"'a' has the impossible shape \[2\.0\]"),
    "a thousand axes": (one(shape=[1] * 1000), r"'a' has the impossible shape \[1, 1"),
    "shape overflows": (one(shape=(2**62, 4)), "fits into no memory"),
    "shape overflows to nothing": (one(shape=(2**62, 2**62, 0)), "fits into no memory"),
    "shape of 2^63": (one(shape=(2**63,)), "the number '9223372036854775808' does not fit"),
    "shape too large": (one(shape=(3,)), "and F32 takes 12 bytes, its data_offsets give it 8"),
    "three offsets": (one(offsets=(0, 8, 9)), "'a' has the impossible data_offsets"),
    "offsets backwards": (one(offsets=(8, 0)), "takes 8 bytes, its data_offsets give it -8"),
    "offsets behind the end": (one(offsets=(8, 16)), "starts at byte 8, not 0: it leaves a hole"),
    "overlapping": (two((0, 4), (2, 6), 6), "'b' starts at byte 2, not 4: it overlaps"),
    "the same bytes": (two((0, 4), (0, 4), 4), "'b' starts at byte 0, not 4: it overlaps"),
    "a hole": (two((0, 4), (5, 6), 6), "'b' starts at byte 5, not 4: it leaves a hole"),
    "bytes after the last": (two((0, 4), (4, 6), 7), "1 bytes follow the last tensor"),
    "cut": (two((0, 4), (4, 6), 5), "1 bytes are missing at its end"),
    "only bytes": (framed(b"{}", b"x"), "1 bytes follow the last tensor"),
    "a pickle": (b"\x80\x02" + b"x" * 20, "a PyTorch file under a wrong name; call it .pth"),
    "a zip": (b"PK\x03\x04" + b"x" * 20, "a PyTorch file under a wrong name; call it .pth"),
    "name with escapes": (one(name="\x1b[31m\n\u202e", dtype=1), r"'\\x1b\[31m\\n\\u202e' has the"),
    "long name": (one(name="x" * 100_000, dtype=1), r"'xxx.*\.\.\. has the unknown dtype 1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_the_tensor_and_the_reason(
    tmp_path: Path, name: str
) -> None:
    content, message = HOSTILE[name]
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    model = create_model("small_3d", num_classes=2)
    before = weights_hash(model)
    for read in (
        read_header,
        load_tensors,
        read_state,
        read_card,
        load_model,
        lambda path: load_weights(model, "small_3d", path),
    ):
        with pytest.raises(ValueError, match=r"net\.safetensors is ") as caught:
            read(path)
        said = str(caught.value)
        assert "\n" not in said
        assert len(said) < 700
        if content:  # an empty one is refused before it is looked at
            assert pytest.raises(ValueError, match=message).matches(caught.value)
    assert weights_hash(model) == before


def test_what_the_header_says_is_what_the_library_reads(tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    tensors = {
        name: torch.zeros(2, 0, 3) if name == "F32" else torch.ones(3, 2).to(dtype)
        for name, dtype in DTYPES.items()
    }
    save_file(tensors, path, {"said": "by us"})
    found, metadata = read_header(path)
    assert metadata == {"said": "by us"}
    read = load_file(path)
    assert {k: (v.shape, v.dtype) for k, v in found.items()} == {
        k: (v.shape, v.dtype) for k, v in read.items()
    }
    assert all(tensor.is_meta for tensor in found.values())


def test_a_header_of_any_size_is_read_in_moments(tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    entry = '"{}": {{"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}'
    count = LARGEST_HEADER // 70
    path.write_bytes(framed(("{" + ",".join(map(entry.format, range(count))) + "}").encode()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, _ = read_header(path)
    assert len(found) == count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """One file with one to three faults, most of them in its header."""
    length = struct.unpack("<Q", whole[:8])[0]
    content = bytearray(whole)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(8, max(9, min(8 + length, len(content))))
        match rng.randrange(8):
            case 0:
                content[at : at + 1] = rng.randbytes(1)
            case 1:
                content[at : at + 1] = [rng.choice(b'0123456789"{}[],:')]
            case 2:
                del content[at : at + rng.randint(1, 8)]
            case 3:
                content[at:at] = rng.choice(TOKENS)
            case 4:
                del content[rng.randrange(8, len(content) + 1) :]
            case 5:
                content[:8] = struct.pack("<Q", rng.choice([0, 1, length - 1, length + 1, 2**32]))
            case 6:
                content += rng.randbytes(rng.randint(1, 16))
            case 7:
                header = range(8, min(8 + length, len(content)))
                digits = [place for place in header if content[place] in b"0123456789"]
                if digits:
                    content[rng.choice(digits)] = rng.choice(b"0123456789")
    return bytes(content)


TOKENS = [b"null", b"true", b"-1", b"1e400", b"NaN", b'"a":', b"\\u0000", b"\xff", b"[[", b"9" * 25]


def test_ten_thousand_mutated_headers(tmp_path: Path) -> None:
    rng, path = random.Random(0), tmp_path / "net.safetensors"
    model = nn.Linear(3, 2)
    state = {name: value.detach() for name, value in model.state_dict().items()}
    card = {"praxino": json.dumps(asdict(CARD))}
    whole, before, said = save(state, card), weights_hash(model), []
    for _ in range(10_000):
        path.write_bytes(mutated(whole, rng))
        try:
            read_card(path)
            load_strict(model, load_tensors(path), str(path))
            before = weights_hash(model)
        except ValueError as error:
            said.append(str(error))
            assert weights_hash(model) == before
    assert all(str(path) in line and "\n" not in line for line in said)
    assert len(said) > 9000


# --- cards ---------------------------------------------------------------------------------------

CARD = Card(
    "small_3d", {"frames": 4, "size": 16}, ("a", "b"), ClipSpec(4, size=16, resize_short=16), {}
)


def with_card(path: Path, **changes: Any) -> Path:
    """A checkpoint that is right but for its card; a name with a dot leads into a part of it."""
    torch.manual_seed(0)
    save_model(path, create_model("small_3d", num_classes=2, **CARD.options), CARD)
    said = json.loads(json.dumps(asdict(CARD)))
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        if value is ...:
            del said[part]
        elif inner:
            said[part][inner] = value
        else:
            said[part] = value
    save_file(load_file(path), path, {"praxino": json.dumps(said)})
    return path


FRAMES = {"model": "early_fusion", "options": {"frames": 10**9}}
CARDS: list[tuple[dict[str, Any], str]] = [
    ({"model": 3}, "model must be text, got 3"),
    ({"model": "small_3e"}, "There is no model named 'small_3e'. Did you mean 'small_3d'"),
    ({"model": "../../etc/passwd"}, r"There is no model named '\.\./\.\./etc/passwd'"),
    ({"model": ...}, "model is missing"),
    ({"classes": ...}, "classes is missing"),
    ({"classes": "ab"}, "classes must be a list, each text, got 'ab'"),
    ({"classes": [1, 2]}, r"classes\[0\] must be text, got 1"),
    ({"classes": ["a", "a"]}, "names a class twice"),
    ({"classes": []}, "names no classes"),
    ({"classes": ["a", ""]}, "'' is not a class name"),
    ({"classes": ["a", " b"]}, "' b' is not a class name"),
    ({"classes": ["a", "b\n"]}, r"'b\\n' is not a class name"),
    ({"classes": ["a", "\x1b[31m"]}, r"'\\x1b\[31m' is not a class name"),
    ({"classes": ["a", "\ud800"]}, r"'\\ud800' is not a class name"),
    ({"classes": ["a", "b\0"]}, r"classes\[1\] must be text, got 'b\\x00'"),
    (
        {"classes": [str(k) for k in range(10**6)]},
        "header would have 11,891,496 bytes, the limit",
    ),
    ({"classes": [str(k) for k in range(150_000)]}, "model card is larger than 1,000,000 bytes"),
    (
        {"classes": [str(k) for k in range(10**5)]},
        r"head\.weight is \(2, 128\), the model has \(10",
    ),
    ({"options": []}, r"options must be an object, got \[\]"),
    ({"options": {"weights": "/etc/passwd"}}, "small_3d has no option 'weights'"),
    ({"options": {"num_classes": 2}}, "small_3d has no option 'num_classes'"),
    ({"options": {"name": "c3d"}}, "small_3d has no option 'name'"),
    ({"options": {"frame": 4}}, "no option 'frame'. Did you mean 'frames'"),
    ({"options": {"frames": "4"}}, "options.frames must be a whole number, got '4'"),
    ({"options": {"frames": True}}, "options.frames must be a whole number, got True"),
    ({"options": {"frames": 4.0}}, r"options.frames must be a whole number, got 4\.0"),
    ({"options": {"frames": 0}}, "describes no model: .*frames must be above 0, got 0"),
    ({"options": {"frames": 10**9}}, "clips of 1000000000 frames, 64 pixels .* are too large"),
    ({"options": {"size": 10**6}}, "clips of 16 frames, 1000000 pixels .* are too large"),
    (FRAMES, "clips of 1000000000 frames, 256 pixels .* are too large"),
    (FRAMES | {"options": {"frames": 2**62}}, "its card describes no model: early_fusion cannot"),
    ({"model": "late_fusion_fc", "options": {"hidden": 2**62}}, "cannot be built with .*hidden=46"),
    ({"model": "late_fusion_fc", "options": {"hidden": 10**8}}, "does not fit LateFusionFc, "),
    ({"model": "late_fusion_pool", "options": {"hidden": -3}}, "cannot be built with .*hidden=-3"),
    (
        {"model": "late_fusion_pool", "options": {"pool": "avg"}},
        "options.pool must be 'average' or",
    ),
    ({"model": "single_frame", "options": {"backbone": "vit_h_14"}}, "does not fit SingleFrame, "),
    ({"model": "single_frame", "options": {"backbone": "../x"}}, "no image network named '../x'"),
    ({"clip_spec": [4]}, r"clip_spec must be settings of ClipSpec, got \[4\]"),
    ({"clip_spec__frames": -1}, r"ClipSpec\.frames must be above 0, got -1"),
    ({"clip_spec__frames": 10**9}, "clips of 1000000000 frames, 16 pixels"),
    ({"clip_spec__frames": 2**31}, "clips of 2147483648 frames"),
    ({"clip_spec__frames": None}, "clip_spec.frames must be a whole number, got None"),
    ({"clip_spec__resize_short": 10**6}, "clips of 4 frames, 1000000 pixels"),
    ({"clip_spec__frames": 1, "clip_spec__resize_short": 2049}, "clips of 1 frames, 2049 pixels"),
    ({"clip_spec__size": 17}, "A crop of size=17 does not fit"),
    ({"clip_spec__frames_per_second": float("nan")}, "NaN is not a number"),
    ({"clip_spec__frames_per_second": -5.0}, r"frames_per_second must be above 0, got -5\.0"),
    ({"clip_spec__mean": [0.5]}, "mean"),
    ({"clip_spec__std": [0.5, 0.0, 0.5]}, "std"),
    ({"clip_spec__mean": ["0.5"] * 3}, r"clip_spec\.mean\[0\] must be a number, got '0\.5'"),
    ({"clip_spec__fit": "crop it"}, "clip_spec.fit must be 'crop' or 'stretch', got 'crop it'"),
    ({"clip_spec__inputs": ["sound"]}, "Unknown input 'sound'"),
    ({"clip_spec__inputs": []}, "inputs"),
    ({"clip_spec__size_": 16}, "ClipSpec has no setting 'size_'. Did you mean 'size'"),
    ({"notes": 3}, "notes must be an object, got 3"),
    ({"notes": {"span_seconds": "long"}}, "span_seconds"),
    ({"notes": {"span_seconds": -1.0}}, "span_seconds"),
    ({"recipe": "evil.py:run"}, "Card has no setting 'recipe'"),
]


@pytest.mark.parametrize(("changes", "message"), CARDS, ids=lambda value: str(value)[:40])
def test_hostile_cards_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = with_card(tmp_path / "net.safetensors", **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_the_unchanged_card_is_accepted(tmp_path: Path) -> None:
    model = load_model(with_card(tmp_path / "net.safetensors"))
    assert model.card == CARD
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize("card", ["", "3", "null", "[]", '"card"', "{", DEEP, "{}", '{"model": 1}'])
def test_a_card_that_is_no_card(tmp_path: Path, card: str) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"praxino": card})
    with pytest.raises(ValueError, match=r"net\.safetensors, model card") as caught:
        read_card(path)
    assert "\n" not in str(caught.value)


# --- weights of something else -------------------------------------------------------------------


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(1)
    return create_model("small_3d", num_classes=3)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "missing": (lambda s: {k: v for k, v in s.items() if k != "head.bias"}, "head.bias is missing"),
    "extra": (lambda s: s | {"more": torch.zeros(1)}, "1 differences: more is not in the model"),
    "shape": (
        lambda s: s | {"features.0.0.weight": torch.zeros(3)},
        r"features\.0\.0\.weight is \(3,\), the model has \(16, 3, 3, 5, 5\)",
    ),
    "transposed": (
        lambda s: s | {"head.weight": s["head.weight"].t().contiguous()},
        r"head\.weight is \(128, 3\), the model has \(3, 128\)",
    ),
    "whole numbers": (
        lambda s: s | {"head.weight": s["head.weight"].to(torch.int8)},
        r"head\.weight is torch\.int8, the model has torch\.float32",
    ),
    "complex": (
        lambda s: s | {"head.weight": s["head.weight"].to(torch.complex64)},
        r"head\.weight is torch\.complex64, the model has torch\.float32",
    ),
    "another model": (
        lambda s: create_model("toy_3d", num_classes=3).state_dict(),
        r"differences: features\.0\.0\.weight is missing; .*; and \d+ more$",
    ),
    "all counters, no weights": (
        lambda s: {k: v for k, v in s.items() if "num_batches" in k},
        "does not fit Small3d, 22 differences",
    ),
    "NaN": (
        lambda s: s | {"head.bias": torch.tensor([0.0, float("nan"), 1.0])},
        r"1 of 3 numbers in head\.bias are NaN or infinite",
    ),
    "infinite": (
        lambda s: s | {"features.0.1.running_var": torch.full((16,), float("inf"))},
        r"16 of 16 numbers in features\.0\.1\.running_var are NaN or infinite",
    ),
    "too large for its precision": (
        lambda s: s | {"head.bias": torch.full((3,), 1e300, dtype=torch.float64)},
        r"3 of 3 numbers in head\.bias are NaN or infinite",
    ),
    "a number for a bias": (lambda s: s | {"head.bias": torch.tensor(1.0)}, r"head\.bias is \(\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_weights_change_nothing(tmp_path: Path, small: nn.Module, name: str) -> None:
    change, message = WRONG[name]
    path, before = tmp_path / "net.safetensors", weights_hash(small)
    state = {k: v.contiguous() for k, v in change(dict(small.state_dict())).items()}
    save_file(state, path, {"praxino": json.dumps(asdict(CARD) | {"classes": list("abc")})})
    roads: list[Callable[[], object]] = [
        lambda: load_model(path),
        lambda: load_strict(small, state, str(path)),
        lambda: load_weights(small, "small_3d", path),
        lambda: create_model("small_3d", num_classes=3, weights=path),
    ]
    for road in roads:
        with pytest.raises(ValueError, match=message) as caught:
            road()
        assert "net.safetensors" in str(caught.value)
        assert str(caught.value).count(";") <= 10  # ten differences, and how many more
    assert weights_hash(small) == before


# All models of a class have the same layouts: one of each is enough.
CLASSES = {get_type_hints(row.build)["return"]: name for name, row in MODELS.items()}


@pytest.mark.parametrize("name", CLASSES.values())
def test_no_layout_stumbles_over_weights_of_something_else(tmp_path: Path, name: str) -> None:
    path, rng = tmp_path / "net.safetensors", np.random.default_rng(0)
    with torch.device("meta"):  # names and shapes are enough to refuse what does not fit
        model: Any = create_model(name, num_classes=160)
    before = model.head
    heads = ["fc", "classifier", "head", "heads", "classifier.6", "cls_head.fc_cls", "backbone.fc6"]
    for _ in range(6):
        state = {
            f"{rng.choice(heads)}.{leaf}": torch.zeros(tuple(rng.integers(0, 3, rng.integers(4))))
            for leaf in ("weight", "bias", "1.weight")
        }
        state |= {"conv1.weight": torch.zeros(2), "features.0.0.weight": torch.zeros(())}
        save_file(state, path)
        for keep_head in (False, True):
            with pytest.raises(ValueError, match=r"^net\.safetensors does not fit "):
                load_weights(model, name, path, keep_head=keep_head)
            assert model.head is before


def test_differences_can_be_found_without_numbers() -> None:
    with torch.device("meta"):
        model, state = nn.Linear(2, 3), nn.Linear(3, 3).half().state_dict()
    assert differences(model, state) == ["weight is (3, 3), the model has (3, 2)"]


# --- the child that reads pickles ----------------------------------------------------------------

CONFINED = """
import ctypes, os, resource, shutil, socket, subprocess, sys
from praxino.weights.unpickling import confine
confine(1000)
attempts = {
    "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
    "look up": lambda: socket.getaddrinfo("localhost", 80),
    "shell": lambda: os.system("touch canary"),
    "program": lambda: subprocess.Popen(["touch", "canary"]),
    "spawn": lambda: os.posix_spawn("/usr/bin/touch", ["touch", "canary"], {}),
    "become": lambda: os.execv("/usr/bin/touch", ["touch", "canary"]),
    "fork": lambda: os.fork(),
    "kill": lambda: os.kill(os.getppid(), 0),
    "write": lambda: open("canary", "w"),
    "read": lambda: open("kept"),
    "append": lambda: open("kept", "a"),
    "write lower": lambda: os.open("canary", os.O_CREAT | os.O_RDWR),
    "remove": lambda: os.remove("kept"),
    "rename": lambda: os.rename("kept", "canary"),
    "mode": lambda: os.chmod("kept", 0),
    "tree": lambda: shutil.rmtree("."),
    "library": lambda: ctypes.CDLL(None),
    "memory": lambda: bytearray(2 << 30),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name, "ALLOWED")
    except (PermissionError, MemoryError) as error:
        print(name, "refused", error)
limits = (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
print(*(resource.getrlimit(limit)[1] for limit in limits))
"""


def test_the_reader_of_pickles_can_do_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    done = subprocess.run(
        [sys.executable, "-c", CONFINED], cwd=tmp_path, capture_output=True, text=True
    )
    *attempts, limits = done.stdout.splitlines()
    assert len(attempts) == 18, done.stderr
    assert all(" refused" in line for line in attempts), attempts
    assert "shell refused it asks for os.system; only tensors are read" in attempts
    assert limits == "120 0 0"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_small_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match=r"bomb\.pth cannot be read as weights: it wants far more"):
        read_state(tmp_path / "bomb.pth")


def test_a_small_file_cannot_ask_for_much_room(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**6)}, tmp_path / "large.pth")
    with pytest.raises(ValueError, match=r"large\.pth cannot be .*: it wants far more memory than"):
        read_state(tmp_path / "large.pth")


class Opens:
    """Unpickled without `weights_only`, it reads a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path,)


HOLE = """
import sys, torch
from praxino.weights import unpickling
real = torch.load
torch.load = lambda *a, **k: real(*a, **(k | {"weights_only": False}))  # as if it had a hole
try:
    unpickling.convert(*sys.argv[1:])
except Exception as error:
    sys.exit(unpickling._refusal(error))
"""


def test_a_hole_in_torch_load_opens_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    torch.save({"a": Opens(str(tmp_path / "secret"))}, tmp_path / "a.pth")
    command = [sys.executable, "-c", HOLE, str(tmp_path / "a.pth"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.strip() == "it asks for a file; only tensors are read"


@pytest.mark.slow
def test_a_zip_bomb_is_bounded(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(4)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for entry in plain.infolist():
            with bomb.open(entry.filename, "w") as member:
                if entry.filename.endswith("/data/0"):
                    for _ in range(1300):
                        member.write(bytes(1 << 20))
                else:
                    member.write(plain.read(entry))
    assert (tmp_path / "bomb.pth").stat().st_size < 8_000_000
    with pytest.raises(ValueError, match=r"bomb\.pth cannot be read as weights: ") as caught:
        read_state(tmp_path / "bomb.pth")
    assert "\n" not in str(caught.value)


def test_a_torch_in_the_current_folder_is_not_the_one_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    for name in ("torch", "praxino", "safetensors", "json"):
        (tmp_path / f"{name}.py").write_text("open('canary', 'w')")
    monkeypatch.chdir(tmp_path)
    assert set(read_state("a.pth")) == {"a"}
    assert not (tmp_path / "canary").exists()


def test_the_reader_of_pickles_has_no_secrets_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    monkeypatch.setenv("ANY_TOKEN", "secret")
    environments: list[dict[str, str]] = []
    real = subprocess.run

    def run(*arguments: Any, **options: Any) -> Any:
        environments.append(options["env"])
        return real(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", run)
    read_state(tmp_path / "a.pth")
    (environment,) = environments
    assert "PYTHONPATH" in environment
    assert set(environment) <= {"PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME"}


def test_a_reader_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")

    def run(*arguments: Any, **options: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", run)
    message = r"^The process that reads a\.pth cannot be started: Resource temporarily unavailable"
    with pytest.raises(EnvironmentFault, match=message):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize("folder", ["full", "whole"])
def test_a_full_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    code = -signal.SIGBUS if folder == "full" else -signal.SIGSEGV
    died = subprocess.CompletedProcess("", code, b"", b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: died)
    if folder == "full":
        with pytest.raises(EnvironmentFault, match=r"There is no room to convert a\.pth in .*TMPD"):
            read_state(tmp_path / "a.pth")
    else:
        with pytest.raises(ValueError, match=r"a\.pth cannot be .*: the reader died \(-11\)"):
            read_state(tmp_path / "a.pth")


def test_a_reader_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    monkeypatch.setattr("praxino.weights.reading.CHILD_SECONDS", 0.01)
    with pytest.raises(ValueError, match=r"a\.pth cannot be .*: it takes longer than 0 s\.$"):
        read_state(tmp_path / "a.pth")
