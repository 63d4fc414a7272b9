"""Does praxino ever lose frames of a damaged video without a word? And its peers?

    python -m fuzz.probe --seeds 15 [--peers] [--json FILE]     every kind x damage x seed
    python -m fuzz.probe --minutes 10                           new seeds until the time is over
    python -m fuzz.probe --only h264.mkv "1 kB dropped" 7       one file, in detail

Each file is read by every road that praxino has, in a child process with limits, and ends as

    ok         all frames of the intact video came
    partial    fewer came whole, and frames_got < frames_expected tells how many
    told       fewer came, and info.problems says what is wrong without a count
    failed     VideoError
    legal      fewer came, nothing was said, and the file is by itself a whole, shorter video
    SILENT     fewer came and nothing was said
    DIFFERENT  two roads gave different pictures for one frame and nothing was said
    FALSE      the file is intact and something was said
    WRONG      an exception that is no VideoError
    CRASH, HANG, OOM

Words in capitals are finds: the file is kept, the exit status is 1.
"""

import argparse
import hashlib
import importlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.bounded import Outcome, run
from fuzz.damaged_videos import (
    CUTS,
    DAMAGES,
    FRAMES,
    KINDS,
    NO_DAMAGE,
    damaged,
    make_videos,
    not_videos,
)
from praxino.errors import VideoError
from praxino.ledger import Ledger
from praxino.video.decoder import check_source
from praxino.video.reader import Video, open_video
from praxino.video.structure import structure_problems

FINDS = ("SILENT", "DIFFERENT", "FALSE", "WRONG", "CRASH", "HANG", "OOM")
OUTCOMES = ("ok", "partial", "told", "failed", "legal", *FINDS)
_AT_ONCE = 32  # frames per read


@dataclass
class Result:
    """What became of one damaged file.

    Args:
        video: the intact video's name.
        damage: what was done to it.
        seed: with which numbers.
        outcome: the worst of all roads.
        frames: that came, and that the decoder did not have to patch; the fewest of all roads.
        expected: as the reader said.
        unsaid_changes: the file is ok and nothing was said, but pictures differ from the intact
            video's: what only a checksum finds.
        detail: error or problems.
        seconds: for all roads together.
        peak_bytes: the most memory held.
        peers: outcome by peer.
        is_whole: all frames came and no road had anything to say.
    """

    video: str
    damage: str
    seed: int
    outcome: str
    frames: int | None = None
    expected: int | None = None
    unsaid_changes: bool = False
    detail: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    peers: dict[str, str] = field(default_factory=dict)
    is_whole: bool = False

    @property
    def name(self) -> str:
        """Its line in the ledger."""
        return f"{self.video} / {self.damage} / {self.seed}"


# The roads: each yields (index, pixels) for all frames it can get


def _iterate(video: Video) -> Iterator[tuple[int, np.ndarray]]:
    for frame in video:
        yield frame.index, frame.pixels


def _by_index(video: Video) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(video), _AT_ONCE):
        found = video.frames(range(start, min(start + _AT_ONCE, len(video))))
        yield from zip(found.indices.tolist(), found.pixels, strict=True)


def _by_second(video: Video) -> Iterator[tuple[int, np.ndarray]]:
    times = video.timestamps
    middles = (times + np.append(times[1:], video.end_seconds)) / 2
    for start in range(0, len(times), _AT_ONCE):
        found = video.frames_at(middles[start : start + _AT_ONCE])
        yield from zip(found.indices.tolist(), found.pixels, strict=True)


