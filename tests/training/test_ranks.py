"""Two processes train together over gloo, as torchrun starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.training import trees
from training.data.stream import Onward
from training.ranks import Ranks, joined, named_device

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory, portrait_photo, astronaut_face) -> Path:
    """A folder that two ranks have trained into: from the command line, and from tests/training/rank.py."""
    folder = tmp_path_factory.mktemp("ranks")
    tree = trees.ck(folder / "ck", portrait_photo, astronaut_face, ["S005"])
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "tests.training.rank", folder / "out"),
        *("--preset", "paper", "--clips", tree, "--cache", folder / "cache"),
        *("--expressions", "surprise", "--channels", "2", "--steps", "2", "--batch", "1"),
        *("--vectors", "2", "--workers", "0", "--device", "cpu", "--out", folder / "run"),
    ]
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_torchrun_trains_from_the_command_line_and_one_rank_writes(out):
    assert [path.name for path in (out / "run").iterdir()] == ["checkpoint.pt"]
    state = torch.load(out / "run" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2
    assert state["config"]["expressions"] == "surprise"
    assert len(list((out / "cache").iterdir())) == 1


def test_ranks_hold_the_same_network_statistics_included(out):
    first, second = (torch.load(out / "out" / f"rank{k}.pt", weights_only=True) for k in (0, 1))
    assert first["agreed"] == second["agreed"] == 5.0
    for state, other in zip(first["whole"][:2], second["whole"][:2], strict=True):
        assert any("running_mean" in name for name in state)
        for name, value in state.items():
            assert torch.equal(value, other[name]), name


def test_ranks_that_begin_otherwise_are_brought_to_what_the_first_one_has(out):
    first, second = (torch.load(out / "out" / f"rank{k}.pt", weights_only=True) for k in (0, 1))
    for state, other in zip(first["apart"][:2], second["apart"][:2], strict=True):
        for name, value in state.items():
            assert torch.equal(value, other[name]), name


def test_a_loss_that_is_not_finite_on_one_rank_ends_all(out):
    for rank in (0, 1):
        kept = torch.load(out / "out" / f"rank{rank}.pt", weights_only=True)
        assert "step 2: the loss is not finite" in kept["ended"]


def test_ranks_resume_where_they_stopped(out):
    for rank in (0, 1):
        kept = torch.load(out / "out" / f"rank{rank}.pt", weights_only=True)
        assert kept["resumed"][2] == kept["whole"][2] == 4
        for name, value in kept["whole"][0].items():
            assert torch.equal(value, kept["resumed"][0][name]), name


def test_ranks_take_samples_of_their_own():
    drawn = [list(islice(Onward(24 + rank, 2), 4)) for rank in (0, 1)]
    assert drawn == [[24, 26, 28, 30], [25, 27, 29, 31]]


def test_a_process_alone_joins_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as (ranks, device):
        assert (ranks, device.type) == (Ranks(), "cpu")
        value = torch.ones(3)
        ranks.average([value])
        assert ranks.agree(2.5, device) == 2.5
        assert ranks.leads
        assert value.tolist() == [1, 1, 1]


def test_a_device_that_is_not_here_is_said():
    assert named_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="--device cuda:99 is not here: PyTorch finds"):
        named_device("cuda:99")
    with pytest.raises(ValueError, match="must be auto, cpu, cuda or cuda:N, but got 'cuda:one'"):
        named_device("cuda:one")
