"""Muon, for weights that are matrices: a step goes as far along a rare direction as along a common one.

After Jordan et al., *Muon: an optimizer for hidden layers in neural networks* (2024); the length of a
step is Liu et al.'s, *Muon is scalable for LLM training* (2025), so that one learning rate serves
for Adam as well. Adam's step is led by what most of a batch asks for; what few pixels ask for, an iris
that turns, comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from training.ranks import Ranks

STEPS = 5  # of the iteration towards an orthogonal matrix
QUINTIC = (3.4445, -4.7750, 2.0315)  # its coefficients: all singular values to between 0.7 and 1.2
AS_ADAM = 0.2  # root mean square of a step, in learning rates


class Muon(Optimizer):
    """Moves matrices by their mean gradients made orthogonal.

    Args:
        weights: parameters [out, …], each one matrix, or [n, out, in], n matrices.
        lr: learning rate: a step's root mean square is a fifth of it, about Adam's.
        momentum: of the mean gradient, looked ahead by one step (Nesterov's).
        pace: float [n], how many times as fast each of n matrices in one weight goes; None: once.
        ranks: those that train together and hold the same gradients: each turns a share of them.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        lr: float,
        momentum: float,
        pace: Tensor | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})
        self.pace, self.ranks = pace, ranks or Ranks()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moves: list[tuple[Tensor, Tensor]] = []
        rank, count = self.ranks.rank, self.ranks.count
        before = 0  # matrices, dealt out to the ranks in turn
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["momentum"])
                ahead = torch.lerp(weight.grad, mean, group["momentum"])
                matrices = ahead if ahead.dim() == 3 else ahead.flatten(1)[None]
                length = group["lr"] * AS_ADAM * max(matrices.shape[1:]) ** 0.5
                mine = slice((rank - before) % count, None, count)
                move = torch.zeros_like(matrices)
                move[mine] = length * count * orthogonal(matrices[mine])
                if self.pace is not None and ahead.dim() == 3:
                    move *= self.pace[:, None, None]
                moves.append((weight, move))
                before += len(matrices)
        self.ranks.average([move for _, move in moves])
        for weight, move in moves:
            weight.sub_(move.reshape(weight.shape))
        return loss


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with the same directions, and singular values of about 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12)
    a, b, c = QUINTIC
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
