"""TensorFlow checkpoints, written here from the description of the format; and damaged ones."""

import random
import re
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from praxino.models import create_model
from praxino.weights import tensorflow_checkpoint as module
from praxino.weights.crc32c import crc32c
from praxino.weights.reading import holds_weights, read_state
from praxino.weights.tensorflow_checkpoint import files_of, read_checkpoint

# --- a writer ------------------------------------------------------------------------------------

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FLOAT, DOUBLE, INT32, TEXT, INT64, BFLOAT16, HALF = 1, 2, 3, 7, 9, 14, 19


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def masked(content: bytes) -> int:
    checksum = crc32c(content)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) % 2**32


def header(files: int = 1, big_endian: int = 0, needs: int = 0) -> bytes:
    version = field(1, 1) + (field(2, needs) if needs else b"")
    return field(1, files) + (field(2, big_endian) if big_endian else b"") + field(3, version)


def entry(
    kind: int,
    shape: tuple[int, ...],
    start: int,
    content: bytes,
    file: int = 0,
    size: int | None = None,
    checksum: int | None = None,
) -> bytes:
    axes = b"".join(field(2, field(1, length)) for length in shape)
    said = field(1, kind) + field(2, axes)
    said += field(3, file) if file else b""
    said += field(4, start) if start else b""
    said += field(5, len(content) if size is None else size)
    return said + varint(6 << 3 | 5) + struct.pack("<I", checksum or masked(content))


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Entries, each of which leaves out what its key shares with the one before it."""
    out, last, restarts = b"", b"", []
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % 16 == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(blocks: list[bytes], pack: Callable[[bytes], bytes] | None = None) -> bytes:
    """A file of data blocks, an empty metaindex, the index of blocks, and the footer."""
    out, handles = b"", []

    def add(content: bytes) -> bytes:
        nonlocal out
        kind = b"\0"
        if pack is not None:
            content, kind = pack(content), b"\1"
        handle = varint(len(out)) + varint(len(content))
        out += content + kind + struct.pack("<I", masked(content + kind))
        return handle

    for number, content in enumerate(blocks):
        handles.append((f"key {number:05}".encode(), add(content)))
    footer = add(block([])) + add(block(handles))
    return out + footer.ljust(40, b"\0") + MAGIC


def index_of(entries: dict[bytes, bytes], **said: Any) -> bytes:
    found = sorted({b"": header(**said), **entries}.items())
    return table([block(found[at : at + 20]) for at in range(0, len(found), 20)])


TENSORS = {
    **{f"RGB/Conv3d_{n}/w": torch.arange(float(24 * n)).reshape(2, 3, 4, n) for n in range(1, 31)},
    "bf": torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
    "double": torch.tensor([[1 / 3]], dtype=torch.float64),
    "empty": torch.empty(0, 3),
    "half": torch.tensor([0.1], dtype=torch.float16),
    "i4": torch.tensor([[1, -2]], dtype=torch.int32),
    "step": torch.tensor(2**40),
}
KINDS = {
    torch.float32: FLOAT,
    torch.float64: DOUBLE,
    torch.int32: INT32,
    torch.int64: INT64,
    torch.bfloat16: BFLOAT16,
    torch.float16: HALF,
}


def write_checkpoint(
    folder: Path, tensors: dict[str, torch.Tensor] = TENSORS, files: int = 1
) -> Path:
    """`folder/model.ckpt`, as TensorFlow's saver writes it."""
    folder.mkdir(exist_ok=True)
    entries, data = {}, [b""] * files
    for number, (name, tensor) in enumerate(sorted(tensors.items())):
        file, flat = number % files, tensor.contiguous().reshape(-1)
        content = flat.view(torch.uint8).numpy().tobytes()
        entries[name.encode()] = entry(
            KINDS[tensor.dtype], tuple(tensor.shape), len(data[file]), content, file
        )
        data[file] += content
    (folder / "model.ckpt.index").write_bytes(index_of(entries, files=files))
    for file, content in enumerate(data):
        (folder / f"model.ckpt.data-{file:05}-of-{files:05}").write_bytes(content)
    (folder / "model.ckpt.meta").write_bytes(b"a graph, which is not read")
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"')
    return folder / "model.ckpt"


