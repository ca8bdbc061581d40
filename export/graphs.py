"""The edge generator as two FP16 ONNX graphs: `encoder` and `decoder`.

Batch normalisation is folded into the convolutions, and the convolution a skip enters the decoder by
is applied to the base and to every residual in the encoder, once per portrait. Between the graphs
stands `moue.kernels.skip_sum`.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path
from typing import cast

import onnx
import onnxsim
import torch
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.generator import FLOW_UNIT, OUTPUTS, PLACE_UNIT, EdgeGenerator

OPSET = 20
DECODER_OUTPUTS = ["flow", "mask", "light", "place"]


class EncoderGraph(nn.Module):
    """Photo [1, 3, S, S] in [0, 1] → the base of every level, then the residuals of those that have any."""

    def __init__(self, generator: EdgeGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, photo: Tensor) -> tuple[Tensor, ...]:
        pairs = self.generator.features(photo)
        bases = [base for base, _ in pairs]
        return (*bases, *(residual for _, residual in pairs if residual is not None))


class DecoderGraph(nn.Module):
    """Summed skips [frames, C, h, w] and plain bases [1, C, h, w] → flow, mask, light and place.

    `EdgeGenerator.shape_outputs` in the fewest steps: its constants are inside the last convolution,
    and the place map, less the picture's middle, is a convolution of its own, straight to the nodes.
    """

    window: Tensor
    middle: Tensor

    def __init__(self, generator: EdgeGenerator) -> None:
        super().__init__()
        self.decoder = generator.decoder
        last = cast(nn.Conv2d, generator.decoder.up[-1])
        self.shown, self.place = _shown(last), _place(last)
        self.register_buffer("window", generator.window)
        self.register_buffer("middle", generator.place - 0.5)
        left, top, right, bottom = (side // 2 for side in generator.mouth_window)
        self.cells = slice(top - 1, bottom + 1), slice(left - 1, right + 1)  # a node is 4×4 of them

    def forward(self, *skips: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.decoder.finest(skips)
        flow, mask, light = F.pixel_shuffle(self.shown(x), 2).split((2, 1, 3), 1)
        rows, columns = self.cells
        place = self.place(x[:, :, rows, columns]) + self.middle
        return flow * self.window, mask * self.window, light, place


def _shown(last: nn.Conv2d) -> nn.Conv2d:
    """Of the decoder's last convolution what gives flow, mask and light, in their units."""
    weight, bias = (p.detach().unflatten(0, (OUTPUTS, 4)).clone() for p in last.parameters())
    for parameter in (weight, bias):
        parameter[:2] *= FLOW_UNIT
    bias[5:] += 0.5
    kept = [0, 1, 2, 5, 6, 7]
    return _convolution(weight[kept].flatten(0, 1), bias[kept].flatten(), padding=1)


def _place(last: nn.Conv2d) -> nn.Conv2d:
    """Of that convolution what gives the place map, averaged over the PLACE_STEP² pixels of a node."""
    weight, bias = (
        PLACE_UNIT * p.detach().unflatten(0, (OUTPUTS, 4))[3:5].mean(1) for p in last.parameters()
    )
    shifts = [(x, 1 - x, y, 1 - y) for x in (0, 1) for y in (0, 1)]  # over the 2×2 cells of a node
    spread = torch.stack([F.pad(weight, shift) for shift in shifts]).mean(0)
    return _convolution(spread, bias, stride=2)


def _convolution(weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    out, channels, side, _ = weight.shape
    made = nn.Conv2d(channels, out, side, stride, padding)
    made.weight.data, made.bias = weight, nn.Parameter(bias)
    return made


def encoder_outputs(generator: EdgeGenerator) -> list[str]:
    """The encoder's output names, in the order of its outputs."""
    return [f"base_{level.size}" for level in generator.levels] + [
        f"residual_{level.size}" for level in generator.levels if level.residual
    ]


def decoder_inputs(generator: EdgeGenerator) -> list[str]:
    """The decoder's input names: a sum where actions enter, the encoder's base where they do not."""
    return [f"{'skip' if level.residual else 'base'}_{level.size}" for level in generator.levels]


def fuse_normalisation(model: nn.Module) -> nn.Module:
    """A copy of the model in which every Conv-BatchNorm is one convolution."""
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            for k in range(len(module) - 1):
                convolution, norm = module[k], module[k + 1]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[k] = fuse_conv_bn_eval(convolution, norm)
                    module[k + 1] = nn.Identity()
    return model


def export_encoder(generator: EdgeGenerator) -> onnx.ModelProto:
    """The encoder's FP16 graph."""
    size = generator.window.shape[-1]
    photo = torch.zeros(1, 3, size, size)
    return _export(EncoderGraph(generator), (photo,), ["photo"], encoder_outputs(generator), None)


def export_decoder(generator: EdgeGenerator) -> onnx.ModelProto:
    """The decoder's FP16 graph, its frames axis dynamic."""
    frames = Dim("frames", min=1, max=64)
    skips = tuple(
        torch.zeros(2 if level.residual else 1, level.skip, level.size, level.size)
        for level in generator.levels
    )
    shapes = (tuple({0: frames} if level.residual else {} for level in generator.levels),)
    names = decoder_inputs(generator)
    return _export(DecoderGraph(generator), skips, names, DECODER_OUTPUTS, shapes)


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
    shapes: tuple[object, ...] | None,
) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of deprecated names
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module.eval(),
            inputs,
            path,
            input_names=input_names,
            output_names=output_names,
            dynamo=True,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(path)
    model, agrees = onnxsim.simplify(model)
    if not agrees:
        raise RuntimeError("simplification changed what the graph computes")
    model = convert_float_to_float16(model, keep_io_types=False, disable_shape_infer=True)
    whole = OnnxModel(model)
    whole.prune_graph()
    whole.topological_sort()
    for text in (model.graph, *model.graph.node):
        text.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
    model.producer_name, model.producer_version, model.doc_string = "moue", "", ""
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model
