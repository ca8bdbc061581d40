from __future__ import annotations

import numpy as np
from PIL import Image

from training.sheets import draw_each_action, draw_sheet, draw_strip


def test_a_strip_is_twelve_frames_of_a_rise(animator, portrait_photo, tmp_path):
    draw_strip(animator, portrait_photo, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (12 * 224, 22 + 224)


def test_every_action_is_drawn(animator, portrait_photo, tmp_path):
    draw_each_action(animator, portrait_photo, tmp_path / "actions.png")
    with Image.open(tmp_path / "actions.png") as sheet:
        rows = -(-len(animator.actions) // 9)
        assert sheet.size == (9 * 224, 22 + rows * 224)


def test_a_sheet_is_rows_under_titles(tmp_path):
    cells = [np.full((8, 8, 3), 90, np.uint8)] * 2
    draw_sheet([cells, cells], ["photo", "happy"], tmp_path / "made" / "sheet.png")
    with Image.open(tmp_path / "made" / "sheet.png") as sheet:
        assert sheet.size == (448, 470)