def assert_same(found: dict[str, torch.Tensor]) -> None:
    assert list(found) == sorted(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


# --- what can be read ----------------------------------------------------------------------------


@pytest.mark.parametrize("files", [1, 3])
def test_all_variables_are_read_however_the_checkpoint_is_named(tmp_path: Path, files: int) -> None:
    name = write_checkpoint(tmp_path / "rgb", files=files)
    for path in (
        name,
        tmp_path / "rgb",
        tmp_path / "rgb" / "model.ckpt.index",
        tmp_path / "rgb" / "model.ckpt.meta",
        tmp_path / "rgb" / f"model.ckpt.data-00000-of-{files:05}",
    ):
        assert holds_weights(path)
        assert_same(read_state(path))


def test_what_tensorflow_wrote_is_read(tmp_path: Path, from_tensorflow: dict[str, bytes]) -> None:
    for name, content in from_tensorflow.items():
        (tmp_path / name).write_bytes(content)
    found = read_state(tmp_path)
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in found.items()} == {
        "RGB/Conv3d_1a_7x7/batch_norm/beta": (torch.float32, [[0.5, -1.5, 2.0]]),
        "RGB/Conv3d_1a_7x7/conv_3d/w": (torch.float32, [[[[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]]]]),
        "bf": (torch.bfloat16, [1.5, -2.25]),
        "step": (torch.int64, 90_000),
    }


def test_several_blocks_and_shared_names() -> None:
    tensors = {f"a/very/long/name/{n}".encode(): b"x" for n in range(100)}
    content = index_of(tensors)
    assert dict(module._entries(content)).keys() == {b"", *tensors}
    assert len(content) < sum(map(len, tensors))


def test_texts_are_left_out(tmp_path: Path) -> None:
    said = {
        b"_CHECKPOINTABLE_OBJECT_GRAPH": entry(TEXT, (), 0, b"\x05graph"),
        b"v": entry(FLOAT, (1,), 6, struct.pack("<f", 2.5)),
    }
    (tmp_path / "a.index").write_bytes(index_of(said))
    (tmp_path / "a.data-00000-of-00001").write_bytes(b"\x05graph" + struct.pack("<f", 2.5))
    assert read_state(tmp_path / "a") == {"v": torch.tensor([2.5])}


def snappy(content: bytes) -> bytes:
    """As they are, but for runs of one byte and one repeated piece."""
    out, at = varint(len(content)), 0
    while at < len(content):
        run = 1
        while at + run < len(content) and content[at + run] == content[at] and run < 60:
            run += 1
        length = run if run < 5 else 1
        piece = content[at : at + length]
        if length <= 2:
            out += bytes([length - 1 << 2]) + piece
        else:
            out += bytes([60 << 2, length - 1]) + piece
        at += length
        if run >= 5 and run - 1 < 12:
            out += bytes([run - 1 - 4 << 2 | 1, 1])
        elif run >= 5 and run % 2:
            out += bytes([run - 2 << 2 | 2, 1, 0])
        elif run >= 5:
            out += bytes([run - 2 << 2 | 3, 1, 0, 0, 0])
        at += run - length
    return out


