import copy
import gc
import json
import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from praxino import engines
from praxino.command.cli import run
from praxino.computing import Computing
from praxino.engines import has_bf16, running, settle
from praxino.errors import EnvironmentFault
from praxino.evaluate import evaluate, evaluate_again
from praxino.models import create_model
from praxino.predict import predict
from praxino.weights.checkpoint import load_model, weights_hash

CPU = torch.device("cpu")
FP32 = Computing("torch", "fp32")


class TwoPathways(nn.Module):
    """As SlowFast: one pathway sees some frames, picked by number, and the other joins it."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = nn.Conv3d(3, 8, (1, 3, 3), padding=(0, 1, 1))
        self.fast = nn.Conv3d(3, 4, 3, padding=1)
        self.lateral = nn.Conv3d(4, 8, (5, 1, 1), stride=(4, 1, 1), padding=(2, 0, 0))
        self.norm = nn.BatchNorm3d(16)
        self.head = nn.Linear(20, 5)

    def forward(self, clip: Tensor) -> Tensor:
        picked = torch.linspace(0, clip.shape[2] - 1, clip.shape[2] // 4).long()
        fast = self.fast(clip).relu()
        slow = self.norm(torch.cat([self.slow(clip[:, :, picked]), self.lateral(fast)], 1)).relu()
        kernel = (slow.shape[2], 4, 4)
        pooled = nn.functional.avg_pool3d(slow, kernel).mean((2, 3, 4))
        return self.head(torch.cat([pooled, fast.mean((2, 3, 4))], 1))


class Transformer(nn.Module):
    """Tubelets, attention, and a table of positions in float32 that it makes while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.tubelets = nn.Conv3d(3, 16, (2, 8, 8), stride=(2, 8, 8))
        self.qkv = nn.Linear(16, 48)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, clip: Tensor) -> Tensor:
        tokens = self.tubelets(clip).flatten(2).mT  # (B, N, 16)
        tokens = tokens + torch.linspace(0, 1, tokens.shape[1])[:, None].sin()
        queries, keys, values = self.qkv(self.norm(tokens)).view(len(clip), -1, 3, 2, 8).unbind(2)
        seen = nn.functional.scaled_dot_product_attention(
            queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
        )
        return self.head(seen.transpose(1, 2).flatten(2).mean(1))


MODELS = {
    "convolutional": lambda: create_model("small_3d", 5, frames=8, size=32),
    "two pathways": TwoPathways,
    "transformer": Transformer,
}
ENGINES = [
    "torch",
    pytest.param("compile", marks=pytest.mark.slow),
    "openvino",
]


@pytest.fixture
def views():
    return torch.randn(5, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))


def built(kind: str) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS[kind]()
    with torch.no_grad():  # classes that are told apart
        model.head.weight *= 20
    return model


def logits(model: nn.Module, views: Tensor, computing: Computing, batch_size: int = 2) -> Tensor:
    with running(model, CPU, computing, batch_size) as run_model:
        return run_model(views)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_answer_of_torch(engine, kind, views):
    model = built(kind)
    with torch.inference_mode():
        expected = copy.deepcopy(model).eval()(views)
    assert expected.std(0).max() > 1e-3  # or nothing would be compared
    for number in (5, 1, 3):  # the last pass is smaller, and none needs another network
        found = logits(model, views[:number], Computing(engine, "fp32"))
        torch.testing.assert_close(found, expected[:number], atol=1e-4, rtol=0)
    reduced = logits(model, views, settle(Computing(engine, "bf16"), "cpu")[0])
    assert reduced.dtype == torch.float32
    # bf16 has 8 bits: a share of 2 ** -8 for each of some roundings.
    torch.testing.assert_close(reduced, expected, atol=0.03 * expected.abs().max().item(), rtol=0)
    assert reduced.argmax(1).tolist() == expected.argmax(1).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("slowfast_r50", {"frames": 32, "size": 32, "width": 16}),
        ("swin3d_t", {"frames": 4, "size": 40}),
        ("x3d_s", {"frames": 4, "size": 32}),
    ],
)
def test_openvino_takes_published_architectures(name, options):
    torch.manual_seed(0)
    model = create_model(name, 5, **options)
    clips = torch.randn(3, 3, options["frames"], options["size"], options["size"])
    found = logits(model, clips, Computing("openvino", "fp32"))
    torch.testing.assert_close(found, logits(model, clips, FP32), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_model_is_left_as_it_was(engine, views):
    model = built("convolutional").train()
    frozen = next(part for part in model.modules() if isinstance(part, nn.BatchNorm3d)).eval()
    before = weights_hash(model), [p.stride() for p in model.parameters()]
    for precision in ("fp32", "bf16"):
        logits(model, views, Computing(engine, precision))
    assert (weights_hash(model), [p.stride() for p in model.parameters()]) == before
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in model.parameters())
    assert model.training
    assert not frozen.training
    model(views).sum().backward()  # it can still be trained


