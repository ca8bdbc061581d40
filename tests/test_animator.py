from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import moue
from moue.errors import ActionError, NoFaceError, UsageError
from tests.tiny import write_tiny_bundle

HAPPY = moue.expression("happy")
Photo = NDArray[np.uint8]


@pytest.fixture(scope="module")
def two_faces(portrait_photo: Photo) -> Photo:
    """A face beside itself, mirrored and at twice the size."""
    head = portrait_photo[:256, 96:352]
    small = np.full((512, 256, 3), 200, np.uint8)
    small[:256] = head[:, ::-1]
    return np.hstack([small, head.repeat(2, axis=0).repeat(2, axis=1)])


def inside(portrait: moue.Portrait, face: int = 0) -> NDArray[np.bool_]:
    """Which pixel centres lie in the square of a face."""
    height, width = portrait.photo.shape[:2]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    u = np.einsum("ij,jyx->iyx", portrait.faces[face].square.to_crop(), [x, y, np.ones_like(x)])
    return ((u >= 0) & (u <= 1)).all(axis=0)


def levels(a: Photo, b: Photo) -> int:
    return int(np.abs(a.astype(int) - b).max())


def test_rest_is_the_photo_bit_for_bit(
    animator: moue.Animator, portrait: moue.Portrait, portrait_photo: Photo
) -> None:
    rest = {name: 0.0 for name in HAPPY.weights}
    for weights in ({}, rest, np.zeros(54), [-0.0] * 54, [1e-60] * 54):
        frame = animator.frame(portrait, weights)
        assert np.array_equal(frame, portrait_photo)
        assert frame.flags.writeable
    for batch in (1, 2, 3):
        mixed = list(animator.frames(portrait, [{}, HAPPY, {}, HAPPY, {}], batch))
        assert [np.array_equal(frame, portrait_photo) for frame in mixed] == [1, 0, 1, 0, 1]


def test_the_decoders_own_rest_is_subtracted(
    animator: moue.Animator, portrait: moue.Portrait, portrait_photo: Photo
) -> None:
    assert np.abs(portrait.faces[0].rest_flow).max() > 0.01  # or the subtraction shows nothing
    nearly = animator.frame(portrait, {"jawOpen": 1e-7})
    assert levels(nearly, portrait_photo) <= 1


def test_a_frame_changes_the_square_and_nothing_else(
    animator: moue.Animator, portrait: moue.Portrait, portrait_photo: Photo
) -> None:
    frame = animator.frame(portrait, HAPPY)
    assert (frame.dtype, frame.shape) == (np.uint8, portrait_photo.shape)
    assert levels(frame, portrait_photo) > 50
    assert np.array_equal(frame[~inside(portrait)], portrait_photo[~inside(portrait)])


def test_a_grey_photo_stays_grey(animator: moue.Animator, portrait_photo: Photo) -> None:
    grey = np.repeat(np.rint(portrait_photo.mean(2, keepdims=True)).astype(np.uint8), 3, 2)
    everything = np.ones(len(animator.actions), np.float32)
    portrait = animator.prepare(grey)
    frame = animator.frame(portrait, everything)
    assert np.abs(frame.astype(int) - grey).max() > 20
    assert np.ptp(frame, axis=2).max() <= 1
    vivid = replace(portrait, faces=(replace(portrait.faces[0], colour=1.0),))
    assert np.ptp(animator.frame(vivid, everything), axis=2).max() > 10


def test_weights_by_name_order_expression_and_curve_agree(
    animator: moue.Animator, portrait: moue.Portrait
) -> None:
    frame = animator.frame(portrait, HAPPY)
    vector = [HAPPY.weights.get(name, 0.0) for name in animator.actions]
    ways = [dict(HAPPY.weights), vector, tuple(vector), np.array(vector)]
    for weights in ways:
        assert np.array_equal(animator.frame(portrait, weights), frame)
    for curve in (HAPPY.degrees([1]), ways):
        for same in animator.frames(portrait, curve):
            assert np.array_equal(same, frame)


