"""ONNX Runtime's way on a device, on one that is the host: by its CPU provider, at given addresses."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from moue import kernels
from moue.bundle import load_bundle
from moue.errors import RuntimeUnavailableError
from moue.runtimes.onnxruntime import OnnxRuntime
from tests.host_device import HostDevice

if kernels.BACKEND != "core":
    pytest.skip("the device's kernels are part of moue._core", allow_module_level=True)

from moue.runtimes.on_cuda import CudaRuntime
from moue.runtimes.onnxruntime_cuda import OnnxRuntimeCuda, Session

LEVELS = 3  # of 255; random weights are steeper than trained ones, which tests/gpu holds to 2


class OnHost(CudaRuntime):
    name = "onnxruntime"

    def _graph(self, name, shapes):
        model = {"encoder": self.bundle.encoder_bytes, "decoder": self.bundle.decoder_bytes}
        return Session(self._device, model[name](), shapes, "CPUExecutionProvider", {})


@pytest.fixture
def there(tiny_bundle):
    device = HostDevice()
    with OnHost(load_bundle(tiny_bundle), device) as runtime:
        yield runtime
    device.assert_all_given_back()
    assert device.closed


@pytest.mark.parametrize("frames", [1, 3])
def test_host_arrays_come_out_as_on_the_cpu(there, tiny_bundle, frames):
    side, rng = there.bundle.input_size, np.random.default_rng(0)
    photo = rng.random((1, 3, side, side), np.float32)
    with OnnxRuntime(there.bundle, threads=1) as cpu:
        found, expected = there.encode(photo), cpu.encode(photo)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_allclose(found[name], array, atol=5e-3)
        skips = {
            name: rng.normal(size=[frames if n == "frames" else n for n in shape]).astype("f4")
            for name, shape in there.decoder_inputs.items()
        }
        found, expected = there.decode(skips), cpu.decode(skips)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, atol=1e-2)


@pytest.mark.parametrize("batch", [1, 2])
def test_frames_are_the_animators(there, animator, portrait, batch):
    rng = np.random.default_rng(0)
    rows = rng.random((4, len(animator.actions)), np.float32)
    rows *= rng.random(rows.shape) < 0.15
    loop = there.frame_loop(portrait.photo, portrait.faces, batch)
    found = list(loop.frames(rows[at : at + batch] for at in range(0, 4, batch)))
    for frame, row in zip(found, rows, strict=True):
        expected = animator.frame(portrait, row)
        assert np.abs(frame.astype(int) - expected).max() <= LEVELS
    assert there._device.recorded == 0  # it may wait and allocate whenever it likes
    loop.close()


def test_a_graph_that_it_does_not_take_gives_the_device_back(tiny_bundle, monkeypatch):
    device, bundle = HostDevice(), load_bundle(tiny_bundle)
    monkeypatch.setattr(type(bundle), "decoder_bytes", lambda self: b"no graph")
    with pytest.raises(
        RuntimeUnavailableError, match=r"does not open the graph on host: .*onnxruntime-gpu"
    ):
        OnHost(bundle, device)
    assert device.closed


def test_a_failing_run_is_said(there):
    side = there.bundle.input_size
    there._encoder._shapes = {**there._encoder._shapes, "photo": (1, 3, side, side + 1)}
    with pytest.raises(RuntimeUnavailableError, match="onnxruntime failed on host: "):
        there.encode(np.zeros((1, 3, side, side), np.float32))


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="it has CUDA"
)
def test_an_onnxruntime_without_cuda_says_which_has_it(tiny_bundle):
    with pytest.raises(RuntimeUnavailableError, match=r"has no CUDA in it; .*onnxruntime-gpu"):
        OnnxRuntimeCuda(load_bundle(tiny_bundle))
