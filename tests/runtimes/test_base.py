"""The seam, held by a runtime that computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from moue.bundle import load_bundle
from moue.errors import BundleError, RuntimeUnavailableError, UsageError
from moue.runtimes.base import FRAMES, Runtime, Tensors
from tests.tiny import SIZE


class Zeros(Runtime):
    """Gives zeros of the right shapes, or what a test put into `outputs`."""

    name = "zeros"
    device = "nowhere"
    released = 0

    def _encode(self, photo: NDArray[np.float32]) -> Tensors:
        return {name: zeros(shape) for name, shape in self.encoder_outputs.items()}

    def _decode(self, features: Mapping[str, NDArray[np.float32]]) -> Tensors:
        frames = len(features["skip_4"])
        return {name: zeros(shape, frames) for name, shape in self.decoder_outputs.items()}

    def _release(self) -> None:
        self.released += 1


def zeros(shape: tuple[int | str, ...], frames: int = 1) -> NDArray[np.float32]:
    return np.zeros([frames if axis == FRAMES else int(axis) for axis in shape], np.float32)


@pytest.fixture
def runtime(tiny_bundle: Path) -> Zeros:
    return Zeros(load_bundle(tiny_bundle))


@pytest.fixture
def skips(runtime: Zeros) -> Tensors:
    return {name: zeros(shape, 3) for name, shape in runtime.decoder_inputs.items()}


def test_shapes_come_from_the_manifest(runtime: Zeros, skips: Tensors) -> None:
    features = runtime.encode(np.zeros((1, 3, SIZE, SIZE), np.float32))
    assert {name: array.shape for name, array in features.items()} == {
        "base_4": (1, 8, 4, 4),
        "residual_4": (54, 8, 4, 4),
        "base_8": (1, 6, 8, 8),
        "residual_8": (54, 6, 8, 8),
        "base_16": (1, 4, 16, 16),
    }
    assert sorted(skips) == ["base_16", "skip_4", "skip_8"]
    assert {name: array.shape for name, array in runtime.decode(skips).items()} == {
        "flow": (3, 2, SIZE, SIZE),
        "mask": (3, 1, SIZE, SIZE),
        "light": (3, 3, SIZE, SIZE),
        "place": (3, 2, 3, 4),
    }


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("skip_4", np.zeros((3, 8, 4, 4)), "skip_4 must be float32 .* got float64"),
        ("skip_4", np.zeros((3, 8, 4), np.float32), r"got float32 \[3, 8, 4\]"),
        ("skip_4", np.zeros((3, 7, 4, 4), np.float32), r"got float32 \[3, 7, 4, 4\]"),
        ("skip_4", np.zeros((0, 8, 4, 4), np.float32), r"got float32 \[0, 8, 4, 4\]"),
        ("skip_4", np.zeros((2, 8, 4, 4), np.float32), r"as many frames, but got \[2, 3\]"),
        ("base_16", np.zeros((3, 4, 16, 16), np.float32), "base_16 must be"),
        ("skip_16", np.zeros((3, 4, 16, 16), np.float32), "inputs must be"),
    ],
)
def test_wrong_features(
    runtime: Zeros, skips: Tensors, name: str, array: NDArray, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        runtime.decode({**skips, name: array})
    with pytest.raises(UsageError, match="inputs must be"):
        runtime.decode({})


@pytest.mark.parametrize("shape", [(3, SIZE, SIZE), (2, 3, SIZE, SIZE), (1, 3, SIZE, SIZE + 1)])
def test_wrong_photos(runtime: Zeros, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="photo must be float32"):
        runtime.encode(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_must_be_finite(
    runtime: Zeros, skips: Tensors, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    outputs = runtime.decode(skips)
    outputs["mask"][2, 0, 5, 5] = value
    monkeypatch.setattr(runtime, "_decode", lambda features: outputs)
    with pytest.raises(RuntimeUnavailableError, match="zeros on nowhere gave mask values"):
        runtime.decode(skips)


def test_outputs_must_have_the_manifests_shapes(
    runtime: Zeros, skips: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = runtime.decode(skips)
    outputs["place"] = outputs["place"][:, :, :2]
    monkeypatch.setattr(runtime, "_decode", lambda features: outputs)
    with pytest.raises(BundleError, match=r"place must be .* came out as \[3, 2, 2, 4\]"):
        runtime.decode(skips)


def test_closing_releases_once(runtime: Zeros, skips: Tensors) -> None:
    with runtime:
        runtime.decode(skips)
    runtime.close()
    assert runtime.released == 1
    with pytest.raises(UsageError, match="the zeros runtime is closed"):
        runtime.decode(skips)
