"""The command line: a photo and an expression in, a clip out.

    moue animate photo.jpg --expression happy -o happy.mp4

Exit codes: 0 done; 1 failed and 2 wrong usage, each with one line that begins `moue: error:`. Of
`moue verify` also 3, not marked, and 4, changed since it was.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

from moue import provenance
from moue.actions import action_vector, least, sideless, sides
from moue.animator import Animator
from moue.bundle import Bundle, load_bundle
from moue.curves import ActionCurve
from moue.errors import MoueError, UsageError, one_line, suggest
from moue.expressions import Expression, mix, remove_expression, save_expression, with_saved
from moue.face_commands import drive, live, portrait_for, track
from moue.files import check_file, check_unread, whole_file
from moue.glossary import meaning, region
from moue.options import parser
from moue.progress import with_progress
from moue.rates import parse_fps
from moue.streams import flush_output, open_streams, print_line, say
from moue.video import Output, check_output, check_rate, write_frames

SECONDS, FPS, DEGREE = 2.0, "30", 1.0  # of a rise or a pulse
SHAPES = ("rise", "pulse")  # of --curve, where it names no file
UNMARKED, TAMPERED = 3, 4  # how `moue verify` ends
INTERRUPTED = 130  # what a shell reports of a process that Ctrl-C ended
M_ARENA_MAX = -8  # glibc's number for how many heaps threads spread over


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        argv: the words after `moue`; those of this process when None.
    """
    commands = {
        "animate": animate,
        "drive": drive,
        "live": live,
        "studio": studio,
        "track": track,
        "expressions": expressions,
        "actions": actions,
        "export": export,
        "engine": engine,
        "benchmark": benchmark,
        "doctor": doctor,
        "verify": verify,
    }
    _share_one_heap()
    open_streams()
    try:
        with _stopped_in_order():
            try:
                arguments = parser().parse_args(argv)
                with _log_on_stderr(arguments.verbose):
                    return commands[arguments.command](arguments)
            finally:
                flush_output()
    except MoueError as error:
        return _failed(str(error), error.exit_code)
    except SystemExit as end:  # --help and --version end so, and SIGTERM
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has had enough
        return 1
    except MemoryError:
        return _failed("out of memory; use a smaller photo", 1)
    except Exception as error:  # noqa: BLE001 - a fault of moue's own, told as one line too
        return _failed(f"{_unforeseen(error)}; please report it, with what moue doctor says", 1)


def animate(arguments: argparse.Namespace) -> int:
    """`moue animate`: all that can be refused is refused before the model is loaded."""
    output = check_output(arguments.output, stills=arguments.degrees is not None)
    check_unread("-o", output.path, [arguments.photo])
    bundle = load_bundle(arguments.bundle)
    curve = _curve(arguments, bundle, output)
    check_rate(output, curve.fps)
    with Animator(bundle, arguments.device, arguments.runtime, arguments.threads) as animator:
        portrait = portrait_for(animator, arguments, output)
        frames = animator.frames(portrait, curve, arguments.batch)
        with closing(with_progress(frames, len(curve), sys.stderr)) as shown:
            written = write_frames(shown, output, curve.fps)
    width, height = written.size
    count = "1 frame" if written.frames == 1 else f"{written.frames} frames"
    length = f", {written.seconds:.4g} s" if output.kind == "clip" else ""
    say(f"{written.path}: {count}, {width}×{height}{length}")
    return 0


def studio(arguments: argparse.Namespace) -> int:
    """`moue studio`: a page in the browser, until Ctrl-C."""
    from moue.studio.command import open_studio

    return open_studio(arguments)


def expressions(arguments: argparse.Namespace) -> int:
    """`moue expressions`: lists them on standard output, or keeps or removes one of the user's."""
    bundle, name = load_bundle(arguments.bundle), arguments.name
    if (arguments.do == "list") != (name is None):
        raise UsageError(
            f"moue expressions {arguments.do} takes {'a' if name is None else 'no'} NAME"
        )
    if arguments.do != "save" and (arguments.mix or arguments.action):
        raise UsageError(f"--mix and --action go with save, not with {arguments.do}")
    if arguments.do == "list":
        for known, weights in with_saved(bundle.expressions).items():
            print_line(f"{known:10} {_both_sides(weights)}")
    elif arguments.do == "save":
        target = _target(arguments, bundle)
        if target is None:
            raise UsageError("nothing to save: add --mix NAME=D or --action NAME=W")
        say(f"{name}: {save_expression(name, target, bundle.actions)}")
    else:
        remove_expression(name)
        say(f"{name}: removed")
    return 0


