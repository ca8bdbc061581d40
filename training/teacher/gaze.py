"""Gaze: irises that turn behind lids which stay, and the white of the eye where they have been.

An iris is carried whole, what lids hid of it made of what they did not. What it uncovers is painted:
a photo does not show the white behind it. Where lids widen it grows with them, but stays round.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS
from training.teacher.eyes import EYES, Eye, lay
from training.teacher.raster import drawn, smooth

GAZE = {  # iris travel at 1, in eye widths: (away from the nose, up)
    "eyeLookUp": (0.0, 0.22), "eyeLookDown": (0.0, -0.16),
    "eyeLookIn": (-0.22, 0.0), "eyeLookOut": (0.22, 0.0),
}  # fmt: skip
LOOKS = {  # where two eyes look together, and the two actions that turn them there
    "look up": ("eyeLookUpLeft", "eyeLookUpRight"),
    "look down": ("eyeLookDownLeft", "eyeLookDownRight"),
    "look left": ("eyeLookOutLeft", "eyeLookInRight"),
    "look right": ("eyeLookInLeft", "eyeLookOutRight"),
}
_SOFT = 0.003  # of the square: over which lids cover what turns behind them
_RIM = 0.12  # of an iris' radius: over which its edge fades
_RING = 2.5  # of that: how far around an iris what is seen is its ring still
_LET_GO = 1.8  # of its furthest pixel's way: over which what surrounds an iris goes along the less
_CLEAR = 1.25  # radii from an iris' middle to where the white of an eye is surely white
_WHITE = 0.6  # of what is seen of it, so much has less blue than what counts
_FEW = 6  # pixels of it that a colour may be taken from
_UNSEEN = 0.75  # of a white that no photo shows, next to the skin's own brightness
_LEAST_SEEN = 0.4  # radii of an iris that its other part is made of, at least
_GROWTH = 0.25  # by which an iris is larger where lids are wide: less white has to be painted
_STEPS = 16  # that its way is tried in, for the longest that still shows the eye and not a lid
_SHADE = (0.7, 0.5)  # that lids cast on the white at its edge: how dark, radii over which
_INDEX = {name: index for index, name in enumerate(ACTIONS)}


def irises(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle (x, y) and radius of the left and the right iris, float64 [2, 3], from [478, 3]."""
    found = []
    for eye in EYES:
        middle, *edge = landmarks[list(eye.iris), :2]
        found.append([*middle, np.linalg.norm(edge - middle, axis=1).mean()])
    return np.array(found)


