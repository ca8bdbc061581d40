from __future__ import annotations

import pytest

from training.evaluate import Report, figures
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
    report = Report(["a"], figures=[{**row, "share": 0.5, "spearman": 1.0}])
    report.summary["mean"] = 0.5
    assert "| happy | s | +0.50 | +0.25 | 0.50 | 1.000 |" in report.table()
