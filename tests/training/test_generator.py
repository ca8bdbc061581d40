from __future__ import annotations

import pytest
import torch

from moue import mouth
from moue.kernels import THIN
from moue.mouth import PLACE_STEP
from training.generator import (
    MOUTH_CENTRE,
    MOUTH_SPAN,
    PLACE_UNIT,
    EdgeGenerator,
    Layers,
    Level,
    colour_of,
    compose,
    warp,
)
from training.paper import PaperGenerator

LEVELS = (Level(8, 12, 10, True), Level(16, 8, 8, True), Level(32, 6, 4, False))
SIZE = 64


@pytest.fixture
def generator() -> EdgeGenerator:
    torch.manual_seed(0)
    return EdgeGenerator(5, LEVELS).eval()


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_what_is_nothing_yet_can_become_something(generator, photo):
    layers = generator.layers(photo, torch.full((2, 1, 5), 1e-4))
    assert not layers.mask.any()
    assert not layers.flow.any()
    wanted = (layers.mask - 0.5).square().mean() + (layers.flow - 0.1).square().mean()
    wanted.backward()
    assert all(skip.residual.grad.any() for skip in generator.skips if skip.residual is not None)


@torch.no_grad()
def test_at_rest_the_frame_is_the_photo(generator, photo):
    frames = generator(photo, torch.zeros(2, 3, 5))
    torch.testing.assert_close(frames, photo.repeat_interleave(3, 0), atol=1e-5, rtol=0)


