"""What a run's losses did, on disk and in the terminal."""

from __future__ import annotations

import csv
from pathlib import Path

from tqdm import tqdm

LOG_EVERY = 50  # steps


class Curves:
    """Mean losses every `LOG_EVERY` steps, into a CSV file and a progress bar.

    Args:
        path: of the file; it is written on where it holds steps before this run's first.
        step: the last one taken before: lines after it, of a run broken off, go.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        if path.exists():
            head, *lines = path.read_text().splitlines(keepends=True) or [""]
            kept = [line for line in lines if int(line.partition(",")[0]) <= step]
            path.write_text("".join([head, *kept]) if kept else "")
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
