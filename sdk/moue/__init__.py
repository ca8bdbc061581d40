"""One portrait in, any number of expression frames out.

A clip of an expression:

>>> import moue
>>> with moue.Animator() as animator:
...     portrait = animator.prepare("photo.jpg")
...     curve = moue.expression("happy").rise(seconds=2, fps=30)
...     moue.write_frames(animator.frames(portrait, curve), "happy.mp4", curve.fps)

Another face's performance:

>>> with moue.Animator() as animator, moue.Tracker() as tracker:
...     portrait = animator.prepare("photo.jpg")
...     performance = moue.Performance(moue.VideoReader("me.mp4"), tracker)
...     moue.write_frames(animator.frames(portrait, performance), "driven.mp4", performance.fps)

`moue.tracking` and `moue.video` have what goes with these, such as `Neutral`, `Tuning` and `Sound`.
"""

from moue import tracking, video
from moue.animator import Animator, Portrait
from moue.crop import Face, find_faces
from moue.curves import ActionCurve
from moue.drive import Performance
from moue.errors import (
    ActionError,
    BundleError,
    CurveError,
    MoueError,
    NoFaceError,
    OutputError,
    PhotoError,
    RuntimeUnavailableError,
    UsageError,
    VideoError,
)
from moue.expressions import (
    Expression,
    expression,
    mix,
    remove_expression,
    save_expression,
    saved_expressions,
)
from moue.provenance import Mark, mark, verify
from moue.tracking import Tracker
from moue.version import VERSION as __version__
from moue.video import VideoReader, write_frames

__all__ = [
    "ActionCurve",
    "ActionError",
    "Animator",
    "BundleError",
    "CurveError",
    "Expression",
    "Face",
    "Mark",
    "MoueError",
    "NoFaceError",
    "OutputError",
    "Performance",
    "PhotoError",
    "Portrait",
    "RuntimeUnavailableError",
    "Tracker",
    "UsageError",
    "VideoError",
    "VideoReader",
    "__version__",
    "expression",
    "find_faces",
    "mark",
    "mix",
    "remove_expression",
    "save_expression",
    "saved_expressions",
    "tracking",
    "verify",
    "video",
    "write_frames",
]
