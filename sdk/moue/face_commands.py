"""`moue drive`, `moue live` and `moue track`: the commands in which a face is the pen."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import chain
from pathlib import Path

from moue.animator import Animator, Portrait
from moue.bundle import load_bundle
from moue.drive import Performance
from moue.errors import UsageError
from moue.files import check_file, check_unread, same_file, whole_file
from moue.live import Live, prepare
from moue.performers import FacePerformer, Performer, RemotePerformer
from moue.photo import Source, read_photo, within
from moue.progress import with_progress
from moue.rates import parse_fps
from moue.streams import say
from moue.tracking import Neutral, Tracker, Tuning
from moue.video import Output, Sound, VideoReader, check_output, check_rate, write_frames
from moue.video.camera import open_camera
from moue.video.feed import Feed
from moue.video.outlets import Recording, VirtualCamera
from moue.video.window import Window
from moue.wire import Sample, check_target, receive, sender

MOST_BLOCKS = 36_864  # of 16×16 px: the largest frame up to level 5.2 of H.264
MOST_SIDE = 3072  # px of a square of as many

log = logging.getLogger("moue")


def drive(arguments: argparse.Namespace) -> int:
    """`moue drive`: one pass over the video, its sound beside it."""
    output = check_output(arguments.output)
    curve_path = Path(arguments.save_curve) if arguments.save_curve else None
    if output.kind == "picture":
        raise UsageError("a performance needs a clip; end -o with .mp4, .gif, .webp or /")
    read = (arguments.photo, arguments.video, arguments.neutral)
    check_unread("-o", output.path, read)
    if curve_path is not None:
        check_unread("--save-curve", curve_path, read)
        if curve_path.absolute() == output.path.absolute() or same_file(curve_path, output.path):
            raise UsageError(f"--save-curve {curve_path} is the clip of -o; name another file")
        check_file(curve_path)
    rest_at, neutral = _rest(arguments.neutral)
    video = VideoReader(Path(arguments.video))
    fps = parse_fps(video.fps if arguments.fps is None else arguments.fps)
    check_rate(output, fps)
    bundle = load_bundle(arguments.bundle)
    with ExitStack() as stack:
        tracker = stack.enter_context(Tracker(arguments.scores, neutral, _tuning(arguments)))
        performance = Performance(
            video, tracker, fps, bundle.actions, rest_at, keep=curve_path is not None
        )
        animator = stack.enter_context(
            Animator(bundle, arguments.device, arguments.runtime, arguments.threads)
        )
        portrait = portrait_for(animator, arguments, output)
        sound = None
        if not arguments.no_sound:
            sound = stack.enter_context(Sound(video.path, video.start))
        poses = iter(performance)
        first = next(poses)  # takes seconds: here, where Ctrl-C ends it at once
        frames = animator.frames(portrait, chain([first], poses), arguments.batch)
        total = max(1, round((video.seconds or 0.0) * fps))
        with closing(with_progress(frames, total, sys.stderr)) as shown:
            written = write_frames(shown, output, fps, sound)
    if curve_path is not None:
        with whole_file(curve_path) as part:
            part.write_text(performance.curve().to_json(), encoding="utf-8")
    width, height = written.size
    heard = " with sound" if output.path.suffix == ".mp4" and sound and sound.exists else ""
    say(
        f"{written.path}: {written.frames} frames, {width}×{height},"
        f" {written.seconds:.4g} s{heard}; a face in {performance.seen} of {performance.frames}"
    )
    return 0


def portrait_for(animator: Animator, arguments: argparse.Namespace, output: Output) -> Portrait:
    """The photo at `--size`, prepared; what many players will not play of it is said."""
    photo: Source = arguments.photo
    if arguments.size is not None:
        photo = within(read_photo(photo), arguments.size, arguments.size)
    portrait = animator.prepare(photo, arguments.face)
    height, width = portrait.photo.shape[:2]
    if output.path.suffix.lower() == ".mp4" and -(-width // 16) * -(-height // 16) > MOST_BLOCKS:
        log.warning(
            "%s has %d×%d pixels, more than most hardware plays (H.264 up to level 5.2):"
            " --size %d makes it smaller",
            output.path,
            width,
            height,
            MOST_SIDE,
        )
    return portrait


def live(arguments: argparse.Namespace) -> int:
    """`moue live`: every portrait is prepared before the camera is opened."""
    path = None if arguments.record is None else Path(arguments.record)
    if path is not None and check_output(path).kind != "clip":
        raise UsageError(f"--record takes a clip such as out.mp4, but got {arguments.record!r}")
    if path is not None:
        check_unread("--record", path, (*arguments.photo, arguments.camera))
    if arguments.actions is not None:
        check_target(arguments.actions)
        for option in ("camera", "loop", "neutral", "scores", "gain", "low"):
            if getattr(arguments, option):
                raise UsageError(f"--{option} goes to moue track, where --actions come from")
    with ExitStack() as stack:
        screen = None if arguments.headless else Window("moue")
        if screen is not None:
            stack.callback(screen.close)
        animator = stack.enter_context(
            Animator(arguments.bundle, arguments.device, arguments.runtime, arguments.threads)
        )
        portraits = [
            prepare(animator, photo, arguments.size, arguments.face) for photo in arguments.photo
        ]
        camera = None
        if arguments.virtual_camera:
            height, width = portraits[0].photo.shape[:2]
            camera = VirtualCamera((width, height))
            stack.callback(camera.close)
            say(f"other programs see the portrait at {camera.device}")
        performer = stack.enter_context(_performer(arguments))
        performer.mirror = arguments.mirror
        recording = Recording(path) if path is not None else None
        stage = Live(animator, portraits, performer, screen, recording, camera)
        session = stage.run(arguments.seconds)
    say(f"{session}")
    return 1 if stage.lost_recording else 0


def track(arguments: argparse.Namespace) -> int:
    """`moue track`: one sample a frame; the picture stays here. Ctrl-C ends it well."""
    with sender(arguments.to) as send, _performer(arguments) as performer:
        performer.mirror = arguments.mirror
        frame, start = 0, None
        with suppress(KeyboardInterrupt):
            while not performer.ended:
                moment = performer.next(timeout=0.1)
                if moment is None:
                    continue
                start = moment.captured if start is None else start
                if arguments.seconds is not None and moment.captured - start >= arguments.seconds:
                    break
                taken = moment.captured + time.time() - time.monotonic()  # s since 1970
                send(Sample(moment.weights, moment.confidence, moment.pose, frame, taken))
                frame += 1
    return 0


@contextmanager
def _performer(arguments: argparse.Namespace) -> Iterator[Performer]:
    """Who the options name: a face before a camera, or actions from elsewhere."""
    source = getattr(arguments, "actions", None)
    if source is not None:
        name, endless = ("standard input", False) if source == "-" else (source, True)
        lines = Feed(name, lambda: receive(source, log.warning), endless, first=None)
        with lines:
            yield RemotePerformer(lines)
        return
    path = Path(arguments.neutral) if arguments.neutral else None
    if path is not None:
        check_file(path)
    known = Neutral.load(path) if path is not None and path.exists() else None
    with ExitStack() as stack:
        tracker = stack.enter_context(Tracker(arguments.scores, known, _tuning(arguments)))
        camera = stack.enter_context(open_camera(arguments.camera or "0", arguments.loop))
        performer = FacePerformer(camera, tracker)
        try:
            yield performer
        finally:  # a camera has no end: what ends a session is a key, Ctrl-C or the system
            found = tracker.neutral
            if path is not None and found is not None and (known is None or performer.calibrated):
                found.save(path)


def _rest(text: str | None) -> tuple[float | None, Neutral | None]:
    """`--neutral` of `moue drive`: a second of the video, or a file that `moue live` saved."""
    if text is None:
        return None, None
    try:
        second = float(text)
    except ValueError:
        return None, Neutral.load(text)
    if not 0 <= second <= 3600:
        raise UsageError(f"--neutral takes a second of the video's first hour, but got {text}")
    return second, None


def _tuning(arguments: argparse.Namespace) -> Tuning:
    return Tuning(arguments.gain or {}, arguments.low or {})
