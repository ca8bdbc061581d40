from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from moue import crop
from moue.crop import FACE_OVAL, Square, find_faces
from moue.errors import RuntimeUnavailableError

Photo = NDArray[np.uint8]
FACE_HEIGHT = 125  # px, of the astronaut's face mesh


def on_canvas(photo: Photo, width: int, height: int, *corners: tuple[int, int]) -> Photo:
    """Copies of a photo on grey, their top left corners given as (x, y)."""
    canvas = np.full((height, width, 3), 128, np.uint8)
    for x, y in corners:
        canvas[y : y + photo.shape[0], x : x + photo.shape[1]] = photo
    return canvas


@given(
    st.floats(-500, 5000),
    st.floats(-500, 5000),
    st.floats(1, 4000),
    st.floats(-math.pi, math.pi),
)
def test_to_crop_undoes_to_photo(cx: float, cy: float, side: float, angle: float) -> None:
    square = Square(cx, cy, side, angle)
    forth, back = square.to_photo(), square.to_crop()
    for u in ((0, 0), (1, 0), (0.25, 0.75)):
        photo = forth[:, :2] @ u + forth[:, 2]
        np.testing.assert_allclose(back[:, :2] @ photo + back[:, 2], u, atol=1e-8)
    np.testing.assert_allclose(forth[:, :2] @ (0.5, 0.5) + forth[:, 2], (cx, cy), atol=1e-8)
    assert np.linalg.norm(forth[:, 0]) == pytest.approx(side)


def test_the_square_turns_with_the_head(portrait_photo: Photo) -> None:
    landmarks = find_faces(portrait_photo)[0].landmarks
    upright = Square.around(landmarks)
    turn = np.array([[math.cos(0.4), -math.sin(0.4)], [math.sin(0.4), math.cos(0.4)]])
    turned = landmarks.copy()
    turned[:, :2] = landmarks[:, :2] @ turn.T
    rolled = Square.around(turned)
    assert rolled.angle - upright.angle == pytest.approx(0.4, abs=1e-5)
    assert rolled.side == pytest.approx(upright.side, rel=1e-5)
    np.testing.assert_allclose((rolled.cx, rolled.cy), turn @ (upright.cx, upright.cy), rtol=1e-4)


def test_the_square_holds_the_face_with_room_for_the_jaw(portrait_photo: Photo) -> None:
    (face,) = find_faces(portrait_photo)
    assert face.landmarks.shape == (478, 3)
    assert 0.5 < face.score <= 1
    inside = face.square.to_crop()
    u = face.landmarks[list(FACE_OVAL), :2] @ inside[:, :2].T + inside[:, 2]
    assert u.min() > 0.08
    assert 0.12 < 1 - u[:, 1].max() < 0.3  # under the chin
    assert u[:, 1].min() < 1 - u[:, 1].max() + 0.1


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_a_rolled_head_is_found_and_straightened(portrait_photo: Photo, degrees: int) -> None:
    level = find_faces(portrait_photo)[0].square.angle
    rolled = np.asarray(Image.fromarray(portrait_photo).rotate(-degrees, Image.Resampling.BICUBIC))
    (face,) = find_faces(rolled)
    assert math.degrees(face.square.angle - level) == pytest.approx(degrees, abs=4)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_photo_on_its_side_or_head_is_found_as_it_lies(portrait_photo: Photo, turn: int) -> None:
    level = find_faces(portrait_photo)[0]
    (face,) = find_faces(np.rot90(portrait_photo, turn))
    x, y = level.landmarks[:, 0], level.landmarks[:, 1]
    where = ((y, 512 - x), (512 - x, 512 - y), (512 - y, x))[turn - 1]
    missed = face.landmarks[:, :2] - np.stack(where, axis=1)
    assert np.linalg.norm(missed, axis=1).mean() < 0.02 * level.square.side
    rolled = math.degrees(face.square.angle - level.square.angle + turn * math.pi / 2) % 360
    assert min(rolled, 360 - rolled) < 4


@pytest.mark.parametrize(
    "edges",
    [(0, 220, 0, 512), (0, 512, 210, 512), (0, 512, 0, 250), (95, 192, 180, 270)],
    ids=["chin", "left", "right", "all four"],
)
def test_a_face_over_the_edge_is_found(portrait_photo: Photo, edges: tuple[int, ...]) -> None:
    top, bottom, left, right = edges
    whole = find_faces(portrait_photo)[0].square
    (face,) = find_faces(portrait_photo[top:bottom, left:right])
    assert face.square.side == pytest.approx(whole.side, rel=0.15)
    assert face.square.cx + left == pytest.approx(whole.cx, abs=0.08 * whole.side)
    assert face.square.cy + top == pytest.approx(whole.cy, abs=0.08 * whole.side)


