"""The inside of a mouth: one drawn picture of teeth, gums and tongue, and the surface it hangs on.

The picture's columns follow the dental arch, its rows run from the upper gums down to the lower
ones. A mouth shows it through a smooth map, so a small network can place every tooth sharply: it
learns where in the picture to look, not what teeth look like. Lengths are centimetres, as in
`training.teacher.head`; tooth widths and heights are the usual means of adult teeth.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.teacher.raster import smooth

# Where in the square a mouth can be: left, top, right, bottom. Within, light falls on its picture.
MOUTH_WINDOW = (0.1875, 0.4375, 0.8125, 0.875)
HEIGHT, WIDTH = 96, 192  # of the picture, in pixels
_FINEST = 4  # times as many pixels a side has the picture in full detail
_POINTS = 4  # a side of each of its pixels, drawn and averaged
_STRIP = 8  # of its rows, drawn at once

_UPPER = (0.85, 0.66, 0.77, 0.70, 0.68, 1.0)  # tooth widths from the middle outwards
_LOWER = (0.53, 0.58, 0.68, 0.70, 0.71, 1.05)
_UPPER_TIPS = (0.0, 0.06, 0.01, 0.05, 0.08, 0.1)  # how far each tooth ends short of the first
_ARCH = (2.75, 3.6)  # half the width and the depth of the arch's ellipse
_COLUMNS = 25

# Rows of the surface: v in the picture, height over the meeting line of the teeth, set back, on the jaw.
_ROWS = (
    (0.00, 1.65, 0.0, False),
    (0.22, 0.90, 0.0, False),
    (0.48, 0.00, 0.0, False),
    (0.60, 0.65, 1.5, True),
    (0.73, -0.02, 0.35, True),
    (0.90, -0.80, 0.25, True),
    (1.00, -1.30, 0.2, True),
)
_UPPER_GUM, _UPPER_EDGE, _LOWER_EDGE, _LOWER_GUM = 0.12, 0.48, 0.73, 0.90

_POINTED = (0.02, 0.04, 0.10, 0.08, 0.05, 0.03)  # how far a tooth's corners end short of its middle
_CONTACT = 0.42  # of a tooth's length from the gum, from where it touches the next
_NECK, _CORNER = 0.12, 0.5  # of its half width, by which its neck and its edge are narrower

# Of the first, the second, and of those from the canine on.
_ENAMEL = np.array(((0.96, 0.94, 0.89), (0.945, 0.92, 0.865), (0.925, 0.89, 0.825)))
_CLEAR = np.array((0.86, 0.87, 0.86))  # at the edge, where there is enamel alone
_GUM = np.array((0.69, 0.42, 0.41))
_DARK = np.array((0.17, 0.06, 0.06))
_TONGUE = np.array((0.70, 0.40, 0.39))

_LONG = 10.0  # of the picture's height, were all of it as long for its rows as the tongue is: cm
_GROOVE = (0.22, 0.16)  # down the tongue's middle: how much darker, and half how wide, cm
_FLANK = (0.05, 0.55)  # either side of it: how much lighter, and how far away and wide, cm
_BUDS = ((0.027, 0.09), (0.036, 0.25))  # how far light varies, and over how long, cm
_WET = (0.16, 0.35)  # where it shines: how bright, and how long such a place is, cm
_SHINES = (0.57, 0.72)  # rows of it that do: v


class Card(NamedTuple):
    """A surface behind the lips.

    points: float64 [v, 3], the front teeth's meeting line at the origin; jaw: bool [v], whether a
    point moves with the jaw; uv: float32 [v, 2] in [0, 1], where the picture lies on it; triangles:
    int32 [t, 3].
    """

    points: NDArray[np.float64]
    jaw: NDArray[np.bool_]
    uv: NDArray[np.float32]
    triangles: NDArray[np.int32]


def make_card() -> Card:
    """The surface that carries the picture, curved like a dental arch."""
    along = np.linspace(-1, 1, _COLUMNS)
    x, z = _arch(along * sum(_UPPER))
    points, jaw, uv = [], [], []
    for v, height, back, moves in _ROWS:
        points.append(np.column_stack([x, np.full_like(x, height), z - back]))
        jaw.append(np.full(_COLUMNS, moves))
        uv.append(np.column_stack([(along + 1) / 2, np.full(_COLUMNS, v)]))
    first = np.arange(len(_ROWS) - 1)[:, None] * _COLUMNS + np.arange(_COLUMNS - 1)
    a, b = first.ravel(), first.ravel() + 1
    c, d = a + _COLUMNS, b + _COLUMNS
    triangles = np.concatenate([np.column_stack([a, c, b]), np.column_stack([b, c, d])])
    return Card(
        np.concatenate(points),
        np.concatenate(jaw),
        np.concatenate(uv).astype(np.float32),
        triangles.astype(np.int32),
    )


def draw_picture(scale: int = 1) -> NDArray[np.float32]:
    """Teeth, gums and tongue in even light: float32 [3, 96 · scale, 192 · scale], sRGB in [0, 1].

    `scale` is 1, 2 or 4. Every scale is the means of the same drawing, so that a picture shipped in
    full detail and reduced is the one that a network was trained with.
    """
    each = _FINEST // scale
    whole = _drawing().reshape(HEIGHT * scale, each, WIDTH * scale, each, 3)
    return np.ascontiguousarray(whole.mean((1, 3)).transpose(2, 0, 1), np.float32)


@cache
def _drawing() -> NDArray[np.float64]:
    """The picture in full detail: float64 [384, 768, 3], each pixel the mean of 4×4 points."""
    rows = np.arange(HEIGHT * _FINEST)
    return np.concatenate([_draw_rows(part) for part in np.split(rows, len(rows) // _STRIP)])


def _draw_rows(rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Some rows of the drawing, as many that their points fit into a cache."""
    fine = _POINTS * _FINEST
    first, last = _POINTS * rows[0], _POINTS * (rows[-1] + 1)
    v, u = np.mgrid[first:last, 0 : WIDTH * fine] + 0.5
    v, u = v / (HEIGHT * fine), u / (WIDTH * fine)
    arc = (2 * u - 1) * sum(_UPPER)
    picture = np.empty((*v.shape, 3))
    picture[:] = _DARK
    deep = np.clip((v - 0.54) / 0.15, 0, 1)[..., None] * (1 - np.abs(2 * u - 1) ** 2.5)[..., None]
    light, gloss = (
        np.repeat(np.repeat(part[rows], _POINTS, 0), _POINTS, 1)[..., None] for part in _tongue()
    )
    picture = (picture + deep * (_TONGUE - picture)) * (1 + deep * (light - 1)) + deep * gloss
    for widths, gum, edge, ends in (
        (_UPPER, _UPPER_GUM, _UPPER_EDGE, _UPPER_TIPS),
        (_LOWER, _LOWER_GUM, _LOWER_EDGE, (0.0,) * 6),
    ):
        _draw_row(picture, arc, v, widths, gum, edge, ends)
    picture *= (1 - 0.8 * np.abs(2 * u - 1) ** 2.2)[..., None]  # the cheeks' shade
    blocks = picture.reshape(len(rows), _POINTS, -1, _POINTS, 3)
    return np.asarray(blocks.mean((1, 3)))


