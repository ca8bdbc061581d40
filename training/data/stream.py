"""Samples without end, each a function of the seed and its number: a run can be taken up anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from training.data.clips import Clip, ClipSource
from training.data.faces import load_faces
from training.data.sources import (
    PairSource,
    PortraitSource,
    SmileSource,
    draw_expression,
    make_teacher,
)
from training.data.view import Augment, Random
from training.generator import INPUT_SIZE
from training.teacher.glasses import WEARERS

GLASSES = 0.3  # of the portraits' samples in which some are drawn on the face


class Source(Protocol):
    """Draws samples, dataclasses of float32 arrays, from a random generator alone."""

    def sample(self, random: Random) -> Any: ...


class Samples(Dataset[dict[str, Tensor]]):
    """Training samples out of several sources.

    Args:
        sources: each with its share of the samples; what the shares leave of 1 goes to the last.
        seed: sample number i is a function of it and i alone.
    """

    def __init__(self, sources: Sequence[tuple[float, Source]], seed: int) -> None:
        self.sources, self.seed = sources, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.seed, index])
        sample = self._source(random.random()).sample(random)
        return {
            field.name: torch.from_numpy(getattr(sample, field.name)) for field in fields(sample)
        }

    def _source(self, draw: float) -> Source:
        """The source that a number in [0, 1) falls to."""
        for share, source in self.sources:
            if draw < share:
                return source
            draw -= share
        return self.sources[-1][1]


def portrait_sources(
    data: Path,
    cache: Path,
    vectors: int,
    pairs: float,
    smiles: float,
    augment: Augment,
    expressions: Sequence[str] = (),
    apart: Sequence[str] = (),
) -> list[tuple[float, Source]]:
    """Portraits, pairs and smiles of every person not held out.

    Args:
        data: the data root.
        cache: prepared faces.
        vectors: K, action vectors a photo.
        pairs, smiles: shares of samples drawn from neutral and smiling pairs, and from smiles
            brought to rest; both show `happy`.
        augment: how samples are varied.
        expressions: whole expressions, one to a sample, as the paper's clips show them; none: any
            mixture of actions.
        apart: expressions among which people are divided, so that each shows one alone (Figure 5).

    Raises:
        FileNotFoundError: the data root lacks a part, or the cache holds nobody to train on.
    """
    faces = [face for face in load_faces(data, cache) if not face.held_out]
    teacher = make_teacher(data, faces)
    people = {
        name: [face for face in faces if not apart or shown_by(face.identity, apart) == name]
        for name in expressions or ("happy",)
    }
    for name, shown in people.items():
        if not shown:
            raise FileNotFoundError(f"no face prepared in {cache} is to be trained to show {name}")
    sources: list[tuple[float, Source]] = []
    for share, kind in ((pairs, PairSource), (smiles, SmileSource)):
        if share and "happy" in people:
            real = kind(people["happy"], teacher, INPUT_SIZE, vectors, augment)
            if len(real):
                sources.append((share, real))
            else:
                print(f"{cache} holds no smile for {kind.__name__}; portraits take its share")
    rest = 1 - sum(share for share, _ in sources)
    if not expressions:
        bare = [face for face in faces if face.name not in WEARERS]
        stills = PortraitSource(bare, teacher, INPUT_SIZE, vectors, augment, glasses=GLASSES)
        return [*sources, (rest, stills)]
    for name in expressions:
        draw = partial(draw_expression, name=name)
        source = PortraitSource(people[name], teacher, INPUT_SIZE, vectors, augment, draw)
        sources.append((rest / len(expressions), source))
    return sources


def clip_sources(
    clips: Sequence[Clip], vectors: int, augment: Augment
) -> list[tuple[float, Source]]:
    """Clips of every person not held out."""
    known = [clip for clip in clips if not clip.held_out]
    return [(1.0, ClipSource(known, INPUT_SIZE, vectors, augment))]


def shown_by(identity: str, expressions: Sequence[str]) -> str:
    """The one of several expressions that a person shows, by a hash of the identity."""
    digest = hashlib.sha256(f"{identity} shows".encode()).hexdigest()
    return expressions[int(digest, 16) % len(expressions)]


class Onward(Sampler[int]):
    """Sample numbers from `start`, every `step`-th, without end."""

    def __init__(self, start: int, step: int = 1) -> None:
        self.start, self.step = start, step

    def __iter__(self) -> Iterator[int]:
        index = self.start
        while True:
            yield index
            index += self.step
