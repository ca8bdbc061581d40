from __future__ import annotations

import importlib
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from moue.actions import action_vector
from tests.cli import assert_one_line


@pytest.mark.parametrize("fp32", [False, True])
def test_export(moue, tiny_bundle, tmp_path, fp32):
    ran = moue("export", "--bundle", tiny_bundle, "-o", tmp_path / "g.onnx", *["--fp32"][:fp32])
    assert (ran.code, ran.out) == (0, "")
    precision = "FP32" if fp32 else "FP16"
    said, contract = ran.err.splitlines()
    assert said.startswith(f"{tmp_path}/g.onnx: {precision}, 54 actions, ")
    assert said.endswith(("at most 0 of 255 levels", "at most 1 of 255 levels"))
    graph = onnx.load(tmp_path / "g.onnx").graph
    stated = dict(re.findall(r"(\w+) (\[[\w, ]+\])", contract))
    shapes = {}
    for each in (*graph.input, *graph.output):
        tensor = each.type.tensor_type
        assert tensor.elem_type == (TensorProto.FLOAT if fp32 else TensorProto.FLOAT16)
        sides = ", ".join(axis.dim_param or str(axis.dim_value) for axis in tensor.shape.dim)
        shapes[each.name] = f"[{sides}]"
    assert shapes == {
        "photo": "[1, 3, 32, 32]",
        "actions": "[frames, 54]",
        "frames": "[frames, 3, 32, 32]",
    }
    assert stated.items() >= shapes.items()
    assert f"all float{32 if fp32 else 16};" in contract


def test_help_shows_how_the_graph_is_fed(moue, tiny_bundle, portrait, animator, tmp_path):
    from moue.runtimes.one_graph import run_one_graph

    lines = moue("export", "--help").out.splitlines()
    (line,) = (line for line in lines if "preprocess" in line)
    module = importlib.import_module("moue")
    photo = eval(line, {"moue": module, "portrait": portrait, "S": animator.bundle.input_size})
    assert (photo.shape, photo.dtype) == ((1, 3, 32, 32), np.float32)
    moue("export", "--bundle", tiny_bundle, "-o", tmp_path / "g.onnx", "--fp32")
    actions = np.zeros((2, 54), np.float32)
    actions[1] = action_vector(animator.expressions["surprise"], animator.actions)
    still, moved = run_one_graph(tmp_path / "g.onnx", photo, actions)
    assert np.abs(still - photo[0]).max() < 1e-5
    assert np.abs(moved - photo[0]).max() > 0.1


@pytest.mark.parametrize("option", ["--device", "--runtime"])
def test_what_it_has_no_use_for_is_refused(moue, tiny_bundle, tmp_path, option):
    words = "export", "--bundle", tiny_bundle, "-o", tmp_path / "g.onnx", option, "auto"
    assert_one_line(moue(*words), 2, f"unrecognized arguments: {option} auto")


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        ("g.engine", 2, "must name an .onnx file"),
        ("none/g.onnx", 1, "there is no folder"),
        ("taken.onnx", 1, "is a folder"),
    ],
)
def test_where_nothing_can_be_exported(moue, tiny_bundle, tmp_path, output, code, words):
    (tmp_path / "taken.onnx").mkdir()
    ran = moue("export", "--bundle", tiny_bundle, "-o", tmp_path / output)
    assert_one_line(ran, code, words)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken.onnx"]
