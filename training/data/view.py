"""How a sample's photo is looked at: where the square lies, how the light falls, which way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import in_mirror
from moue.crop import Square
from training.teacher.head import IBUG68, carried
from training.teacher.render import Layers

Random = np.random.Generator
# How a sample is varied: anew in place, light and grain, not at all, or by the paper's crops alone.
Augment: TypeAlias = bool | Literal["crops"]
CROPPED = 256 / 289  # of the square's side: what the paper's crops keep
REPEAT = cv2.BORDER_REPLICATE

# iBUG's 68 points of a mirrored face, in iBUG's order.
_MIRROR68 = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46), *(39, 38, 37, 36, 41, 40),
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One photo and what it should become.

    photo: float32 [3, S, S] in [0, 1]; actions: float32 [K, n]; flow: float32 [K, 2, S, S] in sides
    of the square; mask, face, mouth: float32 [K, 1, S, S]; colour: float32 [K, 3, S, S]; place: float32
    [K, 2, S, S]; real: float32 [K, 3, S, S], a photograph of the target where there is one, else what
    the layers compose to; has_real: float32 [K], 1 where it is a photograph; landmarks: float32
    [K, 68, 2], iBUG's points of the target in crop coordinates.
    """

    photo: NDArray[np.float32]
    actions: NDArray[np.float32]
    flow: NDArray[np.float32]
    mask: NDArray[np.float32]
    colour: NDArray[np.float32]
    face: NDArray[np.float32]
    mouth: NDArray[np.float32]
    place: NDArray[np.float32]
    real: NDArray[np.float32]
    has_real: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def _room(size: int) -> int:
    """By how many pixels the paper's squares are larger than its crops of that size."""
    return round(size / CROPPED) - size


