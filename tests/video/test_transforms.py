import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torchvision.transforms import functional as pictures

from praxino.video.augmentation import Augmentation
from praxino.video.clip_spec import KINETICS_MEAN, KINETICS_STD, ClipSpec
from praxino.video.transforms import (
    FlipPairs,
    centre_crop,
    colour_jitter,
    denormalise,
    from_clip,
    from_tchw,
    horizontal_flip,
    multi_scale_corner_crop,
    normalise,
    random_crop,
    random_resized_crop,
    random_sides_crop,
    resize_short,
    stretch,
    ten_crops,
    test_views,
    three_crops,
    to_clip,
    to_tchw,
    train_transform,
)

test_views.__test__ = False  # it is what is tested here, not a test

SPEC = ClipSpec(4, 5)


def noise(frames: int = 4, height: int = 48, width: int = 64) -> np.ndarray:
    """(T, H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def coordinates(height: int, width: int) -> torch.Tensor:
    """(2, 1, H, W): every pixel holds its own row and column, so that a crop says where it is."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns])[:, None]


def corner(clip: torch.Tensor) -> tuple[int, int]:
    return tuple(clip[:, 0, 0, 0].tolist())


# --- Layout and range ---


@given(arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 5)] * 3, st.just(3))))
def test_a_clip_goes_there_and_back_without_loss(frames):
    clip = to_clip(frames)
    assert clip.shape == (3, *frames.shape[:3])
    assert clip.is_contiguous()
    np.testing.assert_array_equal(from_clip(clip), frames)
    np.testing.assert_array_equal(from_clip(from_tchw(to_tchw(clip))), frames)


def test_to_clip_is_torchvisions_conversion():
    frames = noise()
    for number, frame in enumerate(frames):
        assert torch.equal(to_clip(frames)[:, number], pictures.to_tensor(Image.fromarray(frame)))


def test_layouts_of_the_two_conventions():
    clip = to_clip(noise())
    assert clip.shape == (3, 4, 48, 64)
    assert to_tchw(clip).shape == (4, 3, 48, 64)
    assert torch.equal(to_tchw(clip)[2], clip[:, 2])


def test_a_small_clip_is_588_kib():
    assert noise(16, 112, 112).nbytes == 588 * 1024


@pytest.mark.parametrize("view", ["read-only", "mirrored", "every second"])
def test_frames_may_be_any_kind_of_array(view):
    frames = noise()
    if view == "read-only":
        frames.flags.writeable = False
    else:
        frames = frames[:, :, ::-1] if view == "mirrored" else frames[::2]
    np.testing.assert_array_equal(from_clip(to_clip(frames)), frames)
    assert (
        train_transform(frames, SPEC_32, np.random.default_rng(0), Augmentation()).isfinite().all()
    )


SPEC_32 = ClipSpec(4, 5, size=32, resize_short=40)


def test_from_clip_cuts_off_what_is_out_of_range():
    clip = torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1, 1)
    assert from_clip(clip).ravel().tolist() == [0, 128, 255]


def test_normalise_by_hand():
    clip = torch.tensor([0.5, 0.5, 1.0]).view(3, 1, 1, 1)
    given_clip = clip.clone()
    normal = normalise(clip, (0.5, 0.25, 0.0), (1.0, 0.5, 0.25))
    assert normal.ravel().tolist() == [0.0, 0.5, 4.0]
    assert torch.equal(clip, given_clip)
    back = denormalise(normal, (0.5, 0.25, 0.0), (1.0, 0.5, 0.25))
    torch.testing.assert_close(back, clip)


def test_normalise_is_torchvisions():
    clip = to_clip(noise())
    expected = from_tchw(pictures.normalize(to_tchw(clip), KINETICS_MEAN, KINETICS_STD))
    torch.testing.assert_close(normalise(clip, KINETICS_MEAN, KINETICS_STD), expected)


# --- Resize and crop ---


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (50, 50), (31, 97), (9, 20)])
@pytest.mark.parametrize("short_side", [20, 31, 64])
def test_resize_short_is_torchvisions(height, width, short_side):
    clip = torch.from_numpy(noise(2, height, width)).permute(3, 0, 1, 2)
    for one in (clip, clip.float()):
        expected = from_tchw(pictures.resize(to_tchw(one).contiguous(), short_side, antialias=True))
        resized = resize_short(one, short_side)
        assert resized.dtype == one.dtype
        assert resized.shape == expected.shape
        # torchvision resizes uint8 in float, torch in whole numbers like Pillow: one level at most.
        assert (resized.float() - expected.float()).abs().max() <= (1 if one is clip else 0.001)


