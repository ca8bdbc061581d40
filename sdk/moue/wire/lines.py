"""A sample as a line of JSON."""

from __future__ import annotations

import json

from moue.actions import ACTIONS
from moue.reading import strict_json
from moue.wire.sample import MAX_BYTES, Received, Sample, received

VERSION = 1
FAINT = 0.00005  # what rounds to nothing is left out


def encode(sample: Sample) -> bytes:
    """One line, without its end."""
    pose = sample.pose and {name: round(angle, 1) for name, angle in vars(sample.pose).items()}
    line = {
        "moue": VERSION,
        "time": round(sample.time, 4),
        "frame": sample.frame,
        "confidence": round(sample.confidence, 3),
        "pose": pose,
        "actions": {
            name: round(value, 4)
            for name, value in zip(ACTIONS, sample.weights.tolist(), strict=True)
            if abs(value) >= FAINT
        },
    }
    return json.dumps(line, separators=(",", ":")).encode()


def decode(line: bytes) -> Received:
    """The actions of one line.

    Raises:
        ValueError: it is not of the form of `moue.wire`, or as `received`.
    """
    if len(line) > MAX_BYTES:
        raise ValueError(f"a line has at most {MAX_BYTES} bytes")
    fields = strict_json(line)
    if not isinstance(fields, dict) or fields.get("moue") != VERSION:
        raise ValueError('a line must be {"moue": 1, "actions": {…}, …}')
    actions = fields.get("actions")
    if not isinstance(actions, dict):
        raise ValueError("actions must be weights by name")
    return received(actions, fields.get("confidence", 1))
