from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from moue.actions import ACTIONS, HEAD_TURNS, action_vector
from moue.crop import Square
from training.data.faces import FaceCrop, identity_of, is_held_out
from training.data.sources import (
    PairSource,
    PortraitSource,
    SmileSource,
    draw_actions,
    held_out_neutral,
    pair_degree,
)
from training.data.view import Sample, View
from training.teacher.gaze import LOOKS
from training.teacher.head import carried
from training.teacher.rest import at_rest

SIZE = 96


@pytest.fixture(scope="module")
def face(portrait_photo, astronaut_face) -> FaceCrop:
    return FaceCrop(
        "someone_neutral",
        "someone",
        False,
        portrait_photo,
        astronaut_face.square,
        astronaut_face.landmarks,
        {"mouthSmileLeft": 0.0, "mouthSmileRight": 0.0},
    )


@pytest.fixture(scope="module")
def source(teacher, face) -> PortraitSource:
    return PortraitSource([face], teacher, SIZE, 3, True)


def test_a_sample_depends_on_its_number_alone(source):
    first, again = (source.sample(np.random.default_rng([0, 7])) for _ in range(2))
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(again, name))


def test_a_sample_has_the_shapes_it_says(source):
    sample = source.sample(np.random.default_rng(1))
    assert sample.photo.shape == (3, SIZE, SIZE)
    assert sample.actions.shape == (3, len(ACTIONS))
    assert sample.flow.shape == (3, 2, SIZE, SIZE)
    assert sample.real.shape == sample.colour.shape == (3, 3, SIZE, SIZE)
    assert sample.mouth.shape == sample.mask.shape == (3, 1, SIZE, SIZE)
    assert sample.place.shape == sample.flow.shape
    assert sample.landmarks.shape == (3, 68, 2)
    assert all(value.dtype == np.float32 for value in vars(sample).values())
    assert 0 <= sample.photo.min() <= sample.photo.max() <= 1


def test_a_mirrored_left_blink_is_drawn_on_the_other_side(face, teacher):
    view = View(SIZE * face.square.to_crop(), SIZE, True, None, False, 0.0, 0)
    fit = teacher.fit(face.photo, face.landmarks)
    asked = np.asarray(action_vector({"eyeBlinkRight": 1.0}, ACTIONS))
    layers = teacher.render(fit, view.mirrored(asked), view.to_layer, SIZE)
    moved = teacher.move(fit, view.mirrored(asked))
    sample = view.pack(face.photo, asked[None], [layers], [moved], [None])
    travel = np.abs(sample.flow[0]).sum(0)
    eyes = carried(fit.points[[386, 159]], view.to_layer)
    left, right = (SIZE - 1 - eyes[:, 0]).astype(int)  # of the mirrored picture
    assert left < right
    assert travel[:, right - 4 : right + 4].max() < 1e-3
    assert travel[:, left - 4 : left + 4].max() > 0.005
    assert sample.landmarks[0, 36, 0] < sample.landmarks[0, 45, 0]  # still right eye, then left
    assert sample.landmarks[0, 0, 0] < sample.landmarks[0, 16, 0]
    np.testing.assert_allclose(
        sample.landmarks[0, 30] * SIZE,
        (SIZE - 1, 0) + carried(moved[4], view.to_layer) * (-1, 1),
        atol=1.01,
    )


def test_drawn_actions_stay_in_range_and_vary():
    random = np.random.default_rng(0)
    drawn = np.stack([draw_actions(random) for _ in range(300)])
    head = [ACTIONS.index(name) for name in HEAD_TURNS]
    assert np.delete(drawn, head, 1).min() >= 0
    assert -1 <= drawn[:, head].min() < -0.5
    assert drawn.max() <= 1
    assert (drawn > 0).any(0).all()  # every action is taught
    turning = drawn[:, head].any(1)
    assert 0.1 < turning.mean() < 0.4
    assert np.delete(drawn[turning], head, 1).any(1).mean() > 0.4, "often with an expression"