def test_packed_blocks_are_unpacked(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    path = tmp_path / "model.ckpt.index"
    entries = sorted(module._entries(path.read_bytes()))
    path.write_bytes(table([block(entries)], pack=snappy))
    assert_same(read_state(path))
    text = bytes(300) + b"abcabcabcabc" + b"x" * 10 + b"y" * 7
    assert module._unsnapped(snappy(text)) == text
    # "abc", then 9 bytes from 3 before: a copy that runs into itself
    assert module._unsnapped(bytes([12, 2 << 2]) + b"abc" + bytes([9 - 4 << 2 | 1, 3])) == (
        b"abcabcabcabc"
    )


@pytest.mark.parametrize(
    ("content", "checksum"),
    [
        # RFC 3720, appendix B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_known_checksums(content: bytes, checksum: int) -> None:
    assert crc32c(content) == checksum


def test_a_checksum_is_that_of_one_byte_after_the_other() -> None:
    def slowly(content: bytes) -> int:
        crc = 0xFFFFFFFF
        for byte in content:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    content = np.random.default_rng(0).bytes(4200)
    for length in (*range(70), 255, 256, 257, 4095, 4096, 4097, 4200):
        assert crc32c(content[:length]) == slowly(content[:length])


def test_a_model_is_built_from_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("small_3d", num_classes=3, frames=4, size=16)
    name = write_checkpoint(tmp_path, dict(model.state_dict()))
    loaded = create_model("small_3d", weights=name, frames=4, size=16)
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())


# --- what is no checkpoint -----------------------------------------------------------------------


def test_a_folder_of_several_checkpoints(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "other.ckpt.index").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds 2 TensorFlow checkpoints: model\.ckpt\.index, ot"):
        read_state(tmp_path)


def test_paths_that_mean_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.ckpt")
    assert set(read_state(tmp_path / "model.ckpt")) == {"a"}
    for path in (tmp_path, tmp_path / "none", tmp_path / "none.index", Path("/")):
        assert files_of(path) == {}
        with pytest.raises(ValueError, match="There is no weights file"):
            read_state(path)
        assert not holds_weights(path)
    # TensorFlow's files beside a file of PyTorch with the common name are not meant by that name.
    assert_same(read_state(write_checkpoint(tmp_path).with_suffix(".ckpt.index")))
    assert files_of(tmp_path / "model.ckpt") == {}


FOUR = struct.pack("<2f", 1.0, 2.0)


def one(kind: int = FLOAT, shape: tuple[int, ...] = (2,), start: int = 0, **said: Any) -> bytes:
    return index_of({b"v": entry(kind, shape, start, FOUR, **said)})


def with_root(root: bytes) -> bytes:
    """A table whose index of blocks is this."""
    content = block([])
    packed = content + b"\0" + struct.pack("<I", masked(content + b"\0"))
    start = len(packed)
    packed += root + b"\0" + struct.pack("<I", masked(root + b"\0"))
    footer = varint(0) + varint(len(content)) + varint(start) + varint(len(root))
    return packed + footer.ljust(40, b"\0") + MAGIC


def twice(name: bytes) -> bytes:
    said = entry(FLOAT, (2,), 0, FOUR)
    return table([block([(b"", header()), (b"v", said), (name, said)])])


def packed(content: bytes) -> bytes:
    return table([b"x"], pack=lambda _: content)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "footer alone": (bytes(40) + MAGIC, "the checksum of its block at byte 0 is wrong"),
    "an empty block": (with_root(b""), "a block of 0 bytes has 0 restarts"),
    "no magic": (bytes(48), "does not end as an index does"),
    "short": (MAGIC, "does not end as an index does"),
    "too large": (bytes(module.LARGEST_INDEX) + MAGIC, r"4,000,008 bytes, the limit is 4,000,000"),
    "handle without end": (b"\xff" * 40 + MAGIC, "a number does not fit into 64 bits"),
    "handle of 2^64": (b"\xff" * 9 + b"\x02" + bytes(30) + MAGIC, "does not fit into 64 bits"),
    "block behind the end": (
        (varint(2**63) + varint(2**63) + b"\0\0").ljust(40, b"\0") + MAGIC,
        r"has 9,223,372,036,854,775,808 bytes, the file only 48",
    ),
    "wrong checksum": (one().replace(b"v", b"w"), "the checksum of its block at byte 0 is wrong"),
    "no header": (table([block([(b"v", entry(FLOAT, (2,), 0, FOUR))])]), "it has no header"),
    "no block": (with_root(block([])), "it has no header"),
    "a block twice": (
        with_root(block([(b"a", varint(0) + varint(8)), (b"b", varint(0) + varint(8))])),
        "its block at byte 0 overlaps the one before it",
    ),
    "many restarts": (with_root(b"\xff" * 4), "a block of 4 bytes has 4,294,967,295 restarts"),
    "no restarts": (with_root(b"\0"), "a block of 1 bytes has 0 restarts"),
    "shares too much": (with_root(b"\x05\0\0" + bytes(4)), "an entry reaches out of its block"),
    "value too long": (with_root(b"\0\0\x7f" + bytes(4)), "an entry reaches out of its block"),
    "cut entry": (with_root(b"\0\x80" + bytes(4)), "an entry reaches out of its block"),
    "huge lengths": (
        with_root(b"\0" + varint(2**63) + varint(2**63) + bytes(4)),
        "an entry reaches out of its block",
    ),
    "long name": (twice(b"w" * 1001), "a name has 1,001 bytes, the limit is 1,000"),
    "a name twice": (twice(b"v"), "the name b'v' is there twice or out of order"),
    "out of order": (twice(b"a"), "the name b'a' is there twice or out of order"),
    "name is no text": (twice(b"\xff"), r"the name b'\\xff' is not UTF-8"),
    "slices": (index_of({b"\0\1v": b""}), "it holds variables in slices; save each in one piece"),
    "big-endian": (index_of({}, big_endian=1), "its numbers are big-endian"),
    "of the future": (index_of({}, needs=2), "it needs a newer reader of checkpoints"),
    "no files": (index_of({}, files=0), "it would have 0 data files"),
    "many files": (index_of({}, files=2**40), "it would have 1,099,511,627,776 data files"),
    "two files": (index_of({}, files=2), r"model\.ckpt\.data-00000-of-00002 is not beside it"),
    "another file": (one(file=1), "'v' is in data file 1 of 1"),
    "unknown type": (one(kind=20), "'v' is of TensorFlow's type 20, which is not read"),
    "negative axis": (one(shape=(2**64 - 2,)), "'v' has the impossible shape"),
    "shape overflows": (one(shape=(2**62, 2**62, 0)), "'v' has the impossible shape"),
    "many axes": (one(shape=(1,) * 17), "'v' has the impossible shape"),
    "shape too large": (one(shape=(3,)), "'v' of shape (3,) takes 12 bytes, it is given 8"),
    "behind the end": (one(start=1), "'v' ends at byte 9, data file 0 at 8"),
    "far behind": (one(start=2**63), "'v' ends at byte 9,223,372,036,854,775,816"),
    "huge": (
        one(shape=(2**40,), size=2**42),
        "'v' ends at byte 4,398,046,511,104, data file 0 at 8",
    ),
    "wrong numbers": (one(checksum=1), "the checksum of 'v' is wrong"),
    "the same bytes": (twice(b"w"), "'w' shares bytes with the variable before it"),
    "a text for a number": (
        index_of({b"v": field(1, b"float")}),
        "a description of a variable is damaged",
    ),
    "a number for a shape": (index_of({b"v": field(2, 3)}), "a description of a variable is dam"),
    "cut description": (index_of({b"v": b"\x12\x05a"}), "a description of a variable is damaged"),
    "a group": (index_of({b"v": b"\x0b"}), "a description of a variable is damaged"),
    "packed bomb": (packed(varint(2**32)), "a block unpacks to 4,294,967,296 bytes, the limit"),
    "packed short": (packed(varint(9)), "a packed block does not unpack to the size it says"),
    "packed long": (
        packed(varint(1) + b"\x00a" + b"\xfe\x01\x00" * 50),
        "a packed block does not unpack to the size it says",
    ),
    "packed literal": (packed(varint(9) + b"\xfc\xff\xff\xff\xff"), "does not unpack to the size"),
    "packed before": (packed(varint(9) + b"\x00a\x02\x02\x00"), "refers to bytes before its start"),
    "packed nowhere": (packed(varint(9) + b"\x00a\x02\x00\x00"), "refers to bytes before its st"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_indexes_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    (tmp_path / "model.ckpt.index").write_bytes(content)
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(FOUR)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        ValueError,
        match=r"^model\.ckpt\.index is not a whole TensorFlow checkpoint: .*"
        + (message if "\\" in message else re.escape(message)),
    ) as caught:
        read_state(tmp_path / "model.ckpt")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_a_block_packed_in_an_unknown_way(tmp_path: Path) -> None:
    content = bytearray(with_root(block([])))
    end = content.index(struct.pack("<I", masked(block([]) + b"\0"))) - 1
    start = len(block([])) + 5
    content[start + len(block([]))] = 9
    fixed = masked(bytes(content[start : start + len(block([])) + 1]))
    content[start + end + 1 : start + end + 5] = struct.pack("<I", fixed)
    (tmp_path / "a.index").write_bytes(content)
    with pytest.raises(ValueError, match=rf"block at byte {start} is packed in the unknown way 9"):
        read_state(tmp_path / "a")


def test_more_variables_than_any_network_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_VARIABLES", 10)
    write_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="it names more than 10 variables"):
        read_state(tmp_path)


def test_blocks_that_unpack_to_much_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path)
    path = tmp_path / "model.ckpt.index"
    entries = sorted(module._entries(path.read_bytes()))
    parts = [block(entries[at : at + 9]) for at in range(0, len(entries), 9)]
    path.write_bytes(table(parts, pack=snappy))
    monkeypatch.setattr(module, "LARGEST_INDEX", path.stat().st_size - 300)
    with pytest.raises(ValueError, match=r"bytes, the limit is|its blocks unpack to more than"):
        read_state(tmp_path)


