"""Renders what a face would look like with given actions, as the generator's three outputs.

A photo's face mesh says where the skin is; ICT-FaceKit's deltas, turned and scaled to the head's
pose, say where it goes. The moved mesh is rasterised into a backward flow. Where lips part and the
photo shows no mouth, teeth, gums and tongue are rendered into a colour layer behind a mask. Lids
slide over a still eyeball; irises turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS
from moue.crop import FACE_OVAL
from training.teacher.head import LIDS_LEFT, LIDS_RIGHT, RIGID, Head, fit_similarity
from training.teacher.raster import rasterise

# How far an action at 1 goes, in lengths of ICT-FaceKit's own delta: subtle shapes are carried
# further so that they read at the size of a portrait.
REACH = {
    "browDownLeft": 1.7, "browDownRight": 1.7, "browInnerUp": 2.0, "jawOpen": 1.12,
    "browOuterUpLeft": 1.25, "browOuterUpRight": 1.25,
    "mouthFrownLeft": 1.8, "mouthFrownRight": 1.8, "mouthPucker": 1.3,
    "mouthUpperUpLeft": 1.15, "mouthUpperUpRight": 1.15,
    "noseSneerLeft": 1.3, "noseSneerRight": 1.3, "eyeWideLeft": 1.6, "eyeWideRight": 1.6,
    "mouthStretchLeft": 1.4, "mouthStretchRight": 1.4, "mouthShrugLower": 1.4,
    "mouthLowerDownLeft": 1.3, "mouthLowerDownRight": 1.3, "eyeSquintLeft": 1.3,
    "eyeSquintRight": 1.3, "cheekSquintLeft": 1.2, "cheekSquintRight": 1.2,
    "mouthSmileLeft": 1.1, "mouthSmileRight": 1.1,
}  # fmt: skip
GAZE = {  # iris travel at 1, in eye widths: (towards the subject's left, up)
    "eyeLookUp": (0.0, 0.16), "eyeLookDown": (0.0, -0.16),
    "eyeLookIn": (-0.22, 0.0), "eyeLookOut": (0.22, 0.0),
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
_LID_REACH = 1.5  # the most that ICT's blink is stretched to close a wide eye
_LID_OVERLAP = 0.15  # of the lid opening: closed lashes lie a little below the open eye's lower lid
_OPEN_MOUTH = (
    0.035  # lip gap, in mouth widths, above which the photo is taken to show its own mouth
)
_CAVITY = (0.17, 0.06, 0.06)
_INDEX = {name: index for index, name in enumerate(ACTIONS)}
_LIPS_CENTRE = (13, 14)


@dataclass(frozen=True)
class FaceFit:
    """A face mesh laid on a photo.

    Attributes:
        points: float64 [468, 3], pixel x, pixel y, depth (smaller is nearer), of `photo`.
        scale, rotation: pixels per centimetre and [3, 3], from the head's frame to (x, y, depth).
        skin: float64 [3], mean sRGB of cheeks and forehead in [0, 1].
        shows_mouth: the photo's lips stand open.
        reach: float64 [n], how far each action at 1 goes, in lengths of its delta.
    """

    points: NDArray[np.float64]
    scale: float
    rotation: NDArray[np.float64]
    skin: NDArray[np.float64]
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
    """

    flow: NDArray[np.float32]
    mask: NDArray[np.float32]
    colour: NDArray[np.float32]
    face: NDArray[np.float32]


