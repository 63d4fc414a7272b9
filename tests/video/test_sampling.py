import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from praxino.video import sampling
from praxino.video.clip_spec import ClipSpec
from praxino.video.reader import open_video
from praxino.video.sampling import (
    StreamWindows,
    dense_windows,
    random_clip,
    segment_clips,
    segments,
    training_clip,
    uniform_clips,
    view_rng,
)

AT_25 = np.arange(60) / 25
UNEVEN = [0.0, 0.1, 0.2, 1.0, 2.0, 2.05]
RATES = [Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, Fraction(60000, 1001), 120]


def at_rate(rate: float, frames: int = 60) -> np.ndarray:
    return np.array([float(number / Fraction(rate)) for number in range(frames)])


# --- Tables of expected indices, written by hand ---


@pytest.mark.parametrize(
    ("timestamps", "spec", "clips", "expected"),
    [
        # 8 frames at 5 fps are every fifth frame of 25 fps, the last possible start is 59 - 35.
        (AT_25, ClipSpec(8, 5), 3, [[*range(0, 36, 5)], [*range(12, 48, 5)], [*range(24, 60, 5)]]),
        (AT_25, ClipSpec(8, 5), 1, [[12, 17, 22, 27, 32, 37, 42, 47]]),
        (AT_25, ClipSpec(8, stride_frames=5), 1, [[12, 17, 22, 27, 32, 37, 42, 47]]),
        # Half a frame off: 2.5 frames apart, the one on screen rounds down.
        (AT_25[:18], ClipSpec(8, 10), 1, [[0, 2, 5, 7, 10, 12, 15, 17]]),
        # Faster than the video: frames stay on screen.
        (AT_25[:3], ClipSpec(5, 50), 1, [[0, 0, 1, 1, 2]]),
        # "16 frames, 3.2 s at 5 fps" of a 30 fps video.
        (at_rate(30, 91), ClipSpec(16, 5), 1, [[*range(0, 91, 6)]]),
        (at_rate(30, 96), ClipSpec(16, 5), 2, [[*range(0, 91, 6)], [*range(5, 96, 6)]]),
        # Native rate, consecutive frames; an odd rest rounds down.
        (AT_25, ClipSpec(16, stride_frames=1), 1, [[*range(22, 38)]]),
        (AT_25, ClipSpec(16, stride_frames=1), 4, [[*range(s, s + 16)] for s in (0, 14, 29, 44)]),
        # Frames at odd times: two a second from 0, from 0.1 and from 0.2 s.
        (UNEVEN, ClipSpec(4, 2), 1, [[1, 2, 3, 3]]),
        (UNEVEN, ClipSpec(4, 2), 3, [[0, 2, 3, 3], [1, 2, 3, 3], [2, 2, 3, 3]]),
        (UNEVEN, ClipSpec(3, stride_frames=2), 2, [[0, 2, 4], [1, 3, 5]]),
        # One picture is a video.
        ([7.0], ClipSpec(1, 5), 1, [[0]]),
        ([7.0], ClipSpec(3, 5), 2, [[0, 0, 0], [0, 0, 0]]),
        ([7.0], ClipSpec(3, stride_frames=4), 1, [[0, 0, 0]]),
    ],
)
def test_uniform_clips(timestamps, spec, clips, expected):
    assert uniform_clips(timestamps, spec, clips).tolist() == expected


@pytest.mark.parametrize(
    ("frames", "count", "expected"),
    [
        (60, 3, [10, 30, 50]),
        (10, 3, [1, 5, 8]),
        (7, 7, [0, 1, 2, 3, 4, 5, 6]),
        (8, 1, [4]),
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (1, 4, [0, 0, 0, 0]),
    ],
)
def test_segments_take_the_centre_in_testing(frames, count, expected):
    assert segments(AT_25[:frames], count).tolist() == expected


def test_segments_are_equal_in_time_not_in_frames():
    # Ends of the thirds: 0.7 and 1.4 s; the last frame stays for the usual gap, 0.1 s: 2.15 s.
    assert segments(UNEVEN, 3).tolist() == [2, 3, 3]


