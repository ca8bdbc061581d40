"""Trains a generator.

    python -m training.train --preset edge --data ROOT --out runs/edge [--minutes 60] [--resume]
    python -m training.train --data ROOT --weights sdk/moue/models/edge --rate 5e-4    # on from there
    python -m training.train --preset paper --clips ROOT [--layout auto] [--expressions happy,angry]
    torchrun --nproc-per-node 4 -m training.train --preset paper --data ROOT     # a process a GPU

The data are prepared on the first run. A checkpoint is written every few minutes, atomically;
`--resume` takes up the step, the optimisers, the averaged weights and the stream of samples where
the checkpoint left them, with another batch or number of processes too. `--preset paper` is the whole
of the paper's training (eq. 6); each of its losses is off at 0: `--global-adversarial`,
`--local-adversarial`, `--landmarks`, `--temporal`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from moue.actions import ACTIONS, EXPRESSIONS, action_vector
from moue.errors import MoueError
from training.checkpoint import CheckpointError, read_checkpoint, take, write_checkpoint
from training.config import TrainConfig, add_options, parse
from training.curves import Curves
from training.data.clips import (
    FORMS,
    ClipsError,
    find_clips,
    load_clips,
    prepare_clips,
    showing,
)
from training.data.faces import prepare
from training.data.stream import Onward, Samples, Source, clip_sources, portrait_sources, shown_by
from training.data.view import Augment
from training.discriminators import (
    Discriminator,
    discriminator_loss,
    generator_loss,
    mouth_view,
)
from training.generator import EdgeGenerator, Layers
from training.losses import Batch, LossWeights, edge_losses, paper_losses, temporal, total
from training.memory import keep_memory
from training.muon import Muon
from training.paper import PaperGenerator
from training.ranks import Ranks, joined
from training.revive import grown, revive

DELTA = 0.1  # Δa of R_t
MAX_GRADIENT = 5.0  # norm that gradients are clipped to
CRITIC_RATE = 2e-4
NEW_PACE = 10.0  # times as fast as others, an action that the weights begun with do not know
SHAPING = ("preset", "expressions", "channels")  # what a checkpoint's weights depend on
STREAM = ("seed", "crops", "apart", "vectors", "pairs", "smiles")  # what sample number i depends on
# What each discriminator is shown: D_g the frame, D_l the mouth.
VIEWS: dict[str, Callable[[Tensor, Batch], Tensor]] = {
    "global_adversarial": lambda frames, batch: frames,
    "local_adversarial": lambda frames, batch: mouth_view(frames, batch["landmarks"]),
}


def expression_degrees(actions: Tensor, names: tuple[str, ...]) -> Tensor:
    """Degrees [B, K, m] of m whole expressions that action vectors [B, K, n] amount to."""
    basis = torch.tensor(np.stack([action_vector(EXPRESSIONS[name], ACTIONS) for name in names]))
    return (actions @ torch.linalg.pinv(basis.to(actions))).clamp(0, 1)


def neighbours(actions: Tensor) -> tuple[Tensor, Tensor]:
    """Action vectors [B, K, n] with Δa less and more of what they ask for, at most 1 either way."""
    step = DELTA / actions.abs().amax(-1, keepdim=True).clamp(min=1e-6)
    return actions * (1 - step).clamp(min=0), (actions * (1 + step)).clamp(-1, 1)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 itself: an AVX2 processor emulates it, eight times slower."""
    return device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()


def make_optimisers(
    config: TrainConfig, model: EdgeGenerator | PaperGenerator, pace: Tensor, ranks: Ranks
) -> list[torch.optim.Optimizer]:
    """What moves a model's parameters, each of them by one; `pace` [n]: actions, how fast."""
    matrices = []
    if config.optimiser == "muon" and isinstance(model, EdgeGenerator):
        matrices = model.inner_weights()
    turned = set(matrices)
    rest = [weight for weight in model.parameters() if weight not in turned]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(rest, config.rate, (config.momentum, 0.99))
    ]
    if matrices:
        optimisers.append(Muon(matrices, config.rate, config.momentum, pace, ranks))
    return optimisers


