from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from moue import bundle as module
from moue.actions import EXPRESSIONS
from moue.bundle import Bundle, Manifest, load_bundle
from moue.errors import BundleError
from moue.mouth import read_picture
from tests.tiny import MOUTH_WINDOW, write_manifest, write_tiny_bundle


@pytest.fixture
def copied(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle to do harm to."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def test_loads_by_path_and_by_name(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(tiny_bundle)
    assert bundle.folder == tiny_bundle
    assert (bundle.manifest.name, bundle.input_size, len(bundle.actions)) == ("tiny", 32, 54)
    assert [level.size for level in bundle.levels] == [4, 8, 16]
    assert bundle.expressions == EXPRESSIONS
    assert bundle.encoder_bytes() == (tiny_bundle / "encoder.onnx").read_bytes()
    assert bundle.decoder_bytes() == (tiny_bundle / "decoder.onnx").read_bytes()
    assert bundle.graph("decoder").graph.output[0].name == "flow"
    monkeypatch.setattr(module, "BUNDLES", tiny_bundle.parent)
    assert load_bundle("tiny") == bundle


def test_what_ships_plays_the_expressions_that_moue_names() -> None:
    manifest = load_bundle("edge").manifest
    assert manifest.name == "edge"
    assert manifest.expressions == EXPRESSIONS
    card = (module.BUNDLES / "edge" / "MODEL_CARD.md").read_text()
    assert f"{manifest.training['steps']:,} steps" in card


def test_manifest_comes_back_as_written(tiny_bundle: Path) -> None:
    manifest = load_bundle(tiny_bundle).manifest
    assert Manifest.from_json(manifest.to_json().encode()) == manifest
    assert '"schema": 2' in manifest.to_json()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch", "no bundle is named 'nosuch' .*written ./nosuch"),
        ("./nosuch", "nosuch is not a folder"),
        ("", "manifest.json is missing"),
        ("/dev/null", "is not a folder"),
        ("a\0b", "is not a folder|cannot open"),
        ("x/" * 3000, "is not a folder|cannot open"),
        (None, "cannot open the bundle"),
    ],
)
def test_what_is_no_bundle(name: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(name)


def test_every_truncation_and_bit_flip_of_the_manifest_is_refused(tmp_path: Path) -> None:
    sound = (write_tiny_bundle(tmp_path / "b", actions=("jawOpen",)) / "manifest.json").read_bytes()
    manifest = Manifest.from_json(sound)
    for end in range(len(sound.rstrip())):
        with pytest.raises(BundleError):
            Manifest.from_json(sound[:end])
    for place in range(len(sound)):
        for bit in range(8):
            flipped = bytearray(sound)
            flipped[place] ^= 1 << bit
            try:
                assert Manifest.from_json(bytes(flipped)) == manifest
            except BundleError as error:
                assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("harm", ["flip", "shorter", "longer", "empty"])
@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx", "mouth.png"])
def test_damaged_files_are_refused_before_they_are_parsed(
    copied: Path, harm: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "load_model_from_string", lambda data: pytest.fail("parsed"))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("decoded"))
    bundle = load_bundle(copied)
    path = copied / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    damaged = {"flip": data, "shorter": data[:-1], "longer": data + b"\0", "empty": b""}
    path.write_bytes(damaged[harm])
    again = (lambda: bundle.mouth) if "mouth" in file else lambda: bundle.graph(path.stem)
    for read in (lambda: load_bundle(copied), again):
        with pytest.raises(BundleError, match=f"{file} (is damaged|must not be larger)"):
            read()


