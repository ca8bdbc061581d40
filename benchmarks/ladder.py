"""From the paper's generator to what moue ships: what each rung buys.

    python -m benchmarks.ladder

whole      the paper's generator, everything for each frame
once       its encoders once a portrait, its decoder for each frame
folded     and the skips' half of each decoder layer once a portrait too
edge       moue's own generator, skips summed with NumPy
kernels    and with the compiled kernels, pixel shuffles transposed: what `moue` runs
halves     and residuals kept in FP16

Untrained weights for the paper's: the time does not depend on them. Frames of 256², without
composing at the photo's size; runs in turns, the same number of threads each.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import face_in, in_turns, picture, report
from moue import Animator, kernels
from moue.graphs import as_float32
from moue.kernels.cores import usable_cores
from training.generator import INPUT_SIZE, PaperGenerator

RESIDUALS = 3  # encoders of the paper's generator: happy, angry, surprise
ACTIVE = 9  # actions of the edge generator, as many as an expression moves
CLIPS = (10, 100, 1000)  # frames


class Whole(nn.Module):
    def __init__(self, paper: PaperGenerator) -> None:
        super().__init__()
        self.paper = paper

    def forward(self, photo: Tensor, actions: Tensor) -> Tensor:
        return self.paper(photo, actions)


class Encoders(nn.Module):
    """Photo → base and residuals at every level, fine to coarse."""

    def __init__(self, paper: PaperGenerator) -> None:
        super().__init__()
        self.paper = paper

    def forward(self, photo: Tensor) -> tuple[Tensor, ...]:
        each = [encoder(photo) for encoder in self.paper.residuals]
        residuals = [torch.cat(level) for level in zip(*each, strict=True)]
        return (*self.paper.base(photo), *residuals)


class Decoder(nn.Module):
    def __init__(self, paper: PaperGenerator) -> None:
        super().__init__()
        self.paper = paper

    def forward(self, *skips: Tensor) -> Tensor:
        x = skips[-1]
        for k, up in enumerate(self.paper.up):
            x = torch.cat([up(x), skips[-2 - k]], 1)
        return (torch.tanh(self.paper.rgb(x)) + 1) / 2


class FoldedDecoder(nn.Module):
    """The decoder whose skips have passed their half of the layer they enter: W·[x, s] = Wx·x + Ws·s."""

    def __init__(self, paper: PaperGenerator) -> None:
        super().__init__()
        self.first = paper.up[0]
        layers = [*paper.up[1:], nn.Sequential(paper.rgb)]
        self.own = nn.ModuleList(_half(layer[0]) for layer in layers)
        self.rest = nn.ModuleList(layer[1:] for layer in layers)

    def forward(self, *skips: Tensor) -> Tensor:
        """The deepest level as it is, then the entered ones, coarse to fine."""
        x = self.first(skips[0])
        for own, rest, skip in zip(self.own, self.rest, skips[1:], strict=True):
            x = rest(own(x) + skip)
        return (torch.tanh(x) + 1) / 2


def _half(layer: nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    """The layer for the first half of its channels, which are the decoder's own."""
    own = nn.ConvTranspose2d(layer.in_channels // 2, layer.out_channels, 4, 2, 1, bias=False)
    own.weight.data = layer.weight.data[: layer.in_channels // 2]
    return own


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    frames, encodes = _paper_rungs()
    animator = Animator("edge", "cpu")
    edge_frames, edge_encode = _edge_rungs(animator)
    took = in_turns(frames | edge_frames | encodes | edge_encode, rounds)
    encode = {
        "whole": 0.0,
        "once": took["paper encode"],
        "folded": took["paper encode"],
        **dict.fromkeys(edge_frames, took["edge encode"]),
    }
    rungs = {}
    for name in (*frames, *edge_frames):
        ms = took[name]
        rungs[name] = {
            "frame_ms": round(ms, 3),
            "clip_s": {n: round((encode[name] + n * ms) / 1000, 3) for n in CLIPS},
            "times_faster_than_whole": round(took["whole"] / ms, 2),
            "times_faster_than_once": round(took["once"] / ms, 2),
        }
        print(f"{name:8} {ms:8.2f} ms a frame, ×{took['whole'] / ms:.1f}", file=sys.stderr)
    once = {name: round(took[name], 2) for name in ("paper encode", "edge encode")}
    report("ladder", rounds=rounds, threads=usable_cores(), once_ms=once, rungs=rungs)


Runs = dict[str, Callable[[], object]]


def _paper_rungs() -> tuple[Runs, Runs]:
    paper = PaperGenerator(RESIDUALS).eval()
    photo = torch.rand(1, 3, INPUT_SIZE, INPUT_SIZE)
    actions = torch.full((1, 1, RESIDUALS), 0.5)
    with torch.no_grad():
        skips = paper.features(photo, actions)
        entered = [skips[-1]]
        for k, layer in enumerate([*paper.up[1:], nn.Sequential(paper.rgb)]):
            convolution = layer[0]
            own = convolution.in_channels // 2
            entered.append(
                nn.functional.conv_transpose2d(
                    skips[-2 - k], convolution.weight[own:], convolution.bias, 2, 1
                )
            )
    encode = _session(Encoders(paper), [photo])
    decode = _session(Decoder(paper), skips)
    folded = _session(FoldedDecoder(paper), entered)
    _same(decode(), folded())
    features = encode()
    bases, residuals = features[:8], features[8:]
    weights = np.full((1, RESIDUALS), 0.5, np.float32)

    def summed() -> None:
        for base, residual in zip(bases, residuals, strict=True):
            kernels.skip_sum(base[0], residual, weights)

    frames: Runs = {
        "whole": _session(Whole(paper), [photo, actions]),
        "once": lambda: (summed(), decode()),
        "folded": lambda: (summed(), folded()),
    }
    return frames, {"paper encode": encode}


def _edge_rungs(animator: Animator) -> tuple[Runs, Runs]:
    photo = picture()
    square = kernels.preprocess(photo, face_in(photo).square.to_photo(), INPUT_SIZE)[None]
    face = animator.prepare(photo, face_in(photo)).faces[0]
    vectors = np.zeros((1, len(animator.actions)), np.float32)
    vectors[0, :ACTIVE] = 0.5
    skips = {size: np.empty((1, *face.base[size].shape), np.float32) for size in face.residual}
    plain = {f"base_{s}": e[None] for s, e in face.base.items() if s not in skips}
    features = {**{f"skip_{s}": out for s, out in skips.items()}, **plain}
    halves = {size: residual.astype(np.float16) for size, residual in face.residual.items()}
    data = as_float32(animator.bundle.graph("decoder")).SerializeToString()
    session = onnxruntime.InferenceSession(data, _options(), providers=["CPUExecutionProvider"])

    def plain_numpy() -> None:
        for size, out in skips.items():
            kernels.skip_sum_reference(face.base[size], face.residual[size], vectors, out)
        session.run(None, features)

    def compiled(residuals: Mapping[int, NDArray]) -> None:
        for size, out in skips.items():
            kernels.skip_sum(face.base[size], residuals[size], vectors, out)
        animator.runtime.decode(features)

    frames: Runs = {
        "edge": plain_numpy,
        "kernels": lambda: compiled(face.residual),
        "halves": lambda: compiled(halves),
    }
    return frames, {"edge encode": lambda: animator.runtime.encode(square)}


def _session(module: nn.Module, inputs: Sequence[Tensor]) -> Callable[[], list[NDArray]]:
    """A run of the module through ONNX Runtime on these inputs."""
    names = [f"x{k}" for k in range(len(inputs))]
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(), tuple(inputs), input_names=names, dynamo=True, opset_version=20,
            verbose=False,
        )  # fmt: skip
        program.save(file)
    session = onnxruntime.InferenceSession(
        file.getvalue(), _options(), providers=["CPUExecutionProvider"]
    )
    given = {name: x.detach().numpy() for name, x in zip(names, inputs, strict=True)}
    return lambda: session.run(None, given)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _same(one: Sequence[NDArray], other: Sequence[NDArray]) -> None:
    difference = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
    if difference > 1e-3:
        raise SystemExit(f"folding changed the paper's frames by {difference}")


if __name__ == "__main__":
    main()
