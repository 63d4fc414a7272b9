import dataclasses
import json
from fractions import Fraction

import av
import numpy as np
import pytest

from praxino.command.cli import run
from praxino.command.video_report import page, report_video, row
from praxino.errors import VideoError
from praxino.video.decoder import Decoder


def cut(path, to, share):
    """The first part of a Transport Stream, which needs no index at its end."""
    content = path.read_bytes()
    to.write_bytes(content[: int(len(content) * share)])
    return to


@pytest.fixture
def avi(tmp_path):
    """20 key frames that an AVI's header counts."""
    path = tmp_path / "whole.avi"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuvj420p"
        for _ in range(20):
            pixels = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_whole_video(numbered_video, capsys):
    report = report_video(numbered_video)
    assert (report.frames_decoded, report.frames_promised, report.complete) == (60, 60, True)
    assert report.gap_seconds == pytest.approx((0.04, 0.04, 0.04))
    assert report.first_seconds == 0
    assert run(["video", str(numbered_video)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == page(report)
    assert said[0] == str(numbered_video)
    assert said[1].startswith("  container   MP4 or MOV, ")
    assert said[2] == "  video       h264 (High) yuv420p, 64 x 48 pixels"
    assert said[3] == "  frames      60 of 60 decode"
    assert said[4] == "  time        2.40 s"
    assert said[5] == "  rate        25.00 frames per second, constant"
    assert said[6] == "  key frames  1, at most 60 frames (2.4 s) apart"
    assert said[7] == "  also holds  no sound, nothing else"
    assert said[8:] == ["reads completely"]


def test_a_video_that_is_cut_is_damaged_and_says_how_much_is_there(avi, tmp_path, capsys):
    short = cut(avi, tmp_path / "short.avi", 0.5)
    report = report_video(short)
    assert 4 < report.frames_decoded < 15
    assert report.frames_promised == 20
    assert page(report)[-1] == f"damaged: {report.frames_decoded} of 20 frames"
    assert run(["video", str(short)]) == 1
    assert f"damaged: {report.frames_decoded} of 20 frames" in capsys.readouterr().out
    assert row(report).startswith("damaged ")


def test_a_patched_picture_is_damage(tmp_path, capsys):
    path, noise = tmp_path / "patched.mkv", np.random.default_rng(0).integers(0, 256, (64, 96, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "20"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(60):
            pixels = np.roll(noise, number, axis=1).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0)]
    content = bytearray(path.read_bytes())
    middle = packets[40][0] + packets[40][1] // 2
    content[middle : middle + 100] = b"\xa5" * 100
    path.write_bytes(content)
    report = report_video(path)
    assert (report.frames_decoded, report.frames_promised) == (59, 60)
    assert report.verdict == "damaged: 59 of 60 frames"
    assert report.to_dict()["status"] == "partial"
    assert run(["video", str(path)]) == 1
    assert "1 of 60 frames are damaged and were patched by the decoder" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["corrupt_packets", "errors"])
def test_packets_that_are_corrupt_are_damage_even_if_all_decode(name, numbered_video, monkeypatch):
    packets = Decoder.packets

    def complaining(decoder):
        yield from packets(decoder)
        setattr(decoder, name, 1)

    monkeypatch.setattr(Decoder, "packets", complaining)
    report = report_video(numbered_video)
    assert report.complete
    assert report.verdict == "damaged, though the 60 frames that were found decode"
    assert row(report).startswith("damaged ")


def test_a_file_that_is_no_video(broken_video, capsys):
    with pytest.raises(VideoError, match="is not a video that praxino reads"):
        report_video(broken_video)
    assert run(["video", str(broken_video)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_a_folder_gives_a_line_for_each_and_counts(avi, numbered_video, broken_video, capsys):
    folder = avi.parent
    cut(avi, folder / "short.avi", 0.5)
    (folder / "good.mp4").write_bytes(numbered_video.read_bytes())
    assert run(["video", str(folder), "--ledger", str(folder / "items.jsonl")]) == 1
    lines = capsys.readouterr().out.splitlines()
    firsts = {line.split()[0]: line for line in lines[1:5]}
    assert set(firsts) == {"ok", "damaged", "unreadable"}
    assert "is not a video that praxino reads" in firsts["unreadable"]
    assert lines[5] == "4 videos: 2 ok, 1 partial, 1 failed"
    entries = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    assert sorted(entry["status"] for entry in entries) == ["failed", "ok", "ok", "partial"]


def test_json_is_alone_on_standard_output(avi, broken_video, capsys):
    assert run(["video", str(avi), str(broken_video), "--json", "-"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [one["status"] for one in said] == ["ok", "failed"]
    assert said[0]["frames_decoded"] == said[0]["frames_promised"] == 20
    assert said[0]["key_frames"] == list(range(20))
    assert said[1]["code"] == "unsupported_container"


def test_odd_times_turned_and_stretched_pictures_are_told(tmp_path):
    path = tmp_path / "odd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for number, when in enumerate((0, 1, 2, 10, 11, 40)):
            pixels = np.full((32, 48, 3), 30 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = when
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    said = "\n".join(page(report_video(path)))
    assert "Matroska or WebM" in said
    assert "48 x 32 pixels; players show 64 x 32, pixels are not square" in said
    assert "VARIABLE: gaps of 40.0 to 1160.0 ms, median 40.0 ms" in said


def test_untrusted_and_backend_are_passed_on(numbered_video, monkeypatch, capsys):
    assert run(["video", str(numbered_video), "--untrusted", "--backend", "torchcodec"]) == 2
    assert "Untrusted videos are decoded by pyav only" in capsys.readouterr().err


def test_the_labs_videos_read_completely(lab_data):
    for path in sorted((lab_data / "clips").glob("v_*.avi")):
        assert report_video(path).verdict == "reads completely"
    odd = report_video(lab_data / "ut-interaction" / "segmented_set1" / "14_3_1.avi")
    assert "168 of 168 decode; the header's count, 170, is wrong" in "\n".join(page(odd))


def test_damage_without_a_count_is_no_success(numbered_video, monkeypatch, capsys):
    problems = ("2 packets are marked as corrupt or cut short",)
    whole = report_video(numbered_video)
    hurt = dataclasses.replace(whole, info=dataclasses.replace(whole.info, problems=problems))
    monkeypatch.setattr("praxino.command.video_report.report_video", lambda path, **options: hurt)
    assert run(["video", str(numbered_video)]) == 1
    assert capsys.readouterr().out.endswith(
        "damaged, though the 60 frames that were found decode\n"
    )
