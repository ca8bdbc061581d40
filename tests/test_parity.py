from __future__ import annotations

import numpy as np
import onnx
import pytest

from moue.bundle import load_bundle
from moue.errors import RuntimeUnavailableError
from moue.graphs import one_graph
from moue.parity import largest_difference
from moue.runtimes.one_graph import run_one_graph
from tests.tiny import write_tiny_bundle


@pytest.mark.parametrize(("fp32", "levels"), [(True, 1), (False, 2)])
def test_an_exported_generator_is_its_bundle(tiny_bundle, tmp_path, fp32, levels):
    bundle = load_bundle(tiny_bundle)
    onnx.save(one_graph(bundle, fp32), tmp_path / "g.onnx")
    assert largest_difference(tmp_path / "g.onnx", bundle, threads=1) <= levels


def test_another_bundles_generator_is_told_apart(tiny_bundle, tmp_path):
    other = load_bundle(write_tiny_bundle(tmp_path / "other", seed=1))
    onnx.save(one_graph(other), tmp_path / "g.onnx")
    assert largest_difference(tmp_path / "g.onnx", load_bundle(tiny_bundle), threads=1) > 8


def test_what_is_no_graph_is_refused(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    with pytest.raises(RuntimeUnavailableError, match="onnxruntime refuses"):
        run_one_graph(
            tmp_path / "g.onnx", np.zeros((1, 3, 32, 32), np.float32), np.zeros((1, 51), np.float32)
        )
