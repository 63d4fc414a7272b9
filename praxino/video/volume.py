"""Volumes as videos: NIfTI, NumPy and DICOM, whose slices are the frames. For CT and MR.

    with open_video("chest.nii.gz", window=(-600, 1500)) as video:
        slices = video.frames([40, 41, 42])       # slices.pixels: (3, H, W, 3) uint8, all grey

What can be opened: `.nii` and `.nii.gz` (NIfTI 1 and 2, one file), `.npy` (slices first), and a
folder that holds the files of one DICOM series. Conventions:

* **Which axis is time:** the slices, in the order in which they were cut. DICOM slices are sorted
  by where they lie along their normal, whatever their files are called. NIfTI's third axis is it;
  a NIfTI that says where the patient lies is mirrored so that it shows the pictures of the DICOM
  series that it was made from: columns run to the patient's left or back, rows to the back or to
  the feet; slices from the feet up, from the front to the back, or from left to right.
* **Seconds:** `SLICES_PER_SECOND`, whatever the distance of the slices.
* **Grey:** numbers become Hounsfield units (or what the file's slope and intercept make of them),
  and the window, a centre and a width, becomes 0 to 255; what is outside is black or white. Without
  a window it is the one that the DICOM file recommends (of the middle slice), else the whole range
  of the volume; numbers that are 8 bits as stored are shown as they are.
* **Colour:** grey is given three times, as of grey videos; a `.npy` may have three channels.

Bounds are checked before memory is taken. All is read in this process, by NumPy, nibabel's reading
of headers and pydicom: there is no locked process for volumes, so `untrusted=True` refuses them.
"""

import gzip
import io
import math
import os
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from praxino.errors import EnvironmentFault, VideoError
from praxino.video.convert import check_size, no_memory
from praxino.video.decoder import SizedFile, open_regular
from praxino.video.decoding import Window

if TYPE_CHECKING:
    from pydicom import Dataset

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".npy")
SLICES_PER_SECOND = 25.0
MAX_BYTES = 2**31  # of a volume as it is stored, unpacked
MAX_SLICES = 10_000  # files of a DICOM series

_LOOKED_AT = 8  # files of a folder that are looked into, to see whether it is a DICOM series
_MAX_NPY_HEADER = 10_000  # characters
_MAX_NIFTI_HEADER = 2**24  # bytes before the numbers; extensions are notes of a few kilobytes
_MOST_UNPACKED = 1032  # bytes that one byte of gzip can become
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Volume:
    """What is in a volume, ready to be shown.

    Args:
        name: the file or folder as the user named it.
        pixels: `(T, H, W, 3)` uint8; not to be written to.
        container: `nifti`, `npy` or `dicom`.
        numbers: as they are stored, for example `int16`.
        shown: what has become 0 and 255, in words.
        pixel_format: `gray` or `rgb24`.
        pixel_aspect: width of a pixel over its height.
        problems: what is wrong with it, one sentence each.
    """

    name: str
    pixels: NDArray[np.uint8]
    container: str
    numbers: str
    shown: str
    pixel_format: str
    pixel_aspect: float
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Stored:
    """A volume as its file has it.

    Args:
        slices: `(T, H, W)` or `(T, H, W, 3)` numbers.
        scale: `(T, 2)` slope and intercept of each slice.
        window: the file's own, as the numbers that become 0 and 255.
        inverted: whether small numbers are bright.
    """

    slices: NDArray[Any]
    scale: NDArray[np.float64]
    window: tuple[float, float] | None = None
    inverted: bool = False
    pixel_aspect: float = 1.0
    problems: tuple[str, ...] = ()


