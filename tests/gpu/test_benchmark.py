from __future__ import annotations

import json
import time

import numpy as np
import pytest

from benchmarks import gpu as benchmark
from moue import kernels
from moue.runtimes.frame_loop import FrameLoop
from tests.gpu.decoders import StillDecoder
from tests.host_device import HostDevice


class Timed(HostDevice):
    def milliseconds(self, work):
        start = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - start)


def check(report, batch):
    for stage in ("skip_sum", "decoder", "compose", "copy", "frame"):
        assert 0 <= report[stage]["p50"] <= report[stage]["p95"] <= report[stage]["p99"]
    for kernel in ("skip_sum", "compose"):
        assert report[kernel]["of_copy_bandwidth"] > 0
        assert report[kernel]["bytes"] > 0
    assert 0 <= report["around_the_engine"] <= 1
    assert report["fps"] == pytest.approx(batch * 1e6 / report["frame"]["p50"], rel=0.01)


def test_every_stage_is_timed(animator, monkeypatch):
    """On the host, whose times mean nothing: what is reported is whole and adds up."""
    monkeypatch.setattr(benchmark, "COPY_BYTES", 2**12)
    bundle, photo = animator.bundle, np.zeros((48, 64, 3), np.uint8)
    face = benchmark.SyntheticFace(bundle, 48, 64)
    loop = FrameLoop(Timed(), StillDecoder(), bundle, photo, [face], 2)
    check(benchmark.measure(loop.device, loop, bundle, repeats=3), batch=2)
    loop.close()


def test_the_last_line_is_json(tiny_bundle, capsys):
    code = benchmark.main(["--bundle", str(tiny_bundle), "--repeats", "5"])
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    if code:
        assert report["gpus"] == []
        assert report["reason"]
    else:
        assert kernels.cuda_devices() == report["gpus"]
        check(report, batch=1)
