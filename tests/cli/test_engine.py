from __future__ import annotations

import pytest

from tests.cli import assert_one_line


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "moue" / "engines"


def test_engine_builds_both_graphs_for_every_gpu_named(moue, tiny_bundle, cache):
    pytest.importorskip("tensorrt_rtx")
    argv = "engine", "--bundle", tiny_bundle, "--sm", "86", "--sm", "12.0", "--workspace", "512M"
    ran = moue(*argv)
    assert (ran.code, ran.out) == (0, "")
    lines = ran.err.splitlines()
    assert [line.split(" by ")[0] for line in lines] == [
        f"{graph} for SM{sm}" for sm in (86, 120) for graph in ("encoder", "decoder")
    ]
    assert {line.rsplit(", ", 1)[1] for line in lines} == set(map(str, cache.iterdir()))


def test_engines_that_nothing_keeps_are_a_failure(moue, tiny_bundle, cache):
    pytest.importorskip("tensorrt_rtx")
    cache.parent.write_text("in the way")
    ran = moue("engine", "--bundle", tiny_bundle, "--sm", "86")
    assert (ran.code, ran.out) == (1, "")
    first, *built = ran.err.splitlines()
    assert "engines are not kept: " in first
    assert [line.endswith(", not kept") for line in built] == [True, True]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--sm", "87"], 1, "builds for 75, 80, 86, 89"),
        (["--sm", "86", "--device", "cpu"], 2, "engines are built for GPUs"),
        (["--workspace", "2Q"], 2, "must be a size such as 512M or 2G, but got '2Q'"),
        (["--workspace", "0"], 2, "must be a size"),
        (["--threads", "1"], 2, "unrecognized arguments: --threads 1"),
        (["--runtime", "tensorrt"], 2, "unrecognized arguments: --runtime tensorrt"),
        (["--sm", "86", "--workspace", "1"], 1, "try a larger --workspace"),
    ],
)
def test_refusals(moue, tiny_bundle, cache, argv, code, words):
    pytest.importorskip("tensorrt_rtx")
    assert_one_line(moue("engine", "--bundle", tiny_bundle, *argv), code, words)
    assert not cache.exists()


def test_without_a_gpu_it_says_how_to_name_one(moue, tiny_bundle, monkeypatch):
    pytest.importorskip("tensorrt_rtx")
    from moue.errors import RuntimeUnavailableError
    from moue.runtimes import device

    def none_here(index):
        raise RuntimeUnavailableError("no CUDA-capable device is detected")

    monkeypatch.setattr(device, "CudaDevice", none_here)
    ran = moue("engine", "--bundle", tiny_bundle)
    assert_one_line(ran, 1, "no GPU here to build for (no CUDA-capable device is detected)")
    assert "such as --sm 86" in ran.err