def actions(arguments: argparse.Namespace) -> int:
    """`moue actions`: a line each on standard output, in the order of an action vector."""
    known = load_bundle(arguments.bundle).actions
    if arguments.json:
        listed = [
            {"name": n, "region": region(n), "min": least(n), "max": 1.0, "does": meaning(n)}
            for n in known
        ]
        print_line(json.dumps(listed, indent=1, ensure_ascii=False))
    else:
        for name in known:
            print_line(f"{name:20} {least(name):2g}…1  {region(name):14} {meaning(name)}".rstrip())
    return 0


def export(arguments: argparse.Namespace) -> int:
    """`moue export`: the file is compared with the bundle before it takes its name."""
    from moue.graphs import one_graph
    from moue.parity import largest_difference

    path = Path(arguments.output)
    if path.suffix != ".onnx":
        raise UsageError(f"-o must name an .onnx file, but got {arguments.output!r}")
    check_file(path)
    bundle = load_bundle(arguments.bundle)
    with whole_file(path) as part:
        part.write_bytes(one_graph(bundle, arguments.fp32).SerializeToString())
        levels = largest_difference(part, bundle, arguments.threads)
    precision = "FP32" if arguments.fp32 else "FP16"
    megabytes = path.stat().st_size / 1e6
    say(
        f"{path}: {precision}, {len(bundle.actions)} actions, {megabytes:.1f} MB;"
        f" its frames differ from the bundle's by at most {levels} of 255 levels"
    )
    side, count = bundle.input_size, len(bundle.actions)
    say(
        f"photo [1, 3, {side}, {side}] (the face square, RGB in [0, 1]), actions [frames, {count}]"
        f" (as moue actions lists them) → frames [frames, 3, {side}, {side}] (RGB in [0, 1]),"
        f" all float{32 if arguments.fp32 else 16}; moue export --help says more"
    )
    return 0


def engine(arguments: argparse.Namespace) -> int:
    """`moue engine`: both graphs for every GPU named, or this one; exit code 0 where all are kept."""
    from moue.runtimes.engine_cache import EngineCache, EngineKey
    from moue.runtimes.engines import build_and_store
    from moue.runtimes.select import engine_targets

    trt, gpus = engine_targets(arguments.device, arguments.sm)
    bundle, cache, kept = load_bundle(arguments.bundle), EngineCache(), True
    for gpu in gpus:
        for graph in bundle.manifest.graphs:
            key = EngineKey.of(bundle, graph, trt, gpu)
            built = build_and_store(
                trt, bundle, key, cache, arguments.workspace, sys.stderr, gpu.index
            )
            megabytes = len(built.engine) / 1e6
            say(
                f"{graph} for SM{key.compute_capability} by {trt}: {megabytes:.1f} MB"
                f" in {built.seconds:.1f} s, {built.path or 'not kept'}"
            )
            kept = kept and built.path is not None
    return 0 if kept else 1


def benchmark(arguments: argparse.Namespace) -> int:
    """`moue benchmark`: a table on standard error, then one line of JSON on standard output."""
    from moue.benchmark import measure, plot

    if arguments.plot is not None:
        path = Path(arguments.plot)
        check_unread("--plot", path, (arguments.photo, arguments.camera))
        check_file(path)
    report = measure(
        arguments.bundle,
        arguments.device,
        arguments.runtime,
        arguments.threads,
        arguments.photo,
        arguments.size,
        arguments.batch,
        arguments.seconds,
        arguments.camera,
    )
    if arguments.plot is not None:
        plot(report, Path(arguments.plot))
    if not arguments.json:
        say(str(report))
    print_line(json.dumps(report.to_json(), ensure_ascii=False))
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    """`moue doctor`: exit code 0 where `moue animate` will work."""
    from moue.doctor import examine

    report = examine(arguments.bundle, arguments.device, arguments.runtime, arguments.threads)
    print_line(json.dumps(report.to_json(), indent=1) if arguments.json else report)
    return 0 if report.ready else 1


def verify(arguments: argparse.Namespace) -> int:
    """`moue verify`: one line on standard output, and exit code 0, 3 or 4."""
    mark = provenance.verify(arguments.file)
    if mark is None:
        print_line("not marked as synthetic")
        return UNMARKED
    state = {
        True: "as it was made",
        False: "changed since it was marked",
        None: "with nothing to tell whether it was changed since",
    }[mark.intact]
    by = f" by {mark.tool}" if mark.tool else ""
    print_line(f"marked as synthetic{by} ({mark.source}), {state}")
    return TAMPERED if mark.intact is False else 0


