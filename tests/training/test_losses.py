from __future__ import annotations

import pytest
import torch

from training.generator import Layers
from training.losses import EYE_CARE, MARGIN, MISSED, edge_losses, paper_losses, temporal
from training.teacher.mouth import MOUTH_WINDOW

SIZE = 64
EYE_ROW, EYE_CORNERS = 14, (12, 22, 42, 52)  # one eye around column 17, one around 47
HOLE = slice(28, 52)  # rows and columns where the mouth stands open


def batch() -> dict[str, torch.Tensor]:
    """A face that moves down by 4 px all over, with a hole in it behind which a mouth is drawn."""
    mouth = torch.zeros(1, 1, SIZE, SIZE)
    mouth[..., HOLE, HOLE] = 1
    flow = torch.zeros(1, 2, SIZE, SIZE)
    flow[:, 1] = 4 / SIZE
    still = torch.zeros(1, 3, SIZE, SIZE)
    landmarks = torch.full((1, 68, 2), 0.5)
    for corner, x in zip((36, 39, 42, 45), EYE_CORNERS, strict=True):
        landmarks[:, corner] = torch.tensor([x, EYE_ROW]) / SIZE
    return {
        "flow": flow, "mask": mouth, "colour": still, "face": 1 - mouth, "mouth": mouth,
        "place": torch.zeros(1, 2, SIZE, SIZE), "real": still, "has_real": torch.zeros(1),
        "landmarks": landmarks,
    }  # fmt: skip


def _window_place() -> torch.Tensor:
    """Where the mouth is looked up, as zero as the true one."""
    left, top, right, bottom = (round(SIZE * share) for share in MOUTH_WINDOW)
    return torch.zeros(1, 2, bottom - top, right - left)


def flow_loss(rows: slice, columns: slice = slice(36, 44)) -> float:
    """What 1 px of error in some rows and columns, by default the middle ones of the hole, costs."""
    true = batch()
    flow = true["flow"].clone()
    flow[:, 1, rows, columns] += 1 / SIZE
    layers = Layers(flow, true["mask"], true["colour"], _window_place())
    return float(edge_losses(layers, true["real"], true)["flow"])


def test_the_lips_motion_is_asked_for_a_little_way_behind_their_edge():
    row = HOLE.stop
    outside, behind = flow_loss(slice(row, row + MARGIN)), flow_loss(slice(row - MARGIN, row))
    middle = (HOLE.start + row) // 2
    hidden = flow_loss(slice(middle - MARGIN // 2, middle + MARGIN // 2))
    assert behind == pytest.approx(outside, rel=0.01)
    assert hidden == 0


def test_an_error_at_either_eye_costs_more_than_the_same_one_between_them():
    rows = slice(EYE_ROW - 1, EYE_ROW + 1)
    right, between, left = (flow_loss(rows, slice(x - 1, x + 1)) for x in (17, 32, 47))
    assert right == pytest.approx((1 + EYE_CARE) * between, rel=0.15)
    assert left == pytest.approx(right)


def test_a_wrinkle_that_is_missed_costs_more_than_one_too_many():
    true = batch()
    true["mask"] = true["mask"].clone()
    skin, inside = (..., 58, 32), (..., 40, 40)
    true["mask"][skin] = true["mask"][inside] = 0.2

    def painted(where: tuple, thick: float) -> float:
        mask = true["mask"].clone()
        mask[where] = thick
        layers = Layers(true["flow"], mask, true["colour"], _window_place())
        return float(edge_losses(layers, true["real"], true)["mask"])

    assert painted(skin, 0.1) == pytest.approx((1 + MISSED) * painted(skin, 0.3))
    assert painted(inside, 0.1) == pytest.approx(painted(inside, 0.3))


def test_a_photograph_of_a_smile_does_not_say_where_eyes_look():
    true = batch()
    layers = Layers(true["flow"], true["mask"], true["colour"], _window_place())

    def wrong_eye(shown: float) -> float:
        frames = true["real"].clone()
        frames[:, :, EYE_ROW, 17] = 1
        seen = true | {"has_real": torch.full((1,), shown)}
        return float(edge_losses(layers, frames, seen)["reconstruction"])

    assert wrong_eye(0) > 8 * wrong_eye(1) > 0


def test_the_papers_losses_are_against_the_true_frame_and_the_true_landmarks():
    frames, points = torch.full((2, 3, 8, 8), 0.75), torch.full((2, 68, 2), 0.5)
    true = {
        "photo": frames,
        "colour": frames,
        "real": torch.stack([torch.full((3, 8, 8), value) for value in (0.25, 0.65)]),
        "landmarks": points + torch.tensor([[[0.03, 0.04]], [[0.0, 0.0]]]),
    }
    terms = paper_losses(frames, points, true)
    assert float(terms["reconstruction"]) == pytest.approx((0.5 + 0.1) / 2)
    assert float(terms["landmarks"]) == pytest.approx(68**0.5 * 0.05 / 2)


def test_a_frame_is_held_against_both_its_neighbours():
    frame, before, after = (torch.full((1, 3, 4, 4), value) for value in (0.5, 0.2, 0.6))
    assert float(temporal(frame, before, after)) == pytest.approx(0.3 + 0.1)
