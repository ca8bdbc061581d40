from __future__ import annotations

import numpy as np
import pytest

from moue.bundle import load_bundle
from moue.mouth import Mouth, colour_of

WINDOW = (0.1875, 0.4375, 0.8125, 0.875)


def mouth_of(height: int, width: int) -> Mouth:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Mouth(picture, WINDOW)


def test_a_node_for_every_four_by_four_pixels() -> None:
    assert mouth_of(16, 16).nodes(256) == (28, 40)
    assert mouth_of(16, 16).nodes(64) == (7, 10)


@pytest.mark.parametrize(
    ("side", "width"),
    [
        (5000.0, 768),
        (1024.0, 768),
        (725.0, 768),
        (724.0, 384),  # where the picture is √2 times as wide as wanted
        (512.0, 384),
        (256.0, 192),
        (128.0, 96),
        (1.0, 48),
        (0.0, 48),
    ],
)
def test_small_faces_get_small_pictures(side: float, width: int) -> None:
    reduced = mouth_of(384, 768).for_side(side)
    assert reduced.picture.shape == (width // 2, width, 3)
    assert reduced.window == WINDOW


def test_reduced_pictures_are_means_of_blocks_rounded() -> None:
    mouth = mouth_of(384, 768)
    picture = mouth.for_side(256).picture
    means = mouth.picture.astype(float).reshape(96, 4, 192, 4, 3).mean((1, 3))
    assert np.array_equal(picture, np.floor(means + 0.5))
    assert picture.flags.c_contiguous
    assert not picture.flags.writeable
    assert np.array_equal(mouth.for_side(9999).picture, mouth.picture)


@pytest.mark.parametrize(
    ("sides", "least"),
    [
        ((96, 96), (48, 48)),
        ((96, 94), (96, 94)),  # half of it were narrower than 48
        ((100, 400), (25, 100)),
        ((99, 400), (99, 400)),
        ((384, 770), (192, 385)),
    ],
)
def test_sides_are_halved_as_often_as_they_can_be(
    sides: tuple[int, int], least: tuple[int, int]
) -> None:
    assert mouth_of(*sides).for_side(1).picture.shape == (*least, 3)


def test_paint_in_a_grey_photo_keeps_no_colour_whatever_its_grain() -> None:
    rng = np.random.default_rng(0)
    photo = np.repeat(rng.random((1, 256, 256), np.float32), 3, 0)
    assert colour_of(photo) == 0
    assert colour_of(photo + rng.normal(0, 0.02, photo.shape).astype(np.float32)) == 0
    assert colour_of(np.zeros_like(photo)) == 0
    skin = np.array([0.8, 0.6, 0.5], np.float32)[:, None, None] + 0.1 * photo
    assert colour_of(skin) == 1
    assert colour_of(0.1 * skin) == 1  # in the dark too
    faint = photo + np.array([0.02, 0, -0.01], np.float32)[:, None, None]
    assert 0.1 < colour_of(faint) < 0.9


def test_the_shipped_mouth_at_the_networks_own_size_is_what_it_was_trained_with() -> None:
    drawn = pytest.importorskip("training.teacher.mouth").draw_picture().transpose(1, 2, 0)
    bundle = load_bundle("edge")
    picture = bundle.mouth.for_side(bundle.input_size).picture
    assert picture.shape == drawn.shape
    assert np.abs(picture - 255 * drawn).max() < 1