@torch.no_grad()
def test_features_are_linear_in_the_actions(generator, photo):
    """Eq. 7: summing matrices, as training does, equals summing folded feature maps."""
    actions = torch.rand(2, 4, 5)
    maps = generator.trunk(photo)[::-1]
    for skip, trunk in zip(generator.skips, maps, strict=True):
        summed = skip(trunk, actions).unflatten(0, (2, 4))
        for index in range(2):
            base, residual = skip.folded(trunk[index : index + 1])
            expected = base.expand(4, -1, -1, -1)
            if residual is not None:
                expected = expected + torch.einsum("kn,nchw->kchw", actions[index], residual)
            torch.testing.assert_close(summed[index], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_nothing_moves_at_the_border_of_the_square(generator, photo):
    both = torch.ones(2, 1, 5) * torch.tensor([1, -1]).repeat(3)[:5]
    flow = generator.layers(photo, both).flow.abs()
    inner = flow[..., 20:44, 20:44].max()
    for edge in (flow[..., 0, :], flow[..., -1, :], flow[..., 0], flow[..., -1]):
        assert edge.max() < 0.1 * inner
    assert inner > 0


def test_warp_looks_up_the_photo_at_u_plus_flow(photo):
    flow = torch.zeros(2, 2, SIZE, SIZE)
    flow[:, 0] = 3 / SIZE
    torch.testing.assert_close(warp(photo, flow)[..., :-3], photo[..., 3:], atol=1e-5, rtol=0)


def test_the_colour_layer_shows_where_the_mask_does(photo):
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[..., :10, :] = 7.0  # raw masks are clipped
    colour = torch.full((2, 3, SIZE, SIZE), 0.25)
    layers = Layers(torch.zeros(2, 2, SIZE, SIZE), mask, colour, torch.zeros(2, 2, 8, 8))
    frames = compose(photo, layers)
    assert (frames[..., :10, :] == 0.25).all()
    torch.testing.assert_close(frames[..., 10:, :], photo[..., 10:, :], atol=1e-5, rtol=0)


@torch.no_grad()
def test_inside_its_window_the_colour_is_light_on_the_mouths_picture(generator):
    raw = torch.zeros(1, 8, SIZE, SIZE)
    raw[:, 5:] = 0.5  # light of 1
    _, _, light, nodes = generator.shape_outputs(raw)
    full = torch.ones(1, 1, SIZE, SIZE)
    colour, place = generator.paint(light, full, nodes, torch.ones(1))
    left, top, right, bottom = generator.mouth_window
    assert place.shape == (1, 2, bottom - top, right - left)
    outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert (colour[..., outside] == 1).all()
    picture = generator.picture
    u, v = place[0, :, 8, 15]
    row, column = int(v * picture.shape[2]), int(u * picture.shape[3])
    torch.testing.assert_close(
        colour[0, :, top + 8, left + 15], picture[0, :, row, column], atol=0.15, rtol=0
    )
    half = generator.paint(light, 1.5 * THIN * full, nodes, torch.ones(1))[0]
    torch.testing.assert_close(half, (1 + colour) / 2)
    assert (generator.paint(light, THIN * full, nodes, torch.ones(1))[0] == 1).all()


@torch.no_grad()
def test_places_are_said_at_nodes_and_straight_in_between(generator):
    raw = torch.randn(2, 8, SIZE, SIZE)
    _, _, light, nodes = generator.shape_outputs(raw)
    left, top, right, bottom = generator.mouth_window
    step = PLACE_STEP
    assert nodes.shape == (2, 2, (bottom - top) // step, (right - left) // step)
    away = (nodes - generator.place) / PLACE_UNIT
    block = raw[:, 3:5, top + step : top + 2 * step, left : left + step]
    torch.testing.assert_close(away[:, :, 1, 0], block.mean((2, 3)))
    place = generator.paint(light, torch.ones(2, 1, SIZE, SIZE), nodes, torch.ones(2))[1]
    rows = (
        0.875 * nodes[:, :, 1] + 0.125 * nodes[:, :, 2]
    )  # half a pixel below the middle of a block
    between = 0.875 * rows[:, :, 0] + 0.125 * rows[:, :, 1]
    torch.testing.assert_close(place[:, :, step + 2, 2], between)
    torch.testing.assert_close(place[:, :, 0, -1], nodes[:, :, 0, -1])  # edges are repeated


@torch.no_grad()
def test_grey_photos_are_painted_in_grey(generator):
    photos = torch.rand(2, 3, SIZE, SIZE)
    photos[0] = photos[0].mean(0)
    photos[1, 0] += 0.5
    shares = colour_of(photos)
    assert shares.tolist() == [mouth.colour_of(photo.numpy()) for photo in photos] == [0, 1]
    _, _, light, nodes = generator.shape_outputs(torch.randn(2, 8, SIZE, SIZE))
    mask = torch.rand(2, 1, SIZE, SIZE)
    paint = generator.paint(light, mask, nodes, shares)[0]
    vivid = generator.paint(light, mask, nodes, torch.ones(2))[0]
    assert paint[0].std(0).max() < 1e-6
    luma = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(paint[0, 0], torch.tensordot(luma, vivid[0], 1))
    torch.testing.assert_close(paint[1], vivid[1])
    half = generator.paint(light, mask, nodes, torch.full((2,), 0.5))[0]
    torch.testing.assert_close(half[0], (paint[0] + vivid[0]) / 2)


@torch.no_grad()
def test_at_first_a_mouth_is_looked_up_where_it_lies(generator):
    raw = torch.zeros(1, 8, SIZE, SIZE)
    _, _, light, nodes = generator.shape_outputs(raw)
    full = torch.ones(1, 1, SIZE, SIZE)
    place = generator.paint(light, full, nodes, torch.ones(1))[1]
    place = place[..., 2:-2, 2:-2]  # within the outermost nodes
    left, top, right, bottom = generator.mouth_window
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    x, y = axis[left + 2 : right - 2], axis[top + 2 : bottom - 2]
    u, v = (
        0.5 + (at - to) / by for at, to, by in zip((x, y), MOUTH_CENTRE, MOUTH_SPAN, strict=True)
    )
    torch.testing.assert_close(place[0, 0], u.expand(len(v), -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(place[0, 1], v[:, None].expand(-1, len(u)), atol=1e-5, rtol=0)


def test_every_weight_of_the_edge_generator_learns(generator, photo):
    generator.train()
    layers = generator.layers(photo, torch.rand(2, 2, 5))
    sum(layer.square().mean() for layer in layers).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in generator.parameters())


def test_the_paper_generator_is_the_papers():
    generator = PaperGenerator(3, channels=4)
    photo = torch.rand(2, 3, 256, 256)
    features = generator.features(photo, torch.rand(2, 2, 3))
    assert [f.shape[-1] for f in features] == [128, 64, 32, 16, 8, 4, 2, 1]
    frames, points = generator.decode(features)
    assert frames.shape == (4, 3, 256, 256)
    assert points.shape == (4, 68, 2)
    assert 0 <= points.min() <= points.max() <= 1
    assert frames.min() >= 0
    assert frames.max() <= 1


@torch.no_grad()
def test_the_papers_landmarks_are_read_off_the_decoder_not_the_photo():
    torch.manual_seed(0)
    generator = PaperGenerator(1, channels=4).eval()
    features = generator.features(torch.rand(1, 3, 256, 256), torch.ones(1, 1, 1))
    frame, points = generator.decode(features)
    other, same = generator.decode([features[0] + 1, *features[1:]])
    assert not torch.equal(frame, other)
    torch.testing.assert_close(points, same)


def test_the_papers_weights_are_normal_to_begin_with():
    torch.manual_seed(0)
    for name, value in PaperGenerator(2, channels=8).named_parameters():
        if value.dim() == 4:
            assert float(value.detach().std()) == pytest.approx(0.02, rel=0.25), name
        elif name.endswith("weight"):
            assert float(value.detach().mean()) == pytest.approx(1, abs=0.03), name
        else:
            assert not value.detach().any(), name
