"""The paper's two discriminators: D_g for the whole frame, D_l for the mouth (eq. 3 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.generator import pixel_centres
from training.paper import draw_normal

MOUTH = tuple(range(48, 60))  # iBUG's outer lips, whose hull is the mask M
MOUTH_SIZE = 96  # px a side at which D_l sees the mouth
TOLERANCE = 1e-12  # of a point's side of a line, in squared crop coordinates
MOUTH_MARGIN = 1.5  # sides of the square D_l sees, in mouth widths


class Discriminator(nn.Module):
    """Three convolutions: pictures [N, 3, h, w] in [0, 1] → one logit per patch, [N, 1, h/4, w/4].

    Args:
        channels: of the first layer.
        normalise: Conv-BatchNorm-LeakyReLU and normal weights, as in the paper; the first and the
            last layer go without, as in pix2pix.
    """

    def __init__(self, channels: int = 64, normalise: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            *([nn.BatchNorm2d(2 * channels)] if normalise else []),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 1, 3, padding=1),
        )
        if normalise:
            self.apply(draw_normal)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.layers(pictures * 2 - 1)
        return logits


def mouth_mask(landmarks: Tensor, where: Tensor) -> Tensor:
    """M(a): whether places lie in the convex hull of the outer lips, [N, 1, h, w], 1 inside.

    Args:
        landmarks: [N, 68, 2], crop coordinates.
        where: [N, h, w, 2], crop coordinates of the places asked about.

    A line through two points is an edge of their hull when every other point lies on one side of it;
    a place is inside when it lies on that side of every edge.
    """
    points, where = landmarks[:, list(MOUTH)].double(), where.double()
    first, second = torch.combinations(torch.arange(len(MOUTH), device=points.device)).unbind(1)
    start, along = points[:, first], points[:, second] - points[:, first]
    normal = torch.stack([-along[..., 1], along[..., 0]], -1)
    side = torch.einsum("nec,npc->nep", normal, points) - (normal * start).sum(-1, keepdim=True)
    above, below = (side >= -TOLERANCE).all(-1), (side <= TOLERANCE).all(-1)
    toward = torch.where(above, 1.0, torch.where(below, -1.0, 0.0)).to(normal)  # 0: no edge
    normal = normal * toward[..., None]
    least = (normal * start).sum(-1) - TOLERANCE
    inside = torch.ones(where.shape[:3], dtype=torch.bool, device=points.device)
    for edge in range(normal.shape[1]):
        inside &= torch.einsum("nc,nhwc->nhw", normal[:, edge], where) >= least[:, edge, None, None]
    return inside[:, None].to(landmarks.dtype)


def mouth_view(pictures: Tensor, landmarks: Tensor) -> Tensor:
    """The mouth alone, V ∘ M, cut out to [N, 3, 96, 96].

    Args:
        pictures: [N, 3, S, S].
        landmarks: [N, 68, 2], crop coordinates of the mouth that is masked out of them.
    """
    lips = landmarks[:, list(MOUTH)]
    centre = (lips.amax(1) + lips.amin(1)) / 2
    half = MOUTH_MARGIN / 2 * (lips.amax(1) - lips.amin(1)).amax(1)
    grid = 2 * pixel_centres(MOUTH_SIZE, pictures) - 1
    where = centre[:, None, None] + half[:, None, None, None] * grid
    cut = F.grid_sample(pictures, 2 * where - 1, "bilinear", "border", align_corners=False)
    return cut * mouth_mask(landmarks, where)


def discriminator_loss(critic: Discriminator, made: Tensor, true: Tensor) -> Tensor:
    """−log(1 − D(V)) − log D(Y): what the discriminator minimises (eq. 3, 4)."""
    return F.softplus(critic(made.detach())).mean() + F.softplus(-critic(true)).mean()


def generator_loss(critic: Discriminator, made: Tensor) -> Tensor:
    """−log D(V): what the generator minimises (the form of eq. 3 whose gradient does not vanish)."""
    return F.softplus(-critic(made)).mean()
