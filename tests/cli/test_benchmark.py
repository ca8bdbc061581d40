from __future__ import annotations

import json
from fractions import Fraction

import pytest
from PIL import Image

from tests.cli import assert_one_line

STAGES = {"find face", "prepare", "skip-sum", "decode", "compose", "frame", "curve", "clip"}


def test_table_on_stderr_and_json_last_on_stdout(moue, tiny_bundle, tmp_path):
    plot = tmp_path / "times.png"
    ran = moue(
        "benchmark", "--bundle", tiny_bundle, "--seconds", 0.2, "--batch", 2, "--threads", 1,
        "--plot", plot,
    )  # fmt: skip
    assert ran.code == 0
    report = json.loads(ran.out.splitlines()[-1])
    assert next(iter(report)) == "fps"
    assert report["fps"] > 0
    assert set(report["stages"]) == STAGES
    for stage in report["stages"].values():
        assert 0 < stage["p50_ms"] <= stage["p95_ms"] <= stage["p99_ms"]
        assert stage["rounds"] >= 3
    assert (report["batch"], report["threads"], report["photo"]) == (2, 1, [1920, 1080])
    assert (report["runtime"], report["device"], report["face"]) == ("onnxruntime", "cpu", 512)
    assert report["peak_memory_mb"] > 10
    assert report["versions"]["onnxruntime"]
    for name in STAGES:
        assert f"\n{name} " in f"\n{ran.err}"
    with Image.open(plot) as picture:
        assert picture.size[0] > 400


def test_a_photo_is_scaled_to_the_face(moue, tiny_bundle, photo):
    ran = moue(
        "benchmark", "--bundle", tiny_bundle, "--seconds", 0.1, "--photo", photo, "--size", 100,
        "--json",
    )  # fmt: skip
    report = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert abs(report["face"] - 100) < 10
    assert report["photo"][0] == report["photo"][1] < 512


def test_what_a_camera_shows_is_tracked(moue, tiny_bundle, sliding):
    ran = moue(
        "benchmark", "--bundle", tiny_bundle, "--seconds", 0.1,
        "--camera", sliding(16, Fraction(30)),
    )  # fmt: skip
    assert ran.code == 0
    stages = json.loads(ran.out)["stages"]
    assert set(stages) == STAGES | {"track"}
    assert stages["track"]["rounds"] >= 5
    assert "a face in 6 of 6" in ran.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--size", 5], 2, "size must be in 32 … 4096 px, but got 5"),
        (["--seconds", 0], 2, "seconds must be in 0 … 3600, but got 0"),
        (["--seconds", "nan"], 2, "seconds must be"),
        (["--batch", 0], 2, "batch must be"),
        (["--photo", "missing.jpg"], 1, "missing.jpg"),
        (["--plot", "nowhere/times.png"], 1, "nowhere"),
        (["--camera", "missing.mp4"], 1, "missing.mp4"),
    ],
)
def test_refusals(moue, tiny_bundle, options, code, words):
    assert_one_line(moue("benchmark", "--bundle", tiny_bundle, *options), code, words)
