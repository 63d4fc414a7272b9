"""Published weights from a server that fails, lies or stalls in every way we could think of."""

import dataclasses
import hashlib
import http.server
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from praxino.errors import EnvironmentFault
from praxino.models import create_model, load_weights
from praxino.weights import download as module
from praxino.weights import reading
from praxino.weights.published import Weights, cache_folder, fetch, place_for
from praxino.weights.reading import read_state

TENSORS = {"conv.weight": torch.arange(6000.0).reshape(2, 3000), "conv.count": torch.tensor(3)}
GOOD = save(TENSORS)
SENDS = 0.3  # seconds without a byte that count as a stall

Behaviour = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Does what the test says."""

    server: "Server"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.ranges.append(self.headers.get("Range"))
        self.server.behave(self)

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def serve(self, content: bytes) -> None:
        """A whole answer, or the part of it that was asked for."""
        asked = self.headers.get("Range")
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked and first >= len(content):
            self.head(416, Content_Length=0)
            return
        extra = {"Content_Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
        rest = content[first:]
        self.head(206 if asked else 200, Content_Length=len(rest), **(extra if asked else {}))
        self.wfile.write(rest)


class Server(http.server.ThreadingHTTPServer):
    """Answers with `behave`, and remembers which ranges were asked for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.behave: Behaviour = lambda handler: handler.serve(GOOD)

    def handle_error(self, *_: object) -> None:  # a client that left
        pass

    def row(self, content: bytes = GOOD, suffix: str = ".safetensors", **said: Any) -> Weights:
        prefix = hashlib.sha256(content).hexdigest()[:8]
        url = f"http://127.0.0.1:{self.server_port}/files/net-{prefix}{suffix}"
        return Weights(url, prefix, "Nothing", 2, "none", **{"megabytes": 0.03, **said})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PRAXINO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", SENDS)
    with Server() as here:
        thread = threading.Thread(target=here.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        here.shutdown()
        thread.join()


def kept() -> list[str]:
    """Files in the cache, unfinished ones left out."""
    folder = cache_folder()
    return (
        sorted(f.name for f in folder.glob("*") if f.is_file() and f.suffix != ".part")
        if folder.exists()
        else []
    )


def assert_right(path: Path) -> None:
    found = load_file(path)
    assert set(found) == set(TENSORS)
    assert torch.equal(found["conv.weight"], TENSORS["conv.weight"])
    assert kept() == [path.with_suffix(".safetensors").name, path.with_suffix(".sha256").name]


# --- what goes well ------------------------------------------------------------------------------


def test_a_download_is_checked_and_kept(server: Server) -> None:
    path = fetch(server.row())
    assert path.parent == cache_folder()
    assert_right(path)
    assert fetch(server.row()) == path
    assert server.ranges == [None]
    said = path.with_suffix(".sha256").read_text()
    assert said == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"


def test_a_pickled_file_is_converted(server: Server) -> None:
    buffer = io.BytesIO()
    torch.save(TENSORS, buffer)
    server.behave = lambda handler: handler.serve(buffer.getvalue())
    assert_right(fetch(server.row(buffer.getvalue(), suffix=".pth")))


def test_a_download_goes_on_where_it_broke_off(server: Server) -> None:
    def cut(handler: Handler) -> None:
        handler.head(Content_Length=len(GOOD))
        handler.wfile.write(GOOD[:9000])

    server.behave = cut
    with pytest.raises(
        EnvironmentFault,
        match=rf"broke off at 9,000 of {len(GOOD):,} bytes\. Try again; it goes on",
    ):
        fetch(server.row())
    assert kept() == []
    server.behave = lambda handler: handler.serve(GOOD)
    assert_right(fetch(server.row()))
    assert server.ranges == [None, "bytes=9000-"]


@pytest.mark.parametrize("left", [b"x" * 100, GOOD, GOOD + b"more", b"x" * len(GOOD)])
def test_what_is_left_of_another_download_does_no_harm(server: Server, left: bytes) -> None:
    row = server.row()
    cache_folder().mkdir()
    part = (cache_folder() / row.url.rsplit("/", 1)[1]).with_suffix(".part")
    part.write_bytes(left)
    assert_right(fetch(row))
    assert len(server.ranges) == (1 if left == GOOD else 2)


def test_a_server_that_cannot_go_on_starts_anew(server: Server) -> None:
    def whole(handler: Handler) -> None:
        handler.head(Content_Length=len(GOOD))
        handler.wfile.write(GOOD)

    def wrong_range(handler: Handler) -> None:
        if handler.headers.get("Range") is None:
            return whole(handler)
        handler.head(206, Content_Length=5, Content_Range="bytes 0-4/5")
        handler.wfile.write(GOOD[:5])

    for behave in (whole, wrong_range):
        row = server.row()
        cache_folder().mkdir(exist_ok=True)
        path = cache_folder() / row.url.rsplit("/", 1)[1]
        path.unlink(missing_ok=True)
        path.with_suffix(".part").write_bytes(GOOD[:100])
        server.behave = behave
        assert_right(fetch(row))


def test_redirects_to_http_are_followed(server: Server) -> None:
    def move(handler: Handler) -> None:
        if "moved" in handler.path:
            return handler.serve(GOOD)
        handler.head(302, Location="/moved/here", Content_Length=0)

    server.behave = move
    assert_right(fetch(server.row()))


# --- what goes wrong -----------------------------------------------------------------------------


def raw(content: bytes) -> Behaviour:
    """Bytes as they are, in place of an answer; then the connection is closed."""
    return lambda handler: handler.wfile.write(content) and None


def sends(content: bytes, **headers: object) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.head(**headers)
        handler.wfile.write(content)

    return behave


def stalls(content: bytes, **headers: object) -> Behaviour:
    def behave(handler: Handler) -> None:
        sends(content, **headers)(handler)
        handler.wfile.flush()
        time.sleep(3 * SENDS)

    return behave


def endless(handler: Handler) -> None:
    handler.head()
    for _ in range(10_000):
        handler.wfile.write(b"x" * 100_000)


def drips(handler: Handler) -> None:
    handler.head(Content_Length=len(GOOD))
    for byte in GOOD:
        handler.wfile.write(bytes([byte]))
        time.sleep(SENDS / 10)


def redirects(target: str) -> Behaviour:
    return lambda handler: handler.head(302, Location=target, Content_Length=0)


def damaged(number: int) -> bytes:
    """The good file with one of four kinds of damage."""
    rng, content = np.random.default_rng(number), bytearray(GOOD)
    at = int(rng.integers(len(GOOD)))
    match number % 4:
        case 0:
            content[at] ^= 1 << int(rng.integers(8))
        case 1:
            del content[at:]
        case 2:
            content[at:at] = rng.bytes(20)
        case 3:
            content[at : at + 1000] = rng.bytes(1000)
    return bytes(content)


SIZE = len(GOOD)
ANSWERS = r"the server answers {}"
FAULTS: dict[str, tuple[Behaviour, str]] = {
    **{
        f"status {code}": (
            lambda handler, code=code: handler.head(code, Content_Length=0),
            ANSWERS.format(code),
        )
        for code in (400, 401, 403, 404, 410, 416, 429, 500, 502, 503, 504, 599)
    },
    **{
        f"damage {number}": (
            lambda handler, number=number: handler.serve(damaged(number)),
            r"has SHA-256 .*published is|is empty",
        )
        for number in range(40)
    },
    **{
        f"cut at {share} %": (sends(GOOD[: SIZE * share // 100], Content_Length=SIZE), "broke off")
        for share in range(0, 100, 5)
    },
    "a web page": (sends(b"<!DOCTYPE html><p>Not found", Content_Length=27), "is a web page"),
    "an XML error": (sends(b"<?xml version='1.0'?><Error>", Content_Length=28), "is a web page"),
    "a pointer": (sends(b"version https://git-lfs.github.com/spec/v1", Content_Length=42), "LFS"),
    "nothing": (sends(b"", Content_Length=0), "is empty"),
    "nothing at all": (raw(b""), "Cannot download"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n" * 3), "Cannot download"),
    "an endless header": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000), "Cannot download"),
    "many headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000), "Cannot download"),
    "length too small": (sends(GOOD, Content_Length=SIZE - 10), "has SHA-256"),
    "length is text": (sends(b"x" * 50, Content_Length="many"), "has SHA-256"),
    "length is negative": (sends(b"x" * 50, Content_Length=-5), "has SHA-256"),
    "length has a sign": (sends(b"x" * 50, Content_Length="+50"), "has SHA-256"),
    "length of 5000 digits": (sends(b"x" * 50, Content_Length="9" * 5000), "has SHA-256"),
    "announces a gigabyte": (sends(b"x", Content_Length=2**30), "is announced with 1,073,741,824"),
    "never ends": (endless, r"sends more than 1,083,179 bytes"),
    "stalls before": (lambda handler: time.sleep(3 * SENDS), "Cannot download .*timed out"),
    "stalls within": (stalls(GOOD[:500], Content_Length=SIZE), "Cannot download .*timed out"),
    "drips": (drips, r"only \d+ bytes came in 0 s"),
    "broken chunks": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"),
        "Cannot download",
    ),
    "a cut chunk": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc"),
        "Cannot download|has SHA-256",
    ),
    "gzip unasked": (sends(b"\x1f\x8b" + GOOD[2:], Content_Encoding="gzip"), "has SHA-256"),
    "part unasked": (
        lambda handler: handler.head(206, Content_Length=0, Content_Range="bytes 9-9/10"),
        "is empty",
    ),
    "moved to a file": (redirects("file:///etc/passwd"), "Cannot download"),
    "moved to FTP": (redirects("ftp://127.0.0.1/x"), r"Cannot download .*sends us on to 'ftp:"),
    "moved to data": (redirects("data:,x"), "Cannot download"),
    "moved to nowhere": (redirects("http://["), "Cannot download"),
    "moved in a circle": (redirects("/again"), "Cannot download .*302"),
    "moved to a closed port": (redirects("http://127.0.0.1:9/x"), "Cannot download"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_leaves_a_bad_file_and_the_next_download_is_right(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave, message = FAULTS[name]
    if name == "drips":
        monkeypatch.setattr(module, "SLOWEST", 10**9)
    with pytest.raises((EnvironmentFault, ValueError), match=message) as caught:
        fetch(server.row())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert kept() == []
    assert sum(file.stat().st_size for file in cache_folder().glob("*.part")) < 1_100_000
    server.behave = lambda handler: handler.serve(GOOD)
    assert_right(fetch(server.row()))


def test_there_are_a_hundred_faults() -> None:
    assert len(FAULTS) >= 100


def test_from_https_to_http_is_no_way() -> None:
    handler = module._NoLessSafe()
    asked = module.request.Request("https://example.org/a")
    with pytest.raises(module.urllib.error.URLError, match="sends us on to 'http://example"):
        handler.redirect_request(asked, io.BytesIO(), 302, "", {}, "http://example.org/a")
    assert handler.redirect_request(asked, io.BytesIO(), 302, "", {}, "https://example.org/b")


def test_without_a_connection_the_way_out_is_told(server: Server) -> None:
    row = server.row()
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        url = row.url.replace(str(server.server_port), str(nobody_listens.getsockname()[1]))
        row = dataclasses.replace(row, url=url)
        with pytest.raises(
            EnvironmentFault, match=r"Cannot download http.*refused\. Without a "
        ) as e:
            fetch(row)
    place = put_where_told(str(e.value), {url: GOOD})
    assert_right(fetch(row))
    assert place.read_bytes() == GOOD  # a person's file stays theirs


def put_where_told(message: str, files: dict[str, bytes]) -> Path:
    """Do by hand what a message says; where the last file was put."""
    assert "\n" not in message
    for url, content in files.items():
        told = re.search(rf"{re.escape(url)}, to be put at (\S+?)[.;]( |$)", message)
        assert told is not None, message
        Path(told[1]).write_bytes(content)
    return Path(told[1])


# --- put into the cache by hand ------------------------------------------------------------------

PAGE = "https://drive.example.org/folders/1AbC"
BY_HAND = Weights(PAGE, None, "Nothing", 2, "none", by_hand="r3d18_K_200ep.safetensors")


def test_what_only_a_person_can_download(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        EnvironmentFault,
        match=r"^No program can fetch r3d18_K_200ep\.safetensors\. Download it by h",
    ) as caught:
        fetch(BY_HAND)
    place = put_where_told(str(caught.value), {PAGE: GOOD})
    assert place.name == "r3d18_K_200ep.safetensors"
    caplog.set_level("INFO", "praxino")
    assert_right(fetch(BY_HAND))
    assert "nobody has published its hash, so only its size and its fit are checked" in caplog.text
    assert place.exists()
    assert server.ranges == []


def test_what_is_put_there_is_checked_too(server: Server) -> None:
    row = server.row()
    place_for(row).mkdir(parents=True)
    place = place_for(row) / row.url.rsplit("/", 1)[1]
    for content, message in (
        (damaged(0), "has SHA-256 .*published is"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"", "is empty"),
    ):
        place.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            fetch(row)
        assert kept() == []
    place.write_bytes(GOOD)
    assert_right(fetch(row))
    assert server.ranges == []


@pytest.mark.parametrize("megabytes", [10.0, 0.001])
def test_without_a_hash_the_size_is_what_is_known(server: Server, megabytes: float) -> None:
    row = dataclasses.replace(BY_HAND, megabytes=megabytes)
    place_for(row).mkdir(parents=True)
    large = save({"a": torch.zeros(300_000)})
    (place_for(row) / str(row.by_hand)).write_bytes(large)
    with pytest.raises(
        ValueError, match=rf"{len(large):,} bytes, published are {megabytes} MB: th"
    ):
        fetch(row)
    assert kept() == []


def test_a_download_without_a_hash_starts_anew_after_it_was_wrong(server: Server) -> None:
    row = dataclasses.replace(server.row(), sha256_prefix=None)
    server.behave = lambda handler: handler.serve(GOOD[:-1])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        fetch(row)
    assert list(cache_folder().iterdir()) == []
    server.behave = lambda handler: handler.serve(GOOD)
    assert_right(fetch(row))


@pytest.mark.parametrize("hashed", [True, False])
def test_what_does_not_fit_is_forgotten_if_no_hash_vouches_for_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, hashed: bool
) -> None:
    row = server.row() if hashed else dataclasses.replace(server.row(), sha256_prefix=None)
    model = create_model("small_3d", num_classes=2)
    monkeypatch.setattr("praxino.models.convert_state_dict", lambda state, **_: state)
    with pytest.raises(ValueError, match=r"does not fit Small3d, \d+ differences"):
        load_weights(model, "small_3d", row)
    assert bool(kept()) == hashed


# --- several files -------------------------------------------------------------------------------


@pytest.fixture
def two_files(server: Server, from_tensorflow: dict[str, bytes]) -> dict[str, bytes]:
    """What each URL of a TensorFlow checkpoint holds; the server has them."""
    server.behave = lambda handler: handler.serve(from_tensorflow[handler.path.rsplit("/", 1)[1]])
    start = f"http://127.0.0.1:{server.server_port}/rgb_imagenet"
    return {f"{start}/{name}": content for name, content in from_tensorflow.items()}


def row_of(files: dict[str, bytes]) -> Weights:
    return Weights(next(iter(files)), None, "Nothing", 2, "none", more_urls=tuple(files)[1:])


def test_a_publication_of_two_files(server: Server, two_files: dict[str, bytes]) -> None:
    row, (index, data), whole = row_of(two_files), two_files.values(), server.behave

    def cut(handler: Handler) -> None:
        if handler.path.endswith("index"):
            return whole(handler)
        handler.head(Content_Length=len(data))
        handler.wfile.write(data[:9])

    server.behave = cut
    with pytest.raises(
        EnvironmentFault, match=r"broke off at 9 of .*; http\S+data-00000-of-00001,"
    ):
        fetch(row)
    server.behave = whole
    path = fetch(row)
    # The first file was whole; of the second only the rest is asked for.
    assert server.ranges == [None, None, f"bytes={len(index)}-", "bytes=9-"]
    assert read_state(path)["step"] == 90_000
    assert kept() == [path.name, path.with_suffix(".sha256").name]
    assert fetch(row) == path
    assert list(cache_folder().glob("*.part")) == []


def test_two_files_put_there_by_hand(server: Server, two_files: dict[str, bytes]) -> None:
    row = row_of(two_files)
    server.behave = FAULTS["status 503"][0]
    for known in (1, 2):  # one alone does not do
        with pytest.raises(EnvironmentFault, match="the server answers 503") as caught:
            fetch(row)
        put_where_told(str(caught.value), dict(list(two_files.items())[:known]))
    assert read_state(fetch(row))["step"] == 90_000


# --- the cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "no hash", "other hash", "bad hash"])
def test_a_file_that_changed_in_the_cache_is_fetched_again(
    server: Server, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = fetch(server.row())
    whole, said = bytearray(path.read_bytes()), path.with_suffix(".sha256")
    match damage:
        case "flip":
            whole[-1] ^= 1
            path.write_bytes(whole)
        case "cut":
            path.write_bytes(whole[:-1])
        case "empty":
            path.write_bytes(b"")
        case "no hash":
            said.unlink()
        case "other hash":
            said.write_text("0" * 64)
        case "bad hash":
            said.write_bytes(b"\xff" * 200)
    assert_right(fetch(server.row()))
    assert len(server.ranges) == 2
    assert f"{path} has changed since it was written; it is fetched again" in caplog.text


def test_publications_of_one_name_are_kept_apart(server: Server) -> None:
    row = dataclasses.replace(server.row(), url=server.row().url.replace("/net-", "/model-"))
    row = dataclasses.replace(row, url=row.url.replace(f"-{row.sha256_prefix}", ""))
    first = fetch(row)
    assert first.name == f"model-{row.sha256_prefix}.safetensors"
    other = save({"conv.weight": torch.ones(2)})
    server.behave = lambda handler: handler.serve(other)
    second = fetch(dataclasses.replace(row, sha256_prefix=hashlib.sha256(other).hexdigest()[:12]))
    assert load_file(second)["conv.weight"].tolist() == [1.0, 1.0]
    assert torch.equal(load_file(first)["conv.weight"], TENSORS["conv.weight"])


def test_room_for_temporary_files_is_not_looked_for_in_the_cache(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    torch.save(TENSORS, buffer)
    server.behave = lambda handler: handler.serve(buffer.getvalue())
    row = server.row(buffer.getvalue(), suffix=".pth")

    def full() -> object:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(reading.tempfile, "TemporaryDirectory", full)
        message = r"^There is no room for temporary files: No space left on device\. .*TMPDIR"
        with pytest.raises(EnvironmentFault, match=message):
            fetch(row)
    assert_right(fetch(row))


def test_a_cache_that_cannot_be_written_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        monkeypatch.setenv("PRAXINO_CACHE", str(folder))
        with pytest.raises(EnvironmentFault, match=r"Cannot write to .*set PRAXINO_CACHE to anot"):
            fetch(server.row())
    assert server.ranges == []


def test_no_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PRAXINO_CACHE", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "praxino"
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(EnvironmentFault, match=r"There is no home folder .*Set PRAXINO_CACHE"):
        cache_folder()


def test_a_full_disk_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(answer: object, url: str) -> Iterator[bytes]:
        raise OSError(28, "No space left on device")
        yield b""

    monkeypatch.setattr(module, "_blocks", full)
    with pytest.raises(
        EnvironmentFault, match=r"Cannot write to .*: No space left on device\. Fre"
    ):
        fetch(server.row())


FETCH = """
import sys
from pathlib import Path
from praxino.weights import download
from praxino.weights.published import Weights, fetch
print(fetch(Weights(sys.argv[1], sys.argv[2], "Nothing", 2, "none", megabytes=0.03)))
"""


@pytest.mark.slow
def test_two_processes_at_once_do_each_other_no_harm(server: Server) -> None:
    row, together = server.row(), threading.Barrier(2)

    def slowly(handler: Handler) -> None:
        together.wait(60)  # both are in the middle of it
        half = len(GOOD) // 2
        handler.head(Content_Length=len(GOOD))
        handler.wfile.write(GOOD[:half])
        handler.wfile.flush()
        time.sleep(0.2)
        handler.wfile.write(GOOD[half:])

    server.behave = slowly
    command = [sys.executable, "-c", FETCH, row.url, row.sha256_prefix]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy())
        for _ in range(2)
    ]
    said = [run.communicate(timeout=120)[0].strip() for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert said[0] == said[1]
    assert server.ranges == [None, None]
    assert_right(Path(said[0]))
    assert list(cache_folder().glob(".part*")) == []
