"""The tracker's regressor: how a face mesh moved → which actions did it.

    python -m training.tracker --data ROOT --cache runs/faces --out sdk/moue/models/tracker.npz

The teacher moves the faces of the training portraits by known actions; the face mesh is measured on
those pictures, with all the error it makes on any picture, and on the same photo at rest. A ridge
regression from the difference between the two, the head's pose taken out, gives the actions back.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from moue.actions import ACTIONS
from moue.crop import import_mediapipe, quiet_stderr
from moue.tracking.mesh import IMAGE_AXES, RIGID, Mesh, place
from training.data.faces import CROP_MARGIN, FaceCrop, load_faces
from training.data.sources import Random, View, composed, draw_actions
from training.teacher.head import fit_similarity, load_head
from training.teacher.render import Teacher

VIEW = 320  # px a side of the pictures that are measured
MOVES = 6  # per drawn face


@dataclass(frozen=True)
class Moves:
    """Measured pairs: rest and moved float32 [k, 478, 3] px, actions float32 [k, n], face int [k]."""

    rest: NDArray[np.float32]
    moved: NDArray[np.float32]
    actions: NDArray[np.float32]
    face: NDArray[np.int32]


class Measure:
    """The face mesh on a picture of one face, as the tracker takes it."""

    def __init__(self) -> None:
        (face_mesh,) = import_mediapipe("python.solutions.face_mesh")
        with quiet_stderr():
            self._mesh = face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True)

    def __call__(self, picture: NDArray[np.uint8]) -> Mesh | None:
        """float32 [478, 3] px, or None where no face is seen."""
        found = self._mesh.process(np.ascontiguousarray(picture)).multi_face_landmarks
        if not found:
            return None
        size = picture.shape[1]
        return np.array([(p.x, p.y, p.z) for p in found[0].landmark], np.float32) * size


def collect(faces: list[FaceCrop], teacher: Teacher, count: int, seed: int) -> Moves:
    """Draws faces and actions until `count` pairs are measured."""
    random, measure = np.random.default_rng(seed), Measure()
    rows: list[tuple[Mesh, Mesh, NDArray[np.float32], int]] = []
    with tqdm(total=count, desc="moves", disable=None) as bar:
        while len(rows) < count:
            index = int(random.integers(len(faces)))
            fresh = list(_moves(faces[index], teacher, measure, random))
            rows += [(*row, index) for row in fresh]
            bar.update(len(fresh))
    rest, moved, actions, face = (np.array(column) for column in zip(*rows, strict=True))
    return Moves(rest, moved, actions, face.astype(np.int32))


def _moves(
    face: FaceCrop, teacher: Teacher, measure: Measure, random: Random
) -> Iterator[tuple[Mesh, Mesh, NDArray[np.float32]]]:
    fit = teacher.fit(face.photo, face.landmarks, face.scores)
    still = _view(face, random)
    rest = measure(still.resample(still.shade(face.photo)))
    if rest is None:
        return
    for _ in range(MOVES):
        view, actions = _view(face, random), draw_moves(random)
        layers = teacher.render(fit, actions, view.to_layer, VIEW)
        photo = view.resample(view.shade(face.photo)).astype(np.float32) / 255
        picture = np.clip(np.rint(composed(photo, layers) * 255), 0, 255).astype(np.uint8)
        if (moved := measure(picture)) is not None:
            yield rest, moved, actions


def _view(face: FaceCrop, random: Random) -> View:
    """The face with room around it, shifted, turned, scaled and lit anew; never mirrored."""
    from dataclasses import replace

    wide = replace(face.square, side=face.square.side * CROP_MARGIN)
    return replace(View.draw(random, wide, VIEW, augment=True), flip=False)


def draw_moves(random: Random) -> NDArray[np.float32]:
    """Actions as the generator learns them, or a few single ones; at times none at all."""
    kind = random.random()
    if kind < 0.05:
        return np.zeros(len(ACTIONS), np.float32)
    if kind < 0.55:
        return draw_actions(random)
    actions = np.zeros(len(ACTIONS), np.float32)
    for _ in range(random.integers(1, 7)):
        name = ACTIONS[random.integers(len(ACTIONS))]
        weight = np.float32(random.uniform(0.1, 1.0))
        actions[ACTIONS.index(name)] = weight
        other = name.replace("Left", "Right") if "Left" in name else name.replace("Right", "Left")
        if random.random() < 0.5:
            actions[ACTIONS.index(other)] = weight
    return actions
