"""GTEA61: folders of pictures, original labels, and the flow that comes with them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from praxino.command.cli import run
from praxino.datasets.gtea61 import pack_gtea61_flow, read_gtea61
from praxino.datasets.manifest import Manifest
from praxino.errors import VideoError
from praxino.video.flow_store import FlowStore
from praxino.video.reader import open_video


@pytest.fixture
def copied(made_up_gtea61: Path, tmp_path: Path) -> Path:
    """To be damaged."""
    return Path(shutil.copytree(made_up_gtea61, tmp_path / "gtea61"))


def test_reads_the_folders_of_four_people(made_up_gtea61: Path) -> None:
    manifest = read_gtea61(None, made_up_gtea61, complete=False)
    assert manifest.classes == ("close_jar", "open_jar", "take_cup")
    assert len(manifest) == 12
    first = manifest.rows[0]
    assert first.video == "processed_frames2/S1/close_jar/1/rgb"
    assert (first.labels, first.group, first.split) == (("close_jar",), "S1", "train")
    assert {row.group for row in manifest if row.split == "test"} == {"S2"}
    with open_video(manifest.path(first)) as video:
        assert len(video) == 8


def test_reads_the_authors_folders(made_up_gtea61: Path, tmp_path: Path) -> None:
    """`frames/S1/close_jar/1/`, without a folder `rgb`; clips in the order of their numbers."""
    for person in ("S1", "S2", "S3", "S4"):
        for clip in ("close_jar/2", "close_jar/10", "stir_cup/1", "put_tea/1"):
            source = made_up_gtea61 / "processed_frames2" / person / "close_jar" / "1" / "rgb"
            shutil.copytree(source, tmp_path / "frames" / person / clip)
    (tmp_path / "frames" / "S1" / ".DS_Store").touch()
    manifest = read_gtea61(None, tmp_path, complete=False)
    assert [row.video for row in manifest][:3] == [
        "frames/S1/close_jar/2",
        "frames/S1/close_jar/10",
        "frames/S1/stir_cup/1",
    ]
    # One action is renamed, and one is left out, as the authors do.
    assert manifest.classes == ("close_jar", "stir_spoon,cup")


def test_has_61_actions(made_up_gtea61: Path) -> None:
    with pytest.raises(ValueError, match=r"GTEA61 has 61 actions, .* has 3. Prepare the data set"):
        read_gtea61(None, made_up_gtea61)


def test_folders_that_are_missing(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no folder S1 in .*nothing or its frames, proc"):
        read_gtea61(None, tmp_path / "nothing")
    shutil.rmtree(copied / "processed_frames2" / "S3" / "open_jar" / "1" / "rgb")
    with pytest.raises(ValueError, match=r"processed_frames2/S3/open_jar/1: holds no numbered pic"):
        read_gtea61(None, copied, complete=False)
    shutil.rmtree(copied / "processed_frames2" / "S4")
    with pytest.raises(
        ValueError, match=r"There is no folder S4 in .*processed_frames2; it belong"
    ):
        read_gtea61(None, copied, complete=False)


def test_packs_the_flow(made_up_gtea61: Path, tmp_path: Path) -> None:
    manifest = read_gtea61(None, made_up_gtea61, complete=False)
    seen: list[tuple[int, int]] = []
    assert pack_gtea61_flow(manifest, tmp_path, said=lambda *of: seen.append(of)) == 12
    assert seen[-1] == (12, 12)
    assert pack_gtea61_flow(manifest, tmp_path) == 0  # all are there
    store = FlowStore(tmp_path, warped=True)
    video = "processed_frames2/S1/close_jar/1/rgb"
    assert store.method == "tvl1"
    assert store.count(video) == 7
    flow = store.flow(video, [2, 7])
    assert flow.shape == (2, 40, 48, 2)
    assert flow[0, 4:20, 10:26].reshape(-1, 2).tolist() == [[141, 128]] * 256  # frame 3: 2 px right
    assert flow[0, 0, 0].tolist() == [128, 128]
    assert store.flow("S1/close_jar/1/rgb", [0]).shape == (1, 40, 48, 2)


def test_packs_flow_inside_of_clips(made_up_gtea61: Path, tmp_path: Path) -> None:
    for person in ("S1", "S2", "S3", "S4"):
        clip = f"{person}/take_cup/1"
        shutil.copytree(made_up_gtea61 / "processed_frames2" / clip, tmp_path / clip)
        for axis in "xy":
            shutil.copytree(
                made_up_gtea61 / f"flow_{axis}_processed" / clip, tmp_path / clip / f"flow_{axis}"
            )
    manifest = read_gtea61(None, tmp_path, complete=False)
    assert pack_gtea61_flow(manifest, tmp_path / "flows") == 4


def test_flow_of_another_length(copied: Path, tmp_path: Path) -> None:
    manifest = read_gtea61(None, copied, complete=False)
    (copied / "flow_y_processed/S2/open_jar/1/flow_y_00007.png").unlink()
    with pytest.raises(VideoError, match=r"8 frames, 7 pictures of flow along x and 6 along y, wh"):
        pack_gtea61_flow(manifest, tmp_path / "flows")
    (copied / "flow_x_processed/S2/open_jar/1/flow_x_00007.png").unlink()
    with pytest.raises(VideoError, match=r"do not belong together: 7 lead from one frame to the"):
        pack_gtea61_flow(manifest, tmp_path / "flows")


def test_flow_that_is_missing(copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "flow_y_processed" / "S1")
    manifest = read_gtea61(None, copied, complete=False)
    with pytest.raises(VideoError, match=r"rgb: has no warped flow along y in .*flow_y, .*praxino"):
        pack_gtea61_flow(manifest, tmp_path / "flows")
    assert not list(tmp_path.rglob("*.mkv"))


def test_flow_of_two_sizes(copied: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((30, 48), np.uint8)).save(
        copied / "flow_y_processed/S1/close_jar/1/flow_y_00003.png"
    )
    manifest = read_gtea61(None, copied, complete=False)
    with pytest.raises(
        VideoError, match=r"flow_x_00003.png is 48 x 40 and flow_y_00003.png is 48 x"
    ):
        pack_gtea61_flow(manifest, tmp_path / "flows")


LABELS = """\
<take><bread> (11-25)
<background> (26-30)
<stir><cup> (31-45)
<put><tea> (46-50)
"""


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    for person in ("S1", "S2"):
        (folder / f"{person}_Tea_C1.txt").write_text(LABELS)
    return folder


def test_reads_the_original_labels(labels: Path, tmp_path: Path) -> None:
    """Frames are counted from 1, fifteen to the second; both ends belong to the span."""
    manifest = read_gtea61(labels, tmp_path / "recordings", complete=False)
    assert manifest.classes == ("stir_spoon,cup", "take_bread")
    first = manifest.rows[0]
    assert (first.video, first.split) == ("S1_Tea_C1.mp4", "train")
    assert (first.start_seconds, first.end_seconds) == pytest.approx((10 / 15, 25 / 15))
    assert [row.split for row in manifest] == ["train", "train", "test", "test"]


def test_the_labels_of_folders_of_frames_count_at_their_rate(labels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recordings" / "S1_Tea_C1"
    folder.mkdir(parents=True)
    for number in range(1, 51):
        Image.new("L", (8, 8), number).save(folder / f"{number:05d}.png")
    row = read_gtea61(labels, tmp_path / "recordings", complete=False).rows[0]
    assert row.video == "S1_Tea_C1"
    with open_video(folder) as video:
        shown = [
            int(video.frames_at([second + 1e-6]).pixels[0, 0, 0, 0])
            for second in (row.start_seconds or 0, (row.end_seconds or 0) - 1 / 25)
        ]
    assert shown == [11, 25]


def test_labels_that_are_none(labels: Path, tmp_path: Path) -> None:
    (labels / "S1_Tea_C1.txt").write_text("<take><bread> (25-11)\n<take><cup> 5 to 6\n")
    with pytest.raises(ValueError, match=r"S1_Tea_C1.txt:2: '<take><cup> 5 to 6' is not <verb><ob"):
        read_gtea61(labels, tmp_path, complete=False)
    with pytest.raises(ValueError, match=r"There are no label files S1_....txt to S4_....txt in"):
        read_gtea61(tmp_path / "nothing", tmp_path)


def test_the_command_imports_and_packs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All 61 actions, of two frames each."""
    for person in ("S1", "S2", "S3", "S4"):
        for number in range(61 if person == "S1" else 1):
            clip = f"{person}/action_{number:02d}/1"
            for folder, name in (
                ("frames", "{}.png"),
                ("flow_x", "x{}.png"),
                ("flow_y", "y{}.png"),
            ):
                (tmp_path / folder / clip).mkdir(parents=True)
                for picture in (1, 2) if folder == "frames" else (1,):
                    path = tmp_path / folder / clip / name.format(picture)
                    Image.new("L", (16, 16), 128).save(path)
    arguments = ["data", "import", "gtea61", f"--videos={tmp_path}", f"--to={tmp_path / 'm.csv'}"]
    assert run([*arguments, f"--flow={tmp_path / 'packed'}"]) == 0
    said = capsys.readouterr().out
    assert "64 of 64 videos are in" in said
    assert "Packed the flow of 64 videos into" in said
    row = Manifest.read(tmp_path / "m.csv").rows[0]
    assert FlowStore(tmp_path / "packed", warped=True).count(row.video) == 1
    assert run(["data", "import", "kth", str(tmp_path), *arguments[3:], "--flow=packed"]) == 2
    assert "The reader of kth has no option --flow" in capsys.readouterr().err
