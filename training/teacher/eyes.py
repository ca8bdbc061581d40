"""Eyes: lids that unroll their skin until the lashes meet, before eyeballs that stay.

What an unrolled lid shows was a fold in the shade when the photo was taken, so it is also painted,
half through, in the colour of the skin around the eye. So is a dark socket as its brow goes up: that
lets the light in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from moue.actions import ACTIONS
from training.teacher.head import EYE_LEFT, EYE_RIGHT, UNDER_BROW_LEFT, UNDER_BROW_RIGHT
from training.teacher.raster import drawn

# Powers by which the skin of a closing lid goes along the less, the nearer it is to the brow: that
# above the lashes nearly all the way, that above the fold hardly, or it would draw the brow down.
LASHES, FOLD = 0.4, 2.0
OVERLAP = 0.35  # of the lid opening: closed lashes lie a little below the open eye's lower lid
LOWERED = 0.5  # of the lids' way under a lowered gaze: eyes turn down a little as they close
RIM = 0.4  # of the lid opening: a closing lid takes its edge from beyond the eye's own rim
SHUT = 0.9  # eyeBlink above which what is left between the lids is skin, not eye
MEETING = 0.6  # eyeBlink from which lashes begin to draw one dark line
LASH_WIDTH = 0.045  # spread of that line, in eye widths
LASH_COVER = 0.8  # the most that it covers
LASH_COLOUR = 0.17  # of the skin's own
LID_COVER = 0.5  # the most that a closed lid's paint covers
LID_HEIGHT = 0.7  # of the way from the lashes to the skin below the brow, as far up as it reaches
LIT = 0.7  # of what is seen around an eye, so much is darker than a lid: brows and their shade
LID_SHADE = 0.94  # of the colour around the eye
LID_EDGE = 0.07  # over which that paint ends, in eye widths
DARK = 0.25  # of what is seen of a socket, so much is darker than what tells how dark it is
SOCKET_COVER = 0.9  # what paint covers of a socket without light, when its brow is all the way up
SOCKET_MOST = 0.6  # darkness beyond which more makes no difference
SOCKET_EDGE = 0.1  # over which that paint ends, in eye widths
_INDEX = {name: index for index, name in enumerate(ACTIONS)}


class Eye(NamedTuple):
    """One eye on the face mesh.

    side: as action names end; outwards: 1 where away from the nose is the subject's left; corners:
    subject's right, then left; lids: (upper, lower) vertices that meet when it closes; folds: the
    skin over each pair, (above the lashes, below the brow, brow); around: where a lid's colour is seen;
    contour: all round the eye; iris: its middle, then its edge.
    """

    side: str
    outwards: int
    corners: tuple[int, int]
    lids: tuple[tuple[int, int], ...]
    folds: tuple[tuple[int, int, int], ...]
    around: tuple[int, ...]
    contour: tuple[int, ...]
    iris: tuple[int, ...]

    @property
    def blink(self) -> int:
        """The number of this eye's `eyeBlink` among the actions."""
        return _INDEX[f"eyeBlink{self.side}"]

    @property
    def wide(self) -> int:
        """The number of this eye's `eyeWide`."""
        return _INDEX[f"eyeWide{self.side}"]

    @property
    def raised(self) -> list[int]:
        """The numbers of what raises this eye's brow."""
        return [_INDEX["browInnerUp"], _INDEX[f"browOuterUp{self.side}"]]

    @property
    def down(self) -> int:
        """The number of this eye's `eyeLookDown` among the actions."""
        return _INDEX[f"eyeLookDown{self.side}"]


EYES = (
    Eye(
        "Left",
        1,
        (362, 263),
        ((466, 249), (388, 390), (387, 373), (386, 374), (385, 380), (384, 381), (398, 382)),
        UNDER_BROW_LEFT,
        (444, 443, 442, 450, 449, 451),
        EYE_LEFT,
        (473, 474, 475, 476, 477),
    ),
    Eye(
        "Right",
        -1,
        (33, 133),
        ((246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155)),
        UNDER_BROW_RIGHT,
        (224, 223, 222, 230, 229, 231),
        EYE_RIGHT,
        (468, 469, 470, 471, 472),
    ),
)


