"""CRC-32C, the checksum that guards each part of TensorFlow's files (RFC 3720, appendix B.4).

Python has none, and byte by byte in Python a checkpoint would take a minute. So the bytes are cut
into rows that go through the table side by side, and the checksums of neighbours are joined.
"""

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = np.uint32(0x82F63B78)  # bits reversed
_BITS = np.uint32(1) << np.arange(32, dtype=np.uint32)
_NOTHING = np.uint32(0)

Sums = NDArray[np.uint32]


def crc32c(content: bytes | bytearray) -> int:
    """The CRC-32C of bytes."""
    width = 1 << (len(content).bit_length() // 2)
    start = len(content) if len(content) < _SHORT else len(content) % width
    first = 0xFFFFFFFF
    for byte in content[:start]:
        first = _NUMBERS[(first ^ byte) & 0xFF] ^ (first >> 8)
    if start == len(content):
        return first ^ 0xFFFFFFFF
    rows = np.frombuffer(content, np.uint8, offset=start).reshape(-1, width)
    sums = np.zeros(len(rows), np.uint32)
    for column in rows.T:
        sums = _with_byte(sums, column)
    sums = np.concatenate([np.array([first], np.uint32), sums])
    zeros = _with_byte(_BITS, np.zeros(32, np.uint8))  # the effect of one zero byte
    for _ in range(width.bit_length() - 1):
        zeros = _after(zeros, zeros)  # of twice as many, up to `width`
    while len(sums) > 1:  # each but the first stands for `width` bytes, then twice as many, ...
        if len(sums) % 2:
            sums = np.concatenate([np.zeros(1, np.uint32), sums])
        sums = _after(zeros, sums[0::2]) ^ sums[1::2]
        zeros = _after(zeros, zeros)
    return int(sums[0]) ^ 0xFFFFFFFF


def _table() -> Sums:
    """What each value of a byte does to a checksum."""
    table: Sums = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * _POLYNOMIAL
    return table


_TABLE = _table()
_NUMBERS: list[int] = _TABLE.tolist()
_SHORT = 4096  # bytes for which the rows are not worth it


def _with_byte(sums: Sums, byte: NDArray[np.uint8]) -> Sums:
    """Checksums after one more byte each."""
    result: Sums = _TABLE.take(sums.astype(np.uint8) ^ byte) ^ (sums >> np.uint32(8))
    return result


def _after(zeros: Sums, sums: Sums) -> Sums:
    """Checksums after a number of zero bytes; what these do to each single bit tells all."""
    result = np.zeros_like(sums)
    for bit, effect in zip(_BITS, zeros, strict=True):
        result ^= np.where(sums & bit, effect, _NOTHING)
    return result
