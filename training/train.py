"""Trains a generator.

    python -m training.train --preset edge --data ROOT --out runs/edge [--minutes 60] [--resume]

The data root is prepared on the first run. A checkpoint is written every few minutes, atomically;
`--resume` takes up the step, the optimiser, the averaged weights and the stream of samples where
the checkpoint left them.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from moue.actions import ACTIONS, EXPRESSIONS, action_vector
from training.data.faces import load_faces, prepare
from training.data.sources import PairSource, PortraitSource, Sample
from training.generator import INPUT_SIZE, EdgeGenerator, PaperGenerator, compose
from training.losses import Batch, LossWeights, edge_losses, paper_losses, temporal, total
from training.teacher.head import load_head
from training.teacher.render import Teacher

LOG_EVERY = 50  # steps
DELTA = 0.1  # Δa of R_t
MAX_GRADIENT = 5.0  # norm that gradients are clipped to


@dataclass(frozen=True)
class TrainConfig:
    """One run. `steps` sets the learning-rate schedule; `minutes`, when given, replaces it by time."""

    preset: str = "edge"
    steps: int = 8000
    minutes: float = 0.0
    batch: int = 8
    vectors: int = 4
    rate: float = 1e-3
    warmup: int = 200
    average: float = 0.998
    pairs: float = 0.12
    seed: int = 0
    workers: int = 1
    save_minutes: float = 3.0
    channels: int = 64
    device: str = "auto"


class Samples(Dataset[dict[str, Tensor]]):
    """Sample number i is a function of the seed and i alone."""

    def __init__(self, config: TrainConfig, data: Path, cache: Path) -> None:
        faces = [face for face in load_faces(cache) if not face.held_out]
        teacher = Teacher(load_head(data))
        expressions = config.preset == "paper"
        self.config = config
        self.portraits = PortraitSource(
            faces, teacher, INPUT_SIZE, config.vectors, True, whole_expressions=expressions
        )
        self.pairs = PairSource(faces, teacher, INPUT_SIZE, config.vectors, True)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        random = np.random.default_rng([self.config.seed, index])
        paired = random.random() < self.config.pairs and bool(self.pairs.pairs)
        sample: Sample = (self.pairs if paired else self.portraits).sample(random)
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


def expression_degrees(actions: Tensor) -> Tensor:
    """Degrees [B, K, 6] of the paper's whole expressions that action vectors [B, K, n] amount to."""
    basis = torch.tensor(np.stack([action_vector(e, ACTIONS) for e in EXPRESSIONS.values()]))
    return (actions @ torch.linalg.pinv(basis.to(actions))).clamp(0, 1)


def make_generator(config: TrainConfig) -> EdgeGenerator | PaperGenerator:
    if config.preset == "edge":
        return EdgeGenerator(len(ACTIONS))
    return PaperGenerator(len(EXPRESSIONS), config.channels)


