"""A bundle's weights taken back into a generator that can be trained further."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from moue.actions import ACTIONS
from moue.bundle import MANIFEST, load_bundle
from moue.errors import shown
from training.checkpoint import StructureError
from training.data.stream import Samples
from training.generator import FLOW_UNIT, OUTPUTS, PLACE_UNIT, EdgeGenerator

PHOTOS = 64  # that the trunk's statistics are measured on


@torch.no_grad()
def revive(generator: nn.Module, folder: Path, samples: Samples) -> tuple[str, ...]:
    """Gives a generator of all actions the weights of a bundle's folder, as exact as their FP16 is.

    Actions that the bundle carries further than they were learned go as far as they were learned.
    Batch normalisation, which export folds into the convolutions, gets its statistics from the
    samples' photos, and the scale and offset with which it changes nothing.

    Returns:
        The actions that the bundle knows.

    Raises:
        BundleError: the bundle is missing or damaged.
        StructureError: the bundle's generator is of another preset, or built otherwise.
        ValueError: its manifest says that something was carried which cannot be.
    """
    bundle = load_bundle(folder)
    if not isinstance(generator, EdgeGenerator) or not set(bundle.actions) <= set(ACTIONS):
        raise StructureError(folder)
    tensors = {
        tensor.name.removeprefix("generator."): torch.from_numpy(_single(tensor))
        for name in ("encoder", "decoder")
        for tensor in bundle.graph(name).graph.initializer
    }
    try:
        _copy(tensors, generator, bundle.actions)
        photos = torch.stack([samples[i]["photo"] for i in range(PHOTOS)])
        _normalise_nothing(generator, tensors, photos.to(generator.window.device))
    except KeyError:
        raise StructureError(folder) from None
    carried = bundle.manifest.training.get("carried", {})
    try:
        back = {name: 1 / times for name, times in carried.items()}
    except (AttributeError, TypeError, ZeroDivisionError):
        raise ValueError(
            f"{folder} does not say how far its actions were carried: its {MANIFEST} must hold a"
            f" number above 0 by action, but holds {shown(carried)}"
        ) from None
    generator.carry(ACTIONS, back)
    return bundle.actions


def grown(residual: Tensor, actions: Sequence[str]) -> Tensor:
    """Residual weights [m, …] of some actions as those [n, …] of all: the others do nothing yet."""
    whole = residual.new_zeros(len(ACTIONS), *residual.shape[1:])
    whole[[ACTIONS.index(name) for name in actions]] = residual
    return whole


def _copy(tensors: dict[str, Tensor], generator: EdgeGenerator, actions: Sequence[str]) -> None:
    """Everything but the normalisation."""
    residuals = _residuals(generator, tensors, len(actions))
    last = f"decoder.up.{len(generator.decoder.up) - 1}"
    weight, bias = _last_convolution(tensors)
    tensors |= {f"{last}.weight": weight, f"{last}.bias": bias}
    for name, parameter in generator.named_parameters():
        owner = generator.get_submodule(name.rpartition(".")[0])
        if name.endswith(".residual"):
            residual = next(residuals).reshape(len(actions), *parameter.shape[1:])
            parameter.copy_(grown(residual, actions))
        elif not isinstance(owner, nn.BatchNorm2d):
            parameter.copy_(_of_shape(tensors, name, parameter))


def _single(tensor: TensorProto) -> NDArray[np.float32]:
    return np.asarray(numpy_helper.to_array(tensor)).astype(np.float32)


def _of_shape(tensors: dict[str, Tensor], name: str, wanted: Tensor) -> Tensor:
    if tensors[name].shape != wanted.shape:
        raise KeyError(name)
    return tensors[name]


def _residuals(
    generator: EdgeGenerator, tensors: dict[str, Tensor], actions: int
) -> Iterator[Tensor]:
    """The weights of every e_i, level by level: each a 1×1 convolution, whose name export loses."""
    for level in generator.levels:
        if level.residual:
            shape = (actions * level.skip, level.trunk, 1, 1)
            name = next((name for name, x in tensors.items() if x.shape == shape), None)
            if name is None:
                raise KeyError(f"residuals of level {level.size}")
            yield tensors.pop(name)


def _last_convolution(tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Weight and bias of what export splits into flow, mask, light, and the map of places.

    The map's convolution spans four cells each way, the mean of a 3×3 one at 2×2 cells, which it
    determines; the four pixels of a cell, which it averages, become alike.
    """
    weight, bias = (tensors[f"shown.{part}"].unflatten(0, (6, 4)) for part in ("weight", "bias"))
    channels, side = weight.shape[2:4]
    scale = torch.tensor([FLOW_UNIT, FLOW_UNIT, 1, 1, 1, 1])
    weight = weight / scale[:, None, None, None, None]
    bias = (bias - torch.tensor([0, 0, 0, 0.5, 0.5, 0.5])[:, None]) / scale[:, None]
    each = torch.eye(side * side).unflatten(1, (side, side))
    shifts = [(x, 1 - x, y, 1 - y) for x in (0, 1) for y in (0, 1)]
    spread = torch.stack([F.pad(each, shift) for shift in shifts]).mean(0).flatten(1)
    places = tensors["place.weight"].flatten(2) @ torch.linalg.pinv(spread) / PLACE_UNIT
    places = places.unflatten(2, (side, side))[:, None].expand(-1, 4, -1, -1, -1)
    place_bias = (tensors["place.bias"] / PLACE_UNIT)[:, None].expand(-1, 4)
    return (
        torch.cat([weight[:3], places, weight[3:]]).reshape(4 * OUTPUTS, channels, side, side),
        torch.cat([bias[:3], place_bias, bias[3:]]).flatten(),
    )


def _normalise_nothing(
    generator: EdgeGenerator, tensors: dict[str, Tensor], photos: Tensor
) -> None:
    """Sets every normalisation of the trunk so that it adds the folded convolution's bias, no more."""

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        norm.running_mean, norm.running_var = mean, variance
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean + offsets[norm])

    offsets: dict[nn.Module, Tensor] = {}
    hooks = []
    for name, norm in generator.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            before, place = name.rsplit(".", 1)
            offsets[norm] = _of_shape(tensors, f"{before}.{int(place) - 1}.bias", norm.bias)
            hooks.append(norm.register_forward_pre_hook(measure))
    trains = generator.training
    generator.eval().trunk(photos)
    generator.train(trains)
    for hook in hooks:
        hook.remove()