def test_data_that_is_missing_or_cut_at_any_byte(tmp_path: Path) -> None:
    name = write_checkpoint(tmp_path, {"a": torch.ones(3), "b": torch.ones(2)})
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    whole = data.read_bytes()
    for kept in range(len(whole)):
        data.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"ends at byte \d+, data file 0 at \d+|is empty\.$"):
            read_state(name)
    for at in range(len(whole)):
        data.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"the checksum of '[ab]' is wrong"):
            read_state(name)
    data.unlink()
    with pytest.raises(ValueError, match=r"data-00000-of-00001 is not beside it\.$"):
        read_state(name)


def outcome(name: Path) -> str:
    """Why a checkpoint is refused; nothing if it is not."""
    try:
        read_checkpoint(files_of(name))
    except ValueError as error:
        return str(error)
    return ""


def test_an_index_cut_or_changed_at_any_byte(tmp_path: Path) -> None:
    tensors = {"a/w": torch.ones(3), "b": torch.ones(2), "text": torch.ones(1)}
    name = write_checkpoint(tmp_path, tensors)
    index = tmp_path / "model.ckpt.index"
    whole = index.read_bytes()
    for kept in range(len(whole)):
        index.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"^model\.ckpt\.index (is not a whole Tens|is empty)"):
            read_state(name)
    footer = len(whole) - 48
    for at in range(len(whole)):
        for bit in range(8):
            index.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            said = outcome(name)
            assert said or at >= footer + 3  # what fills the footer up says nothing
            assert "\n" not in said


