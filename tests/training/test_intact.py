from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from moue.actions import ACTIONS, EXPRESSIONS
from moue.animator import Portrait
from moue.crop import Square
from moue.kernels import STILL
from training.data.faces import FaceCrop
from training.intact import difference_outside, motion_of_rims

SIZE = 64


class Face:
    square = Square(32, 32, 20, 0.3)


def test_a_change_outside_the_square_is_seen_and_one_inside_is_not():
    photo = np.zeros((64, 64, 3), np.uint8)
    portrait = Portrait(photo, (Face(),), "")
    inside, outside = photo.copy(), photo.copy()
    inside[32, 32] = 200
    outside[2, 60] = 7
    assert difference_outside(portrait, inside) == 0
    assert difference_outside(portrait, outside) == 7


class Mover:
    """An animator by which everything moves right, by three pixels or, in one photo, by eight."""

    actions = ACTIONS
    bundle = SimpleNamespace(input_size=SIZE)

    def __init__(self, bare: np.ndarray) -> None:
        self.bare = bare
        self.runtime = SimpleNamespace(decode=self.decode)

    def prepare(self, photo: np.ndarray, face: object) -> object:
        travel = 8 if np.array_equal(photo, self.bare) else 3
        features = SimpleNamespace(skips=lambda actions: (len(actions), travel))
        still = np.zeros((2, SIZE, SIZE), np.float32)
        return SimpleNamespace(
            faces=[SimpleNamespace(features=features, rest_flow=still, rest_mask=still[0])]
        )

    def decode(self, features: tuple[int, int]) -> dict[str, np.ndarray]:
        count, travel = features
        assert count == len(EXPRESSIONS)
        flow = np.zeros((count, 2, SIZE, SIZE), np.float32)
        flow[:, 0] = travel / SIZE + STILL
        return {"flow": flow, "mask": np.zeros((count, 1, SIZE, SIZE), np.float32)}


def test_motion_of_rims_is_that_of_a_photo_with_glasses_and_of_the_same_without(
    teacher, portrait_photo, astronaut_face
):
    face = FaceCrop(
        *("someone", "someone", False, portrait_photo, astronaut_face.square),
        *(astronaut_face.landmarks, {}),
    )
    moved = motion_of_rims(Mover(portrait_photo), teacher, [face])
    assert moved == pytest.approx((3, 8), rel=1e-4)
