"""The arithmetic of PyTorch's way, on the host: what a GPU does with it is compared elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from moue.bundle import load_bundle
from moue.runtimes.onnxruntime import OnnxRuntime
from tests.host_device import HostDevice

pytest.importorskip("torch")

from benchmarks.torch_cuda import TorchRuntime


def test_pytorch_gives_onnxruntimes_features(tiny_bundle):
    bundle, device = load_bundle(tiny_bundle), HostDevice()
    side = bundle.input_size
    photo = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    with OnnxRuntime(bundle, threads=1) as cpu, TorchRuntime(bundle, device) as torch:
        features, expected = torch.encode(photo), cpu.encode(photo)
    for name, array in expected.items():
        assert features[name].dtype == array.dtype
        np.testing.assert_allclose(features[name], array, rtol=0, atol=1e-2)
    device.assert_all_given_back()


def test_pytorch_gives_onnxruntimes_maps(bundle):
    rng, device = np.random.default_rng(0), HostDevice()
    with OnnxRuntime(bundle, threads=1) as cpu, TorchRuntime(bundle, device) as torch:
        skips = {
            name: rng.normal(0, 0.5, [2 if axis == "frames" else axis for axis in shape])
            for name, shape in torch.decoder_inputs.items()
        }
        skips = {name: array.astype(np.float16).astype(np.float32) for name, array in skips.items()}
        found, expected = torch.decode(skips), cpu.decode(skips)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-2)
    device.assert_all_given_back()