def is_volume(source: object) -> bool:
    """Whether this is a path of a volume: by its name, or a folder that holds a DICOM series."""
    if not isinstance(source, str | os.PathLike):
        return False
    path = Path(source)
    if path.is_dir():
        return is_dicom_series(path)
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def is_dicom_series(folder: Path) -> bool:
    """Whether one of the folder's first files says in its content that it is DICOM."""
    if not folder.is_dir() or folder.name.startswith("."):
        return False
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))
    return any(_is_dicom(folder / name) for name in names[:_LOOKED_AT] if name != "DICOMDIR")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in the folder of a DICOM series."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def read_volume(source: str | os.PathLike[str], window: Window | None = None) -> Volume:
    """Read a volume whole.

    Args:
        source: what `is_volume` says yes to.
        window: centre and width, in the file's units: Hounsfield units of CT. None: see above.

    Raises:
        VideoError: `not_found`, `not_a_regular_file`, `too_large`, `memory`; `damaged` if it is cut
            short, or holds numbers that are none; `unsupported_container` if it is something else.
        EnvironmentFault: nibabel or pydicom is not installed.
    """
    name, path = os.fspath(source), Path(source)
    try:
        if path.is_dir():
            container = "dicom"
            stored = _read_dicom(name, path, with_window=window is None)
        else:
            with io.BufferedReader(SizedFile(open_regular(name, path))) as file:
                container = "npy" if path.name.lower().endswith(".npy") else "nifti"
                stored = (_read_npy if container == "npy" else _read_nifti)(name, file)
        return _show(name, stored, window, container)
    except MemoryError:
        raise no_memory(name) from None


# --- From numbers to grey -------------------------------------------------------------------------


def _show(name: str, stored: _Stored, window: Window | None, container: str) -> Volume:
    count, (height, width) = len(stored.slices), stored.slices.shape[1:3]
    check_size(name, width, height)
    numbers = str(stored.slices.dtype.newbyteorder("="))
    as_stored = numbers == "uint8" and (stored.scale == (1, 0)).all()
    if window is not None:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
        shown = f"window {window[0]:g}, {window[1]:g}"
    elif stored.window is not None:
        low, high = stored.window
        shown = f"its own window, {low:g} to {high:g}"
    elif as_stored:
        low, high, shown = 0.0, 255.0, "as stored"
    else:
        low, high = _range(name, stored)
        shown = f"whole range, {low:g} to {high:g}"
    grey = np.empty(stored.slices.shape, dtype=np.uint8)
    for index in range(count):
        values = _values(name, stored, index)
        # Of a volume, or a window, of one number: what is above it is white.
        share = (values - low) / (high - low) if high > low else values > low
        levels = np.rint(np.clip(share, 0, 1) * 255)
        grey[index] = 255 - levels if stored.inverted else levels
    pixel_format = "gray" if grey.ndim == 3 else "rgb24"
    if grey.ndim == 3:
        grey = np.broadcast_to(grey[..., None], (*grey.shape, 3))  # takes no memory
    return Volume(
        name, grey, container, numbers, shown, pixel_format, stored.pixel_aspect, stored.problems
    )


def _values(name: str, stored: _Stored, index: int) -> NDArray[np.float64]:
    """One slice in the file's units."""
    slope, intercept = stored.scale[index]
    with np.errstate(over="ignore", invalid="ignore"):
        values: NDArray[np.float64] = stored.slices[index].astype(np.float64) * slope + intercept
    if not (np.abs(values) <= _LARGEST).all():
        wrong = values[~(np.abs(values) <= _LARGEST)][0]
        raise VideoError(
            name,
            f"holds {wrong:g} in slice {index}; what is shown must be finite numbers. Replace them "
            "by the background's value.",
            code="damaged",
        )
    return values


def _range(name: str, stored: _Stored) -> tuple[float, float]:
    low, high = math.inf, -math.inf
    for index in range(len(stored.slices)):
        values = _values(name, stored, index)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def _size(file: "io.BufferedReader[Any]") -> int:
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size


