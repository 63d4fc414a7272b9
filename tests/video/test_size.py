import doctest

import numpy as np

from praxino.video import size


def test_the_examples_in_the_docstrings():
    found = doctest.testmod(size)
    assert (found.failed, found.attempted) == (0, 4)


def test_as_numpy_counts():
    assert size.clip_bytes(16, 112, 98) == np.zeros((16, 112, 98, 3), np.uint8).nbytes
    second = np.zeros((25, 48, 64, 3), np.uint8)
    assert size.raw_video_bytes(64, 48, 25, 1) == second.nbytes


def test_fractions_are_rounded():
    assert size.raw_video_bytes(640, 480, 29.97, 1) == 27_620_352
    assert size.frames_in_data_set(2, 10.04, 25) == 502
