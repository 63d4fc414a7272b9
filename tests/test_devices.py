import os

import pytest
import torch

from praxino.devices import choose_device, default_device, default_workers
from praxino.errors import EnvironmentFault


@pytest.fixture
def one_gpu(monkeypatch):
    """A machine that says it has one CUDA GPU and nothing else."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_the_cpu_without_a_gpu(no_gpu):
    assert default_device() == "cpu"
    assert choose_device() == choose_device("cpu") == torch.device("cpu")
    assert choose_device("cpu:0").type == "cpu"


def test_the_gpu_where_there_is_one(one_gpu):
    assert default_device() == "cuda"
    assert choose_device() == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:0") == torch.device("cuda:0")
    assert choose_device("cpu") == torch.device("cpu")


# "meta" and "vulkan" are names that torch knows; nothing can be computed or decoded there.
@pytest.mark.parametrize("name", ["gpu", "cuda:one", "", "meta", "vulkan", "CPU", "cuda:-1"])
def test_names_of_no_device(no_gpu, name):
    message = rf"There is no device '{name}'\. It is cpu, cuda, cuda:1 \.\.\. or mps\."
    with pytest.raises(ValueError, match=message):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3", "mps"])
def test_a_device_that_is_not_there(no_gpu, name):
    message = rf"This machine has no {name}; 0 CUDA GPUs are here\."
    with pytest.raises(EnvironmentFault, match=message):
        choose_device(name)


def test_one_gpu_too_far(one_gpu):
    with pytest.raises(EnvironmentFault, match=r"This machine has no cuda:1; 1 CUDA GPUs are here"):
        choose_device("cuda:1")


@pytest.mark.parametrize(("cores", "workers"), [(1, 0), (2, 1), (8, 7), (9, 8), (128, 8)])
def test_one_core_is_left_to_the_model(monkeypatch, cores, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert default_workers() == workers


@pytest.mark.parametrize(("cores", "workers"), [(None, 0), (1, 0), (4, 3)])
def test_systems_that_do_not_say_which_cores_are_ours(monkeypatch, cores, workers):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert default_workers() == workers


def test_workers_on_this_machine():
    assert 0 <= default_workers() <= 8
