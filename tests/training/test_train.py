from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from moue.actions import ACTIONS, EXPRESSIONS, action_vector
from training import curves, train
from training.data.stream import Onward
from training.generator import EdgeGenerator, Level, PaperGenerator
from training.losses import LossWeights
from training.train import TrainConfig, Trainer, expression_degrees

LEVELS = (Level(8, 8, 8, True), Level(16, 8, 6, True), Level(32, 6, 4, False))


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(train, "make_generator", lambda _: EdgeGenerator(len(ACTIONS), LEVELS))
    monkeypatch.setattr(curves, "LOG_EVERY", 2)


def batches(first: int, last: int) -> list[dict[str, torch.Tensor]]:
    """Random targets, the same for the same number."""
    made = []
    for index in range(first, last):
        g = torch.Generator().manual_seed(index)
        shapes = {"flow": 2, "mask": 1, "colour": 3, "face": 1, "real": 3}
        plain = {k: torch.rand(2, 2, c, 1, 1, generator=g) for k, c in shapes.items()}
        batch = {k: value.expand(-1, -1, -1, 64, 64).clone() for k, value in plain.items()}
        batch["flow"] = 0.05 * (batch["flow"] - 0.5)
        batch["photo"] = torch.rand(2, 3, 64, 64, generator=g)
        batch["actions"] = torch.rand(2, 2, len(ACTIONS), generator=g)
        batch["landmarks"] = 0.3 + 0.4 * torch.rand(2, 2, 68, 2, generator=g)
        batch["has_real"] = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        made.append(batch)
    return made


def trainer(out: Path, steps: int, **weights: float) -> Trainer:
    config = TrainConfig(steps=steps, warmup=2, device="cpu")
    return Trainer(config, LossWeights(**weights), Path(), out)


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    terms = {"local_adversarial": 0.1, "global_adversarial": 0.1}
    whole = trainer(tmp_path / "whole", steps=6, **terms)
    whole.fit(batches(0, 6))
    broken = trainer(tmp_path / "broken", steps=6, **terms)
    broken.fit(batches(0, 3))
    resumed = trainer(tmp_path / "broken", steps=6, **terms)
    resumed.load()
    assert resumed.step == 3
    resumed.fit(batches(3, 6))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
        assert torch.equal(whole.average[name], resumed.average[name]), name
    for name, value in whole.critics.state_dict().items():
        assert torch.equal(value, resumed.critics.state_dict()[name]), name
    for mine, other in zip(
        whole.optimiser.state_dict()["state"].values(),
        resumed.optimiser.state_dict()["state"].values(),
        strict=True,
    ):
        assert all(torch.equal(mine[key], other[key]) for key in mine)


def test_losses_fall(tmp_path):
    run = trainer(tmp_path, steps=40)
    run.fit(batches(0, 1) * 40)
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["total"]) < 0.8 * float(rows[0]["total"])
    assert [int(row["step"]) for row in rows] == list(range(2, 41, 2))


def test_the_papers_generator_trains_on_its_own_terms(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "make_generator", lambda _: PaperGenerator(len(EXPRESSIONS), 4))
    run = trainer(tmp_path, steps=2, landmarks=1.0, temporal=1.0)
    g = torch.Generator().manual_seed(0)
    batch = {
        "photo": torch.rand(2, 3, 256, 256, generator=g),
        "actions": torch.rand(2, 1, len(ACTIONS), generator=g),
        "real": torch.rand(2, 1, 3, 256, 256, generator=g),
        "landmarks": torch.rand(2, 1, 68, 2, generator=g),
    }
    run.fit([batch, batch])
    assert run.step == 2
    assert set(run.losses(batch)[0]) == {"reconstruction", "landmarks", "temporal"}


def test_no_checkpoint_to_resume_is_said(tmp_path):
    with pytest.raises(SystemExit, match="no checkpoint at"):
        trainer(tmp_path / "nowhere", steps=1).load()


def test_a_run_can_begin_with_anothers_weights(tmp_path):
    first = trainer(tmp_path / "first", steps=4)
    first.fit(batches(0, 4))
    second = trainer(tmp_path / "second", steps=4, local_adversarial=1.0)
    second.start_from(tmp_path / "first" / "checkpoint.pt")
    assert second.step == 0
    for name, value in second.model.named_parameters():
        assert torch.equal(value, first.average[name]), name


def test_discriminators_learn_to_tell_the_two_apart(tmp_path):
    run = trainer(tmp_path, steps=60, global_adversarial=0.0001, reconstruction=0.0)
    batch = batches(0, 1)[0]
    frames = 0.5 * batch["real"].flatten(0, 1)
    losses = [run.criticise(frames, batch)["global_adversarial critic"].detach() for _ in range(60)]
    assert losses[-1] < 0.6 * losses[0]


def test_a_failed_save_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run = trainer(tmp_path, steps=1)
    run.save()
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="disk full"):
        run.save()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("term", ["flow", "mask", "colour", "reconstruction"])
def test_a_term_at_weight_zero_pulls_nothing(tmp_path, term):
    weights = dict.fromkeys(("flow", "mask", "colour", "reconstruction"), 0.0)
    run = trainer(tmp_path, steps=1, **{**weights, term: 1.0})
    terms, _ = run.losses(batches(0, 1)[0])
    only = train.total(terms, run.weights)
    torch.testing.assert_close(only, terms[term])


def test_temporal_regularisation_is_a_switch(tmp_path):
    assert "temporal" not in trainer(tmp_path, steps=1).losses(batches(0, 1)[0])[0]
    assert trainer(tmp_path, steps=1, temporal=1.0).losses(batches(0, 1)[0])[0]["temporal"] > 0


def test_samples_go_on_from_where_a_run_stopped():
    numbers = iter(Onward(24))
    assert [next(numbers) for _ in range(3)] == [24, 25, 26]


def test_whole_expressions_are_read_back_as_degrees():
    actions = np.stack([0.6 * action_vector(e, ACTIONS) for e in EXPRESSIONS.values()])
    degrees = expression_degrees(torch.from_numpy(actions.astype(np.float32))[None])[0]
    torch.testing.assert_close(degrees, 0.6 * torch.eye(6), atol=1e-5, rtol=0)