@pytest.mark.parametrize("height", [90, 300])
def test_faces_from_90_pixels_are_found_in_a_large_photo(
    portrait_photo: Photo, height: int
) -> None:
    size = round(512 * height / FACE_HEIGHT)
    small = np.asarray(Image.fromarray(portrait_photo).resize((size, size)))
    (face,) = find_faces(on_canvas(small, 2400, 1600, (1100, 150)))
    near = find_faces(small)[0].square
    assert face.square.cx == pytest.approx(near.cx + 1100, abs=0.1 * near.side)
    assert face.square.side == pytest.approx(near.side, rel=0.15)


def test_several_faces_come_largest_first(portrait_photo: Photo) -> None:
    small = np.asarray(Image.fromarray(portrait_photo).resize((300, 300)))
    both = on_canvas(portrait_photo, 900, 512, (0, 0))
    both[:300, 560:860] = small
    first, second = find_faces(both)
    assert first.square.cx < 512 < second.square.cx
    assert first.square.side > 1.4 * second.square.side


@pytest.mark.parametrize(
    "change",
    [
        lambda photo: (photo.mean(2, keepdims=True) * 0.3).repeat(3, 2),
        lambda photo: photo * 0.05,
        lambda photo: (photo * 1.9 + 26).clip(0, 255),
        lambda photo: (photo + np.random.default_rng(0).normal(0, 35, photo.shape)).clip(0, 255),
    ],
    ids=["dim and grey", "all but black", "overexposed", "noisy"],
)
def test_a_bad_photo_is_a_photo(
    portrait_photo: Photo, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    square = find_faces(portrait_photo)[0].square
    (face,) = find_faces(change(portrait_photo.astype(np.float32)).astype(np.uint8))
    assert face.square.side == pytest.approx(square.side, rel=0.1)


@pytest.mark.parametrize(
    "photo", [np.zeros((64, 64, 3)), np.random.default_rng(0).uniform(0, 255, (300, 500, 3))]
)
def test_no_face_is_no_error(photo: NDArray[np.float64]) -> None:
    assert find_faces(photo.astype(np.uint8)) == []


def test_nothing_of_mediapipes_start_reaches_standard_error(
    portrait_photo: Photo, capfd: pytest.CaptureFixture[str]
) -> None:
    find_faces(portrait_photo)
    assert capfd.readouterr().err == ""


def test_a_missing_mediapipe_is_said_with_its_mend(
    portrait_photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crop, "find_spec", lambda _: None)
    with pytest.raises(RuntimeUnavailableError, match="pip install 'mediapipe"):
        find_faces(portrait_photo)


FORKED = """
import os
from skimage.data import astronaut
import moue

assert moue.find_faces(astronaut())
if (child := os.fork()) == 0:
    try:
        moue.find_faces(astronaut())
    except moue.RuntimeUnavailableError as error:
        os._exit(7 if "get_context('spawn')" in str(error) else 1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_forked_process_is_told_that_it_cannot_look_for_faces() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


HOST = """
import sys
import numpy as np
from moue.crop import find_faces, import_mediapipe

nothing = np.zeros((64, 64, 3), np.uint8)
import_mediapipe("tasks.python.vision.face_landmarker", "python._framework_bindings.image")
find_faces(nothing)
heavy = {{"mediapipe", "cv2", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
ours = sys.modules["mediapipe.python.solutions.face_mesh"]
sys.modules["cv2"] = None  # as on a slim machine
try:
    import mediapipe
except ImportError:
    find_faces(nothing)
else:
    raise AssertionError("the whole of MediaPipe needs OpenCV")
del sys.modules["cv2"]
{first}
import mediapipe as mp

assert mp.solutions.face_mesh is ours
assert callable(mp.solutions.pose.Pose) and callable(mp.solutions.drawing_utils.draw_landmarks)
assert callable(mp.tasks.vision.FaceLandmarker) and callable(mp.tasks.BaseOptions)
assert mp.__version__ and mp.__file__ and callable(mp.Image)
find_faces(nothing)
"""


@pytest.mark.parametrize(
    "first",
    [
        "import mediapipe as mp; mp.solutions",
        "from mediapipe import solutions",
        "from mediapipe.tasks.python import vision; vision.FaceLandmarker",
        "import mediapipe.python.solutions.face_mesh",
    ],
)
def test_a_program_may_use_mediapipe_itself_after_moue(first: str) -> None:
    command = [sys.executable, "-c", HOST.format(first=first)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_program_that_imported_mediapipe_keeps_it() -> None:
    script = """
import mediapipe as mp
import numpy as np
from moue.crop import find_faces

find_faces(np.zeros((64, 64, 3), np.uint8))
assert callable(mp.solutions.pose.Pose)
import mediapipe
assert mediapipe is mp
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
