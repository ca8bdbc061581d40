"""Nobody who is held out is ever trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moue.crop import Square
from training.data import stream
from training.data.clips import Clip
from training.data.faces import FaceCrop
from training.data.stream import clip_sources, portrait_sources


@pytest.fixture
def everyone(portrait_photo, astronaut_face) -> list[FaceCrop]:
    """Four people, neutral and smiling, of whom two are held out."""
    neutral = FaceCrop(
        "", "", False, portrait_photo, astronaut_face.square, astronaut_face.landmarks, {}
    )
    smile = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}
    return [
        replace(neutral, name=f"{who}_{shown}", identity=who, held_out=who in "cd", scores=scores)
        for who in "abcd"
        for shown, scores in (("neutral", {}), ("smile", smile))
    ]


@pytest.mark.parametrize("expressions", [(), ("happy", "angry")])
def test_portraits_of_who_is_held_out_are_in_no_source(everyone, teacher, monkeypatch, expressions):
    given = []
    monkeypatch.setattr(stream, "load_faces", lambda root, cache: iter(everyone))
    monkeypatch.setattr(stream, "make_teacher", lambda data, faces: given.append(faces) or teacher)
    sources = portrait_sources(Path("x"), Path("x"), 1, 0.1, 0.1, False, expressions)
    assert [share for share, _ in sources][:2] == [0.1, 0.1]
    assert sum(share for share, _ in sources) == pytest.approx(1)
    pairs, *others = (source for _, source in sources)
    trained = [face for pair in pairs.pairs for face in pair]
    trained += [face for source in others for face in source.faces]
    assert {face.identity for face in trained} == {"a", "b"}
    assert {face.identity for face in given[0]} == {"a", "b"}


def test_clips_of_who_is_held_out_are_in_no_source():
    clips = [
        Clip(
            Path("x"),
            who,
            who == "b",
            "happy",
            Square(0, 0, 1, 0),
            np.zeros((2, 68, 2)),
            np.ones(2),
        )
        for who in "abc"
    ]
    ((share, source),) = clip_sources(clips, 1, False)
    assert share == 1
    assert [clip.identity for clip in source.clips] == ["a", "c"]
