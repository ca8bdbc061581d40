"""The tracker's regressor: how a face mesh moved → which actions did it.

    python -m training.tracker --data ROOT --cache runs/faces --out sdk/moue/models/tracker.npz

The teacher moves the faces of the training portraits by known actions; the face mesh is measured on
those pictures, with all the error it makes on any picture, and on the same photo at rest. A ridge
regression from the difference between the two, the head's pose taken out, gives the actions back.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from moue.actions import ACTIONS, FACE_ACTIONS
from moue.bundle import BUNDLES
from moue.crop import import_mediapipe
from moue.errors import MoueError
from moue.files import whole_file
from moue.streams import quiet_stderr
from moue.tracking.mesh import Mesh, lay, place
from moue.tracking.regressor import Regressor, features
from training.data import ATTRIBUTIONS
from training.data.faces import CROP_MARGIN, FaceCrop, load_faces, prepare
from training.data.sources import ask_single, draw_actions
from training.data.view import Random, View, composed
from training.teacher.head import about, load_head
from training.teacher.render import Teacher

VIEW = 320  # px a side of the pictures that are measured
MOVES = 6  # per drawn face
RIDGE = 3e-4  # cm², per row: some accuracy on the teacher's faces, for sense on others
TURNS = 2  # times that each moved face is seen with its head turned anew
TURN = (10.0, 7.0)  # degrees to the side and up, standard deviations
DEPTH_ERROR = 0.15  # of the mesh's depth, a guess: what a turn then moves on the face
FULL = 0.9  # what an action at 1 should read as, on average
MOST_GAIN = 2.0  # by which a well-read action is raised to that
WELL_READ = 0.5  # correlation
# What no face does at once: two directions of one movement, eyes that part or cross.
OPPOSITES = (
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    ("eyeLookInLeft", "eyeLookInRight"),
    ("eyeLookOutLeft", "eyeLookOutRight"),
    *((f"eyeLookUp{side}", f"eyeLookDown{side}") for side in ("Left", "Right")),
    *((f"eyeLookIn{side}", f"eyeLookOut{side}") for side in ("Left", "Right")),
)


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
            yield rest, moved, actions[: len(FACE_ACTIONS)]


def _view(face: FaceCrop, random: Random) -> View:
    """The face with room around it, shifted, turned, scaled and lit anew; never mirrored."""
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
        ask_single(random, actions, 0.1)
    return actions


def mean_face(rest: NDArray[np.float32], canonical: NDArray[np.float64]) -> Mesh:
    """The mean of many faces at rest, float32 [478, 3], laid on the canonical face and each other."""
    mean = np.zeros(rest.shape[1:], np.float32)
    mean[: len(canonical)] = canonical
    for _ in range(3):
        laid = np.mean([place(face, mean)[0] for face in rest], axis=0, dtype=np.float64)
        mean = lay(laid.astype(np.float32), mean)[0]
    return mean


def possible(moves: Moves) -> Moves:
    """Those in which nothing moves both ways at once."""
    pairs = np.array([[FACE_ACTIONS.index(name) for name in pair] for pair in OPPOSITES])
    keep = ~(moves.actions[:, pairs] > 0).all(axis=2).any(axis=1)
    return Moves(*(column[keep] for column in vars(moves).values()))


def turned(mesh: Mesh, random: Random) -> Mesh:
    """A face in the head's frame as it is measured with the head turned: its depth is a little off."""
    yaw, pitch = np.radians(random.normal(0, TURN))
    turn = about(0, pitch) @ about(1, yaw)
    depth = np.array([1, 1, 1 + random.normal(0, DEPTH_ERROR)])
    return ((mesh * depth) @ turn.T).astype(np.float32)


