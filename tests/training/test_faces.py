from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue.errors import OutputError
from training.data import faces
from training.data.faces import load_faces, prepare


class Scorer:
    """Scores every face alike, but for one that is in the dark."""

    def __init__(self, data: Path) -> None:
        pass

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, photo: np.ndarray) -> dict[str, float]:
        return {"jawOpen": 0.25} if photo.mean() > 60 else {}


@pytest.fixture(autouse=True)
def scored(monkeypatch) -> None:
    monkeypatch.setattr(faces, "BlendshapeScorer", Scorer)


def root_of(root: Path, **photos: np.ndarray) -> Path:
    """A data root with portraits."""
    for part in ("portraits", "models"):
        (root / part).mkdir(parents=True)
    (root / "models" / "face_landmarker.task").touch()
    for name, photo in photos.items():
        Image.fromarray(photo).save(root / "portraits" / f"{name}.jpg")
    return root


def names(root: Path, cache: Path) -> list[str]:
    return [face.name for face in load_faces(root, cache)]


def test_a_root_has_the_faces_that_it_holds_now(tmp_path, portrait_photo):
    cache = tmp_path / "cache"
    one = root_of(tmp_path / "one", anna_1=portrait_photo, bob_1=portrait_photo[:, ::-1])
    other = root_of(tmp_path / "other", anna_1=portrait_photo[:, ::-1])
    for root in (one, other):
        assert prepare(root, cache) == []
    assert names(one, cache) == ["anna_1", "bob_1"]
    (anna, _), (another,) = (list(load_faces(root, cache)) for root in (one, other))
    mirrored, same = (
        np.abs(anna.photo.astype(int) - seen).mean()
        for seen in (another.photo[:, ::-1], another.photo)
    )
    assert mirrored < same / 2, "each has its own photo of that name"
    (one / "portraits" / "anna_1.jpg").unlink()
    assert prepare(one, cache) == []
    assert names(one, cache) == ["bob_1"]


def test_what_shows_no_face_or_is_no_photo_is_left_out_and_named(tmp_path, portrait_photo):
    root = root_of(
        tmp_path / "root",
        face=portrait_photo,
        unscored=portrait_photo // 3,
        wall=np.full((64, 64, 3), 128, np.uint8),
    )
    (root / "portraits" / "broken.jpg").write_bytes(b"no photo")
    assert prepare(root, tmp_path / "cache") == ["broken", "unscored", "wall"]
    (face,) = load_faces(root, tmp_path / "cache")
    assert (face.name, face.scores) == ("face", {"jawOpen": 0.25})


def test_faces_are_not_prepared_without_what_scores_them(tmp_path, portrait_photo):
    root = root_of(tmp_path / "root", face=portrait_photo)
    (root / "models" / "face_landmarker.task").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"need .*face_landmarker\.task, which is not there"
    ):
        prepare(root, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_root_without_portraits_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"portraits holds no \*\.jpg"):
        prepare(root_of(tmp_path / "root"), tmp_path / "cache")


def test_a_full_disk_leaves_no_half_of_an_archive(tmp_path, portrait_photo, monkeypatch):
    def full(file: object, **_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    root = root_of(tmp_path / "root", face=portrait_photo)
    with pytest.raises(OutputError, match="No space left on device"):
        prepare(root, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
