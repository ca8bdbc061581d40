"""The TensorRT runtime, all of it but TensorRT and the GPU: an engine that computes on the host
stands in for them behind the calls that the runtime makes."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

import moue
from moue import kernels
from moue.bundle import load_bundle
from moue.errors import RuntimeUnavailableError, UsageError
from moue.graphs import as_float32
from moue.runtimes.device import as_numpy
from moue.runtimes.onnxruntime import OnnxRuntime
from tests.host_device import HostDevice
from tests.tiny import SIZE

if kernels.BACKEND != "core":
    pytest.skip("the device's kernels are part of moue._core", allow_module_level=True)

from moue.runtimes import device, tensorrt
from moue.runtimes.device_array import DeviceArray
from moue.runtimes.on_cuda import MOST_FRAMES

LEVELS = 3  # of 255; random weights are steeper than trained ones, which tests/gpu holds to 2


class Gpu(HostDevice):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.name = f"cuda:{index}"
        self.gpu = device.Gpu(index, "86", "13000", "A GPU")
        gpus.append(self)


gpus: list[Gpu] = []


class Context:
    """TensorRT's rules: shapes first, every address aligned, FP16 in and out."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.names and address % 256 == 0

    def execute_async_v3(self, stream: int | None) -> bool:
        session, frames = self.engine.session, 1
        inputs = {}
        for tensor in session.get_inputs():
            shape = self.shapes[tensor.name]
            frames = max(frames, shape[0])
            inputs[tensor.name] = as_numpy(self.addresses[tensor.name], shape, "<f2", None).astype(
                np.float32
            )
        names = [tensor.name for tensor in session.get_outputs()]
        for name, array in zip(names, session.run(names, inputs), strict=True):
            as_numpy(self.addresses[name], array.shape, "<f2", None)[...] = array
        return True


class Engine:
    def __init__(self, model: bytes) -> None:
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        ins, outs = self.session.get_inputs(), self.session.get_outputs()
        self.modes = {t.name: "in" for t in ins} | {t.name: "out" for t in outs}
        self.names, self.num_io_tensors = list(self.modes), len(self.modes)
        self.contexts: list[Context] = []
        self.configs: list[SimpleNamespace] = []

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return self.modes[name]

    def create_runtime_config(self) -> SimpleNamespace:
        self.configs.append(SimpleNamespace())
        return self.configs[-1]

    def create_execution_context(self, runtime_config: object = None) -> Context:
        assert runtime_config in (self.configs or [None])
        self.contexts.append(Context(self))
        return self.contexts[-1]


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The runtime's own TensorRT and GPU, replaced; `plans` is what was loaded."""
    gpus.clear()
    engines: list[Engine] = []

    def deserialize(plan: bytes) -> Engine:
        engines.append(Engine(plan))
        return engines[-1]

    class ILogger:
        pass

    module = SimpleNamespace(
        __version__="10.3.0",
        ILogger=ILogger,
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=deserialize),
        TensorIOMode=SimpleNamespace(INPUT="in"),
    )
    found = tensorrt.TensorRt(module, "tensorrt")
    monkeypatch.setattr(tensorrt, "import_tensorrt", lambda: found)
    monkeypatch.setattr(tensorrt, "CudaDevice", Gpu)
    monkeypatch.setattr(
        tensorrt,
        "engine_for",
        lambda trt, bundle, key, cache, load, index: load(
            as_float32(bundle.graph(key.graph)).SerializeToString()
        ),
    )
    return SimpleNamespace(module=module, engines=engines)


@pytest.fixture
def gpu_animator(trt, tiny_bundle, monkeypatch):
    monkeypatch.setattr(
        "moue.animator.select_runtime",
        lambda bundle, *_: tensorrt.TensorRtRuntime(bundle, "cuda:1"),
    )
    with moue.Animator(tiny_bundle) as animator:
        yield animator
    gpus[0].assert_all_given_back()


