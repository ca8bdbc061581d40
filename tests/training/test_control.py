from __future__ import annotations

import numpy as np
import pytest

from moue.actions import mirrored
from training.control import Control, draw_matrix, follows, measure, region

WEIGHTS = (0.0, 0.5, 1.0)


def scores(**values: float) -> dict[str, float]:
    names = ("_neutral", "mouthSmileLeft", "mouthSmileRight", "browInnerUp")
    return {name: values.get(name, 0.2) for name in names}


def asked(left: float, right: float, brow: float) -> list[dict[str, float]]:
    """One action at three weights; each score rises in proportion."""
    return [
        scores(
            mouthSmileLeft=0.2 + w * left,
            mouthSmileRight=0.2 + w * right,
            browInnerUp=0.2 + w * brow,
        )
        for w in WEIGHTS
    ]


@pytest.fixture
def control() -> Control:
    face = [asked(0.6, 0.15, 0.04), asked(0.1, 0.5, -0.02), asked(0.0, 0.02, 0.4)]
    return measure(("mouthSmileLeft", "mouthSmileRight", "browInnerUp"), WEIGHTS, [face, face])


def test_each_action_is_measured_by_its_own_score(control):
    assert control.own("mouthSmileLeft") == pytest.approx(0.6)
    assert control.own("browInnerUp") == pytest.approx(0.4)
    np.testing.assert_allclose(control.monotone, 1)


def test_a_name_without_its_side_asks_for_both():
    measured = measure(("mouthSmile",), WEIGHTS, [[asked(0.6, 0.4, 0.0)]])
    assert measured.own("mouthSmile") == pytest.approx(0.5)


def test_eyes_that_look_one_way_are_measured_by_that_ways_scores():
    def seen(w: float) -> dict[str, float]:
        rises = {"eyeLookOutLeft": 0.4, "eyeLookInRight": 0.2, "eyeLookInLeft": -0.3}
        return {name: 0.3 + w * rise for name, rise in rises.items()} | {"jawOpen": 0.1 + 0.06 * w}

    measured = measure(("look left",), WEIGHTS, [[[seen(w) for w in WEIGHTS]]])
    assert measured.own("look left") == pytest.approx(0.3)
    assert measured.monotone == pytest.approx(1)
    assert measured.leakage() == pytest.approx(0.06)  # no other part of the eye


def test_leakage_counts_other_regions_only(control):
    assert control.leakage() == pytest.approx(np.mean([0.04, 0.02, 0.0, 0.02]))


def test_separation_is_one_side_against_the_other(control):
    assert control.separation() == pytest.approx(np.mean([1 - 0.15 / 0.6, 1 - 0.1 / 0.5]))


def test_a_face_not_found_is_left_out_of_the_mean():
    found = [asked(0.6, 0.0, 0.0)]
    lost = [[scores(), scores(), {}]]
    measured = measure(("mouthSmileLeft",), WEIGHTS, [found, lost])
    assert measured.own("mouthSmileLeft") == pytest.approx(0.6)


def test_the_matrix_is_red_where_a_score_rises(control):
    picture = np.asarray(draw_matrix(control))
    red, green, _ = picture[130 + 4, 130 + 4]
    assert red == 255
    assert green < 30


def test_names():
    assert region("jawOpen") == region("mouthClose") == "mouth"
    assert mirrored("eyeBlinkLeft") == "eyeBlinkRight"
    assert mirrored("browInnerUp") == "browInnerUp"


def test_a_turn_the_other_way_is_measured_that_way():
    def seen(w: float) -> dict[str, float]:
        return {"headYaw": 0.1 - 0.7 * w, "jawOpen": 0.2}

    measured = measure(("-headYaw",), WEIGHTS, [[[seen(w) for w in WEIGHTS]]])
    assert measured.own("-headYaw") == pytest.approx(0.7)
    assert measured.monotone == pytest.approx(1)
    assert region("-headYaw") == region("headPitch")


def test_faces_that_were_not_found_are_counted(control):
    face = [[{}, *asked(0.6, 0.15, 0.04)[1:]], asked(0.1, 0.5, 0)]
    names = ("mouthSmileLeft", "mouthSmileRight")
    measured = measure(names, WEIGHTS, [face, [asked(0.6, 0.2, 0), asked(0.1, 0.5, 0)]])
    assert measured.lost == pytest.approx(1 / 12)
    assert measured.own("mouthSmileLeft") == pytest.approx(0.6)
    assert control.lost == 0


def test_what_goes_to_one_side_or_the_other_has_no_sides():
    seen = [{"jawLeft": 0.5 * w, "jawRight": 0.5 * w} for w in WEIGHTS]
    assert np.isnan(measure(("jawLeft", "jawRight"), WEIGHTS, [[seen, seen]]).separation())


def test_one_face_that_goes_the_other_way_is_not_hidden_by_the_rest():
    up, down = asked(0.6, 0.6, 0.0), asked(-0.2, -0.2, 0.0)
    measured = measure(("mouthSmile",), WEIGHTS, [[up], [up], [up], [down]])
    assert measured.own("mouthSmile") == pytest.approx(0.4)
    assert measured.monotone == pytest.approx(0.5)
    assert measured.least == pytest.approx(-1)
    assert measured.summary()["least of one face"] == pytest.approx(-1)


def test_a_score_is_followed_over_the_frames_in_which_its_face_was_found():
    nan = np.nan
    curves = [[0, 0.1, 0.2, 0.3], [0, nan, 0.2, 0.1], [0.3] * 4, [0, nan, nan, 1]]
    found = follows((0.0, 0.3, 0.6, 1.0), np.array(curves))
    np.testing.assert_allclose(found, [1, 0.5, 0, nan])


def test_a_bundle_whose_head_does_not_turn_has_a_summary(control):
    summary = control.summary()
    assert summary["browInnerUp"] == pytest.approx(0.4)
    assert "headYaw" not in summary
