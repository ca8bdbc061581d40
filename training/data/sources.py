"""Where training samples come from: `portraits` (stills + teacher) and `pairs` (neutral and smiling).

A source draws samples from a random generator alone, so a run can be stopped and taken up again at
any sample. Every sample is one input photo and K action vectors with their true layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS, EXPRESSIONS, MIRRORED, action_vector
from moue.crop import Square
from training.data.faces import FaceCrop
from training.teacher.head import IBUG68, RIGID, fit_similarity
from training.teacher.render import Layers, Teacher
from training.teacher.rest import at_rest

Random = np.random.Generator
REPEAT = cv2.BORDER_REPLICATE
UNSMILE = np.float32(0.65)  # real smiles bend a mouth less than the 3-D model's at the same score
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
    of the square; mask, face: float32 [K, 1, S, S]; colour: float32 [K, 3, S, S]; real: float32
    [K, 3, S, S], a photograph of the target where there is one, else what the layers compose to;
    has_real: float32 [K], 1 where it is a photograph; landmarks: float32 [K, 68, 2], iBUG's points of
    the target in crop coordinates.
    """

    photo: NDArray[np.float32]
    actions: NDArray[np.float32]
    flow: NDArray[np.float32]
    mask: NDArray[np.float32]
    colour: NDArray[np.float32]
    face: NDArray[np.float32]
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
        augment: bool,
        whole_expressions: bool = False,
    ) -> None:
        self.faces, self.teacher, self.size = faces, teacher, size
        self.vectors, self.augment = vectors, augment
        self.draw = draw_expression if whole_expressions else draw_actions

    def sample(self, random: Random) -> Sample:
        face = self.faces[random.integers(len(self.faces))]
        view = View.draw(random, face.square, self.size, self.augment)
        crop = view.shade(face.photo)
        fit = self.teacher.fit(crop, face.landmarks, face.scores)
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
        self, faces: Sequence[FaceCrop], teacher: Teacher, size: int, vectors: int, augment: bool
    ) -> None:
        named = {face.name: face for face in faces}
        self.pairs = [
            (face, smile)
            for name, face in named.items()
            if name.endswith("_neutral")
            and (smile := named.get(name.replace("_neutral", "_smile"))) is not None
            and pair_degree(face, smile) > 0.25
        ]
        self.teacher, self.size, self.vectors, self.augment = teacher, size, vectors, augment

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, random: Random) -> Sample:
        neutral, smile = self.pairs[random.integers(len(self.pairs))]
        view = View.draw(random, neutral.square, self.size, self.augment)
        crop = view.shade(neutral.photo)
        fit = self.teacher.fit(crop, neutral.landmarks)
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
            if k == 0:
                shown = real.astype(np.float32).transpose(2, 0, 1) / 255
                made = replace(made, colour=np.where(made.mask > 0, shown, made.colour))
            asked.append(share * peak)
            layers.append(made)
            meshes.append(to)
            reals.append(real if k == 0 else None)
        return view.pack(crop, np.stack(asked), layers, meshes, reals)


