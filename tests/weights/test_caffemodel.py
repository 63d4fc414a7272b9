"""Caffe models, written here from the description of the format; and damaged ones."""

import random
import re
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from praxino.weights.caffemodel import LONGEST_NAME, read_caffemodel
from praxino.weights.reading import read_state


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def floats(values: Iterable[float]) -> bytes:
    return b"".join(struct.pack("<f", value) for value in values)


def blob(tensor: Tensor) -> bytes:
    shape = field(1, b"".join(varint(length) for length in tensor.shape))
    return field(7, shape) + field(5, floats(tensor.flatten().tolist()))


def old_blob(tensor: Tensor) -> bytes:
    shape = (1, 1, 1, 1, *tensor.shape)[-4:]
    axes = b"".join(field(number, length) for number, length in enumerate(shape, start=1))
    return axes + field(5, floats(tensor.flatten().tolist()))


def layer(name: str, *blobs: bytes, kind: str = "Convolution") -> bytes:
    return field(
        100,
        field(1, name)
        + field(2, kind)
        + field(3, "data")  # bottom
        + b"".join(field(7, one) for one in blobs)
        + field(106, field(1, 64)),  # convolution_param
    )


WEIGHT, BIAS = torch.arange(24.0).view(2, 3, 2, 2) / 7, torch.tensor([-1.5, 2.5])
NET = (
    field(1, "a net")
    + layer("data", kind="Input")
    + layer("conv1", blob(WEIGHT), blob(BIAS))
    + layer("bn", blob(BIAS), blob(BIAS + 1), blob(torch.tensor([3.0])))
)
_LAST = layer("bn", blob(BIAS), blob(BIAS + 1), blob(torch.tensor([3.0])))[3:]  # without its tag


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.caffemodel"


def test_blobs_have_their_layers_names(path: Path) -> None:
    path.write_bytes(NET)
    found = read_state(path)
    assert list(found) == ["conv1.weight", "conv1.bias", "bn.weight", "bn.bias", "bn.2"]
    assert torch.equal(found["conv1.weight"], WEIGHT)
    assert torch.equal(found["conv1.bias"], BIAS)
    assert torch.equal(found["bn.2"], torch.tensor([3.0]))


def test_old_files_have_four_axes_and_other_fields(path: Path) -> None:
    matrix = torch.arange(6.0).view(2, 3)
    blobs = b"".join(field(6, old_blob(one)) for one in (matrix, BIAS))
    conv = b"".join(field(6, old_blob(one)) for one in (WEIGHT, BIAS))
    path.write_bytes(
        field(2, field(2, "pool5") + field(4, "fc8") + field(5, 14) + blobs)
        + field(2, field(4, "conv1") + conv)
    )
    found = read_caffemodel(path)
    assert torch.equal(found["fc8.weight"], matrix)
    assert torch.equal(found["fc8.bias"], BIAS)
    assert torch.equal(found["conv1.weight"], WEIGHT)


def test_numbers_may_come_one_by_one_and_in_double_precision(path: Path) -> None:
    single = b"".join(varint(5 << 3 | 5) + struct.pack("<f", value) for value in (1.0, 2.0))
    double = field(7, field(1, 2)) + field(8, struct.pack("<2d", 1 / 3, 2.0))
    path.write_bytes(layer("a", field(7, field(1, 2)) + single, double))
    found = read_caffemodel(path)
    assert found["a.weight"].tolist() == [1.0, 2.0]
    assert found["a.bias"].dtype == torch.float64
    assert found["a.bias"][0].item() == 1 / 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no layer in it holds numbers"),
        (layer("data", kind="Input"), "no layer in it holds numbers"),
        (
            NET[:-1],
            f"a field at byte {len(NET) - len(_LAST)} ends 1 bytes after what holds it",
        ),
        (NET + b"\xff", "it breaks off within a number"),
        (NET + b"\xff" * 11, f"a number before byte {len(NET) + 10} is too long"),
        (NET + b"\x0b", f"byte {len(NET)} begins a field of the unknown kind 3"),
        (NET + layer("bn", blob(BIAS)), "'bn.weight' is there twice"),
        (
            layer("a", field(7, field(1, 3)) + field(5, floats(BIAS))),
            "'a.weight' has 8 bytes, its shape (3,) needs 12",
        ),
        (
            layer("a", field(7, field(1, 0)) + field(5, b"")),
            "'a.weight' has the impossible shape (0,)",
        ),
        (
            layer("a", field(7, field(1, 2**40) + field(1, 2))),
            "'a.weight' has the impossible shape (1099511627776, 2)",
        ),
        (layer("a", field(7, field(1, b"\1" * 33))), "a blob has more than 32 axes"),
        (layer("x" * (LONGEST_NAME + 1)), "a layer's name has more than 1,000 bytes"),
        (field(100, field(1, b"\xff") + field(7, blob(BIAS))), r"the name b'\xff' is not UTF-8"),
    ],
)
def test_damaged_files_are_refused_in_a_line(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    expected = re.escape(f"net.caffemodel is not a whole Caffe model: {reason}.")
    with pytest.raises(ValueError, match=f"^{expected}$"):
        read_caffemodel(path)


def test_too_many_layers_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxino.weights.caffemodel.MOST_LAYERS", 2)
    path.write_bytes(NET)
    with pytest.raises(ValueError, match="it has more than 2 layers"):
        read_caffemodel(path)


def test_random_damage_is_an_error_or_a_state(path: Path) -> None:
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        content = bytearray(NET)
        for _ in range(rng.choice([1, 3])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.randrange(len(content))] if rng.random() < 0.3 else content)
        try:
            read_caffemodel(path)
        except ValueError:
            refused += 1
    assert 50 < refused < 300
