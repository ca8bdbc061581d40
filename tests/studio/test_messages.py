"""Whatever a page says is played or refused in one line; nothing else comes of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from moue.actions import action_vector
from moue.errors import MoueError
from moue.expressions import mix
from moue.studio.app import _read, _weights, clip_curve
from moue.studio.guard import Guard
from moue.studio.live import Said, asked_for
from moue.studio.refusal import Refusal
from tests.studio.conftest import TOKEN
from tests.wire.test_messages import mutated

MUTATIONS = 2_000  # of each kind
DEEP = "deep"  # stands for lists in lists, which json would not write
LISTS = ("[" * 960 + "]" * 960, "[" * 100_000)
ODD = [
    *(None, True, False, 0, -1, 0.5, 1, 2, 64, 5000, 10**30, 10**400, -0.0, 1e-320, 1e30),
    *(
        float("nan"),
        float("inf"),
        -float("inf"),
        "",
        "0.5",
        "nan",
        "jawOpen",
        "happy",
        "pulse",
        "1/0",
    ),
    *("\ud800", "\x1b[31m\x9b", "\u202e\u2028\n", "x" * 5000, "9" * 5000, "../../etc/passwd", DEEP),
    *([], {}, [[]], [0], {"": 0}, {"jawOpen": 1}, {"\ud800": {"\x1b": []}}, [0] * 1500),
]
CLIPS = [
    {"expression": "happy", "degree": 0.8, "seconds": 0.5, "fps": 10, "format": "gif"},
    {"mix": {"sad": 0.5}, "actions": {"headYaw": -0.2}, "curve": "pulse", "fps": "30000/1001"},
    {"curve": {"fps": 30, "actions": ["jawOpen", "headRoll"], "values": [[0, 0], [0.5, -1]]}},
    {"curve": {"fps": 25, "keys": [{"at": 0}, {"at": 0.5, "mouthSmile": 0.8}, {"at": 2}]}},
]
LIVES = [
    {"portrait": "KEY", "actions": {"jawOpen": 0.4, "headPitch": -1, "mouthSmile": 1}, "side": 512},
    {"portrait": "KEY", "actions": {}},
    {"seen": 1},
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every dict or list inside a value with every key or index it has."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


def twisted(message: dict[str, Any], random: Random) -> bytes:
    """A message with values exchanged for odd ones, or names for others; as JSON."""
    whole = json.loads(json.dumps({"": message}))
    for _ in range(random.randrange(1, 4)):
        inside, key = random.choice(list(places(whole)))
        kind = random.randrange(4)
        if kind == 0 and isinstance(inside, dict):
            inside[str(random.choice(ODD))] = inside.pop(key)
        elif kind == 1:
            inside[key] = [inside[key]] if random.random() < 0.5 else {"jawOpen": inside[key]}
        else:
            inside[key] = deepcopy(random.choice(ODD))
    text = json.dumps(whole.get("", whole))
    return text.replace(f'"{DEEP}"', random.choice(LISTS)).encode()


def mutants(messages: list[dict[str, Any]]) -> Iterator[bytes]:
    random = Random(0)
    for k in range(MUTATIONS):
        message = messages[k % len(messages)]
        yield twisted(message, random)
        yield mutated(json.dumps(message).encode(), random)


def refusal(error: MoueError) -> str:
    """What it says, which must be short, on one line and fit to be sent and shown."""
    line = str(error)
    assert line.isprintable(), line
    assert len(line) < 6000
    return line


def test_clips(opened):
    curves, refused = 0, set()
    for body in mutants(CLIPS):
        start = time.thread_time()
        try:
            assert 1 <= len(clip_curve(_read(body), opened.stage)) <= 3600
            curves += 1
        except MoueError as error:
            refused.add(refusal(error))
        assert time.thread_time() - start < 1
    assert curves > MUTATIONS / 10
    assert len(refused) > 100


@pytest.mark.parametrize(
    "clip",
    [
        '{"expression": DEEP}',
        '{"expression": "happy", "degree": DEEP}',
        '{"actions": {"jawOpen": DEEP}}',
        '{"expression": "happy", "seconds": DEEP}',
        '{"expression": "happy", "fps": DEEP}',
        '{"format": "gif", "curve": DEEP}',
        '{"curve": {"fps": 30, "actions": ["jawOpen"], "values": DEEP}}',
        '{"curve": {"fps": 30, "actions": DEEP, "values": [[0]]}}',
        '{"curve": {"fps": DEEP, "actions": ["jawOpen"], "values": [[0]]}}',
        '{"curve": {"fps": 30, "keys": [{"at": DEEP}]}}',
    ],
)
def test_clips_as_deep_as_can_be(opened, clip):
    """The deepest that can be read: that is where there is least left to show it with."""
    read = 0
    for depth in reversed(range(sys.getrecursionlimit())):
        body = clip.replace("DEEP", "[" * depth + "]" * depth).encode()
        try:
            wanted = _read(body)
        except Refusal:
            continue
        with pytest.raises(MoueError) as refused:
            clip_curve(wanted, opened.stage)
        refusal(refused.value)
        read += 1
        if read == 20:
            return
    pytest.fail("none can be read")


def test_live(opened, portrait):
    key = opened.stage.keep(portrait, "astronaut.png")
    messages = json.loads(json.dumps(LIVES).replace("KEY", key))
    played, refused = 0, set()
    for message in mutants(messages):
        said = Said(waiting_for=1)
        said.hear(message.decode(errors="replace"))
        try:
            if isinstance(said.newest, MoueError):
                raise said.newest
            if said.newest is not None:
                sitter, weights, side = asked_for(said.newest, opened.stage)
                action_vector(weights, opened.stage.animator.actions)
                assert (sitter.portrait is portrait, 64 <= side <= 4096) == (True, True)
                played += 1
        except MoueError as error:
            refused.add(refusal(error))
    assert played > MUTATIONS / 20
    assert len(refused) > 100


def test_actions_in_an_address(animator):
    random, played, refused = Random(0), 0, set()
    for _ in range(MUTATIONS):
        pairs = [mutated(b"jawOpen=0.4", random).decode(errors="replace") for _ in range(2)]
        try:
            mix({}, _weights(pairs), animator.expressions)
            played += 1
        except MoueError as error:
            refused.add(refusal(error))
    assert min(played, len(refused)) > MUTATIONS / 100


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_heads(kind):
    async def app(*_: object) -> None: ...

    guard, random = Guard(app, TOKEN, "127.0.0.1", 8000), Random(0)
    wanted = {
        b"host": b"127.0.0.1:8000",
        b"origin": b"http://localhost:8000",
        b"cookie": b"a=b; moue-8000=" + TOKEN.encode(),
    }
    statuses = []
    for _ in range(MUTATIONS):
        headers, query = dict(wanted), b"token=" + TOKEN.encode()
        name = random.choice([*wanted, b"query"])
        if name == b"query":
            query = mutated(query, random)
        else:
            headers[name] = mutated(headers[name], random)
        scope = {"type": kind, "path": "/", "method": "GET", "headers": [*headers.items()]}
        try:
            guard._judge({**scope, "query_string": query})
            statuses.append(200)
        except Refusal as error:
            statuses.append(error.status)
    assert set(statuses) == ({200, 403} if kind == "http" else {200, 401, 403})
    assert statuses.count(403) > MUTATIONS / 3
