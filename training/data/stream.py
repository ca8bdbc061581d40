"""Samples without end, each a function of the seed and its number: a run can be taken up anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from training.data.faces import load_faces
from training.data.sources import PairSource, PortraitSource
from training.generator import INPUT_SIZE
from training.teacher.head import load_head
from training.teacher.render import Teacher


class Samples(Dataset[dict[str, Tensor]]):
    """Training samples of every person not held out.

    Args:
        data: the data root.
        cache: prepared faces.
        vectors: K, action vectors a photo.
        pairs: share of samples drawn from neutral and smiling pairs.
        whole_expressions: one whole expression a vector, as the paper's clips show it.
        seed: sample number i is a function of it and i alone.
    """

    def __init__(
        self,
        data: Path,
        cache: Path,
        vectors: int,
        pairs: float,
        whole_expressions: bool,
        seed: int,
    ) -> None:
        faces = [face for face in load_faces(cache) if not face.held_out]
        teacher = Teacher(load_head(data))
        self.share, self.seed = pairs, seed
        self.portraits = PortraitSource(
            faces, teacher, INPUT_SIZE, vectors, True, whole_expressions=whole_expressions
        )
        self.pairs = PairSource(faces, teacher, INPUT_SIZE, vectors, True)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, index])
        paired = random.random() < self.share and bool(self.pairs.pairs)
        sample = (self.pairs if paired else self.portraits).sample(random)
        return {
            field.name: torch.from_numpy(getattr(sample, field.name)) for field in fields(sample)
        }


class Onward(Sampler[int]):
    """Sample numbers from `start`, without end."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        index = self.start
        while True:
            yield index
            index += 1
