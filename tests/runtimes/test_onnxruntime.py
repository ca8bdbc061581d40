from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from moue.bundle import load_bundle
from moue.errors import BundleError, UsageError
from moue.runtimes.onnxruntime import OnnxRuntime, usable_cores
from tests.tiny import SIZE, write_manifest


def test_runs_both_graphs_in_float32(tiny_bundle: Path) -> None:
    photo = np.random.default_rng(0).random((1, 3, SIZE, SIZE), np.float32)
    with OnnxRuntime(load_bundle(tiny_bundle), threads=1) as runtime:
        features = runtime.encode(photo)
        skips = {f"skip_{size}": np.repeat(features[f"base_{size}"], 2, axis=0) for size in (4, 8)}
        outputs = runtime.decode({**skips, "base_16": features["base_16"]})
        alone = runtime.decode({**skips, "base_16": features["base_16"]}, one_core=True)
    kinds = {name: array.dtype for name, array in {**features, **outputs}.items()}
    assert kinds == {name: np.dtype("f2" if "residual" in name else "f4") for name in kinds}
    assert all(np.array_equal(alone[name], outputs[name]) for name in outputs)
    assert all(np.array_equal(array[0], array[1]) for array in outputs.values())
    assert np.abs(outputs["flow"]).max() > 0


def test_outputs_hold_until_the_same_thread_decodes_again(tiny_bundle: Path) -> None:
    rng = np.random.default_rng(0)

    def features(runtime: OnnxRuntime, frames: int) -> dict[str, np.ndarray]:
        return {
            name: rng.random([frames if n == "frames" else n for n in shape], np.float32)
            for name, shape in runtime.decoder_inputs.items()
        }

    with OnnxRuntime(load_bundle(tiny_bundle)) as runtime:
        given = [features(runtime, frames) for frames in (1, 1, 3, 1)]
        first = runtime.decode(given[0])
        kept = first["flow"].copy()
        with ThreadPoolExecutor(1) as other:
            elsewhere = other.submit(runtime.decode, given[1]).result()
        assert np.array_equal(first["flow"], kept)
        assert runtime.decode(given[1])["flow"] is first["flow"]
        assert np.array_equal(first["flow"], elsewhere["flow"])
        assert len(runtime.decode(given[2])["flow"]) == 3
        assert np.array_equal(runtime.decode(given[0])["flow"], kept)
        view = {name: array[..., ::-1][..., ::-1] for name, array in given[0].items()}
        assert np.array_equal(runtime.decode(view)["flow"], kept)


def test_one_core_gives_the_same_numbers_as_many(tiny_bundle: Path) -> None:
    rng = np.random.default_rng(0)
    with OnnxRuntime(load_bundle(tiny_bundle), threads=3) as runtime:
        given = {
            name: rng.random([2 if n == "frames" else n for n in shape], np.float32)
            for name, shape in runtime.decoder_inputs.items()
        }
        many = {name: array.copy() for name, array in runtime.decode(given).items()}
        with ThreadPoolExecutor(4) as others:  # side by side, as the frames of a curve are
            alone = list(others.map(lambda _: _copies(runtime.decode(given, True)), range(12)))
    for outputs in alone:
        for name, array in outputs.items():
            np.testing.assert_allclose(array, many[name], rtol=0, atol=1e-5)


def _copies(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in outputs.items()}


def test_threads_default_to_the_cores_it_may_use(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert OnnxRuntime(bundle).threads == usable_cores() == len(os.sched_getaffinity(0))
    assert OnnxRuntime(bundle, threads=3).threads == 3


@pytest.mark.parametrize("threads", [-1, 1.5, True, "2", None])
def test_wrong_threads(tiny_bundle: Path, threads: Any) -> None:
    with pytest.raises(UsageError, match="threads must be 0"):
        OnnxRuntime(load_bundle(tiny_bundle), threads)


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = model.graph.output[-1].name = "where"


def take_whole_numbers(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_output, "the decoder of .* must have .*'place'.*, but has .*'where'"),
        (take_whole_numbers, "onnxruntime refuses the decoder"),
    ],
)
def test_graphs_that_do_not_fit(
    tiny_bundle: Path, tmp_path: Path, change: Any, message: str
) -> None:
    folder = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    model = onnx.load(folder / "decoder.onnx")
    change(model)
    onnx.save(model, folder / "decoder.onnx")
    write_manifest(folder)
    with pytest.raises(BundleError, match=message):
        OnnxRuntime(load_bundle(folder))


def test_onnx_runtime_keeps_no_log_of_its_use(tiny_bundle: Path, tmp_path: Path) -> None:
    """Where it does, it writes to the user's cache, and sends that off."""
    code = (
        "from moue.bundle import load_bundle; from moue.runtimes.onnxruntime import OnnxRuntime;"
        f"OnnxRuntime(load_bundle({str(tiny_bundle)!r}), threads=1).close()"
    )
    env = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    home = {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", code], env=env | home, check=True)
    assert [path.name for path in tmp_path.rglob("*")] == []
