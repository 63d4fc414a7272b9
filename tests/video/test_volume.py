"""Volumes as videos: NIfTI, NumPy and DICOM, their windows, and what is wrong with them."""

import gzip
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from praxino.datasets.folder import find_videos, read_folder
from praxino.datasets.manifest import Manifest, Row
from praxino.errors import EnvironmentFault, VideoError
from praxino.video import volume
from praxino.video.decoding import Decoding
from praxino.video.reader import VolumeVideo, open_video

SERIES = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def scan() -> NDArray[np.int16]:
    """(6, 16, 20) Hounsfield units from -1000 to 1000: slices from the feet up, axial."""
    numbers = np.random.default_rng(0).integers(-1000, 1001, (6, 16, 20))
    numbers[0, 0, 0], numbers[0, 0, 1] = -1000, 1000
    return numbers.astype(np.int16)


def pixels(path: Path, **options: Any) -> NDArray[np.uint8]:
    with open_video(path, **options) as video:
        assert isinstance(video, VolumeVideo)
        return video.frames(range(len(video))).pixels


def write_nifti(path: Path, numbers: NDArray[Any], affine: Any = None, **header: Any) -> Path:
    """`numbers` are (T, H, W); NIfTI's first axis is the columns'."""
    affine = np.diag([-1, -1, 2, 1]) if affine is None else affine  # columns left, rows back
    image = nibabel.Nifti1Image(numbers.transpose(2, 1, 0), affine)
    nibabel.save(image, path)
    if header:
        content = bytearray(path.read_bytes())
        head = nibabel.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in header.items():
            head[name] = value
        path.write_bytes(head.binaryblock + bytes(content[348:]))
    return path


def write_slice(path: Path, numbers: NDArray[Any], place: float, **changes: Any) -> None:
    """One DICOM file; a change to None takes an element out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = changes.pop("syntax", ExplicitVRLittleEndian)
    content = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    content.SOPClassUID, content.Modality = CTImageStorage, "CT"
    content.SOPInstanceUID, content.SeriesInstanceUID = meta.MediaStorageSOPInstanceUID, SERIES
    content.Rows, content.Columns = numbers.shape
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated, content.BitsStored, content.HighBit = 16, 16, 15
    content.PixelRepresentation = 0
    content.ImageOrientationPatient, content.PixelSpacing = [1, 0, 0, 0, 1, 0], [1.0, 1.0]
    content.ImagePositionPatient = [0, 0, place]
    content.RescaleSlope, content.RescaleIntercept = 1, -1024
    for name, value in changes.items():
        setattr(content, name, value) if value is not None else delattr(content, name)
    content.PixelData = (numbers.astype(np.int32) + 1024).astype("<u2").tobytes()
    content.save_as(path, enforce_file_format=True)


def write_series(folder: Path, scan: NDArray[np.int16], **changes: Any) -> Path:
    """Called so that the order of the names is not that of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, numbers in enumerate(scan):
        write_slice(folder / f"IM{(index * 5 + 3) % 7:03d}", numbers, 2.5 * index - 7, **changes)
    (folder / "notes.txt").write_text("no DICOM, and left alone")
    return folder


# --- what comes out -------------------------------------------------------------------------------


def test_all_kinds_of_file_show_the_same_scan(tmp_path, scan) -> None:
    np.save(tmp_path / "a.npy", scan)
    np.save(tmp_path / "columns.NPY.npy", np.asfortranarray(scan))
    expected = pixels(tmp_path / "a.npy")
    low, high = -1000.0, 1000.0
    by_hand = np.rint((scan - low) / (high - low) * 255)
    np.testing.assert_array_equal(expected, np.repeat(by_hand[..., None], 3, axis=3))
    for path in (
        tmp_path / "columns.NPY.npy",
        write_nifti(tmp_path / "a.nii", scan),
        write_nifti(tmp_path / "a.nii.gz", scan),
        write_series(tmp_path / "series", scan),
    ):
        np.testing.assert_array_equal(pixels(path), expected, err_msg=path.name)


