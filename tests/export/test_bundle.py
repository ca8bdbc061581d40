from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from export import bundle as export_bundle
from export.graphs import DECODER_OUTPUTS, DecoderGraph, fuse_normalisation
from moue.actions import ACTIONS
from moue.bundle import load_bundle
from training.generator import EdgeGenerator, Level
from training.teacher.mouth import MOUTH_WINDOW, draw_picture

GREY = np.full((64, 64, 3), 128, np.uint8)
STATE = {"actions": list(ACTIONS), "step": 5, "config": {"preset": "edge"}}
LEVELS = (Level(8, 8, 8, True, rank=4), Level(16, 8, 6, True), Level(32, 6, 4, False))


@pytest.fixture(scope="module")
def trained() -> EdgeGenerator:
    """Not trained at all, but with normalisation statistics and outputs of some size."""
    torch.manual_seed(0)
    generator = EdgeGenerator(len(ACTIONS), LEVELS)
    generator.picture = torch.nn.functional.avg_pool2d(generator.picture, 256 // 64)
    generator.train()
    with torch.no_grad():
        for _ in range(5):
            generator(torch.rand(4, 3, 64, 64), 2 * torch.rand(4, 1, len(ACTIONS)) - 1)
        generator.decoder.up[-1].weight *= 10
    return generator.eval()


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "small"
    export_bundle.write_bundle(trained, STATE, folder, "0.0.1", GREY)
    return folder


@torch.no_grad()
def test_fused_normalisation_changes_nothing(trained):
    photo, actions = torch.rand(1, 3, 64, 64), 2 * torch.rand(1, 2, len(ACTIONS)) - 1
    fused = fuse_normalisation(trained)
    torch.testing.assert_close(fused(photo, actions), trained(photo, actions), atol=1e-5, rtol=0)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())


def test_the_bundle_draws_what_the_network_draws(trained, written):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    errors = export_bundle.parity(trained, load_bundle(written), photo)
    assert all(error <= 2 for error in errors.values()), errors


@torch.no_grad()
def test_a_carried_action_at_1_is_what_it_was_at_more(trained):
    photo, up, jaw = torch.rand(1, 3, 64, 64), *torch.zeros(2, 1, 1, len(ACTIONS))
    up[..., [ACTIONS.index(f"eyeLookUp{side}") for side in ("Left", "Right")]] = 1
    jaw[..., ACTIONS.index("jawOpen")] = 1
    further = copy.deepcopy(trained)
    further.carry(ACTIONS, {"eyeLookUp": 1.5})
    torch.testing.assert_close(further(photo, up), trained(photo, 1.5 * up))
    torch.testing.assert_close(further(photo, jaw), trained(photo, jaw))
    assert not torch.allclose(further(photo, up), trained(photo, up))


@pytest.mark.parametrize(("name", "times"), [("eyeLooksUp", 1.5), ("eyeLookUp", 0), ("jawOpen", 9)])
def test_what_cannot_be_carried_is_named(trained, name, times):
    with pytest.raises(ValueError, match=f"cannot carry {name}"):
        trained.carry(ACTIONS, {name: times})


def test_weights_are_stored_once_in_half_precision(trained, written):
    weights = sum(p.numel() for p in trained.parameters())
    stored = sum(graph.bytes for graph in load_bundle(written).manifest.graphs.values())
    constants = 2 * (trained.window.numel() + trained.place.numel())
    assert stored < 2 * weights + constants + 60_000


@torch.no_grad()
def test_the_decoder_graph_is_the_generators_outputs(trained):
    frames = {level.size: 3 if level.residual else 1 for level in LEVELS}
    skips = [torch.randn(frames[x.size], x.skip, x.size, x.size) for x in LEVELS]
    flow, mask, light, place = trained.shape_outputs(trained.decoder(skips))
    made = dict(zip(DECODER_OUTPUTS, DecoderGraph(trained)(*skips), strict=True))
    wanted = {"flow": flow, "mask": mask, "light": light, "place": place - 0.5}
    for name, output in wanted.items():
        torch.testing.assert_close(made[name], output, atol=1e-5, rtol=1e-5, msg=name)
    assert place.std() > 0.1


