"""One portrait in, any number of expression frames out.

>>> import moue
>>> with moue.Animator() as animator:
...     portrait = animator.prepare("photo.jpg")
...     for frame in animator.frames(portrait, moue.expression("happy").rise(seconds=2, fps=30)):
...         ...
"""

from moue.actions import ActionCurve, Expression
from moue.animator import Animator, Portrait
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
)
from moue.expressions import (
    expression,
    mix,
    remove_expression,
    save_expression,
    saved_expressions,
)
from moue.provenance import Mark, mark, verify
from moue.version import VERSION as __version__

__all__ = [
    "ActionCurve",
    "ActionError",
    "Animator",
    "BundleError",
    "CurveError",
    "Expression",
    "Mark",
    "MoueError",
    "NoFaceError",
    "OutputError",
    "PhotoError",
    "Portrait",
    "RuntimeUnavailableError",
    "UsageError",
    "__version__",
    "expression",
    "mark",
    "mix",
    "remove_expression",
    "save_expression",
    "saved_expressions",
    "verify",
]
