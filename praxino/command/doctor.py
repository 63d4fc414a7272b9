"""What praxino finds on this machine, to read oneself or to paste into a report of a fault.

Nothing in the text names the user: the home folder is written `~`, and other folders not at all.
"""

import importlib
import importlib.util
import locale
import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from praxino import __version__
from praxino.devices import cores
from praxino.errors import EXIT_ENVIRONMENT, EXIT_OK, EnvironmentFault, VideoError

# Older versions lack the repairs of CVE-2026-107697 and CVE-2026-107695.
SAFE_FFMPEG = (8, 1, 3)
NAME_WIDTH = 15  # of the longest name
LITTLE_DISK_BYTES = 2 * 10**9
LITTLE_MEMORY_BYTES = 4 * 2**30
LITTLE_SHARED_BYTES = 256 * 2**20  # loader workers hand over their clips there

# What praxino does without, if it must: the package, the extra that brings it, what is lost.
OPTIONAL = {
    "nibabel": ("nibabel", "volumes", "no NIfTI volumes"),
    "pydicom": ("pydicom", "volumes", "no DICOM volumes"),
    "openvino": ("openvino", "openvino", "no --engine openvino"),
    "transformers": (
        "transformers",
        "models",
        "no models of the papers VideoMAE, TimeSformer, ViViT and V-JEPA 2",
    ),
    "opencv": ("opencv-contrib-python-headless", "flow", "no optical flow"),
    "h5py": ("h5py", "scores", "no score files in HDF5"),
    "scipy": ("scipy", "scores", "no score files of MATLAB"),
    "scikit-learn": ("scikit-learn", "classical", "no fusion by SVM, no centres for ActionVLAD"),
}

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        section: its heading.
        name: what was looked at.
        value: what was found.
        state: `broken` where praxino cannot do its work with it.
        hint: what to do, where the state is not `ok`.
    """

    section: str
    name: str
    value: str
    state: State = "ok"
    hint: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything that praxino needs, and try the decoder once; the slow things last."""
    for section in (_machine, _text, _folders, _versions, _extras, _devices, _video):
        yield from map(_without_names, section())


def exit_code(findings: list[Finding]) -> int:
    """3 if something that praxino cannot do without is broken, else 0."""
    broken = any(finding.state == "broken" for finding in findings)
    return EXIT_ENVIRONMENT if broken else EXIT_OK


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """The report; indented, so that a page written in Markdown shows it as it is."""
    section = ""
    for finding in findings:
        if finding.section != section:
            yield from ("",) * bool(section)
            section = finding.section
            yield f"    {section}"
        mark = {"ok": " ", "warning": "!", "broken": "X"}[finding.state]
        yield f"    {mark} {finding.name:<{NAME_WIDTH}}  {finding.value}"
        if finding.hint:
            yield f"      {'':<{NAME_WIDTH}}  -> {finding.hint}"


def verdict(findings: list[Finding]) -> str:
    """The last line: what is broken, and how many warnings there are."""
    broken = [finding.name for finding in findings if finding.state == "broken"]
    warned = sum(finding.state == "warning" for finding in findings)
    said = f"broken: {', '.join(broken)}" if broken else "all that praxino needs is there"
    return f"{said}; {warned} {'warning' if warned == 1 else 'warnings'}"


def as_dict(findings: list[Finding]) -> dict[str, Any]:
    """The report, for JSON."""
    return {"verdict": verdict(findings), "findings": [asdict(finding) for finding in findings]}


# --- versions ------------------------------------------------------------------------------------


def _versions() -> Iterator[Finding]:
    section = "Versions"
    yield Finding(section, "praxino", __version__)
    yield Finding(section, "Python", f"{platform.python_version()} on {platform.platform()}")
    for name, least in _requirements(extra=None):
        yield _installed(section, name, least)
    for name in ("torch", "torchvision", "av", "numpy", "pyarrow", "safetensors"):
        yield from _import(section, name)
    yield from _ffmpeg(section)


def _requirements(extra: str | None) -> list[tuple[str, str]]:
    """The packages that praxino, or an extra of it, asks for, with the least version of each."""
    try:
        asked = metadata.requires("praxino") or []
    except metadata.PackageNotFoundError:  # run from a folder of sources
        return []
    found = []
    for line in asked:
        requirement, _, condition = line.partition(";")
        named = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", condition)
        if (named.group(1) if named else None) == extra:
            name, _, least = requirement.partition(">=")
            found.append((name.strip(), least.strip()))
    return sorted(found)


def _installed(section: str, name: str, least: str, package: str | None = None) -> Finding:
    """Whether a package is there, and new enough; `name` is what the report calls it."""
    package = package or name
    hint = f"pip install '{package}>={least}'"
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return Finding(section, name, "not installed", "broken", hint)
    if _numbers(version) < _numbers(least):
        hint = f"praxino needs {least} or newer: {hint}"
        return Finding(section, name, version, "broken", hint)
    return Finding(section, name, version)


