from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from moue.errors import OutputError
from training.checkpoint import (
    CheckpointError,
    StructureError,
    read_checkpoint,
    take,
    write_checkpoint,
)

STATE = {"step": 3, "average": {"weight": torch.ones(1000)}}


@pytest.fixture
def path(tmp_path) -> Path:
    write_checkpoint(STATE, tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt"


def test_what_is_written_is_read(path):
    state = read_checkpoint(path, ("step", "average"))
    assert state["step"] == 3
    assert torch.equal(state["average"]["weight"], STATE["average"]["weight"])


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_else(path):
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OutputError, match=r"could not write .*checkpoint\.pt: File too large"):
            write_checkpoint(STATE, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"junk" * 100,
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole.replace(b"\x00\x00\x80\x3f" * 8, b"\x00\x00\x80\x40" * 8, 1),
    ],
    ids=["empty", "junk", "cut", "changed"],
)
def test_a_damaged_one_is_refused_in_one_line(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="is damaged, or no checkpoint of") as refused:
        read_checkpoint(path, ("step",))
    assert "\n" not in str(refused.value)


def test_one_that_is_missing_or_of_something_else_is_refused(path):
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        read_checkpoint(path.parent, ())
    with pytest.raises(CheckpointError, match="holds no 'spent'"):
        read_checkpoint(path, ("step", "spent"))
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="no checkpoint of"):
        read_checkpoint(path, ())


@pytest.mark.parametrize("name", ["average", "model"])
def test_weights_that_are_not_finite_are_refused(path, name):
    write_checkpoint({**STATE, name: {"weight": torch.tensor([0.0, torch.inf])}}, path)
    with pytest.raises(CheckpointError, match="weights that are not finite"):
        read_checkpoint(path, ("step",))


def test_weights_of_another_structure_are_refused(path):
    with pytest.raises(StructureError, match="built otherwise than today's; train anew"):
        take(nn.Linear(2, 2), {"weight": torch.ones(3, 3)}, path)
