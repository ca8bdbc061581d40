"""Random targets to train tiny generators on."""

from __future__ import annotations

import torch

from moue.actions import ACTIONS, lowest


def batches(first: int, last: int) -> list[dict[str, torch.Tensor]]:
    """Two photos a batch, 64 px, two action vectors each; the same for the same number."""
    made = []
    for index in range(first, last):
        g = torch.Generator().manual_seed(index)
        shapes = {"flow": 2, "mask": 1, "colour": 3, "face": 1, "mouth": 1, "place": 2, "real": 3}
        plain = {k: torch.rand(2, 2, c, 1, 1, generator=g) for k, c in shapes.items()}
        batch = {k: value.expand(-1, -1, -1, 64, 64).clone() for k, value in plain.items()}
        batch["flow"] = 0.05 * (batch["flow"] - 0.5)
        batch["photo"] = torch.rand(2, 3, 64, 64, generator=g)
        least = torch.from_numpy(lowest(ACTIONS))
        batch["actions"] = least + (1 - least) * torch.rand(2, 2, len(ACTIONS), generator=g)
        batch["landmarks"] = 0.3 + 0.4 * torch.rand(2, 2, 68, 2, generator=g)
        batch["has_real"] = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        made.append(batch)
    return made
