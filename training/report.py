"""Sets training runs side by side on people they never saw, as the paper's figures do.

    python -m training.report RUN RUN … --data ROOT -o OUT        # or --clips ROOT

Every run shows the expressions it knows at degrees from 0 to 1, and its frames are held against the
true ones: the teacher's or, with --clips, the clip's own; all in the middle of the paper's crops.
Writes report.json and report.md (SSIM, PSNR, R_t; by how much 68 landmarks' travel is off, and how far
each is from its true place), curves.png (that travel, the paper's Figure 3), one sheet an expression,
and transfer.png (Figure 5 (c): from one expression to another, where a run knows two). A run is named
by its folder and labelled with the steps and minutes it had. All that the model card compares, small
runs of ten minutes to three quarters of an hour each (and for that a higher rate than the paper's);
broken off, the same lines go on where they stopped:

    S="python -m training.train --data ROOT --batch 4 --vectors 2 --rate 1e-3 --resume"
    L="$S --preset paper --channels 16 --expressions happy,surprise,angry"
    P="$L --steps 600"
    F="$S --steps 250 --preset paper --channels 16 --apart happy,angry"
    R="python -m training.report --data ROOT"
    $S --steps 600 --out runs/small/edge
    $P --out runs/small/paper
    $L --steps 1200 --out runs/small/paper-longer
    $P --local-adversarial 0 --out runs/small/without-D_l
    $P --landmarks 0 --out runs/small/without-L_k
    $P --landmarks 0.1 --out runs/small/weaker-L_k
    $P --temporal 0 --out runs/small/without-R_t
    $F --expressions happy,angry --out runs/small/joint
    $F --expressions happy --out runs/small/happy-alone
    $F --expressions angry --out runs/small/angry-alone
    $R runs/small/{paper,paper-longer,edge} runs/edge -o runs/report/edge-and-paper
    $R runs/small/{paper,without-D_l,without-L_k,weaker-L_k,without-R_t} -o runs/report/ablations
    $R runs/small/{joint,happy-alone,angry-alone} -o runs/report/joint-and-single
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tqdm import tqdm

from moue.actions import ACTIONS, EXPRESSIONS, action_vector
from moue.errors import MoueError
from training.checkpoint import CheckpointError, read_checkpoint, take
from training.config import TrainConfig
from training.data.clips import (
    FORMS,
    ClipsError,
    find_clips,
    load_clips,
    prepare_clips,
)
from training.data.faces import load_faces, prepare
from training.data.sources import held_out_neutral, make_teacher
from training.data.view import View, composed
from training.generator import INPUT_SIZE, EdgeGenerator
from training.likeness import DEGREES, Likeness, likeness, smile_target, unevenness
from training.losses import LossWeights
from training.paper import PaperGenerator
from training.sheets import draw_sheet
from training.teacher.head import IBUG68
from training.tracker import Measure
from training.train import DELTA, make_generator

TRUE, STILL = "true frames", "the photo, repeated"
SHOWN = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # degrees on a sheet
Frames = NDArray[np.uint8]  # [T, S, S, 3]


@dataclass(frozen=True)
class Run:
    """A trained generator, its averaged weights loaded, and how it came to be.

    Attributes:
        name: its folder's.
        expressions: those it can show.
        label: preset, size, losses left out, steps and minutes.
    """

    name: str
    generator: EdgeGenerator | PaperGenerator
    expressions: tuple[str, ...]
    label: str

    @torch.no_grad()
    def frames(self, photo: NDArray[np.uint8], degrees: Mapping[str, Sequence[float]]) -> Frames:
        """Frames of a face square, uint8 [S, S, 3]: T degrees for each expression that it shows."""
        each = [np.outer(d, self._peak(expression)) for expression, d in degrees.items()]
        actions = torch.from_numpy(np.sum(each, 0).astype(np.float32))
        square = torch.from_numpy(photo.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        made = self.generator(square, actions[None]).clamp(0, 1)
        return np.asarray((255 * made).round().byte().permute(0, 2, 3, 1).numpy())

    def _peak(self, expression: str) -> NDArray[np.float64]:
        """The actions of an expression at degree 1."""
        if isinstance(self.generator, EdgeGenerator):
            return np.asarray(action_vector(EXPRESSIONS[expression], ACTIONS), np.float64)
        return np.eye(len(self.expressions))[self.expressions.index(expression)]


@dataclass(frozen=True)
class Case:
    """A held-out face and an expression.

    photo: uint8 [S, S, 3], at rest; true: what it becomes at each of T degrees; smile: a photograph
    of the same person smiling, and where the face is in it, where there is one.
    """

    expression: str
    photo: NDArray[np.uint8]
    degrees: tuple[float, ...]
    true: Frames
    smile: tuple[NDArray[np.uint8], NDArray[np.bool_]] | None = None


@dataclass(frozen=True)
class Shown:
    """What one run's frames of one case measure.

    ssim, psnr: to the true frames, means over those with a degree above 0, whole square, dB; rest:
    SSIM at degree 0 to the photo; curve: float64 [11], the paper's Figure 3: the length in px of what
    68 landmarks moved by since degree 0, at `DEGREES`; NaN where no face was found; off: the mean
    distance in px between a landmark and the true one, over the frames with a degree above 0 in which
    both were found, NaN without one; temporal: R_t with Δa = 0.1, levels; uneven: the largest step over
    the median step; smile: how like a real one, where there is one.
    """

    ssim: float
    psnr: float
    rest: float
    curve: NDArray[np.float64]
    off: float
    temporal: float
    uneven: float
    smile: Likeness | None


def load_run(folder: Path) -> Run:
    """Opens a run folder; raises CheckpointError where that cannot be."""
    path = folder / "checkpoint.pt"
    state = read_checkpoint(path, ("config", "weights", "average", "step", "spent"))
    known = {field.name for field in fields(TrainConfig)}
    config = TrainConfig(**{k: v for k, v in state["config"].items() if k in known})
    generator = make_generator(config)
    take(generator, state["average"], path)
    spent = f"{state['step']} steps of {config.batch}×{config.vectors} frames at {config.rate:g}"
    parts = [config.preset, f"{spent} in {state['spent'] / 60:.1f} minutes"]
    if config.names:
        weights = LossWeights(**state["weights"])
        terms = ("temporal", "landmarks", "global_adversarial", "local_adversarial")
        off = [name for name in terms if not getattr(weights, name)]
        parts.insert(1, f"{config.channels} channels, {'+'.join(config.names)}")
        parts += [f"without {', '.join(off)}"] if off else []
        parts += [f"each person shows one of {config.apart}"] if config.apart else []
    return Run(folder.name, generator.eval(), config.names or tuple(EXPRESSIONS), "; ".join(parts))


def portrait_cases(
    data: Path, cache: Path, expressions: Sequence[str], most: int
) -> Iterator[Case]:
    """Held-out neutral portraits, and the teacher's frames of them."""
    everyone = list(load_faces(data, cache))
    faces, smiles = held_out_neutral(everyone, most)
    teacher = make_teacher(data, everyone)
    for face in tqdm(faces, "faces", disable=None):
        view = View.middle(face.square, INPUT_SIZE)
        fit = teacher.fit(face.photo, face.landmarks, face.scores)
        photo = view.resample(face.photo)
        start = photo.astype(np.float32) / 255
        for name in expressions:
            peak = np.asarray(action_vector(EXPRESSIONS[name], ACTIONS))
            true = [
                composed(
                    start, teacher.render(fit, np.float32(d) * peak, view.to_layer, INPUT_SIZE)
                )
                for d in DEGREES
            ]
            smile = None
            if name == "happy" and face.identity in smiles:
                smile = smile_target(face, smiles[face.identity], view, fit)
            whole = np.rint(255 * np.clip(true, 0, 1)).astype(np.uint8)
            yield Case(name, photo, DEGREES, whole, smile)


