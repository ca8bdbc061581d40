from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moue.actions import ACTIONS, EXPRESSIONS, action_vector
from tests.training import trees
from training.data import clips
from training.data.clips import (
    ClipsError,
    ClipSource,
    find_clips,
    load_clips,
    prepare_clips,
    rise,
    showing,
)
from training.data.faces import is_held_out

SIZE = 64
PEOPLE = {  # two of each set, of whom the second is held out
    "ck+": ("S005", "S009"),
    "ck++": ("anna", "p12"),
    "mug": ("001", "019"),
    "oulu-casia": ("P001", "P004"),
}
MAKERS = {
    "ck+": trees.ck,
    "ck++": trees.ck_plus_plus,
    "mug": trees.mug,
    "oulu-casia": trees.oulu,
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory, portrait_photo, astronaut_face) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    return {
        name: make(folder / name, portrait_photo, astronaut_face, list(PEOPLE[name]))
        for name, make in MAKERS.items()
    }


@pytest.fixture(scope="module")
def cache(roots, tmp_path_factory) -> Path:
    """Every tree prepared."""
    folder = tmp_path_factory.mktemp("clips")
    for root in roots.values():
        assert prepare_clips(find_clips(root), folder) == []
    return folder


@pytest.mark.parametrize(
    ("layout", "clips", "expression", "frames"),
    [
        ("ck+", 1, "surprise", 4),
        ("ck++", 2, "happy", 3),
        ("mug", 1, "angry", 7),
        ("oulu-casia", 1, "happy", 2),
    ],
)
def test_a_layout_is_told_by_its_folders(roots, layout, clips, expression, frames):
    found = find_clips(roots[layout])
    assert found == find_clips(roots[layout], layout)
    assert len(found) == 2 * clips
    assert {clip.expression for clip in found} == {expression}
    assert {clip.identity for clip in found} == {f"{layout} {p}" for p in PEOPLE[layout]}
    assert {len(clip.frames) for clip in found} == {frames}
    assert not any("/NI/" in str(path) for clip in found for path in clip.frames)
    assert all(list(clip.frames) == sorted(clip.frames) for clip in found)


@pytest.mark.parametrize("layout", MAKERS)
def test_people_are_held_out_whole(roots, cache, layout):
    for clip in load_clips(find_clips(roots[layout]), cache):
        assert clip.held_out == is_held_out(clip.identity)
        assert clip.held_out == (clip.identity == f"{layout} {PEOPLE[layout][1]}")


def test_landmarks_come_from_the_sets_files_and_from_mediapipe_where_it_has_none(roots, cache):
    read, measured = (
        next(c for c in load_clips(find_clips(roots["ck++"]), cache) if take in c.path.name)
        for take in ("anna_happy_2", "anna_happy_1")
    )
    first, last = read.landmarks[[0, -1]]
    chin = (last - first)[8, 1]
    assert chin > 10
    np.testing.assert_array_equal((last - first)[17:27], 0)  # brows, as written
    assert (measured.landmarks[-1] - measured.landmarks[0])[8, 1] == pytest.approx(chin, rel=0.5)
    np.testing.assert_allclose(measured.landmarks[0], first, atol=0.03 * read.square.side)


def test_degrees_run_from_neutral_to_peak(roots, cache):
    (clip, _) = load_clips(find_clips(roots["ck+"]), cache)
    np.testing.assert_allclose(clip.degrees, [0, 1 / 3, 2 / 3, 1])
    assert clip.frame(3).shape == (384, 384, 3)
    assert np.abs(clip.frame(3).astype(int) - clip.frame(0)).max() > 30


@pytest.mark.parametrize(
    ("unseen", "degrees"),
    [({1}, [0, 2 / 3, 1]), ({3}, [0, 1 / 3, 2 / 3]), ({0}, None), ({1, 2, 3}, None)],
)
def test_a_frame_without_a_face_leaves_the_others_their_degrees(
    tmp_path, monkeypatch, portrait_photo, astronaut_face, unseen, degrees
):
    for k, (picture, _) in enumerate(
        trees.frames(portrait_photo, astronaut_face, [0, 0.3, 0.7, 1])
    ):
        trees.write(tmp_path / "set" / "eve" / "happy" / f"{k}.png", picture)
    numbers = iter(range(4))
    mesh = astronaut_face.landmarks
    monkeypatch.setattr(
        clips, "Measure", lambda: lambda crop: (mesh, None)[next(numbers) in unseen]
    )
    files = find_clips(tmp_path / "set")
    missing = prepare_clips(files, tmp_path / "cache")
    assert missing == ([] if degrees else ["ck++_eve_happy"])
    for clip in load_clips(files, tmp_path / "cache"):
        np.testing.assert_allclose(clip.degrees, degrees, rtol=1e-6)
        assert len(clip.landmarks) == len(degrees)


def test_a_clip_of_other_frames_is_another(tmp_path, portrait_photo, astronaut_face):
    folder = tmp_path / "set" / "eve" / "happy"
    for k, (picture, points) in enumerate(
        trees.frames(portrait_photo, astronaut_face, [0, 0.5, 1])
    ):
        trees.write(folder / f"{k}.png", picture)
        np.savetxt(folder / f"{k}_landmarks.txt", points)
    prepare_clips(find_clips(tmp_path / "set"), tmp_path / "cache")
    (folder / "2.png").unlink()
    files = find_clips(tmp_path / "set")
    prepare_clips(files, tmp_path / "cache")
    (clip,) = load_clips(files, tmp_path / "cache")
    assert clip.degrees.tolist() == [0, 1]


