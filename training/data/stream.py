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
from training.data.sources import PairSource, PortraitSource, SmileSource
from training.generator import INPUT_SIZE
from training.teacher.head import load_head
from training.teacher.render import Teacher


class Samples(Dataset[dict[str, Tensor]]):
    """Training samples of every person not held out.

    Args:
        data: the data root.
        cache: prepared faces.
        vectors: K, action vectors a photo.
        pairs, smiles: shares of samples drawn from neutral and smiling pairs, and from smiles
            brought to rest.
        whole_expressions: one whole expression a vector, as the paper's clips show it.
        seed: sample number i is a function of it and i alone.
    """

    def __init__(
        self,
        data: Path,
        cache: Path,
        vectors: int,
        pairs: float,
        smiles: float,
        whole_expressions: bool,
        seed: int,
    ) -> None:
        faces = [face for face in load_faces(cache) if not face.held_out]
        teacher = Teacher(load_head(data))
        self.seed = seed
        common = (faces, teacher, INPUT_SIZE, vectors, True)
        self.portraits = PortraitSource(*common, whole_expressions=whole_expressions)
        self.real: list[tuple[float, PairSource | SmileSource]] = []
        for share, source in ((pairs, PairSource(*common)), (smiles, SmileSource(*common))):
            if len(source) and share:
                self.real.append((share, source))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, index])
        sample = self._source(random.random()).sample(random)
        return {
            field.name: torch.from_numpy(getattr(sample, field.name)) for field in fields(sample)
        }

    def _source(self, draw: float) -> PortraitSource | PairSource | SmileSource:
        """The source that a number in [0, 1) falls to."""
        for share, source in self.real:
            if draw < share:
                return source
            draw -= share
        return self.portraits


class Onward(Sampler[int]):
    """Sample numbers from `start`, without end."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        index = self.start
        while True:
            yield index
            index += 1
