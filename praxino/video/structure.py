"""Does a file hold together? A walk along the lengths that its container states.

FFmpeg passes over damage in silence: it looks for the next thing that it can read and goes on, and
at a cut it simply ends. Whoever follows the lengths from one part of the file to the next sees
where they do not lead to a part, and where the last one ends behind the file. Only heads are read:
the boxes of MP4, clusters of Matroska, tags of FLV, packets of MPEG-PS, blocks of GIF; pages of Ogg
whole, for their checksums. AVI is left to its own count of frames, its lengths lie too often.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing

from praxino.video.decoder import Source

_MAX_PARTS = 10_000_000  # that are looked at; a longer file is trusted from there on


class _Broken(Exception):
    """The walk cannot go on; says why."""


def structure_problems(source: Source) -> list[str]:
    """What is wrong with a file's structure, one sentence each; empty where all is in place."""
    walk = _WALKS.get(source.container)
    if walk is None:
        return []
    opened = source.open()
    file = io.BufferedReader(opened) if isinstance(opened, io.RawIOBase) else opened
    assert isinstance(file, io.BufferedIOBase)
    with closing(file):
        length = file.seek(0, 2)
        file.seek(0)
        problems = []
        try:
            for problem in walk(file, length):
                problems.append(problem)
        except _Broken as broken:
            problems.append(str(broken))
        return problems


def _read(file: io.BufferedIOBase, size: int) -> bytes:
    """As many bytes as asked for."""
    content = file.read(size)
    if len(content) < size:
        raise _Broken(f"the file ends in the middle of a head, at byte {file.tell()}")
    return content


def _skip(file: io.BufferedIOBase, end: int, length: int, what: str) -> None:
    """Go to the end of a part, which must lie in the file."""
    if end > length:
        raise _Broken(f"the file is {end - length} bytes too short for its last {what}")
    file.seek(end)


def _stray(what: str, place: int) -> _Broken:
    return _Broken(f"at byte {place} there is no {what}, where the one before ends")


def _walk_mov(file: io.BufferedIOBase, length: int) -> Iterator[str]:
    """ISO/IEC 14496-12: boxes of a length, a name of four letters, and content."""
    for _ in range(_MAX_PARTS):
        place = file.tell()
        if place == length:
            return
        size, name = int.from_bytes(_read(file, 4), "big"), _read(file, 4)
        if size == 0:  # to the end of the file
            return
        if size == 1:
            size = int.from_bytes(_read(file, 8), "big")
        if size < 8 or not all(32 <= letter < 127 or letter == 0xA9 for letter in name):
            raise _stray("box", place)
        _skip(file, place + size, length, f"box, {name.decode('latin-1')!r}")
    yield from ()


_EBML_HEADER, _SEGMENT = 0x1A45DFA3, 0x18538067
_SEGMENT_PARTS = {
    0x114D9B74: "seek head",
    0x1549A966: "info",
    0x1654AE6B: "tracks",
    0x1F43B675: "cluster",
    0x1C53BB6B: "cues",
    0x1941A469: "attachments",
    0x1043A770: "chapters",
    0x1254C367: "tags",
    0xEC: "void",
    0xBF: "checksum",
}


def _walk_matroska(file: io.BufferedIOBase, length: int) -> Iterator[str]:
    """RFC 8794 and RFC 9559: elements of a number, a length and content."""
    segment_end = length
    for _ in range(_MAX_PARTS):
        place = file.tell()
        if place == segment_end:
            segment_end = length
        if place == length:
            return
        name, size = _ebml_number(file, keep_mark=True), _ebml_number(file, keep_mark=False)
        if name == _SEGMENT:
            if size is None:
                continue  # written as a stream: lengths may be unknown from here on
            if file.tell() + size > length:
                missing = file.tell() + size - length
                yield f"the file is {missing} bytes shorter than its header says"
            segment_end = file.tell() + size
        elif name == _EBML_HEADER or name in _SEGMENT_PARTS:
            if size is None:
                return  # a cluster of a live recording, which the next one ends
            _skip(file, file.tell() + size, length, _SEGMENT_PARTS.get(name, "header"))
        else:
            raise _stray("cluster", place)


def _ebml_number(file: io.BufferedIOBase, *, keep_mark: bool) -> int | None:
    """A number of 1 to 8 bytes; None for the length that means unknown."""
    first = _read(file, 1)[0]
    size = 9 - first.bit_length()  # the leading zeros tell how many bytes follow
    if size > 8:
        raise _stray("cluster", file.tell() - 1)
    number = int.from_bytes(bytes([first]) + _read(file, size - 1), "big")
    if keep_mark:
        return number
    mark = 1 << (7 * size)
    return None if number == 2 * mark - 1 else number - mark


def _walk_flv(file: io.BufferedIOBase, length: int) -> Iterator[str]:
    """Tags of a kind and a length, each followed by its length once more."""
    file.seek(5)
    file.seek(int.from_bytes(_read(file, 4), "big"))
    _read(file, 4)
    for _ in range(_MAX_PARTS):
        place = file.tell()
        if place == length:
            return
        kind, size = _read(file, 1)[0], int.from_bytes(_read(file, 3), "big")
        if kind & 0x1F not in (8, 9, 18):  # sound, picture, script
            raise _stray("tag", place)
        _skip(file, place + 11 + size, length, "tag")
        if int.from_bytes(_read(file, 4), "big") not in (0, size, size + 11):
            raise _Broken(f"the tag at byte {place} does not end where it says")
    yield from ()


