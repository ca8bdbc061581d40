from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moue.actions import ACTIONS, FACE_ACTIONS, action_vector
from moue.kernels import THIN
from training.teacher.eyes import EYES, socket_darkness
from training.teacher.folds import SIZE as UNROLLED
from training.teacher.folds import smile_folds
from training.teacher.head import (
    LOWER_LIP,
    UNDER_BROW_LEFT,
    UNDER_BROW_RIGHT,
    carried,
    fit_similarity,
    load_head,
    whole_brows,
)
from training.teacher.mouth import draw_picture, make_card
from training.teacher.raster import rasterise
from training.teacher.render import Teacher

SIZE = 128
SHARED = Path(__file__).parents[3] / "shared" / "data"


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
    chin = carried(moved[199], to_layer).astype(int)
    brow = carried(fit.points[105], to_layer).astype(int)
    assert layers.flow[1, chin[1], chin[0]] * SIZE < -3  # what is seen there came from above
    assert np.abs(layers.flow[:, brow[1], brow[0]]).max() * SIZE < 0.1


def test_what_the_photo_never_showed_is_painted_inside_the_mouth_only(teacher, fit, astronaut_face):
    closed = render(teacher, fit, astronaut_face)
    opened = render(teacher, fit, astronaut_face, jawOpen=0.8)
    assert opened.mask.sum() > closed.mask.sum() + 30
    columns = np.nonzero(opened.mask > 0.5)[1]
    lips = SIZE * astronaut_face.square.to_crop()
    corners = carried(fit.points[[61, 291]], lips)
    assert columns.min() >= corners[0, 0] - 2
    assert columns.max() <= corners[1, 0] + 2


def test_a_blink_brings_the_lids_of_one_eye_together(teacher, fit):
    moved = teacher.move(fit, np.asarray(action_vector({"eyeBlinkLeft": 1.0}, ACTIONS)))
    gap = {
        side: np.linalg.norm((moved[lower] - moved[upper])[:2])
        for side, (upper, lower) in {"left": (386, 374), "right": (159, 145)}.items()
    }
    assert gap["left"] < 0.05 * gap["right"]
    for upper, lower in EYES[0].lids:
        assert np.linalg.norm((moved[lower] - moved[upper])[:2]) < 0.05 * gap["right"]
    assert np.allclose(
        moved[[276, 283, 282, 295, 285]], fit.points[[276, 283, 282, 295, 285]]
    )  # brow
    way = (moved - fit.points)[:, 1]
    for (upper, _), (lash, fold, _) in zip(EYES[0].lids[1:-1], EYES[0].folds[1:-1], strict=True):
        assert way[upper] > 0
        assert way[lash] > 0.7 * way[upper]
        assert 0 < way[fold] < 0.6 * way[upper]


def test_lips_close_only_what_the_jaw_opens(teacher, fit):
    closing = ACTIONS.index("mouthClose")
    head = replace(teacher.head, deltas=teacher.head.deltas.copy())
    head.deltas[closing, [14, 17]] = (0, 1.0, 0)
    strict = Teacher(head)
    alone = strict.move(fit, np.asarray(action_vector({"mouthClose": 1.0}, ACTIONS)))
    np.testing.assert_allclose(alone, fit.points)
    jaw, both = (
        strict.move(fit, np.asarray(action_vector({"jawOpen": 0.5, "mouthClose": w}, ACTIONS)))
        for w in (0.0, 1.0)
    )
    assert both[14, 1] < jaw[14, 1] - 1


def test_lashes_are_drawn_where_lids_have_met_and_only_there(teacher, fit, astronaut_face):
    half = render(teacher, fit, astronaut_face, eyeBlinkLeft=0.5)
    shut = render(teacher, fit, astronaut_face, eyeBlinkLeft=1.0)
    assert half.mask.max() < 0.2
    to_layer = SIZE * astronaut_face.square.to_crop()
    corners = carried(fit.points[[362, 263, 33, 133]], to_layer)
    rows, columns = np.nonzero(shut.mask > 0.85)
    assert len(rows) > 5
    assert columns.min() >= corners[0, 0] - 2
    assert columns.max() <= corners[1, 0] + 2
    assert shut.colour[:, rows, columns].mean() < 0.3 * fit.skin.mean()


