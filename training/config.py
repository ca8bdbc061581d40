"""What a training run is told, and its command line: two presets, every value a flag."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from moue.actions import EXPRESSIONS
from training.losses import LossWeights
from training.ranks import named_device

# What a preset sets otherwise than the defaults: `paper` is the paper's recipe, eq. 6 in full. The
# paper names its learning rate and its crops; Adam's momentum is pix2pix's, and the weights are ours.
PRESETS: dict[str, dict[str, Any]] = {
    "edge": {},
    "paper": {
        "optimiser": "adam",
        "rate": 2e-4,
        "momentum": 0.5,
        "warmup": 1,
        "crops": True,
        "expressions": ",".join(EXPRESSIONS),
        "reconstruction": 10.0,
        "temporal": 1.0,
        "landmarks": 1.0,
        "global_adversarial": 0.1,
        "local_adversarial": 0.1,
    },
}
# Losses that a preset has not.
OTHERS = {"edge": ("landmarks",), "paper": ("flow", "mask", "colour", "place")}
CHOICES = {"preset": tuple(PRESETS), "optimiser": ("muon", "adam")}
LEAST = {"steps": 1, "batch": 1, "vectors": 1, "channels": 1}  # of other numbers: 0


@dataclass(frozen=True)
class TrainConfig:
    """One run. `steps` sets the learning-rate schedule; `minutes`, when given, replaces it by time.

    expressions: those the paper's generator has residual encoders for, comma-separated: one is a
    single-expression model (eq. 1), several a joint one (eq. 7); `edge` has single actions instead.
    apart: expressions among which people are divided, each to show one alone (Figure 5).
    optimiser: `muon` (`training.muon`, for `edge` alone) or `adam`.
    crops: samples vary by the paper's 289 → 256 crops alone. batch: photos a step, of each rank.
    """

    preset: str = "edge"
    expressions: str = ""
    apart: str = ""
    crops: bool = False
    steps: int = 8000
    minutes: float = 0.0
    batch: int = 8
    vectors: int = 4
    optimiser: str = "muon"
    rate: float = 1e-3
    momentum: float = 0.9
    warmup: int = 200
    average: float = 0.998
    pairs: float = 0.08
    smiles: float = 0.15
    seed: int = 0
    workers: int = 1
    save_minutes: float = 3.0
    channels: int = 64
    device: str = "auto"

    @property
    def names(self) -> tuple[str, ...]:
        """The whole expressions; none for `edge`."""
        return tuple(name for name in self.expressions.split(",") if name)

    @property
    def divided(self) -> tuple[str, ...]:
        """The expressions people are divided among; none when everyone shows all."""
        return tuple(name for name in self.apart.split(",") if name)

    def check(self, weights: LossWeights) -> None:
        """Raises ValueError, worded for the user, where values do not go together."""
        for name, value in (*vars(self).items(), *vars(weights).items()):
            least = LEAST.get(name, 0)
            if isinstance(value, int | float) and not least <= value < math.inf:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"{flag} must be a finite number, {least} or more, but got {value}"
                )
        if self.momentum >= 1:
            raise ValueError(f"--momentum must be below 1, but got {self.momentum}")
        named_device(self.device)
        for name in OTHERS[self.preset]:
            usual = PRESETS[self.preset].get(name, getattr(LossWeights(), name))
            if getattr(weights, name) != usual:
                raise ValueError(f"--{name} weighs nothing that --preset {self.preset} learns by")
        if (self.preset == "paper") != bool(self.names):
            raise ValueError(
                "--expressions belongs to --preset paper, which needs one at least; "
                "edge learns single actions and shows every expression"
            )
        if self.preset == "paper" and self.optimiser != "adam":
            raise ValueError(
                "--optimiser muon moves edge's weights alone; --preset paper takes adam"
            )
        if self.pairs + self.smiles > 1:
            raise ValueError("--pairs and --smiles are shares of the samples, up to 1 together")
        if self.apart and not set(self.names) <= set(self.divided):
            raise ValueError(f"--apart must name --expressions too, but got {self.apart!r}")
        for name in (*self.names, *self.divided):
            if name not in EXPRESSIONS:
                raise ValueError(
                    f"there is no expression {name!r}; known are {', '.join(EXPRESSIONS)}"
                )
        for listed in (self.names, self.divided):
            if len(set(listed)) < len(listed):
                raise ValueError(f"an expression is named twice: {','.join(listed)}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option for every field of `TrainConfig` and `LossWeights`."""
    paper = PRESETS["paper"]
    for title, cls in (("run", TrainConfig), ("loss weights (0: off)", LossWeights)):
        group = parser.add_argument_group(title)
        for field in fields(cls):
            told = f"default {field.default}" if field.default != "" else "default: none"
            if field.name in paper:
                told += f"; paper: {paper[field.name]}"
            kind: dict[str, Any] = (
                {"action": argparse.BooleanOptionalAction}
                if isinstance(field.default, bool)
                else {"type": type(field.default)}
            )
            if field.name in CHOICES:
                kind["choices"] = CHOICES[field.name]
            flag = f"--{field.name.replace('_', '-')}"
            group.add_argument(flag, default=field.default, help=told, **kind)


def parse(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, TrainConfig, LossWeights]:
    """Reads the command line, the preset's values standing where nothing else is said."""
    preset, _ = parser.parse_known_args()
    parser.set_defaults(**PRESETS[preset.preset])
    arguments = parser.parse_args()
    values = vars(arguments)
    config = TrainConfig(**{name: values[name] for name in asdict(TrainConfig())})
    weights = LossWeights(**{name: values[name] for name in asdict(LossWeights())})
    try:
        config.check(weights)
    except ValueError as error:
        parser.error(str(error))
    return arguments, config, weights
