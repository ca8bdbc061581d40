"""How far a generator exported as one graph is from the bundle it was made from."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from moue.actions import action_vector, turns
from moue.animator import Animator
from moue.bundle import Bundle
from moue.crop import Face, Square


def largest_difference(graph: str | os.PathLike[str], bundle: Bundle, threads: int = 0) -> int:
    """The largest difference of any frame, in 8-bit levels, over rest, every expression and turn.

    Args:
        graph: an ONNX file made by `graphs.one_graph`.
        bundle: what it was made from.
        threads: for the CPU; 0 takes every core this process may use.
    """
    from moue.runtimes.one_graph import run_one_graph

    photo = _test_picture(bundle.input_size)
    poses = [{}, *bundle.expressions.values(), *turns(bundle.actions)]
    actions = np.stack([action_vector(pose, bundle.actions) for pose in poses])
    expected = frames_of_square(bundle, photo, actions, threads)
    frames = run_one_graph(graph, photo.transpose(2, 0, 1)[None].astype(np.float32) / 255, actions)
    levels = np.rint(frames.transpose(0, 2, 3, 1) * 255) - expected
    return int(np.abs(levels).max())


def frames_of_square(
    bundle: Bundle, photo: NDArray[np.uint8], actions: NDArray[np.float32], threads: int = 0
) -> NDArray[np.uint8]:
    """The animator's frames of a photo that is the face square itself.

    Args:
        bundle: what animates it.
        photo: uint8 RGB [S, S, 3], S the bundle's input size.
        actions: float32 [T, n].
        threads: for the CPU; 0 takes every core this process may use.

    Returns:
        uint8 [T, S, S, 3].
    """
    size = bundle.input_size
    whole = Face(Square(size / 2, size / 2, size, 0.0), np.zeros((478, 3), np.float32), 1.0)
    with Animator(bundle, "cpu", threads=threads) as animator:
        portrait = animator.prepare(photo, whole)
        return np.stack(list(animator.frames(portrait, actions)))


def _test_picture(size: int) -> NDArray[np.uint8]:
    """Smooth waves of colour, uint8 [size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = np.stack([np.sin(9 * x + 4 * y), np.cos(7 * y - 5 * x), np.sin(12 * x * y)], axis=-1)
    return np.asarray(127.5 + 100 * waves, np.uint8)
