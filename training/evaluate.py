"""Measures a bundle on people it was never trained on.

    python -m training.evaluate --bundle sdk/moue/models/edge --data ROOT [--control]

For every held-out neutral face, expression and degree: by how much MediaPipe's blendshape scores
rise, how they follow the degree, what changes where nothing should, how close the frame is to the
teacher's, and, for `pairs`, to the real smile; and how close a turned head is. Writes report.json,
report.md, sheet.png, turns.png and strip.png, twelve frames of a rise. With `--control` every action
is asked for alone, and what it moves and leaves is written to control.json and control.png, and drawn
on one face in actions.png.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from moue import Animator, Portrait, expression
from moue.actions import ACTIONS, EXPRESSIONS, HEAD_TURNS, action_vector, turns
from moue.errors import MoueError
from moue.expressions import Expression
from training.control import (
    HEADLINE,
    Control,
    draw_matrix,
    follows,
    is_own,
    is_turn,
    measure,
    way_of,
)
from training.data.faces import FaceCrop, load_faces, prepare
from training.data.sources import held_out_neutral, make_teacher, smile_shown
from training.data.view import View, composed
from training.intact import difference_outside, motion_of_rims
from training.likeness import (
    DEGREES,
    Likeness,
    likeness,
    similarity,
    smile_target,
    unevenness,
)
from training.scores import BlendshapeScorer
from training.sheets import VIEW, draw_each_action, draw_sheet, draw_strip, in_bytes, look
from training.teacher.render import FaceFit, Teacher
from training.teacher.turn import Turner

TURNS = {f"{name} {way:+g}": turn for turn in turns(ACTIONS) for name, way in turn.items()}
# Actions apart from those that an expression brings along: what was learned together must come singly.
_CLOSED_SMILE = {"mouthSmile": 1.0, "cheekSquint": 0.8, "eyeSquint": 0.5}
MIXES: dict[str, dict[str, float]] = {
    "smile, lips together": _CLOSED_SMILE,
    "the same, headYaw +1": {**_CLOSED_SMILE, "headYaw": 1.0},
    "jaw open, brows down": {"jawOpen": 0.6, "browDown": 1.0},
}
CONTROL_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
# What a plain warp of the same faces' kind raised each score by, at degree 1: the yardstick.
FIRST_WARP: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 0.83},
    "surprise": {"jawOpen": 0.41, "browInnerUp": 0.49, "browOuterUp": 0.57},
    "angry": {"browDown": 0.31},
    "sad": {"browInnerUp": 0.30, "mouthFrown": 0.09},
    "disgust": {"mouthUpperUp": 0.60, "browDown": 0.35},
    "fear": {"browInnerUp": 0.35, "jawOpen": 0.13, "eyeWide": 0.06},
}


@dataclass
class Report:
    """Everything measured, by expression where it depends on one."""

    faces: list[str]
    rises: dict[str, dict[str, float]] = field(default_factory=dict)
    figures: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, float] = field(default_factory=dict)
    teacher: dict[str, dict[str, float]] = field(default_factory=dict)
    pairs: dict[str, float] = field(default_factory=dict)

    def table(self) -> str:
        """Markdown."""
        lines = [
            whose(self.faces),
            "",
            "| expression | score | plain warp | moue | share | follows degree (Spearman), mean over "
            "faces | least of a face |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {f['expression']} | {f['score']} | {f['plain_warp']:+.2f} | {f['rise']:+.2f} "
            f"| {f['share']:.2f} | {f['spearman']:.3f} | {f['least']:.3f} |"
            for f in self.figures
        ]
        lines += ["", "| actions | SSIM to the teacher | PSNR to the teacher |", "|---|---|---|"]
        lines += [
            f"| {name} | {row['ssim']:.3f} | {row['psnr']:.1f} dB |"
            for name, row in self.teacher.items()
        ]
        rows = {**self.summary, **{f"pairs: {k}": v for k, v in self.pairs.items()}}
        lines += ["", "| measure | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in rows.items()]
        return "\n".join(lines) + "\n"


class TaughtFace:
    """A face as its teacher moves it; called with weights, a frame [VIEW, VIEW, 3] and where the face is."""

    def __init__(self, teacher: Teacher, turner: Turner, face: FaceCrop) -> None:
        self.teacher, self.turner = teacher, turner
        self.view = View.plain(VIEW * face.square.to_crop(), VIEW)
        self.fit = teacher.fit(face.photo, face.landmarks, face.scores)
        self.own = self.view.resample(face.photo).astype(np.float32) / 255

    def __call__(self, weights: Mapping[str, float]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        asked, view = np.asarray(action_vector(weights, ACTIONS)), self.view
        moved = self.teacher.move(self.fit, asked)
        made = self.teacher.render(self.fit, asked, view.to_layer, VIEW, moved)
        made = self.turner.layers(made, self.fit, moved, asked, view.to_layer)
        return in_bytes(composed(self.own, made)), made.face > 0


class Evaluation:
    """What is measured, face by face.

    Args:
        animator: with the bundle to measure.
        scorer: of the frames.
    """

    def __init__(self, animator: Animator, scorer: BlendshapeScorer) -> None:
        self.animator, self.scorer = animator, scorer
        self.scores: dict[str, list[list[dict[str, float]]]] = defaultdict(list)
        self.likeness: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.outside = self.rest = 0
        self.uneven = 0.0
        self.smiles: list[Likeness] = []  # held against all of `happy`
        self.smiles_shown: list[Likeness] = []  # and as the photo shows it
        self.shown: list[list[NDArray[np.uint8]]] = []
        self.turned: list[list[NDArray[np.uint8]]] = []

    def add(
        self, portrait: Portrait, face: FaceCrop, taught: TaughtFace, smile: FaceCrop | None
    ) -> None:
        """Measures one face, held against the teacher's and against its own real smile, if there is one."""
        row = [look(portrait, portrait.photo)]
        for name in EXPRESSIONS:
            frames = list(self.animator.frames(portrait, expression(name).degrees(DEGREES)))
            row.append(self._expression(name, portrait, frames, taught))
            if name == "happy" and smile is not None:
                self.smiles.append(self._smile(portrait, frames, face, smile, taught.fit))
                shown = Expression("", smile_shown(smile)).degrees(DEGREES)
                frames = list(self.animator.frames(portrait, shown))
                self.smiles_shown.append(self._smile(portrait, frames, face, smile, taught.fit))
        self.shown.append(row)
        self._held_against(taught, portrait, MIXES)
        if set(HEAD_TURNS) <= set(self.animator.actions):
            self.turned.append([row[0], *self._held_against(taught, portrait, TURNS)])

    def _expression(
        self, name: str, portrait: Portrait, frames: list[NDArray[np.uint8]], taught: TaughtFace
    ) -> NDArray[np.uint8]:
        """Measures an expression at every degree; the face at the last one."""
        views = [look(portrait, frame) for frame in frames]
        self.scores[name].append([self.scorer(view) for view in views])
        self.outside = max(self.outside, difference_outside(portrait, frames[-1]))
        self.uneven = max(self.uneven, unevenness(views))
        self.rest = max(self.rest, int(np.abs(frames[0].astype(int) - portrait.photo).max()))
        self.likeness[name].append(similarity(views[-1], *taught(EXPRESSIONS[name])))
        return views[-1]

    def _smile(
        self,
        portrait: Portrait,
        frames: list[NDArray[np.uint8]],
        face: FaceCrop,
        smile: FaceCrop,
        fit: FaceFit,
    ) -> Likeness:
        """How alike the degrees of a smile are to the real one."""
        side = self.animator.bundle.input_size
        real, inside = smile_target(
            face, smile, View.plain(side * face.square.to_crop(), side), fit
        )
        return likeness([look(portrait, frame, side) for frame in frames], real, inside)

    def _held_against(
        self, taught: TaughtFace, portrait: Portrait, asked: Mapping[str, Mapping[str, float]]
    ) -> list[NDArray[np.uint8]]:
        """Named action vectors as moue plays them, measured against the teacher's."""
        frames = list(self.animator.frames(portrait, list(asked.values())))
        views = [look(portrait, frame) for frame in frames]
        for (name, weights), view in zip(asked.items(), views, strict=True):
            self.likeness[name].append(similarity(view, *taught(weights)))
        self.outside = max(self.outside, *(difference_outside(portrait, f) for f in frames))
        return views

    def summary(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """What is one number over all faces and expressions."""
        shares = [figure["share"] for figure in rows]
        looked = [shown for faces in self.scores.values() for face in faces for shown in face]
        return {
            "mean share of the plain warp": float(np.mean(shares)),
            "least share among figures at 0.30 or more": min(
                figure["share"] for figure in rows if figure["plain_warp"] >= 0.3
            ),
            "mean Spearman with degree, over faces": float(np.mean([f["spearman"] for f in rows])),
            "least Spearman with degree, of one face": min(f["least"] for f in rows),
            "largest difference at degree 0, levels": self.rest,
            "largest difference outside the face square, levels": self.outside,
            "largest step of a ramp over its median step": self.uneven,
            "share of frames in which no face was found": float(np.mean([not s for s in looked])),
        }

    def pairs(self) -> dict[str, float]:
        """How near `happy` comes to real smiles."""
        if not self.smiles:
            return {}
        happy, shown = (
            Likeness(*np.mean(each, 0).tolist()) for each in (self.smiles, self.smiles_shown)
        )
        repeated = "SSIM of the repeated neutral photo to the real smile, at the generator's size"
        return {
            "people": len(self.smiles),
            repeated: happy.rest,
            "SSIM of happy at degree 1": happy.full,
            "SSIM of happy at the degree most like the real smile": happy.best,
            "that degree": happy.degree,
            "SSIM at degree 1, lips together where the real smile's are": shown.full,
            "SSIM at the degree most like it, lips together where the real smile's are": shown.best,
            "its degree": shown.degree,
        }


def evaluate(
    animator: Animator,
    teacher: Teacher,
    faces: list[FaceCrop],
    smiles: dict[str, FaceCrop],
    data: Path,
    out: Path,
) -> Report:
    """Measures every expression at every degree on the faces; draws sheets of eight of them.

    Args:
        animator: with the bundle to measure.
        teacher: what frames are held against.
        faces: neutral faces.
        smiles: the smiling photo of the same person, by identity, where there is one.
        data: the data root.
        out: folder that sheet.png and turns.png are written to.
    """
    turner = Turner(teacher.head)
    report = Report([face.name for face in faces])
    with BlendshapeScorer(data) as scorer:
        seen = Evaluation(animator, scorer)
        for face in tqdm(faces, "evaluate", disable=None):
            portrait = animator.prepare(data / "portraits" / f"{face.name}.jpg")
            taught = TaughtFace(teacher, turner, face)
            seen.add(portrait, face, taught, smiles.get(face.identity))
    report.rises, report.figures = figures(seen.scores)
    report.summary, report.pairs = seen.summary(report.figures), seen.pairs()
    glasses, skin = motion_of_rims(animator, teacher, faces)
    report.summary["motion of glasses drawn on the faces, px of the generator's input"] = glasses
    report.summary["the same of the skin in their place, without them"] = skin
    for name, values in seen.likeness.items():
        ssim, psnr = np.mean(values, 0)
        report.teacher[name] = {"ssim": float(ssim), "psnr": float(psnr)}
    eight = slice(None, None, max(1, len(faces) // 8))
    draw_sheet(seen.shown[eight][:8], ["photo", *EXPRESSIONS], out / "sheet.png")
    if seen.turned:
        draw_sheet(seen.turned[eight][:8], ["photo", *TURNS], out / "turns.png")
    return report


def evaluate_control(animator: Animator, faces: list[FaceCrop], data: Path) -> Control:
    """Asks for every action alone, at rising weights, on every face."""
    per_face = []
    heads = set(HEAD_TURNS) <= set(animator.actions)
    more = [name for name in HEADLINE if name not in animator.actions]
    names = (*animator.actions, *(name for name in more if heads or not is_turn(name)))
    with BlendshapeScorer(data) as scorer:
        for face in tqdm(faces, "control", disable=None):
            portrait = animator.prepare(data / "portraits" / f"{face.name}.jpg")
            still = scorer(look(portrait, portrait.photo))
            asked = [
                _both(name, animator.actions, w) for name in names for w in CONTROL_WEIGHTS[1:]
            ]
            measured = [scorer(look(portrait, f)) for f in animator.frames(portrait, asked)]
            steps = len(CONTROL_WEIGHTS) - 1
            per_face.append(
                [[still, *measured[k : k + steps]] for k in range(0, len(measured), steps)]
            )
    return measure(names, CONTROL_WEIGHTS, per_face)


def figures(
    scores: dict[str, list[list[dict[str, float]]]],
) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
    """Mean rises at degree 1 by expression, and each yardstick figure with its share and its order.

    The order is Spearman's, of each face's score with the degree: its mean over faces, and the least.
    """
    rises: dict[str, dict[str, float]] = {}
    rows = []
    for name, per_face in scores.items():
        names = {_sideless(key) for face in per_face for shown in face for key in shown}
        values = {
            score: np.array([[_score(s, score) for s in face] for face in per_face])
            for score in names
        }
        risen = {k: float(np.nanmean(each[:, -1] - each[:, 0])) for k, each in values.items()}
        rises[name] = {
            score: round(rise, 4)
            for score, rise in sorted(risen.items(), key=lambda item: -abs(item[1]))
        }
        for score, yardstick in FIRST_WARP.get(name, {}).items():
            order = follows(DEGREES, values[score])
            rows.append(
                {
                    "expression": name,
                    "score": score,
                    "plain_warp": yardstick,
                    "rise": risen[score],
                    "share": risen[score] / yardstick,
                    "spearman": float(np.nanmean(order)),
                    "least": float(np.nanmin(order)),
                }
            )
    return rises, rows


def whose(faces: Sequence[str]) -> str:
    """How many of the portraits named show people, and how many nobody."""
    made = sum(name.startswith("synth_") for name in faces)
    return (
        f"{len(faces)} held-out faces: {len(faces) - made} photographs of people, {made} generated"
    )


def _sideless(name: str) -> str:
    return name.removesuffix("Left").removesuffix("Right")


def _both(name: str, actions: Sequence[str], weight: float) -> dict[str, float]:
    """One action, or both sides of it where the name leaves the side out, or what turns two eyes."""
    return {action: way_of(name) * weight for action in actions if is_own(action, name)}


def _score(scores: dict[str, float], name: str) -> float:
    """Mean of both sides; NaN where the face was not found."""
    found = [score for key, score in scores.items() if is_own(key, name)]
    return float(np.mean(found)) if found else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="edge", help="name or folder (default edge)")
    parser.add_argument("--data", type=Path, required=True, help="data root")
    parser.add_argument("--cache", type=Path, default=Path("runs/faces"), help="prepared faces")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluation"))
    parser.add_argument("--faces", type=int, default=32, help="at most this many (default 32)")
    parser.add_argument("--control", action="store_true", help="single actions and their leakage")
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except (FileNotFoundError, MoueError) as error:
        raise SystemExit(f"training.evaluate: error: {error}") from None


def _run(arguments: argparse.Namespace) -> None:
    prepare(arguments.data, arguments.cache)
    everyone = list(load_faces(arguments.data, arguments.cache))
    faces, smiles = held_out_neutral(everyone, arguments.faces)
    if not faces:
        raise FileNotFoundError(f"{arguments.data} holds no neutral face to test")
    first = arguments.data / "portraits" / f"{faces[0].name}.jpg"
    arguments.out.mkdir(parents=True, exist_ok=True)
    with Animator(arguments.bundle) as animator:
        if arguments.control:
            control = evaluate_control(animator, faces, arguments.data)
            draw_matrix(control).save(arguments.out / "control.png")
            draw_each_action(animator, first, arguments.out / "actions.png")
            names = [face.name for face in faces]
            kept = {
                "faces": names,
                "summary": control.summary(),
                "own": {name: control.own(name) for name in control.actions},
            }
            (arguments.out / "control.json").write_text(json.dumps(kept, indent=1) + "\n")
            print(whose(names))
            print("\n".join(f"{name}: {value:.3f}" for name, value in control.summary().items()))
            return
        teacher = make_teacher(arguments.data, everyone)
        report = evaluate(animator, teacher, faces, smiles, arguments.data, arguments.out)
        draw_strip(animator, first, arguments.out / "strip.png")
    (arguments.out / "report.json").write_text(json.dumps(vars(report), indent=1) + "\n")
    (arguments.out / "report.md").write_text(report.table())
    print(report.table())


if __name__ == "__main__":
    main()
