"""Flow on disk: packed losslessly, found by any end of a video's name, never half of it."""

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from praxino.errors import VideoError
from praxino.video.decoder import GreyReader, check_source
from praxino.video.flow import flow_from_bytes, flow_to_bytes
from praxino.video.flow_store import (
    FlowFile,
    FlowRecord,
    FlowStore,
    is_whole,
    write_flow,
    write_flow_images,
)
from praxino.video.motion import Motion
from praxino.video.reader import open_video
from praxino.video.writer import GreyWriter, write_video

RECORD = FlowRecord("dis", False, 20.0, "a.mp4", 1234, 13, 48)


def flows(count: int = 12, size: tuple[int, int] = (35, 51)) -> NDArray[np.uint8]:
    """Noise, which no lossy codec would keep."""
    return np.random.default_rng(0).integers(0, 256, (count, *size, 2), dtype=np.uint8)


def of(count: int) -> FlowRecord:
    return dataclasses.replace(RECORD, source_frames=count + 1)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_flow(tmp_path / "flows/kick/a.mp4.flow.mkv", RECORD, flows())
    return tmp_path / "flows"


def test_every_byte_comes_back_in_any_order(store):
    with FlowFile(store / "kick/a.mp4.flow.mkv") as file:
        assert file.record == RECORD
        assert (len(file), file.size) == (12, (35, 51))
        for number in (5, 6, 11, 0, 1, 3, 3, 2):
            assert (file.flow(number) == flows()[number]).all()


def test_frames_and_their_flow(store):
    found = FlowStore(store).flow("kick/a.mp4", np.array([3, 0, 11, 12, 3]))
    assert (found == flows()[[3, 0, 11, 11, 3]]).all()  # the last frame has that of the one before
    assert FlowStore(store).count("kick/a.mp4") == 12
    assert FlowStore(store).method == "dis"


@pytest.mark.parametrize("video", ["/data/videos/kick/a.mp4", "kick/a.mp4", Path("./kick/a.mp4")])
def test_a_video_is_known_by_the_end_of_its_path(store, video):
    assert FlowStore(store).count(video) == 12


def test_resized_on_request(store):
    found = FlowStore(store).flow("kick/a.mp4", [1], (20, 30))
    assert found.shape == (1, 20, 30, 2)
    want = np.asarray(
        Image.fromarray(flows()[1, ..., 0]).resize((30, 20), Image.Resampling.BILINEAR)
    )
    assert (found[0, ..., 0] == want).all()


def test_warped_flow_lies_beside_it(store):
    record = dataclasses.replace(RECORD, warped=True)
    write_flow(store / "kick/a.mp4.warped_flow.mkv", record, 255 - flows())
    assert (FlowStore(store, warped=True).flow("kick/a.mp4", [4])[0] == 255 - flows()[4]).all()
    assert (FlowStore(store).flow("kick/a.mp4", [4])[0] == flows()[4]).all()


def test_another_bound_comes_as_the_usual_bytes(store):
    pixels = np.linspace(-5, 5, 12 * 35 * 51 * 2).reshape(12, 35, 51, 2)
    path = store / "kick/b.mp4.flow.mkv"
    write_flow(path, dataclasses.replace(RECORD, bound=5.0), flow_to_bytes(pixels, 5))
    found = flow_from_bytes(FlowStore(store).flow("kick/b.mp4", range(12)))
    assert np.abs(found - pixels).max() < 0.1


def test_other_players_can_read_it(store):
    """Grey pictures, u above v, one for each flow."""
    with av.open(str(store / "kick/a.mp4.flow.mkv")) as container:
        pictures = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(pictures) == 12
    assert (pictures[7] == np.concatenate([flows()[7, ..., 0], flows()[7, ..., 1]])).all()
    with open_video(store / "kick/a.mp4.flow.mkv") as video:
        assert (len(video), video.size) == (12, (70, 51))