def test_resize_short_is_pillows():
    frame = noise(1, 60, 80)[0]
    expected = np.asarray(Image.fromarray(frame).resize((40, 30), Image.Resampling.BILINEAR))
    resized = resize_short(torch.from_numpy(frame[None]).permute(3, 0, 1, 2), 30)
    difference = np.abs(resized[:, 0].permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.02


def test_a_clip_of_the_right_size_is_left_alone():
    clip = to_clip(noise(2, 48, 64))
    assert resize_short(clip, 48) is clip


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 64), (33, 32), (32, 32)])
def test_centre_crop_is_torchvisions(height, width):
    clip = to_clip(noise(2, height, width))
    expected = from_tchw(pictures.center_crop(to_tchw(clip), [32, 32]))
    assert torch.equal(centre_crop(clip, 32), expected)


@pytest.mark.parametrize(
    ("height", "width", "corners"),
    [
        (10, 20, [(0, 0), (0, 5), (0, 10)]),
        (20, 10, [(0, 0), (5, 0), (10, 0)]),
        (12, 20, [(1, 0), (1, 5), (1, 10)]),
        (10, 10, [(0, 0), (0, 0), (0, 0)]),
    ],
)
def test_three_crops_lie_along_the_long_side(height, width, corners):
    crops = three_crops(coordinates(height, width), 10)
    assert crops.shape == (3, 2, 1, 10, 10)
    assert [corner(crop) for crop in crops] == corners


def test_ten_crops_are_torchvisions():
    clip = to_clip(noise(2, 41, 64))
    expected = torch.stack([from_tchw(crop) for crop in pictures.ten_crop(to_tchw(clip), 32)])
    assert torch.equal(ten_crops(clip, 32), expected)


def test_random_crop_reaches_every_place_and_no_other():
    rng = np.random.default_rng(0)
    clip = coordinates(5, 6)
    crops = [random_crop(clip, 4, rng) for _ in range(200)]
    assert all(crop.shape == (2, 1, 4, 4) for crop in crops)
    assert {corner(crop) for crop in crops} == {(y, x) for y in range(2) for x in range(3)}


def box(crop: torch.Tensor) -> tuple[float, float, float, float]:
    """Where a resized crop of `coordinates` lay: top, left, height, width, to half a pixel."""
    size = crop.shape[-1]
    rows, columns = crop[0, 0, :, 0].float(), crop[1, 0, 0].float()
    height = (rows[-2] - rows[1]) / (size - 3) * size
    width = (columns[-2] - columns[1]) / (size - 3) * size
    middle = rows.mean(), columns.mean()
    top, left = middle[0] - height / 2 + 0.5, middle[1] - width / 2 + 0.5
    return top.item(), left.item(), height.item(), width.item()


def test_random_resized_crop_keeps_scale_and_ratio():
    rng = np.random.default_rng(0)
    clip = coordinates(90, 120).float()
    areas, ratios = [], []
    for _ in range(200):
        crop = random_resized_crop(clip, 32, rng, scale=(0.3, 0.6), ratio=(0.8, 1.25))
        assert crop.shape == (2, 1, 32, 32)
        top, left, height, width = box(crop)
        assert min(top, left) > -1
        assert top + height < 91
        assert left + width < 121
        areas.append(height * width / (90 * 120))
        ratios.append(width / height)
    assert 0.28 < min(areas) < 0.33
    assert 0.57 < max(areas) < 0.62
    assert 0.77 < min(ratios) < 0.83
    assert 1.2 < max(ratios) < 1.3


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(10, 100, (0, 44, 10, 13)), (100, 10, (44, 0, 13, 10))]
)
def test_random_resized_crop_of_a_strip_takes_its_middle(height, width, expected):
    clip = coordinates(height, width).float()
    crop = random_resized_crop(clip, 32, np.random.default_rng(0), scale=(0.9, 1.0))
    np.testing.assert_allclose(box(crop), expected, atol=1.5)


