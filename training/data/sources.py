"""Where training samples come from: `portraits` (stills + teacher) and `pairs` (neutral and smiling).

A source draws samples from a random generator alone, so a run can be stopped and taken up again at
any sample. Every sample is one input photo and K action vectors with their true layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS, EXPRESSIONS, MIRRORED, action_vector
from moue.crop import Square
from training.data.faces import FaceCrop
from training.teacher.folds import smile_folds
from training.teacher.head import EYES_ALIKE, IBUG68, fit_similarity, load_head
from training.teacher.render import Layers, Teacher
from training.teacher.rest import at_rest

Random = np.random.Generator
# How a sample is varied: anew in place, light and grain, not at all, or by the paper's crops alone.
Augment: TypeAlias = bool | Literal["crops"]
CROPPED = 256 / 289  # of the square's side: what the paper's crops keep
REPEAT = cv2.BORDER_REPLICATE
UNSMILE = np.float32(0.75)  # of `happy` at the measured degree: what brings a smiling mouth to rest
FULL_SMILE = 0.8  # MediaPipe's mouthSmile score of a smile at degree 1

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


class PortraitSource:
    """Stills animated by the teacher: any mixture of actions, any degree, exactly known."""

    def __init__(
        self,
        faces: Sequence[FaceCrop],
        teacher: Teacher,
        size: int,
        vectors: int,
        augment: Augment,
        draw: Callable[[Random], NDArray[np.float32]] | None = None,
    ) -> None:
        self.faces, self.teacher, self.size = faces, teacher, size
        self.vectors, self.augment = vectors, augment
        self.draw = draw or draw_actions

    def sample(self, random: Random) -> Sample:
        face = self.faces[random.integers(len(self.faces))]
        view = View.draw(random, face.square, self.size, self.augment)
        crop = view.shade(face.photo)
        fit = self.teacher.fit(face.photo, face.landmarks, face.scores)
        asked = np.stack([self.draw(random) for _ in range(self.vectors)])
        wanted = [view.mirrored(a) for a in asked]
        moved = [self.teacher.move(fit, a) for a in wanted]
        layers = [
            self.teacher.render(fit, a, view.to_layer, self.size, to)
            for a, to in zip(wanted, moved, strict=True)
        ]
        return view.pack(crop, asked, layers, moved, [None] * len(asked))


class PairSource:
    """The same person neutral and smiling: the smile's own motion and its photograph as target."""

    def __init__(
        self, faces: Sequence[FaceCrop], teacher: Teacher, size: int, vectors: int, augment: Augment
    ) -> None:
        self.pairs = smiling_pairs(faces)
        self.teacher, self.size, self.vectors, self.augment = teacher, size, vectors, augment

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, random: Random) -> Sample:
        neutral, smile = self.pairs[random.integers(len(self.pairs))]
        view = View.draw(random, neutral.square, self.size, self.augment)
        crop = view.shade(neutral.photo)
        fit = self.teacher.fit(neutral.photo, neutral.landmarks)
        moved, to_neutral = align(smile, neutral)
        degree = pair_degree(neutral, smile)
        peak = np.asarray(action_vector(EXPRESSIONS["happy"], ACTIONS)) * np.float32(degree)
        real = view.resample(view.shade(smile.photo), to_neutral)
        asked, layers, meshes, reals = [], [], [], []
        for k in range(self.vectors):
            share = 1.0 if k == 0 else float(random.uniform(0.1, 1.0))
            to = fit.points + share * (moved - fit.points)
            made = self.teacher.render(
                fit, view.mirrored(share * peak), view.to_layer, self.size, to
            )
            asked.append(share * peak)
            layers.append(made)
            meshes.append(to)
            reals.append(real if k == 0 else None)
        return view.pack(crop, np.stack(asked), layers, meshes, reals)


class SmileSource:
    """Portraits that smile with open mouths, brought to rest as inputs: their real smile is the target."""

    def __init__(
        self, faces: Sequence[FaceCrop], teacher: Teacher, size: int, vectors: int, augment: Augment
    ) -> None:
        self.faces = [
            face
            for face in faces
            if smile_degree(face) > 0.5 and teacher.fit(face.photo, face.landmarks).shows_mouth
        ]
        self.teacher, self.size, self.vectors, self.augment = teacher, size, vectors, augment

    def __len__(self) -> int:
        return len(self.faces)

    def sample(self, random: Random) -> Sample:
        face = self.faces[random.integers(len(self.faces))]
        view = View.draw(random, face.square, self.size, self.augment)
        smiling = view.shade(face.photo)
        fit = self.teacher.fit(face.photo, face.landmarks)
        peak = np.asarray(action_vector(EXPRESSIONS["happy"], ACTIONS)) * np.float32(
            smile_degree(face)
        )
        rest = at_rest(self.teacher, fit, UNSMILE * peak)
        start = replace(fit, points=rest, shows_mouth=False)
        side = len(smiling)
        # asked for less than nothing: the lips meet, and the smile's folds are taken off the skin
        closed = self.teacher.render(fit, -view.mirrored(peak), np.eye(2, 3), side, rest)
        photo = composed(smiling.astype(np.float32) / 255, view.lit(closed))
        still = np.rint(255 * photo).astype(np.uint8)
        real = view.resample(smiling)
        asked, layers, meshes = [], [], []
        for k in range(self.vectors):
            share = 1.0 if k == 0 else float(random.uniform(0.1, 1.0))
            to = rest + share * (fit.points - rest)
            made = self.teacher.render(
                start, view.mirrored(share * peak), view.to_layer, self.size, to
            )
            asked.append(share * peak)
            layers.append(made)
            meshes.append(to)
        reals: list[NDArray[np.uint8] | None] = [real, *([None] * (self.vectors - 1))]
        return view.pack(still, np.stack(asked), layers, meshes, reals)


