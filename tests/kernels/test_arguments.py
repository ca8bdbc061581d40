"""A wrong argument is refused by name, whichever backend would have run."""

from __future__ import annotations

import numpy as np
import pytest

from moue import kernels
from moue.mouth import Mouth

PHOTO = np.zeros((6, 5, 3), np.uint8)
EYE = [[1, 0, 0], [0, 1, 0]]
READ_ONLY = PHOTO.copy()
READ_ONLY.flags.writeable = False


def shifted(array):
    """The same one byte on, where no number of more than a byte may stand."""
    room = np.zeros(array.nbytes + 1, np.uint8)
    moved = room[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    assert not moved.flags.aligned
    return moved


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def skip_sum(**changed):
    good = {"base": zeros(18), "residual": zeros(4, 18), "actions": zeros(1, 4), "sizes": [8, 10]}
    return kernels.skip_sum(**{**good, **changed})


def preprocess(**changed):
    return kernels.preprocess(**{"photo": PHOTO, "to_photo": EYE, "size": 4, **changed})


def compose(**changed):
    maps = {"flow": zeros(2, 4, 4), "mask": zeros(4, 4), "light": zeros(3, 4, 4)}
    inside = {"place": zeros(2, 1, 1), "mouth": Mouth(PHOTO, (0, 0, 1, 1))}
    return kernels.compose(**{"photo": PHOTO, "to_crop": EYE, **maps, **inside, **changed})


@pytest.mark.parametrize(
    ("kernel", "changed", "complaint"),
    [
        (skip_sum, {"base": None}, r"base must be float32 \[cells\], but got NoneType"),
        (skip_sum, {"base": zeros(0)}, r"base must be .*, but got float32 \[0\]"),
        (skip_sum, {"residual": zeros(4, 19)}, r"residual must be float32 or float16 \[n, 18\]"),
        (skip_sum, {"residual": zeros(4, 18, dtype=float)}, "residual must be"),
        (skip_sum, {"sizes": [8, 9]}, r"sizes must be positive and add up to 18, but got \[8, 9\]"),
        (skip_sum, {"sizes": [20, -2]}, "sizes must be positive"),
        (skip_sum, {"sizes": []}, "sizes must be positive"),
        (skip_sum, {"actions": zeros(1, 5)}, r"actions must be float32 \[T, 4\]"),
        (skip_sum, {"actions": zeros(4)}, "actions must be"),
        (skip_sum, {"actions": zeros(1, 4, dtype=">f4")}, "actions must be"),
        (skip_sum, {"out": zeros(36)}, r"out must be float32 \[18\]"),
        (skip_sum, {"out": zeros(36)[::2]}, "out must be writeable, aligned and C-contiguous"),
        (skip_sum, {"out": shifted(zeros(18))}, "out must be writeable, aligned and"),
        (skip_sum, {"threads": -1}, "threads must be at least 0, but got -1"),
        (
            preprocess,
            {"photo": zeros(6, 5, 3)},
            r"photo must be uint8 \[H, W, 3\], but got float32",
        ),
        (preprocess, {"photo": PHOTO[..., :2]}, "photo must be"),
        (preprocess, {"to_photo": np.eye(3)}, "to_photo must be six finite numbers"),
        (preprocess, {"to_photo": [[1, 0, np.nan], [0, 1, 0]]}, "to_photo must be six finite"),
        (
            preprocess,
            {"to_photo": np.eye(2, 3) * 1e7},
            r"to_photo must span at most 32768 pixels, but got 1e\+07",
        ),
        (preprocess, {"size": 0}, "size must be at least 1, but got 0"),
        (compose, {"to_crop": np.zeros((2, 3))}, "to_crop must have an inverse"),
        (compose, {"to_crop": np.full((2, 3), np.inf)}, "to_crop must be six finite numbers"),
        (compose, {"flow": zeros(4, 4, 2)}, r"flow must be float32 \[2, 4, 4\]"),
        (
            compose,
            {"mask": zeros(4, 5)},
            r"mask must be float32 \[S, S\], but got float32 \[4, 5\]",
        ),
        (compose, {"light": zeros(3, 5, 5)}, r"light must be float32 \[3, 4, 4\]"),
        (compose, {"place": zeros(2, 4, 4)}, r"place must be float32 \[2, 1, 1\]"),
        (
            compose,
            {"mouth": Mouth(PHOTO[..., :2], (0.0, 0.0, 1.0, 1.0))},
            r"mouth.picture must be uint8 \[h, w, 3\]",
        ),
        (
            compose,
            {"rest": (zeros(2, 4, 5), zeros(4, 4))},
            r"rest flow must be float32 \[2, 4, 4\]",
        ),
        (compose, {"rest": (zeros(2, 4, 4), zeros(4))}, r"rest mask must be float32 \[4, 4\]"),
        (compose, {"colour": 1.5}, r"colour must be in \[0, 1\], but got 1.5"),
        (compose, {"colour": float("nan")}, "colour must be in"),
        (compose, {"out": PHOTO}, "out must be an array of its own"),
        (compose, {"out": READ_ONLY}, "out must be writeable"),
    ],
)
def test_refused_by_name(kernel, changed, complaint):
    kernel()
    with pytest.raises(ValueError, match=complaint):
        kernel(**changed)


def test_inputs_of_any_layout_are_taken():
    photo = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    np.testing.assert_array_equal(
        preprocess(photo=photo[::-1, :, ::-1]), preprocess(photo=photo[::-1, :, ::-1].copy())
    )


def test_inputs_that_are_not_aligned_are_taken():
    rng = np.random.default_rng(0)
    given = {
        "base": rng.random(18, np.float32),
        "residual": rng.random((4, 18)).astype(np.float16),
        "actions": rng.random((2, 4), np.float32),
    }
    moved = {name: shifted(array) for name, array in given.items()}
    np.testing.assert_array_equal(skip_sum(**moved), skip_sum(**given))
    np.testing.assert_array_equal(preprocess(to_photo=shifted(np.array(EYE, float))), preprocess())
