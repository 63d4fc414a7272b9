"""The choices of how to decode: checked once, and carried along the whole road."""

import pytest

from praxino.recipe import DataConfig
from praxino.video import child, torchcodec_video
from praxino.video.child import Limits
from praxino.video.decoding import Decoding
from praxino.video.reader import FileVideo, open_video


def test_the_choices_name_classes(numbered_video, monkeypatch) -> None:
    opened = []
    for module, name in ((child, "ChildVideo"), (torchcodec_video, "TorchcodecVideo")):
        monkeypatch.setattr(module, name, lambda *given, name=name: opened.append((name, *given)))
    with open_video(numbered_video) as video:
        assert type(video) is FileVideo
    open_video(numbered_video, short_side=32, threads=1, untrusted=True)
    open_video(numbered_video, threads=1, untrusted=True, limits=Limits(cpu_seconds=5))
    open_video(numbered_video, threads=2, backend="torchcodec")
    assert [(name, *rest) for name, _, *rest in opened] == [
        ("ChildVideo", 32, 1, Limits()),
        ("ChildVideo", None, 1, Limits(cpu_seconds=5)),
        ("TorchcodecVideo", None, 2),
    ]


@pytest.mark.parametrize("take", [Decoding, lambda **given: open_video("x.mp4", **given)])
def test_choices_that_do_not_exist(take) -> None:
    with pytest.raises(ValueError, match=r"There is no backend 'ffms'; there are pyav and torchco"):
        take(backend="ffms")
    with pytest.raises(ValueError, match=r"are decoded by pyav only, got backend 'torchcodec'\. L"):
        take(backend="torchcodec", untrusted=True)


def test_a_recipe_refuses_them_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match=r"decoded by pyav only, got backend 'torchcodec'"):
        DataConfig(backend="torchcodec", untrusted=True)


def test_limits_are_for_untrusted_videos(numbered_video) -> None:
    with pytest.raises(ValueError, match=r"limits are for untrusted videos; pass untrusted=True"):
        open_video(numbered_video, limits=Limits())