def test_segment_clips_share_the_segments_out():
    assert segment_clips(AT_25, 3, 2).tolist() == [[5, 25, 45], [15, 35, 55]]
    assert segment_clips(AT_25, 3, 1).tolist() == [segments(AT_25, 3).tolist()]


@pytest.mark.parametrize("frames", [1, 5, 16, 79, 100, 151])
@pytest.mark.parametrize("count", [1, 3, 7, 8, 16])
def test_segment_centres_are_those_of_the_tsn_release(frames, count):
    published = [(2 * part + 1) * frames // (2 * count) for part in range(count)]
    assert segments(AT_25[0] + np.arange(frames) / 25, count).tolist() == published


@pytest.mark.parametrize(
    ("frames", "count", "snippet", "expected"),
    [
        (60, 3, 6, [9, 10, 11, 12, 13, 14, 27, 28, 29, 30, 31, 32, 45, 46, 47, 48, 49, 50]),
        (7, 2, 6, [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6]),
        (6, 2, 6, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]),
        (2, 2, 3, [0, 1, 1, 0, 1, 1]),
    ],
)
def test_snippets_are_frames_in_a_row(frames, count, snippet, expected):
    assert segments(AT_25[:frames], count, snippet=snippet).tolist() == expected
    spec = ClipSpec(count * snippet, snippet=snippet)
    assert sampling.test_clips(AT_25[:frames], spec, 1).tolist() == [expected]