def worst(found, expected) -> int:
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("batch", [1, 3])
def test_the_animator_gives_the_same_frames(gpu_animator, animator, portrait_photo, batch):
    assert gpu_animator.runtime.device == "cuda:1"
    portrait = gpu_animator.prepare(portrait_photo)
    curve = moue.expression("surprise").rise(seconds=0.25, fps=30)
    found = list(gpu_animator.frames(portrait, curve, batch))
    expected = list(animator.frames(animator.prepare(portrait_photo), curve))
    assert len(found) == len(curve)
    assert worst(found, expected) <= LEVELS
    np.testing.assert_array_equal(found[0], portrait_photo)  # a rise begins at rest
    smile = {"mouthSmileLeft": 0.7}
    assert worst([gpu_animator.frame(portrait, smile)], [animator.frame(portrait, smile)]) <= LEVELS
    resident = list(gpu_animator.frames_on_device(portrait, curve, batch))
    assert worst([np.from_dlpack(frame) for frame in resident], found) == 0


def test_a_portrait_that_goes_gives_its_memory_back(gpu_animator, portrait_photo):
    portrait = gpu_animator.prepare(portrait_photo)
    gc.collect()
    before = len(gpus[0].memory)
    frame = gpu_animator.frame(portrait, {"jawOpen": 1.0})
    assert len(gpus[0].memory) > before
    del portrait, frame
    gc.collect()
    assert len(gpus[0].memory) == before


def test_reading_on_after_the_end_is_refused(gpu_animator, portrait_photo):
    portrait = gpu_animator.prepare(portrait_photo)
    frames = gpu_animator.frames(portrait, [{"jawOpen": 1.0}] * 3)
    next(frames)
    gpu_animator.close()
    with pytest.raises(UsageError, match="closed while its frames were still being read"):
        next(frames)
    with pytest.raises(UsageError, match="the tensorrt runtime is closed"):
        gpu_animator.frame(portrait, {})


def test_frames_that_outlive_their_portrait_end_with_the_animator(gpu_animator, portrait_photo):
    frames = gpu_animator.frames_on_device(
        gpu_animator.prepare(portrait_photo), [{"jawOpen": 1.0}] * 3
    )
    next(frames)
    gc.collect()
    gpu_animator.close()
    with pytest.raises(UsageError, match="closed while its frames were still being read"):
        next(frames)


def test_frames_on_a_device_need_one(animator, portrait):
    with pytest.raises(UsageError, match="onnxruntime makes frames on the cpu; open the animator"):
        animator.frames_on_device(portrait, [{"jawOpen": 1.0}])


def test_host_arrays_come_out_as_from_onnxruntime(trt, tiny_bundle: Path) -> None:
    bundle, rng = load_bundle(tiny_bundle), np.random.default_rng(0)
    photo = rng.random((1, 3, SIZE, SIZE), np.float32)
    with OnnxRuntime(bundle, threads=1) as cpu, tensorrt.TensorRtRuntime(bundle) as gpu:
        features, expected = gpu.encode(photo), cpu.encode(photo)
        for name, array in expected.items():
            np.testing.assert_allclose(features[name], array, atol=4e-3)
        for frames in (2, MOST_FRAMES + 3):
            inputs = {
                name: rng.normal(size=[frames if a == "frames" else a for a in shape]).astype("f4")
                for name, shape in gpu.decoder_inputs.items()
            }
            found, expected = gpu.decode(inputs), cpu.decode(inputs)
            for name, array in expected.items():
                np.testing.assert_allclose(found[name], array, atol=1e-2)
    _, decoder = trt.engines
    counts = [context.shapes["skip_4"][0] for context in decoder.contexts]
    assert counts == [2, MOST_FRAMES, 3]  # a context for each number of frames
    gpus[0].assert_all_given_back()
    assert gpus[0].closed


def test_rtx_finishes_its_kernels_before_they_are_recorded(trt, tiny_bundle: Path) -> None:
    trt.module.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="at once")
    with tensorrt.TensorRtRuntime(load_bundle(tiny_bundle)) as gpu:
        gpu.encode(np.zeros((1, 3, SIZE, SIZE), np.float32))
    for engine in trt.engines:
        (config,) = engine.configs
        assert config.dynamic_shapes_kernel_specialization_strategy == "at once"


class RuntimeCache:
    """What TensorRT-RTX has finished of its kernels, as bytes."""

    def __init__(self) -> None:
        self.kernels = b""

    def deserialize(self, data: bytes) -> bool:
        self.kernels = data
        return True

    def serialize(self) -> bytes:
        return self.kernels or b"finished"


