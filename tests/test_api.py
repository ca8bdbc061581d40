"""What `import moue` hands out, and the examples that its documentation gives of it."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import moue

NTSC = Fraction(30000, 1001)
README = Path(__file__).parents[1] / "README.md"
IN_README = re.findall(
    r"^```python\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
)
IN_PACKAGE = [each.source for each in doctest.DocTestParser().get_examples(moue.__doc__ or "")]


@pytest.fixture
def with_files(tmp_path, monkeypatch, portrait_photo) -> None:
    """In a folder with the files that examples name: a photo, and a clip of a face that slides."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(portrait_photo).save("photo.jpg", quality=95)
    moue.write_frames((np.roll(portrait_photo[:300], k, 1) for k in range(12)), "me.mp4", NTSC)


def test_the_examples_of_the_package_make_their_clips(with_files, portrait_photo):
    assert [len(source.splitlines()) <= 8 for source in IN_PACKAGE] == [True] * 3
    exec("".join(IN_PACKAGE), {})
    for path, fps, count in (("happy.mp4", 30, 60), ("driven.mp4", NTSC, 12)):
        video = moue.VideoReader(path)
        frames = list(video)
        assert (video.fps, video.size, len(frames)) == (fps, (512, 512), count)
        assert moue.verify(path) is not None
    happy = list(moue.VideoReader("happy.mp4"))
    moved = [np.abs(frame.astype(int) - portrait_photo).mean() for frame in (happy[0], happy[-1])]
    assert moved[1] > moved[0] + 0.2


@pytest.mark.parametrize("example", IN_README)
def test_an_example_of_the_readme_runs(with_files, example):
    exec(example, {})


def test_every_name_is_there_once_moue_is_imported_and_says_what_it_is():
    script = "import moue; print([hasattr(moue, name) for name in moue.__all__].count(False))"
    command = [sys.executable, "-c", f"{script}; moue.tracking.Tuning, moue.video.Sound"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "0\n"
    assert moue.__all__ == sorted(moue.__all__)
    for name in set(moue.__all__) - {"__version__"}:
        said = inspect.getdoc(getattr(moue, name))
        assert said, name
        assert not said.startswith(f"{name}("), name  # what a dataclass says without one


def test_every_kind_of_error_is_handed_out():
    kinds = {
        kind.__name__
        for kind in moue.MoueError.__subclasses__()
        if kind.__module__ == "moue.errors"
    }
    assert {name for name in moue.__all__ if name.endswith("Error")} == {"MoueError", *kinds}


def test_frames_are_a_generator_to_python_and_to_type_checkers(animator, portrait):
    curve = moue.expression("happy").rise(seconds=2, fps=30)
    with closing(animator.frames(portrait, curve)) as frames:
        assert next(frames).shape == (512, 512, 3)
    assert next(frames, None) is None
    hints = get_type_hints(moue.Animator.frames)
    assert hints["return"] == Generator[NDArray[np.uint8], None, None]


def test_a_face_that_was_found_is_prepared(animator, portrait_photo):
    two = np.hstack([portrait_photo, portrait_photo[::2, ::2].repeat(2, 0)])
    right = max(moue.find_faces(two), key=lambda face: face.square.cx)
    (prepared,) = animator.prepare(two, right).faces
    assert prepared.square == right.square
    assert right.square.cx > 512
