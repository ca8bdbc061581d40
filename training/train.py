"""Trains a generator.

    python -m training.train --preset edge --data ROOT --out runs/edge [--minutes 60] [--resume]

The data root is prepared on the first run. A checkpoint is written every few minutes, atomically;
`--resume` takes up the step, the optimiser, the averaged weights and the stream of samples where
the checkpoint left them.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from moue.actions import ACTIONS, EXPRESSIONS, action_vector
from training.curves import Curves
from training.data.faces import prepare
from training.data.stream import Onward, Samples
from training.discriminators import (
    Discriminator,
    discriminator_loss,
    generator_loss,
    mouth_view,
)
from training.generator import EdgeGenerator, PaperGenerator, compose
from training.losses import Batch, LossWeights, edge_losses, paper_losses, temporal, total

DELTA = 0.1  # Δa of R_t
MAX_GRADIENT = 5.0  # norm that gradients are clipped to
CRITIC_RATE = 2e-4
# What each discriminator is shown: D_g the frame, D_l the mouth.
VIEWS: dict[str, Callable[[Tensor, Batch], Tensor]] = {
    "global_adversarial": lambda frames, batch: frames,
    "local_adversarial": lambda frames, batch: mouth_view(frames, batch["landmarks"]),
}


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
    pairs: float = 0.08
    smiles: float = 0.15
    seed: int = 0
    workers: int = 1
    save_minutes: float = 3.0
    channels: int = 64
    device: str = "auto"


def expression_degrees(actions: Tensor) -> Tensor:
    """Degrees [B, K, 6] of the paper's whole expressions that action vectors [B, K, n] amount to."""
    basis = torch.tensor(np.stack([action_vector(e, ACTIONS) for e in EXPRESSIONS.values()]))
    return (actions @ torch.linalg.pinv(basis.to(actions))).clamp(0, 1)


def make_generator(config: TrainConfig) -> EdgeGenerator | PaperGenerator:
    if config.preset == "edge":
        return EdgeGenerator(len(ACTIONS))
    return PaperGenerator(len(EXPRESSIONS), config.channels)


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
        used = [name for name in VIEWS if getattr(weights, name)]
        self.critics = nn.ModuleDict({name: Discriminator() for name in used}).to(self.device)
        self.critic_optimiser = torch.optim.Adam(
            self.critics.parameters() if used else [torch.zeros(1)], CRITIC_RATE, betas=(0.5, 0.99)
        )
        self.precision = torch.autocast(self.device.type, torch.bfloat16)
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
            "critics": self.critics.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "step": self.step,
            "spent": self.spent,
        }
        partial = self.out / "checkpoint.part"
        torch.save(state, partial)
        os.replace(partial, self.out / "checkpoint.pt")

    def load(self) -> None:
        """Takes a run up where its checkpoint left it."""
        state = self._read(self.out / "checkpoint.pt")
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.critics.load_state_dict(state["critics"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])
        self.step, self.spent = state["step"], state["spent"]

    def start_from(self, checkpoint: Path) -> None:
        """Begins a new run with the averaged weights another one ended with."""
        state = self._read(checkpoint)
        self.model.load_state_dict(state["average"])
        self.average = state["average"]

    def _read(self, path: Path) -> dict[str, Any]:
        if not path.exists():
            raise SystemExit(f"training.train: error: there is no checkpoint at {path}")
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"]["preset"] != self.config.preset:
            raise SystemExit(
                f"training.train: error: {path} holds a {state['config']['preset']!r} generator; "
                f"give --preset {state['config']['preset']}"
            )
        return state

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

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """All terms for one batch, [B, K, …] tensors on the device, and the frames [B·K, 3, S, S]."""
        photo = batch["photo"].contiguous(memory_format=torch.channels_last)
        actions = batch["actions"]
        count = actions.shape[1]
        flat = {k: v.flatten(0, 1) for k, v in batch.items() if k not in ("photo", "actions")}
        if isinstance(self.model, EdgeGenerator):
            with self.precision:
                layers = self.model.layers(photo, actions)
            frames = compose(photo.repeat_interleave(count, 0), layers)
            terms = edge_losses(layers, frames, flat)
        else:
            actions = expression_degrees(actions)
            with self.precision:
                frames, points = self.model.decode(self.model.features(photo, actions))
            terms = paper_losses(frames, points, flat)
        if self.weights.temporal:
            size = actions.amax(-1, keepdim=True).clamp(min=DELTA)
            before, after = (actions * (1 + sign * DELTA / size) for sign in (-1, 1))
            with self.precision:
                neighbours = self.model(photo, before), self.model(photo, after.clamp(max=1))
            terms["temporal"] = temporal(frames, *neighbours)
        for name, critic in self.critics.items():
            terms[name] = generator_loss(cast(Discriminator, critic), VIEWS[name](frames, flat))
        return terms, frames

    def criticise(self, frames: Tensor, batch: Batch) -> dict[str, Tensor]:
        """One step of the discriminators on frames made and photographs true."""
        flat = {k: batch[k].flatten(0, 1) for k in ("real", "landmarks")}
        terms = {
            f"{name} critic": discriminator_loss(
                cast(Discriminator, critic),
                VIEWS[name](frames.detach(), flat),
                VIEWS[name](flat["real"], flat),
            )
            for name, critic in self.critics.items()
        }
        self.critic_optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        self.critic_optimiser.step()
        return terms

    def run(self, cache: Path) -> None:
        """Trains on the data root to the end of the schedule."""
        loader = DataLoader(
            Samples(
                self.data,
                cache,
                self.config.vectors,
                self.config.pairs,
                self.config.smiles,
                self.config.preset == "paper",
                self.config.seed,
            ),
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
        """One step of the generator, then of the discriminators; the losses they were taken on."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        terms, frames = self.losses(batch)
        terms["total"] = total(terms, self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT)
        self.optimiser.step()
        self._average()
        if self.critics:
            terms |= self.criticise(frames, batch)
        self.step += 1
        return {name: float(term.detach()) for name, term in terms.items()}

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
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    begin.add_argument("--start", type=Path, help="begin with the weights of another checkpoint")
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
    elif arguments.start:
        trainer.start_from(arguments.start)
    trainer.run(arguments.cache)


if __name__ == "__main__":
    main()
