from html.parser import HTMLParser

from praxino.datasets.folder import read_folder
from praxino.datasets.manifest import Manifest, Row
from praxino.evaluate import evaluate
from praxino.report import write_report

OPTIONS = {"clips": 1, "crops": 1, "workers": 0, "device": "cpu"}


class Page(HTMLParser):
    """Collects what a browser would fetch, and the text that a person would read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, text):
        self.words.append(text)


def test_a_page_that_needs_nothing_else(trained_run, two_actions, tmp_path):
    result = evaluate(trained_run, read_folder(two_actions), **OPTIONS)
    for name in ("metrics.jsonl", "config.json"):
        (tmp_path / name).write_bytes((trained_run / name).read_bytes())
    page = Page(write_report(tmp_path, result).read_text())
    assert len(page.sources) == 2  # curves and confusion matrix
    assert all(source.startswith("data:image/") for source in page.sources)
    words = " ".join(page.words)
    for expected in ("video hit@1", "100.0%", "brighter", "Training", "Confusion", "16 videos"):
        assert expected in words
    assert "Every video is classified correctly" in words


def test_worst_clips_are_shown_and_names_are_escaped(trained_run, two_actions, tmp_path):
    manifest = read_folder(two_actions)
    swapped = {"brighter": "darker", "darker": "brighter"}
    rows = [Row(row.video, (swapped[row.labels[0]],)) for row in manifest]
    result = evaluate(trained_run, Manifest.from_rows(rows, manifest.root), **OPTIONS)
    folder = tmp_path / "<b>bold"
    folder.mkdir()
    text = write_report(folder, result).read_text()
    page = Page(text)
    assert sum(source.startswith("data:image/jpeg") for source in page.sources) == 12
    assert "taken for" in " ".join(page.words)
    assert "<b>bold" not in text


def test_without_an_evaluation_there_are_curves_only(trained_run, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes((trained_run / "metrics.jsonl").read_bytes())
    page = Page(write_report(tmp_path).read_text())
    assert len(page.sources) == 1
