from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import moue
from moue import expressions as module
from moue.actions import ACTIONS, EXPRESSIONS
from moue.errors import ActionError, MoueError, OutputError
from moue.expressions import (
    Expression,
    expression,
    mix,
    remove_expression,
    save_expression,
    saved_expressions,
)

NAN = float("nan")
WINK = {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.3}
SMILE = EXPRESSIONS["happy"]["mouthSmileLeft"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where saved expressions lie in these tests; not made yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "moue" / "expressions"


def put(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_unknown_expression_suggests() -> None:
    with pytest.raises(ActionError, match=r"did you mean happy\? \(known: happy, sad"):
        expression("hapy")
    for nonsense in (None, 3, "../happy", ""):
        with pytest.raises(ActionError, match="unknown expression"):
            expression(nonsense)  # type: ignore[arg-type]


def test_mix_adds_and_caps() -> None:
    mixed = mix({"happy": 0.5, "surprise": 1.0}, actions={"jawOpen": 0.9, "cheekPuff": 0.2})
    assert mixed.weights["mouthSmileLeft"] == pytest.approx(0.5 * SMILE)
    assert mixed.weights["jawOpen"] == 1
    assert mixed.weights["cheekPuff"] == 0.2
    left, right = {"headYaw": 0.8}, {"headYaw": -0.8}
    table = {"one": left, "two": left}
    for parts in (["one", "two"], ["two", "one"]):
        turned = mix(dict.fromkeys(parts, 1.0), right, table)
        assert turned.weights["headYaw"] == pytest.approx(0.8)
    with pytest.raises(MoueError, match="the degree of happy"):
        mix({"happy": NAN})
    with pytest.raises(ActionError, match="unknown expression"):
        mix({"glad": 0.5})


def test_a_mix_takes_names_without_their_side() -> None:
    mixed = mix({"happy": 0.5}, {"mouthSmile": 0.25, "mouthSmileLeft": 0.5, "eyeBlink": 1})
    assert mixed.weights["mouthSmileRight"] == pytest.approx(0.5 * SMILE + 0.25)
    assert mixed.weights["mouthSmileLeft"] == pytest.approx(0.5 * SMILE + 0.5)
    assert mixed.weights["eyeBlinkLeft"] == mixed.weights["eyeBlinkRight"] == 1
    assert "eyeBlink" not in mixed.weights


def test_names_without_their_side_are_saved_and_read(folder: Path) -> None:
    save_expression("smile", {"mouthSmile": 0.5})
    both = {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}
    assert json.loads((folder / "smile.json").read_text()) == both
    put(folder, "by-hand.json", b'{"mouthSmile": 0.5}')
    assert expression("by-hand").weights == expression("smile").weights == both


def test_saved_found_listed_and_removed(folder: Path) -> None:
    assert saved_expressions() == {}
    assert save_expression("wink", WINK) == folder / "wink.json"
    assert json.loads((folder / "wink.json").read_text()) == WINK
    assert expression("wink") == Expression("wink", WINK)
    assert mix({"wink": 0.5, "happy": 0.5}).weights["mouthSmileLeft"] == pytest.approx(
        0.5 * (WINK["mouthSmileLeft"] + SMILE)
    )
    save_expression("another-1", [0.25] * len(ACTIONS))
    assert list(saved_expressions()) == ["another-1", "wink"]
    save_expression("wink", mix({"happy": 0.5}))  # in place of the first
    assert dict(expression("wink").weights) == pytest.approx(expression("happy").at(0.5))
    with pytest.raises(ActionError, match=r"did you mean wink\? \(known: happy, .*, wink\)"):
        expression("wimk")
    with pytest.raises(ActionError, match=r"no saved .*'wimk'; did you mean wink"):
        remove_expression("wimk")
    remove_expression("wink")
    assert list(folder.iterdir()) == [folder / "another-1.json"]
    with pytest.raises(ActionError, match="unknown expression 'wink'"):
        expression("wink")


def test_the_animator_offers_those_it_can_play(
    tiny_bundle: Path, animator: moue.Animator, portrait: moue.Portrait
) -> None:
    save_expression("wink", WINK)
    save_expression("licked", {"tongueOut": 1.0}, actions=["tongueOut"])
    assert list(animator.expressions) == [*EXPRESSIONS, "wink"]
    frame = animator.frame(portrait, moue.expression("wink"))
    assert np.array_equal(frame, animator.frame(portrait, WINK))
    with pytest.raises(ActionError, match="unknown action 'tongueOut'"):
        animator.frame(portrait, moue.expression("licked"))


def test_a_bundles_own_come_first() -> None:
    save_expression("glad", {"jawOpen": 1.0})
    table = {"glad": {"cheekPuff": 1.0}}
    assert expression("glad", table).weights == {"cheekPuff": 1.0}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *(
            (name, "must be up to 48 letters")
            for name in ("", ".", "..", "../x", "a/b", "/etc/x", "a\0", "a b", "a=1", "a,b", ".x",
                         "-x", "_x", "1x", "x.json", "x\n", "a" * 49, "\udc80", None, 3)
        ),
        *(
            (name, "is a name of moue's own")
            for name in ("happy", "Happy", "FEAR", "neutral", "jawOpen", "jawopen", "mouthSmile")
        ),
    ],
)  # fmt: skip
def test_names_that_are_refused(folder: Path, name: Any, message: str) -> None:
    with pytest.raises(ActionError, match=message) as caught:
        save_expression(name, WINK)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["x", "glad-2", "überrascht", "笑顔", "a" * 48])