def _check_bytes(name: str, shape: tuple[int, ...], item_bytes: int, there: int | None) -> int:
    """The bytes that such an array takes, checked before they are asked for.

    Args:
        name: the volume's.
        shape: (T, H, W).
        item_bytes: of one pixel.
        there: the most that the file can hold; None where that is checked later.
    """
    if min(shape) < 1:
        raise VideoError(
            name,
            f"is empty or damaged: its header says {_by(shape)} numbers. Write it anew.",
            code="damaged",
        )
    check_size(name, shape[-1], shape[-2])
    size = math.prod(shape) * item_bytes
    if size > MAX_BYTES:
        raise VideoError(
            name,
            f"its {_by(shape)} numbers take {size:,} bytes, above the limit of {MAX_BYTES:,}. Cut "
            "it into parts, or store it with fewer bytes for each number.",
            code="too_large",
        )
    if there is not None and there < size:
        raise _cut_short(name, max(0, there), size)
    return size


def _cut_short(name: str, there: int, size: int) -> VideoError:
    return VideoError(
        name,
        f"is cut short: its numbers take {size:,} bytes, and at most {there:,} are there. Copy it "
        "again.",
        code="damaged",
    )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _unreadable(name: str, what: str, error: Exception) -> VideoError:
    """The error for a header that a library cannot read, in one line."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return VideoError(
        name, f"is damaged: {what} cannot be read ({said}). Write it anew.", code="damaged"
    )


def _other_kind(name: str, found: str, wanted: str) -> VideoError:
    return VideoError(name, f"{found}. {wanted}", code="unsupported_container")


# --- NumPy ----------------------------------------------------------------------------------------


def _read_npy(name: str, file: "io.BufferedReader[Any]") -> _Stored:
    readers: dict[tuple[int, int], Callable[..., Any]] = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }
    if file.peek(6)[:6] != b"\x93NUMPY":
        raise _other_kind(
            name, "is called .npy and is none", "Write it with numpy.save, or call it what it is."
        )
    try:
        version = npy.read_magic(file)
        if version not in readers:
            raise ValueError(f"version {version} is not known")
        with warnings.catch_warnings():  # of files that Python 2 wrote
            warnings.simplefilter("ignore")
            shape, columns_first, dtype = readers[version](file, max_header_size=_MAX_NPY_HEADER)
    except MemoryError:
        raise
    except Exception as error:  # it is parsed as Python, and strange text fails in many ways
        raise _unreadable(name, "its header", error) from None
    if dtype.kind not in "buif":
        raise _other_kind(
            name,
            f"holds {'Python objects' if dtype.hasobject else dtype}, not numbers",
            "Save whole or floating-point numbers.",
        )
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 3):
        raise _other_kind(
            name,
            f"has the shape {shape}; a volume is (slices, H, W), or (slices, H, W, 3) in colour",
            "Save one volume in each file.",
        )
    there = _size(file) - file.tell()
    count = _check_bytes(name, shape[:3], dtype.itemsize * math.prod(shape[3:]), there)
    numbers = np.frombuffer(file.read(count), dtype=dtype)
    slices = numbers.reshape(shape, order="F" if columns_first else "C")
    return _Stored(slices, _no_scale(len(slices)))


def _no_scale(count: int) -> NDArray[np.float64]:
    return np.tile((1.0, 0.0), (count, 1))


# --- NIfTI ----------------------------------------------------------------------------------------

# Towards where an axis must not run, lest pictures are mirrored: within a slice, and from one to
# the next. R, A, S: to the right, the front, the head; L, P, I: the other ways.
_TURNED_WITHIN, _TURNED_ACROSS = "RAS", "ILA"


def _read_nifti(name: str, file: "io.BufferedReader[Any]") -> _Stored:
    packed = file.peek(2)[:2] == b"\x1f\x8b"
    opened: Any = gzip.GzipFile(fileobj=file) if packed else file
    at_most = _size(file) * (_MOST_UNPACKED if packed else 1)
    try:
        header = _nifti_header(name, opened)
        shape, dtype, offset, scale, flips, aspect = _nifti_facts(name, header)
        count = _check_bytes(name, shape, dtype.itemsize, at_most - offset)
        opened.seek(offset)
        content = opened.read(count)
        if len(content) == count:
            opened.read(1)  # at its end gzip compares its checksum
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _unreadable(name, "what is packed in it", error) from None
    if len(content) < count:
        raise _cut_short(name, len(content), count)
    slices = np.frombuffer(content, dtype=dtype).reshape(shape)[flips]
    return _Stored(slices, np.tile(scale, (len(slices), 1)), pixel_aspect=aspect)


def _nifti_header(name: str, file: Any) -> Any:
    """The header, in nibabel's class; files of two parts are refused."""
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ModuleNotFoundError:
        raise _not_installed("nibabel", "NIfTI") from None
    start = file.read(540)
    for kind, size, place, magic in (
        (Nifti1Header, 348, 344, b"n+1\0"),
        (Nifti2Header, 540, 4, b"n+2\0"),
    ):
        for order, sign in (("little", "<"), ("big", ">")):
            length = size.to_bytes(4, order)  # type: ignore[arg-type]
            if start[:4] == length and start[place : place + 4] == magic and len(start) >= size:
                return kind(start[:size], endianness=sign, check=False)
    raise _other_kind(
        name,
        "is no NIfTI file (Analyze and files of two parts, .hdr and .img, are not read)",
        "Write it as .nii or .nii.gz, for example with dcm2niix.",
    )