def _import(section: str, name: str) -> Iterator[Finding]:
    """Says something only of a package that is installed and cannot be used."""
    if name == "torchvision":  # takes seconds; that it is there must do
        return
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        hint = f"pip install --force-reinstall {name}"
        yield Finding(section, f"import {name}", f"fails: {_line(error)}", "broken", hint)


def _ffmpeg(section: str) -> Iterator[Finding]:
    try:
        import av
    except (ImportError, OSError):
        return  # told above
    version = str(av.ffmpeg_version_info)
    libraries = ", ".join(
        f"{name} {'.'.join(map(str, numbers))}"
        for name, numbers in av.library_versions.items()
        if name in ("libavcodec", "libavformat", "libswscale")
    )
    value = f"{version} inside av ({libraries})"
    if _numbers(version) >= SAFE_FFMPEG:
        yield Finding(section, "FFmpeg", value)
        return
    hint = (
        f"older than {'.'.join(map(str, SAFE_FFMPEG))}, which repairs CVE-2026-107697 and "
        "CVE-2026-107695; read videos of strangers with --untrusted, and pip install -U av when "
        "a newer FFmpeg is inside it"
    )
    yield Finding(section, "FFmpeg", value, "warning", hint)


def _numbers(version: str) -> tuple[int, ...]:
    """`8.1.2` as numbers that can be compared; empty where there are none."""
    found = re.match(r"\D{0,2}(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found.group(1).split("."))) if found else ()


# --- machine and devices -------------------------------------------------------------------------


def _machine() -> Iterator[Finding]:
    section = "Machine"
    yield Finding(section, "processor", f"{platform.machine()}, {cores()} cores for this process")
    memory = _memory_bytes()
    if memory is not None:
        value = f"{memory / 2**30:.1f} GiB for this process"
        if memory < LITTLE_MEMORY_BYTES:
            hint = "little for training: use a small --batch-size and --data.workers 1"
            yield Finding(section, "memory", value, "warning", hint)
        else:
            yield Finding(section, "memory", value)
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        value = f"{free / 2**30:.2f} GiB free in /dev/shm"
        if free < LITTLE_SHARED_BYTES:
            hint = "loader workers may die of it: --data.workers 0, or docker run --shm-size 1g"
            yield Finding(section, "shared memory", value, "warning", hint)
        else:
            yield Finding(section, "shared memory", value)
    said = [
        f"{name}={os.environ[name]}"
        for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTHONWARNINGS")
        if name in os.environ
    ]
    if said:
        yield Finding(section, "environment", ", ".join(said))


def _memory_bytes() -> int | None:
    """What this process may use: the machine's, or less where a container says so."""
    found = []
    try:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        pass  # not told on this system
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        found += [int(limit)] if limit.isdigit() else []
    except OSError:
        pass  # no such thing on this system
    return min(found, default=None)


def _devices() -> Iterator[Finding]:
    section = "Devices"
    try:
        import torch
    except (ImportError, OSError):
        return  # told above
    if torch.backends.mps.is_available():
        yield Finding(section, "mps", "Apple's GPU")
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without it"
        value = f"none; this torch is {built}"
        if complaints:  # a GPU with a driver that is too old, most often
            hint = _line(complaints[0].message)
            yield Finding(section, "CUDA", value, "warning", hint)
        else:
            yield Finding(section, "CUDA", value)
        return
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        precision = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        value = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {precision}"
        yield Finding(section, f"cuda:{number}", f"{value}, CUDA {torch.version.cuda}")


# --- video ---------------------------------------------------------------------------------------


def _video() -> Iterator[Finding]:
    section = "Video"
    try:
        from praxino.video.decoder import CODECS, CONTAINERS
    except (ImportError, OSError):
        return  # told above
    yield Finding(section, "containers", CONTAINERS)
    reads = [name for name in CODECS if _has_codec(name, "r")]
    lacks = [name for name in CODECS if name not in reads]
    yield Finding(section, "decodes", ", ".join(reads))
    if lacks:
        value = f"{', '.join(lacks)} (on praxino's list, not in this FFmpeg)"
        state: State = "broken" if "h264" in lacks else "warning"
        yield Finding(section, "does not decode", value, state, "pip install -U av")
    yield Finding(section, "encodes", ", ".join(name for name in CODECS if _has_codec(name, "w")))
    yield _round_trip(section)
    yield _torchcodec(section)
    yield _sandbox(section)


def _has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True


def _round_trip(section: str) -> Finding:
    """Write a small video and read it back: the proof that all parts work together."""
    import av
    import numpy as np

    from praxino.video.reader import open_video
    from praxino.video.writer import VideoWriter

    name, sent = "round trip", 12
    pixels = np.full((48, 64, 3), 128, np.uint8)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "praxino.mp4"
            with VideoWriter(path, frames_per_second=25) as writer:
                for _ in range(sent):
                    writer.write(pixels)
            with open_video(path) as video:
                got = sum(1 for frame in video if abs(int(frame.pixels.mean()) - 128) < 5)
    except (OSError, EnvironmentFault, VideoError, av.FFmpegError) as error:
        hint = "is there a temporary folder with space? else pip install --force-reinstall av"
        return Finding(section, name, f"fails: {_line(error)}", "broken", hint)
    value = f"{sent} frames of H.264 written, {got} read back"
    if got != sent:
        return Finding(section, name, value, "broken", "pip install --force-reinstall av")
    return Finding(section, name, value)


def _torchcodec(section: str) -> Finding:
    from praxino.video.torchcodec_video import why_not

    name = "torchcodec"
    if importlib.util.find_spec(name) is None:
        return Finding(section, name, "not installed; only --backend torchcodec needs it")
    reason = why_not()
    if reason is None:
        return Finding(section, name, f"{metadata.version(name)}, can be used")
    return Finding(section, name, reason, "warning", "only --backend torchcodec needs it")


def _sandbox(section: str) -> Finding:
    from praxino.video.child import sandbox_report

    name = "--untrusted"
    try:
        locks = sandbox_report()
    except EnvironmentFault as error:
        hint = "do not open videos of strangers on this machine"
        return Finding(section, name, f"does not work: {_line(error)}", "warning", hint)
    value = ", ".join(lock.replace("_", " ") for lock, holds in locks.items() if holds)
    missing = ", ".join(lock.replace("_", " ") for lock, holds in locks.items() if not holds)
    if missing:
        hint = f"this system does not offer: {missing}"
        return Finding(section, name, value or "works, without any lock", "warning", hint)
    return Finding(section, name, value)


# --- what else ------------------------------------------------------------------------------------


def _extras() -> Iterator[Finding]:
    """What is only wanted for some things; `Video` tells of torchcodec, which it tries."""
    for name, (package, extra, loss) in OPTIONAL.items():
        least = dict(_requirements(extra)).get(package, "0")
        found = _installed("Extras", name, least, package)
        if found.state == "ok":
            yield found
        else:
            value = f"{found.value}: {loss}"
            yield Finding("Extras", name, f"{value}; pip install 'praxino[{extra}]'")


def _folders() -> Iterator[Finding]:
    section = "Folders"
    own = bool(os.environ.get("PRAXINO_CACHE"))
    places: dict[str, tuple[str, Callable[[], Path]]] = {
        "home": ("~", Path.home),
        "cache": ("PRAXINO_CACHE" if own else "~/.cache/praxino", _cache),
        "working folder": ("", lambda: Path(os.getcwd())),
        "temporary": ("", lambda: Path(tempfile.gettempdir())),
    }
    for name, (shown, find) in places.items():
        try:
            nearest = find().resolve()
            while not nearest.exists():
                nearest = nearest.parent
            free = shutil.disk_usage(nearest).free
        except (OSError, RuntimeError) as error:
            hint = "name another folder for results, and PRAXINO_CACHE for downloads"
            yield Finding(section, name, f"not there: {_line(error)}", "warning", hint)
            continue
        value = f"{shown + ', ' if shown else ''}{free / 1e9:.1f} GB free"
        if not os.access(nearest, os.W_OK):
            hint = "set PRAXINO_CACHE to another folder" if name == "cache" else ""
            yield Finding(section, name, f"{value}, cannot be written to", "warning", hint)
        elif free < LITTLE_DISK_BYTES:
            yield Finding(section, name, value, "warning", "free some space")
        else:
            yield Finding(section, name, value)


def _cache() -> Path:
    from praxino.weights.published import cache_folder

    return cache_folder()


def _text() -> Iterator[Finding]:
    chosen = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG")
    encoding = getattr(sys.stdout, "encoding", None) or "none"
    value = (
        f"{chosen or 'no locale'}; prints {encoding}, names files in {sys.getfilesystemencoding()}"
    )
    if locale.getpreferredencoding(False).lower().replace("-", "") != "utf8":
        hint = "some names and bars are shown as ?: export LC_ALL=C.UTF-8"
        yield Finding("Text", "locale", value, "warning", hint)
    else:
        yield Finding("Text", "locale", value)


def _line(error: Exception | Warning | str) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _without_names(finding: Finding) -> Finding:
    """The same without the home folder and the user's name in any path."""
    try:
        home = str(Path.home())
    except RuntimeError:
        home = ""
    texts = {key: getattr(finding, key) for key in ("value", "hint")}
    for key, text in texts.items():
        if len(home) > 1:
            text = text.replace(home, "~")
        texts[key] = re.sub(r"/(home|Users)/[^/\s'\"]+", "~", text)
    return Finding(finding.section, finding.name, state=finding.state, **texts)
