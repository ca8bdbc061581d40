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

import onnx
import onnxsim
import torch
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.generator import EdgeGenerator

OPSET = 20
_PLACING = ("GridSample", "Transpose", "Add", "Sub", "Mul", "Resize", "AveragePool")


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
    """Summed skips [frames, C, h, w] and plain bases [1, C, h, w] → flow, mask, colour."""

    def __init__(self, generator: EdgeGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, *skips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flow, mask, colour, _ = self.generator.shape_outputs(self.generator.decoder(skips))
        return flow, mask, colour


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
    return _export(DecoderGraph(generator), skips, names, ["flow", "mask", "colour"], shapes)


def _places(graph: onnx.GraphProto) -> list[str]:
    """The nodes that say where a picture is looked up: in FP16 they would miss by parts of a pixel."""
    made = {name: node for node in graph.node for name in node.output}
    waiting = [node for node in graph.node if node.op_type == "GridSample"]
    found = []
    while waiting:
        node = waiting.pop()
        if node.op_type in _PLACING:
            found.append(node.name)
            waiting += [made[name] for name in node.input if name in made]
    return found


def _keep_precise(graph: onnx.GraphProto) -> None:
    """Takes out what the conversion leaves between two FP32 nodes: a cast to FP16 and one back."""
    casts = {
        node.output[0]: (node.input[0], node.attribute[0].i)
        for node in graph.node
        if node.op_type == "Cast"
    }
    direct = {
        out: casts[name][0]
        for out, (name, to) in casts.items()
        if to == onnx.TensorProto.FLOAT and name in casts
    }
    for node in graph.node:
        node.input[:] = [direct.get(name, name) for name in node.input]


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
    model = convert_float_to_float16(
        model,
        keep_io_types=False,
        disable_shape_infer=True,
        node_block_list=_places(model.graph),
    )
    _keep_precise(model.graph)
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
