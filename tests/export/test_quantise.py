from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
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
    """ROOT/portraits with one face, one wall and one that is no photo."""
    folder = tmp_path_factory.mktemp("root")
    (folder / "portraits").mkdir()
    Image.fromarray(portrait_photo).save(folder / "portraits" / "face_1.jpg")
    Image.new("RGB", (64, 64), "grey").save(folder / "portraits" / "wall_1.jpg")
    (folder / "portraits" / "broken_1.jpg").write_bytes(b"no photo")
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


def two_convolutions(bias: bool = False, shown: bool = False) -> onnx.ModelProto:
    """Two convolutions, one after the other; of the 16 channels between them one goes far."""
    random = np.random.default_rng(1)
    first = random.normal(size=(16, 4, 3, 3)).astype(np.float32)
    first[3] *= 40
    second = (random.normal(size=(8, 16, 1, 1)) / 16).astype(np.float32)
    second[:, 3] /= 40
    held = {"first": first, "second": second, "bias": np.ones(16, np.float32)}
    between = ["x", "first", "bias"] if bias else ["x", "first"]
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Conv", between, ["between"]),
                onnx.helper.make_node("Conv", ["between", "second"], ["y"]),
            ],
            "two",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 12, 12])],
            [
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                for name in (["y", "between"] if shown else ["y"])
            ],
            [onnx.numpy_helper.from_array(array, name) for name, array in held.items()],
        ),
        ir_version=9,
        opset_imports=[onnx.helper.make_opsetid("", 20)],
    )


def test_mixed_channels_go_alike_far_and_change_nothing():
    model = two_convolutions()
    x = {"x": np.random.default_rng(2).normal(size=(1, 4, 12, 12)).astype(np.float32)}
    (before,) = ReferenceEvaluator(model).run(None, x)
    quantise.mix_channels(model.graph)
    (after,) = ReferenceEvaluator(model).run(None, x)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    model.graph.output.append(onnx.helper.make_tensor_value_info("between", 1, None))
    far = np.abs(ReferenceEvaluator(model).run(["between"], x)[0]).max((0, 2, 3))
    assert far.max() < 6 * np.median(far)  # 40 and more before


@pytest.mark.parametrize("options", [{"bias": True}, {"shown": True}])
def test_channels_are_mixed_where_nothing_else_sees_them(options):
    model = two_convolutions(**options)
    before = model.SerializeToString()
    quantise.mix_channels(model.graph)
    assert model.SerializeToString() == before


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