def _draw_row(
    picture: NDArray[np.float64],
    arc: NDArray[np.float64],
    v: NDArray[np.float64],
    widths: tuple[float, ...],
    gum: float,
    edge: float,
    ends: tuple[float, ...],
) -> None:
    """Draws one row of teeth and its gums over the picture, from `gum` to `edge`."""
    away = np.abs(arc)
    bounds = np.concatenate([[0], np.cumsum(widths)])
    tooth = np.clip(np.searchsorted(bounds, away) - 1, 0, len(widths) - 1)
    middle, width = (bounds[:-1] + bounds[1:])[tooth] / 2, np.array(widths)[tooth]
    side = np.abs(away - middle) / (width / 2)  # 0 in a tooth's middle, 1 where it meets the next
    length = (1 - np.array(ends)[tooth]) * (edge - gum)
    up = (v - gum) / length  # 0 at the gum, 1 at the edge
    neck = _NECK * np.clip(1 - up / _CONTACT, 0, 1) ** 1.5
    corner = _CORNER * (1 - np.sqrt(1 - np.clip((up - 0.7) / 0.3, 0, 1) ** 3))
    inside = (
        (side < 1 - neck - corner)
        & (up > 0.02 - 0.12 * (1 - side**2))
        & (up < 1 - np.array(_POINTED)[tooth] * side**1.5)
    )
    gums = ~inside & (up < _CONTACT)
    between = 1 - 0.2 * smooth((side - 0.3) / 0.7) * smooth(up / _CONTACT)
    picture[gums] = (_GUM * between[..., None])[gums]
    light = (1 - 0.08 * side**2) * (1 - 0.14 * np.clip(1 - up / 0.3, 0, 1))
    light *= 1 - 0.14 * smooth((side - 0.75) / 0.25) ** 2  # a tooth's flanks turn away
    enamel = _ENAMEL[np.minimum(tooth, len(_ENAMEL) - 1)]
    enamel = enamel + 0.7 * smooth((up - 0.8) / 0.2)[..., None] * (_CLEAR - enamel)
    picture[inside] = (enamel * light[..., None])[inside]


