"""What a model is fed, seen in videos whose grey values tell which frame it is."""

import copy
import pickle
import signal
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader

from praxino.datasets.clips import (
    EpochOrder,
    TestViews,
    TrainingClips,
    example_name,
    missing_frames,
    sampling_errors,
    single_labels,
)
from praxino.datasets.manifest import Manifest, Row
from praxino.datasets.workers import _begin, _leave_signals_to_the_loop
from praxino.errors import VideoError
from praxino.evaluate import score_videos
from praxino.stop_signals import NAMES
from praxino.video import frame_table
from praxino.video.augmentation import Augmentation
from praxino.video.clip_spec import ClipSpec
from praxino.video.reader import open_video
from praxino.video.transforms import denormalise

EVERY_FRAME = ClipSpec(8, stride_frames=1, size=32, resize_short=48)
SPREAD = ClipSpec(6, size=32, resize_short=48)
PLAIN = Augmentation(crop="centre", flip_probability=0.0)
VARIED = Augmentation(crop="random", flip_probability=0.5, brightness=0.3)


def manifest_of(video: Path, *spans: tuple[float | None, float | None]) -> Manifest:
    rows = [Row(video.name, ("kick",), start, end) for start, end in spans or [(None, None)]]
    return Manifest.from_rows(rows, video.parent)


def training(manifest: Manifest, spec=EVERY_FRAME, augmentation=PLAIN, seed=0) -> TrainingClips:
    return TrainingClips(manifest, spec, augmentation, seed=seed)


def frame_numbers(clip: Tensor, spec: ClipSpec) -> list[int]:
    """Which frames of `numbered_video` a `(C, T, H, W)` clip shows."""
    grey = denormalise(clip, spec.mean, spec.std).mean(dim=(0, 2, 3)) * 255
    return (grey / 4).round().int().tolist()


