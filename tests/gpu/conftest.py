"""What runs on a real GPU; skipped, with the reason, where there is none.

MediaPipe is not needed there: where the face is, is written down.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import moue
from moue import kernels
from moue.bundle import BUNDLES, Bundle, load_bundle
from moue.crop import Face, Square
from moue.errors import RuntimeUnavailableError
from moue.runtimes import device
from moue.runtimes.base import Runtime
from moue.runtimes.select import select_runtime

SCALE = 2  # the astronaut's face fills 150 px of her photo
FACE = Face(
    Square(SCALE * 224.03, SCALE * 130.33, SCALE * 149.8, 0.0576),
    np.zeros((478, 3), np.float32),
    1.0,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker("gpu")


@pytest.fixture(scope="session")
def gpu() -> Iterator[device.CudaDevice]:
    try:
        kernels.cuda_devices()
        found = device.CudaDevice()
    except (RuntimeError, RuntimeUnavailableError) as reason:
        pytest.skip(f"no GPU: {reason}")
    yield found
    found.close()


@pytest.fixture(scope="session")
def bundle(tiny_bundle) -> Bundle:
    """The shipped bundle, or the tiny one in a checkout that has none."""
    return load_bundle("edge" if (BUNDLES / "edge").is_dir() else tiny_bundle)


@pytest.fixture(scope="session")
def photo(portrait_photo) -> NDArray[np.uint8]:
    height, width = portrait_photo.shape[:2]
    larger = Image.fromarray(portrait_photo).resize((SCALE * width, SCALE * height))
    return np.asarray(larger)


@pytest.fixture(scope="session")
def animator(bundle) -> Iterator[moue.Animator]:
    """The CPU's, whose frames are to be had on the GPU too."""
    with moue.Animator(bundle, "cpu") as animator:
        yield animator


@pytest.fixture(scope="session")
def portrait(animator, photo) -> moue.Portrait:
    return animator.prepare(photo, FACE)


@pytest.fixture(scope="session", params=["tensorrt", "onnxruntime", "pytorch"])
def runtime(request, gpu, bundle) -> Iterator[Runtime]:
    """The bundle on the GPU, by everything there that can execute it."""
    try:
        if request.param == "pytorch":
            opened = _pytorch(bundle)
        else:
            opened = select_runtime(bundle, "cuda", request.param)
    except RuntimeUnavailableError as reason:
        pytest.skip(f"no {request.param} on this GPU: {reason}")
    with opened:
        yield opened


def _pytorch(bundle: Bundle) -> Runtime:
    pytest.importorskip("torch")
    from benchmarks.torch_cuda import TorchRuntime

    return TorchRuntime(bundle, device.CudaDevice())
