from __future__ import annotations

import numpy as np
import pytest

from moue.actions import FACE_ACTIONS
from moue.errors import OutputError
from moue.tracking.mesh import lay, place
from moue.tracking.regressor import load_regressor
from training import tracker
from training.tracker import (
    Moves,
    correlations,
    draw_moves,
    fit,
    mean_face,
    possible,
    save,
    turned,
)


@pytest.fixture(scope="module")
def moves(astronaut_face) -> Moves:
    """Two actions that move the mesh in ways of their own, measured with a little noise."""
    random = np.random.default_rng(0)
    points = astronaut_face.landmarks.astype(np.float32)
    actions = np.zeros((300, len(FACE_ACTIONS)), np.float32)
    ways = {"jawOpen": [152, 148, 377, 17], "browInnerUp": [107, 336, 55, 285]}
    rest = np.repeat(points[None], 300, 0) + random.normal(0, 0.02, (300, 478, 3))
    moved = rest + random.normal(0, 0.02, (300, 478, 3))
    for name, vertices in ways.items():
        actions[:, FACE_ACTIONS.index(name)] = random.uniform(0, 1, 300)
        moved[:, vertices, 1] += 6 * actions[:, FACE_ACTIONS.index(name), None]
    return Moves(
        rest.astype(np.float32), moved.astype(np.float32), actions, np.zeros(300, np.int32)
    )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # actions that never move
def test_what_moved_the_mesh_is_found(moves, head, tmp_path):
    regressor = fit(moves, mean_face(moves.rest[:5], head.vertices))
    found = correlations(regressor, moves)
    assert found["jawOpen"] > 0.95
    assert found["browInnerUp"] > 0.95
    save(regressor, tmp_path / "tracker.npz", {"data": ["made up"]})
    again = load_regressor(tmp_path / "tracker.json")
    assert np.abs(again.weights - regressor.weights).max() < 0.01
    assert np.array_equal(again.mean, regressor.mean)


def test_moves_are_action_vectors_of_every_kind():
    random = np.random.default_rng(0)
    drawn = np.array([draw_moves(random) for _ in range(2000)])[:, : len(FACE_ACTIONS)]
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (drawn > 0).any(axis=0).all(), "every action is learnt"
    assert (~drawn.any(axis=1)).any(), "and rest"


def test_what_moves_both_ways_at_once_is_left_out():
    actions = np.zeros((4, len(FACE_ACTIONS)), np.float32)
    left, right = FACE_ACTIONS.index("mouthLeft"), FACE_ACTIONS.index("mouthRight")
    actions[0, left] = actions[1, right] = actions[2, [left, right]] = 0.5
    faces = np.zeros((4, 478, 3), np.float32)
    kept = possible(Moves(faces, faces, actions, np.arange(4, dtype=np.int32)))
    assert kept.face.tolist() == [0, 1, 3]


def test_a_turned_head_is_the_same_face_but_for_its_depth(astronaut_face, monkeypatch):
    random = np.random.default_rng(0)
    mesh = place(astronaut_face.landmarks.astype(np.float32), load_regressor().mean)[0]
    off = np.abs(lay(turned(mesh, random), mesh)[0] - mesh).max()
    assert 0.02 < off < 2, "cm"
    monkeypatch.setattr(tracker, "DEPTH_ERROR", 0.0)
    assert np.abs(lay(turned(mesh, random), mesh)[0] - mesh).max() < 1e-3


def test_a_picture_is_measured(portrait_photo):
    landmarks = tracker.Measure()(np.ascontiguousarray(portrait_photo[:300, 80:380]))
    assert landmarks is not None
    assert landmarks.shape == (478, 3)
    assert tracker.Measure()(np.zeros((64, 64, 3), np.uint8)) is None


def test_nobody_to_learn_from_is_said(tmp_path, monkeypatch, portrait_photo, head):
    def run() -> None:
        command = ["training.tracker", "--data", str(tmp_path), "--cache", str(tmp_path / "cache")]
        monkeypatch.setattr("sys.argv", command)
        tracker.main()

    with pytest.raises(SystemExit, match=r"training\.tracker: error: .*mediapipe_canonical"):
        run()
    monkeypatch.setattr(tracker, "load_head", lambda data: head)
    with pytest.raises(SystemExit, match=r"need .*face_landmarker\.task, which is not there"):
        run()
    monkeypatch.setattr(tracker, "prepare", lambda data, cache: [])
    monkeypatch.setattr(tracker, "load_faces", lambda data, cache: iter([]))
    with pytest.raises(SystemExit, match="faces held out, but holds 0 and 0"):
        run()


def test_a_full_disk_leaves_no_half_of_a_regressor(tmp_path, monkeypatch):
    def full(file: object, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save(load_regressor(), tmp_path / "tracker.npz", {})
    assert list(tmp_path.iterdir()) == []