def test_names_that_are_taken(name: str) -> None:
    save_expression(name, WINK)
    assert expression(name).name == name


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"eyeBlnkLeft": 1.0}, "unknown action 'eyeBlnkLeft'; did you mean eyeBlinkLeft"),
        ({"jawOpen": NAN}, "'jawOpen' must be a number"),
        ({"jawOpen": 1.5}, "'jawOpen' must be a number"),
        ([0.0, 1.0], "shape"),
        ({}, "every weight of 'x' is 0"),
        ({"jawOpen": 0}, "every weight of 'x' is 0"),
    ],
)
def test_weights_that_are_refused(folder: Path, weights: Any, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        save_expression("x", weights)
    assert not folder.exists()


@given(
    st.lists(st.floats(0, 1, width=32), min_size=len(ACTIONS), max_size=len(ACTIONS)).filter(any)
)
def test_what_is_saved_comes_back_bit_for_bit(weights: list[float]) -> None:
    save_expression("x", weights)
    back = moue.actions.action_vector(expression("x"), ACTIONS)
    assert back.tobytes() == (np.array(weights, np.float32) + 0).tobytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe", "utf-8"),
        (b"[]", "it must hold"),
        (b"{}", "it must hold"),
        (b'{"jawOpen": 1.5}', "'jawOpen' must be a number"),
        (b'{"jawOpen": true}', "'jawOpen' must be a number"),
        (b'{"jawOpen": "1"}', "'jawOpen' must be a number"),
        (b'{"jawOpen": NaN}', "NaN is not a number"),
        (b'{"jawOpen": {"jawOpen": 1}}', "'jawOpen' must be a number"),
        (b'{"jawOpen": 1, "jawOpen": 0}', "stands twice"),
        (b"[" * 60_000, "nested too deeply|Expecting"),
        (b'{"jawOpen": 1' + b"0" * 5000 + b"}", "number|digits"),
        (b" " * 70_000, "larger than 64 kB"),
        (json.dumps({f"a{i}": 0.5 for i in range(513)}).encode(), "it must hold"),
    ],
)
def test_damaged_files_are_said_when_asked_for_and_left_out_of_the_list(
    folder: Path, caplog: pytest.LogCaptureFixture, content: bytes, reason: str
) -> None:
    save_expression("wink", WINK)
    path = put(folder, "bad.json", content)
    message = f"the saved expression {path} cannot be used: .*({reason}).*; mend it or remove it"
    with pytest.raises(ActionError, match=message) as caught:
        expression("bad")
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING, "moue"):
        assert list(saved_expressions()) == ["wink"]
    assert str(path) in caplog.text
    assert expression("happy").name == "happy"
    remove_expression("bad")
    assert not path.exists()


def test_what_else_lies_there_is_passed_over(folder: Path) -> None:
    save_expression("wink", WINK)
    for name in ("notes.txt", ".moue-1.part", "a b.json", ".json", "1.json"):
        put(folder, name, b"{}")
    assert list(saved_expressions()) == ["wink"]
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")  # reading it would never end
    for name in ("folder", "pipe"):
        with pytest.raises(ActionError, match="it is not a file"):
            expression(name)


def test_a_config_folder_that_is_none(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "moue", b"a file where the folder should be")
    assert saved_expressions() == {}
    with pytest.raises(OutputError, match="could not write"):
        save_expression("wink", WINK)
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # the specification says: ignore it
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert save_expression("wink", WINK).is_relative_to(tmp_path / "home" / ".config" / "moue")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without a home
    assert saved_expressions() == {}
    with pytest.raises(OutputError, match="no home folder; set XDG_CONFIG_HOME"):
        save_expression("wink", WINK)


def test_an_unreadable_folder_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def listdir(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.os, "listdir", listdir)
    assert saved_expressions() == {}
    assert f"the saved expressions in {folder} cannot be read: Permission denied" in caplog.text


def test_a_name_alone_is_no_table_of_weights(animator, portrait):
    with pytest.raises(ActionError, match=r"but got 'happy'; moue\.expression gives those"):
        animator.frame(portrait, "happy")
    with pytest.raises(ActionError, match="mix takes degrees by expression name, but got 'happy'"):
        mix("happy")
