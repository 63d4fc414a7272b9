"""The engines that compute a model: torch, torch.compile and OpenVINO.

An engine is handed views and hands back logits; which one it was is written into every result.
`channels_last_3d` is no choice here: measured on 3D networks it is worth nothing without gradients
(benchmarks/inference.md).
"""

import copy
import io
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from functools import cache
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from praxino.computing import Computing
from praxino.devices import choose_device
from praxino.errors import EnvironmentFault
from praxino.shortened import printable
from praxino.weights.checkpoint import weights_hash

log = logging.getLogger("praxino")

# `(V, C, T, H, W)` views, any number of them, to `(V, K)` float32 logits on the CPU.
Runner = Callable[[Tensor], Tensor]

# How far an engine may be from torch on the first clip, as a share of torch's largest logit. What
# rounding does stays far below: 1e-6 in fp32 and 0.02 in bf16; a wrong operation is far above.
FARTHEST = {"fp32": 1e-3, "bf16": 0.1}


def settle(computing: Computing, device: str | None) -> tuple[Computing, torch.device]:
    """What will be computed with and where, before a job begins.

    Args:
        computing: what is asked for.
        device: `cpu`, `cuda`; None: the GPU if there is one and the engine can use it.

    Returns:
        The same engine, the precision that it will compute in, never `auto`, and the device.

    Raises:
        ValueError: the engine does not run there.
        EnvironmentFault: there is no such device, no compiler, or no OpenVINO.
    """
    engine = computing.engine
    if engine == "openvino" and device is None:
        device = "cpu"
    where = choose_device(device)
    if engine == "openvino" and where.type != "cpu":
        raise ValueError(
            f"The engine openvino computes on the CPU only, got device {device!r}. "
            f"Leave the device out, or use the engine torch."
        )
    precision = computing.precision
    if precision == "auto":
        precision = "bf16" if has_bf16(where) else "fp32"
    elif precision == "bf16" and not has_bf16(where):
        _tell_of_missing_units(where.type)
    if engine == "openvino" and precision == "bf16" and not _openvino_has_bf16():
        precision = "fp32"
        _tell_of_fp32()
    if engine == "compile":
        _check_compiler()
    elif engine == "openvino":
        _openvino()
    return Computing(engine, precision), where


def has_bf16(device: torch.device) -> bool:
    """Whether a processor computes in bf16 rather than emulating it, which is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # A torch that cannot tell is an old one.
        units: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(units.get("avx512_bf16") or units.get("amx_bf16"))
    return False


@contextmanager
def running(
    model: nn.Module, device: torch.device, computing: Computing, batch_size: int
) -> Iterator[Runner]:
    """Lend a model to an engine, in eval mode, for as long as the block lasts.

    Weights and the modes of all its parts are afterwards as they were; it stays on the device. What
    an engine makes of a model is kept as long as the model is, and made anew when weights differ.

    Args:
        model: `(B, C, T, H, W)` to `(B, K)` logits.
        device: from `settle`, as is `computing`.
        computing: the engine and its precision.
        batch_size: views in one pass through torch; the other engines take them one by one on a
            CPU, where one clip is work for every core.

    Raises:
        ValueError: batch_size is below 1; or, in the block, the engine cannot take this model.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    modes = {part: part.training for part in model.modules()}
    model.to(device).eval()
    torch_alone = _torch_runner(model, device, computing.precision, batch_size)
    made: list[Runner] = []

    def run(views: Tensor) -> Tensor:
        if not made:
            made.append(_made(model, views[:1], device, computing, batch_size))
        return made[0](views)

    try:
        yield torch_alone if computing.engine == "torch" else run
    finally:
        for part, training in modes.items():
            part.training = training


# --- torch ---------------------------------------------------------------------------------------


def _torch_runner(
    model: Callable[[Tensor], Tensor], device: torch.device, precision: str, batch_size: int
) -> Runner:
    # Autocast, not a converted copy: models make tables in float32 while they run.
    reduced = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    @torch.inference_mode()
    def run(views: Tensor) -> Tensor:
        with reduced:
            passes = [model(few.to(device)).float().cpu() for few in views.split(batch_size)]
        return torch.cat(passes)

    return run


# --- engines that are given the whole network before it runs -------------------------------------

_kept: WeakKeyDictionary[nn.Module, tuple[Any, Runner]] = WeakKeyDictionary()


