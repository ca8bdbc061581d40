from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest

import moue
from moue.bundle import load_bundle
from moue.errors import RuntimeUnavailableError, UsageError
from moue.runtimes.select import available_runtimes, select_runtime


@pytest.mark.parametrize(
    ("device", "runtime", "why"),
    [
        ("auto", "auto", "the only runtime built so far"),
        ("cpu", "auto", "the only runtime built so far"),
        ("cpu", "onnxruntime", "as asked"),
    ],
)
def test_choice_is_logged_with_its_reason(
    tiny_bundle: Path, caplog: pytest.LogCaptureFixture, device: str, runtime: str, why: str
) -> None:
    with caplog.at_level(logging.INFO, logger="moue"):
        chosen = select_runtime(load_bundle(tiny_bundle), device, runtime, threads=1)
    assert (chosen.name, chosen.device) == ("onnxruntime", "cpu")
    assert caplog.messages == [f"onnxruntime on cpu with 1 threads: {why}"]


@pytest.mark.parametrize(
    ("device", "runtime", "message"),
    [
        (
            "cuda",
            "auto",
            "cuda needs the tensorrt runtime, which is not built yet; use --device cpu",
        ),
        ("cuda:1", "onnxruntime", "cuda:1 needs the tensorrt runtime"),
        ("auto", "tensorrt", "tensorrt runtime is not built yet; use --runtime onnxruntime"),
        ("cpu", "tensorrt", "tensorrt runtime is not built yet"),
    ],
)
def test_what_cannot_be_had_is_never_replaced_in_silence(
    tiny_bundle: Path, device: str, runtime: str, message: str
) -> None:
    with pytest.raises(RuntimeUnavailableError, match=message):
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


def test_a_missing_onnxruntime_is_said(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [status.usable for status in available_runtimes()] == [True, False]
    monkeypatch.delitem(sys.modules, "moue.runtimes.onnxruntime", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    first = available_runtimes()[0]
    assert not first.usable
    assert "onnxruntime does not import" in first.reason
    with pytest.raises(RuntimeUnavailableError, match="pip install onnxruntime onnx"):
        select_runtime(load_bundle(tiny_bundle))
