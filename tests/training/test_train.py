from __future__ import annotations

import csv
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch

from moue.actions import ACTIONS, EXPRESSIONS, action_vector
from moue.errors import OutputError
from tests.training import trees
from tests.training.batches import batches
from training import curves, train
from training.checkpoint import CheckpointError
from training.config import PRESETS, TrainConfig
from training.data.stream import Onward, Samples, shown_by
from training.generator import EdgeGenerator, Level
from training.losses import LossWeights
from training.ranks import Ranks
from training.train import Trainer, expression_degrees, has_bfloat16, neighbours

CPU = torch.device("cpu")
LEVELS = (Level(8, 8, 8, True, rank=4), Level(16, 8, 6, True), Level(32, 6, 4, False))


@pytest.fixture
def real_generators() -> None:
    """Asked for by tests that are not to have the tiny one."""


@pytest.fixture(autouse=True)
def small(monkeypatch, request) -> None:
    if "real_generators" not in request.fixturenames:
        monkeypatch.setattr(train, "make_generator", lambda _: EdgeGenerator(len(ACTIONS), LEVELS))
    monkeypatch.setattr(curves, "LOG_EVERY", 2)


def trainer(out: Path, steps: int, **weights: float) -> Trainer:
    config = TrainConfig(steps=steps, warmup=2, rate=5e-3)
    return Trainer(config, LossWeights(**weights), out, CPU)


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
    for mine, other in zip(whole.optimisers, resumed.optimisers, strict=True):
        states = mine.state_dict()["state"], other.state_dict()["state"]
        assert states[0]
        for held, again in zip(*(state.values() for state in states), strict=True):
            assert all(torch.equal(held[key], again[key]) for key in held)


def test_each_weight_is_moved_by_one_optimiser(tmp_path):
    run = trainer(tmp_path, steps=1)
    adam, muon = ({p for g in o.param_groups for p in g["params"]} for o in run.optimisers)
    assert adam | muon == set(run.model.parameters())
    assert not adam & muon
    assert all(weight.dim() >= 3 for weight in muon)
    assert {weight for weight in adam if weight.dim() >= 3} == {
        run.model.trunk.stages[0][0].weight,
        run.model.decoder.up[-1].weight,
    }


def test_losses_fall(tmp_path):
    run = trainer(tmp_path, steps=40)
    run.fit(batches(0, 1) * 40)
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["total"]) < 0.8 * float(rows[0]["total"])
    assert [int(row["step"]) for row in rows] == list(range(2, 41, 2))


def paper(out: Path, expressions: str, **values: object) -> Trainer:
    """The paper's preset, small."""
    preset = {**PRESETS["paper"], "expressions": expressions, "channels": 2, "steps": 2, **values}
    config, weights = (
        cls(**{k: preset[k] for k in vars(cls()) if k in preset})
        for cls in (TrainConfig, LossWeights)
    )
    return Trainer(TrainConfig(**{**vars(config), "preset": "paper"}), weights, out, CPU)


def paper_batch(*expressions: str) -> dict[str, torch.Tensor]:
    """One photo, a whole expression an action vector, at 0.6."""
    g = torch.Generator().manual_seed(0)
    asked = np.stack([0.6 * action_vector(EXPRESSIONS[e], ACTIONS) for e in expressions])
    count = len(expressions)
    return {
        "photo": torch.rand(1, 3, 256, 256, generator=g),
        "actions": torch.from_numpy(asked.astype(np.float32))[None],
        "real": torch.rand(1, count, 3, 256, 256, generator=g),
        "landmarks": 0.3 + 0.4 * torch.rand(1, count, 68, 2, generator=g),
    }


@pytest.mark.usefixtures("real_generators")
@pytest.mark.parametrize("expressions", ["happy", "happy,angry"])
def test_the_papers_preset_is_its_whole_objective(tmp_path, expressions):
    run = paper(tmp_path, expressions)
    assert len(run.model.residuals) == len(run.config.names)
    run.fit([paper_batch("happy", "happy")] * 2)
    assert run.step == 2
    terms, _ = run.losses(paper_batch("happy", "happy"))
    adversarial = {"global_adversarial", "local_adversarial"}
    assert set(terms) == {"reconstruction", "landmarks", "temporal"} | adversarial
    (adam,) = run.optimisers
    assert type(adam) is torch.optim.Adam
    assert adam.param_groups[0]["lr"] <= 2e-4
    assert run.config.crops


