"""Training losses. Each term is switched by its weight in `LossWeights`, so an ablation is one flag."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.generator import Layers, pixel_centres
from training.teacher.mouth import MOUTH_WINDOW

Batch = dict[str, Tensor]
STILL = 0.1  # px of mean motion at which a frame begins to count in full
MOST = 6.0  # px of it after which errors are forgiven no more: a head that turns does not hide its face
EYES = ((36, 39), (42, 45))  # their corners among iBUG's 68 points
EYE_CARE = 6.0  # how much more an error counts at an eye: small in the square, large to who looks
EYE_REACH = 0.5  # of an eye's width: how far around its centre that goes
MISSED = 2.0  # how much more it counts to paint skin too thinly than too thickly: wrinkles are thin lines
MARGIN = 4  # px that the lips' motion goes on behind the mouth's edge, never quite in place


@dataclass(frozen=True)
class LossWeights:
    """One weight per term; 0 switches it off.

    reconstruction: L1 on the frame (the paper's L_r); flow: error against the teacher's, relative to
    all that moves, up to a point, so that a blink counts as much as a laugh; mask, colour: what the teacher paints;
    place: where its mouth is looked up, in widths and heights of the mouth's picture;
    temporal: R_t (eq. 5) with Δa = 0.1; landmarks: L_k; global_adversarial, local_adversarial: D_g
    on the frame and D_l on the mouth (eq. 3, 4).
    """

    reconstruction: float = 4.0
    flow: float = 3.0
    mask: float = 1.0
    colour: float = 2.0
    place: float = 10.0
    temporal: float = 0.0
    landmarks: float = 0.0
    global_adversarial: float = 0.0
    local_adversarial: float = 0.0


def edge_losses(layers: Layers, frames: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Terms for the edge generator.

    Args:
        layers: the generator's, [N, ·, S, S].
        frames: what they compose to, [N, 3, S, S].
        batch: `flow`, `mask`, `colour`, `face`, `mouth`, `place`, `real` [N, ·, S, S], `has_real`
            [N] and `landmarks` [N, 68, 2], the teacher's.
    """
    size = frames.shape[-1]
    mask, mouth = batch["mask"], batch["mouth"]
    area = mouth.mean((1, 2, 3), keepdim=True) + 0.01
    travel = size * batch["flow"].square().sum(1, keepdim=True).sqrt()
    hidden = 1 - _widened(1 - mouth)
    eyes = _eyes(batch["landmarks"], size)
    care = 1 + EYE_CARE * eyes
    weight = (0.15 + torch.maximum(batch["face"], mouth)) * (1 + travel / 4) * (1 - hidden) * care
    error = size * (layers.flow - batch["flow"]).abs().sum(1, keepdim=True)
    whole = (travel * weight).mean((1, 2, 3)).clamp(max=MOST)
    near = _around((4 * mask).clamp(max=1))
    missed = (mask - layers.mask).clamp(min=0) * (1 - mouth) * (1 - eyes)
    mask_error = ((layers.mask - mask).abs() + MISSED * missed) * (0.05 + near) * care
    colour_error = (layers.colour - batch["colour"]).abs().sum(1, keepdim=True) * mask * care
    left, top, right, bottom = (round(size * share) for share in MOUTH_WINDOW)
    window = (..., slice(top, bottom), slice(left, right))
    place_error = (layers.place - batch["place"][window]).abs().sum(1, keepdim=True) * mouth[window]
    place_share = place_error.mean((1, 2, 3)) * (layers.place[0, 0].numel() / size**2)
    shown = batch["has_real"][:, None, None, None]
    frame_error = (frames - batch["real"]).abs().sum(1, keepdim=True)
    # a photograph counts less, nothing at the mouth, at the eyes no more than elsewhere: they look about
    trust = (1 - 0.7 * shown) * (1 - shown * _around(mouth)) * (shown + (1 - shown) * care)
    frame_weight = (0.1 + batch["face"] + 2 * near) * trust
    return {
        "flow": ((error * weight).mean((1, 2, 3)) / (whole + STILL)).mean(),
        "mask": (mask_error / area).mean(),
        "colour": (colour_error / area).mean(),
        "place": (place_share / area.flatten()).mean(),
        "reconstruction": (frame_error * frame_weight).mean(),
    }


def _widened(where: Tensor) -> Tensor:
    """A map [N, 1, S, S] in [0, 1] that reaches `MARGIN` further to every side."""
    side = 2 * MARGIN + 1
    across = F.max_pool2d(where, (1, side), 1, (0, MARGIN))
    return F.max_pool2d(across, (side, 1), 1, (MARGIN, 0))


def _around(where: Tensor) -> Tensor:
    """A map [N, 1, S, S] spread to its surroundings."""
    return F.interpolate(F.max_pool2d(where, 12, 4, 4), where.shape[-2:])


def _eyes(landmarks: Tensor, size: int) -> Tensor:
    """Where the eyes are: [N, 68, 2] in sides of the square → [N, 1, S, S], 1 at their centres."""
    corners = landmarks[:, EYES]  # [N, eye, corner, 2]
    width = (corners[:, :, 0] - corners[:, :, 1]).norm(dim=-1)[..., None, None].clamp(min=1e-3)
    away = (pixel_centres(size, landmarks) - corners.mean(2)[:, :, None, None]).norm(dim=-1)
    return torch.exp(-(away / (EYE_REACH * width)).square()).amax(1, keepdim=True)


def paper_losses(frames: Tensor, points: Tensor, batch: Batch) -> dict[str, Tensor]:
    """L_r and L_k for the paper's generator: frames [N, 3, S, S], landmarks [N, 68, 2].

    L_k is the length of the 136-vector between a frame's landmarks and the true ones, a mean over frames.
    """
    return {
        "reconstruction": (frames - batch["real"]).abs().mean(),
        "landmarks": (points - batch["landmarks"]).flatten(1).norm(dim=1).mean(),
    }


def temporal(frame: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """R_t (eq. 5): how far a frame is from its neighbours at a ± Δa."""
    return (frame - before).abs().mean() + (frame - after).abs().mean()


def total(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The weighted sum (eq. 6) of the terms that are on."""
    used = [getattr(weights, name) * term for name, term in terms.items() if getattr(weights, name)]
    return torch.stack(used).sum()