def clip_cases(
    root: Path, layout: str, cache: Path, expressions: Sequence[str], most: int
) -> Iterator[Case]:
    """Clips of held-out people."""
    files = find_clips(root, layout)
    prepare_clips(files, cache)
    clips = [clip for clip in load_clips(files, cache) if clip.held_out]
    if not clips:
        raise ClipsError(f"no person in {root} is held out (one in eight is)")
    for name in expressions:
        for clip in [clip for clip in clips if clip.expression == name][:most]:
            view = View.middle(clip.square, INPUT_SIZE)
            true = np.stack([view.resample(clip.frame(t)) for t in range(len(clip.degrees))])
            yield Case(name, true[0], tuple(clip.degrees.tolist()), true)


def landmarks(frames: Frames, mesh: Measure) -> NDArray[np.float64]:
    """iBUG's 68 points in T frames, float64 [T, 68, 2] px; NaN where no face was found."""
    found = [mesh(frame) for frame in frames]
    return np.array([np.full((68, 2), np.nan) if m is None else m[list(IBUG68), :2] for m in found])


def measure(case: Case, frames: Frames, mesh: Measure, true: NDArray[np.float64]) -> Shown:
    """Holds frames against a case's true ones, whose landmarks are given too."""
    pairs = list(zip(frames, case.true, strict=True))
    points = landmarks(frames, mesh)
    travel = np.linalg.norm((points - points[0]).reshape(len(points), -1), axis=1)
    steps = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3))
    return Shown(
        float(np.mean([structural_similarity(a, b, channel_axis=2) for a, b in pairs[1:]])),
        float(np.mean([_psnr(a, b) for a, b in pairs[1:]])),
        float(structural_similarity(frames[0], case.photo, channel_axis=2)),
        np.interp(DEGREES, case.degrees, travel),
        _mean(np.linalg.norm(points - true, axis=2)[1:]),
        float(2 * steps.mean() * DELTA * (len(frames) - 1)),
        unevenness(list(frames)),
        likeness(list(frames), *case.smile) if case.smile else None,
    )