@pytest.mark.usefixtures("real_generators")
@pytest.mark.parametrize(
    "term", ["landmarks", "temporal", "global_adversarial", "local_adversarial"]
)
def test_each_of_the_papers_losses_is_off_at_zero(tmp_path, term):
    run = paper(tmp_path, "happy", **{term: 0.0})
    terms, _ = run.losses(paper_batch("happy"))
    assert (term in terms) == (term == "landmarks")  # which comes with the frames
    whole = train.total(terms, run.weights)
    assert torch.equal(whole, train.total({**terms, term: torch.tensor(1e6)}, run.weights))


@pytest.mark.usefixtures("real_generators")
def test_a_run_goes_on_only_as_it_began(tmp_path):
    paper(tmp_path, "happy").save()
    with pytest.raises(CheckpointError, match="--expressions happy, not happy,angry; give"):
        paper(tmp_path, "happy,angry").load()
    with pytest.raises(CheckpointError, match="other adversarial losses; give the same"):
        paper(tmp_path, "happy", local_adversarial=0.0).load()
    with pytest.raises(CheckpointError, match="--optimiser adam, not muon; give the same"):
        paper(tmp_path, "happy", optimiser="muon").load()
    for name, was, now in (
        *(("seed", "0", 1), ("crops", "True", False), ("apart", "none", "happy,angry")),
        *(("vectors", "4", 3), ("pairs", "0.08", 0.1), ("smiles", "0.15", 0.1)),
    ):
        with pytest.raises(CheckpointError, match=f"--{name} {was}, not {now}; give the same"):
            paper(tmp_path, "happy", **{name: now}).load()
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["model"]["rgb.bias"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="built otherwise than today's; train anew"):
        paper(tmp_path, "happy").load()


def test_neighbours_are_a_tenth_away_along_what_is_asked():
    asked = torch.tensor([[[0.5, 0.0], [0.0, 0.04], [0.0, 1.0], [0.0, 0.0], [0.25, -0.5]]])
    before, after = neighbours(asked)
    expected = [[0.4, 0.0], [0.0, 0.0], [0.0, 0.9], [0.0, 0.0], [0.2, -0.4]]
    torch.testing.assert_close(before[0], torch.tensor(expected))
    expected = [[0.6, 0.0], [0.0, 0.14], [0.0, 1.0], [0.0, 0.0], [0.3, -0.6]]
    torch.testing.assert_close(after[0], torch.tensor(expected))


def test_no_checkpoint_to_resume_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        trainer(tmp_path / "nowhere", steps=1).load()


def test_a_run_can_begin_with_anothers_weights(tmp_path):
    first = trainer(tmp_path / "first", steps=4)
    first.fit(batches(0, 4))
    second = trainer(tmp_path / "second", steps=4, local_adversarial=1.0)
    second.start_from(tmp_path / "first" / "checkpoint.pt", Samples([], 0))
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

    def full(state: object, file: IO[bytes]) -> None:
        file.write(before[:1000])
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="disk full"):
        run.save()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("term", ["flow", "mask", "colour", "place", "reconstruction"])
def test_a_term_at_weight_zero_pulls_nothing(tmp_path, term):
    weights = dict.fromkeys(("flow", "mask", "colour", "place", "reconstruction"), 0.0)
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


