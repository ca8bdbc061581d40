"""FP32, FP16 and INT8 on the CPU: what each costs in the picture and buys in time.

    python -m benchmarks.precision --data ROOT

FP32 is what `moue` runs, with residuals kept in FP16. FP16 is the bundle's own graph as it stands;
INT8 is the bundle that `python -m export.quantise` makes, its ranges measured on training portraits.
The picture: levels of 255 by which frames of every expression at degree 1 differ from FP32's, over
the face squares of people the training never saw. Control: by how much MediaPipe's blendshape scores
of the expression's actions rise. Time: the decoder on one core, in turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks import in_turns, report
from export.quantise import PORTRAITS, quantise, training_portraits
from moue import Animator, Portrait
from moue.errors import NoFaceError, PhotoError
from training.data.faces import identity_of, is_held_out
from training.scores import BlendshapeScorer

MOVED = 0.25  # weight from which on an action's score is expected to rise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="portraits/*.jpg and models/")
    parser.add_argument("--bundle", default="edge")
    parser.add_argument("--portraits", type=int, default=PORTRAITS, help="that ranges come from")
    parser.add_argument("--faces", type=int, default=10, help="held out, that are compared")
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    data: Path = arguments.data
    with (
        BlendshapeScorer(data) as scorer,
        tempfile.TemporaryDirectory() as made,
        Animator(arguments.bundle, "cpu", threads=1) as full,
    ):
        folder = Path(made) / "int8"
        photos = list(training_portraits(data))[: arguments.portraits]
        quantise(full.bundle, photos, folder)
        with Animator(folder, "cpu", threads=1) as eighth:
            portraits = list(_held_out(full, data, arguments.faces))
            picture = _compare(full, eighth, portraits, scorer)
            nothing = np.zeros((1, len(full.actions)), np.float32)
            features = portraits[0].faces[0].features.skips(nothing)
            took = in_turns(
                {
                    "fp32": lambda: full.runtime.decode(features),
                    "fp16": _as_it_stands(full, features),
                    "int8": lambda: eighth.runtime.decode(features),
                },
                arguments.rounds,
            )
    for name, value in (picture | {f"{name} ms": ms for name, ms in took.items()}).items():
        print(f"{name:24} {value:8.3f}", file=sys.stderr)
    faces = len(portraits)
    report("precision", calibrated_on=len(photos), faces=faces, int8=picture, decode_ms=took)


def _held_out(animator: Animator, data: Path, most: int) -> Iterator[Portrait]:
    for path in sorted((data / "portraits").glob("*.jpg")):
        if most and is_held_out(identity_of(path.stem)):
            try:
                yield animator.prepare(path)
            except (NoFaceError, PhotoError):
                continue
            most -= 1


def _compare(
    full: Animator, eighth: Animator, portraits: list[Portrait], scorer: BlendshapeScorer
) -> dict[str, float]:
    means, most, rises = [], 0, []
    for portrait in portraits:
        square = portrait.faces[0].square
        again = eighth.prepare(portrait.photo)  # what it gives at rest is its own
        still = scorer(portrait.photo)
        for weights in full.bundle.expressions.values():
            one, other = full.frame(portrait, weights), eighth.frame(again, weights)
            difference = np.abs(one.astype(np.int16) - other)
            means.append(difference.sum() / (3 * square.side**2))
            most = max(most, int(difference.max()))
            names = [name for name, weight in weights.items() if weight >= MOVED]
            scores = [scorer(one), scorer(other)]
            if still and all(scores):
                rises.append([np.mean([s[n] - still[n] for n in names]) for s in scores])
    result = {"mean_levels": float(np.mean(means)), "worst_frame_levels": float(np.max(means))}
    result["worst_pixel_levels"] = float(most)
    if rises:
        fp32, int8 = np.array(rises).T
        result |= {
            "rise_fp32": float(fp32.mean()),
            "rise_int8": float(int8.mean()),
            "rise_differs_by": float(np.abs(fp32 - int8).mean()),
        }
    return result


def _as_it_stands(
    animator: Animator, features: Mapping[str, NDArray[np.float32]]
) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        animator.bundle.decoder_bytes(), options, providers=["CPUExecutionProvider"]
    )
    halves = {name: array.astype(np.float16) for name, array in features.items()}
    return lambda: session.run(None, halves)


if __name__ == "__main__":
    main()