def _nifti_facts(name: str, header: Any) -> tuple[Any, ...]:
    """Shape (T, H, W), type, place, slope and intercept, mirroring and pixel aspect."""
    from nibabel.orientations import aff2axcodes

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            shape = tuple(int(side) for side in header.get_data_shape())
            dtype, offset = header.get_data_dtype(), float(header["vox_offset"])
            slope, intercept = header.get_slope_inter()
            known = int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0
            codes = aff2axcodes(header.get_best_affine()) if known else (None,) * 3
            zooms = [float(zoom) for zoom in header["pixdim"][1:3]]
    except Exception as error:  # nibabel trusts headers, and fails in as many ways as they do
        raise _unreadable(name, "its header", error) from None
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or dtype.kind not in "buif":
        raise _other_kind(
            name,
            f"holds {_by(shape) or 'no'} numbers of type {dtype}; a volume is three axes of whole "
            "or floating-point numbers",
            "Write one volume to each file.",
        )
    if not 0 <= offset <= _MAX_NIFTI_HEADER:
        raise _unreadable(name, "its header", ValueError(f"numbers begin at byte {offset:g}"))
    scale = (1.0 if slope is None else slope, 0.0 if intercept is None else intercept)
    columns, rows, across = (codes[axis] or "" for axis in range(3))
    flips = tuple(
        slice(None, None, -1 if code and code in turned else 1)
        for code, turned in (
            (across, _TURNED_ACROSS),
            (rows, _TURNED_WITHIN),
            (columns, _TURNED_WITHIN),
        )
    )
    known_aspect = all(0 < abs(zoom) < math.inf for zoom in zooms)
    aspect = abs(zooms[0] / zooms[1]) if known_aspect else 1.0
    return shape[::-1], dtype, int(offset), scale, flips, aspect  # the first axis is the fastest


# --- DICOM ----------------------------------------------------------------------------------------