def _by_clips(video: Video) -> Iterator[tuple[int, np.ndarray]]:
    order = np.random.default_rng(0).permutation(len(video))
    for start in range(0, len(order), _AT_ONCE):
        some = order[start : start + _AT_ONCE]
        found = video.clips(np.resize(some, (-(-len(some) // 8), 8)))
        pixels = found.pixels.reshape(-1, *found.pixels.shape[2:])
        yield from zip(found.indices.reshape(-1).tolist(), pixels, strict=True)


ROADS: dict[str, tuple[Callable[[Video], Iterator[tuple[int, np.ndarray]]], int]] = {
    "iterate": (_iterate, 1),
    "iterate, 4 threads": (_iterate, 4),
    "by index": (_by_index, 1),
    "by index, 4 threads": (_by_index, 4),
    "by second": (_by_second, 1),
    "by clips": (_by_clips, 1),
}


def read_by_all_roads(content: bytes) -> Iterator[dict[str, Any]]:
    """For each road: the hash of each frame that came and what the reader said, or the error."""
    for name, (road, threads) in ROADS.items():
        try:
            with open_video(content, threads=threads) as video:
                hashes = {
                    index: hashlib.sha256(pixels.tobytes()).hexdigest()[:12]
                    for index, pixels in road(video)
                }
                said = {
                    "got": video.frames_got,
                    "expected": video.frames_expected,
                    "problems": list(video.info.problems),
                }
            yield {"road": name, "hashes": hashes, **said}
        except VideoError as error:
            yield {"road": name, "failed": error.code, "message": str(error)}
        except MemoryError:
            raise
        except Exception as error:  # a find, which the probe is there to record
            yield {"road": name, "wrong": f"{type(error).__name__}: {error}"}


def judge(content: bytes, frames: int, intact: dict[str, str] | None = None) -> Result:
    """Read a file in a bounded child and say what became of it.

    Args:
        content: the file.
        frames: of the intact video.
        intact: hash by index of the intact video.
    """
    child = run(lambda: read_by_all_roads(content))
    result = Result("", "", 0, "ok", seconds=child.seconds, peak_bytes=child.peak_bytes)
    if child.ending != "done":
        roads = list(ROADS)
        result.outcome = child.ending.upper()
        result.detail = f"{roads[min(len(child.results), len(roads) - 1)]}: {child.detail}"
        return result
    for road in child.results:
        outcome, detail = _judge_road(road, frames)
        came = min(len(road.get("hashes", ())), road.get("got", 0))
        result.frames = came if result.frames is None else min(came, result.frames)
        result.expected = road.get("expected", result.expected)
        if OUTCOMES.index(outcome) >= OUTCOMES.index(result.outcome):
            result.outcome, result.detail = outcome, f"{road['road']}: {detail}"
    if result.outcome == "ok" and not any(road["problems"] for road in child.results):
        result.is_whole = True
        if difference := _difference(child.results):
            result.outcome, result.detail = "DIFFERENT", difference
        result.unsaid_changes = intact is not None and child.results[0]["hashes"] != intact
    return result


def _judge_road(road: dict[str, Any], frames: int) -> tuple[str, str]:
    if "wrong" in road:
        return "WRONG", road["wrong"]
    if "failed" in road:
        return "failed", f"{road['failed']}: {road['message']}"
    said = "; ".join(road["problems"])
    if road["expected"] is not None and road["got"] < road["expected"]:
        return "partial", said
    if len(road["hashes"]) >= frames:
        return "ok", said
    if said:
        return "told", said
    return "SILENT", f"{len(road['hashes'])} of {frames} frames came"


def _difference(roads: list[dict[str, Any]]) -> str:
    read = [road for road in roads if "hashes" in road]
    for road in read[1:]:
        for index in road["hashes"].keys() & read[0]["hashes"].keys():
            if road["hashes"][index] != read[0]["hashes"][index]:
                return f"frame {index} by {road['road']!r} is not that by {read[0]['road']!r}"
    return ""


# The peers: how many frames come out of a file before it ends or complains


def _peer_pyav(path: str) -> int:
    import av

    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


def _peer_opencv(path: str) -> int:
    import cv2

    capture, count = cv2.VideoCapture(path, cv2.CAP_FFMPEG), 0
    if not capture.isOpened():
        raise OSError("not opened")
    while capture.read()[0]:
        count += 1
    return count


def _peer_decord(path: str) -> int:
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    for index in range(len(reader)):
        reader[index].asnumpy()
    return len(reader)


def _peer_torchcodec(path: str) -> int:
    from torchcodec.decoders import VideoDecoder

    reader = VideoDecoder(path, num_ffmpeg_threads=1)
    for index in range(len(reader)):
        reader[index]
    return len(reader)


PEERS: dict[str, Callable[[str], int]] = {
    "PyAV": _peer_pyav,
    "OpenCV": _peer_opencv,
    "decord": _peer_decord,
    "torchcodec": _peer_torchcodec,
}


def judge_peer(peer: Callable[[str], int], content: bytes, suffix: str, frames: int) -> str:
    """The same words for a reader that has no way to say `partial`: an error is `failed`."""

    def count(path: str) -> Iterator[int | str]:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what FFmpeg has to say about each
        try:
            yield peer(path)
        except MemoryError:
            raise
        except Exception as error:  # every kind of complaint is a complaint
            yield f"{type(error).__name__}: {error}"

    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        child: Outcome = run(partial(count, file.name))
    if child.ending != "done":
        return child.ending.upper()
    (came,) = child.results
    if isinstance(came, str):
        return "failed"
    return "ok" if came >= frames else "SILENT"


def probe(
    jobs: Iterable[tuple[str, str, int]],
    videos: dict[str, bytes],
    *,
    peers: bool = False,
    keep: Path | None = None,
) -> Iterator[Result]:
    """Judge damaged files one after the other.

    Args:
        jobs: name of an intact video, name of a damage, seed.
        videos: intact videos by name.
        peers: let the peers read each file too.
        keep: where files that are finds are written.
    """
    intact = {}
    for name, damage, seed in jobs:
        if name not in intact:
            first = next(read_by_all_roads(videos[name]))
            # As they come back through JSON.
            intact[name] = {str(index): value for index, value in first["hashes"].items()}
        content = damaged(videos[name], damage, seed)
        result = judge(content, FRAMES, intact[name])
        result.video, result.damage, result.seed = name, damage, seed
        if result.outcome == "SILENT" and is_whole_by_itself(name, damage, content):
            result.outcome = "legal"
        if damage == NO_DAMAGE and result.outcome not in FINDS and not result.is_whole:
            result.outcome = "FALSE"
        if peers:
            for peer, read in PEERS.items():
                result.peers[peer] = judge_peer(read, content, Path(name).suffix, FRAMES)
        if keep is not None and result.outcome in FINDS:
            keep.mkdir(parents=True, exist_ok=True)
            stem = f"{result.outcome.lower()}_{damage.replace(' ', '_')}_{seed}_{name}"
            (keep / stem).write_bytes(content)
        yield result


def is_whole_by_itself(name: str, damage: str, content: bytes) -> bool:
    """Whether nothing in a file can tell that there was more; argued for each case.

    * Pictures taken out of a GIF by a program that writes a new one: any picture may stay as long
      as it likes, so the longer pause is none that a GIF could not have.
    * MPEG-TS and MPEG-PS say nothing of their length. One that ends with a whole packet and whose
      pictures all decode is a video that was recorded for so long.
    """
    if name.endswith(".gif"):
        return damage == "packets taken out"
    if name.endswith((".ts", ".mpg")):
        return damage in CUTS and not structure_problems(check_source(content))
    return False


def probe_not_videos() -> Iterator[Result]:
    """Judge the files that are no videos; each has to fail."""
    for name, content in not_videos().items():
        result = judge(content, frames=1)
        result.video, result.damage = name, "no video"
        yield result


def ledger_of(results: Iterable[Result]) -> Ledger:
    """One line per file, as every job of praxino over many items leaves behind."""
    ledger = Ledger()
    for result in results:
        if result.outcome == "ok":
            ledger.ok(result.name)
        elif result.outcome == "partial":
            assert result.frames is not None
            assert result.expected is not None
            ledger.partial(result.name, result.frames, result.expected)
        else:
            error = VideoError(result.name, result.detail, code=result.outcome.lower())
            ledger.failed(result.name, error)
    return ledger


def table(results: list[Result], by: Callable[[Result], str]) -> str:
    """Outcomes counted in rows, columns that are empty left out."""
    counts = Counter((by(result), result.outcome) for result in results)
    shown = [name for name in OUTCOMES if any(result.outcome == name for result in results)]
    rows = list(dict.fromkeys(by(result) for result in results))
    width = max(len(row) for row in (*rows, "all"))
    lines = [" ".join([" " * width, *(f"{name:>9}" for name in shown)])]
    for row in rows:
        lines.append(" ".join([row.ljust(width), *(f"{counts[row, name]:9}" for name in shown)]))
    total = Counter(result.outcome for result in results)
    lines.append(" ".join(["all".ljust(width), *(f"{total[name]:9}" for name in shown)]))
    return "\n".join(lines)


def summary(results: list[Result]) -> str:
    """What docs/reliability.md quotes."""
    slowest = max(results, key=lambda result: result.seconds)
    largest = max(results, key=lambda result: result.peak_bytes)
    unsaid = sum(result.unsaid_changes for result in results)
    ledger = ledger_of(results)
    lines = [
        f"{len(results)} files, {len(ledger.entries)} ledger lines {ledger.counts}",
        f"pictures changed, none missing, nothing said (only a checksum finds it): {unsaid}",
        f"slowest {slowest.seconds:.2f} s ({slowest.name})",
        f"largest {largest.peak_bytes / 2**20:.0f} MiB ({largest.name})",
    ]
    compared = [result for result in results if result.peers]
    for peer in PEERS if compared else ():
        found = Counter(result.peers[peer] for result in compared)
        share = 100 * found["SILENT"] / len(compared)
        lines.append(f"{peer}: {dict(found.most_common())}, silent {share:.1f} %")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the probe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=15, help="damaged files of each kind")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="go on with new seeds for so long")
    parser.add_argument("--videos", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--damages", nargs="+", choices=DAMAGES, default=list(DAMAGES))
    parser.add_argument("--only", nargs=3, metavar=("VIDEO", "DAMAGE", "SEED"))
    parser.add_argument("--peers", action="store_true", help="also OpenCV, decord, torchcodec")
    parser.add_argument("--json", type=Path, help="write every result here")
    parser.add_argument("--keep", type=Path, default=Path("finds"), help="where finds are kept")
    options = parser.parse_args(arguments)

    for module in ("cv2", "decord", "torchcodec.decoders") if options.peers else ():
        importlib.import_module(module)  # once, and not in every child
    with tempfile.TemporaryDirectory() as folder:
        names = [options.only[0]] if options.only else options.videos
        videos = make_videos(Path(folder), tuple(names))
    if options.only:
        jobs: Iterable[tuple[str, str, int]] = [(*options.only[:2], int(options.only[2]))]
    else:
        jobs = _jobs(options)
    results = [] if options.only else list(probe_not_videos())
    for result in probe(jobs, videos, peers=options.peers, keep=options.keep):
        results.append(result)
        if result.outcome in FINDS or options.only:
            print(f"{result.outcome}  {result.detail}", flush=True)
            print(f"  python -m fuzz.probe --only {result.video} '{result.damage}' {result.seed}")
    print(table(results, lambda result: result.damage))
    print(table(results, lambda result: result.video))
    print(summary(results))
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    return int(any(result.outcome in FINDS for result in results))


def _jobs(options: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    pairs = [(name, damage) for name in options.videos for damage in options.damages]
    if options.minutes is None:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            yield from ((name, damage, seed) for name, damage in pairs)
        return
    end = time.monotonic() + 60 * options.minutes
    for seed in itertools.count(options.first_seed):
        # In any order, so that a short run is not all about the first kind of video.
        for place in np.random.default_rng(seed).permutation(len(pairs)):
            if time.monotonic() > end:
                return
            yield (*pairs[place], seed)


if __name__ == "__main__":
    sys.exit(main())