@pytest.mark.parametrize("batch", [2, 5, 64])
def test_batches_give_the_same_frames(
    animator: moue.Animator, portrait: moue.Portrait, batch: int
) -> None:
    curve = HAPPY.rise(seconds=0.4, fps=30)
    single = list(animator.frames(portrait, curve))
    assert len(single) == 12
    for one, other in zip(single, animator.frames(portrait, curve, batch), strict=True):
        assert levels(one, other) <= 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"jawOpen": float("nan")}, "'jawOpen'"),
        ({"jawOpen": float("inf")}, "'jawOpen'"),
        ({"jawOpen": 1e30}, "'jawOpen'"),
        ({"jawOpen": -0.1}, "'jawOpen'"),
        ({"jawopen": 0.1}, "did you mean jawOpen"),
        ([0.0] * 50 + [float("nan")] + [0.0] * 3, r"action 50 \(noseSneerRight\)"),
        ([0.0] * 50, r"shape \(54,\)"),
        ("jawOpen", r"by action name, but got 'jawOpen'; moue\.expression"),
        (None, "shape"),
    ],
)
def test_nonsense_is_refused_and_the_next_frame_is_the_same(
    animator: moue.Animator, portrait: moue.Portrait, weights: Any, message: str
) -> None:
    before = animator.frame(portrait, HAPPY)
    with pytest.raises(ActionError, match=message):
        animator.frame(portrait, weights)
    with pytest.raises(ActionError, match=message):
        list(animator.frames(portrait, [HAPPY, weights]))
    assert np.array_equal(animator.frame(portrait, HAPPY), before)


def test_a_curve_with_unknown_actions_is_refused_before_its_first_frame(
    animator: moue.Animator, portrait: moue.Portrait
) -> None:
    curve = moue.ActionCurve(("jawOpne",), np.zeros((2, 1), np.float32))
    with pytest.raises(ActionError, match="did you mean jawOpen"):
        animator.frames(portrait, curve)


@pytest.mark.parametrize("curve", [HAPPY, {"jawOpen": 1.0}, 5, None])
def test_what_is_no_curve(animator: moue.Animator, portrait: moue.Portrait, curve: Any) -> None:
    with pytest.raises(UsageError, match=r"expression.rise\(\) makes a curve"):
        animator.frames(portrait, curve)
    with pytest.raises(UsageError, match="batch must be"):
        animator.frames(portrait, HAPPY.rise(), batch=0)


def test_residuals_of_resting_actions_are_never_read(
    animator: moue.Animator, portrait: moue.Portrait
) -> None:
    face = portrait.faces[0]
    moving = animator.actions.index("jawOpen")
    poisoned = np.full_like(face.features.residual, np.nan)
    poisoned[moving] = face.features.residual[moving]
    features = replace(face.features, residual=poisoned)
    trap = replace(portrait, faces=(replace(face, features=features),))
    weights = {"jawOpen": 0.7}
    assert np.array_equal(animator.frame(trap, weights), animator.frame(portrait, weights))


def test_memory_does_not_grow_with_the_frames(
    animator: moue.Animator, portrait: moue.Portrait
) -> None:
    asked = 0

    def weights() -> Iterator[dict[str, float]]:
        nonlocal asked
        while True:
            asked += 1
            yield {"jawOpen": asked % 7 / 7}

    shown: list[weakref.ref[Any]] = []
    for frame in animator.frames(portrait, weights()):
        shown.append(weakref.ref(frame))
        assert asked == len(shown)
        assert sum(reference() is not None for reference in shown) <= 2
        if asked == 100:
            break


def test_a_frame_allocates_nothing_but_itself(
    animator: moue.Animator, portrait: moue.Portrait
) -> None:
    weights = np.full(len(animator.actions), 0.5, np.float32)
    animator.frame(portrait, weights)  # what stays with the thread
    tracemalloc.start()
    try:
        for _ in range(5):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            frame = animator.frame(portrait, weights)
            grown = tracemalloc.get_traced_memory()[1] - before
            assert frame.nbytes <= grown < frame.nbytes + 20_000
            del frame
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("batch", [1, 3])
def test_a_curve_is_made_side_by_side_and_shown_in_order(
    tiny_bundle: Path, portrait: moue.Portrait, batch: int
) -> None:
    curve = HAPPY.rise(seconds=1, fps=20)
    with moue.Animator(tiny_bundle, threads=3) as animator:
        frames = list(animator.frames(portrait, curve, batch))
        alone = [
            animator.frame(portrait, dict(zip(curve.actions, map(float, row), strict=True)))
            for row in curve.values
        ]
    assert len(frames) == len(alone) == 20
    assert max(levels(a, b) for a, b in zip(frames, alone, strict=True)) <= 1
    assert len({frame.tobytes() for frame in alone}) > 10  # or the order shows nothing


