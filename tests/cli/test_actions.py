"""`moue actions`, and names without their side on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from moue import mix
from moue.actions import ACTIONS
from tests.cli import assert_one_line
from tests.tiny import write_tiny_bundle


def test_actions_are_listed(moue, tiny_bundle):
    ran = moue("actions", "--bundle", tiny_bundle)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines] == list(ACTIONS)
    assert lines[0] == "eyeBlinkLeft          0…1  eyes           the left eye closes"
    assert lines[-3].startswith(
        "headYaw              -1…1  head           the head turns to the left"
    )


def test_actions_for_programs(moue, tiny_bundle):
    ran = moue("actions", "--json", "--bundle", tiny_bundle)
    listed = json.loads(ran.out)
    assert [each["name"] for each in listed] == list(ACTIONS)
    assert listed[0] == {
        "name": "eyeBlinkLeft",
        "region": "eyes",
        "min": 0,
        "max": 1,
        "does": "the left eye closes",
    }
    assert listed[-1]["min"] == -1


def test_they_are_the_bundles(moue, tmp_path):
    bundle = write_tiny_bundle(tmp_path / "other", actions=("jawOpen", "tongueOut"))
    ran = moue("actions", "--bundle", bundle)
    assert [line.split() for line in ran.out.splitlines()] == [
        ["jawOpen", "0…1", "jaw", "the", "jaw", "opens"],
        ["tongueOut", "0…1", "tongue"],
    ]
    assert_one_line(moue("actions", "--bundle", tmp_path / "none"), 1, "is not a folder")


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        (
            ["mouthSmile=0.8,jawOpen=0.2"],
            {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "jawOpen": 0.2},
        ),
        (["eyeBlink=1", "eyeBlinkRight=0.5"], {"eyeBlinkLeft": 1, "eyeBlinkRight": 0.5}),
        (["eyeBlinkRight=0.5", "eyeBlink=1"], {"eyeBlinkLeft": 1, "eyeBlinkRight": 0.5}),
    ],
)
def test_both_sides_at_once(animate, animator, portrait, tmp_path, options, weights):
    words = [word for option in options for word in ("--action", option)]
    assert animate(*words, "-o", tmp_path / "out.png").code == 0
    with Image.open(tmp_path / "out.png") as image:
        assert np.array_equal(np.asarray(image), animator.frame(portrait, mix({}, weights)))
