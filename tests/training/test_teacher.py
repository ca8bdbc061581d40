from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moue.actions import ACTIONS, action_vector
from training.teacher.head import LIDS_LEFT, fit_similarity, load_head
from training.teacher.raster import rasterise
from training.teacher.render import Teacher

SIZE = 128
SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def teacher(head) -> Teacher:
    return Teacher(head)


@pytest.fixture(scope="module")
def fit(teacher, portrait_photo, astronaut_face):
    return teacher.fit(portrait_photo, astronaut_face.landmarks)


def render(teacher, fit, face, **actions):
    vector = np.asarray(action_vector(actions, ACTIONS))
    return teacher.render(fit, vector, SIZE * face.square.to_crop(), SIZE)


def test_a_face_at_rest_does_not_move(teacher, fit, astronaut_face):
    layers = render(teacher, fit, astronaut_face)
    assert np.abs(layers.flow).max() * SIZE < 1e-3
    assert layers.face.mean() > 0.2


def test_an_opening_jaw_lowers_the_chin_and_leaves_the_brows(teacher, fit, astronaut_face):
    layers = render(teacher, fit, astronaut_face, jawOpen=0.8)
    to_layer = SIZE * astronaut_face.square.to_crop()
    moved = teacher.move(fit, np.asarray(action_vector({"jawOpen": 0.8}, ACTIONS)))
    chin = (to_layer[:, :2] @ moved[199, :2] + to_layer[:, 2]).astype(int)
    brow = (to_layer[:, :2] @ fit.points[105, :2] + to_layer[:, 2]).astype(int)
    assert layers.flow[1, chin[1], chin[0]] * SIZE < -3  # what is seen there came from above
    assert np.abs(layers.flow[:, brow[1], brow[0]]).max() * SIZE < 0.1


def test_what_the_photo_never_showed_is_painted_inside_the_mouth_only(teacher, fit, astronaut_face):
    closed = render(teacher, fit, astronaut_face)
    opened = render(teacher, fit, astronaut_face, jawOpen=0.8)
    assert opened.mask.sum() > closed.mask.sum() + 30
    columns = np.nonzero(opened.mask > 0.5)[1]
    lips = SIZE * astronaut_face.square.to_crop()
    corners = fit.points[[61, 291], :2] @ lips[:, :2].T + lips[:, 2]
    assert columns.min() >= corners[0, 0] - 2
    assert columns.max() <= corners[1, 0] + 2


def test_a_blink_brings_the_lids_of_one_eye_together(teacher, fit):
    moved = teacher.move(fit, np.asarray(action_vector({"eyeBlinkLeft": 1.0}, ACTIONS)))
    gap = {
        side: np.linalg.norm((moved[lower] - moved[upper])[:2])
        for side, (upper, lower) in {"left": (386, 374), "right": (159, 145)}.items()
    }
    assert gap["left"] < 0.05 * gap["right"]
    assert all(np.isfinite(moved[list(pair)]).all() for pair in LIDS_LEFT)


def test_a_photo_that_smiles_already_has_less_far_to_go(teacher, portrait_photo, astronaut_face):
    plain = teacher.fit(portrait_photo, astronaut_face.landmarks)
    smiling = teacher.fit(portrait_photo, astronaut_face.landmarks, {"mouthSmileLeft": 1.0})
    left = ACTIONS.index("mouthSmileLeft")
    assert smiling.reach[left] == pytest.approx(0.3 * plain.reach[left])


def test_similarity_is_found_exactly():
    random = np.random.default_rng(0)
    points = random.normal(size=(20, 3))
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    scale, rotation, offset = fit_similarity(points, 2.5 * points @ turn.T + (1, 2, 3))
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    np.testing.assert_allclose(offset, (1, 2, 3), atol=1e-9)


def test_the_nearer_triangle_hides_the_farther():
    corners = np.array([[0, 0], [0, 8], [8, 0]], np.float32)
    points = np.concatenate(
        [np.column_stack([corners, np.full(3, depth, np.float32)]) for depth in (5, 1)]
    )
    values = np.repeat(np.array([[5.0], [1.0]], np.float32), 3, 0)
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        depth = np.full((8, 8), np.inf, np.float32)
        image = np.zeros((8, 8, 1), np.float32)
        rasterise(points, np.array(order, np.int32), values, depth, image, True)
        assert image[1, 1, 0] == 1
        assert np.isinf(depth[7, 7])


@pytest.mark.skipif(not SHARED.exists(), reason="the open 3-D head is not here")
def test_the_real_head_parts_its_lips_and_keeps_its_sides():
    head = load_head(SHARED)
    jaw = head.deltas[ACTIONS.index("jawOpen")]
    assert jaw[14, 1] < jaw[13, 1] - 1.0  # cm
    smile = np.linalg.norm(head.deltas[ACTIONS.index("mouthSmileLeft")], axis=1)
    assert head.vertices[smile.argmax(), 0] > 0
    assert smile[61] < 0.1 * smile[291]
    assert head.deltas.shape == (len(ACTIONS), 468, 3)
    assert all(np.abs(delta).max() > 0.05 for delta in head.deltas)