def compare(runs: Sequence[Run], cases: Iterator[Case], out: Path) -> dict[str, dict[str, float]]:
    """Measures all runs on all cases; draws the curves and, of the first face, the sheets.

    Returns:
        Figures by "run, expression", and "run, mean" where it shows several; the repeated photo and
        the true frames are among the runs.

    Raises:
        FileNotFoundError: there is no case.
    """
    shown: dict[tuple[str, str], list[Shown]] = defaultdict(list)
    drawn: set[str] = set()
    mesh = Measure()
    for case in cases:
        made = {TRUE: case.true, STILL: np.repeat(case.photo[None], len(case.true), 0)}
        for run in runs:
            if case.expression in run.expressions:
                made[run.name] = run.frames(case.photo, {case.expression: case.degrees})
        true = landmarks(case.true, mesh)
        for name, frames in made.items():
            shown[case.expression, name].append(measure(case, frames, mesh, true))
        if case.expression not in drawn:
            if not drawn:
                draw_transfer(runs, case.photo, out / "transfer.png")
            drawn.add(case.expression)
            del made[STILL]
            nearest = [int(np.abs(np.array(case.degrees) - d).argmin()) for d in SHOWN]
            rows = [[frames[k] for k in nearest] for frames in made.values()]
            titles = [f"{case.expression} {case.degrees[k]:.1f}" for k in nearest]
            draw_sheet(
                rows, titles, out / f"sheet-{case.expression}.png", [[name] for name in made]
            )
    if not shown:
        raise FileNotFoundError("nobody held out shows what the runs do")
    draw_curves(shown, out / "curves.png")
    measured: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (expression, name), many in shown.items():
        measured[name][expression] = _figures(many, shown[expression, TRUE])
    for of_each in measured.values():
        if len(of_each) > 1:
            of_each["mean"] = _means(list(of_each.values()))
    return {
        f"{name}, {expression}": row
        for name, of_each in measured.items()
        for expression, row in of_each.items()
    }


def _figures(many: Sequence[Shown], true: Sequence[Shown]) -> dict[str, float]:
    """Means over faces of one run and expression."""
    curve, wanted = (np.array([shown.curve for shown in each]) for each in (many, true))
    found = np.isfinite(curve)[np.isfinite(wanted)]
    smiles = [shown.smile for shown in many if shown.smile is not None]
    figures = {
        "faces": len(many),
        "SSIM": _mean([shown.ssim for shown in many]),
        "PSNR, dB": _mean([shown.psnr for shown in many]),
        "SSIM at rest": _mean([shown.rest for shown in many]),
        "landmarks' travel off by, px": _mean(np.abs(curve - wanted)),
        "landmarks off by, px": _mean([shown.off for shown in many]),
        "faces lost": _mean(~found),
        "R_t, levels": _mean([shown.temporal for shown in many]),
        "largest step over median": _mean([shown.uneven for shown in many]),
        "SSIM to real smiles, degree 1": _mean([smile.full for smile in smiles]),
        "SSIM to real smiles, best degree": _mean([smile.best for smile in smiles]),
    }
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _mean(values: ArrayLike) -> float:
    """Of what is finite; NaN where nothing is."""
    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept)]
    return float(kept.mean()) if kept.size else float("nan")


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means of every figure over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def draw_transfer(runs: Sequence[Run], photo: NDArray[np.uint8], path: Path) -> None:
    """Figure 5 (c): one expression gives way to another, for every run that knows two."""
    rows, names = [], []
    for run in runs:
        if len(run.expressions) > 1:
            to, of = run.expressions[:2]
            rows.append(list(run.frames(photo, {of: [1 - d for d in SHOWN], to: SHOWN})))
            names.append([f"{run.name}: {of} to {to}"])
    if rows:
        draw_sheet(rows, [f"{share:.1f}" for share in SHOWN], path, names)