def test_the_decoder_is_few_kinds_of_nodes_all_in_half_precision(written):
    graph = onnx.shape_inference.infer_shapes(load_bundle(written).graph("decoder")).graph
    assert Counter(node.op_type for node in graph.node) == {
        "Conv": 5, "LeakyRelu": 3, "DepthToSpace": 3, "Add": 3, "Split": 1, "Slice": 1, "Mul": 2,
    }  # fmt: skip
    values = (*graph.input, *graph.value_info, *graph.output)
    assert {v.type.tensor_type.elem_type for v in values} == {onnx.TensorProto.FLOAT16}
    assert {t.data_type for t in graph.initializer} <= {
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT64,
    }


def test_the_mouth_is_the_picture_in_full_detail(written):
    mouth = load_bundle(written).mouth
    assert mouth.window == MOUTH_WINDOW
    expected = np.rint(255 * draw_picture(4)).transpose(1, 2, 0)
    assert np.array_equal(mouth.picture, expected)


def test_a_second_export_replaces_the_first_and_keeps_its_card(trained, written):
    (written / "MODEL_CARD.md").write_text("# card")
    state = {"actions": list(ACTIONS), "step": 6, "config": {"preset": "edge"}}
    lost = export_bundle.write_bundle(trained, state, written, "0.0.2", GREY)
    assert len(lost) == 2
    assert load_bundle(written).manifest.version == "0.0.2"
    assert (written / "MODEL_CARD.md").read_text() == "# card"
    assert [path.name for path in written.parent.iterdir()] == ["small"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("raised", [OSError("moved"), KeyboardInterrupt()])
def test_what_stops_an_export_at_its_end_leaves_the_first(trained, written, monkeypatch, raised):
    rename = Path.rename

    def fails(path: Path, target: Path) -> None:
        if target == written and path.name == "small":
            raise raised
        rename(path, target)

    before = files_of(written)
    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(type(raised)):
        export_bundle.write_bundle(trained, STATE, written, "0.0.3", GREY)
    assert files_of(written) == before
    assert [path.name for path in written.parent.iterdir()] == ["small"]


@pytest.mark.parametrize("lost", [2.01, float("nan")])
def test_a_bundle_that_draws_something_else_is_not_written(trained, written, monkeypatch, lost):
    before = files_of(written)
    monkeypatch.setattr(export_bundle, "parity", lambda *_: {"one": 0.1, "other": lost})
    with pytest.raises(ValueError, match="levels from PyTorch, where 2 are the most"):
        export_bundle.write_bundle(trained, STATE, written, "0.0.3", GREY)
    assert files_of(written) == before


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "there is no checkpoint at"),
        ({}, "holds no 'actions'"),
        ({"average": {"window": torch.tensor(torch.nan)}}, "weights that are not finite"),
        ({"average": {}}, "built otherwise than today's"),
        ({"average": {}, "config": {"preset": "paper"}}, "bundles are made of 'edge'"),
    ],
)
def test_a_checkpoint_that_no_bundle_is_made_of_is_one_line(tmp_path, monkeypatch, state, said):
    path = tmp_path / "checkpoint.pt"
    if state is not None:
        torch.save({**STATE, **state} if state else {"config": {}}, path)
    command = ["export.bundle", "--checkpoint", str(path), "-o", str(tmp_path / "new")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match=r"^export\.bundle: error: ") as refused:
        export_bundle.main()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "new").exists()


def test_a_photo_is_read_before_anything_is_written(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    for name, said in (("black.png", "no face found in"), ("none.png", "none.png")):
        command = ["export.bundle", "--checkpoint", "none.pt", "--photo", str(tmp_path / name)]
        monkeypatch.setattr("sys.argv", [*command, "-o", str(tmp_path / "new")])
        with pytest.raises(SystemExit, match=rf"export\.bundle: error: .*{said}"):
            export_bundle.main()
    assert [path.name for path in tmp_path.iterdir()] == ["black.png"]


def test_a_folder_that_is_no_bundle_is_left_alone(trained, tmp_path):
    state = {"actions": list(ACTIONS), "step": 6, "config": {"preset": "edge"}}
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is there and no bundle; name a new folder"):
        export_bundle.write_bundle(trained, state, tmp_path, "0.0.1", GREY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