def make_generator(config: TrainConfig) -> EdgeGenerator | PaperGenerator:
    if config.preset == "edge":
        return EdgeGenerator(len(ACTIONS))
    return PaperGenerator(len(config.names), config.channels)


class Trainer:
    """Holds everything a checkpoint holds."""

    def __init__(
        self,
        config: TrainConfig,
        weights: LossWeights,
        out: Path,
        device: torch.device,
        ranks: Ranks | None = None,
    ) -> None:
        self.config, self.weights, self.out = config, weights, out
        self.device, self.ranks = device, ranks or Ranks()
        torch.manual_seed(config.seed)
        model = make_generator(config).to(device)
        halves = has_bfloat16(device)
        self.precision = torch.autocast(device.type, torch.bfloat16, enabled=halves)
        self.layout = torch.channels_last if halves else torch.contiguous_format
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=self.layout)
        self.model = model
        self.average = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
        self.pace = torch.ones(len(ACTIONS), device=device)
        self.optimisers = make_optimisers(config, model, self.pace, self.ranks)
        used = [name for name in VIEWS if getattr(weights, name)]
        papers = config.preset == "paper"
        critics = {name: Discriminator(config.channels, papers) for name in used}
        self.critics = nn.ModuleDict(critics).to(device)
        self.critic_optimiser = torch.optim.Adam(
            self.critics.parameters() if used else [torch.zeros(1)], CRITIC_RATE, betas=(0.5, 0.99)
        )
        self.step, self.samples, self.spent = 0, 0, 0.0

    def save(self) -> None:
        """Writes the checkpoint whole or not at all; only the leading rank does."""
        if not self.ranks.leads:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        write_checkpoint(self._state(), self.out / "checkpoint.pt")

    def _state(self) -> dict[str, Any]:
        return {
            "config": asdict(self.config),
            "weights": asdict(self.weights),
            "actions": list(ACTIONS),
            "model": self.model.state_dict(),
            "average": self.average,
            "pace": self.pace,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "critics": self.critics.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "step": self.step,
            "samples": self.samples,
            "spent": self.spent,
        }

    def load(self) -> None:
        """Takes a run up where its checkpoint left it.

        Raises:
            CheckpointError: there is none, or it is no such run's.
        """
        path = self.out / "checkpoint.pt"
        wanted = [name for name in self._state() if name != "samples"]
        state = self._read(path, wanted, (*SHAPING, *STREAM, "optimiser"))
        take(self.model, state["model"], path)
        self.average = state["average"]
        self.pace.copy_(state["pace"])
        for optimiser, held in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(held)
        try:
            self.critics.load_state_dict(state["critics"])
        except RuntimeError:
            raise CheckpointError(
                f"{self.out} was trained with other adversarial losses; give the same"
            ) from None
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])
        self.step, self.spent = state["step"], state["spent"]
        supposed = self.step * state["config"]["batch"] * self.ranks.count
        self.samples = state.get("samples", supposed)

    def start_from(self, weights: Path, samples: Samples) -> None:
        """Begins a new run with a bundle's weights, or the averaged ones of a checkpoint.

        Actions that they do not know begin as nothing, and have a way to go: they go faster.

        Raises:
            BundleError: the bundle is missing or damaged.
            CheckpointError: the weights cannot be begun with.
        """
        if weights.is_dir():
            try:
                known = revive(self.model, weights, samples)
            except ValueError as error:
                raise CheckpointError(str(error)) from None
        else:
            state = self._read(weights, ("config", "actions", "average"), SHAPING)
            held, known = state["average"], state["actions"]
            if isinstance(self.model, EdgeGenerator):
                held |= {k: grown(v, known) for k, v in held.items() if "residual" in k}
            take(self.model, held, weights)
        new = [index for index, name in enumerate(ACTIONS) if name not in known]
        self.pace[new] = NEW_PACE
        self.average = {k: v.clone().float() for k, v in self.model.state_dict().items()}

    def _read(self, path: Path, wanted: Iterable[str], alike: tuple[str, ...]) -> dict[str, Any]:
        """What a checkpoint holds, of a run whose settings `alike` were those of this one."""
        state = read_checkpoint(path, wanted, self.device)
        for name in alike:
            mine = getattr(self.config, name)
            if (other := state["config"].get(name, mine)) != mine:
                was, now = ("none" if value == "" else value for value in (other, mine))
                raise CheckpointError(
                    f"{path} was trained with --{name} {was}, not {now}; give the same"
                )
        return state

    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        if self.config.minutes:
            return min(1.0, self.spent / (60 * self.config.minutes))
        return min(1.0, self.step / self.config.steps)

    def rate(self) -> float:
        """Learning rate: warm-up, then a cosine fall to a hundredth."""
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        return (
            self.config.rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * self.progress())) / 2)
        )

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """All terms for one batch, [B, K, …] tensors on the device, and the frames [B·K, 3, S, S]."""
        photo = batch["photo"].contiguous(memory_format=self.layout)
        actions = batch["actions"]
        if names := self.config.names:
            actions = expression_degrees(actions, names)
        count = actions.shape[1]
        flat = {k: v.flatten(0, 1) for k, v in batch.items() if k not in ("photo", "actions")}
        asked = torch.cat([actions, *neighbours(actions)], 1) if self.weights.temporal else actions

        def parts(made: Tensor) -> list[Tensor]:
            """[B·mK, …] as m tensors [B·K, …]: at a, and at its neighbours where they are asked for."""
            each = made.unflatten(0, (len(photo), -1)).split(count, 1)
            return [part.flatten(0, 1) for part in each]

        if isinstance(self.model, EdgeGenerator):
            with self.precision:
                layers = self.model.layers(photo, asked)
            frames, *near = parts(self.model.compose(photo, layers))
            terms = edge_losses(Layers(*(parts(layer)[0] for layer in layers)), frames, flat)
        else:
            with self.precision:
                made, points = self.model.decode(self.model.features(photo, asked))
            frames, *near = parts(made)
            terms = paper_losses(frames, parts(points)[0], flat)
        if near:
            terms["temporal"] = temporal(frames, *near)
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
        loss = torch.stack(list(terms.values())).sum()
        self._check("discriminators' loss", loss)
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._share(self.critics)
        self.critic_optimiser.step()
        return terms

    def run(self, samples: Samples) -> None:
        """Trains to the end of the schedule, on this rank's share of the samples."""
        if self.progress() >= 1:
            return
        loader = DataLoader(
            samples,
            self.config.batch,
            sampler=Onward(self.samples + self.ranks.rank, self.ranks.count),
            num_workers=self.config.workers,
            prefetch_factor=4 if self.config.workers else None,
        )
        self.fit(loader)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Takes steps over batches until the schedule or the batches end; logs and saves on the way."""
        self.model.train()
        held = (self.model.state_dict(), self.average, self.critics.state_dict())
        self.ranks.lead(tensor for state in held for tensor in state.values())
        self.out.mkdir(parents=True, exist_ok=True)
        began, spent_before = time.monotonic(), self.spent
        saved = began
        log = Curves(self.out / "curves.csv", self.step) if self.ranks.leads else nullcontext()
        with log as curves:
            for batch in batches:
                terms = self.update({k: v.to(self.device) for k, v in batch.items()})
                spent = spent_before + time.monotonic() - began
                self.spent = self.ranks.agree(spent, self.device)
                if curves:
                    curves.add(self.step, self.spent, self.rate(), self.progress(), terms)
                if time.monotonic() - saved > 60 * self.config.save_minutes:
                    self.save()
                    saved = time.monotonic()
                if self.progress() >= 1:
                    break
        self.save()

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of the generator, then of the discriminators; the losses they were taken on."""
        for group in (group for each in self.optimisers for group in each.param_groups):
            group["lr"] = self.rate()
        terms, frames = self.losses(batch)
        terms["total"] = total(terms, self.weights)
        self._check("loss", terms["total"])
        self.model.zero_grad(set_to_none=True)
        terms["total"].backward()
        self._share(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT)
        self._check("gradient", norm)
        for optimiser in self.optimisers:
            optimiser.step()
        self._average()
        if self.critics:
            terms |= self.criticise(frames, batch)
        self.step += 1
        self.samples += self.config.batch * self.ranks.count
        return {name: float(term.detach()) for name, term in terms.items()}

    def _check(self, name: str, value: Tensor) -> None:
        """Ends the run, on every rank, where a number is not finite on any of them."""
        broken = (~value.detach().isfinite()).float()
        self.ranks.average([broken])
        if broken > 0:
            raise SystemExit(
                f"training.train: error: step {self.step + 1}: the {name} is not finite; "
                "the last checkpoint stands; lower --rate"
            )

    @torch.no_grad()
    def _share(self, network: nn.Module) -> None:
        """Averages gradients and running statistics over ranks."""
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        statistics = [b for name, b in network.named_buffers() if "running_" in name]
        self.ranks.average([*gradients, *statistics])

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of weights and statistics: what is exported."""
        keep = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value.float(), 1 - keep)


def read_sources(
    arguments: argparse.Namespace, config: TrainConfig, ranks: Ranks
) -> list[tuple[float, Source]]:
    """Prepares the data, on the leading rank, and opens them on all.

    Raises:
        ClipsError: the clips cannot be used.
        FileNotFoundError: the data root lacks a part.
        OutputError: the cache cannot be written.
    """
    augment: Augment = "crops" if config.crops else True
    if arguments.clips:
        files = find_clips(arguments.clips, arguments.layout)
        cache = arguments.cache or Path("runs/clips")
        if ranks.leads and (missing := prepare_clips(files, cache)):
            print(f"no face found in: {', '.join(missing)}")
        ranks.wait()
        clips = [
            clip
            for clip in load_clips(files, cache)
            if not config.divided or shown_by(clip.identity, config.divided) == clip.expression
        ]
        return clip_sources(showing(clips, config.names), config.vectors, augment)
    for part in ("portraits", "face3d"):
        if not (arguments.data / part).is_dir():
            raise FileNotFoundError(f"the data root {arguments.data} has no folder {part}/")
    cache = arguments.cache or Path("runs/faces")
    if ranks.leads and (missing := prepare(arguments.data, cache)):
        print(f"no photo, or no face found in it: {', '.join(missing)}")
    ranks.wait()
    return portrait_sources(
        arguments.data,
        cache,
        config.vectors,
        config.pairs,
        config.smiles,
        augment,
        config.names,
        config.divided,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", type=Path, help="data root (portraits/, face3d/)")
    data.add_argument("--clips", type=Path, help="folder of a set of clips, for the paper preset")
    parser.add_argument(
        "--layout",
        choices=("auto", *FORMS),
        default="auto",
        help=f"of the clips' folder (default auto): {'; '.join(map(': '.join, FORMS.items()))}",
    )
    parser.add_argument("--out", type=Path, default=None, help="run folder (default runs/PRESET)")
    parser.add_argument(
        "--cache", type=Path, help="prepared data (default runs/faces, for clips runs/clips)"
    )
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out, if there is one"
    )
    begin.add_argument(
        "--weights",
        type=Path,
        help="begin with those of another checkpoint, or of a bundle's folder",
    )
    add_options(parser)
    arguments, config, weights = parse(parser)
    if arguments.clips and config.preset != "paper":
        parser.error("clips have no flow for edge to learn from: give --preset paper, or --data")
    out = arguments.out or Path("runs") / config.preset
    if (out / "checkpoint.pt").exists() and not arguments.resume:
        parser.error(f"{out} holds a run already: --resume goes on with it, or name another --out")
    keep_memory()
    with joined(config.device) as (ranks, device):
        try:
            samples = Samples(read_sources(arguments, config, ranks), config.seed)
            trainer = Trainer(config, weights, out, device, ranks)
            if arguments.resume and (out / "checkpoint.pt").exists():
                trainer.load()
                if ranks.leads:
                    print(f"{out}: going on from step {trainer.step}")
            elif arguments.weights:
                trainer.start_from(arguments.weights, samples)
            trainer.run(samples)
        except (CheckpointError, ClipsError, FileNotFoundError, MoueError) as error:
            raise SystemExit(f"training.train: error: {error}") from None


if __name__ == "__main__":
    main()
