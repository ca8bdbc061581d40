"""What the command line takes: the commands, their options, and how the values are written."""

from __future__ import annotations

import argparse
import math
from argparse import ArgumentTypeError
from collections.abc import Collection
from contextlib import suppress
from typing import Any, NoReturn

import moue
from moue.actions import EXPRESSIONS
from moue.errors import UsageError
from moue.examples import EXAMPLES
from moue.runtimes.select import RUNTIMES

SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
MOST_PIXELS = 16384  # of the longer side of a clip
MODEL: dict[str, dict[str, Any]] = {
    "bundle": {
        "metavar": "NAME|PATH",
        "default": "edge",
        "help": "the model (default: %(default)s)",
    },
    "device": {
        "metavar": "auto|cpu|cuda[:N]",
        "default": "auto",
        "help": "auto takes what works; the others are used or refused (default: %(default)s)",
    },
    "runtime": {
        "metavar": "|".join(("auto", *RUNTIMES)),
        "default": "auto",
        "help": "what executes the model (default: %(default)s)",
    },
    "threads": {
        "metavar": "N",
        "type": int,
        "default": 0,
        "help": "0 takes every core (default: %(default)s)",
    },
}


class Parser(argparse.ArgumentParser):
    """Reports wrong usage as every other error is reported: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def parser() -> Parser:
    """Reads a command line into its options; `command` says which command was given."""
    top = Parser(
        prog="moue",
        description="One portrait in, any number of expression frames out.",
        epilog="moue COMMAND --help says what each command takes.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"moue {moue.__version__}")
    commands = top.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for name, summary, add_options, takes in (
        ("animate", "animate the face in a photo", _add_animate, MODEL),
        ("drive", "play the performance of a face in a video on a photo", _add_drive, MODEL),
        ("live", "play a face before a camera on a photo, as it moves", _add_live, MODEL),
        ("studio", "move a face with sliders, on a page in the browser", _add_studio, MODEL),
        ("track", "send what a face before a camera does, and no picture of it", _add_track, ()),
        (
            "expressions",
            "list the expressions, save one of your own or remove it",
            _add_expressions,
            ("bundle",),
        ),
        ("actions", "list the actions, with what each does", _add_actions, ("bundle",)),
        (
            "export",
            "write the whole generator f(I, a) as one ONNX file",
            _add_export,
            ("bundle", "threads"),
        ),
        (
            "engine",
            "build TensorRT engines, for this GPU or for others",
            _add_engine,
            ("bundle",),
        ),
        ("benchmark", "measure every stage on this machine", _add_benchmark, MODEL),
        ("doctor", "say what works on this machine, and what does not and why", _add_doctor, MODEL),
        ("verify", "say whether a file is marked as synthetic, and by what", _add_verify, ()),
    ):
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add_options(command)
        _add_model(command, takes)
    return top


def _add_animate(command: Parser) -> None:
    command.add_argument("photo", metavar="PHOTO", help="JPEG, PNG, WebP, BMP or GIF")

    what = command.add_argument_group("what the face does")
    either = what.add_mutually_exclusive_group()
    either.add_argument(
        "--expression",
        metavar="NAME",
        help=f"{', '.join(EXPRESSIONS)}, or one you saved (moue expressions lists them)",
    )
    _add_mix(either)
    _add_action(what)
    what.add_argument(
        "--degree", metavar="D", type=float, help="how much of all that, in [0, 1] (default: 1)"
    )

    when = command.add_argument_group("how it does it over time")
    either = when.add_mutually_exclusive_group()
    either.add_argument(
        "--curve",
        metavar="rise|pulse|FILE.json",
        help="from rest to the expression, there and back, or a curve of your own, of rows or keys"
        " as below (default: rise)",
    )
    either.add_argument(
        "--degrees",
        metavar="D,D,…",
        type=_numbers,
        help="one frame per degree in [0, 1] (default for a .png: 1)",
    )
    when.add_argument("--seconds", type=float, help="length of a rise or pulse (default: 2)")
    when.add_argument(
        "--hold",
        metavar="SECONDS",
        type=float,
        help="for how long more the peak is held: at the end of a rise, in the middle of a pulse"
        " (default: 0)",
    )
    when.add_argument(
        "--fps", help="frames a second, such as 25 or 30000/1001 (default: 30, or the file's own)"
    )

    _add_face(command)
    _add_clip(_add_output(command, ".mp4, .gif, .webp or .png"))


def _add_mix(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--mix",
        metavar="NAME=D,…",
        type=_pairs,
        help="several expressions, a degree in [0, 1] each",
    )


def _add_action(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--action",
        metavar="NAME=W,…",
        type=_pairs,
        action="append",
        default=[],
        help="actions, such as jawOpen=0.4, mouthSmile=0.8 for both its sides, or headYaw=-0.5 for a"
        " turn of the head (moue actions lists them); added to the expression; may be repeated",
    )


def _add_expressions(command: Parser) -> None:
    command.add_argument(
        "do",
        metavar="list|save|remove",
        nargs="?",
        choices=("list", "save", "remove"),
        default="list",
        help="what to do (default: %(default)s)",
    )
    command.add_argument("name", metavar="NAME", nargs="?", help="of the one to save or remove")
    what = command.add_argument_group("what is saved")
    _add_mix(what)
    _add_action(what)


def _add_actions(command: Parser) -> None:
    command.add_argument_group("output").add_argument(
        "--json", action="store_true", help="for programs to read"
    )


def _add_face(command: Parser) -> None:
    command.add_argument_group("which face").add_argument(
        "--face",
        metavar="largest|N|all",
        type=_face,
        default="largest",
        help="of the photo; N counts from 1, the largest; -v says where each is (default: %(default)s)",
    )


def _add_output(command: Parser, suffixes: str) -> argparse._ArgumentGroup:
    out = command.add_argument_group("output")
    out.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help=f"a name ending in {suffixes}, or in / for a folder of PNGs",
    )
    return out


def _add_clip(out: argparse._ArgumentGroup) -> None:
    out.add_argument(
        "--size",
        metavar="PX",
        type=_pixels,
        help="the longer side of the frames at most: a larger photo, of up to 64 megapixels, is made"
        " smaller first"
        " (default: the photo's own size)",
    )
    out.add_argument(
        "--batch", type=int, default=1, help="frames decoded at a time (default: %(default)s)"
    )


def _add_drive(command: Parser) -> None:
    command.add_argument("photo", metavar="PHOTO", help="whose face is to move")
    command.add_argument("video", metavar="VIDEO", help="whose face moves it")
    _add_face(command)
    _add_tracking(
        command,
        "--neutral",
        metavar="SECOND|FILE",
        help="when the face in the video is at rest, or a rest that moue live saved"
        " (default: the quietest second of the first ten)",
    )
    out = _add_output(command, ".mp4, .gif or .webp")
    out.add_argument("--fps", help="frames a second (default: the video's own, exactly)")
    out.add_argument("--no-sound", action="store_true", help="leave the video's sound out")
    out.add_argument("--save-curve", metavar="FILE.json", help="keep the performance")
    _add_clip(out)


def _add_live(command: Parser) -> None:
    command.add_argument(
        "photo", metavar="PHOTO", nargs="+", help="one portrait, or several to switch between"
    )
    source = _add_source(command, "until it ends, q or Ctrl-C")
    source.add_argument(
        "--actions",
        metavar="-|udp|osc|ws://HOST:PORT",
        help="play what moue track sends and open no camera: - reads standard input, udp:// and osc://"
        " listen at this machine's HOST, ws:// connects to the sender's; after 0.2 s without any the"
        " portrait eases to rest",
    )
    _add_face(command)
    out = command.add_argument_group("output")
    out.add_argument("--headless", action="store_true", help="show no window")
    out.add_argument("--record", metavar="OUT.mp4", help="record from the first frame on")
    out.add_argument(
        "--virtual-camera",
        action="store_true",
        help="be a camera for other programs (pip install pyvirtualcam)",
    )
    out.add_argument(
        "--size",
        metavar="PX",
        type=_pixels,
        default=720,
        help="the portrait's height at most (default: %(default)s)",
    )


def _add_studio(command: Parser) -> None:
    command.add_argument(
        "photo", metavar="PHOTO", nargs="*", help="open from the start; the page opens more"
    )
    _add_face(command)
    page = command.add_argument_group("the page")
    page.add_argument(
        "--host",
        default="127.0.0.1",
        help="this machine's address to open it at (default: %(default)s, for this machine alone)",
    )
    page.add_argument(
        "--port", type=_port, default=8000, help="0 takes a free one (default: %(default)s)"
    )
    page.add_argument(
        "--no-browser", action="store_true", help="open no browser: print the page's address only"
    )


def _add_track(command: Parser) -> None:
    _add_source(command, "until it ends, or Ctrl-C")
    command.add_argument_group("output").add_argument(
        "--to",
        metavar="-|udp|osc|ws://HOST:PORT",
        default="-",
        help="- prints lines, udp:// and osc:// send datagrams to HOST, ws:// listens at this machine's"
        " HOST for who wants them (default: %(default)s)",
    )


def _add_source(command: Parser, how_long: str) -> argparse._ArgumentGroup:
    source = command.add_argument_group("where the face is seen")
    source.add_argument(
        "--camera",
        metavar="N|/dev/video…|csi://N|FILE|URL",
        help="a camera (csi:// is a Jetson's), a video played as if it were one, a stream, or a"
        " GStreamer pipeline (default: 0, the first camera)",
    )
    source.add_argument("--loop", action="store_true", help="play a video again and again")
    source.add_argument("--seconds", type=_seconds, help=f"how long (default: {how_long})")
    source.add_argument("--mirror", action="store_true", help="swap left and right")
    _add_tracking(
        command,
        "--neutral",
        metavar="FILE",
        help="this person at rest: read if there, else written when done"
        " (default: found in the first ten seconds)",
    )
    return source


def _add_tracking(command: Parser, neutral: str, **how: str) -> None:
    tracking = command.add_argument_group("how the face is read")
    tracking.add_argument(neutral, **how)  # type: ignore[arg-type]
    tracking.add_argument(
        "--scores",
        metavar="FILE",
        help="MediaPipe's face_landmarker.task, to read actions with in place of the built-in way",
    )
    tracking.add_argument(
        "--gain",
        metavar="NAME=G,…",
        type=_pairs,
        help="play actions more or less strongly, such as mouthSmile=1.3; all=G stands for those"
        " not named (default: 1)",
    )
    tracking.add_argument(
        "--low",
        metavar="NAME=W,…",
        type=_pairs,
        help="weights that still play as rest (default: all=0.04)",
    )


def _add_export(command: Parser) -> None:
    out = command.add_argument_group("output")
    out.add_argument(
        "-o", "--output", metavar="OUT.onnx", required=True, help="a name ending in .onnx"
    )
    out.add_argument("--fp32", action="store_true", help="in FP32 (default: FP16)")


def _add_engine(command: Parser) -> None:
    which = command.add_argument_group("for which GPUs")
    which.add_argument(
        "--sm",
        metavar="CC",
        action="append",
        default=[],
        help="a compute capability, such as 86 for 8.6; built by TensorRT-RTX, which needs no GPU"
        " for it; may be repeated (default: that of this machine's GPU)",
    )
    which.add_argument(
        "--device",
        metavar="cuda[:N]",
        default="cuda",
        help="which of this machine's GPUs, where no --sm is named (default: %(default)s)",
    )
    command.add_argument_group("how").add_argument(
        "--workspace",
        metavar="SIZE",
        type=_size,
        default="1G",
        help="GPU memory an engine may use on the side, such as 512M or 2G (default: %(default)s)",
    )


def _add_benchmark(command: Parser) -> None:
    what = command.add_argument_group("what is measured")
    what.add_argument("--photo", help="a photo with a face (default: a plain picture, 1920×1080)")
    what.add_argument(
        "--size",
        metavar="PX",
        type=int,
        help="side of the face square (default: as in the photo; 512 without one)",
    )
    what.add_argument(
        "--batch", type=int, default=1, help="frames decoded at a time (default: %(default)s)"
    )
    what.add_argument(
        "--camera",
        metavar="N|csi://N|FILE|URL",
        help="whose pictures are tracked (default: tracking is not measured)",
    )
    what.add_argument(
        "--seconds", type=float, default=3.0, help="of measuring, in all (default: %(default)s)"
    )
    out = command.add_argument_group("output")
    out.add_argument("--plot", metavar="FILE.png", help="how the times are spread, as a picture")
    out.add_argument("--json", action="store_true", help="leave the table out")


def _add_doctor(command: Parser) -> None:
    command.add_argument_group("output").add_argument(
        "--json", action="store_true", help="for programs to read"
    )


def _add_verify(command: Parser) -> None:
    command.add_argument("file", metavar="FILE", help="a picture or clip, of whatever program")


def _add_model(command: Parser, takes: Collection[str]) -> None:
    """The options of `MODEL` that a command has a use for, and -v."""
    if takes:
        model = command.add_argument_group("model and device" if "device" in takes else "model")
        for option in takes:
            model.add_argument(f"--{option}", **MODEL[option])
    command.add_argument_group("messages").add_argument(
        "-v", "--verbose", action="store_true", help="say what is chosen and why"
    )


def _pairs(text: str) -> dict[str, float]:
    """`happy=0.5,surprise=0.5` by name."""
    pairs: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not name or not equals or name in pairs:
            raise ArgumentTypeError(f"must be NAME=NUMBER, each name once, but got {text!r}")
        (pairs[name],) = _numbers(number)
    return pairs


def _size(text: str) -> int:
    """`512M` or `2G` in bytes."""
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdecimal() or unit not in SIZES or not int(number):
        raise ArgumentTypeError(f"must be a size such as 512M or 2G, but got {text!r}")
    return int(number) * SIZES[unit]


def _pixels(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or not 64 <= int(text) <= MOST_PIXELS:
        raise ArgumentTypeError(
            f"must be a number of pixels from 64 to {MOST_PIXELS}, but got {text!r}"
        )
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise ArgumentTypeError(f"must be a port from 0 to 65535, but got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < math.inf:
            return seconds
    raise ArgumentTypeError(f"must be a number of seconds above 0, but got {text!r}")


def _numbers(text: str) -> list[float]:
    """`0,0.25,1` as numbers."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ArgumentTypeError(
            f"must be numbers with commas between, such as 0,0.5,1, but got {text!r}"
        ) from None


def _face(text: str) -> str | int:
    return int(text) if text.isdecimal() else text
