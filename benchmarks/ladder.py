"""From the paper's generator to what moue ships: what each rung buys.

    python -m benchmarks.ladder

whole      the paper's generator, everything for each frame
once       its encoders once a portrait, its decoder for each frame
folded     and the skips' half of each decoder layer once a portrait too
edge       moue's own generator, skips summed with NumPy
kernels    and with the compiled kernels, pixel shuffles transposed
halves     and residuals kept in FP16: what `moue` runs

Each in two ways: one frame at a time on all cores, as `moue live` makes them, and as many frames at
a time as there are cores, each on one, as the frames of a clip are made. Eight frames follow each
other before the next rung's turn. Untrained weights for the paper's: the time does not depend on them.
Frames of 256², without composing at the photo's size. `benchmarks.precision` has the rung below FP32.
"""

from __future__ import annotations

import argparse
import io
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import face_in, in_a_row, in_turns, picture, report, side_by_side
from moue import Animator, kernels
from moue.graphs import as_float32
from moue.kernels.cores import usable_cores
from training.generator import INPUT_SIZE
from training.paper import PaperGenerator

RESIDUALS = 3  # encoders of the paper's generator: happy, angry, surprise
ACTIVE = 9  # actions of the edge generator, as many as an expression moves
CLIPS = (10, 100, 1000)  # frames
FRAMES = 8  # made in a row: in use, none comes alone
CPU = {"providers": ["CPUExecutionProvider"]}


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
    frames, encode = _paper_rungs()
    with Animator("edge", "cpu") as animator:
        edge_frames, edge_encode = _edge_rungs(animator)
        frames |= edge_frames
        runs = {"paper encode": encode, "edge encode": edge_encode}
        for name, rung in frames.items():
            runs[name] = in_a_row(rung.alone, FRAMES)
            runs[f"{name} beside"] = side_by_side(rung.one_core, FRAMES)
        took = in_turns(runs, rounds)
    once = {name: took.pop(name) for name in ("paper encode", "edge encode")}
    took = {name: ms / FRAMES for name, ms in took.items()}
    encodes = {"whole": 0.0, "once": once["paper encode"], "folded": once["paper encode"]}
    rungs: dict[str, object] = {}
    for name in frames:
        each = took[f"{name} beside"] / usable_cores()
        rungs[name] = {
            "frame_ms": took[name],
            "side_by_side_ms": each,
            "clip_s": {
                n: (encodes.get(name, once["edge encode"]) + n * each) / 1000 for n in CLIPS
            },
            **{
                f"times_faster_than_{other}": {
                    "alone": took[other] / took[name],
                    "side_by_side": took[f"{other} beside"] / took[f"{name} beside"],
                }
                for other in ("whole", "once")
            },
        }
        print(
            f"{name:8} {took[name]:8.2f} ms a frame alone, ×{took['whole'] / took[name]:.1f}; "
            f"{each:8.2f} side by side, ×{took['whole beside'] / took[f'{name} beside']:.1f}",
            file=sys.stderr,
        )
    report("ladder", rounds=rounds, threads=usable_cores(), once_ms=once, rungs=rungs)


class Rung(NamedTuple):
    """A frame on all cores, and one on the calling thread alone."""

    alone: Callable[[], object]
    one_core: Callable[[], object]


Run = Callable[[], object]


def _paper_rungs() -> tuple[dict[str, Rung], Run]:
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
    encode = _sessions(Encoders(paper), [photo]).alone
    decode = _sessions(Decoder(paper), skips)
    folded = _sessions(FoldedDecoder(paper), entered)
    _same(decode.alone(), folded.alone())
    features = encode()
    base = np.concatenate([level.ravel() for level in features[:8]])
    residual = np.concatenate([level.reshape(RESIDUALS, -1) for level in features[8:]], axis=1)
    weights = np.full((1, RESIDUALS), 0.5, np.float32)
    sizes = [level.size for level in features[:8]]

    def summed(threads: int, run: Run) -> Run:
        def frame() -> None:
            kernels.skip_sum(base, residual, weights, sizes, threads=threads)
            run()

        return frame

    frames = {"whole": _sessions(Whole(paper), [photo, actions])}
    for name, rung in (("once", decode), ("folded", folded)):
        frames[name] = Rung(summed(0, rung.alone), summed(1, rung.one_core))
    return frames, encode


def _edge_rungs(animator: Animator) -> tuple[dict[str, Rung], Run]:
    photo = picture()
    square = kernels.preprocess(photo, face_in(photo).square.to_photo(), INPUT_SIZE)[None]
    face = animator.prepare(photo, face_in(photo)).faces[0]
    vectors = np.zeros((1, len(animator.actions)), np.float32)
    vectors[0, :ACTIVE] = 0.5
    features = face.features
    single = features.residual.astype(np.float32)
    data = as_float32(animator.bundle.graph("decoder")).SerializeToString()

    def rung(add: Callable[..., object], residual: NDArray, graph: Rung) -> Rung:
        def frame(run: Callable[[Mapping[str, NDArray]], object], **how: int) -> Run:
            own = threading.local()  # the sums, which stay with a thread

            def made() -> None:
                if not hasattr(own, "room"):
                    own.room = features.room(1)
                add(features.base, residual, vectors, features.sizes, own.room, **how)
                run(features.by_level(own.room))

            return made

        if add is kernels.skip_sum:
            return Rung(frame(graph.alone, threads=0), frame(graph.one_core, threads=1))
        return Rung(frame(graph.alone), frame(graph.one_core))

    both = [onnxruntime.InferenceSession(data, _options(n), **CPU) for n in (usable_cores(), 1)]
    as_exported = Rung(*(partial(session.run, None) for session in both))
    decode = animator.runtime.decode
    as_run = Rung(decode, partial(decode, one_core=True))
    frames = {
        "edge": rung(kernels.skip_sum_reference, single, as_exported),
        "kernels": rung(kernels.skip_sum, single, as_run),
        "halves": rung(kernels.skip_sum, features.residual, as_run),
    }
    return frames, lambda: animator.runtime.encode(square)


def _sessions(module: nn.Module, inputs: Sequence[Tensor]) -> Rung:
    """Runs of the module through ONNX Runtime on these inputs."""
    names = [f"x{k}" for k in range(len(inputs))]
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(), tuple(inputs), input_names=names, dynamo=True, opset_version=20,
            verbose=False,
        )  # fmt: skip
        program.save(file)
    given = {name: x.detach().numpy() for name, x in zip(names, inputs, strict=True)}
    runs = []
    for threads in (usable_cores(), 1):
        session = onnxruntime.InferenceSession(file.getvalue(), _options(threads), **CPU)
        runs.append(partial(session.run, None, given))
    return Rung(*runs)


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _same(one: Sequence[NDArray], other: Sequence[NDArray]) -> None:
    difference = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
    if difference > 1e-3:
        raise SystemExit(f"folding changed the paper's frames by {difference}")


if __name__ == "__main__":
    main()
