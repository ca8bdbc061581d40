"""What comes from outside: files up to a size, and JSON by the letter."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_within(path: Path, most: int) -> bytes:
    """A file's bytes; raises OSError, and ValueError where there are more than `most`."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        size = f"{most >> 20} MB" if most >> 20 else f"{most >> 10} kB"
        raise ValueError(f"it is larger than {size}")
    return data


def strict_json(data: bytes) -> Any:
    """JSON as the standard has it: UTF-8, no NaN, no key twice. Raises ValueError."""

    def pairs(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        items = list(items)
        if len({key for key, _ in items}) != len(items):
            raise ValueError("a key stands twice")
        return dict(items)

    def constant(text: str) -> Any:
        raise ValueError(f"{text} is not a number")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
