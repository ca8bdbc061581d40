"""Fan et al.'s own generator (AAAI 2019), whole: what `--preset paper` trains, and moue is held against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

NORMAL = 0.02  # standard deviation of the paper generator's initial weights
HEAT = 10.0  # logits per unit of the landmark head's output, so that its maps soon have peaks


def draw_normal(module: nn.Module) -> None:
    """Gives one layer the paper's initial weights: N(0, 0.02), around 1 for a normalisation's scale."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, float(isinstance(module, nn.BatchNorm2d)), NORMAL)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class PaperEncoder(nn.Module):
    """Eight stride-2 layers, Conv-BatchNorm-LeakyReLU, 256² → 1²; every layer's output is kept.

    The first and the last are not normalised, as in pix2pix (Isola et al. 2017), on which the paper
    builds: a 1² map has no spread to normalise by.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [3, *(channels * min(2**k, 8) for k in range(8))]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 4, stride=2, padding=1, bias=k in (0, 7)),
                nn.BatchNorm2d(after) if 0 < k < 7 else nn.Identity(),
                nn.LeakyReLU(0.2),
            )
            for k, (before, after) in enumerate(pairwise(widths))
        )

    def forward(self, photo: Tensor) -> list[Tensor]:
        x, features = photo * 2 - 1, []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features


class PaperGenerator(nn.Module):
    """Fan et al.'s generator: e0 and n residual encoders, mirrored decoder, RGB out, 68-landmark head.

    Actions are whole expressions: one for a single-expression model (eq. 1), several for a joint one
    (eq. 7). `channels` is pix2pix's 64 at the finest level, fewer for small runs. Every parameter is
    drawn from a normal distribution to begin with.
    """

    preset = "paper"

    def __init__(self, actions: int, channels: int = 64) -> None:
        super().__init__()
        self.actions = actions
        self.channels = channels
        self.base = PaperEncoder(channels)
        self.residuals = nn.ModuleList(PaperEncoder(channels) for _ in range(actions))
        widths = [channels * min(2**k, 8) for k in range(8)][::-1]
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(width * (1 if k == 0 else 2), after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )
            for k, (width, after) in enumerate(pairwise(widths))
        )
        self.rgb = nn.ConvTranspose2d(2 * channels, 3, 4, 2, 1)
        self.landmarks = nn.Conv2d(channels, 68, 1)
        self.apply(draw_normal)

    def features(self, photo: Tensor, actions: Tensor) -> list[Tensor]:
        """Eq. 7 at every level: [B·K, C, h, w], fine to coarse."""
        base = self.base(photo)
        each = [encoder(photo) for encoder in self.residuals]
        return [
            (
                base[level][:, None]
                + torch.einsum(
                    "bkn,nbchw->bkchw",
                    actions.to(base[level].dtype),
                    torch.stack([residual[level] for residual in each]),
                )
            ).flatten(0, 1)
            for level in range(len(base))
        ]

    def forward(self, photo: Tensor, actions: Tensor) -> Tensor:
        """Frames [B·K, 3, S, S] in [0, 1]."""
        return self.decode(self.features(photo, actions))[0]

    def decode(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Frames in [0, 1] and landmarks [N, 68, 2] in crop coordinates.

        The landmarks are the centres of 68 heat maps on top of the second-to-last layer (L_k's head),
        before the photo's own features join it: what the decoder knows is what is asked.
        """
        x = before = features[-1]
        for k, up in enumerate(self.up):
            before = up(x)
            x = torch.cat([before, features[-2 - k]], 1)
        heat = HEAT * self.landmarks(before).float()
        weight = heat.flatten(2).softmax(-1).view_as(heat)
        axis = (torch.arange(heat.shape[-1], device=heat.device) + 0.5) / heat.shape[-1]
        points = torch.stack([(weight.sum(2) * axis).sum(-1), (weight.sum(3) * axis).sum(-1)], -1)
        return (torch.tanh(self.rgb(x).float()) + 1) / 2, points
