import errno
import json
from collections import Counter, defaultdict
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from praxino.datasets import pointlight, pointlight_figures
from praxino.datasets.manifest import Manifest
from praxino.datasets.pointlight import (
    CLASSES,
    ORDER_PAIRS,
    answer_questions,
    draw_contact_sheet,
    render_pointlight,
)
from praxino.datasets.pointlight_figures import (
    ACTIONS,
    FORWARD_ACTIONS,
    JOINTS,
    LOOKS,
    Dots,
    Person,
    body_joints,
    draw,
    film,
    perform,
    point_lights,
    random_person,
)
from praxino.errors import EnvironmentFault

SECONDS = np.arange(32) / 16
PAIR = ("sit_down", "stand_up")
SMALL = {"classes": PAIR, "videos_per_class": 10, "seconds": 1.0, "frames_per_second": 12}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_pointlight(tmp_path_factory.mktemp("pointlight") / "set", **SMALL)


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# Figures


def test_a_standing_body_has_the_lengths_of_its_person():
    joints = body_joints(pointlight_figures._posture(np.zeros(1)), Person())[0]
    place = dict(zip(JOINTS, joints, strict=True))
    assert place["left_ankle"] == pytest.approx([0, 0.065, 0])
    assert place["left_hip"] == pytest.approx([0, 0.065, 0.49])
    assert place["right_shoulder"] == pytest.approx([0, -0.11, 0.79])
    assert place["right_wrist"] == pytest.approx([0, -0.11, 0.47])
    assert place["head"] == pytest.approx([0, 0, 0.92])


@pytest.mark.parametrize("action", FORWARD_ACTIONS)
def test_bones_keep_their_length(action):
    rng = np.random.default_rng(1)
    person = random_person(rng)
    joints = perform(action, person, SECONDS, rng)
    for upper, lower, length in (
        ("shoulder", "elbow", person.upper_arm),
        ("elbow", "wrist", person.forearm),
        ("hip", "knee", person.thigh),
        ("knee", "ankle", person.shin),
    ):
        for side in ("left", "right"):
            bone = joints[:, JOINTS.index(f"{side}_{upper}")]
            bone = bone - joints[:, JOINTS.index(f"{side}_{lower}")]
            assert np.linalg.norm(bone, axis=-1) == pytest.approx(length)


def test_nobody_sinks_into_the_ground_and_only_runners_and_jumpers_leave_it():
    airborne = set()
    for action in FORWARD_ACTIONS:
        rng = np.random.default_rng(2)
        joints = perform(action, random_person(rng), SECONDS, rng)
        lowest = joints[..., 2].min(axis=1)
        assert lowest.min() > -1e-9
        if lowest.max() > 0.02:
            airborne.add(action)
    assert airborne == {"run", "jumping_jack"}


def test_sitting_down_lowers_the_head_over_planted_feet():
    joints = perform("sit_down", Person(), SECONDS, np.random.default_rng(3))
    head, ankle = joints[:, JOINTS.index("head")], joints[:, JOINTS.index("left_ankle")]
    assert head[0, 2] == pytest.approx(0.92)
    assert head[-1, 2] < 0.72
    assert np.all(np.diff(head[:, 2]) <= 1e-9)
    assert np.ptp(ankle, axis=0) == pytest.approx([0, 0, 0], abs=1e-9)


@pytest.mark.parametrize("action", ["walk", "run"])
def test_the_treadmill_keeps_the_hip_in_place_and_the_feet_take_turns(action):
    joints = perform(action, Person(), SECONDS, np.random.default_rng(4))
    hip = joints[:, [JOINTS.index("left_hip"), JOINTS.index("right_hip")]].mean(axis=1)
    assert np.ptp(hip[:, 0]) < 1e-9
    left, right = (joints[:, JOINTS.index(f"{side}_ankle"), 0] for side in ("left", "right"))
    assert np.corrcoef(left, right)[0, 1] < -0.7


def test_twelve_per_cent_is_the_most_that_people_differ():
    usual = vars(Person())
    people = [vars(random_person(np.random.default_rng(seed))) for seed in range(50)]
    ratios = np.array([[person[name] / usual[name] for name in usual] for person in people])
    assert 0.88 <= ratios.min() < 0.9
    assert 1.1 < ratios.max() <= 1.12


# Order