def test_no_action_of_an_expression_comes_with_another_only():
    random = np.random.default_rng(0)
    drawn = np.stack([draw_actions(random) for _ in range(1500)])
    smile, cheek, jaw = (
        drawn[:, ACTIONS.index(name)] for name in ("mouthSmileLeft", "cheekSquintLeft", "jawOpen")
    )
    both = (smile > 0.2) & (cheek > 0.2)
    assert both.sum() > 20
    assert 0.3 < (jaw[both] == 0).mean() < 0.8
    assert 0.05 < (jaw[both] > 0.4).mean() < 0.5


def test_a_head_turns_in_a_sample_and_the_other_way_in_a_mirrored_one(source):
    def nose(sample: Sample) -> NDArray[np.float32]:
        rest, turned = sample.landmarks[:2, 30, 0]
        x, y = (sample.landmarks[1, 30] * SIZE).astype(int)
        assert sample.flow[1, 0, y, x] == pytest.approx(rest - turned, abs=1.5 / SIZE)
        return turned - rest

    ways = {}
    rest = np.zeros(len(ACTIONS), np.float32)
    yaw = np.asarray(action_vector({"headYaw": 1.0}, ACTIONS))
    for seed in range(20):
        asked = iter((rest, yaw, rest))
        drawing = PortraitSource(
            source.faces, source.teacher, SIZE, 3, True, lambda random, asked=asked: next(asked)
        )
        random = np.random.default_rng(seed)
        sample = drawing.sample(random)
        again = np.random.default_rng(seed)
        again.integers(1)
        flipped = View.draw(again, source.faces[0].square, SIZE, True).flip
        ways[flipped] = nose(sample)
    # towards the subject's left in both: that is where a mirrored face's left eye is, too
    assert ways[False] > 0.02
    assert ways[True] > 0.02


def test_two_eyes_look_one_way_together():
    random = np.random.default_rng(0)
    drawn = np.stack([draw_actions(random) for _ in range(600)])
    for names in LOOKS.values():
        both = drawn[:, [ACTIONS.index(name) for name in names]]
        together = (both[:, 0] == both[:, 1]) & (both[:, 0] > 0)
        assert together.mean() > 0.02


def test_pairs_pull_towards_the_real_photograph(face, teacher):
    smiling = FaceCrop(
        "someone_smile",
        "someone",
        False,
        face.photo[..., ::-1].copy(),
        face.square,
        face.landmarks + np.float32([0, 2, 0]),
        {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
    )
    assert pair_degree(face, smiling) == pytest.approx(1.0)
    source = PairSource([face, smiling], teacher, SIZE, 2, False)
    sample = source.sample(np.random.default_rng(0))
    assert sample.has_real.tolist() == [1.0, 0.0]
    turned, straight = sample.photo[::-1], sample.photo  # its channels are turned
    assert sample.actions[0, ACTIONS.index("jawOpen")] > 0  # its lips are apart in both
    shifted = np.abs(sample.real[0] - turned).mean()  # by the 2 px it was aligned by, no more
    assert shifted < 0.5 * np.abs(sample.real[0] - straight).mean()


def test_a_smile_with_closed_lips_asks_for_no_open_jaw(face, teacher):
    landmarks = face.landmarks.copy()
    landmarks[14] = landmarks[13]
    scores = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}
    smiling = FaceCrop(
        "someone_smile", "someone", False, face.photo, face.square, landmarks, scores
    )
    sample = PairSource([face, smiling], teacher, SIZE, 2, False).sample(np.random.default_rng(0))
    assert (sample.actions[:, ACTIONS.index("jawOpen")] == 0).all()
    assert sample.actions[0, ACTIONS.index("mouthSmileLeft")] == 1