def test_a_curve_left_early_leaves_no_thread_and_reads_no_further_than_it_must(
    tiny_bundle: Path, portrait: moue.Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = 0
    render = moue.Animator._render

    def counted(*arguments: Any) -> Any:
        nonlocal begun
        begun += 1
        return render(*arguments)

    monkeypatch.setattr(moue.Animator, "_render", counted)
    with moue.Animator(tiny_bundle, threads=2) as animator:
        frames = animator.frames(portrait, HAPPY.rise(seconds=10, fps=30))
        next(frames)
        frames.close()
        assert begun <= 3
        assert not any(t.name.startswith("side by side") for t in threading.enumerate())


def test_what_fails_in_a_frame_of_a_curve_is_raised(
    tiny_bundle: Path, portrait: moue.Portrait
) -> None:
    with moue.Animator(tiny_bundle, threads=2) as animator:
        frames = animator.frames(portrait, HAPPY.rise(seconds=1, fps=30))
        next(frames)
        animator.close()
        with pytest.raises(UsageError, match="closed"):
            list(frames)


@pytest.mark.parametrize("pickled", [False, True])
def test_portraits_cannot_be_changed(portrait: moue.Portrait, pickled: bool) -> None:
    if pickled:
        portrait = pickle.loads(pickle.dumps(portrait))
    face = portrait.faces[0]
    arrays = [portrait.photo, face.landmarks, face.rest_flow, face.rest_mask, face.mouth.picture]
    arrays += [*face.features.still.values(), face.features.base, face.features.residual]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(FrozenInstanceError):
        portrait.faces = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        face.features.still[4] = face.features.base  # type: ignore[index]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_portrait_gives_the_same_frames(
    animator: moue.Animator, two_faces: Photo, protocol: int
) -> None:
    both = animator.prepare(two_faces, face="all")
    again = pickle.loads(pickle.dumps(both, protocol))
    assert again is not both
    assert np.array_equal(animator.frame(again, HAPPY), animator.frame(both, HAPPY))
    assert np.array_equal(animator.frame(again, {}), two_faces)


def test_a_portrait_goes_to_another_process(
    animator: moue.Animator, portrait: moue.Portrait, tmp_path: Path
) -> None:
    (tmp_path / "portrait").write_bytes(pickle.dumps(portrait))
    script = """
import pickle, sys
from pathlib import Path
import moue
folder, bundle = Path(sys.argv[1]), sys.argv[2]
portrait = pickle.loads((folder / "portrait").read_bytes())
with moue.Animator(bundle, "cpu", threads=1) as animator:
    frame = animator.frame(portrait, moue.expression("happy"))
(folder / "frame").write_bytes(frame.tobytes())
"""
    command = [sys.executable, "-c", script, str(tmp_path), str(animator.bundle.folder)]
    subprocess.run(command, check=True)
    assert (tmp_path / "frame").read_bytes() == animator.frame(portrait, HAPPY).tobytes()


def test_threads_prepare_photos_and_make_frames_at_once(
    tiny_bundle: Path, portrait_photo: Photo
) -> None:
    photos = [np.ascontiguousarray(np.roll(portrait_photo, 9 * k, axis=1)) for k in range(4)]
    turns = [HAPPY, {"jawOpen": 0.4}, {"eyeBlinkLeft": 1.0}, {}]
    curve = HAPPY.rise(seconds=0.3, fps=20)
    with moue.Animator(tiny_bundle, "cpu", threads=2) as animator:
        shared = animator.prepare(portrait_photo)

        def work(k: int) -> list[Photo]:
            own = animator.prepare(photos[k])
            frames = [animator.frame(each, turns[k]) for each in (own, shared) for _ in range(5)]
            return frames + list(animator.frames(shared, curve, batch=1 + k))

        alone = [work(k) for k in range(4)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(work, range(4)))
    for one, other in zip(alone, together, strict=True):
        assert all(map(np.array_equal, one, other))