@pytest.mark.parametrize(("forward", "backward"), ORDER_PAIRS)
def test_the_second_of_a_pair_is_the_first_played_backwards(forward, backward):
    first = point_lights(forward, Person(), SECONDS, np.random.default_rng(5))
    second = point_lights(backward, Person(), SECONDS, np.random.default_rng(5))
    assert np.array_equal(first.places[::-1], second.places)
    assert np.array_equal(first.visible[::-1], second.visible)
    assert not np.array_equal(first.places, second.places)


@pytest.mark.parametrize(("forward", "backward"), ORDER_PAIRS)
def test_single_frames_of_a_pair_have_one_distribution(forward, backward):
    """Mean and spread of every dot over independent videos agree within the sampling error."""
    people = [random_person(np.random.default_rng([7, number])) for number in range(400)]
    frames = {}
    for name in (forward, backward):
        rng = np.random.default_rng([8, ACTIONS.index(name)])
        frames[name] = np.stack([point_lights(name, who, SECONDS, rng).places for who in people])
    one, other = (frames[name].mean(axis=1).reshape(400, -1) for name in (forward, backward))
    error = np.sqrt((one.var(axis=0) + other.var(axis=0)) / 400)
    z = (one.mean(axis=0) - other.mean(axis=0)) / error
    assert np.abs(z).max() < 4
    # The same test sees at once that first frames differ, so it is not blind.
    one, other = (frames[name][:, 0].reshape(400, -1) for name in (forward, backward))
    error = np.sqrt((one.var(axis=0) + other.var(axis=0)) / 400)
    assert np.abs((one.mean(axis=0) - other.mean(axis=0)) / error).max() > 8


@pytest.mark.parametrize("action", [name for pair in ORDER_PAIRS for name in pair])
def test_stillness_before_and_after_is_of_random_length(action):
    still_before, still_after = [], []
    for seed in range(40):
        rng = np.random.default_rng([9, seed])
        dots = point_lights(action, random_person(rng), SECONDS, rng, noise_dots=0)
        moves = np.abs(np.diff(dots.places, axis=0)).max(axis=(1, 2)) > 1e-9
        still_before.append(int(moves.argmax()))
        still_after.append(int(moves[::-1].argmax()))
    assert len(set(still_before)) > 5
    assert len(set(still_after)) > 5


def test_encoding_does_not_know_the_order(tmp_path):
    rng = np.random.default_rng(10)
    dots = point_lights("walk", Person(), SECONDS, rng)
    pixels = draw(dots, LOOKS["checks"], 64, rng)
    pointlight._encode(tmp_path / "forward.mp4", pixels, 16)
    pointlight._encode(tmp_path / "backward.mp4", pixels[::-1], 16)
    forward, backward = decode(tmp_path / "forward.mp4"), decode(tmp_path / "backward.mp4")
    assert np.array_equal(forward, backward[::-1])
    assert np.abs(forward.astype(int) - pixels).mean() < 6  # colours at half resolution cost most


# Camera, noise, paint


def test_hidden_dots_are_as_frequent_as_asked_and_come_in_gaps():
    rng = np.random.default_rng(11)
    seen = pointlight_figures._seen((2000, 100), 1 / 16, 0.2, rng)
    assert 1 - seen.mean() == pytest.approx(0.2, abs=0.01)
    starts = np.sum(seen[:-1] & ~seen[1:])
    # Each gap ends with chance frame_seconds / 0.3 * 0.8 a frame: 0.375 s on average.
    assert np.sum(~seen) / starts / 16 == pytest.approx(0.375, abs=0.02)


def test_without_dropping_every_dot_is_seen():
    rng = np.random.default_rng(12)
    joints = perform("walk", Person(), SECONDS, rng)
    assert film(joints, SECONDS, rng, noise_dots=0, dropped=0.0).visible.all()


def test_noise_dots_drift_evenly_and_stay_in_the_picture():
    rng = np.random.default_rng(13)
    joints = perform("walk", Person(), SECONDS, rng)
    noise = film(joints, SECONDS, rng, noise_dots=200, dropped=0.1).places[:, len(JOINTS) :]
    assert noise.shape == (32, 200, 2)
    assert 0 <= noise.min() < noise.max() < 1
    step = (np.diff(noise, axis=0) + 0.5) % 1 - 0.5
    assert np.ptp(step, axis=0).max() < 1e-9
    assert np.abs(step).max() <= 0.3 / 16
    assert abs(step.mean()) < 0.003  # no direction is preferred: time could run either way


