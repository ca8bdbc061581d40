"""What a run's losses did, on disk and in the terminal."""

from __future__ import annotations

import csv
from pathlib import Path

from tqdm import tqdm

from moue.files import disk_failures, whole_file

LOG_EVERY = 50  # steps


class Curves:
    """Mean losses every `LOG_EVERY` steps, into a CSV file and a progress bar.

    Args:
        path: of the file; it is written on where it holds steps before this run's first, and gets
            columns where this run has other losses.
        step: the last one taken before: lines after it, of a run broken off, go.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        self.columns: list[str] = []
        if path.exists():
            rows = [row for row in self._rows() if int(row["step"]) <= step]
            path.unlink()
            if rows:
                self._write([name for name in rows[0] if name], rows)
        self.sums: dict[str, float] = {}
        self.count = 0

    def __enter__(self) -> Curves:
        self.bar = tqdm(total=100, unit="%", disable=None, bar_format="{l_bar}{bar}| {postfix}")
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

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
        row = {"step": str(step), "seconds": f"{seconds:.1f}", "rate": f"{rate:.2e}"}
        row |= {name: f"{value:.5f}" for name, value in means.items()}
        if new := [name for name in row if name not in self.columns]:
            self._write([*self.columns, *new], self._rows() if self.columns else [])
        with disk_failures(self.path), self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        self.bar.set_postfix_str(f"step {step}  {shown}")
        self.bar.update(100 * progress - self.bar.n)
        self.sums, self.count = {}, 0

    def _rows(self) -> list[dict[str, str]]:
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _write(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        """The file anew, of these columns."""
        self.columns = columns
        with whole_file(self.path) as part, part.open("w", newline="") as file:
            log = csv.DictWriter(file, columns, extrasaction="ignore")
            log.writeheader()
            log.writerows(rows)
