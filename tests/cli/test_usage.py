from __future__ import annotations

import subprocess
import sys

import pytest

from moue import ActionCurve, cli
from tests.cli import assert_one_line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["animate"], "the following arguments are required: PHOTO, -o/--output"),
        (["export", "--threads", "x"], "invalid int value: 'x'"),
    ],
)
def test_wrong_usage(moue, argv, words):
    assert_one_line(moue(*argv), 2, words)


@pytest.mark.parametrize(
    "command", ["animate", "expressions", "actions", "export", "engine", "doctor"]
)
def test_help_has_an_example_and_the_defaults(moue, command):
    ran = moue(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"  moue {command} " in ran.out
    assert "(default: edge)" in ran.out
    assert command in moue("--help").out


def test_help_of_verify_says_how_it_ends(moue):
    assert "exit code 0: marked; 3: not marked; 4: " in moue("verify", "--help").out


def test_help_of_track_knows_no_window(moue):
    track, live = (" ".join(moue(name, "--help").out.split()) for name in ("track", "live"))
    assert "(default: until it ends, or Ctrl-C)" in track
    assert "(default: until it ends, q or Ctrl-C)" in live
    assert "an action that is not there is 0" in track


def test_help_of_animate_has_curves_that_can_be_read(moue):
    help = moue("animate", "--help").out
    for form, actions in (
        ("keys", ("mouthSmileLeft", "mouthSmileRight")),
        ("values", ("jawOpen",)),
    ):
        (line,) = (line for line in help.splitlines() if f'"{form}":' in line)
        curve = line[line.index("{") :].replace(", …", "")
        assert ActionCurve.from_json(curve).actions == actions


def test_version(moue):
    assert moue("--version").out.startswith("moue 0.")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "out of memory"),
        (ZeroDivisionError("of\nsome kind"), 1, "unforeseen ZeroDivisionError at test_usage.py:"),
    ],
)
def test_no_failure_shows_a_traceback(animate, tmp_path, monkeypatch, error, code, words):
    def fail(arguments):
        raise error

    monkeypatch.setattr(cli, "animate", fail)
    assert_one_line(animate("-o", tmp_path / "out.mp4"), code, words)


@pytest.mark.parametrize("argv", [["--help"], ["doctor", "--bundle", "none"]])
def test_a_reader_that_leaves_is_no_error(argv):
    with subprocess.Popen(
        [sys.executable, "-m", "moue", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode in (0, 1)


@pytest.mark.parametrize(
    ("closing", "code", "words"),
    [
        (">&- 2>&-", 0, ""),
        (
            ">/dev/full",
            1,
            "moue: error: cannot write to standard output: No space left on device\n",
        ),
    ],
)
def test_streams_that_are_closed_or_full(closing, code, words):
    command = f"{sys.executable} -m moue expressions {closing}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "", words)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon", "1,2"])
def test_a_time_that_is_none(moue, seconds):
    assert_one_line(moue("track", "--seconds", seconds), 2, "--seconds")
