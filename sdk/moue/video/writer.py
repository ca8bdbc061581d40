"""Frames to an mp4, gif, webp, png or a folder of PNGs, whole or not at all, and marked as synthetic.

>>> write_frames(animator.frames(portrait, curve), "out.mp4", curve.fps)

Frames are written as they come: memory does not grow with their number.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from moue.errors import OutputError, shown
from moue.files import (
    check_file,
    check_folder,
    check_name,
    disk_failures,
    part_path,
    sync,
    whole_file,
)
from moue.provenance import is_ours, mark_file
from moue.rates import Rate, parse_fps
from moue.video.clip import CODECS, check_encoder, write_clip
from moue.video.ffmpeg import Frame
from moue.video.sound import Sound

PNG_EFFORT = 1  # of zlib's 9: a fraction of the default's time for a tenth more bytes
FRAME_NAME = re.compile(r"\d{3,}\.png")


@dataclass(frozen=True)
class Output:
    """Where frames go: a clip, one picture, or a folder of pictures."""

    path: Path
    kind: Literal["clip", "picture", "folder"]


@dataclass(frozen=True)
class Written:
    """What was written; size is (width, height) in pixels."""

    path: Path
    frames: int
    size: tuple[int, int]
    seconds: float


def check_output(path: str | os.PathLike[str], stills: bool = False) -> Output:
    """Where frames for `path` would go, checked before any are made.

    Args:
        path: ends in .mp4, .gif, .webp or .png; in / or without a suffix for a folder of PNGs.
        stills: the frames are pictures of their own, so that an existing folder needs no / at its
            end to be meant as one.

    Raises:
        OutputError: an unknown suffix, a folder that is missing or not writable, a name taken by
            something else, or an encoder this machine lacks.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise OutputError(
            f"frames go to a file by its name, but got {shown(path)}; for a clip in memory, write it"
            " into a tempfile.TemporaryDirectory() and read it"
        )
    target = Path(text)
    suffix = target.suffix.lower()
    if text == "-":
        raise OutputError("frames go to a file; name one that ends in .mp4, .gif, .webp or .png")
    if text.endswith(("/", os.sep)) or (not suffix and (stills or not os.path.exists(target))):
        _check_frame_folder(target)
        return Output(target, "folder")
    if suffix not in (".png", *CODECS):
        if text and os.path.isdir(target):
            raise OutputError(f"{text} is a folder; end it with / to write 000.png, … into it")
        raise OutputError(
            f"cannot tell what to write from the name {text!r};"
            " end it with .mp4, .gif, .webp or .png, or with / for a folder of PNGs"
        )
    check_file(target)
    if suffix == ".png":
        return Output(target, "picture")
    check_encoder(CODECS[suffix])
    return Output(target, "clip")


def check_rate(output: Output, fps: Fraction) -> None:
    """Raises OutputError where the output cannot show `fps` frames a second."""
    codec = CODECS.get(output.path.suffix.lower()) if output.kind == "clip" else None
    if codec and fps > codec.max_fps:
        raise OutputError(
            f"a .{codec.container} shows at most {codec.max_fps} frames a second,"
            f" but got {float(fps):g}; lower --fps"
        )


def write_frames(
    frames: Iterable[Frame],
    output: str | os.PathLike[str] | Output,
    fps: Rate,
    sound: Sound | None = None,
) -> Written:
    """Writes frames; the file or folder takes its name once it is complete.

    Args:
        frames: uint8 RGB [H, W, 3], all of one size; exactly one where `output` is a .png. They are
            taken in another thread, one ahead of the frame that is written, and are not kept.
        output: a path that ends in .mp4, .gif, .webp or .png, in / or without a suffix for a folder
            of PNGs; or what `check_output` returned.
        fps: frames per second: 30, "30000/1001", 29.97 for the same.
        sound: what is heard meanwhile; only an .mp4 carries it.

    Returns:
        What was written: its `path`, how many `frames`, their `size` (width, height) in pixels, and how
        many `seconds` they last.

    Raises:
        CurveError: `fps` is no number above 0, up to 1000.
        OutputError: what `check_output` and `check_rate` raise, no frames or unlike ones, or a
            failing disk.
    """
    fps = parse_fps(fps)
    output = output if isinstance(output, Output) else check_output(output)
    check_rate(output, fps)
    with closing(ahead(frames)) as made:  # whatever ends this, no thread still uses the frames
        checked = _CheckedFrames(made)
        if output.kind == "folder":
            _write_folder(checked, output.path)
        else:
            with whole_file(output.path) as part:
                if output.kind == "picture":
                    _write_picture(checked, part)
                else:
                    codec = CODECS[output.path.suffix.lower()]
                    size = write_clip(checked, part, fps, codec, sound if codec.sound else None)
                    with part.open("r+b") as clip:
                        mark_file(clip)
    if output.kind != "clip":
        size = checked.shape[1], checked.shape[0]
    return Written(output.path, checked.count, size, float(checked.count / fps))


