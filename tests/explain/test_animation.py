import av
import numpy as np
import pytest
from PIL import Image

from praxino.explain.animation import write_animation

FRAMES = [np.full((32, 48, 3), 40 * number, np.uint8) for number in range(5)]


def test_a_gif_plays_for_ever(tmp_path):
    write_animation(tmp_path / "a.gif", FRAMES, 5)
    with Image.open(tmp_path / "a.gif") as picture:
        assert (picture.n_frames, picture.info["loop"], picture.info["duration"]) == (5, 0, 200)
        for number, frame in enumerate(FRAMES):
            picture.seek(number)
            assert (np.asarray(picture.convert("RGB")) == frame).all()


def test_an_mp4_has_every_frame(tmp_path):
    write_animation(tmp_path / "a.mp4", FRAMES, 5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"as 'a\.webm': use \.gif or \.mp4"):
        write_animation(tmp_path / "a.webm", FRAMES, 5)
    with pytest.raises(ValueError, match=r"a\.gif: there is no frame to write"):
        write_animation(tmp_path / "a.gif", [], 5)
    assert not list(tmp_path.iterdir())
