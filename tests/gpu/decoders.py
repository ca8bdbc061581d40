"""What runs the decoder where TensorRT is not installed, behind the same seam."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from moue.runtimes.base import Runtime
from moue.runtimes.device import CudaDevice


class CpuDecoder:
    """Features come down, another runtime decodes them, and the maps go up: slow, and complete."""

    recordable = False

    def __init__(self, device: CudaDevice, runtime: Runtime) -> None:
        self.device, self.runtime = device, runtime

    def enqueue(self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int) -> None:
        features = {}
        for name, shape in self.runtime.decoder_inputs.items():
            axes = [axis if isinstance(axis, int) else frames for axis in shape]
            halves = np.empty(axes, np.float16)
            self.device.copy(halves.ctypes.data, inputs[name], halves.nbytes)
            self.device.synchronize()
            features[name] = halves.astype(np.float32)
        for name, array in self.runtime.decode(features).items():
            self.device.upload(outputs[name], array.astype(np.float16))


class StillDecoder:
    """Gives the same maps again and again: whatever lay there. What is around it can be recorded."""

    recordable = True

    def enqueue(self, inputs: Mapping[str, int], outputs: Mapping[str, int], frames: int) -> None:
        pass
