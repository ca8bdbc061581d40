"""A run on disk: what `training.train` writes, and it, `training.report` and `export.bundle` read."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moue.files import whole_file


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or of something else; says which."""


class StructureError(CheckpointError):
    """Weights at a path are of another structure."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} holds a generator built otherwise than today's; train anew")


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Writes a checkpoint whole or not at all; raises OutputError where it cannot."""
    with whole_file(path) as part, part.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # PyTorch's own words, over the system's
            raise error.__context__ or error from None


def read_checkpoint(
    path: Path, wanted: Iterable[str], device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """What a checkpoint holds, its tensors on a device.

    Args:
        path: of the file.
        wanted: names that it must hold.
        device: of its tensors.

    Raises:
        CheckpointError: there is none, it is damaged, or lacks a name, or its weights are not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:  # whose checksums PyTorch does not look at
            whole = archive.testzip() is None
        state = torch.load(path, map_location=device, weights_only=True) if whole else None
    except (OSError, zipfile.BadZipFile, RuntimeError, pickle.UnpicklingError):
        state = None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is damaged, or no checkpoint of training.train")
    if lacking := [name for name in wanted if name not in state]:
        raise CheckpointError(f"{path} holds no {lacking[0]!r}: it is no checkpoint of such a run")
    weights = [tensor for name in ("average", "model") for tensor in state.get(name, {}).values()]
    if not all(tensor.isfinite().all() for tensor in weights):
        raise CheckpointError(f"{path} holds weights that are not finite; train anew")
    return state


def take(model: nn.Module, held: Mapping[str, Tensor], path: Path) -> None:
    """Gives a model the weights that were held at a path; raises StructureError where they do not fit."""
    try:
        model.load_state_dict(held)
    except RuntimeError:
        raise StructureError(path) from None
