"""What one of two ranks does in test_ranks.py, under torchrun: OUT, then the command line's arguments."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import torch

from moue.actions import ACTIONS
from tests.training.batches import batches
from training import train
from training.generator import EdgeGenerator, Level
from training.losses import LossWeights
from training.ranks import joined

LEVELS = (Level(8, 8, 8, True), Level(16, 8, 6, True), Level(32, 6, 4, False))


def main() -> None:
    out = Path(sys.argv.pop(1))
    config = train.TrainConfig(steps=4, warmup=2)
    weights = LossWeights(local_adversarial=0.1)
    with joined("cpu") as (ranks, device):
        train.joined = lambda _: nullcontext((ranks, device))  # processes join once in their lives
        train.main()  # the command line, as it is
        train.make_generator = lambda _: EdgeGenerator(len(ACTIONS), LEVELS)
        own = batches(10 * ranks.rank, 10 * ranks.rank + 4)

        def trainer(name: str) -> train.Trainer:
            return train.Trainer(config, weights, out / name, device, ranks)

        whole = trainer("whole")
        whole.fit(own)
        trainer("broken").fit(own[:2])
        ranks.wait()  # for the checkpoint
        resumed = trainer("broken")
        resumed.load()
        resumed.fit(own[2:])
        apart = trainer("apart")
        for weight in (*apart.model.parameters(), *apart.critics.parameters()):
            weight.data.add_(0.01 * ranks.rank)
        apart.fit(own[:1])
        said = {"agreed": ranks.agree(float(ranks.rank + 5), device)}
        if ranks.rank == 1:
            own[1]["real"][:] = torch.nan
        try:
            trainer("ended").fit(own[:2])
        except SystemExit as ended:
            said["ended"] = str(ended)
        states = {"whole": whole, "resumed": resumed, "apart": apart}
        torch.save(
            {**said, **{k: (t.model.state_dict(), t.average, t.step) for k, t in states.items()}},
            out / f"rank{ranks.rank}.pt",
        )


if __name__ == "__main__":
    main()
