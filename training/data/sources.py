"""Where training samples come from: `portraits` (stills + teacher) and `pairs` (neutral and smiling).

A source draws samples from a random generator alone, so a run can be stopped and taken up again at
any sample. Every sample is one input photo and K action vectors with their true layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.actions import (
    ACTIONS,
    ASIDE,
    EXPRESSIONS,
    FACE_ACTIONS,
    HEAD_TURNS,
    MIRRORED,
    SIDES,
    action_vector,
    lowest,
)
from training.data.faces import FaceCrop
from training.data.view import Augment, Random, Sample, View, composed
from training.teacher.folds import smile_folds
from training.teacher.gaze import LOOKS
from training.teacher.glasses import held, put_on
from training.teacher.head import EYES_ALIKE, fit_similarity, load_head
from training.teacher.render import Teacher, lips_apart
from training.teacher.rest import at_rest
from training.teacher.turn import Turner

UNSMILE = np.float32(0.75)  # of `happy` at the measured degree: what brings a smiling mouth to rest
_HEAD = [ACTIONS.index(name) for name in HEAD_TURNS]
_JAW = ACTIONS.index("jawOpen")
_SMILE = [
    ACTIONS.index(side)
    for name in ("mouthSmile", "mouthDimple", "cheekSquint", "eyeSquint")
    for side in SIDES[name]
]
_LEAST = lowest(ACTIONS)
FULL_SMILE = 0.8  # MediaPipe's mouthSmile score of a smile at degree 1


class PortraitSource:
    """Stills animated by the teacher: any mixture of actions, any degree, exactly known.

    Args:
        glasses: share of the samples in which glasses are drawn on the face.
    """

    def __init__(
        self,
        faces: Sequence[FaceCrop],
        teacher: Teacher,
        size: int,
        vectors: int,
        augment: Augment,
        draw: Callable[[Random], NDArray[np.float32]] | None = None,
        glasses: float = 0.0,
    ) -> None:
        self.faces, self.teacher, self.size = faces, teacher, size
        self.vectors, self.augment = vectors, augment
        self.draw = draw or draw_actions
        self.turner = Turner(teacher.head)
        self.glasses = glasses

    def sample(self, random: Random) -> Sample:
        face = self.faces[random.integers(len(self.faces))]
        view = View.draw(random, face.square, self.size, self.augment)
        fit = self.teacher.fit(face.photo, face.landmarks, face.scores)
        wears = random.random() < self.glasses
        worn = put_on(random, face.photo, fit, self.teacher.head.vertices) if wears else None
        asked = np.stack([self.draw(random) for _ in range(self.vectors)])
        wanted = [view.mirrored(a) for a in asked]
        moved = [self.teacher.move(fit, a) for a in wanted]
        layers = [
            self.teacher.render(fit, a, view.to_layer, self.size, to)
            for a, to in zip(wanted, moved, strict=True)
        ]
        if worn is not None:
            where = view.resample(worn.where)
            layers = [held(made, where) for made in layers]
        layers = [
            self.turner.layers(made, fit, to, a, view.to_layer)
            for made, to, a in zip(layers, moved, wanted, strict=True)
        ]
        turned = [self.turner.mesh(fit, to, a) for to, a in zip(moved, wanted, strict=True)]
        crop = view.shade(face.photo if worn is None else worn.photo)
        return view.pack(crop, asked, layers, turned, [None] * len(asked))


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
        peak = np.asarray(action_vector(smile_shown(smile), ACTIONS)) * np.float32(degree)
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
            face for face in faces if smile_degree(face) > 0.5 and lips_apart(face.landmarks)
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
        undone = -view.mirrored(peak)
        closed = self.teacher.render(fit, undone, np.eye(2, 3), side, rest)
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
    shown = (((n.photo, n.landmarks), (s.photo, s.landmarks), pair_degree(n, s)) for n, s in pairs)
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


def held_out_neutral(
    faces: list[FaceCrop], most: int
) -> tuple[list[FaceCrop], dict[str, FaceCrop]]:
    """Held-out faces at rest, in the order of their names, and the smiling photos that go with them."""
    kept = [face for face in faces if face.held_out]
    smiles = {face.identity: face for face in kept if face.name.endswith("_smile")}
    neutral = [
        face
        for face in kept
        if not face.name.endswith("_smile")
        and not face.name.startswith("official")
        and face.scores.get("mouthSmileLeft", 0.0) < 0.3
    ]
    smiles = {
        face.identity: smiles[face.identity]
        for face in neutral
        if face.identity in smiles and pair_degree(face, smiles[face.identity]) > 0.25
    }
    return neutral[:most], smiles


def smile_degree(face: FaceCrop) -> float:
    """How much of a full smile a photo shows, by its measured scores, in [0, 1]."""
    shown = [face.scores.get(name, 0.0) for name in ("mouthSmileLeft", "mouthSmileRight")]
    return float(np.clip(np.mean(shown) / FULL_SMILE, 0, 1))


def smile_shown(smile: FaceCrop) -> dict[str, float]:
    """`happy` as a photo shows it: a smile whose lips stay together has no open jaw."""
    closed = not lips_apart(smile.landmarks)
    return {n: w for n, w in EXPRESSIONS["happy"].items() if not (closed and n == "jawOpen")}


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


def ask_single(random: Random, actions: NDArray[np.float32], least: float) -> None:
    """Asks for one action of the face, at `least` or more, and half the time for its other side's too."""
    index = random.integers(len(FACE_ACTIONS))
    actions[index] = weight = random.uniform(least, 1.0)
    if random.random() < 0.5 and ACTIONS[index] not in ASIDE:
        actions[MIRRORED[index]] = weight