@pytest.mark.parametrize("action", ACTIONS)
def test_the_body_stays_in_the_picture(action):
    inside = []
    for seed in range(30):
        rng = np.random.default_rng([14, seed])
        places = point_lights(action, random_person(rng), SECONDS, rng, noise_dots=0).places
        inside.append(np.mean((places >= 0) & (places < 1)))
    assert np.mean(inside) > 0.995


def test_a_dot_is_painted_where_it_is():
    places = np.array([[[0.25, 0.75]]])
    rng = np.random.default_rng(15)
    pixels = draw(Dots(places, np.ones((1, 1), dtype=bool)), LOOKS["white_on_black"], 64, rng)
    row, column = np.unravel_index(pixels[0].sum(axis=-1).argmax(), (64, 64))
    assert (row, column) in {(47, 15), (47, 16), (48, 15), (48, 16)}
    hidden = draw(Dots(places, np.zeros((1, 1), dtype=bool)), LOOKS["white_on_black"], 64, rng)
    assert np.ptp(hidden[..., 0]) == 0


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_shows_the_dots(look):
    nothing = Dots(np.full((1, 1, 2), 0.5), np.zeros((1, 1), dtype=bool))
    something = Dots(nothing.places, np.ones((1, 1), dtype=bool))
    with_dot = draw(something, LOOKS[look], 64, np.random.default_rng(17)).astype(int)
    ground = draw(nothing, LOOKS[look], 64, np.random.default_rng(17)).astype(int)
    assert np.abs(with_dot - ground).max() > 80
    assert np.abs(with_dot - ground)[0, :16].max() == 0


# Files


def test_there_are_enough_classes():
    assert len(CLASSES["motion"]) >= 8
    assert len(CLASSES["appearance"]) >= 8
    assert {name for pair in ORDER_PAIRS for name in pair} < set(CLASSES["motion"])


def test_the_manifest_names_every_video_with_its_length(small_set):
    table = Manifest.read(small_set)
    assert table.classes == PAIR
    assert len(table) == 20
    assert table.missing() == []
    assert {(row.start_seconds, row.end_seconds) for row in table} == {(0.0, 1.0)}
    for row in table:
        assert decode(table.path(row)).shape == (12, 64, 64, 3)
    videos = {
        path.relative_to(small_set.parent).as_posix() for path in small_set.parent.glob("*/*")
    }
    assert videos == set(table.videos)


def test_no_person_is_in_two_splits(tmp_path):
    table = Manifest.read(render_pointlight(tmp_path / "set", **{**SMALL, "videos_per_class": 24}))
    splits = defaultdict(set)
    for row in table:
        splits[row.group].add(row.split)
    assert len(splits) == 20
    assert all(len(found) == 1 for found in splits.values())
    for name in PAIR:
        per_split = Counter(row.split for row in table if row.labels == (name,))
        assert per_split == {"train": 17, "val": 3, "test": 4}


def test_the_smallest_set_has_every_split(small_set):
    assert Manifest.read(small_set).splits == ("train", "val", "test")


def test_the_same_arguments_give_the_same_files(small_set, tmp_path):
    again = render_pointlight(tmp_path / "again", **SMALL)
    assert contents(again.parent) == contents(small_set.parent)


def test_another_seed_gives_other_files(small_set, tmp_path):
    other = render_pointlight(tmp_path / "other", **SMALL, seed=1)
    same = contents(other.parent).items() & contents(small_set.parent).items()
    assert {name for name, _ in same} == {"manifest.csv"}


def test_a_video_does_not_depend_on_its_neighbours(small_set, tmp_path):
    alone = {**SMALL, "classes": ("stand_up", "wave"), "videos_per_class": 11}
    other = render_pointlight(tmp_path / "other", **alone)
    for number in range(10):
        name = f"stand_up/{number:04d}.mp4"
        assert (other.parent / name).read_bytes() == (small_set.parent / name).read_bytes()


def test_a_finished_set_is_left_alone(small_set):
    before = {path: path.stat().st_mtime_ns for path in small_set.parent.rglob("*")}
    assert render_pointlight(small_set.parent, **SMALL) == small_set
    assert {path: path.stat().st_mtime_ns for path in small_set.parent.rglob("*")} == before


