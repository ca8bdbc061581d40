from __future__ import annotations

from random import Random

import numpy as np
import pytest

from moue.actions import FACE_ACTIONS
from moue.errors import OutputError, UsageError
from moue.tracking.neutral import Calibration, Neutral
from moue.tracking.regressor import load_regressor

MEAN = load_regressor().mean
SCORES = np.zeros(len(FACE_ACTIONS), np.float32)
POSE = np.array([3, -8, 0.5], np.float32)
LOWER_FACE = MEAN[:, 1] < MEAN[13, 1]


def face(opened: float, yaw: float = 0.0) -> Neutral:
    mesh = MEAN.copy()
    mesh[LOWER_FACE, 1] -= np.float32(opened)
    return Neutral(mesh, SCORES, POSE + np.float32([yaw, 0, 0]))


def found(opening: np.ndarray) -> float:
    """How far the mouth stands open in the rest that is found, in cm."""
    calibration = Calibration()
    for k, opened in enumerate(opening):
        calibration.add(k / 30, face(opened))
    assert calibration.best is not None
    return float((MEAN - calibration.best.mesh)[LOWER_FACE, 1].mean())


def test_rest_is_the_quietest_second():
    talk = 1 + np.sin(np.arange(90) / 2)
    assert found(np.concatenate([talk, np.zeros(45), talk])) == pytest.approx(0, abs=0.02)


def test_a_still_open_mouth_is_no_rest():
    held_open, talk = np.full(60, 2.0), 0.2 + 0.2 * np.sin(np.arange(60))
    assert found(np.concatenate([held_open, talk])) < 0.5


@pytest.mark.parametrize("turning", [np.full(40, 8.0), 8 * np.sin(np.arange(40) / 6)])
def test_a_head_that_is_turned_or_turning_is_not_at_rest(turning):
    calibration = Calibration()
    talk = 0.15 + 0.15 * np.sin(np.arange(60))
    for k, (opened, yaw) in enumerate([*((o, 0.0) for o in talk), *((0.0, y) for y in turning)]):
        calibration.add(k / 30, face(opened, yaw))
    assert calibration.best is not None
    assert calibration.best.pose[0] == pytest.approx(POSE[0], abs=0.5)


def test_a_head_that_begins_turned_is_known_where_all_is_known():
    calibration = Calibration(POSE)
    talk = 0.15 + 0.15 * np.sin(np.arange(90))
    for k, (opened, yaw) in enumerate(
        [*((0.0, 8.0) for _ in range(40)), *((o, 0.0) for o in talk)]
    ):
        calibration.add(k / 30, face(opened, yaw))
    assert calibration.best is not None
    assert calibration.best.pose[0] == pytest.approx(POSE[0], abs=0.5)


def test_the_first_face_serves_until_there_is_better():
    assert found(np.array([1.5])) == pytest.approx(1.5)
    assert Calibration().best is None
    assert Calibration().now() is None


def test_a_gap_is_not_a_quiet_second():
    calibration = Calibration()
    for k in range(20):
        calibration.add(k / 30, face(1.0))
    calibration.interrupt()
    calibration.add(1.0, face(0.0))
    assert len(calibration._recent) == 1


def test_saved_and_read_again(tmp_path):
    path = tmp_path / "me.npz"
    face(0.3).save(path)
    again = Neutral.load(path)
    assert np.array_equal(again.mesh, face(0.3).mesh)
    assert np.array_equal(again.pose, POSE)
    with pytest.raises(OutputError, match="no folder"):
        face(0).save(tmp_path / "missing" / "me.npz")


def test_every_truncation_and_other_files_are_refused(tmp_path):
    path, damaged = tmp_path / "me.npz", tmp_path / "damaged.npz"
    face(0).save(path)
    data = path.read_bytes()
    for length in (0, 1, 100, len(data) // 2, len(data) - 1):
        damaged.write_bytes(data[:length])
        with pytest.raises(UsageError, match="holds no neutral face"):
            Neutral.load(damaged)
    np.savez(damaged, mesh=MEAN[:5], scores=SCORES)
    with pytest.raises(UsageError, match="holds no neutral face"):
        Neutral.load(damaged)
    np.savez(damaged, mesh=np.full_like(MEAN, np.nan), scores=SCORES)
    with pytest.raises(UsageError, match="holds no neutral face"):
        Neutral.load(damaged)
    with pytest.raises(UsageError, match="No such file"):
        Neutral.load(tmp_path / "none.npz")
    np.savez_compressed(damaged, mesh=MEAN, scores=SCORES, bomb=np.zeros(10**8, np.uint8))
    assert damaged.stat().st_size < 2**20
    with pytest.raises(UsageError, match="holds no neutral face"):
        Neutral.load(damaged)


@pytest.mark.filterwarnings("ignore")  # of NumPy, at headers that make no sense
def test_mutated_files_are_refused_or_hold_a_face(tmp_path):
    random, path = Random(0), tmp_path / "me.npz"
    face(0.3).save(path)
    data = path.read_bytes()
    edges = [at for at in range(len(data)) if at < 300 or at > len(data) - 700]  # names and sizes
    for _ in range(1000):
        changed = bytearray(data)
        for at in random.choices(edges, k=random.randrange(1, 4)):
            changed[at] = random.randrange(256)
        path.write_bytes(changed)
        try:
            again = Neutral.load(path)
        except UsageError:
            continue
        assert again.mesh.shape == MEAN.shape
        assert np.isfinite(again.mesh).all()
