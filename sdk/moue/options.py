"""What the command line takes: the commands, their options, and how the values are written."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from typing import NoReturn

import moue
from moue.actions import EXPRESSIONS
from moue.errors import UsageError
from moue.runtimes.select import RUNTIMES

EXAMPLES = {
    "animate": """examples:
  moue animate photo.jpg --expression happy -o happy.mp4
  moue animate photo.jpg --mix happy=0.5,surprise=0.5 --curve pulse --seconds 3 -o both.gif
  moue animate photo.jpg --action jawOpen=0.4 --action eyeBlinkLeft=1 -o wink.png
  moue animate photo.jpg --expression sad --degrees 0,0.25,0.5,1 -o frames/""",
    "export": """example:
  moue export -o generator.onnx""",
    "doctor": """example:
  moue doctor --json""",
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
    for name, summary, add_options in (
        ("animate", "animate the face in a photo", _add_animate),
        ("export", "write the whole generator f(I, a) as one ONNX file", _add_export),
        ("doctor", "say what works on this machine, and what does not and why", _add_doctor),
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
        _add_model(command)
    return top


def _add_animate(command: Parser) -> None:
    command.add_argument("photo", metavar="PHOTO", help="JPEG, PNG, WebP, TIFF, BMP or GIF")

    what = command.add_argument_group("what the face does")
    either = what.add_mutually_exclusive_group()
    either.add_argument("--expression", metavar="NAME", help=", ".join(EXPRESSIONS))
    either.add_argument(
        "--mix",
        metavar="NAME=D,…",
        type=_pairs,
        help="several expressions, a degree in [0, 1] each",
    )
    what.add_argument(
        "--action",
        metavar="NAME=W",
        type=_pairs,
        action="append",
        default=[],
        help="one ARKit action, such as jawOpen=0.4; added to the expression; may be repeated",
    )

    when = command.add_argument_group("how it does it over time")
    either = when.add_mutually_exclusive_group()
    either.add_argument(
        "--curve",
        metavar="rise|pulse|FILE.json",
        help="from rest to the expression, there and back, or a curve of your own (default: rise)",
    )
    either.add_argument(
        "--degrees",
        metavar="D,D,…",
        type=_numbers,
        help="one frame per degree in [0, 1] (default for a .png: 1)",
    )
    when.add_argument("--seconds", type=float, help="length of a rise or pulse (default: 2)")
    when.add_argument("--fps", help="frames a second, such as 25 or 30000/1001 (default: 30)")

    command.add_argument_group("which face").add_argument(
        "--face",
        metavar="largest|N|all",
        type=_face,
        default="largest",
        help="N counts from 1, the largest (default: %(default)s)",
    )
    out = command.add_argument_group("output")
    out.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="a name ending in .mp4, .gif, .webp or .png, or in / for a folder of PNGs",
    )
    out.add_argument(
        "--batch", type=int, default=1, help="frames decoded at a time (default: %(default)s)"
    )


def _add_export(command: Parser) -> None:
    out = command.add_argument_group("output")
    out.add_argument("-o", "--output", metavar="OUT.onnx", required=True)
    out.add_argument("--fp32", action="store_true", help="in FP32 (default: FP16)")


def _add_doctor(command: Parser) -> None:
    command.add_argument_group("output").add_argument(
        "--json", action="store_true", help="for programs to read"
    )


def _add_model(command: Parser) -> None:
    model = command.add_argument_group("model and device")
    model.add_argument(
        "--bundle", metavar="NAME|PATH", default="edge", help="the model (default: %(default)s)"
    )
    model.add_argument(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        default="auto",
        help="auto takes what works; the others are used or refused (default: %(default)s)",
    )
    model.add_argument(
        "--runtime",
        metavar="|".join(("auto", *RUNTIMES)),
        default="auto",
        help="what executes the model (default: %(default)s)",
    )
    model.add_argument(
        "--threads", metavar="N", type=int, default=0, help="0 takes every core (default: 0)"
    )
    model.add_argument("-v", "--verbose", action="store_true", help="say what is chosen and why")


def _pairs(text: str) -> dict[str, float]:
    """`happy=0.5,surprise=0.5` by name."""
    pairs: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not name or not equals or name in pairs:
            raise ArgumentTypeError(f"must be NAME=NUMBER, each name once, but got {text!r}")
        (pairs[name],) = _numbers(number)
    return pairs


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