def test_a_clip_gets_its_flow_from_the_store(store):
    places = np.array([0, 4, 8, 12])
    frames = np.zeros((4, 70, 102, 3), np.uint8)
    motion = Motion(str(store))
    clip = motion.add(frames, ("rgb", "flow"), "/data/kick/a.mp4", places)
    assert clip.shape == (4, 70, 102, 5)
    want = FlowStore(store).flow("kick/a.mp4", places, (70, 102))
    assert (clip[..., 3:] == want).all()
    assert motion.method == "dis"
    with pytest.raises(VideoError, match="has no warped flow"):
        motion.add(frames, ("rgb", "warped_flow"), "kick/a.mp4", places)


def test_too_few_flows_leave_nothing(tmp_path):
    path = tmp_path / "a.mp4.flow.mkv"
    with pytest.raises(ValueError, match="13 frames have 12 flows, got 7"):
        write_flow(path, RECORD, flows(7))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.97])
def test_a_file_that_is_cut_short(store, kept):
    path = store / "kick/a.mp4.flow.mkv"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(VideoError, match=r"a\.mp4\.flow\.mkv.*is damaged") as caught:
        FlowStore(store).flow("kick/a.mp4", range(13))
    assert caught.value.code == "damaged"


def test_a_bit_that_has_flipped(store):
    """FFmpeg decodes such a picture to something; it is not what was written."""
    path = store / "kick/a.mp4.flow.mkv"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
    refused = {}
    with FlowFile(path) as file:
        for number in range(12):
            try:
                assert (file.flow(number) == flows()[number]).all()
            except VideoError as caught:
                refused[number] = caught.message
    ((number, said),) = refused.items()
    assert f"picture {number} is not there or not whole" in said


def test_what_is_no_flow(store, tmp_path):
    write_video(store / "kick/c.mp4.mp4", np.zeros((3, 32, 32, 3), np.uint8), 25)
    (store / "kick/c.mp4.mp4").rename(store / "kick/c.mp4.flow.mkv")
    with pytest.raises(VideoError, match="holds h264 in yuv420p, not grey pictures"):
        FlowStore(store).flow("kick/c.mp4", [0])
    with GreyWriter(store / "kick/d.mp4.flow.mkv", {}) as writer:
        writer.write(np.zeros((32, 32), np.uint8))
    with pytest.raises(VideoError, match="not flow that praxino stored"):
        FlowStore(store).flow("kick/d.mp4", [0])
    for said, wrong in (
        ("nonsense", "is not JSON"),
        ('{"method": 3}', "warped is missing"),
        (
            '{"method": "dis", "warped": false, "bound": 20, "source": "", "source_bytes": 1, '
            '"source_frames": 1}',
            "source_frames must be at least 2, got 1",
        ),
    ):
        with GreyWriter(store / "kick/e.mp4.flow.mkv", {"PRAXINO_FLOW": said}) as writer:
            writer.write(np.zeros((32, 32), np.uint8))
        with pytest.raises(VideoError, match=f"is damaged: .*{wrong}"):
            FlowStore(store).flow("kick/e.mp4", [0])
    with GreyWriter(tmp_path / "odd.mkv", {"PRAXINO_FLOW": said.replace("1}", "2}")}) as writer:
        writer.write(np.zeros((33, 32), np.uint8))
    with pytest.raises(VideoError, match="33 rows are no u above v"):
        FlowFile(tmp_path / "odd.mkv")


def test_what_is_asked_for_and_not_there(store):
    flow_of = FlowStore(store).flow
    with pytest.raises(VideoError, match=r"has no flow in .*praxino flow b\.mp4") as caught:
        flow_of("kick/b.mp4", [0])
    assert caught.value.code == "flow_missing"
    with pytest.raises(VideoError, match=r"has no warped flow .* --warped"):
        FlowStore(store, warped=True).flow("kick/a.mp4", [0])
    with pytest.raises(VideoError, match="a frame 13, and its flow is of 13 frames") as caught:
        flow_of("kick/a.mp4", [0, 13])
    assert caught.value.code == "flow_length"
    for wrong in ([], [-1], [[0]], [0.5]):
        with pytest.raises(ValueError, match="one row of whole numbers from 0"):
            flow_of("kick/a.mp4", wrong)
    with pytest.raises(ValueError, match="There is no folder of flow 'nowhere'"):
        FlowStore("nowhere")