def test_an_interrupted_set_has_no_manifest_and_can_be_finished(small_set, tmp_path, monkeypatch):
    encode, calls = pointlight._encode, []

    def pull_the_plug(*arguments):
        if len(calls) == 13:
            raise KeyboardInterrupt
        calls.append(arguments)
        encode(*arguments)

    folder = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr(pointlight, "_encode", pull_the_plug)
        with pytest.raises(KeyboardInterrupt):
            render_pointlight(folder, **SMALL)
    assert not (folder / "manifest.csv").exists()
    assert len(list(folder.rglob("*.mp4"))) == 13
    assert contents(render_pointlight(folder, **SMALL).parent) == contents(small_set.parent)


def test_a_lost_video_is_rendered_again(tmp_path):
    manifest = render_pointlight(tmp_path / "set", **SMALL)
    before = contents(manifest.parent)
    (manifest.parent / "sit_down" / "0003.mp4").unlink()
    render_pointlight(manifest.parent, **SMALL)
    assert contents(manifest.parent) == before


def test_appearance_says_nothing_about_motion(monkeypatch):
    done: list[str] = []

    def remember(action, *arguments, **options):
        done.append(action)
        return point_lights(action, *arguments, **options)

    monkeypatch.setattr(pointlight, "point_lights", remember)
    settings = pointlight._Settings("appearance", CLASSES["appearance"], 100, 0, 32, 8, 1.0, 0, 0.0)
    counts = []
    for name in CLASSES["appearance"]:
        done.clear()
        for number in range(100):
            pointlight._render_video(name, number, settings)
        counts.append([done.count(action) for action in ACTIONS])
    table = np.array(counts)
    assert table.shape == (8, 10)
    assert np.all(table.sum(axis=1) == 100)
    chi_squared = np.sum((table - 10) ** 2 / 10)
    assert chi_squared < 108  # 72 degrees of freedom: 99.6 of 100 independent tables are below