def _made(
    model: nn.Module, clip: Tensor, device: torch.device, computing: Computing, batch_size: int
) -> Runner:
    """What an engine has made of a model, now or before.

    Raises:
        ValueError: the engine cannot take the model, or computes something else.
    """
    weights, threads = weights_hash(model), torch.get_num_threads()
    key = (computing, device, clip.shape, batch_size, threads, weights)
    if model in _kept and _kept[model][0] == key:
        return _kept[model][1]
    card = getattr(model, "card", None)
    name, engine = card.model if card else type(model).__name__, computing.engine
    start = time.monotonic()
    try:
        if engine == "compile":
            run = _compile_runner(model, device, computing.precision, batch_size)
        else:
            run = _openvino_runner(model, clip, computing.precision)
        found = run(clip)
    except Exception as error:  # a compiler's, of any kind
        reason = printable(next(iter(str(error).strip().splitlines()), type(error).__name__))[:300]
        raise ValueError(
            f"The engine {engine} cannot take {name}: {reason} Use the engine torch."
        ) from error
    expected = _torch_runner(model, device, "fp32", 1)(clip)
    distance = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    if expected.isfinite().all() and not distance <= FARTHEST[computing.precision]:
        raise ValueError(
            f"The engine {engine} computes {name} wrongly: its logits of the first clip are "
            f"{distance:.2g} of the largest away from torch's. Use the engine torch."
        )
    log.info("%s made for %s in %.0f s.", name, engine, time.monotonic() - start)
    _kept[model] = key, run
    return run


# --- torch.compile -------------------------------------------------------------------------------


def _check_compiler() -> None:
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX") or usual
    if shutil.which(compiler) is None:
        raise EnvironmentFault(
            f"The engine compile needs a C++ compiler, and there is no {compiler}. Install it, "
            f"name another in CXX, or use the engine torch."
        )


def _compile_runner(
    model: nn.Module, device: torch.device, precision: str, batch_size: int
) -> Runner:
    # A copy, because freezing takes the weights for constants: norms go into convolutions.
    compiled = torch.compile(copy.deepcopy(model), dynamic=False, options={"freezing": True})
    size = 1 if device.type == "cpu" else batch_size
    run_passes = _torch_runner(compiled, device, precision, size)

    def run(views: Tensor) -> Tensor:
        # Passes of one size, the last filled up, so that nothing is compiled twice.
        missing = -len(views) % size
        return run_passes(torch.cat([views, *[views[-1:]] * missing]))[: len(views)]

    return run


# --- OpenVINO ------------------------------------------------------------------------------------


@cache
def _openvino() -> ModuleType:
    """The package, which is kept from telling its makers about this user.

    It does so, without asking, when it is imported and when it converts a model, by a package
    `openvino_telemetry`; where there is none, a stand-in of its own does nothing. For this process
    there is none.

    Raises:
        EnvironmentFault: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
        from openvino.tools.ovc import telemetry_stub
    except ImportError:
        raise EnvironmentFault(
            "The engine openvino is not installed. To install it: pip install 'praxino[openvino]'"
        ) from None
    for name, module in list(sys.modules.items()):  # where a program had imported it before us
        if name.startswith("openvino.tools.ovc") and hasattr(module, "tm"):
            module.tm = telemetry_stub  # type: ignore[attr-defined]
    return openvino


@cache
def _openvino_core() -> Any:
    """The one core of this process, for all models and for as long as it lives.

    A core gives the thread that it is made in a stack for signal handlers, which Python's run on,
    and when it goes it gives back the one from before. Of two cores that go in the order in which
    they came, the second gives back the first one's, which is gone: the next Ctrl-C ends the
    process by a fault of memory.
    """
    return _openvino().Core()


def _openvino_has_bf16() -> bool:
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino_runner(model: nn.Module, clip: Tensor, precision: str) -> Runner:
    openvino = _openvino()
    # A network of one clip: its shapes are all known, so that every model can be exported, and no
    # last, smaller batch needs another one.
    with torch.no_grad(), redirect_stderr(io.StringIO()):  # where a failing export prints its graph
        program = torch.export.export(model, (clip,))
    network = openvino.convert_model(program)
    network.reshape(list(clip.shape))
    compiled = _openvino_core().compile_model(
        network,
        "CPU",
        {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision),
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        },
    )
    queue = openvino.AsyncInferQueue(compiled)

    def run(views: Tensor) -> Tensor:
        logits: list[Tensor] = [torch.empty(0)] * len(views)

        def keep(request: Any, row: int) -> None:
            logits[row] = torch.from_numpy(request.get_output_tensor().data.copy())

        queue.set_callback(keep)
        for row, view in enumerate(views.split(1)):
            queue.start_async([view.numpy()], row)
        queue.wait_all()
        return torch.cat(logits)

    return run


@cache
def _tell_of_missing_units(kind: str) -> None:
    log.warning("This %s has no units for bf16: fp32 is faster.", kind.upper())


@cache
def _tell_of_fp32() -> None:
    log.warning("OpenVINO has no bf16 on this CPU: it computes in fp32.")
