"""`moue …` run in this process, on a real photo and the tiny bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from moue import cli
from tests.cli import Ran

Moue = Callable[..., Ran]


@pytest.fixture(scope="session")
def photo(portrait_photo, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(portrait_photo).save(path, compress_level=1)
    return path


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
