"""Both forms of a sample: what is sent is what is played, and nothing else gets in."""

from __future__ import annotations

import json
import struct
import time
from contextlib import suppress
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moue.actions import ACTIONS
from moue.tracking import Pose
from moue.wire import Received, Sample, lines, osc
from moue.wire.sample import MAX_BYTES

JAW, YAW = ACTIONS.index("jawOpen"), ACTIONS.index("headYaw")
FORMS = pytest.mark.parametrize("form", [lines, osc], ids=["JSON", "OSC"])
MUTATIONS = 5_000  # of each form


def sample(weights: np.ndarray | None = None, pose: Pose | None = None) -> Sample:
    if weights is None:
        weights = np.zeros(len(ACTIONS), np.float32)
        weights[JAW] = 0.31
    return Sample(weights, 0.9, pose or Pose(1.23, -4.56, 0), 7, 1795170202.92345)


@FORMS
@given(st.lists(st.floats(0, 1, width=32), min_size=len(ACTIONS), max_size=len(ACTIONS)))
def test_what_is_sent_is_what_is_played(form, values):
    weights = np.array(values, np.float32)
    weights[YAW] -= weights[JAW]
    message = form.encode(sample(weights))
    assert b"\n" not in message or form is osc
    assert len(message) < 2200
    received = form.decode(message)
    assert np.abs(received.weights - weights).max() <= 0.00006
    assert received.confidence == pytest.approx(0.9)


def test_the_documented_line():
    assert json.loads(lines.encode(sample())) == {
        "moue": 1,
        "time": 1795170202.9234,
        "frame": 7,
        "confidence": 0.9,
        "pose": {"yaw": 1.2, "pitch": -4.6, "roll": 0},
        "actions": {"jawOpen": 0.31},
    }
    unseen = Sample(np.zeros(len(ACTIONS), np.float32), 0.0, None, 8, 0.0)
    assert json.loads(lines.encode(unseen))["pose"] is None