def test_prepared_once_and_again_when_the_weights_change(views, caplog):
    caplog.set_level(logging.INFO, "praxino")
    model, computing = built("transformer"), Computing("openvino", "fp32")
    first = logits(model, views, computing)
    assert logits(model, views, computing).equal(first)
    assert [line for line in caplog.messages if "Transformer made for openvino in" in line] == (
        caplog.messages[:1]
    )
    with torch.no_grad():
        model.head.bias.data += 1  # by .data, which no counter notices
    torch.testing.assert_close(logits(model, views, computing), first + 1)
    assert len(caplog.messages) == 2
    kept = len(engines._kept)
    del model
    gc.collect()
    assert len(engines._kept) == kept - 1


def test_auto_is_bf16_only_where_there_are_units_for_it(monkeypatch, caplog):
    for units, expected in (
        ({"avx2": True}, "fp32"),
        ({"avx512_f": True}, "fp32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: units)
        assert settle(Computing(), "cpu") == (Computing("torch", expected), CPU)
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an old torch
    assert not has_bf16(CPU)
    assert not has_bf16(torch.device("mps"))
    for emulated in (True, False):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, e=emulated: not e
        )
        assert has_bf16(torch.device("cuda")) is not emulated


def test_bf16_without_units_is_computed_and_told(monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    engines._tell_of_missing_units.cache_clear()
    for _ in range(2):
        assert settle(Computing("torch", "bf16"), "cpu")[0].precision == "bf16"
    assert caplog.messages == ["This CPU has no units for bf16: fp32 is faster."]


def test_openvino_without_bf16_says_what_it_computes_in(monkeypatch, caplog):
    monkeypatch.setattr(engines, "_openvino_has_bf16", lambda: False)
    engines._tell_of_fp32.cache_clear()
    assert settle(Computing("openvino", "bf16"), "cpu")[0] == Computing("openvino", "fp32")
    assert "OpenVINO has no bf16 on this CPU: it computes in fp32." in caplog.messages
    monkeypatch.setattr(engines, "_openvino_has_bf16", lambda: True)
    assert settle(Computing("openvino", "bf16"), "cpu")[0] == Computing("openvino", "bf16")


# --- what is refused, in one line ----------------------------------------------------------------


def test_words_that_are_none():
    with pytest.raises(ValueError, match="no engine 'onnx'; there are torch, compile, openvino"):
        Computing("onnx")
    with pytest.raises(ValueError, match="no precision 'fp16'; there are auto, fp32, bf16"):
        Computing(precision="fp16")


def test_openvino_is_for_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert settle(Computing("openvino", "fp32"), None)[1] == CPU
    with pytest.raises(ValueError, match="computes on the CPU only, got device 'cuda'"):
        settle(Computing("openvino"), "cuda")


def test_openvino_is_not_installed(monkeypatch):
    engines._openvino.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'praxino\[openvino\]'"):
        settle(Computing("openvino"), None)
    engines._openvino.cache_clear()


def test_there_is_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(EnvironmentFault, match="needs a C\\+\\+ compiler, and there is no no-such"):
        settle(Computing("compile"), "cpu")


class Undecided(nn.Module):
    """What it does depends on the pixels, which no exported network can follow."""

    def forward(self, clip: Tensor) -> Tensor:
        return clip.mean((2, 3, 4)) if clip.sum() > 0 else clip.amax((2, 3, 4))


def test_a_model_that_openvino_cannot_take(views, capfd):
    with pytest.raises(ValueError, match="openvino cannot take Undecided: Could not guard") as told:
        logits(Undecided(), views, Computing("openvino", "fp32"))
    assert str(told.value).endswith("Use the engine torch.")
    assert "\n" not in str(told.value)
    assert capfd.readouterr().err == ""


def test_an_engine_that_is_wrong_is_found_out(views, monkeypatch):
    wrong = lambda model, *_: lambda views: model(views).detach() * 1.01  # noqa: E731
    monkeypatch.setattr(engines, "_openvino_runner", wrong)
    with pytest.raises(ValueError, match=r"computes Transformer wrongly: .* 0\.01 of the"):
        logits(built("transformer"), views, Computing("openvino", "fp32"))


def test_a_batch_of_none(views):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        logits(built("transformer"), views, FP32, batch_size=0)


# --- predict, evaluate and the command line ------------------------------------------------------


def test_results_say_what_they_were_computed_with(trained_run, two_actions, tmp_path):
    options = {"clips": 2, "crops": 1, "workers": 0, "device": "cpu"}
    model = load_model(trained_run)
    plain = evaluate(model, two_actions, precision="fp32", **options)
    assert "pyav, torch, fp32, manifest" in plain.protocol_line()
    result = evaluate(trained_run, two_actions, engine="openvino", precision="fp32", **options)
    np.testing.assert_allclose(result.scores, plain.scores, atol=1e-4)
    result.save(tmp_path)
    again, saved = evaluate_again(tmp_path / "result.json", workers=0)
    assert saved["protocol"]["engine"] == again.protocol["engine"] == "openvino"
    assert saved["protocol"]["precision"] == again.protocol["precision"] == "fp32"
    assert again.numbers() == result.numbers()
    for word in ("engine", "precision"):  # as results were before there was a choice
        del saved["protocol"][word]
    (tmp_path / "result.json").write_text(json.dumps(saved))
    again, _ = evaluate_again(tmp_path / "result.json", workers=0)
    assert (again.protocol["engine"], again.protocol["precision"]) == ("torch", "fp32")
    saved["protocol"]["engine"] = "onnx"
    (tmp_path / "result.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=r"protocol\.engine"):
        evaluate_again(tmp_path / "result.json", workers=0)


@pytest.mark.parametrize("options", [{}, {"every_seconds": 0.25}, {"untrusted": True}])
def test_predict_with_openvino(trained_run, two_actions, options):
    video, model = two_actions / "darker" / "0.mp4", load_model(trained_run)
    plain = predict(video, model, device="cpu", precision="fp32", **options)
    result = predict(video, model, batch_size=3, engine="openvino", precision="fp32", **options)
    np.testing.assert_allclose(result.clip_scores, plain.clip_scores, atol=1e-4)
    assert result.computing == Computing("openvino", "fp32")
    assert result.to_dict()["engine"] == "openvino"
    frames = predict(iter([np.zeros((40, 48, 3), np.uint8)] * 9), model, engine="openvino")
    assert frames.computing.engine == "openvino"


def test_the_command_line(trained_run, two_actions, capsys):
    video = str(two_actions / "darker" / "0.mp4")
    words = ["--model", str(trained_run), "--engine", "openvino", "--precision", "fp32"]
    assert run(["predict", video, *words, "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)[0]
    assert (said["engine"], said["precision"]) == ("openvino", "fp32")
    assert run(["predict", video, *words, "--device", "cuda"]) != 0
    assert run(["predict", video, *words[:3], "onnx"]) == 2


def test_ctrl_c_is_answered_after_models_have_come_and_gone():
    """In a process of its own, which would otherwise end by a fault of memory."""
    code = """
        import gc, os, signal, torch
        from praxino.computing import Computing
        from praxino.engines import running

        models = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)) for _ in "ab"]
        for model in models:
            with running(model, torch.device("cpu"), Computing("openvino", "fp32"), 1) as run:
                run(torch.zeros(2, 3, 1, 4, 4))
        del model, run
        while models:
            models.pop(0)
            gc.collect()
        signal.signal(signal.SIGINT, lambda *_: print("answered"))
        os.kill(os.getpid(), signal.SIGINT)
    """
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "answered\n"), done.stderr


def test_openvino_is_kept_from_reporting(tmp_path):
    """In a process of its own: what it would report with writes to the user's folder at once."""
    (tmp_path / "openvino_telemetry").mkdir()
    reporter = "open('reported', 'w'); Telemetry = lambda *a, **k: open('reported', 'w')"
    (tmp_path / "openvino_telemetry" / "__init__.py").write_text(reporter)
    (tmp_path / "openvino_telemetry" / "backend.py").write_text("backend_ga4 = None")
    code = """
        import torch
        from praxino.engines import running
        from praxino.computing import Computing
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
        with running(model, torch.device("cpu"), Computing("openvino", "fp32"), 1) as run:
            print(run(torch.zeros(2, 3, 1, 4, 4)).shape)
    """
    environment = {
        "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}",
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torch.Size([2, 2])" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["openvino_telemetry"]
