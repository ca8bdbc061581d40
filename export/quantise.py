"""A bundle whose decoder convolves in INT8 on a CPU, its ranges measured on training portraits.

    python -m export.quantise --bundle edge --data ROOT -o edge_int8
    moue animate photo.jpg --expression happy --bundle ./edge_int8 --device cpu -o out.mp4

Every convolution but the last ones stands between explicit quantise and dequantise nodes, 8 bits for
features, 8 for weights, channel by channel. The last ones, which say where pixels go, sums and shuffles
stay floating-point: with them in INT8 the decoder took a fifth less, and frames were wrong by two
thirds more. Between two convolutions that follow each other channels are mixed first, so that none of
them has all of the range: frames of edge 0.11.0 are wrong by 1.6 of 255 levels, without it by 2.9.
The encoder is the same file, so that portraits of one bundle serve the other.
`python -m benchmarks.precision` measures what INT8 costs and buys.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from moue.actions import action_vector, turns
from moue.animator import Animator
from moue.bundle import MANIFEST, Bundle, GraphFile, load_bundle
from moue.errors import MoueError, NoFaceError, PhotoError
from training.data.faces import identity_of, is_held_out

PORTRAITS = 48  # that the ranges are measured on
DEGREES = (0.0, 0.5, 1.0)  # of every expression


def quantise(bundle: Bundle, photos: Iterable[Path], folder: Path) -> None:
    """Writes the bundle with its decoder in INT8.

    Args:
        photos: portraits that the network was trained on; those without a face, or that cannot be
            read, are passed over.
        folder: must not exist.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        target = Path(made) / "bundle"
        shutil.copytree(bundle.folder, target)
        decoder = target / bundle.manifest.graphs["decoder"].file
        model = bundle.graph("decoder")
        for k, node in enumerate(model.graph.node):
            node.name = f"node_{k}"
        mix_channels(model.graph)
        logging.disable(
            logging.WARNING
        )  # the library's advice to preprocess, which export has done
        try:
            with Animator(bundle, "cpu") as animator:
                quantize_static(
                    model,
                    decoder,
                    _Features(animator, photos),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    op_types_to_quantize=["Conv"],
                    nodes_to_exclude=_last_convolutions(model.graph),
                )
        finally:
            logging.disable(logging.NOTSET)
        graphs = {**bundle.manifest.graphs, "decoder": GraphFile.of(decoder)}
        manifest = replace(bundle.manifest, name=f"{bundle.manifest.name}-int8", graphs=graphs)
        (target / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        load_bundle(target)
        target.replace(folder)


def mix_channels(graph: onnx.GraphProto) -> None:
    """Rotates the channels between two convolutions that follow each other, in place.

    The first one's filters become a rotation of themselves, and the second one undoes it: the graph
    computes what it did, but for rounding. One step of 8 bits serves all channels of a tensor; here a
    few that go far would leave the rest a handful of steps, and rotated no channel goes far alone.
    A first convolution with a bias, or one whose result something else takes in too, is left alone.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    taken = Counter(name for node in graph.node for name in node.input)
    taken.update(output.name for output in graph.output)
    makes = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    for second in graph.node:
        first = makes.get(second.input[0]) if second.op_type == "Conv" else None
        if first is None or len(first.input) > 2 or taken[first.output[0]] > 1:
            continue
        before, after = (numpy_helper.to_array(weights[n.input[1]]) for n in (first, second))
        count = len(before)
        rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(count, count)))[0]
        mixed = np.einsum("ij,jcyx->icyx", rotation, before.astype(np.float64))
        undone = np.einsum("oiyx,ji->ojyx", after.astype(np.float64), rotation)
        for node, old, new in ((first, before, mixed), (second, after, undone)):
            name = node.input[1]
            weights[name].CopyFrom(numpy_helper.from_array(new.astype(old.dtype), name))


def _last_convolutions(graph: onnx.GraphProto) -> list[str]:
    """The nodes that convolve, and whose results no other one takes in; the graph is in order."""
    last: list[str] = []
    convolved: set[str] = set()  # tensors that some later convolution depends on
    for node in reversed(graph.node):
        leads_on = not convolved.isdisjoint(node.output)
        if node.op_type == "Conv" and not leads_on:
            last.append(node.name)
        if node.op_type == "Conv" or leads_on:
            convolved.update(node.input)
    return last


def training_portraits(data: Path) -> Iterator[Path]:
    """Of `ROOT/portraits`, those that training saw, in an order that mixes their origins."""
    portraits = [
        path
        for path in sorted((data / "portraits").glob("*.jpg"))
        if not is_held_out(identity_of(path.stem))
    ]
    order = np.random.default_rng(0).permutation(len(portraits))
    return (portraits[k] for k in order)


class _Features(CalibrationDataReader):
    """The decoder's inputs, FP16, one frame at a time."""

    def __init__(self, animator: Animator, photos: Iterable[Path]) -> None:
        self._frames = self._read(animator, photos)

    def get_next(self) -> dict[str, NDArray[np.float16]] | None:
        return next(self._frames, None)

    def _read(
        self, animator: Animator, photos: Iterable[Path]
    ) -> Iterator[dict[str, NDArray[np.float16]]]:
        shown = [
            {name: degree * w for name, w in weights.items()}
            for weights in animator.bundle.expressions.values()
            for degree in DEGREES
        ]
        shown += turns(animator.actions)
        vectors = np.stack([action_vector(weights, animator.actions) for weights in shown])
        for photo in photos:
            try:
                face = animator.prepare(photo).faces[0]
            except (NoFaceError, PhotoError):
                continue
            features = face.features.skips(vectors)
            for k in range(len(vectors)):
                frame = {
                    name: array[k : k + 1] if name.startswith("skip") else array
                    for name, array in features.items()
                }
                yield {name: array.astype(np.float16) for name, array in frame.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="edge")
    parser.add_argument("--data", type=Path, required=True, help="holds portraits/*.jpg")
    parser.add_argument("--portraits", type=int, default=PORTRAITS)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new folder")
    arguments = parser.parse_args()
    if arguments.output.exists():
        raise SystemExit(f"export.quantise: error: {arguments.output} exists; name a new folder")
    photos = list(training_portraits(arguments.data))[: arguments.portraits]
    if not photos:
        raise SystemExit(f"export.quantise: error: no portraits/*.jpg in {arguments.data}")
    try:
        quantise(load_bundle(arguments.bundle), photos, arguments.output)
    except MoueError as error:
        raise SystemExit(f"export.quantise: error: {error}") from None
    print(
        f"{arguments.output}: {load_bundle(arguments.output).manifest.graphs['decoder'].bytes} bytes"
    )


if __name__ == "__main__":
    main()