def write_still(path: Path, pixels: np.ndarray) -> None:
    """20 times the same `(H, W, 3)` picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def sides(tmp_path_factory) -> Manifest:
    """Two videos, bright on one side: `turn_left` on the left, `turn_right` on the right."""
    folder = tmp_path_factory.mktemp("sides")
    pixels = np.full((48, 64, 3), 20, np.uint8)
    pixels[:, :32] = 220
    write_still(folder / "left.mp4", pixels)
    write_still(folder / "right.mp4", pixels[:, ::-1])
    rows = [Row("left.mp4", ("turn_left",)), Row("right.mp4", ("turn_right",))]
    return Manifest.from_rows(rows, folder, ("turn_left", "stand upright", "turn_right"))


def brighter_side(clip: Tensor) -> str:
    half = clip.shape[-1] // 2
    return "left" if clip[..., :half].mean() > clip[..., half:].mean() else "right"


# --- training clips ------------------------------------------------------------------------------


def test_a_clip_is_shaped_as_the_model_wants_it(numbered_video):
    example = training(manifest_of(numbered_video))[0, 0, 0]
    assert example.clip.shape == (3, 8, 32, 32)
    assert example.clip.dtype == torch.float32
    assert (example.row, example.label, example.error, example.short) == (0, 0, None, None)
    assert example.seconds == pytest.approx(60 / 25)
    numbers = frame_numbers(example.clip, EVERY_FRAME)
    assert np.diff(numbers).tolist() == [1] * 7


@pytest.mark.parametrize("spec", [EVERY_FRAME, SPREAD])
def test_a_clip_depends_on_seed_epoch_draw_and_video_alone(numbered_video, spec):
    manifest = manifest_of(numbered_video, (None, None), (None, 2.4))
    data = training(manifest, spec, VARIED)
    clip = data[3, 1, 0].clip
    for other in (training(manifest, spec, VARIED), pickle.loads(pickle.dumps(data))):
        torch.rand(5), np.random.random(5), other[0, 0, 1]  # nothing of this may matter
        assert torch.equal(other[3, 1, 0].clip, clip)
    different = [data[4, 1, 0], data[3, 0, 0], data[3, 1, 1]]
    different.append(training(manifest, spec, VARIED, seed=1)[3, 1, 0])
    for example in different:
        assert not torch.equal(example.clip, clip)


def test_a_clip_does_not_depend_on_its_place_in_the_manifest(numbered_video):
    both = manifest_of(numbered_video, (None, 1.0), (1.0, None))
    only = manifest_of(numbered_video, (1.0, None))
    clip = training(both, augmentation=VARIED)[2, 0, 1].clip
    assert torch.equal(training(only, augmentation=VARIED)[2, 0, 0].clip, clip)


def test_the_workers_of_a_loader_make_the_same_clips(numbered_video):
    data = training(manifest_of(numbered_video, (None, 1.2), (1.2, None)), augmentation=VARIED)
    order = EpochOrder(2, seed=0, draws=2)
    order.epoch = 1

    def clips(workers: int) -> list[Tensor]:
        loader = DataLoader(
            data,
            batch_sampler=BatchSampler(order, 2, drop_last=True),
            num_workers=workers,
            collate_fn=list,
            worker_init_fn=_begin,
        )
        return [example.clip for examples in loader for example in examples]

    alone, with_worker = clips(0), clips(1)
    assert len(alone) == 4
    assert all(torch.equal(a, b) for a, b in zip(alone, with_worker, strict=True))


def test_workers_do_not_die_of_ctrl_c():
    numbers = [getattr(signal, name) for name in NAMES]
    before = [signal.getsignal(number) for number in numbers]
    try:
        _leave_signals_to_the_loop()
        for number in numbers:
            signal.raise_signal(number)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


SPANS = [  # seconds, and the frames at 25 per second that appear in them
    ((None, None), range(60)),
    ((0.8, 1.6), range(20, 40)),
    ((None, 0.4), range(10)),
    ((1.6, None), range(40, 60)),
    ((2.0, 99.0), range(50, 60)),
]


@pytest.mark.parametrize("spec", [EVERY_FRAME, SPREAD])
@pytest.mark.parametrize(("span", "frames"), SPANS)
def test_training_clips_stay_in_their_span(numbered_video, spec, span, frames):
    data = training(manifest_of(numbered_video, span), spec)
    shown = {n for epoch in range(20) for n in frame_numbers(data[epoch, 0, 0].clip, spec)}
    assert shown <= set(frames)
    assert len(shown) > len(frames) / 2


def test_how_long_a_span_is(numbered_video):
    data = training(manifest_of(numbered_video, *(span for span, _ in SPANS)))
    seconds = [data[0, 0, row].seconds for row in range(4)]
    assert seconds == pytest.approx([2.4, 0.8, 0.4, 0.8])


@pytest.mark.parametrize(("probability", "swapped"), [(0.0, False), (1.0, True)])
def test_left_and_right_swap_with_the_picture(sides, probability, swapped):
    augmentation = Augmentation(crop="centre", flip_probability=probability)
    data = training(sides, SPREAD, augmentation)
    for row, name in enumerate(["left", "right"]):
        example = data[0, 0, row]
        side = {"left": "right", "right": "left"}[name] if swapped else name
        assert brighter_side(example.clip) == side
        assert sides.classes[example.label] == f"turn_{side}"


def test_label_and_picture_agree_whatever_is_drawn(sides):
    data = training(sides, SPREAD, Augmentation(crop="random", flip_probability=0.5))
    examples = [data[epoch, 0, row] for epoch in range(12) for row in range(2)]
    for example in examples:
        assert sides.classes[example.label] == f"turn_{brighter_side(example.clip)}"
    assert {example.label for example in examples[::2]} == {0, 2}


def test_a_class_without_a_side_keeps_its_label(sides):
    rows = [Row("left.mp4", ("stand upright",))]
    manifest = Manifest.from_rows(rows, sides.root, sides.classes)
    data = training(manifest, SPREAD, Augmentation(crop="centre", flip_probability=1.0))
    assert data[0, 0, 0].label == 1


# --- test views ----------------------------------------------------------------------------------


@pytest.mark.parametrize("crops", [1, 3, 10])
def test_views_are_clips_first_then_crops(numbered_video, crops):
    example = TestViews(manifest_of(numbered_video), EVERY_FRAME, clips=3, crops=crops)[0]
    assert example.views.shape == (3 * crops, 3, 8, 32, 32)
    assert (example.row, example.label, example.error, example.short) == (0, 0, None, None)
    # Starts are evenly spread from the first to the last possible one: 0, 26, 52.
    for number, view in enumerate(example.views):
        start = 26 * (number // crops)
        assert frame_numbers(view, EVERY_FRAME) == list(range(start, start + 8))


@pytest.mark.parametrize("spec", [EVERY_FRAME, SPREAD])
@pytest.mark.parametrize(("span", "frames"), SPANS)
def test_views_stay_in_their_span(numbered_video, spec, span, frames):
    example = TestViews(manifest_of(numbered_video, span), spec, clips=5, crops=1)[0]
    shown = {n for view in example.views for n in frame_numbers(view, spec)}
    assert shown <= set(frames)
    if spec is EVERY_FRAME:  # the first and the last clip end where the span ends
        assert {frames[0], frames[-1]} <= shown


def test_lengths_are_those_of_the_manifest(numbered_video):
    manifest = manifest_of(numbered_video, (None, 1.0), (1.0, None), (0.5, 0.7))
    assert len(training(manifest)) == 3
    assert len(TestViews(manifest, SPREAD, clips=1, crops=1)) == 3


# --- videos that cannot be read ------------------------------------------------------------------


@pytest.fixture(params=["training", "test"])
def first_example(request):
    """The first example of a manifest, of both kinds of data set."""
    if request.param == "training":
        return lambda manifest, spec: training(manifest, spec)[0, 0, 0]
    return lambda manifest, spec: TestViews(manifest, spec, clips=2, crops=1)[0]


def pixels_of(example) -> Tensor | None:
    return example.clip if hasattr(example, "clip") else example.views


@pytest.mark.parametrize("spec", [EVERY_FRAME, SPREAD])
@pytest.mark.parametrize("span", [(5.0, 9.0), (2.4, None), (0.081, 0.119)])
def test_a_span_without_a_frame(numbered_video, first_example, spec, span):
    example = first_example(manifest_of(numbered_video, span), spec)
    assert pixels_of(example) is None
    assert isinstance(example.error, VideoError)
    assert (example.error.code, example.error.item) == ("out_of_range", "numbered.mp4")
    assert example.error.message.startswith(f"No frame in the span from {span[0]} s to ")
    assert str(example.error).startswith("numbered.mp4: No frame in the span")


def test_a_file_that_is_no_video(broken_video, first_example):
    example = first_example(manifest_of(broken_video), SPREAD)
    assert pixels_of(example) is None
    assert "broken.mp4" in str(example.error)
    assert example.error.code != "out_of_range"


def test_a_file_that_is_not_there(tmp_path, first_example):
    example = first_example(manifest_of(tmp_path / "gone.mp4"), SPREAD)
    assert pixels_of(example) is None
    assert (example.row, example.label) == (0, 0)
    assert "gone.mp4" in str(example.error)


def test_an_error_travels_home_from_a_worker(numbered_video, first_example):
    example = first_example(manifest_of(numbered_video, (5.0, 9.0)), SPREAD)
    for sent in (pickle.loads(pickle.dumps(example)), copy.copy(example)):
        assert (str(sent.error), sent.error.code) == (str(example.error), "out_of_range")


def test_only_value_errors_become_errors_of_the_video():
    with pytest.raises(VideoError, match=r"a\.mp4: no frame there") as caught:
        with sampling_errors("folder/a.mp4"):
            raise ValueError("no frame there")
    assert (caught.value.item, caught.value.code) == ("folder/a.mp4", "out_of_range")
    with pytest.raises(KeyError), sampling_errors("a.mp4"):
        raise KeyError("a mistake of ours")


def test_an_error_of_the_scan_keeps_its_code(numbered_video, first_example, monkeypatch):
    monkeypatch.setattr(frame_table, "MAX_FRAMES", 10)
    example = first_example(manifest_of(numbered_video), SPREAD)
    assert example.error.code == "too_large"
    assert example.error.message.startswith("has more than 10 frames, the limit")


@pytest.fixture
def cut_video(tmp_path) -> Path:
    """An AVI whose header promises 60 frames, cut after two thirds of its bytes."""
    path = tmp_path / "cut.avi"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(60):
            pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


def test_a_file_that_holds_fewer_frames_than_it_promises(cut_video, first_example, monkeypatch):
    monkeypatch.setattr("praxino.datasets.clips.WHOLE_ENOUGH", 0.5)
    example = first_example(manifest_of(cut_video), SPREAD)
    assert pixels_of(example) is not None
    with av.open(str(cut_video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    whole = sum(packet.pos + packet.size <= cut_video.stat().st_size for packet in packets)
    got, expected = example.short
    assert 30 < whole < 45
    assert got == pytest.approx(whole, abs=1)
    assert expected == 60
    with open_video(cut_video) as video:
        assert missing_frames(video) == (got, expected)


def test_a_whole_file_lacks_no_frame(numbered_video):
    with open_video(numbered_video) as video:
        assert missing_frames(video) is None


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [1, 3])
def test_each_row_comes_so_many_times_in_an_epoch(draws):
    order = EpochOrder(7, seed=0, draws=draws)
    order.epoch = 4
    keys = list(order)
    assert len(keys) == len(order) == 7 * draws
    assert sorted(keys) == [(4, draw, row) for draw in range(draws) for row in range(7)]


def test_order_changes_with_the_epoch_and_the_seed_and_with_nothing_else():
    def rows(seed: int, epoch: int) -> list[int]:
        order = EpochOrder(50, seed=seed)
        order.epoch = epoch
        return [row for _, _, row in order]

    first = rows(0, 0)
    np.random.seed(1)
    assert rows(0, 0) == first != sorted(first)
    assert len({tuple(rows(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("skip", [0, 1, 10, 13, 14])
def test_goes_on_in_the_middle_of_an_epoch(skip):
    order = EpochOrder(7, seed=3, draws=2)
    order.epoch = 2
    whole = list(order)
    order.skip = skip
    assert list(order) == whole[skip:]
    assert len(order) == 14 - skip


def test_positions_say_which_rows_come():
    order = EpochOrder(5, seed=1, draws=2)
    order.epoch = 6
    assert [row for _, _, row in order] == (order.positions(6) % 5).tolist()


# --- names and labels ----------------------------------------------------------------------------


def test_spans_of_one_video_have_different_names():
    spans = [(None, None), (0.0, None), (None, 1.5), (1.5, None), (1.5, 2.0), (1.5, 2.0000001)]
    names = [example_name(Row("a/b.mp4", ("x",), *span)) for span in spans]
    assert names == [
        "a/b.mp4", "a/b.mp4@0.0-", "a/b.mp4@-1.5", "a/b.mp4@1.5-", "a/b.mp4@1.5-2.0",
        "a/b.mp4@1.5-2.0000001",
    ]  # fmt: skip


def test_labels_are_positions_in_the_classes():
    rows = [Row("a.mp4", ("kick",)), Row("b.mp4", ("hug",))]
    assert single_labels(Manifest.from_rows(rows, ".")) == [1, 0]
    assert single_labels(Manifest.from_rows(rows, ".", ("kick", "wave", "hug"))) == [0, 2]


@pytest.mark.parametrize("labels", [(), ("hug", "kick")])
def test_one_label_for_each_row(labels):
    rows = [Row("a.mp4", ("kick",)), Row("b.mp4", labels)]
    manifest = Manifest.from_rows(rows, ".", ("hug", "kick"))
    message = rf"Row 2 \(b\.mp4\) has {len(labels)} labels; classification needs exactly one"
    with pytest.raises(ValueError, match=message):
        training(manifest)
    with pytest.raises(ValueError, match=message):
        TestViews(manifest, SPREAD, clips=1, crops=1)


# --- mirrored crops are scored as what they show -------------------------------------------------


class BrighterSide(nn.Module):
    """Says `turn_left` where the left half is brighter, `turn_right` where the right one is."""

    def __init__(self, spec: ClipSpec) -> None:
        super().__init__()
        self.clip_spec = spec

    def forward(self, clip: Tensor) -> Tensor:
        half = clip.shape[-1] // 2
        left = clip[..., :half].mean(dim=(1, 2, 3, 4))
        right = clip[..., half:].mean(dim=(1, 2, 3, 4))
        nothing = torch.full_like(left, -9.0)
        return torch.stack([left - right, nothing, right - left], dim=1)


@pytest.mark.parametrize("crops", [1, 3, 10])
def test_the_scores_of_mirrored_crops_swap_left_and_right(sides, crops):
    # Crops as large as the picture's short side: the edge is in each of them.
    model = BrighterSide(ClipSpec(4, size=48, resize_short=48))
    scores = score_videos(model, sides, clips=2, crops=crops, workers=0, device="cpu")
    assert scores.labels.tolist() == [0, 2]
    for views, label in zip(scores.views, scores.labels, strict=True):
        assert views.shape == (2, crops, 3)
        assert (views.argmax(axis=-1) == label).all()
        assert views[..., label].min() > 0.8


def test_mirrored_crops_give_what_the_crops_of_the_mirrored_video_give(sides):
    # What a model says of "left" in a mirror is what it says of "right" without one.
    model = BrighterSide(ClipSpec(4, size=40, resize_short=48))
    left, right = score_videos(model, sides, clips=1, crops=10, workers=0, device="cpu").views
    # Mirrored, the top left crop is the top right one.
    np.testing.assert_allclose(left[0, [5, 6, 7, 8, 9]], right[0, :5][:, [2, 1, 0]], atol=0.02)


def test_half_a_video_is_not_trained_on(numbered_video, monkeypatch):
    manifest = manifest_of(numbered_video, (None, None))
    monkeypatch.setattr("praxino.datasets.clips.missing_frames", lambda video: (53, 60))
    clip = training(manifest)[0, 0, 0]
    assert clip.clip is None
    assert (clip.error.code, clip.error.message[:22]) == ("short", "holds 53 of 60 frames;")
    monkeypatch.setattr("praxino.datasets.clips.missing_frames", lambda video: (54, 60))
    assert training(manifest)[0, 0, 0].short == (54, 60)


def test_a_video_that_is_cut_is_too_short_to_train_on(cut_video):
    clip = training(manifest_of(cut_video))[0, 0, 0]
    assert clip.error.code == "short"
    with pytest.raises(VideoError, match=r"less than 90% are there\. Copy it again, or leave it"):
        raise clip.error