def test_a_smile_is_brought_to_rest_and_the_photograph_is_the_target(face, teacher):
    smiling = replace(face, scores={"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8})
    fit = teacher.fit(face.photo, face.landmarks)
    assert fit.shows_mouth
    rest = at_rest(teacher, fit, np.zeros(len(ACTIONS), np.float32))
    assert np.linalg.norm(rest[14, :2] - rest[13, :2]) < 1e-6
    still = [1, 105, 334, 33, 263]  # nose, brows, eyes
    np.testing.assert_allclose(rest[still, :2], fit.points[still, :2], atol=3)
    source = SmileSource([smiling, face], teacher, SIZE, 2, False)
    assert len(source) == 1
    sample = source.sample(np.random.default_rng(0))
    assert sample.has_real.tolist() == [1.0, 0.0]
    hole = sample.mouth[0, 0] > 0.9
    assert hole.sum() > 20
    assert sample.photo[:, hole].mean() < sample.real[0][:, hole].mean()  # lips where teeth were


def test_what_is_painted_lies_in_the_light_of_the_photo(face, teacher):
    fit = teacher.fit(face.photo, face.landmarks)
    tables = np.repeat(
        (np.arange(256) // 8).astype(np.uint8)[:, None], 3, 1
    )  # an eighth of the light
    dim = View(SIZE * face.square.to_crop(), SIZE, False, tables, True, 0.0, 0)
    asked = np.asarray(action_vector({"jawOpen": 1.0}, ACTIONS))
    layers = teacher.render(fit, asked, dim.to_layer, SIZE)
    moved = teacher.move(fit, asked)
    sample = dim.pack(dim.shade(face.photo), asked[None], [layers], [moved], [None])
    inside = sample.mouth[0, 0] > 0.9
    assert layers.colour[:, inside].max() > 0.3
    assert sample.colour[0][:, inside].max() <= 1 / 8
    assert np.ptp(sample.colour[0][:, inside], axis=0).max() < 1e-6  # grey, as the photo is


@pytest.mark.parametrize(
    ("name", "identity"),
    [("london_012_smile", "london_012"), ("london_012_neutral", "london_012"), ("a_1", "a_1")],
)
def test_both_photos_of_a_person_share_a_side_of_the_hold_out(name, identity):
    assert identity_of(name) == identity
    assert is_held_out(identity_of(name)) == is_held_out(identity)


def test_about_an_eighth_is_held_out():
    assert 80 < sum(is_held_out(f"person_{k}") for k in range(1000)) < 170


def test_the_square_is_seen_upright(face):
    square = Square(256, 256, 200, 0.3)
    view = View(SIZE * square.to_crop(), SIZE, False, None, False, 0.0, 0)
    assert view.resample(face.photo).shape == (SIZE, SIZE, 3)


def test_crops_keep_256_of_289_pixels_somewhere_in_the_square():
    random, square = np.random.default_rng(0), Square(150, 160, 200, 0.3)
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]) @ square.to_photo().T
    seen = []
    for _ in range(300):
        view = View.draw(random, square, 256, "crops")
        placed = carried(corners, view.to_layer)
        np.testing.assert_allclose(placed[3] - placed[0], 289, atol=1e-6)
        seen.append(-placed[0])
        assert (view.flip, view.tables, view.grey, view.blur, view.noise) == (
            False,
            None,
            False,
            0,
            0,
        )
    np.testing.assert_allclose(seen, np.rint(seen), atol=1e-6)
    assert np.rint(np.min(seen, 0)).tolist() == [0, 0]
    assert np.rint(np.max(seen, 0)).tolist() == [33, 33]


def face_crop(name: str, smile: float, held_out: bool = True) -> FaceCrop:
    blank = np.zeros((4, 4, 3), np.uint8)
    scores = {"mouthSmileLeft": smile, "mouthSmileRight": smile}
    identity = name.rsplit("_", 1)[0]
    return FaceCrop(
        name, identity, held_out, blank, Square(32, 32, 20, 0.3), np.zeros((478, 3)), scores
    )


def test_only_people_held_out_and_at_rest_are_measured():
    faces = [
        face_crop("london_1_neutral", 0.0),
        face_crop("london_1_smile", 0.8),
        face_crop("london_2_neutral", 0.0),
        face_crop("london_2_smile", 0.1),  # hardly a smile
        face_crop("london_3_neutral", 0.0, held_out=False),
        face_crop("official_4", 0.0),
        face_crop("synth_5", 0.6),
    ]
    neutral, smiles = held_out_neutral(faces, 10)
    assert [face.name for face in neutral] == ["london_1_neutral", "london_2_neutral"]
    assert list(smiles) == ["london_1"]
