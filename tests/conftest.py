"""What most tests start from: a tiny real bundle, a real face, and an animator with both."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

import moue
from tests.tiny import write_tiny_bundle

settings.register_profile("moue", deadline=None, derandomize=True, database=None)
settings.load_profile("moue")


@pytest.fixture(scope="session", autouse=True)
def _no_expressions_of_the_developers_own(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _what_is_started_hears_ctrl_c() -> None:
    """Also where the suite itself does not, as when a script starts it in the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder, shared: copy it before changing it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def portrait_photo() -> NDArray[np.uint8]:
    """A real face, uint8 RGB [512, 512, 3], read-only: the astronaut Eileen Collins (NASA)."""
    from skimage import data

    photo = data.astronaut()
    photo.setflags(write=False)
    return photo


@pytest.fixture(scope="session")
def animator(tiny_bundle: Path) -> Iterator[moue.Animator]:
    with moue.Animator(tiny_bundle, "cpu", threads=1) as animator:
        yield animator


@pytest.fixture(scope="session")
def portrait(animator: moue.Animator, portrait_photo: NDArray[np.uint8]) -> moue.Portrait:
    return animator.prepare(portrait_photo)
