"""RAFT: torchvision's network gives the golden's numbers, by our weights and for our frames."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from praxino.errors import EnvironmentFault
from praxino.layer_table import count_parameters
from praxino.video import raft
from praxino.video.flow import compute_flow
from praxino.weights.published import place_for


@pytest.mark.parametrize("name", ["raft_small"])
def test_equals_the_golden(name, lab_goldens: Path):
    spec = importlib.util.spec_from_file_location("filler", lab_goldens / "filler.py")
    filler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(filler)
    golden = filler.load(lab_goldens / "torchvision_flow" / f"{name}.json")
    network = raft.build_raft(name)
    assert count_parameters(network) == golden["params"]

    def forward(network, first, second):
        return network(first, second, num_flow_updates=4)

    errors = filler.check(golden, lambda: network, forward=forward)
    assert max(errors.values()) < 1e-4


def test_the_large_one_has_as_many_parameters_as_published():
    assert count_parameters(raft.build_raft("raft_large")) == 5_257_536


def saved(name: str, path: Path) -> None:
    """Weights under which RAFT computes something, as torchvision publishes them: a pickle."""
    torch.manual_seed(0)
    path.parent.mkdir(parents=True)
    torch.save(raft.build_raft(name).state_dict(), path)


@pytest.mark.slow
def test_published_weights_are_read_and_frames_of_any_size_taken(tmp_path, monkeypatch):
    raft.load_raft.cache_clear()
    monkeypatch.setenv("PRAXINO_CACHE", str(tmp_path))
    weights = dataclasses.replace(raft.WEIGHTS["raft_small"], sha256_prefix=None, megabytes=None)
    monkeypatch.setitem(raft.WEIGHTS, "raft_small", weights)
    saved("raft_small", place_for(weights) / next(iter(weights.files)))
    frames = np.random.default_rng(0).integers(0, 256, (3, 60, 150, 3), dtype=np.uint8)
    flow = compute_flow(frames, "raft_small", device="cpu")
    assert flow.shape == (2, 60, 150, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()
    # The centre of the padded pictures is what comes back.
    padded = np.pad(frames, ((0, 0), (34, 34), (1, 1), (0, 0)), mode="edge")
    assert (
        np.abs(compute_flow(padded, "raft_small", device="cpu")[:, 34:-34, 1:-1] - flow).max()
        < 1e-3
    )


def test_without_a_network_the_weights_are_asked_for(tmp_path, monkeypatch):
    raft.load_raft.cache_clear()
    monkeypatch.setenv("PRAXINO_CACHE", str(tmp_path))

    def no_connection(*_, **__):
        raise EnvironmentFault("[Errno -2] Name or service not known")

    monkeypatch.setattr("praxino.weights.published.download", no_connection)
    with pytest.raises(EnvironmentFault, match=r"raft_large_C.*, dis for example\.$") as caught:
        compute_flow(np.zeros((2, 32, 32, 3), np.uint8), "raft", device="cpu")
    assert "from scratch" not in str(caught.value)
