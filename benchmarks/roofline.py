"""Each stage against what this machine can do: convolutions a second and bytes copied a second.

    python -m benchmarks.roofline

Ceilings and frames run in turns, on all cores at once, a core by itself, as the frames of a clip are made.
Stages follow each other as they do in a frame and are timed there, the first frame of each turn left
out: what a ceiling left in the caches is not a frame's. The decoder also runs on all cores for one frame,
against a convolution run so. Bytes are those that a stage must read and write at least once, operations
those its arithmetic needs.

Compose makes a new frame: it copies the photo around the square, and within it each pixel looks up
places of its own in the maps and in the photo, which is neither copying nor multiplying and adding.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from benchmarks import face_in, in_a_row, in_turns, picture, report, side_by_side
from moue import Animator
from moue.actions import action_vector
from moue.animator import EncodedFace
from moue.graphs import as_float32
from moue.kernels.cores import usable_cores

EXPRESSION = "happy"  # at degree 1
CONV = (128, 256, 32)  # channels in, channels out and side of the ceiling's 3×3 convolution
COMPOSED = 8 * 9 + 12 + 3 * 16  # operations a pixel: maps, position, colours
COPIED = 64 << 20  # bytes, more than any cache holds
FRAMES = 8  # made in a row


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
        vectors = action_vector(animator.expressions[EXPRESSION], animator.actions)[None]
        active = np.count_nonzero(vectors)
        frames = _Frames(animator, found, photo, vectors)
        features = found.features.skips(vectors)
        maps = animator.runtime.decode(features)
        sizes = {name: array.nbytes for name, array in maps.items()}

        def copying() -> Run:
            source, target = np.ones(COPIED, np.uint8), np.empty(COPIED, np.uint8)
            return lambda: np.copyto(target, source)

        took = in_turns(
            {
                "convolution": side_by_side(_convolution(1)),
                "copy": side_by_side(_each_its_own(copying)),
                "frames": side_by_side(_each_its_own(frames.made)),
                "convolution alone": _convolution(usable_cores()),
                "decode alone": in_a_row(lambda: animator.runtime.decode(features), FRAMES),
            },
            rounds,
        )
        took["decode alone"] /= FRAMES
        took |= {name: float(np.median(times)) for name, times in frames.times.items()}
        cells = found.features.base.size
        at_rest = found.rest_flow.nbytes + found.rest_mask.nbytes
        pixels = round(face.square.side) ** 2
        moved = {  # bytes
            "copy": 2 * COPIED,
            "skip-sum": (2 * active + 4 + 4) * cells,
            "compose": 2 * photo.nbytes + sum(sizes.values()) + at_rest,
        }
        work = {  # operations
            "convolution": 2 * CONV[0] * CONV[1] * CONV[2] ** 2 * 9,
            "skip-sum": 2 * active * cells,
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


class _Frames:
    """Frames of one portrait, a core each, and what their stages took."""

    def __init__(
        self,
        animator: Animator,
        face: EncodedFace,
        photo: NDArray[np.uint8],
        vectors: NDArray[np.float32],
    ) -> None:
        self.animator, self.face, self.photo, self.vectors = animator, face, photo, vectors
        self.times: dict[str, list[float]] = {"skip-sum": [], "decode": [], "compose": []}

    def made(self) -> Run:
        """A run of some frames, in memory that belongs to one thread."""
        face = self.face
        sums = face.features.room(1)

        def run() -> None:
            for number in range(FRAMES):
                marks = [time.perf_counter()]
                features = face.features.skips(self.vectors, sums, threads=1)
                marks.append(time.perf_counter())
                maps = self.animator.runtime.decode(features, one_core=True)
                marks.append(time.perf_counter())
                face.compose(self.photo, maps, threads=1)
                marks.append(time.perf_counter())
                if number:
                    for k, name in enumerate(self.times):
                        self.times[name].append(1000 * (marks[k + 1] - marks[k]))

        return run


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
