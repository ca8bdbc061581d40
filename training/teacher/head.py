"""The 3-D head behind the teacher: ICT-FaceKit's expressions carried to MediaPipe's face mesh.

Lengths are centimetres in MediaPipe's canonical frame: x to the subject's left, y up, z towards the
camera. ICT-FaceKit (MIT) supplies the expression deltas and how the jaw moves the teeth, MediaPipe
(Apache-2.0) the 468-vertex mesh whose vertices a photo's landmarks are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from moue.actions import ACTIONS, HEAD_TURNS
from moue.crop import FACE_OVAL
from training.teacher.mouth import Card, make_card

# iBUG's 68 points as face mesh vertices (jaw right to left, brows, nose, eyes, outer and inner lips).
IBUG68 = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
LOWER_LIP = (324, 318, 402, 317, 14, 87, 178, 88, 95)  # its inner edge, between the corners
INNER_LIPS = (*(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), *LOWER_LIP)
# Eye contours: lower lid corner to corner, then the upper lid back.
EYE_RIGHT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
EYE_LEFT = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
# Corners and lids of the eyes, by which two photographs of one face lie on each other most closely.
EYES_ALIKE = (33, 133, 362, 263, 159, 145, 386, 374)

# The skin between each lid and its brow, outwards in: (above the lashes, below the brow, brow).
UNDER_BROW_LEFT = (
    *((467, 342, 276), (260, 445, 283), (259, 444, 282), (257, 443, 282)),
    *((258, 442, 295), (286, 441, 285), (414, 413, 285)),
)
UNDER_BROW_RIGHT = (
    *((247, 113, 46), (30, 225, 53), (29, 224, 52), (27, 223, 52)),
    *((28, 222, 65), (56, 221, 55), (190, 189, 55)),
)
HANGING = 0.25  # power by which skin goes along with its brow the more, the nearer it is to it

SKIN = 9409  # ICT's vertices of the outer skin come first

TEETH_SHOW = 0.3  # cm that the upper teeth reach below the line between closed lips

_MERGED = {  # ARKit names one action where ICT moves the two sides apart
    "browInnerUp": ("browInnerUp_L", "browInnerUp_R"),
    "cheekPuff": ("cheekPuff_L", "cheekPuff_R"),
    **dict.fromkeys(HEAD_TURNS, ()),  # the whole head: `training.teacher.turn`
}


@dataclass(frozen=True)
class Head:
    """A neutral head with its expressions, sampled at the face mesh.

    Attributes:
        vertices: float64 [468, 3], the canonical face mesh.
        triangles: int32 [m, 3], its skin (eyes and mouth are holes).
        mouth_hole: int32 [·, 3], triangles that fill the mouth; eye_holes: the left and the right eye.
        deltas: float64 [n, 468, 3], one displacement field per action of `moue.actions.ACTIONS`.
        mouth: the surface behind the lips, in the head's own frame.
        mouth_deltas: float64 [n, v, 3], how it moves with the jaw.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int32]
    mouth_hole: NDArray[np.int32]
    eye_holes: tuple[NDArray[np.int32], NDArray[np.int32]]
    deltas: NDArray[np.float64]
    mouth: Card
    mouth_deltas: NDArray[np.float64]


def load_head(root: Path) -> Head:
    """Builds the head from the data root's `face3d/` folder."""
    vertices, faces = _read_obj(root / "face3d" / "mediapipe_canonical_face_model.obj")
    with np.load(root / "face3d" / "ict_facekit.npz") as ict:
        neutral = ict["neutral"].astype(np.float64)
        names = [str(name) for name in ict["expr_names"]]
        deltas = ict["expr_deltas"].astype(np.float64)
        quads, material, lm68 = ict["quads"], ict["face_material"], ict["lm68"]

    scale, rotation, offset = fit_similarity(neutral[lm68[17:]], vertices[list(IBUG68[17:])])
    aligned = scale * neutral @ rotation.T + offset
    carry = RBFInterpolator(
        aligned[lm68], vertices[list(IBUG68)], kernel="thin_plate_spline", smoothing=0.05
    )
    nearest = cKDTree(carry(aligned[:SKIN])).query(vertices)[1]

    def action(name: str) -> NDArray[np.float64]:
        sided = name.replace("Left", "_L").replace("Right", "_R")
        own = sided if sided in names else name  # jawLeft, mouthRight: the side is where it goes
        parts = (deltas[names.index(part)] for part in _MERGED.get(name, (own,)))
        total = sum(parts, np.zeros_like(neutral))
        return np.asarray(scale * total @ rotation.T)

    moved = np.stack([action(name) for name in ACTIONS])
    teeth = np.unique(quads[material == "M_Teeth"])
    fixed = np.linalg.norm(moved[ACTIONS.index("jawOpen"), teeth], axis=1) < 0.1
    upper, lower = teeth[fixed], teeth[~fixed]
    card = make_card()
    front = (0.0, vertices[[13, 14], 1].mean() - TEETH_SHOW, aligned[upper, 2].max())
    hung = card._replace(points=card.points + front)
    jaw = lower[cKDTree(aligned[lower]).query(hung.points)[1]]
    mouth, eye_left, eye_right = (
        np.isin(faces, loop).all(1) for loop in (INNER_LIPS, EYE_LEFT, EYE_RIGHT)
    )
    sampled = moved[:, nearest]
    jaws = [ACTIONS.index(name) for name in ("jawOpen", "mouthClose")]  # one closes what one opens
    sampled[jaws] *= _rounding(vertices)[:, None]
    brows = [index for index, name in enumerate(ACTIONS) if name.startswith("brow")]
    sampled[brows] = whole_brows(vertices, sampled[brows])
    return Head(
        vertices,
        faces[~(mouth | eye_right | eye_left)],
        faces[mouth],
        (faces[eye_left], faces[eye_right]),
        np.ascontiguousarray(sampled),
        hung,
        np.ascontiguousarray(moved[:, jaw] * card.jaw[:, None]),
    )