def test_a_portrait_keeps_its_own_photo(animator: moue.Animator, portrait_photo: Photo) -> None:
    given = portrait_photo.copy()
    portrait = animator.prepare(given)
    given[...] = 0
    assert np.array_equal(portrait.photo, portrait_photo)


def test_whatever_holds_the_photo(
    animator: moue.Animator, portrait: moue.Portrait, portrait_photo: Photo, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(portrait_photo).save(path)
    frame = animator.frame(portrait, HAPPY)
    opaque = np.dstack([portrait_photo, np.full_like(portrait_photo[..., 0], 255)])
    for source in (path, str(path), path.read_bytes(), Image.open(path), opaque):
        assert np.array_equal(animator.frame(animator.prepare(source), HAPPY), frame)


def test_choosing_faces(animator: moue.Animator, two_faces: Photo) -> None:
    both = animator.prepare(two_faces, face="all")
    first, second = both.faces
    assert first.square.side > 1.5 * second.square.side
    for face, wanted in (("largest", first), (1, first), (2, second)):
        (found,) = animator.prepare(two_faces, face=face).faces
        assert found.square == wanted.square
    with pytest.raises(NoFaceError, match=r"face 3 was asked for, but only 2 found.*: 1 at "):
        animator.prepare(two_faces, face=3)


def test_all_faces_move_together(animator: moue.Animator, two_faces: Photo) -> None:
    both = animator.prepare(two_faces, face="all")
    wanted = two_faces.copy()
    for number in (0, 1):
        alone = animator.frame(animator.prepare(two_faces, face=number + 1), HAPPY)
        wanted[inside(both, number)] = alone[inside(both, number)]
    assert np.array_equal(animator.frame(both, HAPPY), wanted)
    assert np.array_equal(animator.frame(both, {}), two_faces)


@pytest.mark.parametrize("face", [0, -1, True, 1.0, "2", "smallest", None])
def test_wrong_faces(animator: moue.Animator, portrait_photo: Photo, face: Any) -> None:
    with pytest.raises(UsageError, match="face must be 'largest', 'all' or a number"):
        animator.prepare(portrait_photo, face=face)


def test_no_face(animator: moue.Animator) -> None:
    with pytest.raises(NoFaceError, match="no face found"):
        animator.prepare(np.full((64, 64, 3), 128, np.uint8))


def test_portraits_of_another_bundle_are_refused(portrait: moue.Portrait, tmp_path: Path) -> None:
    with moue.Animator(write_tiny_bundle(tmp_path / "other", seed=1)) as other:
        with pytest.raises(UsageError, match="another bundle"):
            other.frame(portrait, HAPPY)
        with pytest.raises(UsageError, match="must come from prepare"):
            other.frame(portrait.photo, HAPPY)  # type: ignore[arg-type]


def test_a_closed_animator_says_so(
    tiny_bundle: Path, portrait: moue.Portrait, portrait_photo: Photo
) -> None:
    with moue.Animator(tiny_bundle) as animator:
        pass
    animator.close()
    with pytest.raises(UsageError, match="closed"):
        animator.frame(portrait, HAPPY)
    with pytest.raises(UsageError, match="closed"):
        animator.prepare(portrait_photo)


def test_bundles_with_actions_of_their_own(tmp_path: Path, portrait_photo: Photo) -> None:
    with moue.Animator(write_tiny_bundle(tmp_path / "b", ("happy", "sad", "angry"))) as animator:
        portrait = animator.prepare(portrait_photo)
        assert animator.actions == ("happy", "sad", "angry")
        assert levels(animator.frame(portrait, {"sad": 1.0}), portrait_photo) > 20
        with pytest.raises(ActionError, match="unknown action 'jawOpen'"):
            animator.frame(portrait, {"jawOpen": 1.0})
