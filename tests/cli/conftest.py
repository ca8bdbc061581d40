"""`moue …` run in this process, on a real photo and the tiny bundle."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moue import cli
from moue.video import write_frames
from tests.cli import Ran

Moue = Callable[..., Ran]


@pytest.fixture(scope="session")
def photo(portrait_photo, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(portrait_photo).save(path, compress_level=1)
    return path


@pytest.fixture(scope="session")
def sliding(portrait_photo, tmp_path_factory) -> Callable[[int, Fraction], Path]:
    """sliding(frames, fps): a clip of the portrait's face as it slides past."""

    def clip(count: int, fps: Fraction) -> Path:
        path = tmp_path_factory.mktemp("sliding") / "me.mp4"
        frames = (np.ascontiguousarray(np.roll(portrait_photo[:300], k, 1)) for k in range(count))
        write_frames(frames, path, fps)
        return path

    return clip


@pytest.fixture
def moue(capfd) -> Moue:
    """moue("doctor", "--json") runs a command in this process."""

    def run(*argv: object) -> Ran:
        code = cli.main([str(word) for word in argv])
        return Ran(code, *capfd.readouterr())

    return run


@pytest.fixture
def animate(moue, tiny_bundle, photo) -> Moue:
    """animate("-o", path) animates the portrait with the tiny bundle."""
    return lambda *argv: moue("animate", photo, "--bundle", tiny_bundle, "--threads", 1, *argv)