def _walk_mpeg_ps(file: io.BufferedIOBase, length: int) -> Iterator[str]:
    """ISO/IEC 13818-1: pack heads, and packets with a length."""
    for _ in range(_MAX_PARTS):
        place = file.tell()
        if place == length:
            return
        code = _read(file, 4)
        if code[:3] != b"\x00\x00\x01" or code[3] < 0xB9:
            file.seek(place)
            if any(file.read(64)):  # discs fill up with zeros
                raise _stray("packet", place)
            return
        if code[3] == 0xB9:  # the end
            continue
        if code[3] == 0xBA:
            head = _read(file, 8)
            if head[0] >> 6 == 1:  # MPEG-2: two bytes more, and stuffing
                stuffing = _read(file, 2)[1] & 7
                _skip(file, file.tell() + stuffing, length, "pack")
        else:
            size = int.from_bytes(_read(file, 2), "big")
            _skip(file, file.tell() + size, length, "packet")
    yield from ()


def _walk_gif(file: io.BufferedIOBase, length: int) -> Iterator[str]:
    """GIF89a: extensions and pictures in blocks of up to 255 bytes, then a last byte, 0x3B."""
    screen = _read(file, 13)[10]
    _skip(file, 13 + _palette_bytes(screen), length, "palette")
    pictures = uneven = 0
    for _ in range(_MAX_PARTS):
        place = file.tell()
        kind = file.read(1)
        if kind == b"!":
            _read(file, 1)
            _read_blocks(file)
        elif kind == b",":
            _skip(file, place + 10 + _palette_bytes(_read(file, 9)[8]), length, "palette")
            _read(file, 1)  # the size of a code
            pictures += 1
            uneven += not _read_blocks(file)
        elif kind == b"\x3b":
            if place + 1 < length:
                yield f"the last {length - place - 1} bytes follow on the end of the GIF"
            break
        elif not kind:
            yield "the file is cut short: the mark at the end of a GIF is missing"
            break
        else:
            raise _stray("block", place)
    # A walk that has lost its way goes through data as if it were lengths, and may find back after
    # some pictures. Encoders fill all blocks of a picture but the last.
    if 0 < uneven < pictures / 2:
        yield f"{uneven} of {pictures} pictures have blocks of all sizes, and may hide others"


def _read_blocks(file: io.BufferedIOBase) -> bool:
    """Go behind the empty block that ends a row of blocks; whether all but the last are alike."""
    sizes = []
    size = _read(file, 1)[0]
    while size:
        sizes.append(size)
        size = _read(file, size + 1)[-1]
    return len(set(sizes[:-1])) <= 1


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _walk_ogg(file: io.BufferedIOBase, length: int) -> Iterator[str]:
    """RFC 3533: pages with a checksum, numbered within each stream, the last of it marked."""
    next_page: dict[bytes, int] = {}
    ended: set[bytes] = set()
    broken = 0
    for _ in range(_MAX_PARTS):
        place = file.tell()
        if place == length:
            break
        head = _read(file, 27)
        if head[:4] != b"OggS":
            raise _stray("page", place)
        segments = _read(file, head[26])
        body = _read(file, sum(segments))
        page = head[:22] + bytes(4) + head[26:] + segments + body
        serial, number = head[14:18], int.from_bytes(head[18:22], "little")
        if int.from_bytes(head[22:26], "little") != _ogg_checksum(page):
            broken += 1
        elif serial in next_page and number != next_page[serial]:
            broken += abs(number - next_page[serial])
        next_page[serial] = number + 1
        if head[5] & 4:
            ended.add(serial)
    if broken:
        yield f"{broken} Ogg pages are missing or damaged"
    if set(next_page) - ended:
        yield "the file is cut short: the last Ogg page of a stream is missing"


def _ogg_checksum(page: bytes) -> int:
    """Ogg's CRC reads bits the other way round than zlib's, and inverts neither end."""
    mirrored = ~zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _walk_mpegts(file: io.BufferedIOBase, length: int) -> Iterator[str]:
    """ISO/IEC 13818-1: packets of 188 bytes, each led by 0x47; with four bytes before each on M2TS.

    Packets that are missing show in their counters, which FFmpeg checks.
    """
    size, offset = (192, 4) if _read(file, 5)[0] != 0x47 else (188, 0)
    if length % size:
        yield f"the last {length % size} bytes are no whole transport packet of {size}"
    file.seek(max(0, length // size - 1) * size + offset)
    if _read(file, 1)[0] != 0x47:
        yield "the transport packets are displaced before the end of the file"


_WALKS: dict[str, Callable[[io.BufferedIOBase, int], Iterator[str]]] = {
    "mov": _walk_mov,
    "matroska": _walk_matroska,
    "flv": _walk_flv,
    "mpeg": _walk_mpeg_ps,
    "gif": _walk_gif,
    "ogg": _walk_ogg,
    "mpegts": _walk_mpegts,
}
