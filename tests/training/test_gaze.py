"""Irises that turn: on the astronaut's own eyes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from moue.actions import ACTIONS, action_vector
from training.teacher.eyes import EYES
from training.teacher.gaze import irises, travel, whites
from training.teacher.head import carried

SIZE = 256


@pytest.fixture(scope="module")
def to_layer(astronaut_face):
    return SIZE * astronaut_face.square.to_crop()


def render(teacher, fit, to_layer, **actions):
    return teacher.render(fit, np.asarray(action_vector(actions, ACTIONS)), to_layer, SIZE)


def iris(fit, to_layer, side=0):
    """Middle and radius in layer pixels."""
    middle = carried(fit.irises[side], to_layer)
    return middle, fit.irises[side, 2] * np.sqrt(np.linalg.det(to_layer[:, :2]))


def iris_seen(fit, to_layer, out, asked):
    """From the left iris, in its radii: how far a pixel is from where it went, and what it shows."""
    middle, radius = iris(fit, to_layer)
    across = to_layer[:, :2] @ (fit.points[263] - fit.points[362])[:2]
    aside, up = travel(EYES[0], np.asarray(action_vector(asked, ACTIONS)))
    way = aside * across + up * np.array([across[1], -across[0]])
    here = np.stack(np.meshgrid(*2 * [np.arange(SIZE) + 0.5]))
    away, shown = (
        np.linalg.norm(where - at[:, None, None], axis=0) / radius
        for where, at in ((here, middle + way), (here + SIZE * out.flow, middle))
    )
    return way, away, shown


def test_irises_lie_within_the_eyes_they_are_named_for(astronaut_face):
    landmarks = astronaut_face.landmarks.astype(np.float64)
    for eye, (x, y, radius) in zip(EYES, irises(landmarks), strict=True):
        corners = landmarks[list(eye.corners), :2]
        width = np.linalg.norm(corners[1] - corners[0])
        assert corners[0, 0] < x < corners[1, 0]
        assert abs(y - corners[:, 1].mean()) < 0.3 * width
        assert 0.1 * width < radius < 0.3 * width


def test_the_white_of_an_eye_is_paler_than_the_skin_and_grey_where_none_shows(
    portrait_photo, astronaut_face, fit
):
    landmarks = astronaut_face.landmarks.astype(np.float64)
    for white in whites(portrait_photo, landmarks, fit.skin):
        assert white[2] / white[0] > fit.skin[2] / fit.skin[0]  # less of it is red
    shut = landmarks.copy()
    for eye in EYES:
        for upper, lower in eye.lids:
            shut[upper] = shut[lower]
    np.testing.assert_allclose(np.ptp(whites(portrait_photo, shut, fit.skin), 1), 0)


@pytest.mark.parametrize("side", [0, 1])
def test_eyes_travel_each_its_own_way(side):
    eye = EYES[side]
    outwards = np.asarray(action_vector({f"eyeLookOut{eye.side}": 0.5}, ACTIONS))
    assert np.sign(travel(eye, outwards)[0]) == eye.outwards
    assert not travel(EYES[1 - side], outwards).any()
    up = np.asarray(action_vector({f"eyeLookUp{eye.side}": 1.0}, ACTIONS))
    assert travel(eye, up)[1] > 0


def test_an_iris_goes_along_whole_and_is_seen_nowhere_else(teacher, fit, to_layer):
    still = render(teacher, fit, to_layer)
    asked = {"eyeLookOutLeft": 1.0}
    out = render(teacher, fit, to_layer, **asked)
    way, away, shown = iris_seen(fit, to_layer, out, asked)
    across = to_layer[:, :2] @ (fit.points[263] - fit.points[362])[:2]
    np.testing.assert_allclose(way, 0.22 * across, rtol=1e-6)
    inside = away < 0.45
    seen = SIZE * out.flow[:, inside]
    np.testing.assert_allclose(seen, np.repeat(-way[:, None], seen.shape[1], 1), atol=0.35)
    assert out.mask[inside].max() < 0.1
    assert (out.mask[(shown < 0.8) & (away > 1.2)] > 0.5).all()
    between = carried(fit.irises, to_layer)[:, 0].mean()
    half = np.broadcast_to(np.arange(SIZE) + 0.5 < between, out.mask.shape)
    np.testing.assert_array_equal(out.flow[:, half], still.flow[:, half])
    assert not out.mask[half].any()


@pytest.mark.parametrize("action", ["eyeLookUpLeft", "eyeLookOutLeft", "eyeLookInLeft"])
def test_where_an_iris_was_it_is_no_longer_seen(teacher, fit, to_layer, action):
    asked = {action: 1.0}
    out = render(teacher, fit, to_layer, **asked)
    _, away, shown = iris_seen(fit, to_layer, out, asked)
    shows = (away > 1.2) & (shown < 1)
    assert shows.any()
    assert out.mask[shows].min() > 0.3  # all of it at the rims of the lids, where paint is thin


def test_white_that_no_photo_shows_is_painted_in_the_shade_of_the_lids(teacher, fit, to_layer):
    asked = {"eyeLookUpLeft": 1.0}
    up = render(teacher, fit, to_layer, **asked)
    way, away, _ = iris_seen(fit, to_layer, up, asked)
    painted = up.mask > 0.8
    assert painted.sum() > 10
    assert away[painted].min() > 0.9
    assert np.nonzero(painted)[0].min() > (iris(fit, to_layer)[0] + way)[1]  # below the iris
    lit = up.colour[:, painted] / fit.whites[0][:, None]
    np.testing.assert_allclose(np.ptp(lit, 0), 0, atol=1e-5)
    assert 0.6 < lit.min() < lit.max() <= 1 + 1e-6


def test_more_is_further(teacher, fit, to_layer):
    middle, _ = iris(fit, to_layer)
    column, row = middle.astype(int)
    moved = [
        SIZE * -render(teacher, fit, to_layer, eyeLookOutLeft=w).flow[0, row, column]
        for w in (0.0, 0.2, 0.4, 0.6)
    ]
    assert all(b > a + 0.3 for a, b in pairwise(moved))


def test_an_eye_that_widens_has_a_larger_iris_as_round_as_before(teacher, fit, to_layer):
    wide = render(teacher, fit, to_layer, eyeWideLeft=1.0)
    middle, radius = iris(fit, to_layer)
    rows, columns = np.nonzero(wide.mask > 0.5)
    assert len(rows) > 5
    assert np.hypot(columns + 0.5 - middle[0], rows + 0.5 - middle[1]).min() > radius
    assert rows.max() < middle[1]  # white shows above it, where the lid has gone up
    _, away, shown = iris_seen(fit, to_layer, wide, {})
    lower = np.arange(SIZE)[:, None] + 0.5 > middle[1]
    whole = (away < 0.7) & lower
    np.testing.assert_allclose(1.25 * shown[whole], away[whole], atol=0.02)
    assert shown[away < 0.9].max() < 0.8  # its hidden upper part is of what the photo shows


def test_a_closed_eye_looks_nowhere(teacher, fit, to_layer):
    shut = render(teacher, fit, to_layer, eyeBlinkLeft=1.0)
    turned = render(teacher, fit, to_layer, eyeBlinkLeft=1.0, eyeLookOutLeft=1.0)
    np.testing.assert_array_equal(turned.flow, shut.flow)
    np.testing.assert_array_equal(turned.mask, shut.mask)