def make_teacher(data: Path, faces: Sequence[FaceCrop]) -> Teacher:
    """The teacher, its smile's folds taken from the pairs among faces that are trained on.

    Args:
        data: the data root.
        faces: prepared faces; those held out are not looked at.
    """
    head = load_head(data)
    pairs = smiling_pairs([face for face in faces if not face.held_out])
    shown = (((n.photo, n.landmarks), (s.photo, s.landmarks)) for n, s in pairs)
    return Teacher(head, smile_folds(shown, head))


def smiling_pairs(faces: Sequence[FaceCrop]) -> list[tuple[FaceCrop, FaceCrop]]:
    """The neutral and the smiling photo of everyone whose smile is one."""
    named = {face.name: face for face in faces}
    return [
        (face, smile)
        for name, face in named.items()
        if name.endswith("_neutral")
        and (smile := named.get(name.replace("_neutral", "_smile"))) is not None
        and pair_degree(face, smile) > 0.25
    ]


def smile_degree(face: FaceCrop) -> float:
    """How much of a full smile a photo shows, by its measured scores, in [0, 1]."""
    shown = [face.scores.get(name, 0.0) for name in ("mouthSmileLeft", "mouthSmileRight")]
    return float(np.clip(np.mean(shown) / FULL_SMILE, 0, 1))


def pair_degree(neutral: FaceCrop, smile: FaceCrop) -> float:
    """How much of a full smile the pair shows, by measured scores, in [0, 1]."""
    rise = [
        smile.scores.get(name, 0.0) - neutral.scores.get(name, 0.0)
        for name in ("mouthSmileLeft", "mouthSmileRight")
    ]
    return float(np.clip(np.mean(rise) / FULL_SMILE, 0, 1))


def align(smile: FaceCrop, neutral: FaceCrop) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smile's mesh [468, 3] laid on the neutral photo by the eyes, and that map [2, 3]."""
    eyes = list(EYES_ALIKE)
    source, target = (face.landmarks[:468].astype(np.float64) for face in (smile, neutral))
    scale, rotation, offset = fit_similarity(source[eyes, :2], target[eyes, :2])
    moved = np.column_stack([scale * source[:, :2] @ rotation.T + offset, scale * source[:, 2]])
    return moved, np.column_stack([scale * rotation, offset])


def draw_expression(random: Random, name: str) -> NDArray[np.float32]:
    """One whole expression at any degree, as the paper's clips show it."""
    return np.float32(random.uniform(0, 1)) * action_vector(EXPRESSIONS[name], ACTIONS)


def draw_actions(random: Random) -> NDArray[np.float32]:
    """An action vector: an expression, a few single actions, or both, at any degree."""
    actions = np.zeros(len(ACTIONS), np.float32)
    kind = random.random()
    if kind < 0.6:
        for share in (1.0, 0.5)[: 2 if random.random() < 0.2 else 1]:
            name = list(EXPRESSIONS)[random.integers(len(EXPRESSIONS))]
            weights = action_vector(EXPRESSIONS[name], ACTIONS)
            degree = share * random.uniform(0.1, 1.0) ** 0.6
            actions += np.float32(degree) * weights * random.uniform(0.85, 1.15, len(ACTIONS))
    if kind > 0.5:
        for _ in range(random.integers(1, 6)):
            index = random.integers(len(ACTIONS))
            weight = random.uniform(0.15, 1.0)
            actions[index] = weight
            if random.random() < 0.5:
                actions[MIRRORED[index]] = weight
        if random.random() < 0.15:  # lips that stay together over an opening jaw
            jaw = random.uniform(0.2, 1)
            actions[[ACTIONS.index("jawOpen"), ACTIONS.index("mouthClose")]] = (
                jaw,
                jaw * random.random(),
            )
    if random.random() < 0.3:  # small, and asked for more than any other
        actions *= random.random() < 0.6
        lids = [ACTIONS.index("eyeBlinkLeft"), ACTIONS.index("eyeBlinkRight")]
        actions[lids if random.random() < 0.6 else lids[random.integers(2)]] = random.uniform(
            0.2, 1
        )
    return np.clip(actions, 0, 1).astype(np.float32)


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
    def draw(cls, random: Random, square: Square, size: int, augment: Augment) -> View:
        plain = cls.plain(size * square.to_crop(), size)
        if augment == "crops":
            resized = round(size / CROPPED)
            matrix = resized * square.to_crop()
            matrix[:, 2] -= random.integers(resized - size + 1, size=2)
            return replace(plain, to_layer=matrix)
        if not augment:
            return plain
        shifted = replace(
            square,
            cx=square.cx + square.side * random.uniform(-0.05, 0.05),
            cy=square.cy + square.side * random.uniform(-0.05, 0.05),
            side=square.side * np.exp(random.uniform(-0.12, 0.12)),
            angle=square.angle + np.clip(random.normal(0, 0.09), -0.3, 0.3),
        )
        levels = np.linspace(0, 1, 256)[:, None] ** np.exp(random.normal(0, 0.25))
        gain = np.exp(random.normal(0, 0.12) + random.normal(0, 0.05, 3))
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
        return actions[MIRRORED] if self.flip else actions

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
        placed = (points @ self.to_layer[:, :2].T + self.to_layer[:, 2]) / self.size
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
