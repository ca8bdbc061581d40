from __future__ import annotations

import onnx
import pytest

from tests.cli import assert_one_line


@pytest.mark.parametrize("fp32", [False, True])
def test_export(moue, tiny_bundle, tmp_path, fp32):
    ran = moue("export", "--bundle", tiny_bundle, "-o", tmp_path / "g.onnx", *["--fp32"][:fp32])
    assert (ran.code, ran.out) == (0, "")
    precision = "FP32" if fp32 else "FP16"
    assert ran.err.startswith(f"{tmp_path}/g.onnx: {precision}, 54 actions, ")
    assert ran.err.endswith(("at most 0 of 255 levels\n", "at most 1 of 255 levels\n"))
    assert [each.name for each in onnx.load(tmp_path / "g.onnx").graph.input] == [
        "photo",
        "actions",
    ]


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
