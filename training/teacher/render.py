"""Renders what a face would look like with given actions, as the generator's three outputs.

A photo's face mesh says where the skin is; ICT-FaceKit's deltas, turned and scaled to the head's
pose, say where it goes. The moved mesh is rasterised into a backward flow. Where lips part and the
photo shows no mouth, a drawn one shows through a mask. Lids slide over a still eyeball until their
lashes meet; irises turn; folds and wrinkles darken the skin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS
from moue.crop import FACE_OVAL
from moue.tracking.mesh import RIGID
from training.teacher.eyes import (
    EYES,
    LOWERED,
    beyond_rims,
    colours_at,
    draw_lids,
    draw_sockets,
    fill_opening,
    lid_colours,
    socket_darkness,
    way_shut,
)
from training.teacher.folds import crease
from training.teacher.gaze import irises, turn_iris, whites
from training.teacher.head import LOWER_LIP, Head, carried, fit_similarity, ring_triangles
from training.teacher.mouth import draw_picture
from training.teacher.raster import drawn
from training.teacher.wrinkles import bare, draw_wrinkles

# How far an action at 1 goes, in lengths of ICT-FaceKit's own delta: subtle shapes are carried
# further so that they read at the size of a portrait.
REACH = {
    "browDownLeft": 1.7, "browDownRight": 1.7, "browInnerUp": 2.1, "jawOpen": 1.12,
    "browOuterUpLeft": 1.25, "browOuterUpRight": 1.25,
    "mouthFrownLeft": 1.8, "mouthFrownRight": 1.8, "mouthPucker": 1.3,
    "mouthUpperUpLeft": 1.15, "mouthUpperUpRight": 1.15,
    "noseSneerLeft": 1.3, "noseSneerRight": 1.3, "eyeWideLeft": 1.1, "eyeWideRight": 1.1,
    "mouthStretchLeft": 1.4, "mouthStretchRight": 1.4, "mouthShrugLower": 1.4,
    "mouthLowerDownLeft": 1.3, "mouthLowerDownRight": 1.3, "eyeSquintLeft": 1.3,
    "eyeSquintRight": 1.3, "cheekSquintLeft": 1.2, "cheekSquintRight": 1.2,
    "mouthSmileLeft": 1.1, "mouthSmileRight": 1.1,
}  # fmt: skip
_SATURATING = ("mouthSmileLeft", "mouthSmileRight", "jawOpen")
LIPS = tuple(
    zip(
        (191, 80, 81, 82, 13, 312, 311, 310, 415),
        (95, 88, 178, 87, 14, 317, 402, 318, 324),
        strict=True,
    )
)
_CHEEKS = (50, 280, 117, 346, 205, 425, 151, 9)
_RINGS = (
    (1.12, 0.55),
    (1.38, 0.0),
)  # beyond the face oval: (distance from its centre, share of motion)
_OPEN_MOUTH = 0.035  # lip gap, in mouth widths, above which lips stand open
_EDGE = 0.02  # of the square: how far the lips shade what lies behind them
_INDEX = {name: index for index, name in enumerate(ACTIONS)}
_JAW, _CLOSE = _INDEX["jawOpen"], _INDEX["mouthClose"]
_LIPS_CENTRE = (13, 14)


@dataclass(frozen=True)
class FaceFit:
    """A face mesh laid on a photo.

    Attributes:
        points: float64 [468, 3], pixel x, pixel y, depth (smaller is nearer), of `photo`.
        scale, rotation: pixels per centimetre and [3, 3], from the head's frame to (x, y, depth).
        skin: float64 [3], mean sRGB of cheeks and forehead in [0, 1].
        lids, whites: float64 [2, 3], the colours of the left and the right lid (`eyes.lid_colours`),
            and of the whites of the eyes (`gaze.whites`).
        sockets: float64 [2], how dark those of the left and the right eye are (`eyes.socket_darkness`).
        irises: float64 [2, 3], middle (x, y) and radius of the left and the right iris in `photo`.
        bare: float32 [256, 256], where the unrolled face shows its skin (`wrinkles.bare`).
        shows_mouth: the photo's lips stand open.
        reach: float64 [n], how far each action at 1 goes, in lengths of its delta.
    """

    points: NDArray[np.float64]
    scale: float
    rotation: NDArray[np.float64]
    skin: NDArray[np.float64]
    lids: NDArray[np.float64]
    whites: NDArray[np.float64]
    sockets: NDArray[np.float64]
    irises: NDArray[np.float64]
    bare: NDArray[np.float32]
    shows_mouth: bool
    reach: NDArray[np.float64]


@dataclass(frozen=True)
class Layers:
    """What the generator should put out for one action vector.

    Attributes:
        flow: float32 [2, S, S], backward, in sides of the square (x, y).
        mask: float32 [S, S] in [0, 1], where the colour layer shows.
        colour: float32 [3, S, S] sRGB in [0, 1]; meaningful where mask > 0.
        face: float32 [S, S], 1 on the moved mesh: where errors matter.
        mouth: float32 [S, S] in [0, 1], the part of the mask behind which the drawn mouth lies.
        place: float32 [2, S, S], where in that picture (u, v in [0, 1]); meaningful where mouth > 0.
    """

    flow: NDArray[np.float32]
    mask: NDArray[np.float32]
    colour: NDArray[np.float32]
    face: NDArray[np.float32]
    mouth: NDArray[np.float32]
    place: NDArray[np.float32]


class Teacher:
    """Renders layers for fitted faces.

    Args:
        head: the 3-D head.
        folds: the light of a full smile by action (`folds.smile_folds`); None: none.
    """

    def __init__(self, head: Head, folds: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        self.head = head
        self._folds = {_INDEX[name]: light for name, light in (folds or {}).items()}
        self._wrinkles = {_INDEX[name]: light for name, light in draw_wrinkles(head).items()}
        self._picture = draw_picture().transpose(1, 2, 0)
        self._reach = np.array([REACH.get(name, 1.0) for name in ACTIONS])
        rings = ring_triangles(len(head.vertices), len(_RINGS))
        self._skin_triangles = np.concatenate([head.triangles, rings])

    def fit(
        self,
        photo: NDArray[np.uint8],
        landmarks: NDArray[np.float32],
        shown: Mapping[str, float] | None = None,
    ) -> FaceFit:
        """Lays the head on a face.

        Args:
            photo: uint8 RGB [H, W, 3].
            landmarks: float32 [478, 3], as in `moue.crop.Face`.
            shown: blendshape scores in [0, 1] of what the photo already shows; a smile on a smiling
                face has less far to go.
        """
        points = np.asarray(landmarks, np.float64)
        head = self.head.vertices * (1, -1, -1)
        rigid = list(RIGID)
        scale, rotation, _ = fit_similarity(head[rigid], points[rigid])
        rotation = rotation * (1, -1, -1)
        skin = colours_at(photo, points, _CHEEKS).mean(0) / 255
        room = np.ones(len(ACTIONS))
        for name in _SATURATING:
            room[_INDEX[name]] -= 0.7 * (shown or {}).get(name, 0.0)
        lids = lid_colours(photo, points)
        return FaceFit(
            points[:468],
            scale,
            rotation,
            skin,
            lids,
            whites(photo, points, skin),
            socket_darkness(photo, points, lids),
            irises(points),
            bare((photo, landmarks), skin, self.head),
            lips_apart(landmarks),
            room * self._reach,
        )

    def move(self, fit: FaceFit, actions: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [468, 3]: where the mesh goes, in the photo's pixels and depth."""
        weights = actions * fit.reach
        weights[_CLOSE] = min(weights[_CLOSE], actions[_JAW])  # lips close what the jaw opens
        points = fit.points
        delta = _summed(weights, self.head.deltas)
        moved = points + fit.scale * delta @ fit.rotation.T
        for eye in EYES:
            blink = float(actions[eye.blink])
            if blink:
                deltas = self.head.deltas
                lids = (blink**2 * LOWERED * deltas[eye.down] - deltas[eye.blink]) @ fit.rotation.T
                moved += blink * (way_shut(points, eye) + fit.scale * lids)
            _part(points, moved, eye.lids)
        _part(points, moved, LIPS)
        return moved

    def render(
        self,
        fit: FaceFit,
        actions: NDArray[np.float32],
        to_layer: NDArray[np.float64],
        size: int,
        moved: NDArray[np.float64] | None = None,
    ) -> Layers:
        """Layers for one action vector.

        Args:
            fit: a fitted face.
            actions: float32 [n], over `moue.actions.ACTIONS`.
            to_layer: float64 [2, 3], photo pixels to layer pixels.
            size: S.
            moved: float64 [468, 3], where the mesh goes when it is known from elsewhere (a second
                photo of the same person); None lets the actions say.
        """
        target = self.move(fit, actions) if moved is None else moved
        source_xy, target_xyz = self._with_rings(beyond_rims(fit.points, actions), target, to_layer)
        place, skin = drawn(target_xyz, self._skin_triangles, source_xy, size)
        grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32) + 0.5] * 2), -1)
        flow = np.where(skin[..., None], place - grid, 0)
        face = skin.astype(np.float32)

        openings = [
            fill_opening(eye, eyeball, actions, source_xy, target_xyz, skin, flow)
            for eye, eyeball in zip(EYES, self.head.eye_holes, strict=True)
        ]
        hole = drawn(target_xyz, self.head.mouth_hole, source_xy, size)[1] & ~skin
        if fit.shows_mouth:
            hole &= ~self._own_mouth(source_xy, target_xyz, hole, grid, flow)
        mouth = np.zeros((size, size), np.float32)
        colour = np.zeros((size, size, 3), np.float32)
        seen = np.zeros((size, size, 2), np.float32)
        if hole.any():
            mouth = np.asarray(cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 0.7))
            _inpaint(flow, hole)
            self._mouth(fit, actions, to_layer, hole, seen, colour)
        mask = mouth.copy()
        scale = np.sqrt(abs(np.linalg.det(to_layer[:, :2])))
        middles = carried(fit.irises, to_layer)
        for eye, eyeball, opening, middle, (*_, radius), white in zip(
            EYES, self.head.eye_holes, openings, middles, fit.irises, fit.whites, strict=True
        ):
            iris = np.append(middle, scale * radius)
            turn_iris(eye, eyeball, actions, source_xy, opening, iris, white, flow, mask, colour)
        draw_sockets(actions, fit.lids, fit.sockets, target_xyz, mask, colour)
        draw_lids(actions, fit.lids, fit.skin, target_xyz, mask, colour)
        light = self._light(fit, actions)
        if light.any():
            corners = target_xyz[: len(self.head.vertices)]
            crease(light, self.head, corners, fit.skin.mean(), mask, colour)
        return Layers(
            np.ascontiguousarray((flow / size).transpose(2, 0, 1), np.float32),
            mask,
            np.ascontiguousarray(colour.transpose(2, 0, 1)),
            face,
            mouth,
            np.ascontiguousarray(seen.transpose(2, 0, 1)),
        )

    def _light(self, fit: FaceFit, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """What folds and wrinkles make of the light on the unrolled face, float32 [256, 256]."""
        weights = actions * fit.reach / self._reach
        folds, wrinkles = (
            sum((weights[k] * made for k, made in kind.items() if weights[k]), np.zeros(1))
            for kind in (self._folds, self._wrinkles)
        )
        return np.asarray(folds + fit.bare * wrinkles, np.float32)

    def _with_rings(
        self,
        source: NDArray[np.float64],
        target: NDArray[np.float64],
        to_layer: NDArray[np.float64],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Source (x, y) and target (x, y, depth) in layer pixels, rings around the oval included."""
        oval = list(FACE_OVAL)
        centre = source[oval, :2].mean(0)
        sources, targets = [source[:, :2]], [target]
        for reach, share in _RINGS:
            ring = centre + reach * (source[oval, :2] - centre)
            sources.append(ring)
            moved = np.empty((len(oval), 3))
            moved[:, :2] = ring + share * (target[oval] - source[oval])[:, :2]
            moved[:, 2] = source[oval, 2] + 1
            targets.append(moved)
        scale = np.sqrt(abs(np.linalg.det(to_layer[:, :2])))
        flat = np.concatenate(targets)
        return (
            carried(np.concatenate(sources), to_layer).astype(np.float32),
            np.column_stack([carried(flat, to_layer), flat[:, 2] * scale]).astype(np.float32),
        )

    def _own_mouth(
        self,
        source: NDArray[np.float32],
        target: NDArray[np.float32],
        hole: NDArray[np.bool_],
        grid: NDArray[np.float32],
        flow: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Writes the flow of a mouth that the photo shows, and says where it lies, bool [S, S].

        Its teeth follow the upper lip and stay where the jaw leaves them.
        """
        kept = target.copy()
        kept[list(LOWER_LIP), :2] = source[list(LOWER_LIP)]
        place, own = drawn(kept, self.head.mouth_hole, source, len(hole), turned=True)
        flow[own & hole] = (place - grid)[own & hole]
        return own

    def _mouth(
        self,
        fit: FaceFit,
        actions: NDArray[np.float32],
        to_layer: NDArray[np.float64],
        hole: NDArray[np.bool_],
        seen: NDArray[np.float32],
        colour: NDArray[np.float32],
    ) -> None:
        """Hangs the drawn mouth behind the lips: where it is looked up, and its colour in the face's light."""
        head, size = self.head, len(hole)
        jaw = _summed(actions * fit.reach, head.mouth_deltas)
        lips = head.vertices[list(_LIPS_CENTRE)].mean(0)
        anchor = fit.points[list(_LIPS_CENTRE)].mean(0)
        placed = anchor + fit.scale * (head.mouth.points + jaw - lips) @ fit.rotation.T
        points = np.column_stack([carried(placed, to_layer), placed[:, 2]])
        seen[:], covered = drawn(
            points.astype(np.float32), head.mouth.triangles, head.mouth.uv, size
        )
        if not covered.any():
            return
        wide = np.asarray(cv2.dilate(hole.astype(np.uint8), np.ones((9, 9)))) > 0
        if (wide & ~covered).any():
            _inpaint(seen, wide & ~covered)
        rows, columns = self._picture.shape[:2]
        picture = cv2.remap(
            self._picture,
            seen[..., 0] * columns - 0.5,
            seen[..., 1] * rows - 0.5,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        light = np.clip(0.5 + 0.75 * fit.skin.mean(), 0.4, 1.1)
        tint = 0.8 + 0.2 * fit.skin / max(fit.skin.mean(), 1e-3)
        shade = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), _EDGE * size)
        shade = np.clip(0.6 + 0.7 * shade, 0, 1)[..., None]
        colour[wide] = np.clip(light * tint * shade * picture, 0, 1)[wide]


def lips_apart(landmarks: NDArray[np.floating]) -> bool:
    """Whether a face's lips stand open; landmarks as in `moue.crop.Face`."""
    upper, lower, right, left = landmarks[[*_LIPS_CENTRE, 61, 291], :2]
    return bool(np.linalg.norm(lower - upper) > _OPEN_MOUTH * np.linalg.norm(left - right))


def _summed(weights: NDArray[np.float32], deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σ weights[i] · deltas[i] over the few that are not zero: [n], [n, v, 3] → float64 [v, 3]."""
    active = np.flatnonzero(weights)
    return np.asarray(np.tensordot(weights[active], deltas[active], 1))


def _part(
    points: NDArray[np.float64], moved: NDArray[np.float64], pairs: tuple[tuple[int, int], ...]
) -> None:
    """Keeps edges that face each other from crossing: they meet half-way instead."""
    upper, lower = (list(column) for column in zip(*pairs, strict=True))
    down = points[list(FACE_OVAL)[18], :2] - points[10, :2]
    gap = (moved[lower] - moved[upper])[:, :2] @ down
    crossed = gap < 0
    if crossed.any():
        first, second = np.array(upper)[crossed], np.array(lower)[crossed]
        moved[first] = moved[second] = (moved[first] + moved[second]) / 2


def _inpaint(flow: NDArray[np.float32], hole: NDArray[np.bool_]) -> None:
    """Fills the flow under the colour layer smoothly from around it, so it stays easy to learn."""
    rows, columns = np.nonzero(hole)
    window = np.s_[
        max(0, rows.min() - 9) : rows.max() + 10, max(0, columns.min() - 9) : columns.max() + 10
    ]
    known = (~hole[window]).astype(np.float32)
    filled = cv2.GaussianBlur(flow[window] * known[..., None], (0, 0), 3)
    weight = cv2.GaussianBlur(known, (0, 0), 3)[..., None]
    flow[window][hole[window]] = (filled / np.maximum(weight, 1e-3))[hole[window]]
