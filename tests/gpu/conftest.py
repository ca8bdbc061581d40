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
from moue.runtimes.onnxruntime_cuda import check_provider
from moue.runtimes.select import check_tensorrt, select_runtime

SCALE = 2  # the astronaut's face fills 150 px of her photo
FACE = Face(
    Square(SCALE * 224.03, SCALE * 130.33, SCALE * 149.8, 0.0576),
    np.zeros((478, 3), np.float32),
    1.0,
)
INSTALLED = {"tensorrt": check_tensorrt, "onnxruntime": lambda gpu: check_provider()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker("gpu")


@pytest.fixture(scope="session")
def gpu() -> Iterator[device.CudaDevice]:
    try:
        kernels.cuda_devices()
    except RuntimeError as reason:
        pytest.skip(f"no GPU: {reason}")
    found = device.CudaDevice()
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
    """The bundle on the GPU, by everything that is installed for it; what is has to work."""
    name = request.param
    if name == "pytorch":
        if not pytest.importorskip("torch").cuda.is_available():
            pytest.skip("this PyTorch was built without CUDA")
        from benchmarks.torch_cuda import TorchRuntime

        opened: Runtime = TorchRuntime(bundle, device.CudaDevice())
    else:
        try:
            INSTALLED[name](gpu.gpu)
        except RuntimeUnavailableError as reason:
            pytest.skip(f"no {name} for this GPU: {reason}")
        opened = select_runtime(bundle, "cuda", name)
    with opened:
        yield opened