class Recorded(Samples):
    """Remembers which were asked for."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.numbers.append(index)
        return {name: value[0] for name, value in batches(index, index + 1)[0].items()}


class OneOfTwo(Ranks):
    """A rank whose other is not there, and need not be."""

    def average(self, tensors: object) -> None:
        pass

    lead = average

    def agree(self, value: float, device: torch.device) -> float:
        return value


def drawn(out: Path, steps: int, batch: int, ranks: Ranks | None = None) -> list[int]:
    """Sample numbers that a run goes on with, to so many steps."""
    config = TrainConfig(steps=steps, batch=batch, workers=0)
    run = Trainer(config, LossWeights(), out, CPU, ranks)
    if (out / "checkpoint.pt").exists():
        run.load()
    run.run(samples := Recorded())
    return samples.numbers


def test_a_run_goes_on_with_the_samples_that_none_of_its_ranks_has_used(tmp_path):
    assert drawn(tmp_path, steps=2, batch=2) == [0, 1, 2, 3]
    assert drawn(tmp_path, steps=3, batch=3) == [4, 5, 6]
    assert drawn(tmp_path, steps=4, batch=1) == [7]
    assert drawn(tmp_path / "two", 2, 2, OneOfTwo(0, 2)) == [0, 2, 4, 6]
    assert drawn(tmp_path / "two", 3, 2, OneOfTwo(0, 2)) == [8, 10]
    path = tmp_path / "two" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["samples"]
    torch.save(state, path)
    assert drawn(tmp_path / "two", 4, 2, OneOfTwo(1, 2)) == [13, 15], "a checkpoint does not say"


@pytest.mark.parametrize("term", ["real", "flow"])
def test_a_loss_that_is_not_finite_ends_the_run_and_the_last_checkpoint_stands(tmp_path, term):
    run = trainer(tmp_path, steps=9)
    run.fit(batches(0, 2))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    (broken,) = batches(2, 3)
    broken[term] = broken[term] * torch.inf
    with pytest.raises(SystemExit, match="step 3: the loss is not finite; the last checkpoint"):
        run.fit([broken])
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert all(weight.isfinite().all() for weight in run.model.parameters())


def test_a_gradient_that_is_not_finite_ends_the_run(tmp_path, monkeypatch):
    run = trainer(tmp_path, steps=9)
    monkeypatch.setattr(train, "total", lambda terms, _: (0 * terms["flow"]).sqrt())
    with pytest.raises(SystemExit, match="step 1: the gradient is not finite"):
        run.fit(batches(0, 1))
    assert all(weight.isfinite().all() for weight in run.model.parameters())


def test_discriminators_that_go_astray_end_the_run(tmp_path):
    run = trainer(tmp_path, steps=9, global_adversarial=0.1)
    batch = batches(0, 1)[0]
    with pytest.raises(SystemExit, match="the discriminators' loss is not finite"):
        run.criticise(torch.inf * batch["real"].flatten(0, 1), batch)


def test_whole_expressions_are_read_back_as_degrees():
    actions = np.stack([0.6 * action_vector(e, ACTIONS) for e in EXPRESSIONS.values()])
    asked = torch.from_numpy(actions.astype(np.float32))[None]
    degrees = expression_degrees(asked, tuple(EXPRESSIONS))[0]
    torch.testing.assert_close(degrees, 0.6 * torch.eye(6), atol=1e-5, rtol=0)
    (alone,) = expression_degrees(asked[:, :1], ("happy",))
    torch.testing.assert_close(alone, torch.tensor([[0.6]]), atol=1e-5, rtol=0)


def test_people_are_divided_evenly_among_expressions():
    shown = [shown_by(f"london_{k:03}", ("happy", "angry")) for k in range(200)]
    assert 80 < shown.count("happy") < 120
    assert shown[0] == shown_by("london_000", ("happy", "angry"))


@pytest.mark.usefixtures("real_generators")
def test_clips_train_the_papers_generator_from_the_command_line(
    tmp_path, monkeypatch, portrait_photo, astronaut_face, capsys
):
    tree = trees.ck(tmp_path / "ck", portrait_photo, astronaut_face, ["S005"])
    command = [
        *("training.train", "--preset", "paper", "--clips", tree, "--cache", tmp_path / "cache"),
        *("--expressions", "surprise", "--channels", "2", "--steps", "1", "--batch", "1"),
        *("--vectors", "2", "--workers", "0", "--device", "cpu", "--out", tmp_path / "run"),
    ]

    def run(*more: str) -> None:
        monkeypatch.setattr("sys.argv", [*map(str, command), *more])
        train.main()

    run()
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 1
    assert kept["config"]["rate"] == 2e-4
    assert kept["weights"]["temporal"] == 1.0
    with pytest.raises(SystemExit):
        run()
    assert "holds a run already: --resume goes on" in capsys.readouterr().err
    run("--resume")
    assert "going on from step 1" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="shows 'happy'; shown are: surprise"):
        run("--expressions", "happy", "--out", str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--data", "x", "--expressions", "happy"), "--expressions belongs to --preset paper"),
        (("--preset", "paper", "--data", "x", "--expressions", ""), "needs one at least"),
        (("--preset", "paper", "--data", "x", "--expressions", "glad"), "no expression 'glad'"),
        (("--preset", "paper", "--data", "x", "--expressions", "sad,sad"), "named twice"),
        (
            ("--preset", "paper", "--data", "x", "--expressions", "sad", "--apart", "happy,angry"),
            "--apart must name --expressions too",
        ),
        (("--clips", "x"), "give --preset paper"),
        (("--data", "x", "--preset", "paper", "--optimiser", "muon"), "--preset paper takes adam"),
        (("--data", "x", "--landmarks", "1"), "--landmarks weighs nothing that --preset edge"),
        (("--data", "x", "--preset", "paper", "--flow", "9"), "--flow weighs nothing"),
        (("--data", "x", "--pairs", "0.9", "--smiles", "0.9"), "up to 1 together"),
        (("--data", "x", "--steps", "0"), "--steps must be a finite number, 1 or more, but got 0"),
        (("--data", "x", "--batch", "0"), "--batch must be a finite number, 1 or more"),
        (("--data", "x", "--vectors", "0"), "--vectors must be a finite number, 1 or more"),
        (("--data", "x", "--workers", "-1"), "--workers must be a finite number, 0 or more"),
        (("--data", "x", "--rate", "nan"), "--rate must be a finite number, 0 or more"),
        (("--data", "x", "--minutes", "-5"), "--minutes must be a finite number, 0 or more"),
        (("--data", "x", "--save-minutes", "inf"), "--save-minutes must be a finite number"),
        (("--data", "x", "--flow", "nan"), "--flow must be a finite number, 0 or more"),
        (("--data", "x", "--momentum", "1"), "--momentum must be below 1"),
        (("--data", "x", "--device", "cuda:99"), "--device cuda:99 is not here"),
        (("--data", "x", "--device", "tpu"), "--device must be auto, cpu, cuda or cuda:N"),
        (("--preset", "paper"), "one of the arguments --data --clips is required"),
        (("--preset", "paper", "--clips", "nowhere"), "there is no folder nowhere"),
        (("--data", "nowhere"), "the data root nowhere has no folder portraits/"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(words, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["training.train", *words])
    with pytest.raises(SystemExit) as raised:
        train.main()
    line = capsys.readouterr().err + str(raised.value.code)
    assert said in line


@pytest.mark.parametrize(("device", "capability", "expected"), [
    ("cpu", "AVX2", False), ("cpu", "AVX512", True), ("cpu", "DEFAULT", False), ("cuda", "AVX2", True),
])  # fmt: skip
def test_bfloat16_is_used_where_it_is_no_emulation(monkeypatch, device, capability, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert has_bfloat16(torch.device(device)) is expected


def test_lines_after_the_step_that_is_gone_on_from_go(tmp_path):
    path = tmp_path / "curves.csv"

    def write(first: int, last: int) -> list[int]:
        with curves.Curves(path, first) as log:
            for step in range(first + 1, last + 1):
                log.add(step, 1.0, 1e-3, 0.5, {"total": float(step)})
        return [int(line.split(",")[0]) for line in path.read_text().splitlines()[1:]]

    every = curves.LOG_EVERY
    assert write(0, 4 * every) == [every, 2 * every, 3 * every, 4 * every]
    assert write(2 * every, 3 * every) == [every, 2 * every, 3 * every]
    assert write(0, every) == [every]
    assert path.read_text().startswith("step,seconds,rate,total")


def test_other_losses_get_columns_of_their_own(tmp_path):
    path, every = tmp_path / "curves.csv", curves.LOG_EVERY

    def write(first: int, **terms: float) -> None:
        with curves.Curves(path, first) as log:
            for step in range(first + 1, first + every + 1):
                log.add(step, 1.0, 1e-3, 0.5, terms)

    write(0, flow=1.0, total=2.0)
    write(every, temporal=3.0, total=4.0)
    write(2 * every, flow=5.0)
    with path.open() as file:
        rows = [[row[k] for k in ("flow", "temporal", "total")] for row in csv.DictReader(file)]
    assert rows == [["1.00000", "", "2.00000"], ["", "3.00000", "4.00000"], ["5.00000", "", ""]]
    assert path.read_text().splitlines()[0] == "step,seconds,rate,flow,total,temporal"


@pytest.mark.usefixtures("real_generators")
def test_a_damaged_checkpoint_is_one_line(tmp_path, monkeypatch, portrait_photo, astronaut_face):
    tree = trees.ck(tmp_path / "ck", portrait_photo, astronaut_face, ["S005"])
    (tmp_path / "junk.pt").write_bytes(b"junk")
    command = ["training.train", "--preset", "paper", "--clips", tree, "--expressions", "surprise"]
    command += ["--cache", tmp_path / "cache", "--channels", "2", "--out", tmp_path / "run"]
    monkeypatch.setattr("sys.argv", [*map(str, command), "--weights", str(tmp_path / "junk.pt")])
    with pytest.raises(SystemExit, match=r"training\.train: error: .*junk\.pt is damaged, or no"):
        train.main()
