"""`moue expressions`, and the other commands with what it saved."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from moue.actions import EXPRESSIONS
from tests.cli import assert_one_line


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "moue" / "expressions"


@pytest.fixture
def expressions(moue, tiny_bundle, config):
    return lambda *argv: moue("expressions", *argv, "--bundle", tiny_bundle)


def test_saved_listed_animated_and_removed(
    expressions, animate, animator, portrait, config, tmp_path
):
    ran = expressions("save", "wink", "--mix", "happy=0.5", "--action", "eyeBlinkLeft=1")
    assert ran == (0, "", f"wink: {config}/wink.json\n")
    weights = json.loads((config / "wink.json").read_text())
    smile = 0.5 * EXPRESSIONS["happy"]["mouthSmileRight"]
    assert (weights["eyeBlinkLeft"], weights["mouthSmileRight"]) == (1, smile)

    for words in ([], ["list"]):
        ran = expressions(*words)
        assert (ran.code, ran.err) == (0, "")
        lines = ran.out.splitlines()
        assert lines[2] == "surprise   browInnerUp 0.7, browOuterUp 0.85, eyeWide 1, jawOpen 0.6"
        assert lines[6].startswith("wink       eyeBlinkLeft 1, eyeSquint 0.05, ")

    for options in (["--expression", "wink"], ["--mix", "wink=1"]):
        assert animate(*options, "-o", tmp_path / "out.png").code == 0
        with Image.open(tmp_path / "out.png") as image:
            assert np.array_equal(np.asarray(image), animator.frame(portrait, weights))
    ran = animate("--expression", "wimk", "-o", tmp_path / "out.mp4")
    assert_one_line(ran, 1, "unknown expression 'wimk'; did you mean wink? (known: happy, sad,")
    assert_one_line(animate("-o", tmp_path / "out.mp4"), 2, "fear, wink)")

    aside = ["--action", "jawLeft=0.2,jawRight=0.2,mouthSmile=0.5,eyeBlinkLeft=1"]
    assert expressions("save", "aside", *aside).code == 0
    shown = next(line for line in expressions().out.splitlines() if line.startswith("aside "))
    words = "eyeBlinkLeft 1, jawLeft 0.2, jawRight 0.2, mouthSmile 0.5"
    assert shown == f"aside      {words}", "what is listed is what --action takes"
    again = ["--action", words.replace(" ", "=").replace(",=", ",")]
    assert expressions("save", "again", *again).code == 0
    assert (config / "again.json").read_bytes() == (config / "aside.json").read_bytes()
    for name in ("aside", "again"):
        expressions("remove", name)

    assert expressions("save", "halfwink", "--mix", "wink=0.5").code == 0
    assert expressions("remove", "wink") == (0, "", "wink: removed\n")
    assert [path.name for path in config.iterdir()] == ["halfwink.json"]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["save"], 2, "moue expressions save takes a NAME"),
        (["remove"], 2, "moue expressions remove takes a NAME"),
        (["list", "wink"], 2, "moue expressions list takes no NAME"),
        (["wink"], 2, "invalid choice: 'wink' (choose from "),
        (["save", "wink"], 2, "nothing to save: add --mix NAME=D or --action NAME=W"),
        (["--action", "jawOpen=1"], 2, "--mix and --action go with save, not with list"),
        (["remove", "wink", "--mix", "sad=1"], 2, "go with save, not with remove"),
        (["remove", "wink"], 1, "no saved expression is named 'wink' (saved: none)"),
        (["save", "wink", "--mix", "hapy=1"], 1, "did you mean happy"),
        (["save", "wink", "--action", "jawopen=1"], 1, "did you mean jawOpen"),
        (["save", "wink", "--action", "jaw=1"], 1, "unknown action 'jaw'"),
        (["save", "wink", "--action", "jawOpen=2"], 1, "in [0, 1], but got 2.0"),
        (["save", "wink", "--action", "jawOpen=0"], 1, "every weight of 'wink' is 0"),
        (["save", "happy", "--mix", "sad=1"], 1, "'happy' is a name of moue's own"),
        (["save", "../wink", "--mix", "sad=1"], 1, "up to 48 letters, digits, - or _"),
    ],
)
def test_what_is_refused(expressions, config, argv, code, words):
    assert_one_line(expressions(*argv), code, words)
    assert not config.exists()


def test_where_nothing_can_be_saved(expressions, config):
    config.parent.mkdir(parents=True)
    config.write_bytes(b"no folder")
    assert_one_line(expressions("save", "wink", "--mix", "sad=1"), 1, "could not write")
    assert config.read_bytes() == b"no folder"