def test_a_clip_that_returns_is_cut_at_its_onset_and_its_peak(roots, cache):
    for clip in load_clips(find_clips(roots["mug"]), cache):
        assert len(clip.landmarks) in (3, 4)  # of 0, 0, ½, 1, 1, ½, 0: rest, half-way, peak
        opened = clip.landmarks[:, 8, 1]
        assert (np.diff(opened) > 0).all()


def test_a_moving_head_is_not_taken_for_a_rise():
    base = np.random.default_rng(0).normal(size=(68, 2))
    shape = np.random.default_rng(1).normal(size=(68, 2))
    shown = np.array([0, 0.02, 0.5, 1, 0.98, 0.3, 0])[:, None, None]
    drift = np.arange(7)[:, None, None] * np.array([5.0, 2.0])
    assert rise((base + shown * (shape - shape.mean(0)) + drift).astype(np.float32)) == (1, 3)


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    for k in (1, 2, 10):
        trees.write(tmp_path / "eve" / "happy" / f"f{k}.png", np.zeros((8, 8), np.uint8))
    (clip,) = find_clips(tmp_path)
    assert [path.stem for path in clip.frames] == ["f1", "f2", "f10"]


@pytest.mark.parametrize("where", ["OriginalImg/VL/Strong", "OriginalImg", ""])
def test_a_part_of_a_set_will_do(roots, monkeypatch, where):
    monkeypatch.chdir(roots["oulu-casia"] / where)
    found = find_clips(Path())
    assert [clip.identity for clip in found] == ["oulu-casia P001", "oulu-casia P004"]
    assert all("OriginalImg/VL" in str(path) for clip in found for path in clip.frames)


@pytest.mark.parametrize("augment", [False, True, "crops"])
def test_a_sample_is_the_neutral_frame_and_later_ones(roots, cache, augment):
    clips = load_clips(find_clips(roots["ck+"]), cache)
    source = ClipSource(clips[:1], SIZE, 5, augment)
    sample, again = (source.sample(np.random.default_rng([0, 3])) for _ in range(2))
    for name, value in vars(sample).items():
        np.testing.assert_array_equal(value, getattr(again, name))
        assert value.dtype == np.float32
    assert sample.photo.shape == (3, SIZE, SIZE)
    assert sample.real.shape == (5, 3, SIZE, SIZE)
    assert sample.landmarks.shape == (5, 68, 2)
    peak = np.asarray(action_vector(EXPRESSIONS["surprise"], ACTIONS))
    degrees = sample.actions[:, ACTIONS.index("eyeWideLeft")]  # which surprise asks for in full
    np.testing.assert_allclose(sample.actions, degrees[:, None] * peak, atol=1e-6)
    assert set(np.round(degrees * 3)) <= {0, 1, 2, 3}
    assert len(set(np.round(degrees * 3))) > 1
    height = np.ptp(sample.landmarks[:, :, 1], axis=1)  # the chin falls with the degree
    assert height[np.argmax(degrees)] > height[np.argmin(degrees)]


def test_a_frame_and_its_landmarks_are_mirrored_together(roots, cache):
    clips = load_clips(find_clips(roots["ck++"]), cache)
    source = ClipSource(clips[:1], SIZE, 1, True)
    sides = set()
    for seed in range(12):
        sample = source.sample(np.random.default_rng(seed))
        lips = sample.landmarks[0]
        assert lips[48, 0] < lips[54, 0]  # the right corner of the mouth is still on the left
        assert lips[0, 0] < lips[16, 0]
        sides.add(bool(sample.photo[:, :, : SIZE // 2].mean() > sample.photo.mean()))
    assert sides == {True, False}  # the flag behind the astronaut changes sides


@pytest.mark.parametrize("layout", ["auto", *MAKERS])
def test_a_folder_that_is_none_of_these_is_refused_in_one_line(tmp_path, layout):
    (tmp_path / "some" / "pictures").mkdir(parents=True)
    with pytest.raises(ClipsError, match="holds no clips of the six expressions") as raised:
        find_clips(tmp_path, layout)
    assert "\n" not in str(raised.value)
    with pytest.raises(ClipsError, match="there is no folder"):
        find_clips(tmp_path / "nowhere", layout)


def test_an_expression_without_clips_is_refused(roots, cache):
    clips = load_clips(find_clips(roots["ck+"]), cache)
    assert showing(clips, ["surprise"]) == clips
    with pytest.raises(ClipsError, match=r"shows 'happy'; shown are: surprise \(1\)"):
        showing(clips, ["surprise", "happy"])


@pytest.mark.parametrize("text", ["", "1 2 3\n4 5 6", "nonsense"])
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_a_broken_landmark_file_is_named(tmp_path, portrait_photo, astronaut_face, text, roots):
    root = trees.ck_plus_plus(tmp_path / "set", portrait_photo, astronaut_face, ["anna"])
    broken = root / "anna" / "happy" / "2" / "001_landmarks.txt"
    broken.write_text(text)
    with pytest.raises(ClipsError, match=r"001_landmarks\.txt must hold 68 lines of x and y"):
        prepare_clips(find_clips(root), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if "happy_2" in path.name]


def test_clips_without_a_face_are_left_out_and_named(tmp_path):
    for k in range(2):
        trees.write(tmp_path / "set" / "bob" / "happy" / f"{k}.png", np.zeros((64, 64), np.uint8))
    files = find_clips(tmp_path / "set")
    assert prepare_clips(files, tmp_path / "cache") == ["ck++_bob_happy"]
    assert load_clips(files, tmp_path / "cache") == []


def test_two_sets_that_number_people_alike_are_kept_apart(tmp_path, portrait_photo, astronaut_face):
    for name in ("one", "two"):
        trees.oulu(tmp_path / name, portrait_photo, astronaut_face, ["P001"])
        prepare_clips(find_clips(tmp_path / name), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2