def taken_apart(random: Random, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The actions of an expression, each of them or not, at any weight: none implies another.

    A mouth that learned smiles from laughs alone parts its lips as soon as cheeks rise too.
    """
    own = random.uniform(0.1, 1, len(ACTIONS)) * (random.random(len(ACTIONS)) < 0.65)
    return np.where(weights > 0, own[np.minimum(MIRRORED, np.arange(len(ACTIONS)))], 0)


def draw_actions(random: Random) -> NDArray[np.float32]:
    """An action vector: an expression or parts of it, a few single actions, or both, at any degree."""
    actions = np.zeros(len(ACTIONS), np.float32)
    kind = random.random()
    if kind < 0.6:
        for share in (1.0, 0.5)[: 2 if random.random() < 0.2 else 1]:
            name = list(EXPRESSIONS)[random.integers(len(EXPRESSIONS))]
            weights = np.asarray(action_vector(EXPRESSIONS[name], ACTIONS))
            if random.random() < 0.5:
                weights = taken_apart(random, weights)
            degree = share * random.uniform(0.1, 1.0) ** 0.6
            actions += np.float32(degree) * weights * random.uniform(0.85, 1.15, len(ACTIONS))
    if kind > 0.5:
        for _ in range(random.integers(1, 6)):
            ask_single(random, actions, 0.15)
        if random.random() < 0.15:  # lips that stay together over an opening jaw
            jaw = random.uniform(0.2, 1)
            actions[[_JAW, ACTIONS.index("mouthClose")]] = (jaw, jaw * random.random())
    if random.random() < 0.12:  # a smile of closed lips, cheeks and lids as much as may be
        actions *= random.random() < 0.2
        actions[_SMILE] = np.repeat(random.uniform(0, 1, len(_SMILE) // 2), 2)
        actions[_JAW] = 0.0
    if random.random() < 0.3:  # two eyes that look one way, often and nothing else
        actions *= random.random() < 0.5
        for ways in (("look up", "look down"), ("look left", "look right")):
            both = [ACTIONS.index(name) for name in LOOKS[ways[random.integers(2)]]]
            actions[both] = random.uniform(0.2, 1) if random.random() < 0.6 else 0.0
    if random.random() < 0.4:  # lids: small, and seen more than anything else
        actions *= random.random() < 0.75
        name = "eyeBlink" if random.random() < 0.6 else "eyeWide"
        lids = [ACTIONS.index(side) for side in SIDES[name]]
        actions[lids if random.random() < 0.6 else lids[random.integers(2)]] = random.uniform(
            0.2, 1
        )
    if random.random() < 0.3:  # the head turns, mostly with all that the face does
        actions *= random.random() < 0.8
        actions[_HEAD] = random.uniform(-1, 1, len(_HEAD)) * (random.random(len(_HEAD)) < 0.6)
    return np.clip(actions, _LEAST, 1).astype(np.float32)
