"""Data-parallel training: one process a GPU, started by torchrun.

    torchrun --nproc-per-node 4 -m training.train --preset paper --data ROOT

Every rank takes its own samples. Gradients are averaged over ranks before each step, and with them
the running statistics of batch normalisation (each rank normalises by its own batch), so that all
ranks hold the same network and rank 0's checkpoint is everyone's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

PATIENCE = timedelta(hours=6)  # the others wait while rank 0 prepares the data


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone by default."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces float tensors, alike on every rank in number and shape, by their mean over ranks."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        dist.all_reduce(flat)
        parts = flat.div_(self.count).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def lead(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors, alike on every rank in number and shape, by rank 0's."""
        if self.count == 1:
            return
        for tensor in tensors:
            held = tensor.contiguous()
            dist.broadcast(held, 0)
            tensor.copy_(held)

    def agree(self, value: float, device: torch.device) -> float:
        """Rank 0's number, on every rank."""
        if self.count == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(said, 0)
        return float(said)

    def wait(self) -> None:
        """Goes on when every rank has come this far."""
        if self.count > 1:
            dist.barrier()


def named_device(name: str) -> torch.device:
    """The device that a name means: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ValueError: it means none, or one that is not here.
    """
    here = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda" if here else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or not (number.isdecimal() or name == kind):
        raise ValueError(f"--device must be auto, cpu, cuda or cuda:N, but got {name!r}")
    if kind == "cuda" and int(number or 0) >= here:
        raise ValueError(f"--device {name} is not here: PyTorch finds {here} CUDA devices")
    return torch.device(name)


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """The ranks torchrun started, or this process alone, and the device this one trains on.

    Args:
        device: as `named_device` has it; among several ranks `cuda` is each one's own GPU.
    """
    place = named_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield Ranks(), place
        return
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), place
        dist.barrier()
    finally:
        dist.destroy_process_group()