@dataclass(frozen=True)
class View:
    """One augmentation: where the square lies, how the light falls, whether it is mirrored."""

    to_layer: NDArray[np.float64]
    size: int
    flip: bool
    tables: NDArray[np.uint8] | None
    grey: bool
    blur: float
    noise: int

    @classmethod
    def plain(cls, to_layer: NDArray[np.float64], size: int) -> View:
        """The photo as it is, nothing varied but where it is looked at."""
        return cls(to_layer, size, False, None, False, 0.0, 0)

    @classmethod
    def middle(cls, square: Square, size: int) -> View:
        """The middle of the paper's crops, where its generator is to be judged."""
        return cls._cropped(square, size, _room(size) / 2)

    @classmethod
    def _cropped(cls, square: Square, size: int, at: float | NDArray[np.int64]) -> View:
        """What is kept of the square, resized to that much and its room, from `at` px on."""
        matrix = (size + _room(size)) * square.to_crop()
        matrix[:, 2] -= at
        return cls.plain(matrix, size)

    @classmethod
    def draw(cls, random: Random, square: Square, size: int, augment: Augment) -> View:
        if augment == "crops":
            return cls._cropped(square, size, random.integers(_room(size) + 1, size=2))
        if not augment:
            return cls.plain(size * square.to_crop(), size)
        shifted = replace(
            square,
            cx=square.cx + square.side * random.uniform(-0.05, 0.05),
            cy=square.cy + square.side * random.uniform(-0.05, 0.05),
            side=square.side * np.exp(random.uniform(-0.12, 0.12)),
            angle=square.angle + np.clip(random.normal(0, 0.09), -0.3, 0.3),
        )
        levels = np.linspace(0, 1, 256)[:, None] ** np.exp(random.normal(0, 0.25))
        gain = np.exp(random.normal(0, 0.12) + random.normal(0, 0.09, 3))
        contrast = np.exp(random.normal(0, 0.15))
        if random.random() < 0.12:  # night, glare and haze
            gain *= np.exp(random.uniform(-2.5, 0.4))
            contrast *= random.uniform(0.5, 1)
            tables = 255 * (gain * (0.5 + contrast * (levels - 0.5)))
        else:
            tables = 255 * (0.5 + gain * contrast * (levels - 0.5))
        tables = np.clip(tables, 0, 255)
        return cls(
            size * shifted.to_crop(),
            size,
            bool(random.random() < 0.5),
            tables.astype(np.uint8) if random.random() < 0.8 else None,
            bool(random.random() < 0.1),
            float(random.uniform(0.4, 1.5)) if random.random() < 0.2 else 0.0,
            int(random.integers(1, 2**31)) if random.random() < 0.2 else 0,
        )

    def shade(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The crop in this view's light."""
        if self.tables is not None:
            crop = np.asarray(cv2.LUT(crop, np.ascontiguousarray(self.tables[None])), np.uint8)
        if self.grey:
            crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
        return crop

    def lit(self, layers: Layers) -> Layers:
        """Layers painted for the photo as it was, in this view's light."""
        painted = np.rint(255 * layers.colour.transpose(1, 2, 0)).astype(np.uint8)
        colour = self.shade(painted).transpose(2, 0, 1).astype(np.float32) / 255
        return replace(layers, colour=colour)

    def resample(
        self, crop: NDArray[np.uint8], first: NDArray[np.float64] | None = None
    ) -> NDArray[np.uint8]:
        """The square out of a crop, uint8 [S, S, 3], not yet mirrored."""
        matrix = self.to_layer.copy()
        if first is not None:
            matrix = np.column_stack(
                [matrix[:, :2] @ first[:, :2], self.to_layer @ [*first[:, 2], 1]]
            )
        matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # cv2 counts from pixel centres
        size = (self.size, self.size)
        return np.asarray(
            cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_LINEAR, borderMode=REPEAT), np.uint8
        )

    def mirrored(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the unmirrored face must do to show `actions` once mirrored."""
        return in_mirror(actions) if self.flip else actions

    def pack(
        self,
        crop: NDArray[np.uint8],
        actions: NDArray[np.float32],
        layers: Sequence[Layers],
        moved: Sequence[NDArray[np.float64]],
        reals: Sequence[NDArray[np.uint8] | None],
    ) -> Sample:
        """Stacks, mirrors and degrades into one sample; `moved` are the meshes behind the layers."""
        photo = self.resample(crop).astype(np.float32) / 255
        layers = [self.lit(made) for made in layers]
        truths = [
            composed(photo, made) if real is None else real.astype(np.float32) / 255
            for made, real in zip(layers, reals, strict=True)
        ]
        arrays = [
            self.degrade(photo).transpose(2, 0, 1),
            np.stack([made.flow for made in layers]),
            np.stack([made.mask[None] for made in layers]),
            np.stack([made.colour for made in layers]),
            np.stack([made.face[None] for made in layers]),
            np.stack([made.mouth[None] for made in layers]),
            np.stack([made.place for made in layers]),
            np.stack(truths).transpose(0, 3, 1, 2),
        ]
        if self.flip:
            arrays = [array[..., ::-1] for array in arrays]
            arrays[1] = arrays[1] * np.array([-1, 1], np.float32)[:, None, None]
            arrays[6] = arrays[6] * np.array([-1, 1], np.float32)[:, None, None]
            arrays[6][:, 0] += 1
        arrays = [np.ascontiguousarray(array) for array in arrays]
        photo, flow, mask, colour, face, mouth, place, real = arrays
        has_real = np.array([r is not None for r in reals], np.float32)
        return Sample(
            photo,
            actions.astype(np.float32),
            flow,
            mask,
            colour,
            face,
            mouth,
            place,
            real,
            has_real,
            self.place(np.stack(moved)[:, list(IBUG68), :2]),
        )

    def place(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """iBUG's points [K, 68, 2] of the crop, as the sample shows them, in crop coordinates."""
        placed = carried(points, self.to_layer) / self.size
        if self.flip:
            placed = placed[:, _MIRROR68] * (-1, 1) + (1, 0)
        return placed.astype(np.float32)

    def degrade(self, photo: NDArray[np.float32]) -> NDArray[np.float32]:
        """The photo [S, S, 3] as a worse camera takes it."""
        seen = cv2.GaussianBlur(photo, (0, 0), self.blur) if self.blur else photo
        if self.noise:
            grain = np.random.default_rng(self.noise).normal(0, 0.02, photo.shape)
            seen = np.clip(seen + grain.astype(np.float32), 0, 1)
        return np.asarray(seen, np.float32)


def composed(photo: NDArray[np.float32], layers: Layers) -> NDArray[np.float32]:
    """What the layers make of the photo, float32 [S, S, 3]."""
    size = photo.shape[0]
    axis = np.arange(size, dtype=np.float32)
    x, y = axis + size * layers.flow[0], axis[:, None] + size * layers.flow[1]
    warped = cv2.remap(photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = layers.mask[..., None]
    return (1 - mask) * warped + mask * layers.colour.transpose(1, 2, 0)
