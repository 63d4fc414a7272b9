from praxino.shortened import printable, shortened


def test_shortened_escapes_and_cuts() -> None:
    assert shortened("\x1b[31m\u202e") == r"'\x1b[31m\u202e'"
    assert len(shortened("x" * 500)) == len(shortened(b"x" * 500)) == 120
    assert len(shortened(["x"] * 500)) == 120


def test_names_stay_on_one_line_and_otherwise_as_they_are() -> None:
    assert printable("Übung 1/größe.mp4") == "Übung 1/größe.mp4"
    assert printable("a\nb\x1b[31m\u202egnp.mp4\udcff") == r"a\nb\x1b[31m\u202egnp.mp4\udcff"
