from __future__ import annotations

import pytest

from training.evaluate import Report, figures, whose
from training.likeness import DEGREES


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


def test_the_report_is_a_table():
    row = {"expression": "happy", "score": "s", "plain_warp": 0.5, "rise": 0.25}
    report = Report(["a"], figures=[{**row, "share": 0.5, "spearman": 1.0, "least": 0.9}])
    report.summary["mean"] = 0.5
    head, _, *table = report.table().splitlines()
    assert head == "1 held-out faces: 1 photographs of people, 0 generated"
    assert table[2] == "| happy | s | +0.50 | +0.25 | 0.50 | 1.000 | 0.900 |"
    assert len({line.count("|") for line in table[:3]}) == 1


def test_one_face_whose_score_falls_is_not_hidden_by_the_rest():
    faces = [[{"mouthSmileLeft": 0.4 + s * d} for d in DEGREES] for s in (0.5, 0.5, 0.5, -0.3)]
    (row,) = figures({"happy": faces})[1]
    assert row["spearman"] == pytest.approx(0.5)
    assert row["least"] == pytest.approx(-1)


def test_faces_that_are_nobodys_are_counted_apart():
    said = whose(["synth_male_1", "london_2_neutral", "synth_female_3"])
    assert said == "3 held-out faces: 1 photographs of people, 2 generated"
