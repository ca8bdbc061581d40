from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from PIL import Image

import moue
from export import quantise
from moue.bundle import load_bundle
from tests.tiny import write_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full") / "tiny"
    return load_bundle(write_tiny_bundle(folder, opset=20, seed=2))


@pytest.fixture(scope="module")
def root(tmp_path_factory, portrait_photo):
    """ROOT/portraits with one face and one wall."""
    folder = tmp_path_factory.mktemp("root")
    (folder / "portraits").mkdir()
    Image.fromarray(portrait_photo).save(folder / "portraits" / "face_1.jpg")
    Image.new("RGB", (64, 64), "grey").save(folder / "portraits" / "wall_1.jpg")
    return folder


@pytest.fixture(scope="module")
def quantised(bundle, root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8") / "tiny8"
    quantise.quantise(bundle, sorted((root / "portraits").iterdir()), folder)
    return load_bundle(folder)


def test_every_convolution_but_the_last_is_between_integers(bundle, quantised):
    graph = quantised.graph("decoder").graph
    onnx.checker.check_model(quantised.graph("decoder"))
    makes = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 6
    for node in convolutions[:-1]:
        assert {makes[name] for name in node.input[:2]} == {"DequantizeLinear"}
    assert "DequantizeLinear" not in {makes.get(name) for name in convolutions[-1].input}
    assert quantised.manifest.graphs["encoder"] == bundle.manifest.graphs["encoder"]
    assert quantised.manifest.name == "tiny-int8"
    assert not list(quantised.folder.parent.glob("tmp*"))


def test_the_picture_holds(bundle, quantised, portrait_photo):
    weights = moue.expression("happy")
    with moue.Animator(bundle, threads=1) as full, moue.Animator(quantised, threads=1) as eighth:
        portrait = full.prepare(portrait_photo)
        one = full.frame(portrait, weights).astype(int)
        again = eighth.prepare(portrait_photo)
        other = eighth.frame(again, weights)
        assert np.array_equal(eighth.frame(again, {}), portrait_photo)
        assert np.abs(one - portrait_photo).mean() > 1  # or the comparison shows nothing
        assert 0 < np.abs(one - other).mean() < 0.2 * np.abs(one - portrait_photo).mean()
        assert eighth.frame(portrait, weights).shape == other.shape  # the encoder is the same


def test_calibration_never_sees_who_is_held_out(tmp_path):
    (tmp_path / "portraits").mkdir()
    names = [f"person_{k}.jpg" for k in range(200)]
    for name in names:
        (tmp_path / "portraits" / name).touch()
    kept = [path.name for path in quantise.training_portraits(tmp_path)]
    assert 0 < len(kept) < 200
    assert kept != sorted(kept)
    assert kept == [path.name for path in quantise.training_portraits(tmp_path)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "{root}", "-o", "{root}"], "exists; name a new folder"),
        (["--data", "{root}/portraits", "-o", "{root}/new"], "no portraits/*.jpg"),
        (["--data", "{root}", "--bundle", "none", "-o", "{root}/new"], "none"),
    ],
)
def test_refusals(monkeypatch, root, options, words):
    filled = [option.format(root=root) for option in options]
    monkeypatch.setattr(sys, "argv", ["quantise", *filled])
    with pytest.raises(SystemExit, match=r"export\.quantise: error: ") as refused:
        quantise.main()
    assert words in str(refused.value)
    assert not (root / "new").exists()
