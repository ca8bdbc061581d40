"""A sample as one bundle of Open Sound Control 1.0.

A bundle is `#bundle`, a time tag and its elements, each after its size; a message is an address, the
types of its arguments and the arguments. All is big-endian and padded to 4 bytes.
"""

from __future__ import annotations

import struct
from typing import Final

from moue.actions import ACTIONS, sides
from moue.wire.sample import MAX_BYTES, Received, Sample, received

BUNDLE: Final = b"#bundle\0"
HEAD = len(BUNDLE) + 8  # bytes
SINCE_1900 = 2_208_988_800  # s from then, where time tags begin, to 1970
ADDRESS = "/moue/"
NUMBERS = {b",f\0\0": ">f", b",i\0\0": ">i", b",d\0\0": ">d"}  # one argument, by its type


def encode(sample: Sample) -> bytes:
    """One packet."""
    messages = [_message("frame", "i", sample.frame % 2**31)]
    messages.append(_message("confidence", "f", sample.confidence))
    if sample.pose is not None:
        messages.append(_message("pose", "fff", *vars(sample.pose).values()))
    messages += [
        _message(name, "f", value)
        for name, value in zip(ACTIONS, sample.weights.tolist(), strict=True)
    ]
    tag = round((sample.time + SINCE_1900) * 2**32) % 2**64
    return BUNDLE + struct.pack(">Q", tag) + b"".join(messages)


def decode(packet: bytes) -> Received:
    """The actions of one packet.

    Raises:
        ValueError: it is not of the form of `moue.wire`, or as `received`.
    """
    if len(packet) > MAX_BYTES:
        raise ValueError(f"a packet has at most {MAX_BYTES} bytes")
    if not packet.startswith(BUNDLE) or len(packet) < HEAD:
        raise ValueError("an OSC packet must be one bundle")
    numbers: dict[str, float] = {}
    known, at = False, HEAD
    while at < len(packet):
        begins = at + 4
        at = begins + int.from_bytes(packet[at:begins], "big")
        if at > len(packet) or begins > len(packet):
            raise ValueError("an OSC bundle is cut short")
        address, _, _ = packet[begins:at].partition(b"\0")
        name = address.decode("ascii", "replace")
        if not name.startswith(ADDRESS):
            continue
        known, name = True, name[len(ADDRESS) :]
        if name in ("frame", "pose"):
            continue
        wanted = name == "confidence" or sides(name)[0] in ACTIONS
        numbers[name] = _number(packet[begins + _padded(address) : at], name) if wanted else 0.0
    if not known:
        raise ValueError(
            f"an OSC bundle must hold messages under {ADDRESS}; bundles inside it are not read"
        )
    confidence = numbers.pop("confidence", 1.0)
    return received(numbers, confidence)


def _message(name: str, types: str, *arguments: float) -> bytes:
    content = _string(ADDRESS + name) + _string("," + types) + struct.pack(">" + types, *arguments)
    return struct.pack(">i", len(content)) + content


def _string(text: str) -> bytes:
    data = text.encode("ascii")
    return data.ljust(_padded(data), b"\0")


def _padded(string: bytes) -> int:
    """Bytes that a string takes with the zeros at its end, of which there is at least one."""
    return len(string) // 4 * 4 + 4


def _number(content: bytes, name: str) -> float:
    form = NUMBERS.get(content[:4], "")
    if not form or len(content) != 4 + struct.calcsize(form):
        raise ValueError(f"{ADDRESS}{name} must have one argument, a number")
    value: float = struct.unpack(form, content[4:])[0]
    return value