def whites(
    photo: NDArray[np.uint8], landmarks: NDArray[np.float64], skin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The colour of the white of each eye, float64 [2, 3], sRGB in [0, 1].

    Args:
        photo: uint8 RGB [H, W, 3].
        landmarks: float64 [478, 3], the face mesh on it, irises included.
        skin: float64 [3], the face's colour: an eye that shows no white gets a grey of its light.
    """
    seen = []
    for eye, (x, y, radius) in zip(EYES, irises(landmarks), strict=True):
        shown = np.zeros(photo.shape[:2], np.uint8)
        cv2.fillPoly(shown, [np.rint(landmarks[list(eye.contour), :2]).astype(np.int32)], (1,))
        shown = np.asarray(cv2.erode(shown, np.ones((2, 2))), np.uint8)
        cv2.circle(shown, (round(x), round(y)), round(_CLEAR * radius), (0,), -1)
        colours = photo[shown > 0] / 255
        if len(colours) < _FEW:
            colours = np.full((1, 3), _UNSEEN * (1 + skin.mean()) / 2)
        bluest = colours[colours[:, 2] >= np.quantile(colours[:, 2], _WHITE)]
        seen.append(bluest.mean(0))  # skin and lashes at its edge have less blue
    return np.stack(seen)


def travel(eye: Eye, actions: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far an iris goes: float64 [2], eye widths, to the subject's left and up."""
    ways = [
        actions[_INDEX[name + eye.side]] * np.array([away * eye.outwards, up])
        for name, (away, up) in GAZE.items()
    ]
    return np.asarray(np.sum(ways, 0), np.float64)


def turn_iris(
    eye: Eye,
    hole: NDArray[np.int32],
    actions: NDArray[np.float32],
    source: NDArray[np.float32],
    opening: NDArray[np.bool_],
    iris: NDArray[np.float64],
    white: NDArray[np.float64],
    flow: NDArray[np.float32],
    mask: NDArray[np.float32],
    colour: NDArray[np.float32],
) -> None:
    """Carries an iris along behind the lids, and paints white what else would show it or a lid.

    Args:
        eye: which eye; hole: its triangles, int32 [t, 3].
        actions: float32 [n].
        source: float32 [v, 2], the mesh in the photo, layer pixels.
        opening: bool [S, S], where the moved lids stand open.
        iris: float64 [3], middle and radius in the photo, layer pixels.
        white: float64 [3], its colour, from `whites`.
        flow: float32 [S, S, 2], layer pixels, what the eye does without its gaze; written to.
        mask, colour: float32 [S, S] and [S, S, 3], painted into.
    """
    aside, up = travel(eye, actions)
    across = source[eye.corners[1]] - source[eye.corners[0]]  # towards the subject's left
    upwards = np.array([across[1], -across[0]])
    way = aside * across + up * upwards
    if not opening.any() or not (way.any() or flow[opening].any()):
        return
    soft = max(_SOFT * len(mask), 0.5)
    window, corner = _around(opening, 4 * soft)
    flow, mask, colour = flow[window], mask[window], colour[window]
    middle, radius = iris[:2] - corner, float(iris[2])
    eyeball = _eyeball(hole, source - corner, mask.shape)
    lids = opening[window].astype(np.float32)
    open_ = np.asarray(cv2.GaussianBlur(lids, (0, 0), soft), np.float32)
    here = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in mask.shape[::-1])), -1)
    upwards = upwards / np.linalg.norm(upwards)
    grown = 1 + _GROWTH * float(actions[eye.wide])
    offset = (here - middle - way) / grown
    away = np.linalg.norm(offset, axis=-1)
    height = offset @ upwards
    above, below = (
        _hidden(eyeball, lids, middle, way, side * upwards, radius, grown) for side in (1, -1)
    )
    nearer = np.where(height > 0, above, below) * height
    pull = middle + offset - nearer[..., None] * upwards - here - flow
    furthest = float(np.linalg.norm(pull[away < radius], axis=-1).max(initial=0))
    along = open_ * (1 - smooth((away - radius) / max(_LET_GO * furthest, 1e-3)))
    goes = np.zeros(mask.shape)
    for share in np.linspace(0, 1, _STEPS + 1):
        x, y = np.moveaxis(here + flow + (share * along)[..., None] * pull - 0.5, -1, 0)
        seen = cv2.remap(eyeball, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        goes[seen > 0.5] = share
    flow += (goes * along)[..., None] * pull

    rim = _RIM * radius
    shown = np.linalg.norm(here + flow - middle, axis=-1)
    iris_there = _disc(shown, radius + _RING * rim, rim)
    not_here = 1 - _disc(away, radius, rim)
    bared = open_ * iris_there * not_here * np.clip((away - shown) / rim, 0, 1)
    lay(bared, white, mask, colour)
    dark, reach = _SHADE
    lit = np.asarray(cv2.GaussianBlur(lids, (0, 0), reach * radius), np.float32)
    lay(bared * (1 - lit), dark * white, mask, colour)


def _hidden(
    eyeball: NDArray[np.float32],
    opening: NDArray[np.float32],
    middle: NDArray[np.float64],
    way: NDArray[np.float64],
    towards: NDArray[np.float64],
    radius: float,
    grown: float,
) -> float:
    """The share of an iris, from its middle towards one lid, that shows now and the photo does not."""
    seen = _reach(eyeball, middle, towards, radius)
    shows = _reach(opening, middle + way, towards, grown * radius) / grown
    made_of = max(seen, _LEAST_SEEN * radius)
    return 1 - made_of / max(made_of, shows)


def _reach(
    where: NDArray[np.float32],
    start: NDArray[np.float64],
    towards: NDArray[np.float64],
    most: float,
) -> float:
    """How far a map is 1 along a line, up to so many pixels."""
    steps = np.linspace(0, most, 4 * int(most) + 5)
    x, y = (start[:, None] + towards[:, None] * steps - 0.5).astype(np.float32)
    along = cv2.remap(where, x[None], y[None], cv2.INTER_LINEAR)[0]
    return float(steps[along > 0.5].max(initial=0))


def _around(
    opening: NDArray[np.bool_], margin: float
) -> tuple[tuple[slice, slice], tuple[int, int]]:
    """The part of a layer that an opening lies in, and its corner (x, y)."""
    rows, columns = (np.flatnonzero(opening.any(axis)) for axis in (1, 0))
    top, left = (max(0, int(found[0] - margin)) for found in (rows, columns))
    bottom, right = (int(found[-1] + margin) + 1 for found in (rows, columns))
    return np.s_[top:bottom, left:right], (left, top)


def _eyeball(
    hole: NDArray[np.int32], source: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Where the photo shows the eye, 1 there: float32 [h, w]."""
    flat = np.column_stack([source, np.zeros(len(source))]).astype(np.float32)
    rows, columns = shape
    return drawn(flat, hole, flat[:, :1], max(shape), turned=True)[1][:rows, :columns].astype(
        np.float32
    )


def _disc(away: NDArray[np.float64], radius: float, soft: float) -> NDArray[np.float64]:
    """1 inside a radius, 0 outside, half at its edge, as soft as that."""
    return np.clip(0.5 + (radius - away) / (2 * max(soft, 0.5)), 0, 1)
