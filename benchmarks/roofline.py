"""Each stage against what this machine can do: convolutions a second and bytes copied a second.

    python -m benchmarks.roofline

Ceilings and stages run in turns, each on all cores at once, a core by itself, as the frames of a clip
are made; the decoder also on all cores for one frame, against a convolution run so. Bytes are those
that a stage must read and write at least once, operations those its arithmetic needs.

Compose is bound by neither: each pixel looks up places of its own in the maps and in the photo, and
turns twelve bytes into numbers and three back, which is neither copying nor multiplying and adding.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from benchmarks import face_in, in_turns, picture, report, side_by_side
from moue import Animator, kernels
from moue.graphs import as_float32
from moue.kernels.cores import usable_cores

ACTIVE = 9  # actions, as many as an expression moves
CONV = (128, 256, 32)  # channels in, channels out and side of the ceiling's 3×3 convolution
COMPOSED = 8 * 9 + 12 + 3 * 16  # operations a pixel: maps, position, colours
COPIED = 64 << 20  # bytes, more than any cache holds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    photo = picture()
    face = face_in(photo)
    with Animator("edge", "cpu") as animator:
        found = animator.prepare(photo, face).faces[0]
        vectors = np.zeros((1, len(animator.actions)), np.float32)
        vectors[0, :ACTIVE] = 0.5
        features = {f"skip_{size}": found.base[size][None] for size in found.residual}
        features |= {f"base_{s}": e[None] for s, e in found.base.items() if s not in found.residual}
        maps = animator.runtime.decode(features)
        maps = {name: array[0].copy() for name, array in maps.items()}
        maps["flow"] -= found.rest_flow
        maps["mask"] -= found.rest_mask

        def copying() -> Run:
            source, target = np.ones(COPIED, np.uint8), np.empty(COPIED, np.uint8)
            return lambda: np.copyto(target, source)

        def summing() -> Run:
            base, residual = found.base, found.residual
            out = {size: np.empty((1, *base[size].shape), np.float32) for size in residual}

            def run() -> None:
                for size, total in out.items():
                    kernels.skip_sum(base[size], residual[size], vectors, total, threads=1)

            return run

        def composing() -> Run:
            frame = photo.copy()
            how = {"out": frame, "threads": 1}
            layers = maps["flow"], maps["mask"][0], maps["light"], maps["place"], found.mouth
            return lambda: kernels.compose(photo, found.to_crop, *layers, **how)

        decode = animator.runtime.decode
        took = in_turns(
            {
                "convolution": side_by_side(_convolution(1)),
                "copy": side_by_side(_each_its_own(copying)),
                "skip-sum": side_by_side(_each_its_own(summing)),
                "decode": side_by_side(lambda: decode(features, one_core=True)),
                "compose": side_by_side(_each_its_own(composing)),
                "convolution alone": _convolution(usable_cores()),
                "decode alone": lambda: decode(features),
            },
            rounds,
        )
        cells = sum(found.base[size].size for size in found.residual)
        pixels = round(face.square.side) ** 2
        moved = {  # bytes
            "copy": 2 * COPIED,
            "skip-sum": (2 * ACTIVE + 4 + 4) * cells,
            "compose": 2 * 3 * pixels + sum(array.nbytes for array in maps.values()),
        }
        work = {  # operations
            "convolution": 2 * CONV[0] * CONV[1] * CONV[2] ** 2 * 9,
            "skip-sum": 2 * ACTIVE * cells,
            "decode": 2 * _multiply_adds(as_float32(animator.bundle.graph("decoder"))),
            "compose": COMPOSED * pixels,
        }
    cores = usable_cores()
    ceilings = {
        "convolution_gflops": cores * work["convolution"] / took["convolution"] / 1e6,
        "convolution_alone_gflops": work["convolution"] / took["convolution alone"] / 1e6,
        "copy_gb_s": cores * moved["copy"] / took["copy"] / 1e6,
    }
    stages: dict[str, dict[str, float]] = {}
    for name in ("skip-sum", "decode", "compose"):
        gflops = cores * work[name] / took[name] / 1e6
        stages[name] = {
            "ms": took[name] / cores,
            "gflop": work[name] / 1e9,
            "of_convolution_ceiling": gflops / ceilings["convolution_gflops"],
        }
        if name in moved:
            rate = cores * moved[name] / took[name] / 1e6
            stages[name] |= {
                "megabytes": moved[name] / 1e6,
                "of_copy_ceiling": rate / ceilings["copy_gb_s"],
            }
    alone = work["decode"] / took["decode alone"] / 1e6
    stages["decode alone"] = {
        "ms": took["decode alone"],
        "of_convolution_ceiling": alone / ceilings["convolution_alone_gflops"],
    }
    for name, values in stages.items():
        shares = " ".join(f"{key} {of:.0%}" for key, of in values.items() if key.startswith("of_"))
        print(f"{name:12} {values['ms']:6.2f} ms a frame: {shares}", file=sys.stderr)
    report("roofline", rounds=rounds, ceilings=ceilings, stages=stages)


Run = Callable[[], object]


def _each_its_own(make: Callable[[], Run]) -> Run:
    """A run whose memory belongs to the thread that calls it."""
    own = threading.local()

    def run() -> None:
        if not hasattr(own, "run"):
            own.run = make()
        own.run()

    return run


def _convolution(threads: int) -> Run:
    """A run of one large convolution through ONNX Runtime."""
    before, after, side = CONV
    weight = numpy_helper.from_array(np.full((after, before, 3, 3), 0.01, np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    shapes = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, count, side, side])
        for name, count in (("x", before), ("y", after))
    ]
    graph = helper.make_graph([node], "ceiling", shapes[:1], shapes[1:], [weight])
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.ones((1, before, side, side), np.float32)
    return lambda: session.run(None, {"x": x})


def _multiply_adds(model: onnx.ModelProto) -> int:
    """Those of all convolutions, for one frame."""
    model = onnx.shape_inference.infer_shapes(model)
    sizes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return sum(
        int(np.prod(weights[node.input[1]]) * np.prod(sizes[node.output[0]][2:]))
        for node in model.graph.node
        if node.op_type == "Conv"
    )


if __name__ == "__main__":
    main()