def test_a_closed_lid_is_painted_in_the_colour_of_the_skin_around_the_eye(
    teacher, fit, astronaut_face
):
    shut = render(teacher, fit, astronaut_face, eyeBlinkLeft=1.0)
    to_layer = SIZE * astronaut_face.square.to_crop()
    moved = teacher.move(fit, np.asarray(action_vector({"eyeBlinkLeft": 1.0}, ACTIONS)))
    lid = carried(moved[[386, 257, 258]].mean(0), to_layer)
    column, row = lid.astype(int)
    assert 0.4 < shut.mask[row, column] < 0.8
    np.testing.assert_allclose(shut.colour[:, row, column], fit.lids[0], atol=0.05)
    assert not render(teacher, fit, astronaut_face, eyeSquintLeft=1.0).mask.any()


def test_a_raised_brow_lets_light_into_a_dark_socket(teacher, fit, astronaut_face, portrait_photo):
    assert (fit.sockets >= 0).all()
    sunk = portrait_photo.copy()
    x, y = fit.points[[386, 385, 257, 258], :2].T.astype(int)  # the left lid and below its brow
    sunk[y.min() - 3 : y.max() + 3, x.min() - 9 : x.max() + 9] //= 2
    points = fit.points
    dark = socket_darkness(sunk, points, fit.lids)
    assert dark[0] > fit.sockets[0] + 0.2
    assert dark[1] == fit.sockets[1]
    deep = replace(fit, sockets=np.array([0.5, 0]), bare=0 * fit.bare)
    half, full = (render(teacher, deep, astronaut_face, browInnerUp=w) for w in (0.5, 1.0))
    to_layer = SIZE * astronaut_face.square.to_crop()
    moved = teacher.move(deep, np.asarray(action_vector({"browInnerUp": 1.0}, ACTIONS)))
    column, row = carried(moved[[257, 258]].mean(0), to_layer).astype(int)
    assert 0.15 < full.mask[row, column] < 0.5
    np.testing.assert_allclose(full.colour[:, row, column], fit.lids[0], atol=1e-3)
    assert half.mask.max() == pytest.approx(full.mask.max() / 2, rel=0.1)
    columns = np.nonzero(full.mask > 0.05)[1]
    assert columns.min() > carried(moved[9], to_layer)[0]  # the other socket is not dark
    assert not render(teacher, deep, astronaut_face, browDownLeft=1.0).mask.any()


def test_the_outline_of_a_moving_face_fades_into_its_surroundings(teacher, fit, astronaut_face):
    flow = render(teacher, fit, astronaut_face, jawOpen=0.3).flow
    to_layer = SIZE * astronaut_face.square.to_crop()
    column, chin = carried(fit.points[152], to_layer).astype(int)
    below = np.abs(flow[1, chin - 2 : chin + 24, column]) * SIZE
    assert below[0] > 3
    assert np.abs(np.diff(below)).max() < 0.5 * below[0]  # no step from full motion to none


def test_teeth_that_the_photo_shows_follow_the_upper_lip(head, fit, astronaut_face):
    raised = replace(head, deltas=head.deltas.copy())
    upper = [191, 80, 81, 82, 13, 312, 311, 310, 415]
    raised.deltas[ACTIONS.index("mouthUpperUpLeft"), upper] = (0, 0.5, 0)
    layers = render(Teacher(raised), fit, astronaut_face, mouthUpperUpLeft=1.0)
    to_layer = SIZE * astronaut_face.square.to_crop()
    column, top = carried(fit.points[13], to_layer).astype(int)
    _, bottom = carried(fit.points[14], to_layer).astype(int)
    down = layers.flow[1, :, column] * SIZE
    assert down[top] > 1  # what is seen there came from below
    assert abs(down[bottom - 1]) < 0.7  # the lower ones stay
    assert layers.mouth.max() < 0.5  # and none are drawn over them


