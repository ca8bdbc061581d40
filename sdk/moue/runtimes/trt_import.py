"""Which TensorRT this machine has: TensorRT itself, or TensorRT for RTX. One code path serves both.

Engines are built and run through what TensorRT 10.3 (JetPack 6), 11 and TensorRT-RTX share; what
one of them alone has is asked for with `hasattr`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moue.errors import RuntimeUnavailableError, one_line

TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}  # by module, the preferred first
OLDEST = {"tensorrt": (10, 3), "tensorrt_rtx": (1, 0)}
HOW = "on x86_64: pip install tensorrt-rtx, for Hopper tensorrt; on Jetson it comes with JetPack"


@dataclass(frozen=True)
class TensorRt:
    """An imported TensorRT; `flavour` is the module's name."""

    module: Any
    flavour: str

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities it builds for without a GPU, as `86`; TensorRT itself has none."""
        if self.flavour != "tensorrt_rtx":
            return ()
        names = self.module.ComputeCapability.__members__
        return tuple(sorted((n[2:] for n in names if n[2:].isdecimal()), key=int))

    def __str__(self) -> str:
        return f"{TITLES[self.flavour]} {self.version}"


def import_tensorrt(flavours: Sequence[str] = tuple(TITLES)) -> TensorRt:
    """The first of `flavours` that imports and is recent enough.

    Raises:
        RuntimeUnavailableError: there is none; the message has each one's reason.
    """
    reasons = []
    for flavour in flavours:
        try:
            found = TensorRt(importlib.import_module(flavour), flavour)
            release = tuple(int(part) for part in found.version.split(".")[:2])
        except (ImportError, OSError, RuntimeError, AttributeError, ValueError) as error:
            reasons.append(f"{flavour}: {one_line(error)}")
            continue
        if release >= OLDEST[flavour]:
            return found
        reasons.append(f"{found} is older than {'.'.join(map(str, OLDEST[flavour]))}")
    raise RuntimeUnavailableError(
        f"{' and '.join(TITLES[flavour] for flavour in flavours)} cannot be used"
        f" ({'; '.join(reasons)}); {HOW}"
    )
