import pickle

from praxino.errors import VideoError


def test_video_error_names_the_file_without_its_folder():
    error = VideoError("/home/ann/private/kick.mp4", "no frame at 12.40 s.", code="out_of_range")
    assert str(error) == "kick.mp4: no frame at 12.40 s."
    assert error.code == "out_of_range"


def test_video_error_survives_the_way_home_from_a_worker():
    error = VideoError("a/kick.mp4", "broken.", code="damaged")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.item, copy.message, copy.code, str(copy)) == (
        "a/kick.mp4",
        "broken.",
        "damaged",
        "kick.mp4: broken.",
    )
