from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from export import bundle as export_bundle
from export.graphs import fuse_normalisation
from moue.actions import ACTIONS
from moue.bundle import load_bundle
from training.generator import EdgeGenerator, Level

LEVELS = (Level(8, 8, 8, True), Level(16, 8, 6, True), Level(32, 6, 4, False))


@pytest.fixture(scope="module")
def trained() -> EdgeGenerator:
    """Not trained at all, but with normalisation statistics and outputs of some size."""
    torch.manual_seed(0)
    generator = EdgeGenerator(len(ACTIONS), LEVELS)
    generator.train()
    with torch.no_grad():
        for _ in range(5):
            generator(torch.rand(4, 3, 64, 64), torch.rand(4, 1, len(ACTIONS)))
        generator.decoder.up[-1].weight *= 10
    return generator.eval()


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "small"
    state = {"actions": list(ACTIONS), "step": 5, "config": {"preset": "edge"}}
    export_bundle.write_bundle(trained, state, folder, "0.0.1")
    return folder


@torch.no_grad()
def test_fused_normalisation_changes_nothing(trained):
    photo, actions = torch.rand(1, 3, 64, 64), torch.rand(1, 2, len(ACTIONS))
    fused = fuse_normalisation(trained)
    torch.testing.assert_close(fused(photo, actions), trained(photo, actions), atol=1e-5, rtol=0)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())


def test_the_bundle_draws_what_the_network_draws(trained, written):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    errors = export_bundle.parity(trained, load_bundle(written), photo)
    assert all(error <= 2 for error in errors.values()), errors


def test_weights_are_stored_once_in_half_precision(trained, written):
    weights = sum(p.numel() for p in trained.parameters())
    stored = sum(graph.bytes for graph in load_bundle(written).manifest.graphs.values())
    constants = 2 * (trained.picture.numel() + trained.window.numel()) + 4 * trained.place.numel()
    assert stored < 2 * weights + constants + 60_000


def test_where_a_picture_is_looked_up_is_said_in_single_precision(written):
    graph = onnx.shape_inference.infer_shapes(load_bundle(written).graph("decoder")).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    (sampled,) = (node for node in graph.node if node.op_type == "GridSample")
    made = {name: node for node in graph.node for name in node.output}
    place = made[sampled.input[1]]
    while place.op_type != "Cast":  # back to where the last convolution's halves are widened
        assert types[place.output[0]] == onnx.TensorProto.FLOAT
        place = next(made[name] for name in place.input if name in made)
    assert types[place.input[0]] == onnx.TensorProto.FLOAT16
    assert all(types[name] == onnx.TensorProto.FLOAT16 for name in ("flow", "mask", "colour"))


def test_a_second_export_replaces_the_first_and_keeps_its_card(trained, written):
    (written / "MODEL_CARD.md").write_text("# card")
    state = {"actions": list(ACTIONS), "step": 6, "config": {"preset": "edge"}}
    export_bundle.write_bundle(trained, state, written, "0.0.2")
    assert load_bundle(written).manifest.version == "0.0.2"
    assert (written / "MODEL_CARD.md").read_text() == "# card"
    assert [path.name for path in written.parent.iterdir()] == ["small"]


def test_a_paper_checkpoint_is_refused(tmp_path):
    torch.save({"config": {"preset": "paper"}}, tmp_path / "checkpoint.pt")
    with pytest.raises(SystemExit, match="bundles are made of 'edge'"):
        export_bundle.load_generator(tmp_path / "checkpoint.pt")
