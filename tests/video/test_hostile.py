"""Files made to attack: lists of other files, endless inputs, bombs, forbidden codecs.

Everything goes through both doors: `FileVideo`, which decodes here, and `ChildVideo`.
"""

import http.server
import os
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from praxino.errors import VideoError
from praxino.video import child_process
from praxino.video.child import ChildVideo
from praxino.video.decoder import check_source
from praxino.video.reader import FileVideo, Video

LINUX = sys.platform == "linux"
CANARY_VALUE = 200  # the grey of all frames of the file that nobody may read


def here(source: Path | str | bytes) -> Video:
    return FileVideo(check_source(source), None, 1)


def in_child(source: Path | str | bytes) -> Video:
    return ChildVideo(check_source(source), None, 1)


BOTH_DOORS = pytest.mark.parametrize(
    "door",
    [here, pytest.param(in_child, marks=pytest.mark.skipif(not LINUX, reason="Linux only"))],
)
Door = Callable[[Path | str | bytes], Video]


@pytest.fixture(autouse=True, scope="module")
def no_process_left() -> Iterator[None]:
    yield
    child_process.end_idle()


def write(
    path: Path, values: list[int], codec: str = "libx264", rate: int = 25, **options: str
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in values:
            pixels = np.full((48, 64, 3), value, np.uint8)
            pixels[:12, :24] = 255  # tells how the picture is turned
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


# A3 and A4: lists that name other files or addresses.


class Canary:
    """A video that nobody may open, as a file and at an address, and who came to fetch it."""

    def __init__(self, folder: Path) -> None:
        self.file = write(folder / "canary.ts", [CANARY_VALUE] * 10, g="1")
        self.requests: list[str] = []
        canary = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.requests.append(self.path)
                self.send_response(200)
                self.end_headers()
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(canary.file.read_bytes())

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    found = Canary(tmp_path_factory.mktemp("canary"))
    yield found
    found.server.shutdown()
    found.server.server_close()


def playlist(target: str) -> bytes:
    return (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n"
        f"{target}\n#EXT-X-ENDLIST\n"
    ).encode()


def dash(target: str) -> bytes:
    return textwrap.dedent(f"""\
        <?xml version="1.0"?>
        <MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
         minBufferTime="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
        <AdaptationSet mimeType="video/mp2t"><Representation id="1" bandwidth="1">
        <BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>
        """).encode()


def lists(canary: Canary, folder: Path) -> dict[str, bytes]:
    """Every kind of list with every kind of target, by file name."""
    path = canary.file
    targets = {
        "absolute": str(path),
        "relative": os.path.relpath(path, folder),
        "file": f"file:{path}",
        "file2": f"file://{path}",
        "concat": f"concat:{path}|{path}",
        "subfile": f"subfile,,start,0,end,0,,:{path}",
        "crypto": f"crypto:{path}",
        "cache": f"cache:{path}",
        "async": f"async:{path}",
        "data": "data:video/mp2t;base64,R0A=",
        "http": f"http://{canary.address}/x.ts",
        "tcp": f"tcp://{canary.address}",
        "metadata": "http://169.254.169.254/latest/meta-data/",
        "concat_http": f"concat:http://{canary.address}/y.ts|{path}",
    }
    found = {}
    for kind, target in targets.items():
        found[f"{kind}.m3u8"] = playlist(target)
        found[f"{kind}.ffconcat"] = f"ffconcat version 1.0\nfile '{target}'\n".encode()
        found[f"{kind}.mpd"] = dash(target)
    for suffix in (".mp4", ".avi", ".mkv", ".ts", ".gif", ""):
        found[f"renamed{suffix}"] = playlist(str(path))
        found[f"renamed_http{suffix}"] = playlist(f"http://{canary.address}/z.ts")
    address = canary.address.split(":")
    found["session.sdp"] = (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=video {address[1]} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    ).encode()
    found["key.m3u8"] = (
        f'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-KEY:METHOD=AES-128,URI="http://{canary.address}'
        f'/key"\n#EXT-X-MAP:URI="{path}"\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n'
    ).encode()
    found["master.m3u8"] = (
        f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://{canary.address}/low.m3u8\n"
    ).encode()
    found["list.asx"] = f'<asx><entry><ref href="http://{canary.address}/"/></entry></asx>'.encode()
    found["list.pls"] = f"[playlist]\nFile1=http://{canary.address}/\n".encode()
    found["list.smil"] = f'<smil><body><video src="{path}"/></body></smil>'.encode()
    found["image%03d.png"] = b"\x89PNG\r\n\x1a\n" + bytes(100)
    found["image_*.jpg"] = b"\xff\xd8\xff\xe0" + bytes(100)
    found["list.rtsp"] = f"rtsp://{canary.address}/\n".encode()
    return found


@BOTH_DOORS
def test_lists_of_other_files_are_refused(door: Door, canary: Canary, tmp_path: Path) -> None:
    made = lists(canary, tmp_path)
    assert len(made) >= 30
    for name, content in made.items():
        path = tmp_path / name
        path.write_bytes(content)
        for source in (path, str(path), content):
            with pytest.raises(VideoError, match="is not a video that praxino reads") as caught:
                door(source)
            assert caught.value.code == "unsupported_container"
    assert canary.requests == []


def addresses(canary: Canary) -> list[str]:
    path = canary.file
    return [
        f"http://{canary.address}/x.ts",
        f"HTTP://{canary.address}/x.ts",
        f"tcp://{canary.address}",
        f"rtmp://{canary.address}/x",
        f"file:{path}",
        f"file://{path}",
        f"concat:{path}|{path}",
        f"concat:http://{canary.address}/|{path}",
        f"subfile,,start,0,end,0,,:{path}",
        f"crypto:{path}",
        f"crypto+http://{canary.address}/",
        f"async:http://{canary.address}/",
        f"cache:{path}",
        "data:video/mp2t;base64,R0A=",
        f"hls+http://{canary.address}/",
        "pipe:0",
        "fd:0",
        "udp://127.0.0.1:9",
        "testsrc=duration=1",
        f"movie={path}",
    ]


@BOTH_DOORS
def test_paths_that_name_a_protocol_are_no_files(door: Door, canary: Canary) -> None:
    for address in addresses(canary):
        with pytest.raises(VideoError) as caught:
            door(address)
        assert caught.value.code in ("not_found", "not_a_regular_file"), address
    assert canary.requests == []


@BOTH_DOORS
def test_a_file_whose_name_is_an_address_is_a_file(
    door: Door, canary: Canary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", "subfile,,start,0,end,9,,:x.mp4", "%03d.mp4", "pipe:0", "-i"):
        write(tmp_path / "plain.mp4", [40] * 5).rename(name)
        with door(name) as video:
            assert len(video) == 5
    folder = tmp_path / "http:" / canary.address
    folder.mkdir(parents=True)
    shutil.copy("-i", folder / "x.ts")
    with door(f"http://{canary.address}/x.ts") as video:
        assert len(video) == 5
    assert canary.requests == []


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_reference(video: Path, entry: bytes) -> bytes:
    """The MP4 with another data reference: its samples are said to lie in another file."""
    content = video.read_bytes()
    start = content.index(b"dref") - 4
    (length,) = struct.unpack(">I", content[start : start + 4])
    longer = box(b"dref", struct.pack(">II", 0, 1), entry)
    grown = bytearray(content[:start] + longer + content[start + length :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = grown.index(kind) - 4
        (size,) = struct.unpack(">I", grown[place : place + 4])
        grown[place : place + 4] = struct.pack(">I", size + len(longer) - length)
    return bytes(grown)


def alias(path: Path) -> bytes:
    """An `alis` record as FFmpeg reads it: an absolute path among the tagged fields."""
    name = str(path).encode()
    fields = struct.pack(">HH", 18, len(name)) + name + b"\0" * (len(name) % 2)
    head = struct.pack(">I", 0) + bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12)
    head += bytes([len(path.name)]) + path.name.encode().ljust(63, b"\0") + bytes(16)
    head += struct.pack(">HH", 0, 0) + bytes(16)
    return box(b"alis", head, fields, struct.pack(">hH", -1, 0))


@BOTH_DOORS
@pytest.mark.parametrize("kind", ["url ", "urn ", "alis"])
def test_samples_in_another_file_are_not_read(
    kind: str, door: Door, canary: Canary, tmp_path: Path
) -> None:
    video = write(tmp_path / "video.mp4", [40] * 5)
    if kind == "alis":
        entry = alias(canary.file)
    else:
        entry = box(kind.encode(), struct.pack(">I", 0), f"file://{canary.file}".encode() + b"\0")
    hostile = tmp_path / "hostile.mov"
    hostile.write_bytes(with_reference(video, entry))
    with suppress(VideoError), door(hostile) as opened:
        shown = [float(frame.pixels.mean()) for frame in opened]
        assert not shown or max(shown) < 100  # its own pictures at most
    assert canary.requests == []


@BOTH_DOORS
def test_linked_segments_of_matroska_are_not_read(
    door: Door, canary: Canary, tmp_path: Path
) -> None:
    content = write(tmp_path / "video.mkv", [40] * 5).read_bytes()
    info = content.index(b"\x15\x49\xa9\x66")
    name = str(canary.file).encode()
    # NextUID, NextFilename and PrevFilename, in place of the muxer's own name and padding
    linked = b"\x3e\xb9\x23\x90" + bytes(15) + b"\x01"
    linked += b"\x3e\x83\xbb" + bytes([0x80 | len(name)]) + name
    size_at = info + 4
    length_bytes = 9 - content[size_at].bit_length()
    size = int.from_bytes(content[size_at : size_at + length_bytes], "big") - (
        1 << 7 * length_bytes
    )
    new_size = (size + len(linked) + (1 << 56)).to_bytes(8, "big")
    rest = content[size_at + length_bytes :]
    hostile = tmp_path / "hostile.mkv"
    hostile.write_bytes(content[:size_at] + new_size + linked + rest)
    with suppress(VideoError), door(hostile) as opened:
        assert max(float(frame.pixels.mean()) for frame in opened) < 100
    assert canary.requests == []


OPENED_BY_NAME = """
import sys
from pathlib import Path
import av
av.logging.set_level(None)
from praxino.errors import VideoError
from praxino.video.child import ChildVideo
from praxino.video.child_process import end_idle
from praxino.video.decoder import check_source
from praxino.video.reader import FileVideo
for path in map(Path, sys.argv[2:]):
    try:
        if sys.argv[1] == "raw":
            with av.open(str(path)) as container:
                next(container.decode(video=0))
        else:
            door = {"here": FileVideo, "child": ChildVideo}[sys.argv[1]]
            for source in (path, path.read_bytes()):
                try:
                    with door(check_source(source), None, 1) as video:
                        list(video)
                except VideoError:
                    pass
    except (av.FFmpegError, StopIteration):
        pass
end_idle()
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("door", ["here", "child"])
def test_the_canary_is_not_opened_as_the_system_sees_it(
    door: str, canary: Canary, tmp_path: Path
) -> None:
    paths = []
    for name, content in lists(canary, tmp_path).items():
        (tmp_path / name).write_bytes(content)
        paths.append(tmp_path / name)
    video = write(tmp_path / "video.mp4", [40] * 5)
    paths.append(tmp_path / "hostile.mov")
    paths[-1].write_bytes(with_reference(video, alias(canary.file)))
    seen = traced(door, paths, tmp_path)
    assert str(video.parent / "hostile.mov") in seen  # the harness sees what is opened
    assert canary.file.name not in seen
    assert canary.address.split(":")[1] not in seen
    assert canary.requests == []
    # ... and without the gate it would have seen the canary.
    assert canary.file.name in traced("raw", [tmp_path / "absolute.m3u8"], tmp_path)


def traced(door: str, paths: list[Path], folder: Path) -> str:
    log = folder / f"{door}.strace"
    subprocess.run(
        [
            *("strace", "-f", "-qq", "-s", "1000", "-o", str(log)),
            *("-e", "trace=open,openat,openat2,connect,sendto"),
            *(sys.executable, "-c", OPENED_BY_NAME, door, *map(str, paths)),
        ],
        check=True,
        timeout=300,
    )
    # The command line of the traced process names the files, too, but it is no call of these.
    return log.read_text()


def test_without_the_gate_the_canary_is_read(canary: Canary, tmp_path: Path) -> None:
    """The lists above work: PyAV alone follows them, to the file and to the address."""
    path = tmp_path / "absolute.m3u8"
    path.write_bytes(playlist(str(canary.file)))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).to_ndarray(format="gray").mean() > 150
    with av.open(f"http://{canary.address}/raw.ts") as container:
        next(container.decode(video=0))
    assert canary.requests
    canary.requests.clear()


# A5: inputs without end.


@BOTH_DOORS
@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nx.ts\n",
        b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nendless.m3u8\n",
        b"ffconcat version 1.0\nfile endless.m3u8\n",
    ],
)
def test_endless_lists_are_refused(door: Door, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "endless.m3u8"
    path.write_bytes(content)
    with pytest.raises(VideoError, match="is not a video that praxino reads"):
        door(path)


@BOTH_DOORS
def test_pipes_and_devices_are_not_waited_for(door: Door, tmp_path: Path) -> None:
    pipe, unix = tmp_path / "pipe.mp4", tmp_path / "socket.mp4"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(unix))
        link = tmp_path / "link.mp4"
        link.symlink_to("/dev/zero")
        for path in (pipe, unix, link, "/dev/zero", "/dev/urandom", "/dev/stdin", "/dev/fd/0"):
            with suppress(FileNotFoundError):
                if Path(path).is_file():  # a test's standard input may be one
                    continue
            with pytest.raises(VideoError) as caught:
                door(path)
            assert caught.value.code in ("not_a_regular_file", "not_found"), path


def test_a_pipe_that_takes_the_place_of_the_file_is_not_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", [40] * 5)
    source = check_source(path)
    path.unlink()
    os.mkfifo(path)
    for door in (FileVideo, ChildVideo) if LINUX else (FileVideo,):
        with pytest.raises(VideoError, match="a device, pipe or socket, not a regular file"):
            door(source, None, 1)


def test_a_pipe_that_comes_between_two_looks_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "video.mp4"
    os.mkfifo(path)
    regular = Path(__file__).stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: regular)
    with pytest.raises(VideoError, match="a device, pipe or socket, not a regular file"):
        check_source(path)


@BOTH_DOORS
def test_a_gif_that_loops_for_ever_ends(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "loop.gif"
    with av.open(str(path), "w", options={"loop": "0"}) as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        for value in range(7):
            pixels = np.full((48, 64, 3), 30 * value, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="rgb8")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert b"NETSCAPE2.0" in path.read_bytes()
    with door(path) as video:
        assert len(list(video)) == 7


@BOTH_DOORS
def test_a_transport_stream_that_repeats_ends(door: Door, tmp_path: Path) -> None:
    once = write(tmp_path / "once.ts", list(range(0, 200, 20)), g="5").read_bytes()
    path = tmp_path / "looped.ts"
    path.write_bytes(once * 40)
    with door(path) as video:
        assert len(video) <= 400
        assert len(list(video)) <= 400
        assert (np.diff(video.timestamps) > 0).all()


@BOTH_DOORS
def test_a_file_that_grows_while_it_is_read_ends(door: Door, tmp_path: Path) -> None:
    once = write(tmp_path / "once.ts", list(range(0, 200, 20)), g="5").read_bytes()
    path = tmp_path / "growing.ts"
    path.write_bytes(once * 20)
    with door(path) as video, path.open("ab") as growing:
        seen = 0
        for _ in video:
            growing.write(once)  # more than is read for a frame
            growing.flush()
            seen += 1
            assert seen <= 200
        assert seen > 100
    assert path.stat().st_size > 100 * len(once)


# A6 and A7: little files that would fill the memory, each read in a process of its own.

MEASURED = """
import resource, sys
import numpy as np
from praxino.errors import VideoError
from praxino.video.child import ChildVideo
from praxino.video.child_process import end_idle
from praxino.video.decoder import check_source
from praxino.video.reader import FileVideo, open_video
def peak():
    # Its own, not that of the process that forked it, which getrusage may hand on.
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
door = {"here": FileVideo, "child": ChildVideo}[sys.argv[1]]
how, path, base = sys.argv[2], sys.argv[3], sys.argv[4]
with door(check_source(base), None, 1) as video:
    video.frames([0])
base, told = peak(), "read"
try:
    with door(check_source(path), 128, 1) as video:
        if how == "all":
            for frame in video:
                pass
        else:
            found = video.frames(np.linspace(0, len(video) - 1, 16).astype(int))
            told = f"{len(video)} frames"
except VideoError as error:
    told = error.code
print(told, peak() - base)
end_idle()
"""


def measured(door: Door, how: str, path: Path, base: Path) -> tuple[str, int]:
    """What reading it gave, and by how many bytes the memory of the process grew at most."""
    name = "child" if door is in_child else "here"
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, name, how, str(path), str(base)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told, grown = done.stdout.rsplit(" ", 1)
    return told, int(grown)


def flat(path: Path, width: int, height: int, frames: int, codec: str = "libx264") -> Path:
    """Grey pictures, which take next to nothing in the file."""
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "x264-params": "threads=1"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        for number in range(frames):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat(tmp_path_factory.mktemp("small") / "small.mp4", 64, 48, 30)


def patched_size(video: Path, width: int, height: int) -> bytes:
    """The MP4 with another size in its track header and its sample entry."""
    content = bytearray(video.read_bytes())
    (track_size,) = struct.unpack(">I", content[content.index(b"tkhd") - 4 :][:4])
    end = content.index(b"tkhd") - 4 + track_size
    content[end - 8 : end] = struct.pack(">II", width << 16 & 0xFFFFFFFF, height << 16 & 0xFFFFFFFF)
    entry = content.index(b"avc1", content.index(b"stsd"))
    content[entry + 28 : entry + 32] = struct.pack(">HH", width & 0xFFFF, height & 0xFFFF)
    return bytes(content)


@pytest.fixture(scope="module")
def pixel_bombs(tmp_path_factory: pytest.TempPathFactory, small: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bombs")
    found = {"8192 x 8192 x 10": flat(folder / "square.mp4", 8192, 8192, 10)}
    for width, height in ((16384, 16384), (65535, 1), (1, 65535), (65535, 65535)):
        path = folder / f"patched_{width}_{height}.mp4"
        path.write_bytes(patched_size(small, width, height))
        found[f"patched {width} x {height}"] = path
    for width, height in ((65500, 16), (16, 65500)):
        found[f"{width} x {height}"] = flat(
            folder / f"{width}_{height}.mkv", width, height, 2, "ffv1"
        )
    # Another size in each second frame, the largest that is allowed among them.
    sizes = [(64, 48), (8192, 4320), (48, 64), (4096, 2160), (16, 16), (8192, 16)] * 2
    parts = []
    for number, (width, height) in enumerate(sizes):
        parts.append(flat(folder / f"part{number}.h264", width, height, 2).read_bytes())
    elementary = folder / "changing.h264"
    elementary.write_bytes(b"".join(parts))
    changing = folder / "changing.ts"
    with av.open(str(elementary), format="h264") as source, av.open(str(changing), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = number
                packet.time_base, packet.stream = Fraction(1, 25), stream
                target.mux(packet)
    found["a size for each frame"] = changing
    return found


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="measures in /proc")
@BOTH_DOORS
@pytest.mark.parametrize("how", ["all", "sample"])
def test_pixel_bombs_are_refused_or_stay_small(
    door: Door, how: str, pixel_bombs: dict[str, Path], small: Path
) -> None:
    for name, path in pixel_bombs.items():
        told, grown = measured(door, how, path, small)
        print(f"{name}: {path.stat().st_size} bytes, {told}, +{grown / 1e6:.0f} MB")
        assert grown < 300e6, name
        if "patched" not in name and "each frame" not in name:
            assert told == "too_large", name


def frame_bombs(folder: Path) -> dict[str, Path]:
    found = {"20,000 flat frames": flat(folder / "flat.mp4", 320, 180, 20_000)}
    found["30,000 frames in MPEG-TS"] = many_packets(folder / "many.ts", 30_000, 3)
    found["a million frames a second"] = many_packets(folder / "fast.mp4", 5_000, 1, 10**6)
    found["a frame an hour"] = many_packets(folder / "slow.mp4", 200, 3600, 1)
    return found


def many_packets(path: Path, frames: int, step: int, rate: int = 30) -> Path:
    """One tiny picture, coded once and muxed again and again."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=min(rate, 60_000))
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, min(rate, 60_000))
        stream.codec_context.gop_size = 1
        (packet,) = stream.encode(av.VideoFrame(16, 16, "yuv420p")) or stream.encode(None)
        content = bytes(packet)
        stream.time_base = Fraction(1, rate)
        for number in range(frames):
            copy = av.Packet(content)
            copy.stream, copy.time_base = stream, Fraction(1, rate)
            copy.pts = copy.dts = number * step
            copy.is_keyframe = True
            container.mux(copy)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="measures in /proc")
def test_sixteen_frames_of_a_frame_bomb_take_little_memory(small: Path, tmp_path: Path) -> None:
    for name, path in frame_bombs(tmp_path).items():
        for door in (here, in_child):
            told, grown = measured(door, "sample", path, small)
            print(f"{name}: {path.stat().st_size} bytes, {told}, +{grown / 1e6:.0f} MB")
            assert told.endswith("frames"), name
            assert grown < 200e6, name


# A10: codecs that are not decoded.


FOURCCS = {
    "AFLC": "flic",
    "tdsc": "tdsc",
    "tscc": "tscc",
    "tsc2": "tscc2",
    "CRAM": "msvideo1",
    "mjp2": "jpeg2000",
    "IV50": "indeo5",
    "IV31": "indeo3",
    "cvid": "cinepak",
    "MSZH": "mszh",
    "ZLIB": "zlib",
    "VP31": "vp3",
    "VP62": "vp6",
    "WMV3": "wmv3",
    "WVC1": "vc1",
    "SVQ3": "svq3",
    "DXSB": "subtitles",
    "FPS1": "fraps",
    "LAGS": "lagarith",
    "CFHD": "cfhd",
    "Hap1": "hap",
    "DXTY": "dxtory",
    "G2M4": "g2m",
    "MSS2": "mss2",
    "ap4h": "prores",  # allowed, and here to show that the patch works
}


@BOTH_DOORS
@pytest.mark.parametrize("fourcc", FOURCCS)
def test_other_codecs_are_refused_before_a_packet_is_decoded(
    fourcc: str, door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write(tmp_path / "video.avi", [40] * 5, "mpeg4").read_bytes()
    assert content.count(b"FMP4") == 2
    path = tmp_path / f"{fourcc}.avi"
    path.write_bytes(content.replace(b"FMP4", fourcc.encode()))
    decoded: list[object] = []
    monkeypatch.setattr("praxino.video.decoder.Decoder._decode", lambda *_: decoded.append(0) or [])
    with pytest.raises(VideoError) as caught:
        door(path)
    if fourcc == "ap4h":
        assert caught.value.code == "damaged"
    else:
        assert caught.value.code in ("codec_not_allowed", "no_video_stream")
        assert not decoded


WRITTEN = [
    ("dpx", "avi", "rgb24"),
    ("exr", "mov", "gbrpf32le"),
    ("jpeg2000", "mkv", "yuv420p"),
    ("jpegls", "avi", "rgb24"),
    ("png", "avi", "rgb24"),
    ("tiff", "mov", "rgb24"),
    ("targa", "avi", "bgr24"),
    ("sgi", "mov", "rgb24"),
    ("cinepak", "avi", "rgb24"),
    ("msvideo1", "avi", "rgb555le"),
    ("msrle", "avi", "pal8"),
    ("zmbv", "avi", "bgr0"),
    ("qtrle", "mov", "rgb24"),
    ("smc", "mov", "pal8"),
    ("snow", "mkv", "yuv420p"),
    ("flashsv", "avi", "bgr24"),
    ("cfhd", "avi", "yuv422p10le"),
    ("magicyuv", "avi", "yuv420p"),
    ("svq1", "avi", "yuv410p"),
    ("asv1", "avi", "yuv420p"),
    ("cljr", "avi", "yuv411p"),
    ("speedhq", "avi", "yuv420p"),
    ("v210", "avi", "yuv422p10le"),
    ("r210", "avi", "gbrp10le"),
]


@BOTH_DOORS
@pytest.mark.parametrize(("codec", "container_name", "pixel_format"), WRITTEN)
def test_real_files_of_other_codecs_are_refused(
    codec: str, container_name: str, pixel_format: str, door: Door, tmp_path: Path
) -> None:
    path = tmp_path / f"video.{container_name}"
    with av.open(str(path), "w", options={"strict": "experimental"}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        for number in range(3):
            frame = av.VideoFrame(64, 48, pixel_format)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match=f"its codec '{codec}' is not on the list") as caught:
        door(path)
    assert caught.value.code == "codec_not_allowed"


@BOTH_DOORS
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_enhancement_data_beside_the_pictures_changes_nothing(
    rotation: int, door: Door, tmp_path: Path
) -> None:
    """LCEVC in H.264: this FFmpeg has no decoder for it, and only carries it along.

    PyAV has no name for it, and so raises where the rest of what comes along is asked for.
    """
    plain, turned, enhanced = (tmp_path / f"{n}.mp4" for n in ("plain", "turned", "enhanced"))
    write(plain, list(range(0, 200, 20)))
    rng = np.random.default_rng(0)
    for path in (turned, enhanced):
        with av.open(str(plain)) as source, av.open(str(path), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            stream.set_display_rotation(rotation)
            for packet in source.demux(video=0):
                if not packet.size:
                    continue
                # A SEI unit: registered user data of V-Nova in the United Kingdom.
                data = b"\xb4\x00\x50\x00" + rng.integers(4, 256, 60, np.uint8).tobytes()
                unit = b"\x06\x04" + bytes([len(data)]) + data + b"\x80"
                before = struct.pack(">I", len(unit)) + unit if path == enhanced else b""
                copy = av.Packet(before + bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                target.mux(copy)
    with av.open(str(enhanced)) as container:
        frame = next(container.decode(video=0))
        with pytest.raises(ValueError, match="is not a valid Type"):
            list(frame.side_data)
    with door(turned) as one, door(enhanced) as other:
        assert other.info.rotation == one.info.rotation == rotation
        everything = range(len(one))
        assert np.array_equal(one.frames(everything).pixels, other.frames(everything).pixels)


# A12: nothing is left behind.


def held() -> tuple[int, int, int]:
    """Descriptors, threads, and bytes of memory in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        pages * os.sysconf("SC_PAGESIZE"),
    )


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="measures in /proc")
def test_opening_and_failing_leaves_nothing_behind(small: Path, tmp_path: Path) -> None:
    opens = 10_000  # 15 seconds
    good = small.read_bytes()
    cut = good[: len(good) // 2]
    half = tmp_path / "half.mp4"
    half.write_bytes(cut)
    forbidden = write(tmp_path / "forbidden.avi", [40] * 5, "mpeg4").read_bytes()
    forbidden = forbidden.replace(b"FMP4", b"tscc")
    sources = [good, cut, half, forbidden, b"#EXTM3U\n", tmp_path / "missing.mp4", small]

    def read(times: int) -> None:
        for number in range(times):
            with suppress(VideoError), FileVideo(check_source(sources[number % 7]), None, 2) as v:
                v.frames([len(v) - 1])

    read(210)
    before = held()
    read(opens)
    after = held()
    print(f"{opens} opens: memory {(after[2] - before[2]) / 1e6:+.1f} MB")
    assert after[0] == before[0]
    assert after[1] <= before[1]  # threads of other tests may end meanwhile
    assert after[2] - before[2] < 20e6
