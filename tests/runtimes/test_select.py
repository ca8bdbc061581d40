from __future__ import annotations

import logging
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import moue
from moue.bundle import load_bundle
from moue.errors import RuntimeUnavailableError, UsageError
from moue.runtimes.device import Gpu
from moue.runtimes.select import available_runtimes, select_runtime
from moue.runtimes.trt_import import TensorRt


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here() -> list[str]:
        raise RuntimeError("no CUDA-capable device is detected")

    monkeypatch.setattr("moue.kernels.cuda_devices", none_here)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A GPU with TensorRT and ONNX Runtime's CUDA on it, as far as the choice can tell.

    What was opened is listed.
    """
    opened: list[tuple[str, str]] = []
    found = {"gpu": Gpu(0, "86", "1", "A GPU"), "current": nullcontext, "close": lambda: None}
    trt = TensorRt(SimpleNamespace(__version__="10.3.0"), "tensorrt")

    def opens(name: str) -> Any:
        return lambda bundle, device: opened.append((name, device)) or "the runtime"

    monkeypatch.setattr("moue.kernels.cuda_devices", lambda: ["a GPU"])
    monkeypatch.setattr("moue.kernels.check_cuda", lambda index: None)
    monkeypatch.setattr(
        "moue.runtimes.device.CudaDevice", lambda index: SimpleNamespace(**found, index=index)
    )
    monkeypatch.setattr("moue.runtimes.trt_import.import_tensorrt", lambda: trt)
    for name, runtime in (
        ("tensorrt", SimpleNamespace(TensorRtRuntime=opens("tensorrt"))),
        (
            "onnxruntime_cuda",
            SimpleNamespace(
                OnnxRuntimeCuda=opens("onnxruntime"), check_provider=lambda: "onnxruntime 9"
            ),
        ),
    ):
        monkeypatch.setitem(sys.modules, f"moue.runtimes.{name}", runtime)
    return opened


@pytest.fixture
def no_tensorrt(gpu: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here() -> None:
        raise RuntimeUnavailableError("TensorRT cannot be used")

    monkeypatch.setattr("moue.runtimes.trt_import.import_tensorrt", none_here)


@pytest.fixture
def no_onnxruntime_cuda(gpu: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here() -> None:
        raise RuntimeUnavailableError("onnxruntime 9 has no CUDA in it")

    monkeypatch.setattr(sys.modules["moue.runtimes.onnxruntime_cuda"], "check_provider", none_here)


@pytest.mark.parametrize(
    ("device", "runtime", "why"),
    [
        ("auto", "auto", r"there is no GPU to use \(no CUDA device can be used: no CUDA-capable"),
        ("cpu", "auto", "as asked"),
        (
            "auto",
            "onnxruntime",
            r"there is no GPU to use \(no CUDA device can be used: no CUDA-cap",
        ),
        ("cpu", "onnxruntime", "as asked"),
    ],
)
def test_choice_is_logged_with_its_reason(
    no_gpu: None,
    tiny_bundle: Path,
    caplog: pytest.LogCaptureFixture,
    device: str,
    runtime: str,
    why: str,
) -> None:
    with caplog.at_level(logging.INFO, logger="moue"):
        chosen = select_runtime(load_bundle(tiny_bundle), device, runtime, threads=1)
    assert (chosen.name, chosen.device) == ("onnxruntime", "cpu")
    (line,) = caplog.messages
    assert re.match(f"onnxruntime on cpu with 1 threads: {why}", line)
    assert caplog.records[0].levelno == logging.INFO  # nobody misses a GPU that is not there


TENSORRT = "tensorrt on cuda:0 (compute capability 86) by TensorRT 10.3.0: "
ONNXRUNTIME = "onnxruntime on cuda:0 (compute capability 86) by onnxruntime 9: "


@pytest.mark.parametrize(
    ("device", "runtime", "opened", "line"),
    [
        ("auto", "auto", ("tensorrt", "cuda"), f"{TENSORRT}the fastest that works here"),
        ("cuda:0", "auto", ("tensorrt", "cuda:0"), f"{TENSORRT}the fastest that works here"),
        ("auto", "tensorrt", ("tensorrt", "cuda"), f"{TENSORRT}as asked"),
        ("cuda", "tensorrt", ("tensorrt", "cuda"), f"{TENSORRT}as asked"),
        ("auto", "onnxruntime", ("onnxruntime", "cuda"), f"{ONNXRUNTIME}the fastest that works"),
        ("cuda:1", "onnxruntime", ("onnxruntime", "cuda:1"), f"{ONNXRUNTIME}as asked"),
    ],
)
def test_tensorrt_comes_first(
    gpu: list[tuple[str, str]],
    tiny_bundle: Path,
    caplog: pytest.LogCaptureFixture,
    device: str,
    runtime: str,
    opened: tuple[str, str],
    line: str,
) -> None:
    with caplog.at_level(logging.INFO, logger="moue"):
        chosen = select_runtime(load_bundle(tiny_bundle), device, runtime)
    assert (chosen, gpu) == ("the runtime", [opened])
    (message,) = caplog.messages
    assert message.startswith(line)


def test_a_gpu_that_the_kernels_were_not_built_for_is_not_taken(
    gpu: list[tuple[str, str]],
    tiny_bundle: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(index: int) -> None:
        raise RuntimeError(f"this moue's kernels were not built for cuda:{index}")

    monkeypatch.setattr("moue.kernels.check_cuda", refuse)
    with caplog.at_level(logging.INFO, logger="moue"):
        assert select_runtime(load_bundle(tiny_bundle), threads=1).device == "cpu"
    assert "kernels were not built for cuda:0" in caplog.text
    assert gpu == []
    with pytest.raises(RuntimeUnavailableError, match="kernels were not built for cuda:1"):
        select_runtime(load_bundle(tiny_bundle), "cuda:1")


@pytest.mark.parametrize("device", ["auto", "cuda:0"])
def test_cuda_by_onnxruntime_comes_second(
    gpu: list[tuple[str, str]],
    no_tensorrt: None,
    tiny_bundle: Path,
    caplog: pytest.LogCaptureFixture,
    device: str,
) -> None:
    with caplog.at_level(logging.INFO, logger="moue"):
        select_runtime(load_bundle(tiny_bundle), device)
    assert gpu == [("onnxruntime", "cuda" if device == "auto" else device)]
    assert caplog.messages == [f"{ONNXRUNTIME}TensorRT cannot be used"]


def test_the_cpu_comes_last(
    gpu: list[tuple[str, str]],
    no_tensorrt: None,
    no_onnxruntime_cuda: None,
    tiny_bundle: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reasons = "TensorRT cannot be used; onnxruntime 9 has no CUDA in it"
    with caplog.at_level(logging.INFO, logger="moue"):
        assert select_runtime(load_bundle(tiny_bundle), threads=1).device == "cpu"
    assert caplog.messages == [
        f"onnxruntime on cpu with 1 threads: there is no GPU to use ({reasons})"
    ]
    assert caplog.records[0].levelno == logging.WARNING  # there is one
    with pytest.raises(RuntimeUnavailableError) as refused:
        select_runtime(load_bundle(tiny_bundle), "cuda")
    assert str(refused.value) == reasons


@pytest.mark.usefixtures("no_onnxruntime_cuda")
def test_a_gpu_that_this_tensorrt_does_not_know_is_no_gpu_to_use(
    gpu: list[tuple[str, str]], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = SimpleNamespace(__members__={"SM75": 1, "SM120": 1, "CURRENT": 1})
    module = SimpleNamespace(__version__="1.7.1", ComputeCapability=kinds)
    monkeypatch.setattr(
        "moue.runtimes.trt_import.import_tensorrt", lambda: TensorRt(module, "tensorrt_rtx")
    )
    with pytest.raises(RuntimeUnavailableError, match=r"1\.7\.1 builds for 75, 120, but got '86'"):
        select_runtime(load_bundle(tiny_bundle), "cuda")
    assert select_runtime(load_bundle(tiny_bundle), threads=1).device == "cpu"


@pytest.mark.usefixtures("no_onnxruntime_cuda")
def test_auto_lives_with_an_engine_that_does_not_load(
    gpu: list[tuple[str, str]],
    tiny_bundle: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(bundle: Any, device: str) -> None:
        raise RuntimeUnavailableError("TensorRT 10.3.0 does not load its engine")

    monkeypatch.setattr(sys.modules["moue.runtimes.tensorrt"], "TensorRtRuntime", refuse)
    with caplog.at_level(logging.INFO, logger="moue"):
        assert select_runtime(load_bundle(tiny_bundle), threads=1).device == "cpu"
    assert "does not load its engine" in caplog.text
    with pytest.raises(RuntimeUnavailableError, match="does not load its engine"):
        select_runtime(load_bundle(tiny_bundle), "cuda")


@pytest.mark.parametrize(
    ("device", "runtime"), [("cuda", "auto"), ("cuda:1", "tensorrt"), ("auto", "tensorrt")]
)
def test_what_cannot_be_had_is_never_replaced_in_silence(
    no_gpu: None, tiny_bundle: Path, device: str, runtime: str
) -> None:
    with pytest.raises(
        RuntimeUnavailableError,
        match=r"no CUDA device can be used: no CUDA-capable .*; --device cpu works without one",
    ):
        moue.Animator(tiny_bundle, device, runtime)


@pytest.mark.parametrize(
    ("device", "runtime", "message"),
    [
        ("cpu", "tensorrt", "tensorrt runs on cuda, not on the cpu"),
    ],
)
def test_what_excludes_each_other(
    tiny_bundle: Path, device: str, runtime: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        moue.Animator(tiny_bundle, device, runtime)


@pytest.mark.parametrize(
    ("device", "runtime", "message"),
    [
        ("gpu", "auto", "device must be auto, cpu, cuda or cuda:N, but got 'gpu'"),
        ("cuda:", "auto", "device must be"),
        (None, "auto", "device must be"),
        ("auto", "openvino", "runtime must be auto, onnxruntime or tensorrt, but got 'openvino'"),
        ("auto", None, "runtime must be"),
    ],
)
def test_unknown_names(tiny_bundle: Path, device: Any, runtime: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        moue.Animator(tiny_bundle, device, runtime)


def test_a_missing_onnxruntime_is_said(
    no_gpu: None, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [status.usable for status in available_runtimes()] == [True, False]
    monkeypatch.delitem(sys.modules, "moue.runtimes.onnxruntime", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    first = available_runtimes()[0]
    assert not first.usable
    assert "onnxruntime does not import" in first.reason
    with pytest.raises(RuntimeUnavailableError, match="pip install onnxruntime onnx"):
        select_runtime(load_bundle(tiny_bundle))