@pytest.mark.parametrize("frames", [10, 16, 79, 151])
def test_snippets_begin_where_those_of_the_tsn_release_do(frames):
    published = [(2 * part + 1) * (frames - 5 + 1) // (2 * 7) for part in range(7)]
    found = segments(np.arange(frames) / 25, 7, snippet=5).reshape(7, 5)
    assert found[:, 0].tolist() == published


def test_random_snippets_stay_whole_and_in_their_segment():
    starts = set()
    spec = ClipSpec(12, snippet=4)
    for seed in range(300):
        found = training_clip(AT_25[:15], spec, np.random.default_rng(seed)).reshape(3, 4)
        assert (np.diff(found, axis=1) == 1).all()
        starts |= {tuple(row) for row in np.stack([range(3), found[:, 0]], axis=1).tolist()}
    # Twelve frames can begin a snippet, four in each segment.
    assert starts == {(part, 4 * part + place) for part in range(3) for place in range(4)}


def test_c3d_features_are_chunks_of_16_that_overlap_by_8():
    windows = dense_windows(AT_25, ClipSpec(16, stride_frames=1), hop_frames=8)
    assert windows.tolist() == [[*range(start, start + 16)] for start in (0, 8, 16, 24, 32, 40)]


@pytest.mark.parametrize(
    ("timestamps", "spec", "hop", "expected"),
    [
        # Half a second is 12.5 frames.
        (AT_25, ClipSpec(3, 5), {"hop_seconds": 0.5}, [0, 12, 25, 37]),
        (AT_25, ClipSpec(3, stride_frames=5), {"hop_seconds": 0.5}, [0, 12, 25, 37]),
        (AT_25, ClipSpec(3, 5), {"hop_frames": 20}, [0, 20, 40]),
        # The gap from 0.2 to 1 s: the same frame is on screen at 0.5 s, and 0.5 s later still.
        (UNEVEN, ClipSpec(1, 5), {"hop_seconds": 0.5}, [0, 2, 3, 3, 4]),
    ],
)
def test_dense_windows_start_one_hop_apart(timestamps, spec, hop, expected):
    assert dense_windows(timestamps, spec, **hop)[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("spec", "hop"),
    [
        (ClipSpec(4, stride_frames=2), {"hop_frames": 3}),
        (ClipSpec(4, 12.5), {"hop_seconds": 0.12}),
    ],
)
def test_causal_windows_end_at_each_hop(spec, hop):
    windows = dense_windows(AT_25[:10], spec, causal=True, **hop)
    assert windows.tolist() == [[0, 0, 0, 0], [0, 0, 1, 3], [0, 2, 4, 6], [3, 5, 7, 9]]


@pytest.mark.parametrize(
    ("pad", "expected"), [("repeat_last", [0, 1, 2, 2, 2, 2, 2]), ("loop", [0, 1, 2, 0, 1, 2, 0])]
)
@pytest.mark.parametrize("spec", [ClipSpec(7, 25), ClipSpec(7, stride_frames=1)])
def test_a_short_video_is_padded(spec, pad, expected):
    rng = view_rng(0, 0, "short")
    assert random_clip(AT_25[:3], spec, rng, pad=pad).tolist() == expected
    assert uniform_clips(AT_25[:3], spec, 2, pad=pad).tolist() == [expected, expected]
    assert dense_windows(AT_25[:3], spec, 1.0, pad=pad).tolist() == [expected]


@pytest.mark.parametrize("spec", [ClipSpec(4, 12.5), ClipSpec(4, stride_frames=2)])
def test_padding_stays_in_the_span(spec):
    span = (0.4, 0.6)  # frames 10 to 14
    assert uniform_clips(AT_25, spec, 1, span).tolist() == [[10, 12, 14, 14]]
    assert uniform_clips(AT_25, spec, 1, span, pad="loop").tolist() == [[10, 12, 14, 11]]


@pytest.mark.parametrize(
    ("span", "first", "last"),
    [
        (None, 0, 59),
        ((None, None), 0, 59),
        ((1.0, 2.0), 25, 49),
        ((1.01, None), 26, 59),
        ((None, 0.04), 0, 0),
        ((-5.0, 99.0), 0, 59),
        ((3 * 0.04, 4 * 0.04), 3, 3),  # 0.12 in floats is a little less than 3 * 0.04
    ],
)
def test_a_span_owns_the_frames_that_appear_in_it(span, first, last):
    every = dense_windows(AT_25, ClipSpec(1, stride_frames=1), hop_frames=1, span=span)[:, 0]
    assert every.tolist() == list(range(first, last + 1))


def test_spread_specs_go_to_segments_and_others_to_clips():
    spread, spaced = ClipSpec(3), ClipSpec(3, 5)
    assert sampling.test_clips(AT_25, spread, 2).tolist() == [[5, 25, 45], [15, 35, 55]]
    assert sampling.test_clips(AT_25, spaced, 2).tolist() == [[0, 5, 10], [49, 54, 59]]
    for spec, sampler in ((spread, segments), (spaced, random_clip)):
        asked = spec.frames if spec.spread else spec
        again = sampler(AT_25, asked, view_rng(1, 2, "a"))
        assert training_clip(AT_25, spec, view_rng(1, 2, "a")).tolist() == again.tolist()


@pytest.mark.parametrize(("clips", "crops", "views"), [(10, 3, 30), (25, 10, 250), (1, 1, 1)])
def test_view_counts_of_the_protocols(clips, crops, views):
    assert len(sampling.test_clips(AT_25, ClipSpec(4, 25), clips)) * crops == views


# --- Time lines of real files ---


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("decimals", [3, 6, 17])
def test_the_native_rate_gives_consecutive_frames(rate, decimals):
    # Three decimals is what Matroska stores.
    timestamps = np.round(at_rate(rate, 300), decimals)
    for stride in (1, 2, 3, 7):
        spec = ClipSpec(16, float(Fraction(rate) / stride))
        for start in (0, 1, 2, 10, 100, 150):
            span = (timestamps[start], None)
            clip = dense_windows(timestamps, spec, hop_seconds=1000.0, span=span)[0]
            assert clip.tolist() == [start + stride * number for number in range(16)]


def test_thirty_of_2997_frames_a_second_slip_by_one_frame_in_a_thousand():
    timestamps = at_rate(Fraction(30000, 1001), 3000)
    clip = uniform_clips(timestamps, ClipSpec(2997, 30), 1)[0]
    assert np.count_nonzero(np.diff(clip) == 0) in (2, 3)
    assert np.diff(clip).max() == 1


def test_a_matroska_file_with_whole_milliseconds(tmp_path):
    path = tmp_path / "thirty.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width = stream.height = 32
        for _ in range(40):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        timestamps = [frame.time for frame in container.decode(video=0)]
    assert timestamps[:4] == [0.0, 0.033, 0.067, 0.1]
    assert uniform_clips(timestamps, ClipSpec(20, 30), 1).tolist() == [[*range(10, 30)]]
    assert uniform_clips(timestamps, ClipSpec(20, 15), 1).tolist() == [[*range(0, 39, 2)]]


def test_the_frames_asked_for_are_the_frames_read(numbered_video):
    with open_video(numbered_video) as video:
        clip = uniform_clips(video.timestamps, ClipSpec(8, 5), 1)[0]
        levels = video.frames(clip).pixels.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [48, 68, 88, 108, 128, 148, 168, 188], atol=2)