def test_appearance_is_seen_in_a_single_frame(tmp_path):
    manifest = render_pointlight(
        tmp_path / "set", variant="appearance", classes=("red_on_blue", "blue_on_red"),
        videos_per_class=10, seconds=1.0,
    )  # fmt: skip
    for path in sorted(manifest.parent.glob("red_on_blue/*")):
        red, _, blue = decode(path)[0].reshape(-1, 3).mean(axis=0)
        assert blue > red + 30
    for path in sorted(manifest.parent.glob("blue_on_red/*")):
        red, _, blue = decode(path)[0].reshape(-1, 3).mean(axis=0)
        assert red > blue + 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "motoin"}, "no variant 'motoin'. Did you mean 'motion'"),
        ({"classes": ("walk", "sit_dwn")}, "no motion class 'sit_dwn'. Did you mean 'sit_down'"),
        ({"classes": ("walk",)}, r"classes must be two or more, each once, got \('walk',\)"),
        ({"classes": ("walk", "walk")}, r"each once, got \('walk', 'walk'\)"),
        ({"videos_per_class": 9}, "videos_per_class must be at least 10, got 9"),
        ({"size": 30}, "size must be at least 32, got 30"),
        ({"size": 65}, "size must be even, as H.264 wants it, got 65"),
        ({"seconds": 0.5}, "seconds must be at least 1, got 0.5"),
        ({"frames_per_second": 5}, "frames_per_second must be at least 8, got 5"),
        ({"noise_dots": -1}, "noise_dots must be at least 0, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"dropped": 1.0}, "dropped must be at least 0 and below 1, got 1.0"),
    ],
)
def test_arguments_out_of_range(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        render_pointlight(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


def test_other_peoples_folders_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds something else. Choose a new or an empty folder"):
        render_pointlight(tmp_path, **SMALL)
    with pytest.raises(ValueError, match=r"notes.txt holds something else"):
        render_pointlight(tmp_path / "notes.txt", **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", ["{", "[]", '{"theme": "dark"}'])
def test_somebody_elses_settings_are_not_ours(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(ValueError, match="holds something else"):
        render_pointlight(tmp_path, **SMALL)
    assert (tmp_path / "settings.json").read_text() == content


def test_a_full_disk_is_told_and_leaves_no_half_video(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pointlight.av, "open", full)
    message = r"sit_down: no video can be written here \(No space left on device\). Check the disk"
    with pytest.raises(EnvironmentFault, match=message):
        render_pointlight(tmp_path / "set", **SMALL)
    assert [path.name for path in (tmp_path / "set").rglob("*")] == ["settings.json", "sit_down"]


def test_two_sets_are_not_mixed(small_set):
    with pytest.raises(ValueError, match=r"was rendered with seed=0, not 1. Choose another folder"):
        render_pointlight(small_set.parent, **SMALL, seed=1)
    assert json.loads((small_set.parent / "settings.json").read_text())["seed"] == 0


def test_the_contact_sheet_has_a_row_for_each_class(small_set, tmp_path):
    draw_contact_sheet(small_set, tmp_path / "sheet.png", frames=5, frame_size=50)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[0] == 16 + 2 * 54 - 4 + 16
    first_row = decode(small_set.parent / "sit_down" / "0000.mp4")
    last = np.asarray(Image.fromarray(first_row[-1]).resize((50, 50))).astype(int)
    assert np.abs(sheet[16:66, -66:-16] - last).mean() < 3


# Questions


def test_questions_of_a_table_small_enough_for_paper():
    classes = ("sit_down", "stand_up", "walk")
    scores = np.array(
        [
            [0.7, 0.2, 0.1],  # right in everything
            [0.3, 0.6, 0.1],  # it moved right, in the wrong order
            [0.2, 0.1, 0.7],  # taken for walking, yet the order within the pair is right
            [0.4, 0.4, 0.2],  # cannot decide about the order
            [0.3, 0.3, 0.4],  # the pair together outweighs walking: wrong
            [0.1, 0.1, 0.8],
        ]
    )
    answers = answer_questions(scores, np.array([0, 0, 0, 1, 2, 2]), classes)
    assert answers["motion"] == (4, 6, 4 / 6)
    assert answers["order"] == (2.5, 4, 3 / 4)
    assert answers["order"].accuracy == 2.5 / 4
    assert set(answers) == {"motion", "order"}


def test_appearance_is_plain_accuracy():
    answers = answer_questions(
        np.eye(2)[[0, 1, 1, 0]], np.array([0, 1, 0, 0]), ["stripes", "checks"]
    )
    assert answers == {"appearance": (3, 4, 0.75)}


def test_order_is_not_asked_where_a_pair_is_incomplete():
    answers = answer_questions(np.eye(2), np.array([0, 1]), ["sit_down", "walk"])
    assert set(answers) == {"motion"}


def test_who_sees_no_order_is_at_chance():
    rng = np.random.default_rng(18)
    classes = CLASSES["motion"]
    labels = np.repeat(np.arange(len(classes)), 400)
    scores = np.full((len(labels), len(classes)), 0.01)
    scores[np.arange(len(labels)), labels] = 1.0
    for first, second in ORDER_PAIRS:  # everything is known but which of the two it was
        either = [classes.index(first), classes.index(second)]
        of_pair = np.flatnonzero(np.isin(labels, either))
        scores[of_pair[:, None], either] = rng.uniform(0.4, 0.6, size=(len(of_pair), 2))
    answers = answer_questions(scores / scores.sum(axis=1, keepdims=True), labels, classes)
    assert answers["motion"].accuracy == 1
    assert answers["order"].accuracy == pytest.approx(0.5, abs=0.04)
    assert answers["order"].chance == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "classes", "message"),
    [
        (np.eye(3), [0, 1], ["walk", "run", "wave"], r"got \(3, 3\) for 2 labels and 3 classes"),
        (np.zeros((0, 2)), [], ["walk", "run"], r"got \(0, 2\) for 0 labels"),
        (np.diag([1, 2]), [0, 1], ["walk", "run"], r"with the sum 1; row 1 is \[0 2\]"),
        (np.array([[1.5, -0.5]]), [0], ["walk", "run"], r"at least 0 .* row 0 is \[ 1.5 -0.5\]"),
        (np.eye(2), [0, 2], ["walk", "run"], r"labels must be in 0 ... 1, got 2"),
        (np.eye(2), [0, 1], ["walk", "rum"], "'rum' is not a motion class. Did you mean 'run'"),
        (np.eye(2), [0, 1], ["walk", "stripes"], "'stripes' is not a motion class"),
    ],
)
def test_questions_without_an_answer(scores, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        answer_questions(scores, np.array(labels, dtype=int), classes)
