"""A bundle's weights can be trained further: the way back from what export wrote."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.bundle import write_bundle
from moue.actions import ACTIONS
from moue.bundle import MANIFEST, load_bundle
from moue.errors import BundleError
from training import train
from training.checkpoint import CheckpointError
from training.config import TrainConfig
from training.data.stream import Samples
from training.generator import EdgeGenerator, Level
from training.losses import LossWeights
from training.revive import PHOTOS, revive
from training.train import Trainer

GREY = np.full((64, 64, 3), 128, np.uint8)
LEVELS = (Level(8, 8, 8, True, rank=4), Level(16, 8, 6, True), Level(32, 6, 4, False))


def photos(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@dataclass
class Noise:
    """A sample that is a photo and no more."""

    photo: NDArray[np.float32]


class Noises:
    """A source of them."""

    def sample(self, random: np.random.Generator) -> Noise:
        return Noise(random.random((3, 64, 64), np.float32) * random.uniform(0.5, 1))


SAMPLES = Samples([(1.0, Noises())], 0)


def made_small(actions: int) -> EdgeGenerator:
    """A generator whose mouth's picture is as small as its input."""
    generator = EdgeGenerator(actions, LEVELS)
    generator.picture = torch.nn.functional.avg_pool2d(generator.picture, 256 // 64)
    return generator


@pytest.fixture(scope="module")
def trained() -> EdgeGenerator:
    """Not trained at all, but with normalisation statistics and outputs of some size."""
    torch.manual_seed(0)
    generator = made_small(len(ACTIONS))
    with torch.no_grad():
        for k in range(40):
            generator.train().trunk(photos(8, k) * (0.5 + k / 80))
        generator.decoder.up[-1].weight *= 10
    return generator.eval()


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small"
    state = {"actions": list(ACTIONS), "step": 5, "config": {"preset": "edge"}}
    write_bundle(trained, state, folder, "0.0.1", GREY)
    return folder


@torch.no_grad()
def test_a_revived_generator_does_what_the_bundles_did(trained, written):
    other = EdgeGenerator(len(ACTIONS), LEVELS)
    revive(other, written, SAMPLES)
    actions = 2 * torch.rand(4, 2, len(ACTIONS)) - 1
    wanted = trained.layers(photos(4, 1), actions)
    found = other.eval().layers(photos(4, 1), actions)
    moved = 64 * wanted.flow.abs().max()
    assert moved > 1, "there is something to tell apart"
    assert 64 * (found.flow - wanted.flow).abs().max() < 0.01 * moved
    for name in ("mask", "place"):
        one, another = getattr(wanted, name), getattr(found, name)
        assert (one - another).abs().max() < 0.01 * one.abs().max(), name


@torch.no_grad()
def test_actions_that_weights_do_not_know_do_nothing_yet(trained, tmp_path, monkeypatch):
    """Of a bundle, and of a checkpoint, made when there were fewer."""
    monkeypatch.setattr(train, "make_generator", lambda _: EdgeGenerator(len(ACTIONS), LEVELS))
    kept = [k for k, name in enumerate(ACTIONS) if name not in ("headYaw", "cheekPuff")]
    fewer = made_small(len(kept)).eval()
    weights = trained.state_dict()
    fewer.load_state_dict({k: v[kept] if "residual" in k else v for k, v in weights.items()})
    names = [ACTIONS[k] for k in kept]
    state = {"actions": names, "step": 5, "config": {"preset": "edge"}}
    write_bundle(fewer, state, tmp_path / "fewer", "0.0.1", GREY)
    torch.save({**state, "average": fewer.state_dict()}, tmp_path / "fewer.pt")
    actions = 2 * torch.rand(4, 2, len(ACTIONS)) - 1
    wanted = fewer.layers(photos(4, 1), actions[..., kept])
    for path in (tmp_path / "fewer", tmp_path / "fewer.pt"):
        run = Trainer(TrainConfig(), LossWeights(), tmp_path, torch.device("cpu"))
        run.start_from(path, SAMPLES)
        found = run.model.eval().layers(photos(4, 1), actions)
        assert (found.flow - wanted.flow).abs().max() < 0.01 * wanted.flow.abs().max()
        quick = [name for name, pace in zip(ACTIONS, run.pace, strict=True) if pace > 1]
        assert quick == ["cheekPuff", "headYaw"]
        assert all(
            torch.equal(run.average[name], value) for name, value in run.model.state_dict().items()
        )


@torch.no_grad()
def test_what_a_bundle_carries_further_goes_as_far_as_it_was_learned(trained, tmp_path):
    carried = copy.deepcopy(trained)
    carried.carry(ACTIONS, {"eyeLookUp": 1.5})
    state = {"actions": list(ACTIONS), "step": 5, "config": {"preset": "edge"}}
    write_bundle(carried, state, tmp_path / "carried", "0.0.1", GREY, {"eyeLookUp": 1.5})
    other = EdgeGenerator(len(ACTIONS), LEVELS)
    revive(other, tmp_path / "carried", SAMPLES)
    actions = torch.zeros(1, 1, len(ACTIONS))
    actions[..., ACTIONS.index("eyeLookUpLeft")] = 1
    wanted = trained.layers(photos(1, 1), actions).flow
    assert (
        other.eval().layers(photos(1, 1), actions).flow - wanted
    ).abs().max() < 0.01 * wanted.abs().max()


@pytest.mark.parametrize("carried", [{"eyeLookUp": 0}, {"eyeLookUp": "far"}, ["eyeLookUp"], 2])
def test_what_was_carried_is_a_number_by_action(trained, tmp_path, carried):
    state = {"actions": list(ACTIONS), "step": 5, "config": {"preset": "edge"}}
    write_bundle(trained, state, tmp_path / "odd", "0.0.1", GREY)
    manifest = load_bundle(tmp_path / "odd").manifest
    odd = replace(manifest, training={**manifest.training, "carried": carried})
    (tmp_path / "odd" / MANIFEST).write_text(odd.to_json())
    with pytest.raises(ValueError, match="does not say how far its actions were carried"):
        revive(EdgeGenerator(len(ACTIONS), LEVELS), tmp_path / "odd", SAMPLES)


@torch.no_grad()
def test_its_statistics_are_those_of_photos(written):
    """In training, where batches are normalised by their own, it does the same but for chance."""
    generator = EdgeGenerator(len(ACTIONS), LEVELS)
    revive(generator, written, SAMPLES)
    seen = torch.stack([SAMPLES[i]["photo"] for i in range(PHOTOS)])
    still = [x.clone() for x in generator.eval().trunk(seen)]
    for x, y in zip(still, generator.train().trunk(seen), strict=True):
        assert (x - y).abs().max() < 1e-3 * x.abs().max()


def test_a_bundle_built_otherwise_is_refused(written, tmp_path):
    run = Trainer(TrainConfig(), LossWeights(), tmp_path, torch.device("cpu"))
    with pytest.raises(CheckpointError, match="small holds a generator built otherwise"):
        run.start_from(written, SAMPLES)
    with pytest.raises(BundleError, match="manifest"):
        run.start_from(tmp_path, SAMPLES)