class Teacher:
    """Renders layers for fitted faces."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._reach = np.array([REACH.get(name, 1.0) for name in ACTIONS])
        oval = np.arange(len(FACE_OVAL))
        turn = np.roll(oval, -1)
        rings = []
        base = np.array(FACE_OVAL)
        for ring in range(len(_RINGS)):
            outer = 468 + ring * len(FACE_OVAL) + oval
            rings += [np.column_stack([base, outer, outer[turn]])]
            rings += [np.column_stack([base, outer[turn], base[turn]])]
            base = outer
        self._ring_triangles = np.concatenate(rings).astype(np.int32)
        self._skin_triangles = np.concatenate([head.triangles, self._ring_triangles])

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
        x, y = np.clip(points[list(_CHEEKS), :2].T, 0, np.array(photo.shape[1::-1])[:, None] - 1)
        skin = photo[y.astype(int), x.astype(int)].mean(0) / 255
        gap = np.linalg.norm(points[14, :2] - points[13, :2])
        width = np.linalg.norm(points[291, :2] - points[61, :2])
        room = np.ones(len(ACTIONS))
        for name in _SATURATING:
            room[_INDEX[name]] -= 0.7 * (shown or {}).get(name, 0.0)
        return FaceFit(
            points[:468],
            scale,
            rotation,
            skin,
            bool(gap > _OPEN_MOUTH * width),
            room * self._reach,
        )

    def move(self, fit: FaceFit, actions: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [468, 3]: where the mesh goes, in the photo's pixels and depth."""
        weights = actions * fit.reach
        points = fit.points
        delta = np.tensordot(weights, self.head.deltas, 1)
        moved = points + fit.scale * delta @ fit.rotation.T
        for side, pairs in (("Left", LIDS_LEFT), ("Right", LIDS_RIGHT)):
            blink = float(actions[_INDEX[f"eyeBlink{side}"]])
            if blink:
                self._close(fit, moved, f"eyeBlink{side}", pairs, blink)
            _part(points, moved, pairs)
        _part(points, moved, LIPS)
        return moved

    def _close(
        self,
        fit: FaceFit,
        moved: NDArray[np.float64],
        name: str,
        pairs: tuple[tuple[int, int], ...],
        blink: float,
    ) -> None:
        """Closes this photo's own lid opening: ICT's blink scaled to it, lid edges made to meet."""
        upper, lower = (np.array(column) for column in zip(*pairs, strict=True))
        own = fit.scale * self.head.deltas[_INDEX[name]] @ fit.rotation.T
        meet = fit.points[lower] - fit.points[upper]
        gap = np.linalg.norm(meet[:, :2], axis=1).max()
        travel = np.linalg.norm(own[upper, :2], axis=1).max()
        follow = min(gap / max(travel, 1e-6), _LID_REACH)
        moved += blink * (follow - 1) * own
        moved[upper] += blink * ((1 + _LID_OVERLAP) * meet - follow * own[upper])
        moved[lower] += blink * (_LID_OVERLAP * meet - follow * own[lower])

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
        source_xy, target_xyz = self._with_rings(fit.points, target, to_layer)
        depth = np.full((size, size), np.inf, np.float32)
        place = np.zeros((size, size, 2), np.float32)
        rasterise(target_xyz, self._skin_triangles, source_xy, depth, place, False)
        grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32) + 0.5] * 2), -1)
        skin = np.isfinite(depth)
        flow = np.where(skin[..., None], place - grid, 0)
        face = skin.astype(np.float32)

        self._eyes(actions, source_xy, target_xyz, skin, grid, flow)
        hole = self._filled(target_xyz, self.head.mouth_hole, size) & ~skin
        if fit.shows_mouth:
            own = self._filled(
                np.column_stack([source_xy, target_xyz[:, 2]]).astype(np.float32),
                self.head.mouth_hole,
                size,
            )
            hole &= ~own
        mask = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 0.7) if hole.any() else face * 0
        colour = np.zeros((size, size, 3), np.float32)
        if hole.any():
            _inpaint(flow, hole)
            self._interior(fit, actions, target, to_layer, hole, colour)
        return Layers(
            np.ascontiguousarray((flow / size).transpose(2, 0, 1), np.float32),
            np.asarray(mask, np.float32),
            np.ascontiguousarray(colour.transpose(2, 0, 1)),
            face,
        )

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
        linear, offset = to_layer[:, :2], to_layer[:, 2]
        scale = np.sqrt(abs(np.linalg.det(linear)))
        flat = np.concatenate(targets)
        return (
            (np.concatenate(sources) @ linear.T + offset).astype(np.float32),
            np.column_stack([flat[:, :2] @ linear.T + offset, flat[:, 2] * scale]).astype(
                np.float32
            ),
        )

    def _filled(
        self, points: NDArray[np.float32], triangles: NDArray[np.int32], size: int
    ) -> NDArray[np.bool_]:
        depth = np.full((size, size), np.inf, np.float32)
        image = np.zeros((size, size, 1), np.float32)
        rasterise(points, triangles, np.zeros((len(points), 1), np.float32), depth, image, False)
        return np.isfinite(depth)

    def _eyes(
        self,
        actions: NDArray[np.float32],
        source: NDArray[np.float32],
        target: NDArray[np.float32],
        skin: NDArray[np.bool_],
        grid: NDArray[np.float32],
        flow: NDArray[np.float32],
    ) -> None:
        """Flow inside the eye openings: still where lids close, stretched where they open wider."""
        size = len(skin)
        for side, pairs, corners, hole in (
            ("Left", LIDS_LEFT, (362, 263), self.head.eye_hole_left),
            ("Right", LIDS_RIGHT, (33, 133), self.head.eye_hole_right),
        ):
            depth = np.full((size, size), np.inf, np.float32)
            place = np.zeros((size, size, 2), np.float32)
            rasterise(target, hole, source, depth, place, False)
            inside = np.isfinite(depth) & ~skin
            if not inside.any():
                continue
            upper, lower = (list(column) for column in zip(*pairs, strict=True))
            was = np.linalg.norm(source[lower] - source[upper], axis=1).sum()
            now = np.linalg.norm((target[lower] - target[upper])[:, :2], axis=1).sum()
            stretch = place - grid if now > was else np.zeros_like(place)
            gaze = np.zeros(2)
            for name, travel in GAZE.items():
                outward = 1 if side == "Left" else -1
                sideways = travel[0] * outward
                gaze += actions[_INDEX[name + side]] * np.array([sideways, travel[1]])
            if gaze.any():
                across = source[corners[1]] - source[corners[0]]  # towards the subject's left
                up = np.array([across[1], -across[0]])
                travel_px = gaze[0] * across + gaze[1] * up
                reach = float(np.hypot(*travel_px))
                room = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
                weight = np.clip(0.8 * room / max(reach, 1e-6), 0, 1)[..., None]
                stretch = stretch - weight * travel_px
            flow[inside] = stretch[inside]

    def _interior(
        self,
        fit: FaceFit,
        actions: NDArray[np.float32],
        target: NDArray[np.float64],
        to_layer: NDArray[np.float64],
        hole: NDArray[np.bool_],
        colour: NDArray[np.float32],
    ) -> None:
        """Renders teeth, gums and tongue over the dark of the mouth, in the face's own light."""
        rows, columns = np.nonzero(hole)
        top, left = rows.min(), columns.min()
        height, width = rows.max() - top + 1, columns.max() - left + 1
        head = self.head
        weights = actions * fit.reach
        jaw = np.tensordot(weights, head.teeth_deltas, 1)
        lips = head.vertices[list(_LIPS_CENTRE)].mean(0)
        anchor = fit.points[list(_LIPS_CENTRE)].mean(0)
        placed = anchor + fit.scale * (head.teeth + jaw - lips) @ fit.rotation.T
        linear, offset = to_layer[:, :2], to_layer[:, 2]
        points = np.column_stack([placed[:, :2] @ linear.T + offset - (left, top), placed[:, 2]])
        light = np.clip(fit.skin.mean() / 0.6, 0.25, 1.15)
        tint = fit.skin / max(fit.skin.mean(), 1e-3)
        facing = np.clip(-(head.teeth_normals @ fit.rotation.T) @ (0.0, 0.3, 0.95), 0, 1)
        behind = np.clip((lips[2] - head.teeth[:, 2]) - 0.2, 0, 6)
        shade = light * (0.5 + 0.6 * facing) * np.exp(-0.27 * behind)
        lit = head.teeth_albedo * shade[:, None] * (0.8 + 0.2 * tint)
        depth = np.full((height, width), np.inf, np.float32)
        image = np.empty((height, width, 3), np.float32)
        image[:] = np.array(_CAVITY) * light
        rasterise(
            points.astype(np.float32),
            head.teeth_triangles,
            lit.astype(np.float32),
            depth,
            image,
            True,
        )
        softened = np.clip(cv2.GaussianBlur(image, (0, 0), 0.6), 0, 1)
        colour[top : top + height, left : left + width] = softened


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
