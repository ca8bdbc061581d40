"""Each stage against what this machine can do: convolutions a second and bytes copied a second.

    python -m benchmarks.roofline

Ceilings and stages run in turns. Bytes are those a stage must read and write at least once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from benchmarks import face_in, in_turns, picture, report
from moue import Animator, kernels
from moue.graphs import as_float32
from moue.kernels.cores import usable_cores

ACTIVE = 9  # actions, as many as an expression moves
CONV = (128, 256, 32)  # channels in, channels out and side of the ceiling's 3×3 convolution
COPIED = 64 << 20  # bytes, more than any cache holds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    photo = picture()
    face = face_in(photo)
    with Animator("edge", "cpu") as animator:
        found = animator.prepare(photo, face).faces[0]
        vectors = np.zeros((1, len(animator.actions)), np.float32)
        vectors[0, :ACTIVE] = 0.5
        skips = {f"skip_{size}": found.base[size][None].copy() for size in found.residual}
        plain = {f"base_{s}": e[None] for s, e in found.base.items() if s not in found.residual}
        maps = animator.runtime.decode({**skips, **plain})
        maps = {name: array[0].copy() for name, array in maps.items()}
        source, target = np.ones(COPIED, np.uint8), np.empty(COPIED, np.uint8)
        frame = photo.copy()
        convolve, conv_macs = _convolution()

        def sum_skips() -> None:
            for size, residual in found.residual.items():
                kernels.skip_sum(found.base[size], residual, vectors, skips[f"skip_{size}"])

        def compose() -> None:
            flow, mask = maps["flow"] - found.rest_flow, maps["mask"][0] - found.rest_mask
            kernels.compose(photo, found.to_crop, flow, mask, maps["colour"], frame)

        took = in_turns(
            {
                "convolution": convolve,
                "copy": lambda: np.copyto(target, source),
                "skip-sum": sum_skips,
                "decode": lambda: animator.runtime.decode({**skips, **plain}),
                "compose": compose,
            },
            rounds,
        )
        side = face.square.side
        bytes_moved = {
            "copy": 2 * COPIED,
            "skip-sum": 4 * (ACTIVE + 2) * sum(e.size for e in skips.values()),
            "compose": 2 * 3 * side**2 + sum(array.nbytes for array in maps.values()),
        }
        macs = {
            "convolution": conv_macs,
            "decode": _multiply_adds(as_float32(animator.bundle.graph("decoder"))),
        }
    ceilings = {
        "convolution_gflops": 2 * macs["convolution"] / took["convolution"] / 1e6,
        "copy_gb_s": bytes_moved["copy"] / took["copy"] / 1e6,
    }
    rate = 2 * macs["decode"] / took["decode"] / 1e6
    stages = {
        "decode": {
            "ms": took["decode"],
            "gmac": macs["decode"] / 1e9,
            "of_ceiling": rate / ceilings["convolution_gflops"],
        }
    }
    for name in ("skip-sum", "compose"):
        rate = bytes_moved[name] / took[name] / 1e6
        stages[name] = {
            "ms": took[name],
            "megabytes": bytes_moved[name] / 1e6,
            "of_ceiling": rate / ceilings["copy_gb_s"],
        }
    for name, values in stages.items():
        print(f"{name:9} {values['ms']:6.2f} ms, {values['of_ceiling']:.0%}", file=sys.stderr)
    report("roofline", rounds=rounds, ceilings=ceilings, stages=stages)


def _convolution() -> tuple[Callable[[], object], int]:
    """A run of one large convolution through ONNX Runtime, and its multiply-adds."""
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
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x = np.ones((1, before, side, side), np.float32)
    return lambda: session.run(None, {"x": x}), 9 * before * after * side**2


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