def test_kernels_that_rtx_has_finished_are_kept(trt, tiny_bundle: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trt.module.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="at once")
    given: list[RuntimeCache] = []

    def config(engine: Engine) -> SimpleNamespace:
        made = SimpleNamespace(create_runtime_cache=RuntimeCache, set_runtime_cache=given.append)
        engine.configs.append(made)
        return made

    monkeypatch.setattr(Engine, "create_runtime_config", config)
    for had in (b"", b"finished"):
        with tensorrt.TensorRtRuntime(load_bundle(tiny_bundle)) as gpu:
            assert [cache.kernels for cache in given[-2:]] == [had, b""]
            gpu.encode(np.zeros((1, 3, SIZE, SIZE), np.float32))
        (path,) = (tmp_path / "moue" / "engines").iterdir()  # the decoder has run nothing
        assert path.name.startswith("kernels-encoder-")
        assert "-driver-13000-" in path.name


@pytest.mark.parametrize("pixel", [3, 4])
def test_pictures_on_the_device_are_encoded_there(trt, tiny_bundle, portrait_photo, pixel) -> None:
    to_photo = np.array([[150.0, 10, 150], [-10, 150, 60]])
    filler = np.zeros((*portrait_photo.shape[:2], pixel - 3), np.uint8)
    picture = np.concatenate([portrait_photo, filler], axis=2)
    with tensorrt.TensorRtRuntime(load_bundle(tiny_bundle)) as gpu:
        there = DeviceArray(picture.ctypes.data, picture.shape, "u1", 0, picture)
        found = gpu.encode_on_device(there, to_photo)
        expected = gpu.encode(kernels.preprocess(portrait_photo, to_photo, SIZE)[None])
        with pytest.raises(UsageError, match="photo must be on a CUDA device"):
            gpu.encode_on_device(portrait_photo, to_photo)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=5e-3)


@pytest.mark.parametrize("pixel", [3, 4])
def test_a_photo_on_the_device_is_prepared_from_there(
    gpu_animator, animator, portrait_photo, pixel, monkeypatch
):
    """As pycuda's and CuPy's arrays come: the interface alone."""
    filler = np.zeros((*portrait_photo.shape[:2], pixel - 3), np.uint8)
    picture = np.concatenate([portrait_photo, filler], axis=2)
    array = DeviceArray(picture.ctypes.data, picture.shape, "u1", 1, picture)
    there = SimpleNamespace(
        shape=array.shape, __cuda_array_interface__=array.__cuda_array_interface__
    )
    expected = gpu_animator.prepare(portrait_photo)
    monkeypatch.setattr(tensorrt.TensorRtRuntime, "_encode", None)  # no way but on the device
    portrait = gpu_animator.prepare(there)
    np.testing.assert_array_equal(portrait.photo, portrait_photo)
    smile = {"mouthSmileLeft": 0.7}
    found = gpu_animator.frame(portrait, smile)
    assert worst([found], [gpu_animator.frame(expected, smile)]) <= LEVELS
    with pytest.raises(UsageError, match="photo is on a GPU, but onnxruntime computes on the cpu"):
        animator.prepare(there)


def test_a_shape_that_is_refused_is_named(trt, tiny_bundle: Path, monkeypatch) -> None:
    with tensorrt.TensorRtRuntime(load_bundle(tiny_bundle)) as gpu:
        monkeypatch.setattr(Context, "set_input_shape", lambda *_: False)
        for _ in range(2):  # nothing is kept that would run with other shapes
            with pytest.raises(RuntimeUnavailableError, match=r"TensorRT refuses photo in \(1, 3"):
                gpu.encode(np.zeros((1, 3, SIZE, SIZE), np.float32))


def test_an_engine_that_does_not_load_says_so(trt, tiny_bundle: Path) -> None:
    trt.module.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: None)
    with pytest.raises(
        RuntimeUnavailableError, match=r"TensorRT 10\.3\.0 does not load its engine"
    ):
        tensorrt.TensorRtRuntime(load_bundle(tiny_bundle))