def way_shut(points: NDArray[np.float64], eye: Eye) -> NDArray[np.float64]:
    """float64 [468, 3]: the way to this photo's own closed eye.

    The upper lid's edge travels to the lower one's; the skin between it and its fold is let out, and
    little of that between the fold and the brow.
    """
    way = np.zeros_like(points)
    for (upper, lower), (lash, fold, brow) in zip(eye.lids, eye.folds, strict=True):
        meet = points[lower] - points[upper]
        way[upper] = (1 + OVERLAP) * meet
        way[lower] = OVERLAP * meet
        height, *above = (
            float(np.linalg.norm((points[vertex] - points[upper])[:2]))
            for vertex in (brow, lash, fold)
        )
        for vertex, share, power in zip((lash, fold), above, (LASHES, FOLD), strict=True):
            way[vertex] = max(0.0, 1 - share / max(height, 1e-6)) ** power * way[upper]
    return way


def beyond_rims(points: NDArray[np.float64], actions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where in the photo a moved mesh takes its skin from: closing lids not from the eye's rim."""
    seen = points.copy()
    for eye in EYES:
        for upper, lower in eye.lids:
            rim = actions[eye.blink] * RIM * (points[lower] - points[upper])
            seen[upper] -= rim
            seen[lower] += rim
    return seen


def fill_opening(
    eye: Eye,
    hole: NDArray[np.int32],
    actions: NDArray[np.float32],
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    skin: NDArray[np.bool_],
    flow: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Writes the flow inside an eye's opening: still where lids close, stretched where they widen.

    Args:
        eye: which eye; hole: its triangles, int32 [t, 3].
        actions: float32 [n].
        source, target: float32 [v, 2] and [v, 3], layer pixels, before and after.
        skin: bool [S, S], where the moved skin lies.
        flow: float32 [S, S, 2], layer pixels, written to.

    Returns:
        bool [S, S], where the eye shows.
    """
    place, covered = drawn(target, hole, source, len(skin))
    inside = covered & ~skin
    if not inside.any():
        return inside
    rows, columns = np.nonzero(inside)
    if actions[eye.blink] > SHUT:
        for row, column in zip(rows, columns, strict=True):  # top down
            flow[row, column] = flow[max(row - 1, 0), column]
        return np.zeros_like(inside)
    upper, lower = (list(column) for column in zip(*eye.lids, strict=True))
    was = np.linalg.norm(source[lower] - source[upper], axis=1).sum()
    now = np.linalg.norm((target[lower] - target[upper])[:, :2], axis=1).sum()
    here = np.column_stack([columns, rows]).astype(np.float32) + 0.5
    stretch = place[inside] - here if now > was else np.zeros_like(here)
    flow[inside] = stretch
    return inside


def colours_at(
    photo: NDArray[np.uint8], points: NDArray[np.float64], vertices: Sequence[int]
) -> NDArray[np.uint8]:
    """What a photo [H, W, 3] shows at some of a face mesh's vertices [v, ≥ 2]: uint8 RGB [k, 3].

    Where they lie outside the photo it is the nearest pixel's.
    """
    last = np.array(photo.shape[1::-1])[:, None] - 1
    x, y = np.clip(points[list(vertices), :2].T, 0, last).astype(int)
    return photo[y, x]


def lid_colours(photo: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour of each eye's lid, float64 [2, 3], sRGB in [0, 1], from the skin above and below it.

    Args:
        photo: uint8 RGB [H, W, 3].
        points: float64 [468, 3], the face mesh on it.
    """
    seen = [np.quantile(colours_at(photo, points, eye.around), LIT, 0) for eye in EYES]
    return LID_SHADE * np.stack(seen) / 255


def socket_darkness(
    photo: NDArray[np.uint8], points: NDArray[np.float64], lids: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much darker than its lid's colour the socket of each eye is, float64 [2] in [0, SOCKET_MOST].

    Args:
        photo: uint8 RGB [H, W, 3].
        points: float64 [468, 3], the face mesh on it.
        lids: float64 [2, 3], from `lid_colours`.
    """
    dark = []
    for eye, tone in zip(EYES, lids, strict=True):
        lashes, under, _ = zip(*eye.folds, strict=True)
        seen = colours_at(photo, points, lashes + under)
        light = np.quantile(seen.mean(1), DARK) / 255
        dark.append(np.clip(1 - light / max(float(tone.mean()), 1e-3), 0, SOCKET_MOST))
    return np.array(dark)


def draw_sockets(
    actions: NDArray[np.float32],
    lids: NDArray[np.float64],
    dark: NDArray[np.float64],
    target: NDArray[np.float32],
    mask: NDArray[np.float32],
    colour: NDArray[np.float32],
) -> None:
    """Lightens dark sockets as brows go up, by the colour of their lids.

    Args:
        actions: float32 [n].
        lids: float64 [2, 3], their colours, from `lid_colours`.
        dark: float64 [2], from `socket_darkness`.
        target: float32 [v, 3], the moved mesh in layer pixels.
        mask, colour: float32 [S, S] and [S, S, 3], painted into.
    """
    for eye, tone, depth in zip(EYES, lids, dark, strict=True):
        cover = SOCKET_COVER * depth * float(actions[eye.raised].max())
        if cover > 0:
            lashes, under, _ = (list(column) for column in zip(*eye.folds, strict=True))
            socket = _between(target[lashes, :2], target[under, :2], SOCKET_EDGE, mask)
            lay(cover * socket, tone, mask, colour)


def draw_lids(
    actions: NDArray[np.float32],
    lids: NDArray[np.float64],
    skin: NDArray[np.float64],
    target: NDArray[np.float32],
    mask: NDArray[np.float32],
    colour: NDArray[np.float32],
) -> None:
    """Paints lids as they close, and where they have met the dark line that lashes make.

    Args:
        actions: float32 [n].
        lids: float64 [2, 3], their colours, from `lid_colours`.
        skin: float64 [3], the face's colour, sRGB in [0, 1].
        target: float32 [v, 3], the moved mesh in layer pixels.
        mask, colour: float32 [S, S] and [S, S, 3], painted into.
    """
    for eye, tone in zip(EYES, lids, strict=True):
        shut = float(actions[eye.blink])
        if shut <= 0:
            continue
        edge, fold = (
            target[vertices, :2]
            for vertices in ([upper for upper, _ in eye.lids], [under for _, under, _ in eye.folds])
        )
        width = float(np.linalg.norm(edge[-1] - edge[0]))
        lid = _between(edge, edge + LID_HEIGHT * (fold - edge), LID_EDGE, mask)
        lay(LID_COVER * shut**2 * lid, tone, mask, colour)
        if shut > MEETING:
            met = (shut - MEETING) / (1 - MEETING)
            lay(LASH_COVER * met * _line(edge, width, mask), LASH_COLOUR * skin, mask, colour)


def _between(
    lower: NDArray[np.float32], upper: NDArray[np.float32], soft: float, layer: NDArray[np.float32]
) -> NDArray[np.float32]:
    """1 between two lines along an eye, float32 [S, S] like the layer; `soft` in widths of the lower."""
    area = np.zeros(layer.shape, np.float32)
    outline = np.concatenate([lower, upper[::-1]])
    cv2.fillPoly(area, [_sixteenths(outline)], (1.0,), cv2.LINE_AA, 4)
    spread = max(soft * float(np.linalg.norm(lower[-1] - lower[0])), 0.6)
    return np.asarray(cv2.GaussianBlur(area, (0, 0), spread), np.float32)


def _line(
    edge: NDArray[np.float32], width: float, layer: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A soft line along an eye's edge, up to 1, float32 [S, S] like the layer."""
    line = np.zeros(layer.shape, np.uint8)
    cv2.polylines(line, [_sixteenths(edge)], False, (255,), 1, cv2.LINE_AA, 4)
    spread = max(LASH_WIDTH * width, 0.6)
    soft = np.asarray(cv2.GaussianBlur(line.astype(np.float32), (0, 0), spread), np.float32)
    return np.asarray(soft / max(float(soft.max()), 1e-6), np.float32)


def _sixteenths(points: NDArray[np.float32]) -> NDArray[np.int32]:
    """Layer pixels as OpenCV draws between them."""
    return np.rint(16 * (points - 0.5)).astype(np.int32)


def lay(
    cover: NDArray[np.float32],
    tone: NDArray[np.float64],
    mask: NDArray[np.float32],
    colour: NDArray[np.float32],
) -> None:
    """Paints one colour over what the layer holds already, where it covers anything to speak of."""
    laid = cover > 0.02
    over, under = cover[laid], mask[laid]
    both = over + (1 - over) * under
    share = (over / both)[:, None]
    colour[laid] += share * (tone - colour[laid])
    mask[laid] = both
