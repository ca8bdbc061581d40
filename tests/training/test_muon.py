from __future__ import annotations

import pytest
import torch

from training.muon import Muon, orthogonal
from training.ranks import Ranks


@pytest.mark.parametrize("shape", [(1, 6, 40), (1, 40, 6), (5, 12, 12)])
def test_an_orthogonal_matrix_has_singular_values_about_one_and_the_same_directions(shape):
    torch.manual_seed(1)
    matrices = torch.randn(shape) * torch.tensor([1e-4, 1, 1e3, 10, 1])[: shape[0], None, None]
    made = orthogonal(matrices)
    values = torch.linalg.svdvals(made)
    assert made.shape == shape
    assert values.min() > 0.5
    assert values.max() < 1.3
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    along = (left.mT @ made @ right.mT).diagonal(dim1=1, dim2=2)
    assert along.min() > 0.5


def test_nothing_asked_for_moves_nothing():
    assert torch.equal(orthogonal(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


def test_a_rare_direction_goes_as_far_as_a_common_one():
    torch.manual_seed(2)
    left, _, right = torch.linalg.svd(torch.randn(8, 27), full_matrices=False)
    common, rare = (torch.outer(left[:, i], right[i]) for i in (0, 1))
    weight = torch.nn.Parameter(torch.zeros(8, 3, 3, 3))
    optimiser = Muon([weight], 0.1, 0.9)
    weight.grad = (100 * common + common.new_tensor(3) * rare).reshape(weight.shape)
    optimiser.step()
    moved = -weight.detach().flatten(1)
    assert 0.5 < (moved * rare).sum() / (moved * common).sum() < 2


def test_a_step_is_as_long_as_one_of_adam():
    torch.manual_seed(3)
    weight = torch.nn.Parameter(torch.zeros(16, 4, 3, 3))
    optimiser = Muon([weight], 0.01, 0.9)
    for _ in range(3):
        before = weight.detach().clone()
        weight.grad = torch.randn_like(weight)
        optimiser.step()
        step = (weight.detach() - before).square().mean().sqrt()
        assert 0.1 < step / 0.01 < 0.3


def test_matrices_of_their_own_do_not_meet():
    torch.manual_seed(5)
    gradients = torch.randn(3, 4, 6)
    together = torch.nn.Parameter(torch.zeros(3, 4, 6))
    together.grad = gradients
    Muon([together], 0.1, 0.9).step()
    for number, gradient in enumerate(gradients):
        alone = torch.nn.Parameter(torch.zeros(1, 4, 6))
        alone.grad = gradient[None]
        Muon([alone], 0.1, 0.9).step()
        torch.testing.assert_close(alone[0], together[number])


def test_each_of_several_matrices_has_its_pace():
    torch.manual_seed(6)
    gradients = torch.randn(3, 4, 6)
    plain, paced, single = (torch.nn.Parameter(torch.zeros(shape)) for shape in (
        (3, 4, 6), (3, 4, 6), (4, 6),
    ))  # fmt: skip
    pace = torch.tensor([1.0, 10.0, 1.0])
    for weights, told in (([plain], None), ([paced, single], pace)):
        for weight in weights:
            weight.grad = gradients[: len(weight)] if weight.dim() == 3 else gradients[0]
        Muon(weights, 0.1, 0.9, told).step()
    torch.testing.assert_close(paced, pace[:, None, None] * plain)
    torch.testing.assert_close(single, plain[0], msg="one matrix has none")


def test_ranks_turn_a_share_each_and_move_as_one_alone_would():
    torch.manual_seed(7)
    shapes = (3, 4, 6), (5, 2, 3, 3), (2, 6, 4), (4, 8)
    gradients = [torch.randn(shape) for shape in shapes]
    shares: list[list[torch.Tensor]] = []

    class Share(Ranks):
        def average(self, tensors):
            shares.append([tensor.clone() for tensor in tensors])

    def moved(ranks):
        weights = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        Muon(weights, 0.1, 0.9, ranks=ranks).step()
        return weights

    alone = moved(None)
    each = [moved(Share(rank, 2)) for rank in range(2)]
    for number, weight in enumerate(alone):
        first, second = (share[number].flatten(1).any(1).tolist() for share in shares)
        assert [a != b for a, b in zip(first, second, strict=True)] == [True] * len(first)
        torch.testing.assert_close((each[0][number] + each[1][number]) / 2, weight)