def test_multi_scale_corner_crops_are_five_places_of_near_square_boxes():
    rng = np.random.default_rng(0)
    clip = coordinates(80, 120).float()
    seen = set()
    for _ in range(400):
        crop = multi_scale_corner_crop(clip, 40, rng, (1.0, 0.75, 0.5))
        assert crop.shape == (2, 1, 40, 40)
        top, left, height, width = box(crop)
        sides = {80: 0, 60: 1, 40: 2}
        height, width = (min(sides, key=lambda side: abs(side - one)) for one in (height, width))
        assert abs(sides[height] - sides[width]) <= 1
        places = {
            (0, 0): "top left",
            (0, 120 - width): "top right",
            (80 - height, 0): "bottom left",
            (80 - height, 120 - width): "bottom right",
            ((80 - height) // 2, (120 - width) // 2): "centre",
        }
        near = min(places, key=lambda place: abs(place[0] - top) + abs(place[1] - left))
        assert abs(near[0] - top) + abs(near[1] - left) < 3
        seen.add((places[near], height, width))
    # Where a box is as high as the picture, top and bottom are one place, named by the later.
    assert len({place for place, *_ in seen}) == 5
    assert {(height, width) for _, height, width in seen} == {
        (80, 80), (80, 60), (60, 80), (60, 60), (60, 40), (40, 60), (40, 40)
    }  # fmt: skip


# --- Mirror ---


def test_horizontal_flip_is_torchvisions():
    clip = to_clip(noise())
    assert torch.equal(horizontal_flip(clip), pictures.hflip(clip))


def test_flip_pairs_from_names():
    classes = ["swipe_left", "bright light", "Swipe_Right", "swipe_right", "upright", "turn LEFT"]
    pairs = FlipPairs.from_names(classes)
    assert pairs.swaps == {"swipe_left": "swipe_right", "swipe_right": "swipe_left"}
    assert pairs.labels_after(classes).tolist() == [3, 1, 2, 0, 4, 5]
    assert FlipPairs.from_names(["Left turn", "Right turn"]).swaps["Left turn"] == "Right turn"
    assert FlipPairs.from_names(["GO LEFT", "GO RIGHT"]).swaps["GO RIGHT"] == "GO LEFT"
    assert FlipPairs({}).labels_after(classes).tolist() == [0, 1, 2, 3, 4, 5]


def test_flip_pairs_of_something_something(lab_data):
    path = lab_data / "annotations/something-something/augmentation_mappings.json"
    mappings = json.loads(path.read_text())
    official, agnostic = mappings["left/right"], mappings["left/right agnostic"]
    classes = [*official, *agnostic]
    assert FlipPairs(official).swaps == FlipPairs.from_names(classes).swaps
    after = FlipPairs(official).labels_after(classes)
    assert after.tolist() == [1, 0, 3, 2, 5, 4, *range(6, 172)]
    targets = np.eye(172)[[0, 5, 9]]
    assert targets[:, after].argmax(axis=1).tolist() == [1, 4, 9]


# --- Colour ---


class Fixed(np.random.Generator):
    """Draws the given numbers in turn, whatever it is asked for."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.numbers = list(numbers)

    def uniform(self, low: float, high: float) -> float:
        assert low <= self.numbers[0] <= high
        return self.numbers.pop(0)


@pytest.mark.parametrize(
    ("strengths", "factor", "adjust"),
    [
        ({"brightness": 0.5}, 1.4, pictures.adjust_brightness),
        ({"brightness": 3.0}, 0.0, pictures.adjust_brightness),
        ({"contrast": 0.5}, 0.6, pictures.adjust_contrast),
        ({"contrast": 0.5}, 1.5, pictures.adjust_contrast),
        ({"saturation": 1.0}, 0.0, pictures.adjust_saturation),
        ({"saturation": 1.0}, 1.9, pictures.adjust_saturation),
        ({"hue": 0.2}, -0.15, pictures.adjust_hue),
    ],
)
def test_colour_jitter_is_torchvisions(strengths, factor, adjust):
    clip = to_clip(noise())
    given_clip = clip.clone()
    jittered = colour_jitter(clip, Fixed(factor), **strengths)
    torch.testing.assert_close(jittered, from_tchw(adjust(to_tchw(clip), factor)))
    assert jittered.is_contiguous()
    assert torch.equal(clip, given_clip)


def test_colour_jitter_treats_all_frames_alike():
    frames = np.repeat(noise(1), 5, axis=0)
    rng = np.random.default_rng(0)
    jittered = colour_jitter(to_clip(frames), rng, 0.4, 0.4, 0.4, 0.1)
    assert torch.equal(jittered, jittered[:, :1].expand_as(jittered))
    assert not torch.allclose(jittered, to_clip(frames), atol=0.05)
    assert jittered.min() >= 0
    assert jittered.max() <= 1


# --- The two roads ---

EVERY_AUGMENTATION = [
    Augmentation(crop=crop, brightness=jitter, contrast=jitter, saturation=jitter, hue=jitter / 2)
    for crop in ("random_resized", "random", "multi_scale_corner", "centre")
    for jitter in (0.0, 0.3)
]


@pytest.mark.parametrize("augmentation", EVERY_AUGMENTATION)
def test_training_clips_have_the_shape_and_depend_on_the_generator_only(augmentation):
    frames = noise(4, 120, 160)
    kept = frames.copy()
    spec = ClipSpec(4, 5, size=96, resize_short=112, mean=(0, 0, 0), std=(1, 1, 1))
    first, again, other = (
        train_transform(frames, spec, np.random.default_rng(seed), augmentation)
        for seed in (7, 7, 8)
    )
    assert first.shape == (3, 4, 96, 96)
    assert first.dtype == torch.float32
    assert first.is_contiguous()
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(frames, kept)


def test_all_frames_of_a_training_clip_are_cut_alike():
    frames = np.repeat(noise(1, 120, 160), 5, axis=0)
    for augmentation in EVERY_AUGMENTATION:
        clip = train_transform(frames, SPEC, np.random.default_rng(1), augmentation)
        assert torch.equal(clip, clip[:, :1].expand_as(clip))


def test_a_training_clip_without_variation_is_the_test_view():
    frames = noise(4, 120, 160)
    still = Augmentation(crop="centre", flip_probability=0.0)
    trained = train_transform(frames, SPEC, np.random.default_rng(0), still)
    assert torch.equal(trained, test_views(frames, SPEC)[0])
    flipped = train_transform(frames, SPEC, np.random.default_rng(0), still, flip=True)
    assert torch.equal(flipped, horizontal_flip(trained))


def test_flips_come_as_often_as_asked():
    frames = noise(1, 8, 8)
    spec = ClipSpec(1, 5, size=8, resize_short=8, mean=(0, 0, 0), std=(1, 1, 1))
    augmentation = Augmentation(crop="centre", flip_probability=0.3)
    rng = np.random.default_rng(0)
    views = [from_clip(train_transform(frames, spec, rng, augmentation)) for _ in range(300)]
    flips = [np.array_equal(view, frames[:, :, ::-1]) for view in views]
    assert np.mean(flips) == pytest.approx(0.3, abs=0.08)
    never = train_transform(frames, spec, rng, augmentation, flip=False)
    np.testing.assert_array_equal(from_clip(never), frames)


@pytest.mark.parametrize("crops", [1, 3, 10])
def test_test_views_are_torchvisions(crops):
    frames = noise(2, 96, 120)
    spec = ClipSpec(2, 5, size=64, resize_short=80)
    views = test_views(frames, spec, crops)
    assert views.shape == (crops, 3, 2, 64, 64)
    assert views.is_contiguous()
    resized = pictures.resize(torch.from_numpy(frames).permute(0, 3, 1, 2), 80, antialias=True)
    cut = {
        1: lambda: [pictures.center_crop(resized, [64, 64])],
        3: lambda: [pictures.crop(resized, 8, left, 64, 64) for left in (0, 18, 36)],
        10: lambda: pictures.ten_crop(resized, 64),
    }[crops]()
    expected = [from_tchw(pictures.normalize(c.float() / 255, spec.mean, spec.std)) for c in cut]
    # torchvision resizes uint8 in float, torch in whole numbers like Pillow: one level at most.
    level = 1.01 / 255 / min(spec.std)
    torch.testing.assert_close(views, torch.stack(expected), atol=level, rtol=0)


def test_a_clip_resized_by_the_decoder_is_not_resized_again():
    frames = noise(2, 128, 171)
    views = test_views(frames, SPEC, 3)
    expected = normalise(to_clip(frames[:, 8:120, 0:112]), SPEC.mean, SPEC.std)
    torch.testing.assert_close(views[0], expected)


def test_augmentation_survives_json():
    augmentation = Augmentation(crop="random", scale=(0.2, 0.9))
    again = Augmentation(**json.loads(json.dumps(dataclasses.asdict(augmentation))))
    assert dataclasses.asdict(again) == {
        **dataclasses.asdict(augmentation),
        **{
            name: list(getattr(augmentation, name))
            for name in ("scale", "ratio", "sides", "corner_scales")
        },
    }


# --- The whole picture, made square ---


def test_a_stretched_view_is_the_whole_picture():
    frames = noise(2, 60, 120)
    spec = dataclasses.replace(SPEC, fit="stretch")
    views = test_views(frames, spec)
    assert views.shape == (1, 3, 2, spec.size, spec.size)
    expected = normalise(stretch(to_clip(frames), spec.size), spec.mean, spec.std)
    torch.testing.assert_close(views[0], expected, atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="has one view, the whole picture; got crops=3"):
        test_views(frames, spec, 3)


def test_training_without_a_crop_stretches_too():
    frames = noise(2, 60, 120)
    spec = dataclasses.replace(SPEC, fit="stretch")
    still = Augmentation(crop="centre", flip_probability=0.0)
    clip = train_transform(frames, spec, np.random.default_rng(0), still)
    torch.testing.assert_close(clip, test_views(frames, spec)[0])


def test_random_sides_keep_their_share_of_each_side():
    ramp = torch.arange(100.0).expand(1, 1, 40, 100).contiguous()  # every pixel tells its column
    for seed in range(50):
        box = random_sides_crop(ramp, 20, np.random.default_rng(seed), (0.5, 0.5))
        assert box.shape == (1, 1, 20, 20)
        width = (box[0, 0, 0, -1] - box[0, 0, 0, 0]) * 20 / 19
        assert width == pytest.approx(50, abs=2.6)
    whole = random_sides_crop(ramp, 20, np.random.default_rng(0), (1.0, 1.0))
    torch.testing.assert_close(whole, stretch(ramp, 20))


# --- What is refused ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: to_clip(noise().astype(np.float32)),
            r"\(T, H, W, C\) uint8 and not empty, got shape \(4, 48, 64, 3\) of float32",
        ),
        (lambda: to_clip(noise()[0]), r"got shape \(48, 64, 3\) of uint8"),
        (lambda: to_clip(noise()[:0]), r"not empty, got shape \(0, 48, 64, 3\)"),
        (
            lambda: centre_crop(to_clip(noise()), 49),
            r"A crop of 49 pixels does not fit a clip of shape \(3, 4, 48, 64\). Resize it first, "
            r"to a short side of at least 49",
        ),
        (lambda: three_crops(to_clip(noise()), 49), r"A crop of 49 pixels does not fit"),
        (lambda: ten_crops(to_clip(noise()), 49), r"A crop of 49 pixels does not fit"),
        (
            lambda: random_crop(to_clip(noise()), 49, np.random.default_rng(0)),
            r"A crop of 49 pixels does not fit",
        ),
        (
            lambda: normalise(to_clip(noise()), (0.5,), (0.5,)),
            r"shape \(3, 4, 48, 64\) needs 3 means and deviations, got 1 and 1",
        ),
        (lambda: denormalise(to_clip(noise()), (0, 0, 0), (1, 1)), r"got 3 and 2"),
        (lambda: test_views(noise(), SPEC_32, 5), r"has 1, 3 or 10 crops, got crops=5"),
        (
            lambda: FlipPairs({"go left": "go right"}),
            r"'go left' becomes 'go right', which becomes None. Add 'go right': 'go left'",
        ),
        (
            lambda: FlipPairs.from_names(["a left", "a right"]).labels_after(["b", "a left"]),
            r"'a left' becomes 'a right', which is not among the 2 classes. Add it, or train with "
            r"flip_probability=0",
        ),
        (
            lambda: colour_jitter(to_clip(noise()), np.random.default_rng(0), brightness=-0.1),
            r"brightness must be at least 0, got -0.1",
        ),
        (lambda: Augmentation(hue=0.6), r"hue must be in \[0, 0.5\], got 0.6"),
        (lambda: Augmentation(contrast=-1.0), r"contrast must be at least 0, got -1.0"),
        (
            lambda: Augmentation(crop="center"),
            r"There is no crop='center'; the choices are random_resized, random_sides, random, mu",
        ),
        (lambda: Augmentation(flip_probability=1.5), r"must be in \[0, 1\], got 1.5"),
        (
            lambda: Augmentation(scale=(0.5, 1.2)),
            r"scale must be two numbers in \(0, 1\], the lower one first, got \(0.5, 1.2\)",
        ),
        (lambda: Augmentation(ratio=(2.0, 0.5)), r"ratio must be two numbers in \(0, inf\]"),
        (lambda: Augmentation(corner_scales=()), r"corner_scales must be in \(0, 1\], got \(\)"),
        (lambda: Augmentation(corner_scales=(1.0, 1.5)), r"got \(1.0, 1.5\)"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