@pytest.mark.parametrize("first", [-3.0, 0.0, 95_443.717_688_888])
def test_a_time_line_may_begin_anywhere(first):
    # The last one is the wrap of 33 bits at 90 kHz, in MPEG transport streams.
    assert uniform_clips(AT_25 + first, ClipSpec(8, 5), 1)[0].tolist() == [*range(12, 48, 5)]


def test_a_jump_in_time_holds_the_frame():
    timestamps = [0.0, 0.04, 0.08, 4e6, 4e6 + 0.04]
    assert segments(timestamps, 4).tolist() == [2, 2, 2, 2]
    assert dense_windows(timestamps, ClipSpec(2, 25), hop_frames=1)[:, 1].tolist() == [1, 2, 2, 4]


# --- Randomness ---


def test_every_start_is_drawn_and_equally_often():
    rng = view_rng(0, 0, "starts")
    for spec in (ClipSpec(8, 5), ClipSpec(8, stride_frames=5)):
        starts = [random_clip(AT_25, spec, rng)[0] for _ in range(1000)]
        counts = np.bincount(starts)
        assert len(counts) == 25  # 0 to 24
        assert counts.min() > 15
        assert counts.max() < 70  # expected 40, deviation 6


def test_every_second_is_as_likely_as_another():
    # A busy second of 50 frames, then nine seconds with two frames each.
    timestamps = np.concatenate([np.arange(50) / 50, 1 + np.arange(18) / 2])
    rng = view_rng(0, 0, "busy")
    starts = np.array([random_clip(timestamps, ClipSpec(1, 5), rng)[0] for _ in range(1000)])
    assert np.mean(starts < 50) == pytest.approx(0.1, abs=0.04)


