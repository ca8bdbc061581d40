from __future__ import annotations

import pytest
import torch

from training.generator import Layers
from training.losses import MARGIN, edge_losses
from training.teacher.mouth import MOUTH_WINDOW

SIZE = 64
HOLE = slice(28, 52)  # rows and columns where the mouth stands open


def batch() -> dict[str, torch.Tensor]:
    """A face that moves down by 4 px all over, with a hole in it behind which a mouth is drawn."""
    mouth = torch.zeros(1, 1, SIZE, SIZE)
    mouth[..., HOLE, HOLE] = 1
    flow = torch.zeros(1, 2, SIZE, SIZE)
    flow[:, 1] = 4 / SIZE
    still = torch.zeros(1, 3, SIZE, SIZE)
    return {
        "flow": flow, "mask": mouth, "colour": still, "face": 1 - mouth, "mouth": mouth,
        "place": torch.zeros(1, 2, SIZE, SIZE), "real": still, "has_real": torch.zeros(1),
    }  # fmt: skip


def flow_loss(rows: slice) -> float:
    """What 1 px of error in some rows, in the middle of the hole's columns, costs."""
    true = batch()
    flow = true["flow"].clone()
    flow[:, 1, rows, 36:44] += 1 / SIZE
    left, top, right, bottom = (round(SIZE * share) for share in MOUTH_WINDOW)
    place = torch.zeros(1, 2, bottom - top, right - left)
    layers = Layers(flow, true["mask"], true["colour"], place)
    return float(edge_losses(layers, true["real"], true)["flow"])


def test_the_lips_motion_is_asked_for_a_little_way_behind_their_edge():
    row = HOLE.stop
    outside, behind = flow_loss(slice(row, row + MARGIN)), flow_loss(slice(row - MARGIN, row))
    middle = (HOLE.start + row) // 2
    hidden = flow_loss(slice(middle - MARGIN // 2, middle + MARGIN // 2))
    assert behind == pytest.approx(outside, rel=0.01)
    assert hidden == 0
