from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from moue import Animator, expression
from moue.actions import EXPRESSIONS
from moue.crop import Square
from training.data.faces import FaceCrop
from training.evaluate import (
    DEGREES,
    Report,
    draw_each_action,
    draw_sheet,
    draw_strip,
    figures,
    held_out_neutral,
    look,
    similarity,
    unevenness,
)

SQUARE = Square(32, 32, 20, 0.3)


def test_rises_are_taken_against_degree_zero_over_both_sides():
    face = [{"mouthSmileLeft": 0.1 + 0.4 * d, "mouthSmileRight": 0.1 + 0.6 * d} for d in DEGREES]
    rises, rows = figures({"happy": [face, face]})
    assert rises["happy"]["mouthSmile"] == pytest.approx(0.5)
    (row,) = rows
    assert row["share"] == pytest.approx(0.5 / 0.83)
    assert row["spearman"] == pytest.approx(1.0)


def test_a_score_that_falls_with_degree_is_not_called_order():
    face = [{"mouthSmileLeft": 0.5 - 0.3 * d} for d in DEGREES]
    assert figures({"happy": [face]})[1][0]["spearman"] == pytest.approx(-1.0)


def test_similarity_looks_only_where_it_is_told():
    random = np.random.default_rng(0)
    a = random.integers(0, 256, (40, 60, 3), np.uint8)
    b = a.copy()
    b[:, 40:] = 0
    left = np.zeros((40, 60), bool)
    left[:, :30] = True
    ssim, psnr = similarity(a, np.clip(b, 0, 254), left)
    assert ssim > 0.99
    assert psnr > 45
    assert similarity(a, b, ~left)[0] < 0.8


def test_a_ramp_is_as_uneven_as_its_largest_step():
    even = [np.full((8, 8, 3), 20 * k, np.uint8) for k in range(6)]
    assert unevenness(even) == pytest.approx(1)
    assert unevenness([*even, np.full((8, 8, 3), 160, np.uint8)]) == pytest.approx(3)


def test_frames_of_the_shipped_model_follow_each_other_smoothly(portrait_photo):
    """One second at 30 frames a second, straight from rest to each expression's peak."""
    degrees = np.linspace(0, 1, 31).tolist()
    with Animator("edge", "cpu", threads=1) as animator:
        portrait = animator.prepare(portrait_photo)
        for name in EXPRESSIONS:
            frames = animator.frames(portrait, expression(name).degrees(degrees))
            assert unevenness([look(portrait, frame) for frame in frames]) < 2, name


def test_a_strip_is_twelve_frames_of_a_rise(animator, portrait_photo, tmp_path):
    draw_strip(animator, portrait_photo, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (12 * 224, 22 + 224)


def test_every_action_is_drawn(animator, portrait_photo, tmp_path):
    draw_each_action(animator, portrait_photo, tmp_path / "actions.png")
    with Image.open(tmp_path / "actions.png") as sheet:
        rows = -(-len(animator.actions) // 9)
        assert sheet.size == (9 * 224, 22 + rows * 224)


def face_crop(name: str, smile: float, held_out: bool = True) -> FaceCrop:
    blank = np.zeros((4, 4, 3), np.uint8)
    scores = {"mouthSmileLeft": smile, "mouthSmileRight": smile}
    identity = name.rsplit("_", 1)[0]
    return FaceCrop(name, identity, held_out, blank, SQUARE, np.zeros((478, 3)), scores)


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


def test_the_report_is_a_table_and_the_sheet_a_picture(tmp_path):
    row = {"expression": "happy", "score": "s", "plain_warp": 0.5, "rise": 0.25}
    report = Report(["a"], figures=[{**row, "share": 0.5, "spearman": 1.0}])
    report.summary["mean"] = 0.5
    assert "| happy | s | +0.50 | +0.25 | 0.50 | 1.000 |" in report.table()
    cells = [np.full((8, 8, 3), 90, np.uint8)] * 2
    draw_sheet([cells, cells], ["photo", "happy"], tmp_path / "made" / "sheet.png")
    with Image.open(tmp_path / "made" / "sheet.png") as sheet:
        assert sheet.size == (448, 470)