def test_a_window_in_hounsfield_units(tmp_path) -> None:
    levels = np.array([-1000, -160, 40, 240, 3000], dtype=np.int16)
    np.save(tmp_path / "a.npy", np.tile(levels, (2, 3, 1)))
    shown = pixels(tmp_path / "a.npy", window=(40, 400))
    assert shown[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_floats_slopes_and_mirrored_niftis_mean_the_same(tmp_path, scan) -> None:
    expected = pixels(write_nifti(tmp_path / "a.nii", scan), window=(0, 2000))
    as_float = write_nifti(tmp_path / "float.nii", scan.astype(np.float32))
    stored = ((scan + 1000) // 2).astype(np.int16)
    scaled = write_nifti(tmp_path / "scaled.nii", stored, scl_slope=2, scl_inter=-1000)
    right_front = scan[:, ::-1, ::-1]
    mirrored = write_nifti(tmp_path / "mirrored.nii", right_front, np.diag([1, 1, 2, 1]))
    from_above = write_nifti(tmp_path / "above.nii", scan[::-1], np.diag([-1, -1, -2, 1]))
    nifti_2 = tmp_path / "two.nii"
    nibabel.save(nibabel.Nifti2Image(scan.transpose(2, 1, 0), np.diag([-1, -1, 2, 1])), nifti_2)
    for path in (as_float, mirrored, from_above, nifti_2):
        np.testing.assert_array_equal(pixels(path, window=(0, 2000)), expected, err_msg=path.name)
    assert np.abs(pixels(scaled, window=(0, 2000)).astype(int) - expected).max() <= 1


def test_sagittal_and_coronal_niftis_stand_upright(tmp_path, scan) -> None:
    # Columns to the front, rows to the head, slices to the left: all three are turned.
    sagittal = np.array([[0, 0, -1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    # Columns to the left, rows to the feet, slices to the back: as in a DICOM series.
    coronal = np.array([[-1, 0, 0, 0], [0, 0, -1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    plain = pixels(write_nifti(tmp_path / "a.nii", scan))
    turned = pixels(write_nifti(tmp_path / "sagittal.nii", scan, sagittal))
    np.testing.assert_array_equal(turned, plain[::-1, ::-1, ::-1])
    np.testing.assert_array_equal(pixels(write_nifti(tmp_path / "c.nii", scan, coronal)), plain)


def test_eight_bits_and_colours_are_shown_as_they_are(tmp_path) -> None:
    colours = np.random.default_rng(1).integers(50, 90, (3, 4, 5, 3)).astype(np.uint8)
    np.save(tmp_path / "colours.npy", colours)
    np.testing.assert_array_equal(pixels(tmp_path / "colours.npy"), colours)
    np.save(tmp_path / "one.npy", np.full((2, 4, 4), 7.0))
    assert not pixels(tmp_path / "one.npy").any()  # a volume of one value is black


def test_a_dicom_series_recommends_its_window_and_may_be_inverted(tmp_path, scan) -> None:
    own = write_series(tmp_path / "own", scan, WindowCenter=[40, 300], WindowWidth=[400, 1500])
    # DICOM counts whole numbers: 40, 400 leads from -160 to 239 (PS3.3, C.11.2.1.2.1).
    np.testing.assert_array_equal(pixels(own), pixels(own, window=(39.5, 399)))
    assert open_video(own).info.profile == "its own window, -160 to 239"
    exact = {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}
    other = write_series(tmp_path / "exact", scan, **exact)
    np.testing.assert_array_equal(pixels(other), pixels(own, window=(40, 400)))
    inverted = write_series(tmp_path / "m1", scan, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(
        255 - pixels(inverted, window=(0, 500)), pixels(own, window=(0, 500))
    )


def test_what_the_reader_tells_of_a_volume(tmp_path, scan) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", scan, np.diag([-1.5, -1, 2, 1]))
    with open_video(path, short_side=8, window=(40, 400)) as video:
        info = video.info
        assert video.frames([5, 0]).pixels.shape == (2, 8, 10, 3)
        assert video.timestamps.tolist() == [index / 25 for index in range(6)]
    assert (info.codec, info.container, info.pixel_format) == ("int16", "nifti", "gray")
    assert (info.profile, info.pixel_aspect, info.problems) == ("window 40, 400", 1.5, ())
    folder = write_series(tmp_path / "gap", scan)
    (folder / "IM003").unlink()  # the first: nobody can know
    assert open_video(folder).info.problems == ()
    (folder / f"IM{(2 * 5 + 3) % 7:03d}").unlink()
    (problem,) = open_video(folder).info.problems
    assert problem == "slices may be missing: most are 2.50 mm apart, some 5.00 mm"


# --- what is refused ------------------------------------------------------------------------------


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(VideoError) as caught:
        open_video(path, **options)
    assert "\n" not in str(caught.value)
    return f"{caught.value.code}: {caught.value}"


def npy_with(path: Path, header: str, content: bytes = b"") -> Path:
    text = header.encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content)
    return path


def test_hostile_npy_headers(tmp_path) -> None:
    def of(shape: str, descr: str = "'<i2'", content: bytes = b"") -> str:
        header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
        return refusal(npy_with(tmp_path / "x.npy", header, content))

    assert (
        "too_large: x.npy: its 90000 x 8000 x 4000 numbers take 5,760,000,000,000 bytes, abov"
        in (of("(90000, 8000, 4000)"))
    )
    assert "too_large: x.npy: its frames of 9000 x 9 pixels are above" in of("(2, 9, 9000)")
    assert "damaged: x.npy: is cut short: its numbers take 160 bytes, and at most 7 are" in of(
        "(2, 8, 5)", content=b"1234567"
    )
    assert "damaged: x.npy: is empty or damaged: its header says -2 x 8 x 5 numbers" in of(
        "(-2, 8, 5)"
    )
    assert "holds Python objects, not numbers. Save whole or floating" in of("(2, 8, 5)", "'|O'")
    assert "holds complex64, not numbers" in of("(2, 8, 5)", "'<c8'")
    assert "has the shape (2, 8, 5, 4); a volume is (slices, H, W), or" in of("(2, 8, 5, 4)")
    assert "has the shape (8, 5); a volume is" in of("(8, 5)")
    assert "damaged: x.npy: is damaged: its header cannot be read" in of("(((((")
    assert "its header cannot be read" in refusal(npy_with(tmp_path / "y.npy", "import os"))
    (tmp_path / "z.npy").write_bytes(b"\x00\x00\x00\x18ftypmp42")
    assert "unsupported_container: z.npy: is called .npy and is none" in refusal(tmp_path / "z.npy")
    future = (tmp_path / "x.npy").read_bytes().replace(b"NUMPY\x01", b"NUMPY\x07")
    (tmp_path / "v.npy").write_bytes(future)
    assert "its header cannot be read (" in refusal(tmp_path / "v.npy")


def test_numbers_that_are_none(tmp_path) -> None:
    numbers = np.zeros((3, 4, 4), dtype=np.float32)
    for value, shown in ((np.nan, "nan"), (-np.inf, "-inf")):
        numbers[1, 2, 2] = value
        np.save(tmp_path / "a.npy", numbers)
        for window in (None, (40, 400)):
            said = refusal(tmp_path / "a.npy", window=window)
            assert f"damaged: a.npy: holds {shown} in slice 1; what is shown must be finite" in said
    np.save(tmp_path / "big.npy", np.full((2, 4, 4), 1e308))
    assert "holds 1e+308 in slice 0" in refusal(tmp_path / "big.npy")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"dim": [3, 20, -16, 6, 1, 1, 1, 1]}, "its header says 6 x -16 x 20 numbers"),
        ({"dim": [3, 30000, 30000, 6, 1, 1, 1, 1]}, "are above the limit of 8192 pixels a side"),
        (
            {"dim": [3, 8000, 4000, 30000, 1, 1, 1, 1]},
            "numbers take 1,920,000,000,000 bytes, above",
        ),
        ({"dim": [3, 20, 16, 60, 1, 1, 1, 1]}, "its numbers take 38,400 bytes, and at most 3,840"),
        ({"dim": [4, 20, 16, 3, 2, 1, 1, 1]}, "holds 20 x 16 x 3 x 2 numbers of type int16; a vol"),
        ({"dim": [0] * 8}, "is damaged: its header cannot be read|a volume is three axes"),
        ({"datatype": 32}, "numbers of type complex64; a volume is three axes"),
        ({"datatype": 4000}, "is damaged: its header cannot be read"),
        ({"vox_offset": 3e38}, "numbers begin at byte 3e+38"),
        ({"vox_offset": np.nan}, "is damaged: its header cannot be read"),
        ({"vox_offset": 4000}, "its numbers take 3,840 bytes, and at most 192 are there"),
        ({"scl_slope": 1, "scl_inter": np.inf}, "is damaged: its header cannot be read"),
        ({"sform_code": 1, "srow_x": [np.nan] * 4}, "is damaged: its header cannot be read"),
        ({"magic": b"ni1"}, "is no NIfTI file (Analyze and files of two parts"),
        ({"sizeof_hdr": 7}, "is no NIfTI file"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_hostile_nifti_headers(tmp_path, scan, header, said) -> None:
    path = write_nifti(tmp_path / "a.nii", scan, **header)
    for packed in (False, True):
        if packed:
            path = tmp_path / "b.nii.gz"
            path.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
        found = refusal(path)
        if not (packed and "at most" in said):  # how much is packed is found out by unpacking
            assert any(one in found for one in said.split("|")), found


def test_gzip_that_is_cut_damaged_or_a_bomb(tmp_path, scan) -> None:
    whole = write_nifti(tmp_path / "a.nii.gz", scan).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[:1500])
    assert "what is packed in it cannot be read" in refusal(tmp_path / "cut.nii.gz")
    (tmp_path / "sum.nii.gz").write_bytes(whole[:-8] + b"12345678")
    assert "what is packed in it cannot be read (CRC check failed" in refusal(
        tmp_path / "sum.nii.gz"
    )
    # Unpacks to 64 MB; what the header says is never there, and only the start is unpacked.
    plain = write_nifti(tmp_path / "b.nii", scan, vox_offset=2**25).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(plain + bytes(2**26)))
    assert "numbers begin at byte 3.35544e+07" in refusal(tmp_path / "bomb.nii.gz")
    tall = write_nifti(tmp_path / "c.nii", scan, dim=[3, 8000, 4000, 10, 1, 1, 1, 1]).read_bytes()
    (tmp_path / "lie.nii.gz").write_bytes(gzip.compress(tall))
    assert "its numbers take 640,000,000 bytes, and at most" in refusal(tmp_path / "lie.nii.gz")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SeriesInstanceUID": SERIES + ".2"}, "holds 2 DICOM series of 5, 1 slices. Give each"),
        (
            {"ImagePositionPatient": [0, 0, -7]},
            "lie in the same place, -7.00 mm: these are several",
        ),
        ({"ImagePositionPatient": None}, "what last says of its picture cannot be read"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "normal [0.0, 0.0, 0.0]"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "its slices are not alike"),
        ({"NumberOfFrames": 3}, "holds 3 frames of 1 channels (MONOCHROME2), not one grey slice"),
        ({"PhotometricInterpretation": "RGB"}, "1 channels (RGB), not one grey slice"),
        ({"syntax": "1.2.840.10008.1.2.1.99"}, "is packed as 1.2.840.10008.1.2.1.99, which is not"),
        ({"syntax": "1.2.840.10008.1.2.4.90"}, "Unpack it first, for example with gdcmconv --raw"),
        ({"Rows": 60000, "Columns": 60000}, "its slices are not alike|are above the limit"),
        ({"Rows": 17}, "its slices are not alike"),
        ({"BitsAllocated": 12}, "pixels of 12 bits"),
        ({"RescaleSlope": "1e400"}, "last's rescale slope cannot be read (inf"),
    ],
    ids=lambda value: f"{value}"[:40] if isinstance(value, dict) else None,
)
def test_dicom_series_that_are_none(tmp_path, scan, changes, said) -> None:
    folder = write_series(tmp_path / "series", scan[:5])
    if changes.get("syntax", "").startswith("1.2.840.10008.1.2.4"):
        changes = dict(changes)
        write_slice(folder / "last", scan[5], 40)
        path = folder / "last"
        path.write_bytes(
            path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4\0")
        )
        said = "is packed as 1.2.840.10008.1.2.4, which is not read. Unpack it first"
    else:
        write_slice(folder / "last", scan[5], 40, **changes)
    found = refusal(folder)
    assert any(one in found for one in said.split("|")), found


def test_a_whole_series_that_lies_about_its_size_or_is_cut(tmp_path, scan) -> None:
    huge = write_series(tmp_path / "huge", scan, Rows=60000, Columns=60000)
    assert "too_large: huge: its frames of 60000 x 60000 pixels" in refusal(huge)
    longer = write_series(tmp_path / "longer", scan, Rows=4000)
    assert "damaged: longer: is damaged: IM003's picture cannot be read" in refusal(longer)
    odd = {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}
    sigmoid = write_series(tmp_path / "sigmoid", scan, **odd)
    assert "recommends the window 40, 400 (SIGMOID), which cannot" in refusal(sigmoid)
    assert pixels(sigmoid, window=(40, 400)).any()
    cut = write_series(tmp_path / "cut", scan)
    whole = (cut / "IM003").read_bytes()
    for length in (140, 300, len(whole) - 100):
        (cut / "IM003").write_bytes(whole[:length])
        assert refusal(cut).startswith(("damaged", "unsupported")), length


def test_limits_on_bytes_and_on_files(tmp_path, scan, monkeypatch) -> None:
    folder = write_series(tmp_path / "series", scan)
    np.save(tmp_path / "a.npy", scan)
    monkeypatch.setattr(volume, "MAX_SLICES", 6)
    assert "too_large: series: holds 7 files, above the limit of 6" in refusal(folder)
    monkeypatch.setattr(volume, "MAX_SLICES", 7)
    monkeypatch.setattr(volume, "MAX_BYTES", 2000)
    assert "too_large: a.npy: its 6 x 16 x 20 numbers take 3,840 bytes, above the limit of 2" in (
        refusal(tmp_path / "a.npy")
    )
    assert "too_large: series: its 6 x 16 x 20 numbers take 3,840 bytes" in refusal(folder)
    monkeypatch.setattr(volume, "MAX_BYTES", 900)
    assert "IM000 takes" in refusal(folder)


def test_windows_are_for_volumes_and_have_a_width(numbered_video, tmp_path) -> None:
    said = refusal(numbered_video, window=(40, 400))
    assert said.startswith("window: ")
    assert "is a video, and the window 40, 400 is for volumes (.nii, .nii.gz, .npy" in said
    for window in ((40, 0), (40, -3), (float("nan"), 400)):
        with pytest.raises(ValueError, match=r"A window is a centre and a width above 0, got"):
            Decoding(window=window)
    with pytest.raises(ValueError, match=r"A window is for volumes, and these are not read as un"):
        Decoding(untrusted=True, window=(40, 400))


def test_volumes_are_not_read_as_untrusted_files(tmp_path, scan) -> None:
    np.save(tmp_path / "a.npy", scan)
    said = refusal(tmp_path / "a.npy", untrusted=True)
    assert said.startswith("untrusted: a.npy: is a volume, and volumes are read without a locked")


@pytest.mark.parametrize(("module", "what"), [("nibabel.nifti1", "NIfTI"), ("pydicom", "DICOM")])
def test_what_is_not_installed_says_so(tmp_path, scan, monkeypatch, module, what) -> None:
    path = write_nifti(tmp_path / "a.nii", scan)
    folder = write_series(tmp_path / "series", scan)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        EnvironmentFault, match=rf"is not installed, and {what} needs it\. .*lumes\]"
    ):
        open_video(path if what == "NIfTI" else folder)
    importlib.invalidate_caches()


def test_files_that_are_not_there_or_no_files(tmp_path) -> None:
    assert refusal(tmp_path / "a.nii").startswith("not_found")
    (tmp_path / "b.nii").mkdir()
    assert refusal(tmp_path / "b.nii").startswith("not_a_regular_file")
    assert "is a folder, not a regular file" in refusal(tmp_path)


# --- among other videos ---------------------------------------------------------------------------


def test_folders_and_manifests_of_volumes(tmp_path, scan) -> None:
    root = tmp_path / "scans"
    for place in ("clear/a.npy", "clear/b.npy", "finding/c.npy"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / place, scan)
    write_nifti(root / "clear/d.NII.GZ".replace("NII.GZ", "nii.gz"), scan)
    write_series(root / "finding/patient 7", scan)
    names = ["clear/a.npy", "clear/b.npy", "clear/d.nii.gz", "finding/c.npy", "finding/patient 7"]
    manifest = read_folder(root)
    assert [row.video for row in manifest] == names
    assert manifest.missing() == []
    assert [str(path.relative_to(root)) for path in find_videos(root)] == names
    assert find_videos(root / "finding/patient 7") == [root / "finding/patient 7"]
    with open_video(manifest.path(manifest[4])) as video:
        assert len(video) == 6
    listed = Manifest.from_rows([Row("finding/patient 7", ("finding",))], root)
    assert listed.missing() == []
    (root / "clear/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert [str(path.relative_to(root)) for path in find_videos(root)] == names


def test_the_command_tells_what_a_volume_holds(tmp_path, scan, capsys) -> None:
    from praxino.command.cli import run

    np.save(tmp_path / "a.npy", scan)
    folder = write_series(tmp_path / "series", scan)
    assert run(["video", str(folder), "--window", "-600", "1500"]) == 0
    said = capsys.readouterr().out
    assert "DICOM series, " in said
    assert "int16 (window -600, 1500) gray, 20 x 16 pixels" in said or "uint16 (window" in said
    assert "6 of 6 decode" in said
    assert run(["video", str(tmp_path / "a.npy"), "--json", str(tmp_path / "a.json")]) == 0
    (report,) = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (report["container"], report["frames"], report["status"]) == ("npy", 6, "ok")
    assert pydicom.__version__
