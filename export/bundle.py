"""Writes a trained checkpoint as a bundle, and measures that nothing was lost on the way.

    python -m export.bundle --checkpoint runs/edge/checkpoint.pt -o sdk/moue/models/edge

prints, for each step from the trained network to the shipped files, the largest difference of a
frame in 8-bit levels; above two nothing is written. `--carry eyeLookUp=1.6` carries an action further
than it was learned: a network falls a little short of what its teacher does within small parts of a face.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from PIL import Image

from export.graphs import (
    decoder_inputs,
    encoder_outputs,
    export_decoder,
    export_encoder,
    fuse_normalisation,
)
from moue.actions import EXPRESSIONS, action_vector, turns
from moue.bundle import MANIFEST, Bundle, GraphFile, Level, Manifest, MouthFile, load_bundle
from moue.crop import find_faces
from moue.errors import MoueError, NoFaceError
from moue.kernels import preprocess
from moue.parity import frames_of_square
from moue.photo import read_photo
from training.checkpoint import CheckpointError, read_checkpoint, take
from training.data import ATTRIBUTIONS
from training.generator import INPUT_SIZE, EdgeGenerator
from training.teacher.mouth import MOUTH_WINDOW, draw_picture

MOUTH = "mouth.png"
MOUTH_SCALE = 4  # times the size at which the network looks: large photos show it sharply
MOST_LOST = 2.0  # 8-bit levels from the trained network


def load_generator(checkpoint: Path) -> tuple[EdgeGenerator, dict[str, Any]]:
    """The trained generator with its averaged weights, ready to evaluate, and the checkpoint.

    Raises:
        CheckpointError: there is none that a bundle can be made of.
    """
    state = read_checkpoint(checkpoint, ("config", "actions", "average", "step"))
    if (preset := state["config"]["preset"]) != EdgeGenerator.preset:
        raise CheckpointError(
            f"{checkpoint} holds a {preset!r} generator; bundles are made of 'edge'"
        )
    generator = EdgeGenerator(len(state["actions"]))
    take(generator, state["average"], checkpoint)
    return generator.eval(), state


def write_bundle(
    generator: EdgeGenerator,
    state: dict[str, Any],
    folder: Path,
    version: str,
    photo: NDArray[np.uint8],
    carried: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Writes manifest, graphs and picture beside the target, then puts them there; a card stays.

    Args:
        generator: with the weights to ship.
        state: the checkpoint that they are of.
        folder: of the bundle.
        version: of the bundle.
        photo: uint8 RGB [S, S, 3], a face square to measure `parity` on.
        carried: how many times as far as it was learned an action goes.

    Returns:
        What `parity` measured.

    Raises:
        ValueError: the folder holds something else than a bundle, or too much was lost on the way.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} is there and no bundle; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fused = fuse_normalisation(generator)
    assert isinstance(fused, EdgeGenerator)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        target = Path(made) / folder.name
        target.mkdir()
        onnx.save(export_encoder(fused), target / "encoder.onnx")
        onnx.save(export_decoder(fused), target / "decoder.onnx")
        picture = np.rint(255 * draw_picture(MOUTH_SCALE).transpose(1, 2, 0)).astype(np.uint8)
        Image.fromarray(picture).save(target / MOUTH, optimize=True)
        manifest = Manifest(
            name=folder.name,
            preset=generator.preset,
            version=version,
            actions=tuple(state["actions"]),
            expressions=EXPRESSIONS,
            input_size=2 * generator.levels[-1].size,
            levels=tuple(Level(x.size, x.skip, x.residual) for x in generator.levels),
            graphs={name: GraphFile.of(target / f"{name}.onnx") for name in ("encoder", "decoder")},
            mouth=MouthFile(**vars(GraphFile.of(target / MOUTH)), window=MOUTH_WINDOW),
            training={
                "data": list(ATTRIBUTIONS),
                "steps": state["step"],
                "config": state["config"],
                "carried": dict(carried or {}),
            },
            licence="Apache-2.0",
        )
        (target / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        if (card := folder / "MODEL_CARD.md").exists():
            shutil.copy(card, target)
        lost = parity(generator, load_bundle(target), photo)
        for step, error in lost.items():
            if not error <= MOST_LOST:
                raise ValueError(
                    f"{step}: {error:.3g} levels from PyTorch, where {MOST_LOST:g} are the most; "
                    f"{folder} was left as it was"
                )
        before = Path(made) / "before"
        try:
            if folder.exists():
                folder.rename(before)
            target.rename(folder)
        finally:
            if before.exists() and not folder.exists():
                before.rename(folder)
    return lost


def parity(generator: EdgeGenerator, bundle: Bundle, photo: NDArray[np.uint8]) -> dict[str, float]:
    """Largest difference of a frame, in 8-bit levels, at each step from PyTorch to the bundle.

    Args:
        generator: the trained network.
        bundle: what was made of it.
        photo: uint8 RGB [S, S, 3], a face square.
    """
    poses = [*EXPRESSIONS.values(), *turns(bundle.actions)]
    actions = np.stack([action_vector(pose, bundle.actions) for pose in poses])
    inputs = (
        torch.from_numpy(photo.transpose(2, 0, 1)[None].astype(np.float32) / 255),
        torch.from_numpy(actions)[None],
    )
    with torch.no_grad():
        trained = 255 * generator(*inputs).numpy()
        fused = 255 * fuse_normalisation(generator)(*inputs).numpy()
    shipped = frames_of_square(bundle, photo, actions).transpose(0, 3, 1, 2)
    return {
        "PyTorch, normalisation folded in": float(np.abs(trained - fused).max()),
        "bundle (8-bit frames)": float(np.abs(np.rint(trained) - shipped).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="bundle folder")
    parser.add_argument("--version", default="0.1.0", help="of the bundle (default 0.1.0)")
    parser.add_argument("--photo", type=Path, help="face to measure on (default: scikit-image's)")
    parser.add_argument(
        "--carry",
        type=_times,
        action="append",
        default=[],
        metavar="ACTION=TIMES",
        help="an action goes so many times as far as it was learned; may be given again",
    )
    arguments = parser.parse_args()
    carried = dict(arguments.carry)
    try:
        photo = _face_square(arguments.photo)
        generator, state = load_generator(arguments.checkpoint)
        generator.carry(state["actions"], carried)
        lost = write_bundle(generator, state, arguments.output, arguments.version, photo, carried)
    except (ValueError, OSError, MoueError) as wrong:
        raise SystemExit(f"export.bundle: error: {wrong}") from None
    bundle = load_bundle(arguments.output)
    size = sum(file.bytes for file in bundle.manifest.files)
    print(f"{arguments.output}: {size / 1e6:.1f} MB, {len(bundle.actions)} actions")
    print(
        f"encoder {', '.join(encoder_outputs(generator))}; decoder {', '.join(decoder_inputs(generator))}"
    )
    for step, error in lost.items():
        print(f"{step}: at most {error:.3f} levels from PyTorch")


def _times(text: str) -> tuple[str, float]:
    name, _, times = text.partition("=")
    try:
        return name, float(times)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like eyeLookUp=1.6") from None


def _face_square(path: Path | None) -> NDArray[np.uint8]:
    """A photo's face square at the network's size; without a path, scikit-image's astronaut."""
    from skimage.data import astronaut

    photo = np.asarray(astronaut()) if path is None else read_photo(path)
    if not (faces := find_faces(photo)):
        raise NoFaceError(f"no face found in {path}; it must show one, large enough")
    square = preprocess(photo, faces[0].square.to_photo(), INPUT_SIZE)
    return np.rint(255 * square.transpose(1, 2, 0)).astype(np.uint8)


if __name__ == "__main__":
    main()