def _rounding(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors [468] that round a lower lip which ICT-FaceKit's jaw draws down to a point."""
    x, y = np.abs(vertices[:, 0]), vertices[:, 1]
    lips, inner = vertices[list(LOWER_LIP), 1].max(), vertices[14, 1]
    across = 0.1 * np.exp(-(((x - 1.25) / 0.55) ** 2)) - 0.11 * np.exp(-((x / 0.45) ** 2))
    down = np.clip((y - inner) / 2.7 + 1, 0, 1) * (y <= lips)  # it ends half-way to the chin
    return np.asarray(1 + across * np.clip(1.6 * down, 0, 1))


def whole_brows(vertices: NDArray[np.float64], deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deltas of brows in which hair hangs together: skin unfolds below a brow, not within it.

    Args:
        vertices: float64 [468, 3], the canonical face mesh.
        deltas: float64 [k, 468, 3]; what lies under a brow goes along with it the more, never less.
    """
    whole = deltas.copy()
    for lash, fold, brow in (*UNDER_BROW_LEFT, *UNDER_BROW_RIGHT):
        height = (vertices[fold, 1] - vertices[lash, 1]) / (vertices[brow, 1] - vertices[lash, 1])
        share = np.clip(height, 0, 1) ** HANGING
        along = deltas[:, lash] + share * (deltas[:, brow] - deltas[:, lash])
        further = np.abs(along[:, 1:2]) > np.abs(deltas[:, fold, 1:2])
        whole[:, fold] = np.where(further, along, deltas[:, fold])
    return whole


def fit_similarity(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, rotation [d, d] and offset [d] that best carry source [k, d] onto target (Umeyama 1991)."""
    mean_source, mean_target = source.mean(0), target.mean(0)
    centred = source - mean_source
    u, stretch, vt = np.linalg.svd((target - mean_target).T @ centred)
    flip = np.ones(len(stretch))
    flip[-1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * flip) @ vt
    scale = float((stretch * flip).sum() / (centred**2).sum())
    return scale, rotation, mean_target - scale * rotation @ mean_source


def carried(points: NDArray[np.floating], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (x, y), [..., 2 or more], under an affine map [2, 3]: [..., 2]."""
    return np.asarray(points[..., :2] @ to[:, :2].T + to[:, 2])


def about(axis: int, angle: float) -> NDArray[np.float64]:
    """[3, 3]: the turn by an angle about an axis, counter-clockwise for who looks against it."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[a, a] = turn[b, b] = np.cos(angle)
    turn[b, a] = np.sin(angle)
    turn[a, b] = -turn[b, a]
    return turn


def ring_triangles(vertices: int, rings: int) -> NDArray[np.int32]:
    """Triangles [t, 3] of rings around the face's oval, their vertices after a mesh's own, inner first."""
    inner = np.array(FACE_OVAL)
    made = []
    for ring in range(rings):
        outer = vertices + ring * len(inner) + np.arange(len(inner))
        made += [np.column_stack([inner, np.roll(outer, -1), outer])]
        made += [np.column_stack([inner, np.roll(inner, -1), np.roll(outer, -1)])]
        inner = outer
    return np.concatenate(made).astype(np.int32)


def _read_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    vertices, faces = [], []
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in rest])
        elif kind == "f":
            faces.append([int(corner.split("/")[0]) - 1 for corner in rest])
    return np.array(vertices), np.array(faces, np.int32)
