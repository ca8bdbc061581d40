"""How well actions are controlled: what each one moves, by measured scores, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.stats import spearmanr

from moue.actions import ASIDE, HEAD_TURNS, mirrored
from training.teacher.gaze import LOOKS

REGIONS = ("brow", "eye", "look", "cheek", "nose", "jaw", "mouth", "head")
HEADLINE = (
    *("jawOpen", "eyeBlink", "mouthSmile", "browInnerUp", "mouthPucker"),
    *LOOKS,
    *HEAD_TURNS,
    *(f"-{name}" for name in HEAD_TURNS),
)
# Faces move these as one.
_TOGETHER = {"jaw": "mouth", "cheek": "eye", "nose": "mouth", "look": "eye"}
CELL, LABELS = 13, 130  # px, of the leakage picture


@dataclass(frozen=True)
class Control:
    """Mean rises over faces.

    Attributes:
        actions: n names asked for, one at a time, at 1; a name without its side asks for both,
            one of `gaze.LOOKS` for the two eyes to look there, one that begins with `-` for −1.
        scores: m names measured.
        rises: float64 [n, m], mean rise of each score over the face at rest.
        monotone: float64 [n], Spearman of the action's own score with its weight, a mean over faces;
            NaN without one that answers.
        least: float64 [n], the same of the face in which it is least.
        lost: share of the frames in which no face was found.
    """

    actions: tuple[str, ...]
    scores: tuple[str, ...]
    rises: NDArray[np.float64]
    monotone: NDArray[np.float64]
    least: NDArray[np.float64]
    lost: float = 0.0

    def own(self, action: str) -> float:
        """By how far the score of the action's own name goes its way; of both sides, where it has both."""
        named = [index for index, score in enumerate(self.scores) if is_own(score, action)]
        rises = way_of(action) * self.rises[self.actions.index(action), named]
        return float(rises.mean()) if named else 0.0

    def leakage(self) -> float:
        """Mean absolute rise of scores in regions of the face the action has no part in."""
        apart = np.array(
            [[region(a) != region(s) for s in self.scores] for a in self.actions], bool
        )
        return float(np.abs(self.rises)[apart].mean())

    def separation(self) -> float:
        """1 where a sided action raises its own side alone, 0 where both rise alike; a mean.

        Only actions whose own score answers at all (rises by 0.1) are counted.
        """
        shares = []
        for action in self.actions:
            other = mirrored(action)
            if (
                action in ASIDE
                or other == action
                or other not in self.scores
                or self.own(action) < 0.1
            ):
                continue
            opposite = self.rises[self.actions.index(action), self.scores.index(other)]
            shares.append(1 - max(opposite, 0.0) / self.own(action))
        return float(np.mean(shares)) if shares else float("nan")

    def summary(self) -> dict[str, float]:
        """The figures a reader looks for."""
        answering = np.isfinite(self.monotone)
        return {
            **{name: self.own(name) for name in HEADLINE if name in self.actions},
            "leakage into other regions": self.leakage(),
            "left/right separation": self.separation(),
            "mean Spearman of actions that answer, over faces": float(
                self.monotone[answering].mean()
            ),
            "least of one face": float(self.least[answering].min()),
            "share of frames in which no face was found": self.lost,
        }


def measure(
    actions: tuple[str, ...],
    weights: tuple[float, ...],
    per_face: list[list[list[dict[str, float]]]],
) -> Control:
    """Averages scores.

    Args:
        actions: n names.
        weights: rising weights in [0, 1], the first 0 and the last 1.
        per_face: for every face, action and weight, the scores measured; empty where no face was
            found.
    """
    shown = [found for face in per_face for steps in face for found in steps]
    scores = tuple(dict.fromkeys(name for found in shown for name in found if name != "_neutral"))
    values = np.array(
        [
            [[[s.get(name, np.nan) for name in scores] for s in steps] for steps in face]
            for face in per_face
        ]
    )
    curves = np.nanmean(values - values[:, :, :1], 0)  # [n, weights, m]
    monotone, least = np.full((2, len(actions)), np.nan)
    for index, action in enumerate(actions):
        named = [k for k, score in enumerate(scores) if is_own(score, action)]
        if named:
            way = way_of(action)
            if way * curves[index, -1, named].mean() > 0.05:
                each = follows(weights, way * values[:, index][..., named].mean(-1))
                monotone[index], least[index] = np.nanmean(each), np.nanmin(each)
    lost = float(np.mean([not found for found in shown]))
    return Control(actions, scores, curves[:, -1], monotone, least, lost)


def follows(weights: Sequence[float], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How each face's score follows the weight: Spearman's, over the frames it was found in.

    Args:
        weights: T, rising.
        scores: float64 [faces, T], NaN where the face was not found.

    Returns:
        float64 [faces]: 0 for a score that stays the same, NaN for a face found less than three times.
    """
    each = np.full(len(scores), np.nan)
    for index, row in enumerate(scores):
        seen = row[np.isfinite(row)]
        if len(seen) > 2:
            moves = np.ptp(seen) > 0
            asked = np.array(weights)[np.isfinite(row)]
            each[index] = spearmanr(asked, seen).statistic if moves else 0.0
    return each


def region(name: str) -> str:
    """The part of the face an action belongs to."""
    first = next(part for part in REGIONS if name.removeprefix("-").startswith(part))
    return _TOGETHER.get(first, first)


def is_own(score: str, action: str) -> bool:
    """Whether a score is the one, or one of the two, that an action's name asks for."""
    action = action.removeprefix("-")
    return score in LOOKS.get(action, (action, f"{action}Left", f"{action}Right"))


def is_turn(action: str) -> bool:
    """Whether a name, of one way or the other, is a turn of the head."""
    return action.removeprefix("-") in HEAD_TURNS


def way_of(action: str) -> float:
    """1, or −1 for a name that begins with `-`: the weight that is asked for, and the score's sign."""
    return -1.0 if action.startswith("-") else 1.0


def draw_matrix(control: Control) -> Image.Image:
    """The leakage matrix: a row an action, a column a score; red rises, blue falls."""
    rows, columns = len(control.actions), len(control.scores)
    picture = Image.new("RGB", (LABELS + columns * CELL, LABELS + rows * CELL), "white")
    pen = ImageDraw.Draw(picture)
    for row, action in enumerate(control.actions):
        pen.text((4, LABELS + row * CELL), action, fill="black")
        for column in range(columns):
            x, y = LABELS + column * CELL, LABELS + row * CELL
            pen.rectangle(
                (x, y, x + CELL - 2, y + CELL - 2), fill=_heat(control.rises[row, column])
            )
    for column, score in enumerate(control.scores):
        label: Any = Image.new("RGB", (LABELS, CELL), "white")
        ImageDraw.Draw(label).text((2, 0), score, fill="black")
        picture.paste(label.rotate(90, expand=True), (LABELS + column * CELL, 0))
    return picture


def _heat(rise: float) -> tuple[int, int, int]:
    faded = round(255 * (1 - min(abs(rise), 0.6) / 0.6))
    return (255, faded, faded) if rise >= 0 else (faded, faded, 255)