def test_random_segments_reach_every_frame_of_their_own_part():
    rng = view_rng(0, 0, "segments")
    drawn = np.stack([segments(AT_25[:12], 3, rng) for _ in range(500)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]


PINNED = [853, 906, 226, 175]


def test_view_rng_is_pinned():
    # Runs of last year must draw the same clips; these numbers may never change.
    assert view_rng(0, 0, "a.mp4").integers(1000, size=4).tolist() == PINNED
    assert view_rng(0, 1, "a.mp4").integers(1000, size=4).tolist() != PINNED
    assert view_rng(1, 0, "a.mp4").integers(1000, size=4).tolist() != PINNED
    assert view_rng(0, 0, "b.mp4").integers(1000, size=4).tolist() != PINNED
    # Numbers must not run into the name: 1, 11 and 11, 1.
    assert view_rng(1, 11, "").random() != view_rng(11, 1, "").random()
    assert view_rng(0, 0, "\udcff").random() < 1  # a file name that is not UTF-8


class _Clips(Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> list[int]:
        return training_clip(AT_25, ClipSpec(4, 5), view_rng(3, 1, f"{row}.mp4")).tolist()


def test_clips_do_not_depend_on_the_number_of_workers():
    alone, shared = (
        [row.tolist() for row in DataLoader(_Clips(), collate_fn=np.array, num_workers=workers)]
        for workers in (0, 2)
    )
    assert alone == shared


# --- Properties ---

gaps = st.floats(0.0005, 3.0) | st.sampled_from([1 / 25, 1001 / 30000, 0.033, 0.034, 0.001])


@st.composite
def timelines(draw, most: int = 40) -> np.ndarray:
    first = draw(st.floats(-10, 1e5))
    return first + np.cumsum([0.0, *draw(st.lists(gaps, max_size=most - 1))])


specs = st.builds(ClipSpec, st.integers(1, 12), st.floats(0.3, 120)) | st.builds(
    lambda frames, stride: ClipSpec(frames, stride_frames=stride),
    st.integers(1, 12),
    st.integers(1, 9),
)
hops = st.fixed_dictionaries({"hop_seconds": st.floats(0.05, 4)}) | st.fixed_dictionaries(
    {"hop_frames": st.integers(1, 20)}
)


@given(timelines(), specs, st.integers(1, 5), st.integers(0, 2**32), st.data())
def test_indices_stay_in_the_span_and_keep_their_order(timestamps, spec, clips, seed, data):
    first = data.draw(st.integers(0, len(timestamps) - 1))
    last = data.draw(st.integers(first, len(timestamps) - 1))
    end = timestamps[last + 1] if last + 1 < len(timestamps) else None
    span = (timestamps[first], end)
    views = [
        random_clip(timestamps, spec, np.random.default_rng(seed), span)[None],
        uniform_clips(timestamps, spec, clips, span),
        segments(timestamps, spec.frames, np.random.default_rng(seed), span)[None],
        segment_clips(timestamps, spec.frames, clips, span),
        dense_windows(timestamps, spec, hop_frames=3, span=span),
        dense_windows(timestamps, spec, hop_seconds=0.7, span=span, causal=True),
    ]
    assert [len(view) for view in views[:4]] == [1, clips, 1, clips]
    for indices in views:
        assert indices.shape[1] == spec.frames
        assert indices.dtype == np.int64
        assert indices.min() >= first
        assert indices.max() <= last
        assert (np.diff(indices, axis=1) >= 0).all()
    again = random_clip(timestamps, spec, np.random.default_rng(seed), span)
    assert again.tolist() == views[0][0].tolist()


@given(timelines(), st.integers(1, 12), st.floats(0.3, 120))
def test_each_frame_is_the_one_on_screen(timestamps, frames, rate):
    clip = uniform_clips(timestamps, ClipSpec(frames, rate), 3)[1]
    for number, index in enumerate(clip):
        moment = timestamps[clip[0]] + number / rate
        # A millisecond or a quarter of a gap early, and rounding of seconds around 1e5.
        assert index == 0 or timestamps[index] <= moment + 0.001 + 1e-9
        if index + 1 < len(timestamps):
            assert timestamps[index + 1] > moment - 1e-9


@given(timelines(), st.floats(-20, 120), st.data())
def test_two_spans_that_touch_share_no_frame_and_lose_none(timestamps, offset, data):
    cut = data.draw(st.sampled_from(timestamps.tolist())) + offset / 1000
    one = ClipSpec(1, stride_frames=1)
    owned = []
    for span in ((None, cut), (cut, None)):
        try:
            owned += dense_windows(timestamps, one, hop_frames=1, span=span)[:, 0].tolist()
        except ValueError as error:
            assert "No frame in the span" in str(error)  # noqa: PT017  (either side may be empty)
    assert owned == list(range(len(timestamps)))


@given(st.sampled_from(RATES), st.integers(1, 12), st.integers(1, 5), st.integers(1, 9))
def test_by_time_and_by_stride_agree_at_a_constant_rate(rate, frames, stride, clips):
    timestamps = at_rate(rate)
    by_time = ClipSpec(frames, float(Fraction(rate) / stride))
    by_stride = ClipSpec(frames, stride_frames=stride)
    for pad in ("repeat_last", "loop"):
        np.testing.assert_array_equal(
            uniform_clips(timestamps, by_time, clips, pad=pad),
            uniform_clips(timestamps, by_stride, clips, pad=pad),
        )


# --- Streams ---


def streamed(timestamps, spec, **options) -> list[sampling.Window]:
    stream = StreamWindows(spec, **options)
    windows = []
    for number, seconds in enumerate(timestamps):
        windows += stream.push(np.full((1, 1, 3), number % 256, np.uint8), float(seconds))
    return [*windows, *stream.finish()]


@given(timelines(), specs, hops, st.booleans(), st.sampled_from(["repeat_last", "loop"]))
def test_a_stream_gives_the_windows_of_the_whole_time_line(timestamps, spec, hop, causal, pad):
    windows = streamed(timestamps, spec, causal=causal, pad=pad, **hop)
    expected = dense_windows(timestamps, spec, causal=causal, pad=pad, **hop)
    np.testing.assert_array_equal([window.indices for window in windows], expected)
    for window in windows:
        np.testing.assert_array_equal(window.seconds, timestamps[window.indices])
        np.testing.assert_array_equal(window.pixels[:, 0, 0, 0], window.indices % 256)


@settings(max_examples=20)
@given(st.sampled_from(RATES), st.integers(2, 12), st.sampled_from([0.2, 0.5, 1.0]), st.booleans())
def test_a_stream_of_constant_rate_too(rate, frames, hop, causal):
    timestamps, spec = np.round(at_rate(rate, 200), 3), ClipSpec(frames, 10)
    windows = streamed(timestamps, spec, hop_seconds=hop, causal=causal)
    expected = dense_windows(timestamps, spec, hop, causal=causal)
    np.testing.assert_array_equal([window.indices for window in windows], expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("hop", [{"hop_seconds": 0.5}, {"hop_frames": 200}])
def test_a_stream_keeps_no_more_frames_than_a_window_and_a_hop(causal, hop):
    stream = StreamWindows(ClipSpec(16, 5), causal=causal, **hop)  # a window spans 76 frames
    frames: list[weakref.ref] = []
    most = 0
    for number in range(600):
        pixels = np.zeros((1, 1, 3), np.uint8)
        frames.append(weakref.ref(pixels))
        for _ in stream.push(pixels, number / 25):
            pass
        del pixels
        frames = [frame for frame in frames if frame() is not None]
        most = max(most, len(frames))
    assert most <= 76 + 13


def test_an_empty_stream_gives_nothing():
    assert streamed([], ClipSpec(2, 5), hop_seconds=1.0) == []


def test_windows_not_taken_come_with_the_next_frame():
    stream = StreamWindows(ClipSpec(1, stride_frames=1), hop_frames=1)
    pixels = np.zeros((1, 1, 3), np.uint8)
    stream.push(pixels, 0.0)
    assert [window.indices.tolist() for window in stream.push(pixels, 0.1)] == [[0], [1]]
    for _ in stream.push(pixels, 0.2):
        break
    assert next(stream.push(pixels, 0.3)).indices.tolist() == [3]


# --- What is refused ---

SPACED = ClipSpec(16, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: uniform_clips(AT_25, SPACED, 1, (5.0, 6.0)),
            r"No frame in the span from 5.0 s to 6.0 s: the video's 60 frames lie between 0.000 s "
            r"and 2.360 s",
        ),
        (
            lambda: segments(UNEVEN, 3, span=(1.2, 1.8)),
            r"No frame in the span from 1.2 s to 1.8 s",
        ),
        (lambda: segments(AT_25, 3, span=(2.0, 1.0)), r"end after it starts, got 2.0 s to 1.0 s"),
        (lambda: segments(AT_25, 3, span=(np.nan, 1.0)), r"end after it starts, got nan s"),
        (
            lambda: uniform_clips(AT_25, SPACED, 1, pad="error"),
            r"A clip of 16 frames needs 3.000 s from its first frame to its last, the span holds "
            r'60 frames in 2.360 s. Use a shorter clip or pad="repeat_last"',
        ),
        (
            lambda: dense_windows(AT_25[:9], ClipSpec(16, stride_frames=2), 1.0, pad="error"),
            r"A clip of 16 frames needs 31 frames in a row, the span holds 9 frames",
        ),
        (
            lambda: random_clip(AT_25, SPACED, view_rng(0, 0, ""), pad="mirror"),
            r"There is no pad='mirror'; the choices are repeat_last, loop, error",
        ),
        (lambda: StreamWindows(SPACED, 1.0, pad="zero"), r"There is no pad='zero'"),
        (lambda: segments([], 3), r"at least one frame, shape \(N,\), got shape \(0,\)"),
        (lambda: segments([[0.0, 1.0]], 3), r"got shape \(1, 2\)"),
        (
            lambda: segments([0.0, 0.2, 0.1], 3),
            r"increase: frame 2 is at 0.1 s, the one before it at 0.2 s",
        ),
        (lambda: segments([0.0, 0.0], 3), r"increase: frame 1 is at 0.0 s"),
        (lambda: segments([np.nan, 1.0], 3), r"finite and increase: frame 0 is at nan s\."),
        (lambda: segments([0.0, np.nan, 1.0], 3), r"frame 1 is at nan s"),
        (lambda: segments([0.0, np.inf], 3), r"frame 1 is at inf s"),
        (lambda: segments([0.0, np.inf, np.inf], 3), r"frame 1 is at inf s"),
        (lambda: segments([np.nan], 3), r"frame 0 is at nan s"),
        (lambda: segments(AT_25, 0), r"count must be at least 1, got 0"),
        (lambda: segments(AT_25, 3, snippet=0), r"snippet must be at least 1, got 0"),
        (lambda: segment_clips(AT_25, 3, -1), r"clips must be at least 1, got -1"),
        (lambda: uniform_clips(AT_25, SPACED, 0), r"clips must be at least 1, got 0"),
        (
            lambda: random_clip(AT_25, ClipSpec(8), view_rng(0, 0, "")),
            r"random_clip needs a distance between frames, and this ClipSpec spreads its 8 frames",
        ),
        (lambda: uniform_clips(AT_25, ClipSpec(8), 1), r"uniform_clips needs a distance"),
        (lambda: dense_windows(AT_25, ClipSpec(8), 1.0), r"dense_windows needs a distance"),
        (lambda: StreamWindows(ClipSpec(8), 1.0), r"StreamWindows needs a distance"),
        (
            lambda: dense_windows(AT_25, SPACED),
            r"one hop: got hop_seconds=None and hop_frames=None",
        ),
        (
            lambda: dense_windows(AT_25, SPACED, 1.0, hop_frames=2),
            r"one hop: got hop_seconds=1.0 and hop_frames=2. Set exactly one",
        ),
        (lambda: dense_windows(AT_25, SPACED, 0.0), r"A hop must be above 0, got 0.0"),
        (lambda: StreamWindows(SPACED, hop_frames=-2), r"A hop must be above 0, got -2"),
        (
            lambda: dense_windows([0.0, 2.0**31], SPACED, 0.5),
            r"hop_seconds=0.5 would give 4294967296 windows, the limit is 1209600. Use a longer",
        ),
        (
            lambda: streamed([0.0, 2.0**31], SPACED, hop_seconds=0.5),
            r"A jump to 2147483648.0 s would give 4294967296 windows, the limit is 1209600",
        ),
        (
            lambda: streamed([0.0, 0.2, 0.1], SPACED, hop_seconds=0.5),
            r"must increase: frame 2 is at 0.1 s, the one before it at 0.2 s",
        ),
        (lambda: streamed([np.nan], SPACED, hop_seconds=0.5), r"frame 0 is at nan s"),
        (lambda: streamed([0.0, np.nan], SPACED, hop_seconds=0.5), r"frame 1 is at nan s"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_even_segments_keep_their_distances():
    timestamps = np.arange(100) / 25
    seen = set()
    for seed in range(30):
        indices = segments(timestamps, 10, np.random.default_rng(seed), even=True)
        assert set(np.diff(indices)) == {10}
        seen.add(int(indices[0]))
    assert len(seen) > 5  # the whole row moves
    spec = ClipSpec(10, even=True)
    clip = training_clip(timestamps, spec, np.random.default_rng(3))
    assert set(np.diff(clip)) == {10}
