import json
import os
import tomllib
from pathlib import Path

import pytest

from praxino.command import doctor
from praxino.command.cli import run
from praxino.command.doctor import Finding, examine, exit_code, lines, verdict


@pytest.fixture(scope="module")
def findings():
    return list(examine())


def test_what_is_needed_is_there(findings):
    found = {finding.name: finding for finding in findings}
    assert exit_code(findings) == 0
    for name in (
        "praxino",
        "Python",
        "torch",
        "av",
        "FFmpeg",
        "numpy",
        "memory",
        "cache",
        "locale",
    ):
        assert found[name].value, name
    assert found["round trip"].value == "12 frames of H.264 written, 12 read back"
    assert "h264" in found["decodes"].value
    assert len({(finding.section, finding.name) for finding in findings}) == len(findings)
    assert verdict(findings).startswith("all that praxino needs is there; ")


def test_the_report_is_a_code_block_and_names_no_one(findings):
    text = "\n".join(lines(findings))
    assert all(line.startswith("    ") for line in text.splitlines() if line)
    assert str(Path.home()) not in text.replace("~", "") or str(Path.home()) == "/"
    assert os.getcwd() not in text


def test_an_old_ffmpeg_is_warned_of(monkeypatch):
    import av

    monkeypatch.setattr(av, "ffmpeg_version_info", "8.1.2")
    (finding,) = doctor._ffmpeg("Versions")
    assert finding.state == "warning"
    assert "CVE-2026-107697" in finding.hint
    assert "--untrusted" in finding.hint
    for version in ("8.1.3", "n8.2", "9.0.2"):
        monkeypatch.setattr(av, "ffmpeg_version_info", version)
        (finding,) = doctor._ffmpeg("Versions")
        assert finding.state == "ok", version
    monkeypatch.setattr(av, "ffmpeg_version_info", "git-of-unknown-age")
    assert next(doctor._ffmpeg("Versions")).state == "warning"


def test_what_is_broken_is_named_and_the_exit_code_says_so(monkeypatch, capsys):
    def broken():
        yield Finding("Versions", "torch", "not installed", "broken", "pip install 'torch>=2.11'")
        yield Finding("Folders", "home", "in /home/ada/.cache", "warning")

    monkeypatch.setattr(doctor, "examine", lambda: map(doctor._without_names, broken()))
    assert run(["doctor"]) == 3
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "    Versions",
        "    X torch            not installed",
        "                       -> pip install 'torch>=2.11'",
        "",
        "    Folders",
        "    ! home             in ~/.cache",
        "",
        "broken: torch; 1 warning",
    ]
    assert run(["doctor", "--json", "-"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "broken: torch; 1 warning"
    assert said["findings"][0]["hint"] == "pip install 'torch>=2.11'"


def test_packages_that_are_missing_or_too_old():
    assert doctor._installed("Versions", "numpy", "1.0").state == "ok"
    old = doctor._installed("Versions", "numpy", "999.1")
    assert (old.state, old.hint) == (
        "broken",
        "praxino needs 999.1 or newer: pip install 'numpy>=999.1'",
    )
    assert doctor._installed("Versions", "no-such-package", "1").value == "not installed"


def test_what_is_optional_says_what_is_lost_without_it(monkeypatch):
    assert {finding.state for finding in doctor._extras()} == {"ok"}
    packages = {package for package, _, _ in doctor.OPTIONAL.values()}
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for name, (package, extra, _) in doctor.OPTIONAL.items():
        assert len(name) <= doctor.NAME_WIDTH
        assert any(line.startswith(f"{package}>=") for line in extras[extra]), package
    asked = {
        line.partition(">=")[0]
        for extra, lines in extras.items()
        if extra != "dev"
        for line in lines
    }
    assert asked == packages | {"torchcodec"}

    def none(name):
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", none)
    found = {finding.name: finding.value for finding in doctor._extras()}
    assert found["pydicom"] == "not installed: no DICOM volumes; pip install 'praxino[volumes]'"
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.0")
    monkeypatch.setattr(doctor, "_requirements", lambda extra: [("openvino", "2026.0")])
    found = {finding.name: finding.value for finding in doctor._extras()}
    assert found["nibabel"] == "1.0"
    assert found["openvino"].startswith("1.0: no --engine openvino; pip install 'praxino[openvino]")


def test_a_package_that_does_not_load(monkeypatch):
    def fails(name):
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", fails)
    (finding,) = doctor._import("Versions", "torch")
    assert finding.state == "broken"
    assert finding.value == "fails: libcudart.so.13: cannot open shared object file"


def test_folders_that_cannot_be_used(monkeypatch, tmp_path):
    monkeypatch.setenv("PRAXINO_CACHE", "/proc/praxino")
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    found = {finding.name: finding for finding in doctor._folders()}
    assert found["working folder"].state == "warning"
    assert found["cache"].value.startswith("PRAXINO_CACHE, ")


def test_a_decoder_that_does_not_work_is_found(monkeypatch):
    def broken(path):
        raise OSError("broken")

    monkeypatch.setattr("praxino.video.reader.open_video", broken)
    finding = doctor._round_trip("Video")
    assert (finding.state, finding.value) == ("broken", "fails: broken")


def test_the_verdict_stands_alone_on_the_last_line(findings, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    assert run(["doctor"]) == exit_code(findings)
    assert capsys.readouterr().out.splitlines()[-2:] == ["", verdict(findings)]
