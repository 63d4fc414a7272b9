"""Flow of many videos: whole files, resumed, one line for what goes wrong; and pictures."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from praxino.command.cli import run
from praxino.errors import VideoError
from praxino.flow import draw_flow, names_in_store, store_flow
from praxino.video.flow import compute_flow, flow_to_bytes
from praxino.video.flow_store import FlowFile, FlowStore
from praxino.video.reader import open_video
from praxino.video.warped_flow import warp_flow
from praxino.video.writer import write_video


def sliding(count: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A rough picture that slides by 2 pixels a frame: `(T, H, W, 3)`."""
    rough = np.random.default_rng(0).uniform(0, 255, (size[0] // 4, (size[1] + 2 * count) // 4 + 1))
    wide = Image.fromarray(rough.astype(np.uint8)).resize(
        (size[1] + 2 * count, size[0]), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(wide)
    frames = [pixels[:, 2 * (count - t) :][:, : size[1]] for t in range(count)]
    return np.repeat(np.stack(frames)[..., None], 3, axis=-1)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name, count in (("kick/a", 25), ("kick/b", 2), ("wave/a", 10)):
        path = tmp_path / f"videos/{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, sliding(count), 25)
    return tmp_path / "videos"


def test_each_frame_has_its_flow(videos, tmp_path):
    path = videos / "kick/a.mp4"
    record = store_flow({path: "kick/a.mp4"}, tmp_path / "flows")
    assert record.counts["ok"] == 1
    with open_video(path) as video:
        frames = video.frames(range(25)).pixels
    want = flow_to_bytes(compute_flow(frames))
    store = FlowStore(tmp_path / "flows")
    assert store.count("kick/a.mp4") == 24
    assert (store.flow("kick/a.mp4", range(24)) == want).all()  # also where chunks meet
    assert np.abs((want[:, 10:-10, 10:-10, 0] / 255 * 40 - 20).mean() - 2) < 0.1
    with FlowFile(tmp_path / "flows/kick/a.mp4.flow.mkv") as file:
        assert file.record.source_frames == 25
        assert (file.record.method, file.record.warped, file.record.bound) == ("dis", False, 20.0)


def test_resized_and_warped(videos, tmp_path):
    path = videos / "kick/a.mp4"
    store_flow({path: "a.mp4"}, tmp_path, short_side=36, warped=True)
    with open_video(path, short_side=36) as video:
        frames = video.frames([0, 1]).pixels
    want = flow_to_bytes(warp_flow(frames, compute_flow(frames)))
    found = FlowStore(tmp_path, warped=True).flow("a.mp4", [0])
    assert found.shape == (1, 36, 48, 2)
    assert (found == want).all()


def test_the_command_fills_a_folder_and_goes_on_where_it_was(videos, tmp_path, capsys):
    (videos / "wave/broken.mp4").write_bytes(b"no video" * 100)
    write_video(videos / "wave/one.mp4", sliding(1), 25)
    write_video(videos / "wave/tiny.mp4", sliding(3, (14, 16)), 25)
    ledger = tmp_path / "items.jsonl"
    flows = tmp_path / "flows"
    arguments = ["flow", str(videos), "--output", str(flows), "--ledger", str(ledger)]
    assert run(arguments) == 1
    said = capsys.readouterr()
    assert "6 videos: 3 ok, 3 failed" in said.out
    lines = said.err.strip().splitlines()
    assert len(lines) == 3
    assert "one.mp4: has one frame, and flow leads from one frame to the next." in said.err
    assert "tiny.mp4: its frames are 16 x 14 pixels, and flow needs at least 16" in said.err
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [one["status"] for one in entries].count("ok") == 3
    assert {one.get("code") for one in entries} == {
        None, "unsupported_container", "short", "too_small"
    }  # fmt: skip
    found = sorted(path.relative_to(flows).as_posix() for path in flows.rglob("*.*"))
    assert found == ["kick/a.mp4.flow.mkv", "kick/b.mp4.flow.mkv", "wave/a.mp4.flow.mkv"]

    whole = {path: path.stat().st_mtime_ns for path in flows.rglob("*.mkv")}
    cut = flows / "kick/a.mp4.flow.mkv"
    cut.write_bytes(cut.read_bytes()[:-2000])
    write_video(videos / "wave/a.mp4", sliding(12), 25)  # another video of that name
    assert run(arguments) == 1
    assert "6 videos: 2 ok, 3 failed, 1 skipped" in capsys.readouterr().out
    assert FlowStore(flows).count("wave/a.mp4") == 11
    assert len(FlowStore(flows).flow("kick/a.mp4", range(25))) == 25
    kept = flows / "kick/b.mp4.flow.mkv"
    assert kept.stat().st_mtime_ns == whole[kept]
    # Other settings are other flow.
    assert run([*arguments, "--method", "farneback"]) == 1
    assert FlowStore(flows).method == "farneback"
    # Flow that lies among the videos is none of them.
    assert run(["flow", str(videos / "kick"), "--output", str(videos / "kick")]) == 0
    capsys.readouterr()
    assert run(["flow", str(videos / "kick"), "--output", str(videos / "kick")]) == 0
    assert "2 videos: 2 skipped" in capsys.readouterr().out


def test_in_a_locked_process_on_a_device_of_choice(videos, tmp_path):
    arguments = ["flow", str(videos / "kick/b.mp4"), "--output", str(tmp_path / "flows")]
    arguments += ["--untrusted", "--device", "cpu", "--method", "torch_tvl1", "--short-side", "32"]
    assert run(arguments) == 0
    with open_video(videos / "kick/b.mp4", short_side=32) as video:
        frames = video.frames([0, 1]).pixels
    want = flow_to_bytes(compute_flow(frames, "torch_tvl1", device="cpu"))
    assert (FlowStore(tmp_path / "flows").flow("b.mp4", [0]) == want).all()


def test_without_opencv(videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert run(["flow", str(videos), "--output", str(tmp_path / "flows")]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "needs OpenCV, which is not installed" in said
    assert not (tmp_path / "flows").exists()


def test_folders_of_pictures(videos, tmp_path, capsys):
    flows = tmp_path / "flows"
    arguments = ["flow", str(videos), "--output", str(flows), "--images"]
    assert run(arguments) == 0
    assert len(list((flows / "kick/a").glob("flow_[xy]_000[0-9][0-9].jpg"))) == 48
    assert FlowStore(flows).count("kick/a.mp4") == 24
    assert run(arguments) == 0
    (flows / "kick/a/flow_y_00023.jpg").unlink()
    capsys.readouterr()
    assert run(arguments) == 0
    assert "3 videos: 1 ok, 2 skipped" in capsys.readouterr().out
    assert FlowStore(flows).count("kick/a.mp4") == 24
    # Pictures of a.mp4 and a.avi would be one folder.
    (videos / "kick/a.avi").write_bytes(b"")
    assert run(arguments) == 2
    assert "would both have their flow in" in capsys.readouterr().err


def test_frames_that_are_lost_keep_the_numbers_of_the_others(videos, tmp_path):
    """A frame that does not decode is shown as the one before it, which has no flow to itself."""
    import av

    path = tmp_path / "damaged.mkv"
    with av.open(str(videos / "kick/a.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, frame in enumerate(source.decode(video=0)):
            for packet in stream.encode(frame.reformat(format="yuvj420p")):
                if number == 12:
                    broken = av.Packet(b"\xff\xd8\xff" + bytes(200))
                    broken.pts, broken.dts, broken.time_base = (
                        packet.pts,
                        packet.dts,
                        packet.time_base,
                    )
                    broken.stream = stream
                    packet = broken
                target.mux(packet)
        target.mux(stream.encode(None))
    record = store_flow({path: "damaged.mkv"}, tmp_path / "flows")
    assert record.counts["partial"] == 1
    flow = FlowStore(tmp_path / "flows").flow("damaged.mkv", range(24))
    u = flow[:, 10:-10, 10:-10, 0].mean((1, 2)) / 255 * 40 - 20
    assert u[[10, 13, 23]] == pytest.approx([2, 2, 2], abs=0.3)
    assert u[11] == pytest.approx(0, abs=0.1)
    assert u[12] == pytest.approx(4, abs=0.6)


@pytest.mark.slow
@pytest.mark.parametrize("images", [False, True], ids=["packed", "pictures"])
def test_killed_in_the_middle(tmp_path, images):
    """Nothing half-written stays under its name, and the next run goes on."""
    names = {}
    for number in range(3):
        path = tmp_path / f"videos/{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, sliding(20), 25)
        names[path] = path.name
    flows = tmp_path / "flows"
    arguments = ["flow", str(path.parent), "--output", str(flows), "--method", "tvl1"]
    arguments += ["--images"] if images else []
    job = subprocess.Popen([sys.executable, "-m", "praxino", *arguments])
    until = time.monotonic() + 120

    def is_at_the_second() -> bool:
        return any(flows.glob("0*")) and any(flows.glob(".part-*"))

    while not is_at_the_second() and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(ValueError, match=f"flows is in use by process {job.pid}"):
        store_flow(names, flows, images=images)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    done = [path for path in names if any(flows.glob(f"{path.stem}*"))]
    assert 1 <= len(done) < 3
    assert list(flows.glob(".part-*"))
    for one in done:
        assert len(FlowStore(flows).flow(one.name, range(20))) == 20
    record = store_flow(names, flows, method="tvl1", images=images)
    assert record.counts == {"ok": 3 - len(done), "partial": 0, "failed": 0, "skipped": len(done)}
    assert all(FlowStore(flows).count(path.name) == 19 for path in names)
    assert not list(flows.glob(".part-*"))


def test_names_in_a_store(tmp_path):
    (tmp_path / "data/kick").mkdir(parents=True)
    inside, other = tmp_path / "data/kick/a.mp4", tmp_path / "b.mp4"
    flow = tmp_path / "data/kick/a.mp4.flow.mkv"
    found = names_in_store([inside, other, flow], [tmp_path / "data", other])
    assert found == {inside: "kick/a.mp4", other: "b.mp4"}


@pytest.mark.parametrize("suffix", [".png", ".mp4", ".gif"])
def test_pictures_of_flow(videos, tmp_path, suffix, capsys):
    picture = tmp_path / f"drawn{suffix}"
    assert run(["flow", str(videos / "wave/a.mp4"), "--picture", str(picture)]) == 0
    assert f"Wrote {picture}" in capsys.readouterr().out
    if suffix == ".png":
        pixels = np.asarray(Image.open(picture))
        assert pixels.shape == (3 * 216, 4 * 260, 3)
        colour = pixels[60:180, 290:440].reshape(-1, 3).mean(0)
        assert colour[0] > 240 > colour[1] + 60  # to the right: red
        return
    with open_video(picture) as film:
        assert (len(film), film.size) == (9, (432, 520))


def test_the_aperture_problem_in_a_picture(tmp_path):
    """Lucas and Kanade's confidence: black on an edge, white at a corner."""
    frames = np.zeros((2, 96, 96, 3), np.uint8)
    frames[0, 32:64, 32:64] = frames[1, 32:64, 33:65] = 200
    write_video(tmp_path / "square.mp4", frames, 25, quality=5)
    draw_flow(tmp_path / "square.mp4", tmp_path / "square.png", method="lucas_kanade", device="cpu")
    pixels = np.asarray(Image.open(tmp_path / "square.png"))
    assert pixels.shape == (216, 5 * 196, 3)
    sure = pixels[22:-2, 4 * 196 + 2 :][:, :192, 0]  # twice as large as the frames
    assert sure[64, 64] > 200
    assert sure[96, 64] < 60
    assert sure[96, 96] < 10
    draw_flow(tmp_path / "square.mp4", tmp_path / "square.gif", method="lucas_kanade", device="cpu")
    with open_video(tmp_path / "square.gif") as film:
        assert film.size == (2 * 216, 3 * 196)


def test_what_cannot_be_drawn(videos, tmp_path):
    with pytest.raises(ValueError, match=r"as 'a\.jpg': use \.png, \.mp4, \.gif"):
        draw_flow(videos / "kick/a.mp4", tmp_path / "a.jpg")
    write_video(tmp_path / "one.mp4", sliding(1), 25)
    with pytest.raises(VideoError, match="has one frame"):
        draw_flow(tmp_path / "one.mp4", tmp_path / "a.png")
    write_video(tmp_path / "long.mp4", np.zeros((151, 16, 16, 3), np.uint8), 25)
    with pytest.raises(ValueError, match="151 frames, and a GIF holds at most 150"):
        draw_flow(tmp_path / "long.mp4", tmp_path / "a.gif")
    assert not list(tmp_path.glob("a.*"))