def ahead(frames: Iterable[Frame]) -> Generator[Frame, None, None]:
    """The frames themselves; each is made, in a thread of its own, while the one before is used."""
    made = iter(frames)
    with ThreadPoolExecutor(1, "frames") as maker:
        following = maker.submit(next, made, None)
        while (frame := following.result()) is not None:
            following = maker.submit(next, made, None)
            yield frame


class _CheckedFrames:
    """Frames on their way, counted; each must be like the first."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = frames
        self.count = 0
        self.shape: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            frame = np.asarray(frame)
            self.shape = self.shape or frame.shape
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise OutputError(
                    f"frame {self.count} must be uint8 [H, W, 3],"
                    f" but got {frame.dtype} {list(frame.shape)}"
                )
            if frame.shape != self.shape:
                raise OutputError(
                    f"frame {self.count} must be {list(self.shape)} as the first,"
                    f" but got {list(frame.shape)}"
                )
            self.count += 1
            yield np.ascontiguousarray(frame)
        if self.count == 0:
            raise OutputError("there are no frames to write")


def _check_frame_folder(folder: Path) -> None:
    check_name(folder)
    if not folder.exists():
        check_folder(folder.parent)
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; leave the / out, or name a folder")
    check_folder(folder)
    with disk_failures(folder):
        seen = [path for path in folder.iterdir() if not path.name.startswith(".")]
        foreign = [path.name for path in seen if not _is_frame(path)]
    if foreign:
        raise OutputError(
            f"the folder {folder} holds {min(foreign)!r}, which is not one of moue's frames;"
            " name a new or empty folder"
        )


def _is_frame(path: Path) -> bool:
    """Whether it is one of a clip's frames, which the next clip may replace."""
    return bool(FRAME_NAME.fullmatch(path.name)) and path.is_file() and is_ours(path)


def _write_picture(frames: Iterable[Frame], path: Path) -> None:
    for index, frame in enumerate(frames):
        if index > 0:
            raise OutputError("a .png holds one frame; end the name with / for a folder of PNGs")
        _save_png(frame, path)


def _write_folder(frames: Iterable[Frame], folder: Path) -> None:
    """Writes 000.png, 001.png, … into a part folder, then gives it, or them, their place."""
    new = not folder.exists()
    part = part_path(folder.parent if new else folder)
    with disk_failures(folder):
        try:
            part.mkdir()
            for index, frame in enumerate(frames):
                picture = part / f"{index:03d}.png"
                _save_png(frame, picture)
                sync(picture)
            if new:
                part.rename(folder)
                sync(folder.parent)
            else:
                _replace_frames(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _replace_frames(part: Path, folder: Path) -> None:
    # One by one: the folder itself may be a mount point or the current directory.
    names = sorted(path.name for path in part.iterdir())
    for name in names:
        os.replace(part / name, folder / name)
    for path in folder.iterdir():
        if FRAME_NAME.fullmatch(path.name) and path.name not in names:
            path.unlink()
    sync(folder)


def _save_png(frame: Frame, path: Path) -> None:
    from PIL import Image

    with path.open("w+b") as picture:
        Image.fromarray(frame).save(picture, format="png", compress_level=PNG_EFFORT)
        mark_file(picture)