def test_two_thousand_checkpoints_with_right_checksums_and_wrong_words(tmp_path: Path) -> None:
    rng = random.Random(0)
    name = write_checkpoint(tmp_path, {"a/w": torch.ones(3), "b": torch.ones(2, 2)})
    index = tmp_path / "model.ckpt.index"
    entries, refused = dict(module._entries(index.read_bytes())), 0
    for _ in range(2_000):
        changed = dict(entries)
        for key in rng.choices(list(entries), k=rng.randint(1, 3)):
            value = bytearray(changed.pop(key, b""))
            at = rng.randrange(len(value) + 1)
            match rng.randrange(4):
                case 0:
                    value[at : at + 1] = rng.randbytes(1)
                case 1:
                    del value[at : at + rng.randint(1, 4)]
                case 2:
                    value[at:at] = varint(rng.choice([2**31, 2**63, 2**64 - 1, 2**70]))
                case 3:
                    key += rng.randbytes(1)
            changed[bytes(key)] = bytes(value)
        index.write_bytes(table([block(sorted(changed.items()))]))
        said = outcome(name)
        refused += bool(said)
        assert "\n" not in said
        assert len(said) < 400
    assert refused > 1_500


def test_ten_thousand_packed_blocks_of_noise() -> None:
    rng, refused = random.Random(0), 0
    for _ in range(10_000):
        size = rng.randrange(200)
        try:
            assert len(module._unsnapped(varint(size) + rng.randbytes(rng.randrange(60)))) == size
        except module._Damaged:
            refused += 1
    assert 9_000 < refused < 10_000
