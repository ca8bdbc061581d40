"""What runs on a real GPU; skipped, with the reason, where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moue import kernels
from moue.errors import RuntimeUnavailableError
from moue.runtimes.device import CudaDevice


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker("gpu")


@pytest.fixture(scope="session")
def gpu() -> Iterator[CudaDevice]:
    try:
        kernels.cuda_devices()
        device = CudaDevice()
    except (RuntimeError, RuntimeUnavailableError) as reason:
        pytest.skip(f"no GPU: {reason}")
    yield device
    device.close()