class Curves:
    """Mean losses every `LOG_EVERY` steps, into a CSV file and a progress bar."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sums: dict[str, float] = {}
        self.count = 0

    def __enter__(self) -> Curves:
        self.file = self.path.open("a", newline="")
        self.bar = tqdm(total=100, unit="%", disable=None, bar_format="{l_bar}{bar}| {postfix}")
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        self.file.close()

    def add(
        self, step: int, seconds: float, rate: float, progress: float, terms: dict[str, float]
    ) -> None:
        """Takes in one step; writes a line when enough have gathered."""
        self.count += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if step % LOG_EVERY:
            return
        means = {name: value / self.count for name, value in self.sums.items()}
        log = csv.writer(self.file)
        if self.file.tell() == 0:
            log.writerow(["step", "seconds", "rate", *means])
        log.writerow(
            [step, f"{seconds:.1f}", f"{rate:.2e}", *(f"{value:.5f}" for value in means.values())]
        )
        self.file.flush()
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        self.bar.set_postfix_str(f"step {step}  {shown}")
        self.bar.update(100 * progress - self.bar.n)
        self.sums, self.count = {}, 0


class Trainer:
    """Holds everything a checkpoint holds."""

    def __init__(self, config: TrainConfig, weights: LossWeights, data: Path, out: Path) -> None:
        self.config, self.weights, self.data, self.out = config, weights, data, out
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu")
            if config.device == "auto"
            else config.device
        )
        torch.manual_seed(config.seed)
        model = make_generator(config).to(self.device)
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.model = model
        self.average = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
        self.optimiser = torch.optim.Adam(model.parameters(), config.rate, betas=(0.9, 0.99))
        self.step, self.spent = 0, 0.0

    def save(self) -> None:
        """Writes the checkpoint whole or not at all."""
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            "config": asdict(self.config),
            "actions": list(ACTIONS),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "spent": self.spent,
        }
        partial = self.out / "checkpoint.part"
        torch.save(state, partial)
        os.replace(partial, self.out / "checkpoint.pt")

    def load(self) -> None:
        """Takes a run up where its checkpoint left it."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            raise SystemExit(f"training.train: error: no checkpoint to resume at {path}")
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.spent = state["step"], state["spent"]

    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        if self.config.minutes:
            return min(1.0, self.spent / (60 * self.config.minutes))
        return min(1.0, self.step / self.config.steps)

    def rate(self) -> float:
        """Learning rate: warm-up, then a cosine fall to a hundredth."""
        warm = min(1.0, (self.step + 1) / self.config.warmup)
        return (
            self.config.rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * self.progress())) / 2)
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """All terms for one batch, [B, K, …] tensors on the device."""
        photo = batch["photo"].contiguous(memory_format=torch.channels_last)
        actions = batch["actions"]
        count = actions.shape[1]
        flat = {k: v.flatten(0, 1) for k, v in batch.items() if k not in ("photo", "actions")}
        precision = torch.autocast(self.device.type, torch.bfloat16)
        if isinstance(self.model, EdgeGenerator):
            with precision:
                layers = self.model.layers(photo, actions)
            frames = compose(photo.repeat_interleave(count, 0), layers)
            terms = edge_losses(layers, frames, flat)
        else:
            degrees = expression_degrees(actions)
            with precision:
                frames, points = self.model.decode(self.model.features(photo, degrees))
            terms = paper_losses(frames, points, flat)
        if self.weights.temporal:
            size = actions.amax(-1, keepdim=True).clamp(min=DELTA)
            low, high = (actions * (1 - DELTA / size)), (actions * (1 + DELTA / size)).clamp(max=1)
            if not isinstance(self.model, EdgeGenerator):
                low, high = expression_degrees(low), expression_degrees(high)
            with precision:
                terms["temporal"] = temporal(
                    frames, self.model(photo, low), self.model(photo, high)
                )
        return terms

    def run(self, cache: Path) -> None:
        """Trains on the data root to the end of the schedule."""
        loader = DataLoader(
            Samples(self.config, self.data, cache),
            self.config.batch,
            sampler=Onward(self.step * self.config.batch),
            num_workers=self.config.workers,
            prefetch_factor=4 if self.config.workers else None,
        )
        self.fit(loader)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Takes steps over batches until the schedule or the batches end; logs and saves on the way."""
        self.model.train()
        self.out.mkdir(parents=True, exist_ok=True)
        began, spent_before = time.monotonic(), self.spent
        saved = began
        with Curves(self.out / "curves.csv") as curves:
            for batch in batches:
                terms = self.update({k: v.to(self.device) for k, v in batch.items()})
                self.spent = spent_before + time.monotonic() - began
                curves.add(self.step, self.spent, self.rate(), self.progress(), terms)
                if time.monotonic() - saved > 60 * self.config.save_minutes:
                    self.save()
                    saved = time.monotonic()
                if self.progress() >= 1:
                    break
        self.save()

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; the losses it was taken on."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        terms = self.losses(batch)
        loss = total(terms, self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT)
        self.optimiser.step()
        self._average()
        self.step += 1
        return {name: float(term.detach()) for name, term in (*terms.items(), ("total", loss))}

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of weights and statistics: what is exported."""
        keep = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value.float(), 1 - keep)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="data root (portraits/, face3d/)")
    parser.add_argument("--out", type=Path, default=None, help="run folder (default runs/PRESET)")
    parser.add_argument("--cache", type=Path, default=Path("runs/faces"), help="prepared faces")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    for group, cls in (("run", TrainConfig), ("loss weights (0: off)", LossWeights)):
        options = parser.add_argument_group(group)
        for field in fields(cls):
            options.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=type(field.default),
                default=field.default,
                choices=("edge", "paper") if field.name == "preset" else None,
                help=f"default {field.default}",
            )
    arguments = parser.parse_args()
    values = vars(arguments)
    config = TrainConfig(**{field.name: values[field.name] for field in fields(TrainConfig)})
    weights = LossWeights(**{field.name: values[field.name] for field in fields(LossWeights)})
    missing = prepare(arguments.data, arguments.cache)
    if missing:
        print(f"no face found in: {', '.join(missing)}")
    trainer = Trainer(
        config, weights, arguments.data, arguments.out or Path("runs") / config.preset
    )
    if arguments.resume:
        trainer.load()
    trainer.run(arguments.cache)


if __name__ == "__main__":
    main()