def _share_one_heap() -> None:
    """All threads take memory from one heap, where the system has the means (glibc).

    A heap for each keeps what the others could use: 50 MB more at the peak of a clip.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def _curve(arguments: argparse.Namespace, bundle: Bundle, output: Output) -> ActionCurve:
    """What the face is to do. Every name and number is checked."""
    target, still = _target(arguments, bundle), output.kind == "picture"
    if arguments.curve not in (None, *SHAPES):
        if arguments.curve.isalpha() and not os.path.exists(arguments.curve):
            near = suggest(arguments.curve, SHAPES)
            raise UsageError(
                f"--curve is {' or '.join(SHAPES)}, or a file, but there is no {arguments.curve!r}{near}"
            )
        own = (arguments.degree, arguments.seconds, arguments.hold)
        if target or any(value is not None for value in own):
            raise UsageError(
                "a curve file has its own actions and length; leave out --expression, --mix,"
                " --action, --degree, --seconds and --hold"
            )
        curve = ActionCurve.from_json(arguments.curve, arguments.fps)
    elif target is None:
        raise UsageError(
            "nothing to animate: add --expression NAME, --mix, --action or --curve FILE.json"
            f" (expressions: {', '.join(with_saved(bundle.expressions))})"
        )
    elif arguments.degrees is not None or (still and arguments.curve is None):
        curve = target.degrees(_degrees(arguments, output), _fps(arguments))
    else:
        make = target.pulse if arguments.curve == "pulse" else target.rise
        seconds = SECONDS if arguments.seconds is None else arguments.seconds
        degree = DEGREE if arguments.degree is None else arguments.degree
        curve = make(seconds, _fps(arguments), degree, arguments.hold or 0.0)
    if still and len(curve) != 1:
        raise UsageError(
            f"a .png holds one frame, but {len(curve)} were asked for; end -o with / for a folder"
        )
    action_vector(dict.fromkeys(curve.actions, 0.0), bundle.actions)
    return curve


def _target(arguments: argparse.Namespace, bundle: Bundle) -> Expression | None:
    """What --expression or --mix and every --action add up to, at degree 1; None without any."""
    named = getattr(arguments, "expression", None)
    parts = {named: 1.0} if named else arguments.mix or {}
    actions: dict[str, float] = {}
    for pairs in arguments.action:
        if twice := actions.keys() & pairs.keys():
            raise UsageError(f"--action names {min(twice)} twice; give one weight")
        actions |= pairs
    return mix(parts, actions, bundle.expressions) if parts or actions else None


def _both_sides(weights: Mapping[str, float]) -> str:
    """`mouthSmile 0.9, jawOpen 0.12`; a name without its side stands for both."""
    shown = {}
    for action, weight in weights.items():
        both = sideless(action)
        name = both if {weights.get(side) for side in sides(both)} == {weight} else action
        shown[name] = f"{name} {weight:.3g}"
    return ", ".join(shown.values())


def _degrees(arguments: argparse.Namespace, output: Output) -> list[float]:
    """What `--degrees` lists, or the one degree of a picture."""
    for option in ("seconds", "hold"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} goes with --curve; degrees make one frame each")
    if arguments.degrees is None:
        return [DEGREE if arguments.degree is None else arguments.degree]
    if arguments.degree is not None:
        raise UsageError("--degrees says how much each frame shows; leave out --degree")
    if len(arguments.degrees) == 1 and output.path.suffix.lower() == ".mp4":
        raise UsageError(
            "one degree is one frame, over before it is seen; end -o with .png,"
            " or say --degree for a clip that rises to it"
        )
    return list(arguments.degrees)


def _fps(arguments: argparse.Namespace) -> Fraction:
    return parse_fps(FPS if arguments.fps is None else arguments.fps)


def _failed(reason: str, code: int) -> int:
    say(f"moue: error: {' '.join(reason.split())}")
    return code


def _unforeseen(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    name = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    return f"unforeseen {name}: {one_line(error)}"


@contextmanager
def _log_on_stderr(verbose: bool) -> Iterator[None]:
    log, handler = logging.getLogger("moue"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("moue: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind as Ctrl-C does, so that part files go; `nohup` stays what it is.

    Python lets the main thread alone ask.
    """

    def stop(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
    heard = [number for number in wanted if number and signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
