"""Heads that turn: the astronaut's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moue.actions import ACTIONS, HEAD_TURN, action_vector
from moue.crop import FACE_OVAL
from moue.tracking.mesh import place
from training.teacher.head import carried
from training.teacher.turn import AXIS, Turner

SIZE = 256
NOSE, LIPS, EARS = 4, (13, 14), (234, 454)
# From the nose to the jaw, on the subject's right and left.
TO_OUTLINE = {1.0: (4, 36, 50, 187, 147, 132), -1.0: (4, 266, 280, 411, 376, 361)}


@pytest.fixture(scope="module")
def to_layer(astronaut_face):
    return SIZE * astronaut_face.square.to_crop()


@pytest.fixture(scope="module")
def turner(head):
    return Turner(head)


def asked(**actions):
    return np.asarray(action_vector(actions, ACTIONS))


def turned(teacher, turner, fit, to_layer, **actions):
    """Layers of the face, of the turned head, and its mesh in layer pixels."""
    wanted = asked(**actions)
    moved = teacher.move(fit, wanted)
    face = teacher.render(fit, wanted, to_layer, SIZE, moved)
    layers = turner.layers(face, fit, moved, wanted, to_layer)
    return face, layers, carried(turner.mesh(fit, moved, wanted), to_layer)


def shows(layers, at):
    """Which layer pixel of the photo is seen at a place (x, y)."""
    x, y = np.asarray(at).astype(int)
    return np.asarray(at) + SIZE * layers.flow[:, y, x]


@pytest.mark.parametrize(("name", "angle"), [("headYaw", 0), ("headPitch", 1), ("headRoll", 2)])
@pytest.mark.parametrize("weight", [-1.0, 0.5])
def test_a_head_turns_as_far_as_it_is_asked(turner, fit, astronaut_face, name, angle, weight):
    points = astronaut_face.landmarks.astype(np.float64)
    now = points.copy()
    now[:468] = turner.mesh(fit, points[:468], asked(**{name: weight}))
    reference = (points * (1, -1, -1)).astype(np.float32)
    was, turn = (
        np.array(list(vars(place(mesh.astype(np.float32), reference)[1]).values()))
        for mesh in (points, now)
    )
    wanted = np.zeros(3)
    wanted[angle] = weight * HEAD_TURN
    np.testing.assert_allclose(turn - was, wanted, atol=0.8)


@pytest.mark.parametrize(
    ("name", "way"), [("headYaw", (1, 0)), ("headPitch", (0, -1)), ("headRoll", (1, 0))]
)
def test_each_turn_goes_to_its_side(teacher, turner, fit, to_layer, name, way):
    _, _, points = turned(teacher, turner, fit, to_layer, **{name: 1.0})
    was = carried(fit.points, to_layer)
    where = 10 if name == "headRoll" else NOSE  # the top of the face leans over
    gone = points[where] - was[where]
    assert gone @ way > 4
    assert gone @ way > 2 * abs(gone @ np.array(way)[::-1])


def test_what_is_seen_is_what_was_there(teacher, turner, fit, to_layer):
    _, layers, points = turned(teacher, turner, fit, to_layer, headYaw=0.7, headPitch=-0.5)
    was = carried(fit.points, to_layer)
    for vertex in (NOSE, 10, 50, 280, 133, 362, 61, 291, 152):
        assert np.linalg.norm(shows(layers, points[vertex]) - was[vertex]) < 1.5, vertex
    for middle in carried(fit.irises, to_layer):
        nearest = np.linalg.norm(was - middle, axis=1).argmin()
        there = middle + points[nearest] - was[nearest]
        assert np.linalg.norm(shows(layers, there) - middle) < 2, "eyes go along"


def test_an_outline_hardly_moves_and_nothing_beyond_it(teacher, turner, fit, to_layer):
    _, layers, points = turned(teacher, turner, fit, to_layer, headYaw=1.0)
    gone = np.linalg.norm(points - carried(fit.points, to_layer), axis=1)
    assert gone[list(EARS)].max() < 0.5 * gone[NOSE]
    here = np.stack(np.meshgrid(*2 * [np.arange(SIZE) + 0.5]), -1)
    oval = carried(fit.points[list(FACE_OVAL)], to_layer)
    far = (
        np.linalg.norm(here[:, :, None] - oval.mean(0), axis=-1)[..., 0]
        > 1.7 * np.linalg.norm(oval - oval.mean(0), axis=1).max()
    )
    assert far.any()
    assert not layers.flow[:, far].any()


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_skin_stretches_up_to_the_outline_that_comes_into_view(turner, head, fit, side):
    facing = np.diag((1.0, -1.0, -1.0))
    frontal = replace(fit, points=head.vertices @ facing, scale=1.0, rotation=facing)
    before = frontal.points - (0, 0, 3)  # all of it lies before what the head turns about
    across = side * turner.mesh(frontal, before, asked(headYaw=side))[:, 0]
    was = side * before[:, 0]
    gone = across - was
    shown, hidden = list(TO_OUTLINE[side]), list(TO_OUTLINE[-side])
    assert abs(gone[shown[-1]]) < 0.15 * gone[NOSE], "the outline stays"
    assert (np.diff(gone[shown]) < 0).all(), "the less, the nearer to it"
    assert (np.diff(across[shown]) < 0).all(), "nothing is turned over"
    far = before[hidden[-1]]
    angle = np.deg2rad(HEAD_TURN)
    rigid = side * far[0] * (np.cos(angle) - 1) - (far[2] + AXIS[2]) * np.sin(angle)
    assert gone[hidden[-1]] == pytest.approx(rigid), "the other side turns as it is"


def test_what_is_painted_goes_along(teacher, turner, fit, to_layer):
    face, layers, points = turned(teacher, turner, fit, to_layer, jawOpen=1.0, headYaw=1.0)
    columns = np.arange(SIZE)
    still, gone = (
        float((made.mouth.sum(0) * columns).sum() / made.mouth.sum()) for made in (face, layers)
    )
    lips = list(LIPS)
    opened = carried(teacher.move(fit, asked(jawOpen=1.0)), to_layer)
    assert gone - still == pytest.approx((points - opened)[lips, 0].mean(), abs=2)
    assert 0.8 < layers.mouth.sum() / face.mouth.sum() < 1.2
    shown = layers.mouth > 0.9
    assert np.ptp(layers.place[0][shown]) > 0.1
    assert np.allclose(layers.mask[shown], 1, atol=0.15)


def test_a_head_that_does_not_turn_is_left_as_it_is(teacher, turner, fit, to_layer):
    face, layers, points = turned(teacher, turner, fit, to_layer, jawOpen=0.5)
    assert layers is face
    np.testing.assert_allclose(points, carried(teacher.move(fit, asked(jawOpen=0.5)), to_layer))
