import av
import numpy as np
from PIL import Image

from praxino.draw import BAR, BAR_BACK, RIGHT, WRONG, annotate
from praxino.predict import predict

CLASSES = ("kick", "punch", "wave", "jump")


def colours(sheet: np.ndarray, colour) -> int:
    return int((sheet == np.array(colour)).all(axis=2).sum())


def test_bars_are_as_long_as_the_scores():
    frame = np.full((240, 320, 3), 90, np.uint8)
    sheet = annotate(frame, CLASSES, np.array([0.1, 0.6, 0.3, 0.0]))
    assert (sheet[:240] == 90).all()  # the picture itself stays as it is
    assert sheet.shape[1] == 320
    rows = [row for row in range(240, len(sheet)) if (sheet[row, 8] == BAR).all()]
    longest = max((sheet[row] == BAR).all(axis=1).sum() for row in rows)
    # 60 % of the width between the margins, less what the letters cover.
    assert 0.45 * 308 < longest <= 0.6 * 308 + 1
    assert colours(sheet, BAR_BACK) > 0


def test_colour_says_whether_it_is_right():
    frame = np.zeros((240, 320, 3), np.uint8)
    scores = np.array([0.1, 0.6, 0.3, 0.0])
    assert colours(annotate(frame, CLASSES, scores, truth="punch"), RIGHT) > 0
    wrong = annotate(frame, CLASSES, scores, truth="kick")
    assert colours(wrong, WRONG) > 0
    assert colours(wrong, RIGHT) == 0


def test_small_frames_are_enlarged_until_text_can_be_read():
    sheet = annotate(np.zeros((48, 64, 3), np.uint8), CLASSES[:2], np.array([0.5, 0.5]))
    assert sheet.shape[:2] > (240, 320)


def test_video_has_every_frame_and_plays_in_browsers(trained_run, two_actions, tmp_path):
    result = predict(two_actions / "darker" / "0.mp4", trained_run, every_seconds=0.5)
    path = result.save(tmp_path / "out.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == 10
        assert sum(1 for _ in container.decode(stream)) == 20


def test_timeline_is_a_picture(trained_run, two_actions, tmp_path):
    result = predict(two_actions / "darker" / "0.mp4", trained_run, every_seconds=0.2)
    with Image.open(result.save(tmp_path / "line.png")) as picture:
        assert picture.width > picture.height > 200
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
