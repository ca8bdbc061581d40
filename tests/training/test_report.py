from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training import trees
from training import report
from training.checkpoint import CheckpointError
from training.config import PRESETS, TrainConfig
from training.likeness import DEGREES, Likeness
from training.losses import LossWeights
from training.report import STILL, TRUE, Case, Shown, landmarks, load_run, measure, table
from training.tracker import Measure
from training.train import Trainer


def untrained(folder: Path, expressions: str, **weights: float) -> Path:
    """A run folder of the paper's preset that took no step."""
    preset = PRESETS["paper"]
    on = {name: preset[name] for name in vars(LossWeights()) if name in preset}
    config = TrainConfig("paper", expressions, channels=2)
    run = Trainer(config, LossWeights(**{**on, **weights}), folder, torch.device("cpu"))
    run.spent = 90.0
    run.save()
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, portrait_photo, astronaut_face) -> Path:
    """The report of two runs on a clip of a person held out."""
    folder = tmp_path_factory.mktemp("report")
    tree = trees.ck(folder / "ck", portrait_photo, astronaut_face, ["S009"])
    runs = [
        untrained(folder / "joint", "happy,surprise"),
        untrained(folder / "without-R_t", "surprise", temporal=0.0),
    ]
    command = ["training.report", *runs, "--clips", tree, "--cache", folder / "cache"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [*map(str, command), "-o", str(folder / "out")])
        report.main()
    return folder


def test_runs_the_repeated_photo_and_the_truth_are_rows(made):
    kept = json.loads((made / "out" / "report.json").read_text())
    rows = kept["measured"]
    names = (TRUE, STILL, "joint", "without-R_t")
    assert list(rows) == [f"{name}, surprise" for name in names]
    true, still, joint, _ = rows.values()
    assert true["SSIM"] == pytest.approx(1)
    assert true["landmarks' travel off by, px"] == true["landmarks off by, px"] == 0
    assert true["R_t, levels"] > still["R_t, levels"] == 0
    assert 1 > still["SSIM"] > joint["SSIM"]
    assert still["landmarks' travel off by, px"] > 3
    assert still["landmarks off by, px"] > 0.3
    text = (made / "out" / "report.md").read_text()
    assert "the clips of ck" in text
    assert "| joint, surprise |" in text


def test_a_run_says_what_it_was_and_how_long_it_took(made):
    run = load_run(made / "without-R_t")
    assert run.expressions == ("surprise",)
    assert run.label == (
        "paper; 2 channels, surprise; 0 steps of 8×4 frames at 0.001 in 1.5 minutes; without temporal"
    )


def test_a_run_that_shows_several_expressions_has_their_mean(
    portrait_photo, astronaut_face, tmp_path
):
    shown = np.stack([p for p, _ in trees.frames(portrait_photo, astronaut_face, [0, 0.5, 1])])
    degrees = (0.0, 0.5, 1.0)
    cases = [
        Case("happy", shown[0], degrees, shown),
        Case("surprise", shown[2], degrees, shown[::-1]),
    ]
    rows = report.compare([], iter(cases), tmp_path)
    assert list(rows) == [
        f"{of}, {e}" for of in (TRUE, STILL) for e in ("happy", "surprise", "mean")
    ]
    for name, mean in rows[f"{STILL}, mean"].items():
        each = [rows[f"{STILL}, {e}"][name] for e in ("happy", "surprise")]
        assert mean == pytest.approx(np.mean(each)), name
    assert rows[f"{STILL}, happy"]["PSNR, dB"] != rows[f"{STILL}, surprise"]["PSNR, dB"]


def test_there_is_a_plot_and_a_sheet_with_a_row_a_run(made):
    with Image.open(made / "out" / "curves.png") as curves:
        assert curves.size[0] > 300
    with Image.open(made / "out" / "sheet-surprise.png") as sheet:
        assert sheet.size == (6 * 224, 22 + 3 * 224)  # the truth and two runs
    with Image.open(made / "out" / "transfer.png") as sheet:
        assert sheet.size == (6 * 224, 22 + 224)  # the one run that knows two expressions


def test_frames_are_held_against_the_true_ones(portrait_photo, astronaut_face):
    shown = np.stack([p for p, _ in trees.frames(portrait_photo, astronaut_face, list(DEGREES))])
    case = Case("surprise", shown[0], DEGREES, shown)
    mesh = Measure()
    true = landmarks(shown, mesh)
    own = measure(case, shown, mesh, true)
    assert own.ssim == pytest.approx(1)
    assert own.psnr == 99
    assert own.uneven < 2
    assert own.curve[0] == 0
    assert (np.diff(own.curve) > 0).mean() > 0.7
    assert own.off == 0
    assert own.smile is None
    jumping = shown.copy()
    jumping[1:6] = shown[0]
    jumped = measure(case, jumping, mesh, true)
    assert jumped.uneven > own.uneven
    assert jumped.ssim < own.ssim
    moved = measure(case, np.roll(shown, 9, axis=2), mesh, true)
    assert moved.off == pytest.approx(9, abs=1), "they travel as far, elsewhere"
    assert np.abs(moved.curve - own.curve).max() < 9


def test_a_face_that_is_not_found_in_a_true_frame_is_not_a_runs_loss():
    curves = {"true": [0, 1, np.nan, 3], "run": [0, np.nan, np.nan, 4]}
    shown = {k: Shown(1, 30, 1, np.array(v), 0.5, 1, 1, None) for k, v in curves.items()}
    figures = report._figures([shown["run"]], [shown["true"]])
    assert figures["faces lost"] == pytest.approx(1 / 3)
    assert figures["landmarks' travel off by, px"] == pytest.approx(0.5)
    assert "SSIM to real smiles, degree 1" not in figures


def test_nobody_to_measure_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="nobody held out shows what the runs do"):
        report.compare([], iter([]), tmp_path)


def test_smiles_are_held_against_the_real_one_at_two_degrees():
    shown = [
        Shown(1, 30, 1, np.zeros(11), 0, 1, 1, Likeness(0.7, full, 0.8, 0.6)) for full in (0.5, 0.7)
    ]
    figures = report._figures(shown, shown)
    assert figures["SSIM to real smiles, degree 1"] == pytest.approx(0.6)
    assert figures["SSIM to real smiles, best degree"] == pytest.approx(0.8)


def test_a_folder_without_a_checkpoint_is_said(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        load_run(tmp_path)
    command = ["training.report", str(tmp_path), "--data", "x", "-o", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match=r"training\.report: error: there is no checkpoint at"):
        report.main()


def test_a_figure_that_a_row_lacks_is_left_empty():
    text = table([], {"a, happy": {"SSIM": 0.5}, "b, happy": {"SSIM": 0.25, "faces": 2}}, "x")
    assert "| a, happy | 0.5 |  |" in text
    assert "| b, happy | 0.25 | 2 |" in text