# --- pictures ------------------------------------------------------------------------------------

STYLES = {
    "denseflow": ("flow_{axis}_{number:05d}.jpg", 0),
    "tsn": ("flow_{axis}_{number:05d}.jpg", 1),
    "short": ("{axis}_{number:04d}.jpg", 1),
    "png": ("flow_{axis}_{number:05d}.png", 1),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("folder", ["kick/a", "a"])
def test_folders_of_pictures_are_read(tmp_path, style, folder):
    pattern, first = STYLES[style]
    (tmp_path / folder).mkdir(parents=True)
    for number in range(6):
        for axis, level in (("x", 100 + 10 * number), ("y", 200 - 10 * number)):
            picture = Image.fromarray(np.full((24, 32), level, np.uint8))
            picture.save(tmp_path / folder / pattern.format(axis=axis, number=number + first))
    store = FlowStore(tmp_path)
    assert (store.count("kick/a.avi"), store.method) == (6, None)
    found = store.flow("kick/a.avi", [0, 3, 5, 6])
    assert found.shape == (4, 24, 32, 2)
    assert found[:, 0, 0].tolist() == [[100, 200], [130, 170], [150, 150], [150, 150]]


@pytest.mark.parametrize("end", ["kick/a", "a"])
def test_two_folders_called_u_and_v(tmp_path, end):
    for axis, level in (("u", 100), ("v", 200)):
        (tmp_path / axis / end).mkdir(parents=True)
        for number in range(1, 6):
            picture = Image.fromarray(np.full((24, 32), level + number, np.uint8))
            picture.save(tmp_path / axis / end / f"frame{number:06d}.jpg")
    store = FlowStore(tmp_path)
    assert (store.count("kick/a.avi"), store.method) == (5, None)
    assert store.flow("kick/a.avi", [0, 5])[:, 0, 0].tolist() == [[101, 201], [105, 205]]
    (tmp_path / "v" / end / "frame000003.jpg").unlink()
    with pytest.raises(VideoError, match="half written: y of flow 3 is missing, of 1 to 5"):
        store.flow("kick/a.avi", [0])


@pytest.mark.parametrize("first", [0, 1])
def test_pictures_there_and_back(tmp_path, first):
    smooth = np.linspace(60, 200, 3 * 48 * 64 * 2).reshape(3, 48, 64, 2).astype(np.uint8)
    write_flow_images(tmp_path / "a", of(3), smooth, first_number=first)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names[:2] == ["flow.json", f"flow_x_{first:05d}.jpg"]
    assert len(names) == 7
    found = FlowStore(tmp_path).flow("a.mp4", range(4))
    assert np.abs(found[:3].astype(int) - smooth).max() <= 3


def test_a_half_written_folder(tmp_path):
    write_flow_images(tmp_path / "a", of(5), flows(5))
    (tmp_path / "a/flow_y_00004.jpg").unlink()
    with pytest.raises(
        VideoError, match="half written: y of flow 4 is missing, of 0 to 4"
    ) as caught:
        FlowStore(tmp_path).flow("a.mp4", [0])
    assert caught.value.code == "flow_incomplete"
    (tmp_path / "a/flow_x_00004.jpg").unlink()
    assert FlowStore(tmp_path).count("a.mp4") == 4
    assert not is_whole(tmp_path / "a", of(5))
    (tmp_path / "a/flow_x_00002.jpg").unlink()
    with pytest.raises(VideoError, match="x of flow 2 is missing"):
        FlowStore(tmp_path).flow("a.mp4", [0])
    for picture in (tmp_path / "a").glob("*.jpg"):
        picture.unlink()
    assert not is_whole(tmp_path / "a", of(5))
    with pytest.raises(VideoError, match="has no flow in"):
        FlowStore(tmp_path).count("a.mp4")


def test_writing_pictures_is_all_or_nothing(tmp_path):
    def broken():
        yield from flows(3)
        raise RuntimeError("the video ends here")

    with pytest.raises(RuntimeError, match="ends here"):
        write_flow_images(tmp_path / "a", of(3), broken())
    assert not list(tmp_path.iterdir())
    write_flow_images(tmp_path / "a", of(5), flows(5))
    write_flow_images(tmp_path / "a", of(3), flows(3))  # in its place, and nothing of the old one
    assert len(list((tmp_path / "a").iterdir())) == 7


def test_pictures_take_the_place_of_flow_only(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"replaced by a folder of flow, and holds 'thesis\.tex'"):
        write_flow_images(tmp_path / "a", of(3), flows(3))
    assert (tmp_path / "a/thesis.tex").read_text() == "years of work"
    with pytest.raises(ValueError, match="5 frames have 4 flows, got 3"):
        write_flow_images(tmp_path / "b", of(4), flows(3))


def test_our_pictures_tell_how_they_were_made(tmp_path):
    write_flow_images(tmp_path / "a", dataclasses.replace(of(3), warped=True), flows(3))
    assert FlowStore(tmp_path).method == "dis"
    assert FlowStore(tmp_path, warped=True).count("a.mp4") == 3
    with pytest.raises(VideoError, match="has no flow in"):
        FlowStore(tmp_path).count("a.mp4")
    (tmp_path / "a/flow.json").write_text("{}")
    with pytest.raises(VideoError, match=r"is damaged: flow\.json: method is missing"):
        FlowStore(tmp_path).count("a.mp4")


def test_whole_and_made_as_asked(store):
    path = store / "kick/a.mp4.flow.mkv"
    assert is_whole(path, RECORD)
    assert is_whole(path, dataclasses.replace(RECORD, source_frames=2))  # not known beforehand
    for change in ({"method": "tvl1"}, {"short_side": None}, {"source_bytes": 1235}):
        assert not is_whole(path, dataclasses.replace(RECORD, **change))
    assert not is_whole(store / "nothing.flow.mkv", RECORD)
    path.write_bytes(path.read_bytes()[:-3000])
    assert not is_whole(path, RECORD)


def test_damaged_pictures(tmp_path):
    write_flow_images(tmp_path / "a", of(2), flows(2))
    picture = tmp_path / "a/flow_x_00001.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(VideoError, match=r"flow_x_00001\.jpg is no whole JPEG"):
        FlowStore(tmp_path).flow("a.mp4", [1])
    Image.new("L", (9, 9)).save(picture)
    with pytest.raises(VideoError, match="flow of two sizes"):
        FlowStore(tmp_path).flow("a.mp4", [1])
    Image.new("L", (9, 9)).save(tmp_path / "a/flow_y_00001.jpg")
    with pytest.raises(VideoError, match="flow of 2 sizes"):
        FlowStore(tmp_path).flow("a.mp4", [0, 1])


# --- the door ------------------------------------------------------------------------------------


def test_grey_pictures_are_refused_in_other_shapes(tmp_path):
    with pytest.raises(ValueError, match=r"as \.mkv, got 'a\.mp4'"):
        GreyWriter(tmp_path / "a.mp4", {})
    with GreyWriter(tmp_path / "a.mkv", {"A": "b"}) as writer:
        with pytest.raises(TypeError, match="uint8, got float64"):
            writer.write(np.zeros((16, 16)))
        with pytest.raises(ValueError, match=r"\(H, W\), got \(16, 16, 3\)"):
            writer.write(np.zeros((16, 16, 3), np.uint8))
        writer.write(np.zeros((16, 16), np.uint8))
    reader = GreyReader(check_source(tmp_path / "a.mkv"))
    assert reader.tags["A"] == "b"
    with pytest.raises(VideoError, match="picture 1 is not there"):
        reader.picture(1)
    assert reader.picture(0).shape == (16, 16)
    reader.close()