class SmileSource:
    """Portraits that smile with open mouths, brought to rest as inputs: their real teeth are the target."""

    def __init__(
        self, faces: Sequence[FaceCrop], teacher: Teacher, size: int, vectors: int, augment: bool
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
        fit = self.teacher.fit(smiling, face.landmarks)
        peak = np.asarray(action_vector(EXPRESSIONS["happy"], ACTIONS)) * np.float32(
            smile_degree(face)
        )
        rest = at_rest(self.teacher, fit, UNSMILE * peak)
        start = replace(fit, points=rest, shows_mouth=False)
        side = len(smiling)
        closed = self.teacher.render(fit, 0 * peak, np.eye(2, 3), side, rest)
        photo = composed(smiling.astype(np.float32) / 255, closed)
        still = np.rint(255 * photo).astype(np.uint8)
        real = view.resample(smiling)
        teeth = real.astype(np.float32).transpose(2, 0, 1) / 255
        asked, layers, meshes = [], [], []
        for k in range(self.vectors):
            share = 1.0 if k == 0 else float(random.uniform(0.1, 1.0))
            to = rest + share * (fit.points - rest)
            made = self.teacher.render(
                start, view.mirrored(share * peak), view.to_layer, self.size, to
            )
            asked.append(share * peak)
            layers.append(replace(made, colour=np.where(made.mask > 0, teeth, made.colour)))
            meshes.append(to)
        reals: list[NDArray[np.uint8] | None] = [real, *([None] * (self.vectors - 1))]
        return view.pack(still, np.stack(asked), layers, meshes, reals)


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
    """The smile's mesh [468, 3] laid on the neutral photo by what does not smile, and that map [2, 3]."""
    rigid = list(RIGID)
    source, target = (face.landmarks[:468].astype(np.float64) for face in (smile, neutral))
    scale, rotation, offset = fit_similarity(source[rigid, :2], target[rigid, :2])
    moved = np.column_stack([scale * source[:, :2] @ rotation.T + offset, scale * source[:, 2]])
    return moved, np.column_stack([scale * rotation, offset])


def draw_expression(random: Random) -> NDArray[np.float32]:
    """One whole expression at any degree, as the paper's clips show it."""
    name = list(EXPRESSIONS)[random.integers(len(EXPRESSIONS))]
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
    if random.random() < 0.15:  # small, and asked for more than any other
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
    def draw(cls, random: Random, square: Square, size: int, augment: bool) -> View:
        if not augment:
            return cls(size * square.to_crop(), size, False, None, False, 0.0, 0)
        shifted = replace(
            square,
            cx=square.cx + square.side * random.uniform(-0.05, 0.05),
            cy=square.cy + square.side * random.uniform(-0.05, 0.05),
            side=square.side * np.exp(random.uniform(-0.12, 0.12)),
            angle=square.angle + np.clip(random.normal(0, 0.09), -0.3, 0.3),
        )
        levels = np.linspace(0, 1, 256)[:, None] ** np.exp(random.normal(0, 0.25))
        gain = np.exp(random.normal(0, 0.12) + random.normal(0, 0.05, 3))
        tables = np.clip(
            255 * (0.5 + gain * np.exp(random.normal(0, 0.15)) * (levels - 0.5)), 0, 255
        )
        return cls(
            size * shifted.to_crop(),
            size,
            bool(random.random() < 0.5),
            tables.astype(np.uint8) if random.random() < 0.8 else None,
            bool(random.random() < 0.06),
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
        meshes = np.stack(moved)[:, list(IBUG68), :2]
        landmarks = (meshes @ self.to_layer[:, :2].T + self.to_layer[:, 2]) / self.size
        photo = self.resample(crop).astype(np.float32) / 255
        truths = [
            composed(photo, made) if real is None else real.astype(np.float32) / 255
            for made, real in zip(layers, reals, strict=True)
        ]
        seen = cv2.GaussianBlur(photo, (0, 0), self.blur) if self.blur else photo
        if self.noise:
            grain = np.random.default_rng(self.noise).normal(0, 0.02, photo.shape)
            seen = np.clip(seen + grain.astype(np.float32), 0, 1)
        arrays = [
            seen.transpose(2, 0, 1),
            np.stack([made.flow for made in layers]),
            np.stack([made.mask[None] for made in layers]),
            np.stack([made.colour for made in layers]),
            np.stack([made.face[None] for made in layers]),
            np.stack(truths).transpose(0, 3, 1, 2),
        ]
        if self.flip:
            arrays = [array[..., ::-1] for array in arrays]
            arrays[1] = arrays[1] * np.array([-1, 1], np.float32)[:, None, None]
            landmarks = landmarks[:, _MIRROR68] * (-1, 1) + (1, 0)
        photo, flow, mask, colour, face, real = (np.ascontiguousarray(a) for a in arrays)
        has_real = np.array([r is not None for r in reals], np.float32)
        return Sample(
            photo,
            actions.astype(np.float32),
            flow,
            mask,
            colour,
            face,
            real,
            has_real,
            landmarks.astype(np.float32),
        )


def composed(photo: NDArray[np.float32], layers: Layers) -> NDArray[np.float32]:
    """What the layers make of the photo, float32 [S, S, 3]."""
    size = photo.shape[0]
    axis = np.arange(size, dtype=np.float32)
    x, y = axis + size * layers.flow[0], axis[:, None] + size * layers.flow[1]
    warped = cv2.remap(photo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = layers.mask[..., None]
    return (1 - mask) * warped + mask * layers.colour.transpose(1, 2, 0)