def draw_curves(shown: dict[tuple[str, str], list[Shown]], path: Path) -> None:
    """Figure 3: how far landmarks are from their first place, over the degree, a mean over faces."""
    expressions = list(dict.fromkeys(expression for expression, _ in shown))
    figure = Figure(figsize=(4.2 * len(expressions), 3.6), layout="constrained")
    panels = figure.subplots(1, len(expressions), sharey=True, squeeze=False)[0]
    for panel, expression in zip(panels, expressions, strict=True):
        for (of, name), many in shown.items():
            curves = np.ma.masked_invalid([one.curve for one in many])
            if of == expression and name != STILL:
                style = {"color": "black", "linestyle": "--"} if name == TRUE else {}
                panel.plot(DEGREES, curves.mean(0), label=name, **style)
        panel.set_title(expression)
        panel.set_xlabel("degree")
        panel.legend(fontsize="small")
    panels[0].set_ylabel("landmarks moved by (L2 of 68 points), px")
    figure.savefig(path, dpi=100)


def table(runs: Sequence[Run], measured: dict[str, dict[str, float]], truth: str) -> str:
    """Markdown: the runs' labels and their figures."""
    columns = list(dict.fromkeys(name for row in measured.values() for name in row))
    lines = [f"Frames held against {truth}, on people never trained on.", ""]
    lines += [f"- **{run.name}**: {run.label}" for run in runs]
    lines += ["", f"| run, expression | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(f'{row[c]:.4g}' if c in row else '' for c in columns)} |"
        for name, row in measured.items()
    ]
    return "\n".join(lines) + "\n"


def _psnr(made: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    """dB; 99 for pictures that are the same."""
    same = np.array_equal(made, true)
    return 99.0 if same else min(99.0, float(peak_signal_noise_ratio(true, made)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", type=Path, help="data root")
    data.add_argument("--clips", type=Path, help="folder of a set of clips")
    parser.add_argument("--layout", choices=("auto", *FORMS), default="auto")
    parser.add_argument(
        "--cache", type=Path, help="prepared data (default runs/faces, for clips runs/clips)"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder")
    parser.add_argument("--faces", type=int, default=12, help="at most this many (default 12)")
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except (CheckpointError, ClipsError, FileNotFoundError, MoueError) as error:
        raise SystemExit(f"training.report: error: {error}") from None


def _run(arguments: argparse.Namespace) -> None:
    runs = [load_run(folder) for folder in arguments.runs]
    if len({run.name for run in runs}) < len(runs):
        runs = [
            Run(str(folder), run.generator, run.expressions, run.label)
            for folder, run in zip(arguments.runs, runs, strict=True)
        ]
    whole = [run for run in runs if isinstance(run.generator, PaperGenerator)] or runs
    expressions = [name for name in EXPRESSIONS if any(name in run.expressions for run in whole)]
    if arguments.clips:
        truth = f"the clips of {arguments.clips.name}"
        cache = arguments.cache or Path("runs/clips")
        cases = clip_cases(arguments.clips, arguments.layout, cache, expressions, arguments.faces)
    else:
        truth = "the teacher's"
        cache = arguments.cache or Path("runs/faces")
        prepare(arguments.data, cache)
        cases = portrait_cases(arguments.data, cache, expressions, arguments.faces)
    arguments.out.mkdir(parents=True, exist_ok=True)
    measured = compare(runs, cases, arguments.out)
    kept = {"runs": {run.name: run.label for run in runs}, "truth": truth, "measured": measured}
    (arguments.out / "report.json").write_text(json.dumps(kept, indent=1) + "\n")
    text = table(runs, measured, truth)
    (arguments.out / "report.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