def fit(moves: Moves, mean: Mesh, ridge: float = RIDGE, seed: int = 0) -> Regressor:
    """The ridge regression from `features` to actions, without an offset: rest stays rest.

    Each moved face stands in it as measured, and with its head turned: a turn is no action.
    """
    random = np.random.default_rng(seed)
    rows, actions = [], []
    for rest, moved, true in zip(moves.rest, moves.moved, moves.actions, strict=True):
        still, face = place(rest, mean)[0], place(moved, mean)[0]
        for seen in (face, *(turned(face, random) for _ in range(TURNS))):
            rows.append(features(still, lay(seen, still)[0]))
            actions.append(true)
    x, y = np.array(rows, np.float64), np.array(actions, np.float64)
    normal = x.T @ x + ridge * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(normal, x.T @ y).T
    return Regressor(mean, (_gain(x @ weights.T, y)[:, None] * weights).astype(np.float32))


def _gain(read: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """What makes up for the regression's shrinking of actions that it reads well, float64 [n]."""
    read, true = read - read.mean(0), true - true.mean(0)
    shared = (read * true).mean(0)
    slope = shared / true.var(0)
    well = shared / np.maximum(read.std(0) * true.std(0), 1e-9) > WELL_READ
    return np.where(well, np.clip(FULL / np.maximum(slope, 1e-3), 1, MOST_GAIN), 1.0)


def correlations(regressor: Regressor, moves: Moves) -> dict[str, float]:
    """How well each action comes back from pictures, by name."""
    read = []
    for rest, moved in zip(moves.rest, moves.moved, strict=True):
        still = place(rest, regressor.mean)[0]
        read.append(np.clip(regressor(still, lay(place(moved, regressor.mean)[0], still)[0]), 0, 1))
    back = np.array(read)
    return {
        name: float(np.corrcoef(moves.actions[:, k], back[:, k])[0, 1])
        for k, name in enumerate(FACE_ACTIONS)
    }


def save(regressor: Regressor, path: Path, training: dict[str, object]) -> None:
    """Writes PATH.npz and, beside it, the JSON that lists its hash; raises OutputError."""
    with whole_file(path.with_suffix(".npz")) as part, part.open("wb") as file:
        weights = regressor.weights.astype(np.float16)
        np.savez_compressed(file, mean=regressor.mean, weights=weights)
    data = path.with_suffix(".npz").read_bytes()
    manifest = {
        "schema": 1,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "actions": list(FACE_ACTIONS),
        "training": training,
        "licence": "Apache-2.0",
    }
    with whole_file(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="data root with face3d/")
    parser.add_argument("--cache", type=Path, default=Path("runs/faces"))
    parser.add_argument("--out", type=Path, default=BUNDLES / "tracker.npz")
    parser.add_argument("--moves", type=int, default=12000, help="pictures (default: 12000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.moves < 10:
        parser.error("--moves must be 10 or more: a tenth as many are of faces held out")
    try:
        head = load_head(arguments.data)
        prepare(arguments.data, arguments.cache)
        faces = list(load_faces(arguments.data, arguments.cache))
    except (FileNotFoundError, MoueError) as error:
        raise SystemExit(f"training.tracker: error: {error}") from None
    apart = [[face for face in faces if face.held_out == held] for held in (False, True)]
    if not all(apart):
        raise SystemExit(
            f"training.tracker: error: {arguments.data} must hold faces to learn from and faces held "
            f"out, but holds {len(apart[0])} and {len(apart[1])}"
        )
    teacher = Teacher(head)
    known, unseen = (
        possible(collect(some, teacher, count, arguments.seed))
        for some, count in zip(apart, (arguments.moves, arguments.moves // 10), strict=True)
    )
    regressor = fit(known, mean_face(known.rest[::MOVES], head.vertices))
    scores = correlations(regressor, unseen)
    save(
        regressor,
        arguments.out,
        {
            "data": list(ATTRIBUTIONS),
            "moves": len(known.rest),
            "correlation on unseen faces": {name: round(r, 3) for name, r in scores.items()},
        },
    )
    print(json.dumps({"moves": len(known.rest), "correlations": scores}))


if __name__ == "__main__":
    main()
