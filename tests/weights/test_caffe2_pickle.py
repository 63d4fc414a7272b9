"""Pickles of NumPy arrays: as Python 2 wrote them, as Python 3 does, damaged, and hostile."""

import io
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from praxino.weights.caffe2_pickle import read_pickle
from praxino.weights.reading import read_state

# --- Python 2's words ----------------------------------------------------------------------------


def text(content: bytes) -> bytes:
    """A `str` of Python 2."""
    if len(content) < 256:
        return b"U" + bytes([len(content)]) + content
    return b"T" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def python2_array(array: np.ndarray, order: bytes = b"<") -> bytes:
    """`array.__reduce__()` as cPickle of Python 2.7 writes it in protocol 2."""
    code, columns = array.dtype.str[1:].encode(), array.flags.f_contiguous and array.ndim > 1
    out = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R("
    out += b"K\x01(" + b"".join(map(number, array.shape)) + b"t"
    out += b"cnumpy\ndtype\n" + text(code) + b"K\0K\x01\x87R("
    out += b"K\x03" + text(order) + b"NNN" + number(-1) + number(-1) + b"K\0tb"
    out += b"\x89" if not columns else b"\x88"
    raw = array.tobytes(order="F" if columns else "C")
    return out + text(raw if order != b">" else array.byteswap().tobytes()) + b"tb"


def python2(blobs: dict[str, bytes]) -> bytes:
    """`pickle.dumps({"blobs": {...}, "cfg": "..."}, pickle.HIGHEST_PROTOCOL)`."""
    out = b"\x80\x02}q\x01(U\x05blobsq\x02}q\x03("
    for name, value in blobs.items():
        out += text(name.encode()) + value
    return out + b"uU\x03cfgU\x07A: b\xe9\nau."


RNG = np.random.default_rng(0)
ARRAYS = {
    "conv1_w": RNG.standard_normal((4, 3, 1, 2)).astype("f4"),
    "conv1_bn_s": RNG.standard_normal(300).astype("f4"),
    "columns": np.asfortranarray(RNG.standard_normal((3, 2))),
    "lr": np.array(0.1),
    "model_iter": np.array([90_000]),
    "i4": np.arange(3, dtype="i4"),
    "half": np.ones(2, "f2"),
    "none": np.zeros((0, 3), "f4"),
}


def assert_same(found: dict[str, torch.Tensor], arrays: dict[str, np.ndarray] = ARRAYS) -> None:
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert np.array_equal(found[name].numpy(), array), name
        assert found[name].numpy().dtype == array.dtype.newbyteorder("=")


def test_what_python_2_wrote_is_read(tmp_path: Path) -> None:
    content = python2({name: python2_array(array) for name, array in ARRAYS.items()})
    python3 = pickle.loads(content, encoding="latin-1")["blobs"]
    assert_same({name: torch.from_numpy(array.copy()) for name, array in python3.items()})
    assert_same(read(content))
    (tmp_path / "SLOWFAST_8x8_R50.pkl").write_bytes(content)
    assert_same(read_state(tmp_path / "SLOWFAST_8x8_R50.pkl"))


def read(content: bytes) -> Any:
    return read_pickle(io.BytesIO(content))["blobs"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_python_3_writes_is_read(protocol: int) -> None:
    arrays = {name: array for name, array in ARRAYS.items() if protocol > 2 or name != "none"}
    saved = {"blobs": arrays | {"scalar": np.float32(2.5)}, "more": [(1, 2.5, None), True, 2**80]}
    found = read_pickle(io.BytesIO(pickle.dumps(saved, protocol)))
    assert found["blobs"].pop("scalar") == torch.tensor(2.5)
    assert_same(found["blobs"], arrays)
    assert found["more"] == [(1, 2.5, None), True, 2**80]


def test_an_array_under_two_names_is_read_twice() -> None:
    array = np.arange(3.0)
    content = pickle.dumps({"blobs": {"a": array, "b": array}}, protocol=2)
    assert_same(read(content), {"a": array, "b": array})


def test_big_endian_numbers_are_turned() -> None:
    array = np.arange(5, dtype="f4")
    assert_same(read(python2({"a": python2_array(array, order=b">")})), {"a": array})


def test_the_port_of_c3d_is_an_old_file_of_pytorch(tmp_path: Path) -> None:
    """`c3d.pickle` is what `torch.save` wrote before its files were zip files."""
    state = {"conv1.weight": torch.ones(2, 3), "conv1.bias": torch.zeros(2)}
    torch.save(state, tmp_path / "c3d.pickle", _use_new_zipfile_serialization=False)
    found = read_state(tmp_path / "c3d.pickle")
    assert found.keys() == state.keys()
    assert torch.equal(found["conv1.weight"], state["conv1.weight"])


# --- what is refused -----------------------------------------------------------------------------

ONE = python2({"a": python2_array(np.ones(2, "f4"))})
START = b"\x80\x02"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a call": (START + b"cos\nsystem\nU\x04true\x85R.", r"it asks to run os\.system; only tensors"),
    "an old call": (START + b"(U\x04trueios\nsystem\n.", "it holds the instruction INST"),
    "an object": (START + b"cos\nsystem\n)\x81.", "it holds the instruction NEWOBJ"),
    "another object": (START + b"(cos\nsystem\no.", "it holds the instruction OBJ"),
    "a name on the stack": (b"\x80\x04\x8c\x02os\x8c\x06system\x93)R.", r"it asks to run os\.syst"),
    "an extension": (START + b"\x82\x01.", "it holds the instruction EXT1|no whole pickle"),
    "a persistent name": (START + b"U\x01aQ.", "it holds the instruction BINPERSID"),
    "a buffer": (b"\x80\x05\x97.", "it holds the instruction NEXT_BUFFER"),
    "a set": (b"\x80\x04\x8f.", "it holds the instruction EMPTY_SET"),
    "NumPy's own pickle": (
        START + b"cnumpy\nload\nU\x04file\x85R.",
        r"it asks to run numpy\.load; only tensors",
    ),
    "a long name": (START + b"cos\n" + b"x" * 10**5 + b"\n)R.", r"it asks to run os\.x{97};"),
    "state of a text": (START + b"U\x01a}b.", "it sets the state of something that is no array"),
    "state of a name": (START + b"cos\nenviron\n}b.", "it sets the state of something that is no"),
    "objects": (ONE.replace(b"U\x02f4", b"U\x02O8"), "it holds an array of NumPy's type 'O8'"),
    "records": (ONE.replace(b"U\x02f4", b"U\x02V4"), "it holds an array of NumPy's type 'V4'"),
    "texts": (ONE.replace(b"U\x02f4", b"U\x02S4"), "it holds an array of NumPy's type 'S4'"),
    "byte order": (ONE.replace(b"U\x01<", b"U\x01x"), "it holds an array of the byte order 'x'"),
    "too short": (ONE.replace(number(2), number(3)), r"of shape \(3,\) and f4 in 8 bytes"),
    "negative": (ONE.replace(number(2), number(-2)), r"of shape \(-2,\) and f4 in 8 bytes"),
    "no numbers": (ONE.replace(text(np.ones(2, "f4").tobytes()), b"N"), "an array without numbers"),
    "no shape": (ONE.replace(b"(" + number(2) + b"t", b"N"), "it is no whole pickle"),
    "never written down": (START + b"h\x05.", "it is no whole pickle"),
    "nothing": (START + b".", "it is no whole pickle"),
    "no mark": (START + b"t.", "it is no whole pickle"),
    "odd dict": (START + b"(U\x01ad.", "zip|no whole pickle"),
    "a list as a name": (START + b"}]Ns.", "it is no whole pickle"),
    "append to a text": (START + b"U\x01aNa.", "it is no whole pickle"),
    "not UTF-8": (START + b"X\x01\0\0\0\xff.", "utf-8"),
    "length of 2^31": (START + b"T\xff\xff\xff\x7fabc.", "expected 2147483647 bytes"),
    "length of 2^63": (b"\x80\x04\x8e" + b"\xff" * 8 + b"a.", "expected|maxsize|exceeds|bytes8"),
    "longest number": (START + b"\x8b\xff\xff\xff\x7f.", "expected|not enough data"),
    "unknown": (START + b"\xff.", "unknown"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_with_the_reason(name: str) -> None:
    content, message = HOSTILE[name]
    with pytest.raises(ValueError, match=message) as caught:
        read_pickle(io.BytesIO(content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_file_says_why_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(HOSTILE["a call"][0])
    with pytest.raises(
        ValueError, match=r"^a\.pkl cannot be read as weights: it asks to run os\.system; only tens"
    ):
        read_state(tmp_path / "a.pkl")


def test_what_holds_itself_is_read_in_a_moment(tmp_path: Path) -> None:
    """A dict whose `model` is itself, and a list that doubles forty times."""
    twins = b"]q\0" + b"".join(b"]q%c(h%ch%ce" % (n, n - 1, n - 1) for n in range(1, 40))
    (tmp_path / "a.pkl").write_bytes(START + b"}q\x50(U\x05modelh\x50U\x01b" + twins + b"u.")
    with pytest.raises(ValueError, match=r"^a\.pkl cannot be read as weights: "):
        read_state(tmp_path / "a.pkl")


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_a_pickle_cut_or_changed_at_any_byte() -> None:
    content = python2({"a": python2_array(np.ones((2, 2), "f4")), "b": python2_array(np.ones(1))})
    rng, refused = random.Random(0), 0
    for kept in range(len(content)):
        with pytest.raises(ValueError, match=r"."):
            read_pickle(io.BytesIO(content[:kept]))
    for at in range(len(content)):
        for _ in range(20):
            changed = content[:at] + rng.randbytes(1) + content[at + 1 :]
            try:
                read_pickle(io.BytesIO(changed))
            except ValueError:
                refused += 1
    assert refused > 2_000
