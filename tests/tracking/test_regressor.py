from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest

from moue.actions import ACTIONS
from moue.errors import BundleError
from moue.tracking.mesh import lay
from moue.tracking.regressor import LIDS, REGRESSOR, features, load_regressor

REGRESSOR_WEIGHTS = REGRESSOR.with_suffix(".npz")
MEAN = load_regressor().mean


@pytest.fixture
def copied(tmp_path):
    for path in (REGRESSOR, REGRESSOR_WEIGHTS):
        shutil.copy(path, tmp_path)
    return tmp_path / REGRESSOR.name


def test_rest_reads_as_rest():
    assert not load_regressor()(MEAN, MEAN).any()


@pytest.mark.parametrize(("side", "name"), [(0, "eyeBlinkLeft"), (1, "eyeBlinkRight")])
def test_a_lowered_lid_reads_as_that_eyes_blink(side, name):
    moved = MEAN.copy()
    for upper, lower in LIDS[side]:
        moved[upper] = moved[lower]
    read = load_regressor()(MEAN, moved)
    other = "eyeBlinkRight" if side == 0 else "eyeBlinkLeft"
    assert read[ACTIONS.index(name)] > 0.2 + read[ACTIONS.index(other)]
    assert features(MEAN, moved)[-3 + side] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("degrees", [-15, 15])
def test_a_head_that_turns_does_nothing_though_its_depth_is_a_guess(axis, degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.eye(3)
    other = [1, 2] if axis == 0 else [0, 2]
    turn[np.ix_(other, other)] = [[c, -s], [s, c]]
    seen = (MEAN * (1, 1, 1.15)) @ turn.T
    read = load_regressor()(MEAN, lay(seen.astype(np.float32), MEAN)[0])
    assert read.max() < 0.1


def test_it_is_small_and_says_what_it_was_made_of():
    assert REGRESSOR_WEIGHTS.stat().st_size <= 300_000
    manifest = json.loads(REGRESSOR.read_text())
    assert manifest["licence"] == "Apache-2.0"
    assert manifest["training"]["data"]


@pytest.mark.parametrize("place", [0, 10, 1000, -30])
def test_a_changed_byte_is_refused_before_it_is_parsed(copied, place, monkeypatch):
    weights = copied.with_suffix(".npz")
    data = bytearray(weights.read_bytes())
    data[place] ^= 1
    weights.write_bytes(data)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(BundleError, match="is not the file"):
        load_regressor(copied)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "cannot use"), ("[]", "cannot use"), ("{}", "cannot use"), ('{"sha256": 1}', "is not")],
)
def test_a_manifest_that_makes_no_sense(copied, text, words):
    copied.write_text(text)
    with pytest.raises(BundleError, match=words):
        load_regressor(copied)


def test_missing_and_too_large(copied):
    with pytest.raises(BundleError, match="No such file"):
        load_regressor(copied.with_name("none.json"))
    copied.with_suffix(".npz").write_bytes(bytes(400_000))
    with pytest.raises(BundleError, match="larger than"):
        load_regressor(copied)


def test_tracking_loads_neither_opencv_nor_matplotlib():
    script = (
        "import sys, numpy; from moue.tracking import Tracker;"
        "Tracker().track(numpy.zeros((64, 64, 3), numpy.uint8), 0.0);"
        "print(*{'cv2', 'matplotlib', 'jax', 'torch'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.stderr) == ("", "")


def test_reading_leaves_no_thread_spinning_between_pictures():
    code = """
import time
from moue.tracking.regressor import load_regressor
regressor = load_regressor()
mean = regressor.mean
regressor(mean, mean)
time.sleep(0.5)
began, others = time.perf_counter(), time.process_time() - time.thread_time()
for _ in range(40):
    regressor(mean, mean)
    time.sleep(0.025)
others = time.process_time() - time.thread_time() - others
print(others / (time.perf_counter() - began))
"""
    run = [sys.executable, "-c", code]
    share = float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert share < 0.2  # of a core, by all threads but this one
