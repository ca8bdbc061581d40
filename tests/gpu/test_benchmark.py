from __future__ import annotations

import json
import time

import pytest

from benchmarks import gpu as benchmark
from moue import kernels
from moue.runtimes.frame_loop import FrameLoop
from tests.host_device import HostDecoder, HostDevice


def gpu_here():
    try:
        return bool(kernels.cuda_devices())
    except RuntimeError:
        return False


class Timed(HostDevice):
    cache_bytes = 10_000

    def milliseconds(self, work):
        start = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - start)


def check(report, batch):
    for stage in ("skip_sum", "decoder", "compose", "copy", "frame", "frame_to_host", "alone"):
        assert 0 <= report[stage]["p50"] <= report[stage]["p95"] <= report[stage]["p99"]
    for kernel in ("skip_sum", "compose"):
        assert report[kernel]["bytes"] > 0
        for share in ("of_copy_bandwidth", "of_a_copy_of_as_many_bytes"):
            assert report[kernel][share] > 0
    assert 0 <= report["around_the_engine"] <= 1
    assert report["fps"] == pytest.approx(batch * 1e6 / report["frame"]["p50"], rel=0.01)


@pytest.mark.parametrize("recordable", [True, False])
def test_every_stage_is_timed(tiny_bundle, monkeypatch, recordable):
    """On the host, whose times mean nothing: what is reported is whole and adds up."""
    monkeypatch.setattr(benchmark, "COPY_BYTES", 2**12)
    monkeypatch.setattr(benchmark, "AT_A_TIME", 2)
    monkeypatch.setattr(benchmark, "WARM", 0)
    bundle, device = benchmark.load_bundle(tiny_bundle), Timed()
    portrait, made = benchmark.prepared(bundle, 48, 64), []
    with benchmark.select_runtime(bundle, "cpu", threads=1) as cpu:

        def make():
            decoder = HostDecoder(cpu, recordable)
            made.append(FrameLoop(device, decoder, bundle, portrait.photo, portrait.faces, 2))
            return made[-1]

        report = benchmark.measure(device, make, bundle, repeats=3)
        check(report, batch=2)
        assert report["recorded"] == recordable
        least = min(report[kernel]["bytes"] for kernel in ("skip_sum", "compose"))
        assert len(made) * least >= 2 * device.cache_bytes
        square = portrait.faces[0].square
        cropped = benchmark.cropping(device, portrait.photo, square, bundle.input_size, repeats=3)
        assert 0 <= cropped["p50"] <= cropped["p99"]
    device.assert_all_given_back()


@pytest.mark.parametrize("executor", ["auto", "tensorrt", "onnxruntime", "pytorch"])
def test_the_last_line_is_json(tiny_bundle, capsys, executor):
    argv = ["--bundle", str(tiny_bundle), "--repeats", "5", "--executor", executor, "--batch", "2"]
    code = benchmark.main(argv)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert executor != "auto" or code == (not gpu_here())
    if code:
        assert report["gpus"] == []
        assert report["reason"]
    else:
        assert kernels.cuda_devices() == report["gpus"]
        check(report["batches"][0], batch=2)