def messages(packet: bytes) -> dict[str, tuple[object, ...]]:
    """An OSC bundle taken apart as its specification says, by other means than moue's."""
    assert packet[:8] == b"#bundle\0"
    found, rest = {}, packet[16:]
    while rest:
        (size,) = struct.unpack(">i", rest[:4])
        assert size % 4 == 0
        content, rest = rest[4 : 4 + size], rest[4 + size :]
        address, _, tail = content.partition(b"\0")
        types, _, _ = tail.lstrip(b"\0").partition(b"\0")
        count = len(types) - 1
        assert size == (len(address) // 4 + 1 + len(types) // 4 + 1 + count) * 4
        found[address.decode()] = struct.unpack(">" + types[1:].decode(), content[-4 * count :])
    return found


def test_the_documented_bundle():
    packet = osc.encode(sample())
    seconds, fraction = struct.unpack(">II", packet[8:16])
    assert seconds - 2_208_988_800 + fraction / 2**32 == pytest.approx(1795170202.92345)
    found = messages(packet)
    assert list(found) == [
        *("/moue/frame", "/moue/confidence", "/moue/pose"),
        *(f"/moue/{name}" for name in ACTIONS),
    ]
    assert found["/moue/frame"] == (7,)
    assert found["/moue/pose"] == pytest.approx((1.23, -4.56, 0))
    assert found["/moue/jawOpen"] == pytest.approx((0.31,))
    assert found["/moue/eyeBlinkLeft"] == (0,)
    unseen = Sample(np.zeros(len(ACTIONS), np.float32), 0.0, None, 8, 0.0)
    assert "/moue/pose" not in messages(osc.encode(unseen))


def bundle(*contents: bytes) -> bytes:
    return b"#bundle\0" + bytes(8) + b"".join(struct.pack(">i", len(c)) + c for c in contents)


HALF_OPEN = b"/moue/jawOpen\0\0\0,f\0\0" + struct.pack(">f", 0.5)


@pytest.mark.parametrize(
    ("form", "message", "jaw"),
    [
        (lines, b'{"moue": 1, "actions": {"jawOpen": 1, "tongueOut": 7}, "extra": []}', 1),
        (lines, b'{"moue": 1, "actions": {}}', 0),
        (lines, b'{"moue": 1, "actions": {"tongueOut": 0.5}}', 0),
        (lines, b'{"moue": 1, "actions": {"jawOpen": 1.00000001}}', 1),
        (osc, bundle(HALF_OPEN), 0.5),
        (osc, bundle(HALF_OPEN[:-8] + b",i\0\0" + struct.pack(">i", 1)), 1),
        (osc, bundle(HALF_OPEN[:-8] + b",d\0\0" + struct.pack(">d", 0.25)), 0.25),
        (
            osc,
            bundle(b"/other\0\0,s\0\0hi\0\0", b"", HALF_OPEN, b"/moue/tongueOut\0,s\0\0hi\0\0"),
            0.5,
        ),
        (osc, bundle(b"/moue/frame\0,i\0\0\0\0\0\1"), 0),
    ],
)
def test_less_is_enough_and_more_is_ignored(form, message, jaw):
    received = form.decode(message)
    assert (received.weights[JAW], received.weights.sum(), received.confidence) == (jaw, jaw, 1)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lines, b'{"moue": 1, "actions": {"mouthSmile": 0.5, "mouthSmileLeft": 1}}'),
        (
            osc,
            bundle(
                b"/moue/mouthSmileLeft\0\0\0\0,i\0\0" + struct.pack(">i", 1),
                b"/moue/mouthSmile\0\0\0\0,f\0\0" + struct.pack(">f", 0.5),
            ),
        ),
    ],
)
def test_a_name_without_its_side_stands_for_both(form, message):
    weights = dict(zip(ACTIONS, form.decode(message).weights.tolist(), strict=True))
    assert {name: weight for name, weight in weights.items() if weight} == {
        "mouthSmileLeft": 1,
        "mouthSmileRight": 0.5,
    }


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"moue": 2, "actions": {}}',
        b'{"moue": 1, "actions": []}',
        b'{"moue": 1, "actions": {"jawOpen": NaN}}',
        b'{"moue": 1, "actions": {"jawOpen": 1e999}}',
        b'{"moue": 1, "actions": {"jawOpen": -0.1}}',
        b'{"moue": 1, "actions": {"jawOpen": true}}',
        b'{"moue": 1, "actions": {"jawOpen": "1"}}',
        b'{"moue": 1, "actions": {"jawOpen": ' + b"1" * 5000 + b"}}",
        b'{"moue": 1, "actions": {"jawOpen": ' + b"[" * 960 + b"]" * 960 + b"}}",
        b'{"moue": 1, "actions": {"jawopen": 1}}',
        b'{"moue": 1, "actions": {}, "confidence": 2}',
        b"[" * 100_000,
        b'{"moue": 1, "actions": {"x": "' + b"a" * 20_000 + b'"}}',
    ],
)
def test_lines_that_make_no_sense(line):
    with pytest.raises(ValueError, match=r"."):
        lines.decode(line)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (r'"\u001b[31mred\u001b]0;title\u0007"', r"'\x1b[31mred\x1b]0;title\x07'"),
        (r'"\u009b31m\u202e\u2028\n\ud800"', r"'\x9b31m\u202e\u2028\n\ud800'"),
        (f'"{"long" * 999}"', "'longlonglong...glonglonglong'"),
        ('{"\\u001b": []}', r"{'\x1b': []}"),
    ],
)
def test_what_was_sent_is_shown_safely(value, shown):
    with pytest.raises(ValueError, match="'jawOpen' must be a number") as refused:
        lines.decode(f'{{"moue": 1, "actions": {{"jawOpen": {value}}}}}'.encode())
    assert str(refused.value).endswith(f"but got {shown}")


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (b"", "one bundle"),
        (HALF_OPEN, "one bundle"),
        (b"#bundle\0" + bytes(7), "one bundle"),
        (bundle(), "under /moue/"),
        (bundle(b"/other\0\0,f\0\0" + bytes(4)), "under /moue/"),
        (bundle(bundle(HALF_OPEN)), "under /moue/"),
        (bundle(HALF_OPEN)[:-1], "cut short"),
        (bundle(HALF_OPEN) + b"\0", "cut short"),
        (bundle(HALF_OPEN) + b"\xff\xff\xff\xff", "cut short"),
        (bundle(HALF_OPEN[:-4]), "a number"),
        (bundle(HALF_OPEN.replace(b",f", b",s")), "a number"),
        (bundle(HALF_OPEN.replace(b",f", b",d")), "a number"),
        (bundle(HALF_OPEN.replace(b",f\0\0", b",ff\0") + bytes(4)), "a number"),
        (bundle(HALF_OPEN.replace(b"jawOpen\0", b"jawopen\0")), "did you mean jawOpen"),
        (bundle(HALF_OPEN[:-4] + struct.pack(">f", float("nan"))), "'jawOpen' must be a number"),
        (bundle(HALF_OPEN[:-4] + struct.pack(">f", float("inf"))), "'jawOpen' must be a number"),
        (bundle(HALF_OPEN[:-4] + struct.pack(">f", -0.5)), "'jawOpen' must be a number"),
        (bundle(b"/moue/confidence\0\0\0\0,f\0\0" + struct.pack(">f", 2)), "confidence must be"),
        (bundle(*[b""] * MAX_BYTES), "at most"),
    ],
)
def test_packets_that_make_no_sense(packet, words):
    with pytest.raises(ValueError, match=words):
        osc.decode(packet)


def mutated(message: bytes, random: Random) -> bytes:
    """A message with bytes changed, cut out, repeated or put in; at times cut short."""
    data = bytearray(message)
    for _ in range(random.randrange(1, 5)):
        at, length = random.randrange(len(data) + 1), random.randrange(1, 9)
        kind = random.randrange(4)
        if kind == 0:
            data[at : at + length] = random.randbytes(length)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length * 8]
        elif len(data):
            data[min(at, len(data) - 1)] ^= 1 << random.randrange(8)
    return bytes(data[: random.randrange(len(data) + 1)] if random.random() < 0.1 else data)


@FORMS
def test_mutations_are_refused_or_played_within_bounds(form):
    random, message = Random(0), form.encode(sample())
    refused = 0
    for _ in range(MUTATIONS):
        wrong = mutated(message, random)
        start = time.thread_time()
        try:
            received = form.decode(wrong)
        except ValueError as error:
            refused += 1
            assert str(error).isprintable()  # noqa: PT017
        else:
            assert_playable(received)
        assert time.thread_time() - start < 1
    assert MUTATIONS / 10 < refused < MUTATIONS


@FORMS
@given(st.binary(max_size=300))
def test_nothing_but_a_value_error(form, message):
    with suppress(ValueError):
        assert_playable(form.decode(message))
    with suppress(ValueError):
        assert_playable(form.decode(b"#bundle\0" + bytes(8) + message))


def assert_playable(received: Received) -> None:
    assert received.weights.dtype == np.float32
    assert received.weights.shape == (len(ACTIONS),)
    assert ((received.weights >= 0) & (received.weights <= 1)).all()
    assert 0 <= received.confidence <= 1