def test_a_mouth_is_looked_up_in_one_picture(teacher, fit, astronaut_face):
    layers = render(teacher, fit, astronaut_face, jawOpen=0.8)
    inside = layers.mouth > 0.9
    u, v = layers.place[:, inside]
    assert inside.sum() > 20
    assert 0 <= min(u.min(), v.min()) <= max(u.max(), v.max()) <= 1
    columns = np.nonzero(inside)[1]
    assert np.corrcoef(columns, u)[0, 1] > 0.95  # left to right
    light = layers.colour[:, inside].mean(0)
    assert np.ptp(light) > 0.2  # teeth and what is behind them


def test_teeth_are_bright_the_cheeks_shade_them_and_a_tongue_has_a_groove():
    picture = draw_picture()
    height, width = picture.shape[1:]
    front = picture[:, int(0.35 * height), int(0.47 * width)]
    assert front.min() > 0.7
    assert picture[:, int(0.35 * height), 4].max() < 0.6
    np.testing.assert_allclose(picture, picture[..., ::-1], atol=0.02)  # as mirroring assumes
    row = picture[:, int(0.38 * height)].mean(0)
    beside = row[width // 2 - 3 : width // 2 + 3]  # where the first two teeth meet
    assert 0.7 < beside.min() / row.max() < 0.95  # they touch: a shade, not a gap
    neck = picture[:, int(0.16 * height), width // 2]
    assert neck[0] > 1.3 * neck[1]  # between their necks, gum
    tongue = picture[0, int(0.66 * height)]
    groove, flank = tongue[width // 2], tongue[int(0.56 * width)]
    assert 0.65 < groove / flank < 0.95
    assert picture[0, int(0.5 * height), width // 2] < 0.5 * groove  # and the throat behind it dark
    card = make_card()
    assert (card.uv[card.jaw, 1] > card.uv[~card.jaw, 1].max()).all()


def test_smiles_that_darken_a_fold_are_drawn_so(head, astronaut_face, portrait_photo):
    landmarks = astronaut_face.landmarks
    x, y = landmarks[[205, 425], :2].astype(int).T  # beside the nose
    smiling = portrait_photo.copy()
    for column, row in zip(x, y, strict=True):
        smiling[row - 6 : row + 7, column - 6 : column + 7] //= 2
    pair = ((portrait_photo, landmarks), (smiling, landmarks))
    folds = smile_folds([(*pair, 1.0)], head)
    whole = sum(folds.values())
    assert whole.shape == (UNROLLED, UNROLLED)
    assert whole.min() < -0.8
    assert (whole == 0).mean() > 0.9
    half = sum(smile_folds([(*pair, 0.5)], head).values())
    assert half.min() < 1.9 * whole.min()  # half a smile has half the folds
    creased = Teacher(head, folds)
    fit = creased.fit(portrait_photo, landmarks)
    plain = render(Teacher(head), fit, astronaut_face, mouthSmileLeft=1.0)
    made = render(creased, fit, astronaut_face, mouthSmileLeft=1.0)
    row, column = np.unravel_index((made.mask - plain.mask).argmax(), made.mask.shape)
    assert made.mask[row, column] > 0.2
    assert made.colour[:, row, column].max() == 0
    nose = (SIZE * astronaut_face.square.to_crop() @ [*fit.points[4, :2], 1])[0]
    assert column > nose  # the subject's left alone


def test_without_pairs_there_are_no_folds(head):
    assert not any(side.any() for side in smile_folds([], head).values())


def test_skin_that_grows_lighter_is_laid_over_thinly_in_white(head, astronaut_face, portrait_photo):
    bright = {"mouthSmileLeft": np.full((UNROLLED, UNROLLED), 0.08, np.float32)}
    teacher = Teacher(head, bright)
    fit = teacher.fit(portrait_photo, astronaut_face.landmarks)
    made = render(teacher, fit, astronaut_face, mouthSmileLeft=1.0)
    white = (made.colour.min(0) == 1) & (made.mask > 0)
    assert white.mean() > 0.05
    assert made.mask[white].max() <= THIN  # no teeth are looked up through it


def test_brows_and_nose_wrinkle_bare_skin_on_their_own_side(
    teacher, fit, astronaut_face, portrait_photo
):
    def lines(fitted, **actions):
        made = render(teacher, fitted, astronaut_face, **actions)
        return made.mask * (made.colour.max(0) == 0)

    middle = (SIZE * astronaut_face.square.to_crop() @ [*fit.points[9, :2], 1])[0]
    frown = lines(fit, browDownLeft=1.0)
    assert frown.max() > 0.1
    rows, columns = np.nonzero(frown > 0.05)
    assert columns.min() > middle - 3  # the subject's left alone
    assert lines(fit, browDownLeft=0.5).max() == pytest.approx(0.5 * frown.max(), rel=0.25)
    landmarks = astronaut_face.landmarks
    hidden = portrait_photo.copy()
    hidden[: int(landmarks[6, 1])] = (0, 90, 0)
    assert lines(teacher.fit(hidden, landmarks), browDownLeft=1.0).sum() < 0.3 * frown.sum()
    nose = lines(fit, noseSneerLeft=1.0)
    assert np.nonzero(nose > 0.05)[0].max() > rows.max()  # beside it, below the brows


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


@pytest.mark.parametrize("under", [UNDER_BROW_LEFT, UNDER_BROW_RIGHT])
def test_a_brow_takes_the_skin_below_it_along_and_leaves_the_lashes(head, under):
    lashes, folds, brows = (list(column) for column in zip(*under, strict=True))
    raised = np.zeros((2, 468, 3))
    raised[0, brows, 1], raised[0, folds, 1] = 1.0, 0.4
    raised[1, folds, 1] = 0.7  # already more than a brow that stays
    whole = whole_brows(head.vertices, raised)
    assert (whole[0, folds, 1] > 0.4).all()
    assert (whole[0, folds, 1] <= 1).all()
    nearer = [head.vertices[v, 1].mean() for v in (lashes, folds, brows)]
    assert nearer[0] < nearer[1] < nearer[2]
    others = np.delete(np.arange(468), folds)
    np.testing.assert_array_equal(whole[:, others], raised[:, others])
    np.testing.assert_array_equal(whole[1], raised[1])


@pytest.mark.skipif(not SHARED.exists(), reason="the open 3-D head is not here")
def test_the_real_head_parts_its_lips_and_keeps_its_sides():
    head = load_head(SHARED)
    jaw = head.deltas[ACTIONS.index("jawOpen")]
    assert jaw[14, 1] < jaw[13, 1] - 1.0  # cm
    lowest = (head.vertices + jaw)[list(LOWER_LIP), 1]  # from corner to corner, round and no point
    assert lowest[4] == lowest.min()
    turns = np.diff(np.diff(lowest) / np.diff((head.vertices + jaw)[list(LOWER_LIP), 0]))
    assert np.abs(turns).max() < 0.5
    closing = head.deltas[ACTIONS.index("mouthClose")]
    assert np.abs((jaw + closing)[[87, 14, 317], 1]).max() < 0.2 * np.abs(jaw[14, 1])
    smile = np.linalg.norm(head.deltas[ACTIONS.index("mouthSmileLeft")], axis=1)
    assert head.vertices[smile.argmax(), 0] > 0
    assert smile[61] < 0.1 * smile[291]
    lift = head.deltas[ACTIONS.index("browOuterUpLeft"), :, 1]
    assert lift[443] > 0.8 * lift[282] > 5 * lift[257]  # below the brow, brow, above the lashes
    assert head.deltas.shape == (len(ACTIONS), 468, 3)
    moves = np.abs(head.deltas).max((1, 2)) > 0.05
    assert [name for name, any_ in zip(ACTIONS, moves, strict=True) if any_] == list(FACE_ACTIONS)