@cache
def _tongue() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The tongue's surface: how light it is, 1 on the mean, and its gloss, float64 [384, 768] each."""
    random = np.random.default_rng(7)
    v, u = ((np.arange(n * _FINEST) + 0.5) / (n * _FINEST) for n in (HEIGHT, WIDTH))
    arc = (2 * u - 1) * sum(_UPPER)
    groove = np.exp(-((arc / _GROOVE[1]) ** 2))
    flank = np.exp(-(((np.abs(arc) - _FLANK[1]) / _FLANK[1]) ** 2))
    buds = sum((strength * _grain(random, length) for strength, length in _BUDS), np.zeros(1))
    light = 1 - _GROOVE[0] * groove + _FLANK[0] * (flank - flank.mean()) + buds
    wet = np.clip(_grain(random, _WET[1]) + 0.5 * _grain(random, _WET[1] / 3) - 1, 0, 1) * flank**3
    first, last = _SHINES
    wet *= (smooth((v - first) / 0.05) * smooth((last - v) / 0.04))[:, None]
    return light, _WET[0] * wet


def _grain(random: np.random.Generator, length: float) -> NDArray[np.float64]:
    """Smooth noise that varies over so many cm, left as right, of mean 0 and deviation 1: [384, 768]."""
    noise = random.normal(size=[round(side / length) for side in (_LONG, 2 * sum(_UPPER))])
    for pixels in (HEIGHT * _FINEST, WIDTH * _FINEST):
        at = np.linspace(0, len(noise) - 1, pixels)
        first = np.minimum(at.astype(int), len(noise) - 2)
        share = smooth(at - first)[:, None]
        noise = ((1 - share) * noise[first] + share * noise[first + 1]).T
    noise = noise + noise[:, ::-1]
    return np.asarray((noise - noise.mean()) / noise.std())


def _arch(length: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and z (0 at the front, negative behind) at arc lengths from the middle of the arch."""
    angle = np.linspace(0, np.pi / 2, 2000)
    half, depth = _ARCH
    x, z = half * np.sin(angle), depth * (np.cos(angle) - 1)
    run = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(z)))])
    away = np.abs(length)
    across = np.sign(length) * np.interp(away, run, x)
    return np.asarray(across), np.asarray(np.interp(away, run, z))
