from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from training.discriminators import (
    MOUTH,
    MOUTH_SIZE,
    Discriminator,
    discriminator_loss,
    generator_loss,
    mouth_mask,
    mouth_view,
)

SIZE = 64


def lips(seed: int) -> torch.Tensor:
    """68 points, those of the outer lips scattered around the middle."""
    random = np.random.default_rng(seed)
    points = random.uniform(0, 1, (1, 68, 2))
    points[:, list(MOUTH)] = random.uniform(0.25, 0.75, (1, len(MOUTH), 2))
    return torch.from_numpy(points.astype(np.float32))


def test_the_mask_is_the_convex_hull_of_the_outer_lips():
    for seed in range(5):
        landmarks = lips(seed)
        axis = (torch.arange(SIZE) + 0.5) / SIZE
        places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)[None]
        mask = mouth_mask(landmarks, places)[0, 0].numpy()
        fine = 16
        hull = cv2.convexHull((landmarks[0, list(MOUTH)].numpy() * SIZE * fine).astype(np.int32))
        drawn = cv2.fillConvexPoly(np.zeros((SIZE * fine, SIZE * fine), np.uint8), hull, 1)
        share = drawn.reshape(SIZE, fine, SIZE, fine).mean((1, 3))
        assert (mask[share > 0.75] == 1).all()
        assert (mask[share < 0.25] == 0).all()


def test_the_mouth_view_shows_the_mouth_and_nothing_else():
    landmarks = lips(0)
    picture = torch.zeros(1, 3, SIZE, SIZE)
    picture[..., :10] = 1.0  # far from the lips
    assert mouth_view(picture, landmarks).abs().max() == 0
    whole = mouth_view(torch.ones(1, 3, SIZE, SIZE), landmarks)
    assert whole.shape == (1, 3, MOUTH_SIZE, MOUTH_SIZE)
    assert 0.1 < whole.mean() < 0.6


def test_a_discriminator_judges_patches():
    assert Discriminator(8)(torch.rand(2, 3, SIZE, SIZE)).shape == (2, 1, 16, 16)


def test_the_papers_discriminator_normalises_its_middle_layer():
    torch.manual_seed(0)
    papers = Discriminator(8, normalise=True)
    kinds = [type(layer).__name__ for layer in papers.layers]
    assert kinds == ["Conv2d", "LeakyReLU", "Conv2d", "BatchNorm2d", "LeakyReLU", "Conv2d"]
    assert papers(torch.rand(2, 3, SIZE, SIZE)).shape == (2, 1, 16, 16)


def test_one_side_gains_what_the_other_loses():
    """Logits are the pictures themselves: above 0 what is taken for true."""
    taken, seen_through = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), -3.0)
    small, large = np.log1p(np.exp((-3.0, 3.0)))

    def critic(pictures: torch.Tensor) -> torch.Tensor:
        return pictures

    assert float(generator_loss(critic, taken)) == pytest.approx(small)
    assert float(generator_loss(critic, seen_through)) == pytest.approx(large)
    assert float(discriminator_loss(critic, seen_through, taken)) == pytest.approx(2 * small)
    assert float(discriminator_loss(critic, taken, seen_through)) == pytest.approx(2 * large)


def test_a_discriminator_does_not_teach_the_generator():
    made, true = torch.zeros(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 1, 2, 2)
    weight = torch.ones(1, requires_grad=True)
    discriminator_loss(lambda pictures: weight * pictures + weight, made, true).backward()
    assert made.grad is None
    assert weight.grad is not None
