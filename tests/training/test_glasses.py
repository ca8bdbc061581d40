from __future__ import annotations

import cv2
import numpy as np
import pytest

from moue.actions import ACTIONS, action_vector
from training.data.faces import FaceCrop
from training.data.sources import PortraitSource
from training.teacher.glasses import SHOWN, STRETCH, held, put_on
from training.teacher.head import EYE_LEFT, EYE_RIGHT
from training.teacher.render import Layers, Teacher

SIZE = 128


@pytest.fixture(scope="module")
def fit(head, portrait_photo, astronaut_face):
    return Teacher(head).fit(portrait_photo, astronaut_face.landmarks)


@pytest.mark.parametrize("seed", range(4))
def test_rims_run_around_both_eyes_and_nowhere_else(seed, head, fit, portrait_photo):
    worn = put_on(np.random.default_rng(seed), portrait_photo, fit, head.vertices)
    assert worn.photo.shape == portrait_photo.shape
    rims = worn.where[..., 0] > SHOWN
    apart = cv2.connectedComponents((~rims).astype(np.uint8), connectivity=4)[1]
    lenses = []
    for contour in (EYE_RIGHT, EYE_LEFT):
        x, y = fit.points[list(contour), :2].mean(0).astype(int)
        assert not rims[y, x]
        assert worn.where[y, x, 1] > SHOWN
        lenses.append(apart[y, x])
    assert len({*lenses, apart[0, 0]}) == 3, "each eye is behind a lens of its own"
    changed = np.abs(worn.photo.astype(int) - portrait_photo).max(2) > 0
    eyes = fit.points[[33, 263], :2]
    reach = 1.5 * np.linalg.norm(eyes[1] - eyes[0])
    rows, columns = np.nonzero(changed)
    away = np.hypot(columns - eyes[:, 0].mean(), rows - eyes[:, 1].mean())
    assert changed[rims].mean() > 0.9
    assert away.max() < reach


def test_glasses_stay_and_no_rim_is_seen_twice():
    """Everything moves down by ten pixels, but the glasses, whatever is near them, and their like."""
    rims = np.zeros((SIZE, SIZE), bool)
    rims[60:64, 20:108] = True
    flow = np.zeros((2, SIZE, SIZE), np.float32)
    flow[1] = -10 / SIZE
    ones = np.ones((SIZE, SIZE), np.float32)
    colour, place = np.zeros((3, SIZE, SIZE), np.float32), np.zeros((2, SIZE, SIZE), np.float32)
    where = np.zeros((SIZE, SIZE, 3), np.uint8)
    where[rims] = 255, 0, 0
    found = held(Layers(flow, ones, colour, ones, ones, place), where)
    assert not found.flow[:, rims].any()
    assert not found.mask[rims].any()
    np.testing.assert_array_equal(found.flow[:, :20], flow[:, :20])
    np.testing.assert_array_equal(found.mask[:40], ones[:40])
    away = cv2.distanceTransform((~rims).astype(np.uint8), cv2.DIST_L2, 5)
    travel = SIZE * np.abs(found.flow[1])
    below = np.s_[64:, 20:108]
    assert (travel[below] <= STRETCH * away[below] + 0.01).all(), "skin below comes from the rim"
    rows = np.arange(SIZE)[:, None] + SIZE * found.flow[1]
    seen = rims[np.rint(rows).clip(0, SIZE - 1).astype(int), np.arange(SIZE)]
    np.testing.assert_array_equal(seen, rims)
    assert (np.diff(rows[64:], axis=0) > 0).all(), "nothing is turned over"


def test_faces_that_wear_them_are_samples_too(head, portrait_photo, astronaut_face):
    face = FaceCrop(
        *("someone", "someone", False, portrait_photo, astronaut_face.square),
        *(astronaut_face.landmarks, {}),
    )

    def blink(random: np.random.Generator) -> np.ndarray:
        return np.asarray(action_vector({"eyeBlinkLeft": 1.0}, ACTIONS))

    bare, worn = (
        PortraitSource([face], Teacher(head), SIZE, 1, False, blink, glasses=share).sample(
            np.random.default_rng(5)
        )
        for share in (0.0, 1.0)
    )
    differs = np.abs(worn.photo - bare.photo).max(0) > 0.1
    assert 0.005 < differs.mean() < 0.2
    assert np.abs(worn.flow).sum() <= np.abs(bare.flow).sum()
    assert np.abs(worn.flow).max() > 0.5 * np.abs(bare.flow).max(), "the lid still moves"
    again = PortraitSource([face], Teacher(head), SIZE, 1, False, blink, glasses=1.0)
    np.testing.assert_array_equal(again.sample(np.random.default_rng(5)).photo, worn.photo)