# Uncompressed, or with run lengths, which pydicom undoes by itself and bounded. Not the deflated
# one, which unpacks before anything can be checked, nor those that need further C libraries.
_TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
}
_TAGS = (
    *("SeriesInstanceUID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"),
    *("PhotometricInterpretation", "BitsAllocated", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PixelSpacing"),
)


@dataclass(frozen=True)
class _Slice:
    """The header of one DICOM file."""

    path: Path
    series: str
    shape: tuple[int, int]  # rows, columns
    kind: str  # MONOCHROME1 or MONOCHROME2
    bits: int
    place: float  # in mm, along the normal
    normal: tuple[float, ...]
    spacing: tuple[float, float]  # in mm: of rows, of columns


def _is_dicom(path: Path) -> bool:
    try:
        with SizedFile(open_regular(str(path), path)) as file:
            return file.read(132)[128:] == b"DICM"
    except (VideoError, OSError):
        return False


def _read_dicom(name: str, folder: Path, *, with_window: bool) -> _Stored:
    try:
        import pydicom
    except ModuleNotFoundError:
        raise _not_installed("pydicom", "DICOM") from None
    del pydicom
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name != "DICOMDIR" and not path.name.startswith(".")
    )
    if len(files) > MAX_SLICES:
        raise VideoError(
            name,
            f"holds {len(files):,} files, above the limit of {MAX_SLICES:,} for a series. Give "
            "each series a folder of its own.",
            code="too_large",
        )
    slices = [_slice_of(name, path, _dataset(name, path)) for path in files if _is_dicom(path)]
    _check_one_series(name, slices)
    slices.sort(key=lambda one: one.place)
    problems = _distances(name, slices)
    _check_bytes(name, (len(slices), *slices[0].shape), slices[0].bits // 8, None)
    pixels, scale, middle = [], [], len(slices) // 2
    window: tuple[float, float] | None = None
    for index, one in enumerate(slices):
        content = _dataset(name, one.path, pixels=True)
        pixels.append(_numbers(name, one, content))
        scale.append(_slope_and_intercept(name, one.path, content))
        if index == middle and with_window:
            window = _own_window(name, one.path, content)
    first = slices[0]
    return _Stored(
        np.stack(pixels),
        np.array(scale),
        window,
        inverted=first.kind == "MONOCHROME1",
        pixel_aspect=first.spacing[1] / first.spacing[0],
        problems=tuple(problems),
    )


def _dataset(name: str, path: Path, *, pixels: bool = False) -> "Dataset":
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    size = path.stat().st_size
    if size > MAX_BYTES:
        raise VideoError(
            name,
            f"{path.name} takes {size:,} bytes, above the limit of {MAX_BYTES:,}. Leave it out.",
            code="too_large",
        )
    with warnings.catch_warnings():  # of values that the standard does not allow
        warnings.simplefilter("ignore")
        try:
            syntax = str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
            if syntax in _TRANSFER_SYNTAXES:
                with SizedFile(open_regular(str(path), path)) as file:
                    content = io.BytesIO(file.read())
                tags = None if pixels else list(_TAGS)
                return dcmread(content, stop_before_pixels=not pixels, specific_tags=tags)
        except (VideoError, MemoryError):
            raise
        except Exception as error:  # pydicom fails in as many ways as files do
            raise _unreadable(name, f"{path.name}", error) from None
    raise _other_kind(
        name,
        f"{path.name} is packed as {syntax or 'nobody knows what'}, which is not read",
        "Unpack it first, for example with gdcmconv --raw or dcmdjpeg.",
    )


def _slice_of(name: str, path: Path, content: "Dataset") -> _Slice:
    try:
        frames = int(content.get("NumberOfFrames") or 1)
        samples, kind = int(content.get("SamplesPerPixel") or 1), content.PhotometricInterpretation
        shape, bits = (int(content.Rows), int(content.Columns)), int(content.BitsAllocated)
        across, down = np.array(content.ImageOrientationPatient, dtype=float).reshape(2, 3)
        position = np.array(content.ImagePositionPatient, dtype=float).reshape(3)
        normal = np.cross(across, down)
        place = float(normal @ position)
        spacing = content.get("PixelSpacing") or (1.0, 1.0)
        row_mm, column_mm = float(spacing[0]), float(spacing[1])
    except Exception as error:  # a value that is missing, or of any other kind
        raise _unreadable(name, f"what {path.name} says of its picture", error) from None
    if frames != 1 or samples != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise _other_kind(
            name,
            f"{path.name} holds {frames} frames of {samples} channels ({kind}), not one grey slice",
            "Convert it to NIfTI or NumPy first.",
        )
    numbers_fine = all(map(math.isfinite, (place, *normal))) and bits in (8, 16, 32)
    if not (numbers_fine and abs(np.linalg.norm(normal) - 1) < 0.01 and min(shape) > 0):
        raise _unreadable(
            name,
            f"what {path.name} says of its picture",
            ValueError(f"{_by(shape)} pixels of {bits} bits, normal {normal.round(2).tolist()}"),
        )
    if not (0 < row_mm < math.inf and 0 < column_mm < math.inf):
        row_mm = column_mm = 1.0
    series = str(content.get("SeriesInstanceUID", ""))
    rounded = tuple(normal.round(3).tolist())
    return _Slice(path, series, shape, str(kind), bits, place, rounded, (row_mm, column_mm))


def _check_one_series(name: str, slices: list[_Slice]) -> None:
    series = sorted({one.series for one in slices})
    if len(series) > 1:
        counts = ", ".join(str(sum(one.series == uid for one in slices)) for uid in series)
        raise _other_kind(
            name,
            f"holds {len(series)} DICOM series of {counts} slices",
            "Give each series a folder of its own.",
        )
    for one in slices:
        if (one.shape, one.normal, one.kind) != (slices[0].shape, slices[0].normal, slices[0].kind):
            raise _other_kind(
                name,
                f"its slices are not alike: {slices[0].path.name} has {_by(slices[0].shape)} "
                f"pixels ({slices[0].kind}, normal {slices[0].normal}), {one.path.name} has "
                f"{_by(one.shape)} ({one.kind}, normal {one.normal})",
                "Leave out scout images.",
            )


def _distances(name: str, slices: list[_Slice]) -> list[str]:
    """What is odd about the places of sorted slices."""
    gaps = np.diff([one.place for one in slices])
    if not gaps.size:
        return []
    if gaps.min() < 1e-3:
        twice = int(gaps.argmin())
        raise _other_kind(
            name,
            f"{slices[twice].path.name} and {slices[twice + 1].path.name} lie in the same place, "
            f"{slices[twice].place:.2f} mm: these are several volumes, or a slice twice",
            "Give each volume a folder of its own.",
        )
    usual = float(np.median(gaps))
    if gaps.max() > 1.5 * usual:
        return [f"slices may be missing: most are {usual:.2f} mm apart, some {gaps.max():.2f} mm"]
    return []


def _numbers(name: str, one: _Slice, content: "Dataset") -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            numbers: NDArray[Any] = content.pixel_array
        except MemoryError:
            raise
        except Exception as error:
            raise _unreadable(name, f"{one.path.name}'s picture", error) from None
    if numbers.shape != one.shape:
        raise _unreadable(
            name,
            f"{one.path.name}'s picture",
            ValueError(f"{_by(one.shape)} pixels announced, {_by(numbers.shape)} found"),
        )
    return numbers


def _slope_and_intercept(name: str, path: Path, content: "Dataset") -> tuple[float, float]:
    try:
        slope = float(content.get("RescaleSlope", 1.0))
        intercept = float(content.get("RescaleIntercept", 0.0))
    except Exception as error:
        raise _unreadable(name, f"{path.name}'s rescale slope", error) from None
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise _unreadable(name, f"{path.name}'s rescale slope", ValueError(f"{slope}, {intercept}"))
    return slope, intercept


def _own_window(name: str, path: Path, content: "Dataset") -> tuple[float, float] | None:
    """What the file recommends to show as black and as white; the first of several."""
    centres, widths = content.get("WindowCenter"), content.get("WindowWidth")
    if centres is None or widths is None:
        return None
    try:
        centre, width = (
            float(one[0] if isinstance(one, Sequence) else one) for one in (centres, widths)
        )
        function = str(content.get("VOILUTFunction") or "LINEAR")
    except Exception as error:
        raise _unreadable(name, f"{path.name}'s window", error) from None
    whole = function == "LINEAR"  # counts whole numbers: DICOM PS3.3, C.11.2.1.2.1
    if not (
        function in ("LINEAR", "LINEAR_EXACT")
        and math.isfinite(centre)
        and whole <= width < math.inf
    ):
        raise _other_kind(
            name,
            f"{path.name} recommends the window {centre:g}, {width:g} ({function}), which cannot "
            "be followed",
            "Give another one with --window.",
        )
    if whole:
        centre, width = centre - 0.5, width - 1
    return centre - width / 2, centre + width / 2


def _not_installed(module: str, what: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{module} is not installed, and {what} needs it. Install it with "
        "pip install 'praxino[volumes]'."
    )