def add_file(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(b"")


def replace_by_link(folder: Path) -> None:
    (folder / "decoder.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "decoder.onnx").symlink_to(folder.parent / "elsewhere.onnx")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "encoder.onnx").unlink(), "encoder.onnx is missing"),
        (lambda folder: (folder / "mouth.png").unlink(), "mouth.png is missing"),
        (lambda folder: (folder / "manifest.json").write_bytes(b" " * 2**21), "must not be larger"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{}"), "manifest cannot be read"),
        (replace_by_link, "a file of its own"),
        (lambda folder: (folder / "LICENSE").mkdir(), "a file of its own"),
        (add_file("weights.bin"), "weights.bin is not listed"),
        (add_file("engine.plan"), "engine.plan is not listed"),
        (add_file("mouth2.png"), "mouth2.png is not listed"),
        (add_file(".hidden"), "is not listed"),
        (lambda folder: (folder / "more").mkdir(), "more is not listed"),
    ],
)
def test_folders_that_are_not_as_listed(
    copied: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(copied)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(copied)
    assert str(copied) in str(caught.value)


def test_licences_and_the_card_may_lie_beside(copied: Path) -> None:
    for name in ("LICENSE", "LICENSE.data-CC0.txt"):
        add_file(name)(copied)
    (copied / "MODEL_CARD.md").unlink()
    load_bundle(copied)


def test_unreadable_file(copied: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (copied / "decoder.onnx").chmod(0)
    with pytest.raises(BundleError, match="Permission denied"):
        load_bundle(copied)


def signed(fields: dict[str, Any]) -> bytes:
    """A manifest of any content, with the checksum that fits it."""
    fields.pop("sha256", None)
    return json.dumps({**fields, "sha256": module._digest(fields)}).encode()


MOUTH = {
    "file": "mouth.png", "sha256": "0" * 64, "bytes": 1, "window": [0.25, 0.5, 0.75, 0.875],
}  # fmt: skip

WRONG: list[tuple[str, Any]] = [
    ("schema", 1),
    ("schema", "1"),
    ("schema", None),
    ("name", "../edge"),
    ("preset", ""),
    ("version", 1),
    ("licence", None),
    ("actions", []),
    ("actions", "jawOpen"),
    ("actions", ["jawOpen", "jawOpen"]),
    ("actions", ["jaw open"]),
    ("actions", [None]),
    ("actions", [f"a{i}" for i in range(513)]),
    ("expressions", []),
    ("expressions", {"glad": {"noSuch": 1}}),
    ("expressions", {"glad": {"jawOpen": 1.5}}),
    ("expressions", {"glad": {"jawOpen": "1"}}),
    ("expressions", {"glad": [1]}),
    ("input_size", 0),
    ("input_size", True),
    ("input_size", 256.0),
    ("input_size", 10**9),
    ("levels", []),
    ("levels", {}),
    ("levels", [4]),
    ("levels", [{"size": 4, "channels": 8, "residual": 1}]),
    ("levels", [{"size": 4, "channels": 8, "residual": False}]),
    ("levels", [{"size": 4, "channels": -8, "residual": True}]),
    ("levels", [{"size": 64, "channels": 8, "residual": True}]),
    ("levels", [{"size": 4, "channels": 8, "residual": True, "more": 1}]),
    ("levels", [{"size": size, "channels": 8, "residual": True} for size in (8, 4)]),
    ("graphs", {}),
    ("graphs", []),
    ("mouth", None),
    ("mouth", {**MOUTH, "more": 1}),
    ("mouth", {name: value for name, value in MOUTH.items() if name != "window"}),
    ("mouth", {**MOUTH, "bytes": 2**26}),
    *(
        ("mouth", {**MOUTH, "file": file})
        for file in ("../mouth.png", "teeth.png", "mouth.jpg", "mouth", "", None, 1)
    ),
    *(
        ("mouth", {**MOUTH, "window": window})
        for window in (
            [], [0, 0, 1], [0, 0, 1, 1, 1], None, "0.25", 0.5, {}, [0, 0, 1, "1"], [False, 0, 1, True],
            [0, 0, 1, None], [0.5, 0, 0.5, 1], [0.5, 0, 0.25, 1], [0, 1, 1, 0], [-0.125, 0, 1, 1],
            [0, 0, 1.125, 1], [0, 0, 1, 10**400], [0.0625, 0, 1, 1], [0.3, 0, 1, 1],
        )
    ),
    ("training", []),
    ("surprise", 1),
    *(
        ("graphs", {name: {"file": file, "sha256": "0" * 64, "bytes": 1} for name in module.GRAPHS})
        for file in ("../x.onnx", "/etc/passwd", "a/b.onnx", "..onnx", "x.plan", "", None, "same.onnx")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_wrong_fields_are_refused_though_signed(tiny_bundle: Path, field: str, value: Any) -> None:
    fields = json.loads((tiny_bundle / "manifest.json").read_text())
    fields.pop("sha256")
    Manifest.from_json(signed(dict(fields)))
    with pytest.raises(BundleError, match=r"the manifest (is wrong|cannot be read)") as caught:
        Manifest.from_json(signed({**fields, field: value}))
    assert len(str(caught.value)) < 400
    del fields[field if field in fields else "name"]
    with pytest.raises(BundleError):
        Manifest.from_json(signed(fields))


nonsense = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(0, 1) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.sampled_from(sorted({field for field, _ in WRONG})), nonsense)
def test_nonsense_fields_are_only_ever_refused(field: str, value: Any) -> None:
    graphs = {
        name: {"file": f"{name}.onnx", "sha256": "0" * 64, "bytes": 1} for name in module.GRAPHS
    }
    fields = {
        "schema": 2, "name": "x", "preset": "edge", "version": "1", "actions": ["jawOpen"],
        "expressions": {}, "input_size": 32, "training": {}, "licence": "Apache-2.0",
        "levels": [{"size": 4, "channels": 8, "residual": True}], "graphs": graphs,
        "mouth": MOUTH,
    }  # fmt: skip
    try:
        Manifest.from_json(signed({**fields, field: value}))
    except BundleError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_the_mouth_is_read_once_and_cannot_be_written_to(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    mouth = bundle.mouth
    assert mouth.window == MOUTH_WINDOW
    assert mouth.nodes(bundle.input_size) == (3, 4)
    assert np.array_equal(mouth.picture, Image.open(tiny_bundle / "mouth.png"))
    assert not mouth.picture.flags.writeable
    assert bundle.mouth is mouth


def test_a_window_may_be_in_thirds(tiny_bundle: Path) -> None:
    fields = json.loads((tiny_bundle / "manifest.json").read_text())
    fields |= {"input_size": 48, "mouth": {**MOUTH, "window": [1 / 3, 0, 2 / 3, 1]}}
    assert Manifest.from_json(signed(fields)).mouth.window == (1 / 3, 0, 2 / 3, 1)


def png(mode: str = "RGB", size: tuple[int, int] = (64, 32), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (b"", "mouth.png is not a PNG picture"),
        (b"\x89PNG\r\n\x1a\n", "is not a PNG picture"),
        (png()[:-30], "is not a PNG picture"),
        (png(kind="JPEG"), "is not a PNG picture"),
        (png("RGBA"), "must be 8-bit RGB, but is RGBA"),
        (png("L"), "must be 8-bit RGB, but is L"),
        (png("P"), "must be 8-bit RGB, but is P"),
        (png(size=(15, 32)), r"must be 16 … 2048 pixels a side, but is \(15, 32\)"),
        (png(size=(64, 2049)), "must be 16 … 2048 pixels a side"),
    ],
)
def test_mouths_that_are_no_picture(copied: Path, picture: bytes, message: str) -> None:
    (copied / "mouth.png").write_bytes(picture or b"\0")
    write_manifest(copied)
    bundle = load_bundle(copied)
    with pytest.raises(BundleError, match=message) as caught:
        _ = bundle.mouth
    assert str(copied) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_any_byte_of_a_mouth_may_be_wrong(copied: Path) -> None:
    sound = (copied / "mouth.png").read_bytes()
    rng = np.random.default_rng(0)
    for place in (*range(60), *rng.integers(60, len(sound), 200)):
        wrong = bytearray(sound)
        wrong[place] ^= 1 << rng.integers(8)
        try:
            picture = read_picture(bytes(wrong))
            assert picture.dtype == np.uint8
            assert picture.shape[2] == 3
        except ValueError as error:
            assert str(error).startswith(("is not a PNG picture: ", "must be "))  # noqa: PT017


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def with_outside_weight(model: onnx.ModelProto) -> None:
    external(model.graph.initializer[0])


def with_outside_constant(model: onnx.ModelProto) -> None:
    value = external(numpy_helper.from_array(np.zeros(4, np.float16)))
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=value)], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch))


@pytest.mark.parametrize("change", [with_outside_weight, with_outside_constant])
def test_weights_outside_the_file_are_refused(
    copied: Path, change: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(copied / "decoder.onnx")
    change(model)
    (copied / "decoder.onnx").write_bytes(model.SerializeToString())
    write_manifest(copied)
    with pytest.raises(BundleError, match="keeps weights outside"):
        load_bundle(copied).graph("decoder")


def test_what_is_no_graph_is_refused(copied: Path) -> None:
    (copied / "encoder.onnx").write_bytes(b"\xff" * 100)
    write_manifest(copied)
    bundle: Bundle = load_bundle(copied)
    with pytest.raises(BundleError, match="the encoder is not an ONNX graph"):
        bundle.graph("encoder")
