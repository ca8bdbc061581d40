"""TensorRT-RTX builds real engines without a GPU: that, and all that the cache must refuse."""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from moue.bundle import BUNDLES, Bundle, load_bundle
from moue.errors import BundleError, RuntimeUnavailableError, UsageError
from moue.graphs import one_graph
from moue.progress import Wait
from moue.runtimes import engine_cache, engines
from moue.runtimes.base import FRAMES as ANY_FRAMES
from moue.runtimes.device import Gpu
from moue.runtimes.engine_cache import FRAMES, EngineCache, EngineKey
from moue.runtimes.engines import build_and_store, engine_for
from moue.runtimes.onnxruntime import OnnxRuntime
from moue.runtimes.select import engine_targets
from moue.runtimes.trt_import import TensorRt, import_tensorrt
from tests.tiny import write_manifest, write_tiny_bundle

SM = "86"


def gpu(sm: str = SM, driver: str = "13000", model: str = "NVIDIA A10") -> Gpu:
    return Gpu(0, sm, driver, model)


@pytest.fixture(scope="module")
def trt() -> TensorRt:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has wheels for x86_64 only")
    return import_tensorrt(["tensorrt_rtx"])


@pytest.fixture(scope="module")
def shipped(tiny_bundle: Path) -> Bundle:
    """The shipped bundle, or the tiny one in a checkout that has none."""
    return load_bundle("edge" if (BUNDLES / "edge").is_dir() else tiny_bundle)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache")


@pytest.fixture
def key(tiny_bundle: Path, trt: TensorRt) -> EngineKey:
    return EngineKey.of(load_bundle(tiny_bundle), "decoder", trt, gpu())


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
@pytest.mark.parametrize("sm", ["75", "80", "86", "89", "120"])
def test_the_shipped_bundle_builds_in_fp16(trt, shipped, caplog, graph, sm):
    model = shipped.encoder_bytes() if graph == "encoder" else shipped.decoder_bytes()
    with caplog.at_level(logging.DEBUG, logger="moue.tensorrt"):
        key = EngineKey.of(shipped, graph, trt, gpu(sm))
        engine = engines.build_engine(trt, model, key)
    assert len(engine) < 2 * len(model) + 2**21

    # TensorRT's own account of the engine it has built.
    (table,) = [line for line in caplog.messages if line.startswith("Layers:\n")]
    layers, _, tensors = table.partition("I/O Tensors:")
    named = [line for line in layers.splitlines() if line.startswith("Name: ")]
    pattern = r".*, Inputs: (.*), Constants: .*, Outputs: (.*), TacticName.*"
    between = [re.fullmatch(pattern, line).groups() for line in named]
    assert set(re.findall(r"Datatype: (\w+)", str(between))) == {"Half"}
    found = dict(re.findall(r"Name: (\w+), IOMode: \w+, DataType: Half, (.*)", tensors))
    runtime = OnnxRuntime(shipped, threads=1)
    inputs, outputs = getattr(runtime, f"{graph}_inputs"), getattr(runtime, f"{graph}_outputs")
    assert found.keys() == inputs.keys() | outputs.keys()
    for name, shape in {**inputs, **outputs}.items():
        assert f"Dimensions: {at(shape, -1)}" in found[name]
        if name in inputs:
            fewest, usual, most = (at(shape, frames) for frames in FRAMES)
            profile = f"MinShape: {fewest}, OptShape: {usual}, MaxShape: {most},"
            assert profile in found[name]


def at(shape, frames) -> str:
    """The shape at a number of frames, as TensorRT writes it."""
    return f"[{','.join(str(frames if axis == ANY_FRAMES else axis) for axis in shape)}]"


def test_the_exported_generator_builds_too(trt, shipped):
    key = EngineKey("generator", "-", trt.flavour, trt.version, SM, "any", "any")
    assert engines.build_engine(trt, one_graph(shipped).SerializeToString(), key)


def test_a_graph_that_does_not_parse_names_the_node(trt, tiny_bundle, tmp_path, cache):
    folder = write_tiny_bundle(tmp_path / "bundle")
    model = onnx.load(folder / "decoder.onnx")
    (node,) = [node for node in model.graph.node if node.output[0] == "skip_8.relu"]
    node.op_type, node.name = "NoSuchOperation", "the culprit"
    onnx.save(model, folder / "decoder.onnx")
    write_manifest(folder)
    bundle = load_bundle(folder)
    with pytest.raises(
        BundleError, match=r"refuses the decoder at node 'the culprit' \(NoSuchOperation\): "
    ):
        build_and_store(trt, bundle, EngineKey.of(bundle, "decoder", trt, gpu()), cache)
    assert not cache.folder.exists()


def test_an_engine_that_does_not_build_says_why(trt, tiny_bundle, cache, key):
    with pytest.raises(RuntimeUnavailableError, match=r"for SM86: .*; try a larger --workspace"):
        build_and_store(trt, load_bundle(tiny_bundle), key, cache, workspace=1)


def test_an_interrupted_build_ends_and_leaves_nothing(trt, tiny_bundle, cache, key, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Wait, "show", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_and_store(trt, load_bundle(tiny_bundle), key, cache)
    assert not cache.folder.exists()


def test_built_once_then_taken_from_the_cache(trt, tiny_bundle, cache, key, caplog, monkeypatch):
    bundle = load_bundle(tiny_bundle)
    assert cache.expected(key) is None
    engine = engine_for(trt, bundle, key, cache)
    assert caplog.messages == [
        "building the decoder's engine for this GPU: there is none in the cache yet"
    ]
    assert cache.expected(key) > 0
    monkeypatch.setattr(engines, "build_engine", None)
    assert engine_for(trt, bundle, key, cache) == engine
    (path,) = cache.folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.name == (
        f"decoder-{key.sha256[:16]}-tensorrt_rtx-{trt.version}-sm86-any-driver-any-fp16-1-8-32.engine"
    )


def test_one_that_no_longer_loads_is_built_anew(trt, tiny_bundle, cache, key, caplog):
    bundle, given = load_bundle(tiny_bundle), []

    def load(engine: bytes) -> str | None:
        given.append(engine)
        return None if engine == b"of an older driver" else "loaded"

    cache.store(key, b"of an older driver", 1.0)
    assert engine_for(trt, bundle, key, cache, load) == "loaded"
    assert caplog.messages == [
        f"building the decoder's engine for this GPU: {trt} does not load the one in the cache"
    ]
    assert cache.load(key) == (given[-1], "")
    assert len(given) == 2


@pytest.fixture
def stored(cache: EngineCache, key: EngineKey) -> Path:
    path = cache.store(key, b"\x01native code" * 100, 2.0)
    assert path
    assert cache.load(key) == (b"\x01native code" * 100, "")
    return path


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "cut short"),
        (lambda data: data[:200], "not an engine of this moue"),
        (lambda data: b"", "not an engine of this moue"),
        (lambda data: b"\n" + data, "not an engine of this moue"),
        (lambda data: b"[" * 70000 + b"\n", "not an engine of this moue"),
        (lambda data: data[:-1] + b"\0", "damaged"),
        (lambda data: data.replace(b'"moue_engine": 2', b'"moue_engine": 1'), "not an engine"),
        (lambda data: data.replace(b': "86"', b': "89"'), "compute_capability 89, this is 86"),
    ],
)
def test_damage_is_found_before_anything_loads_it(cache, key, stored, damage, reason):
    stored.write_bytes(damage(stored.read_bytes()))
    engine, why = cache.load(key)
    assert reason in why
    assert (engine is None) == bool(reason)


def test_every_cut_and_a_flip_in_every_byte_is_refused(cache, key, stored):
    data = stored.read_bytes()
    end_of_header = data.index(b"\n")
    for at in range(0, len(data), 7):
        stored.write_bytes(data[:at])
        assert cache.load(key)[0] is None
        stored.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        engine, _ = cache.load(key)
        assert engine is None or (at < end_of_header and engine == data[end_of_header + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.6.0.1"},
        {"driver": "12060"},
        {"compute_capability": "89"},
        {"model": "NVIDIA L4"},
        {"precision": "fp8"},
        {"frames": (1, 4, 16)},
    ],
)
def test_a_mismatch_is_named(cache, key, stored, change):
    (name, value), *_ = change.items()
    other = replace(key, **change)
    assert other.file != key.file
    stored.rename(stored.with_name(other.file))  # as one that an older TensorRT left
    stored.with_name(other.file).write_bytes(
        json.dumps({"moue_engine": engine_cache.FORMAT, "key": asdict(other)}).encode() + b"\n"
    )
    engine, why = cache.load(key)
    shown = list(value) if isinstance(value, tuple) else value
    assert engine is None
    assert why.startswith(f"it was built for {name} {shown}, this is ")


@pytest.mark.parametrize(
    ("field", "change"), [("graph", "encoder"), ("sha256", "0" * 64), ("flavour", "tensorrt")]
)
def test_another_graph_or_tensorrt_is_another_engine(cache, key, stored, field, change):
    assert cache.load(replace(key, **{field: change}))[0] is None


def test_what_others_could_have_written_is_not_loaded(cache, key, stored, tmp_path):
    stored.chmod(0o666)
    assert cache.load(key) == (None, "the one in the cache cannot be used: others may write to it")
    stored.chmod(0o600)
    stored.rename(tmp_path / "elsewhere")
    stored.symlink_to(tmp_path / "elsewhere")
    assert cache.load(key)[0] is None


def test_a_cache_that_takes_nothing_is_said_once(cache, key, caplog):
    cache.folder.write_text("a file where the folder should be")
    for _ in range(2):
        assert cache.store(key, b"engine", 1.0) is None
    (line,) = caplog.messages
    assert line.startswith("engines are not kept: ")


def test_a_user_without_a_home_is_worked_without(key, monkeypatch, caplog):
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    cache = EngineCache()
    assert cache.load(key) == (None, "there is none in the cache yet")
    assert cache.expected(key) is None
    assert cache.store(key, b"engine", 1.0) is None
    (line,) = caplog.messages
    assert line.startswith("engines are not kept: this user has no home folder; set XDG_CACHE_HOME")


def test_a_full_disk_is_worked_without(cache, key, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert cache.store(key, b"engine", 1.0) is None
    assert "No space left on device" in caplog.text
    assert list(cache.folder.iterdir()) == []


def test_engines_live_where_caches_do(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert engine_cache.engine_folder() == Path("/somewhere/moue/engines")
    for not_absolute in ("", "somewhere"):
        monkeypatch.setenv("XDG_CACHE_HOME", not_absolute)
        assert engine_cache.engine_folder() == Path.home() / ".cache/moue/engines"


class FullTensorRt:
    """TensorRT itself, as far as the builder sees it: it measures, and cannot aim elsewhere, whatever
    names it has."""

    __version__ = "10.3.0"

    def __init__(self, rtx) -> None:
        self.rtx, self.given, self.suits = rtx, [], True

    def __getattr__(self, name):
        return self.Builder if name == "Builder" else getattr(self.rtx, name)

    def Builder(self, logger):
        builder, full = self.rtx.Builder(logger), self

        class Config:
            def __init__(self) -> None:
                object.__setattr__(self, "real", builder.create_builder_config())

            def __getattr__(self, name):
                return getattr(self.real, name)

            def __setattr__(self, name, value):
                setattr(self.real, name, value)

            def create_timing_cache(self, data):
                full.given.append(data)
                return SimpleNamespace(serialize=lambda: data + b"measured;")

            def set_timing_cache(self, cache, ignore_mismatch):
                suits = full.suits or not full.given[-1]
                if suits:
                    object.__setattr__(self, "cache", cache)
                return suits

            def get_timing_cache(self):
                return self.cache

        class Builder:
            create_builder_config = Config

            def __getattr__(self, name):
                return getattr(builder, name)

            def build_serialized_network(self, network, config):
                config.num_compute_capabilities = 1
                config.set_compute_capability(full.rtx.ComputeCapability.SM86, 0)
                return builder.build_serialized_network(network, config.real)

        return Builder()


@pytest.fixture
def entered(monkeypatch) -> list[int]:
    """The devices that threads have made theirs."""
    entered: list[int] = []
    monkeypatch.setattr(engines, "enter_device", entered.append)
    return entered


def test_what_is_measured_is_kept_for_the_next_engine(trt, tiny_bundle, cache, entered):
    bundle, module = load_bundle(tiny_bundle), FullTensorRt(trt.module)
    full = TensorRt(module, "tensorrt")
    for graph in ("encoder", "decoder", "decoder"):
        key = EngineKey.of(bundle, graph, full, gpu(driver="12060"))
        assert build_and_store(full, bundle, key, cache, index=1).path
    assert entered == [1, 1, 1]
    assert module.given == [b"", b"measured;", b"measured;measured;"]
    names = sorted(path.name.split("-")[0] for path in cache.folder.iterdir())
    assert names == ["decoder", "encoder", "timings"]
    other = EngineKey.of(bundle, "encoder", full, gpu())
    build_and_store(full, bundle, other, cache)
    assert module.given[-1] == b""  # another driver measures anew
    build_and_store(full, bundle, replace(other, model="NVIDIA L4"), cache)
    assert module.given[-1] == b""  # and another GPU
    module.suits = False
    build_and_store(full, bundle, other, cache)
    assert module.given[-2:] == [b"measured;", b""]  # refused, so that it begins anew


def test_a_fault_that_nobody_foresaw_is_told(trt, tiny_bundle, cache, key, monkeypatch):
    def fail(*_):
        raise AttributeError("module 'tensorrt' has no attribute 'Sonnet'")

    monkeypatch.setattr(engines, "_build", fail)
    with pytest.raises(
        RuntimeUnavailableError, match=r"does not build the decoder: AttributeError: .*Sonnet"
    ):
        build_and_store(trt, load_bundle(tiny_bundle), key, cache)


def test_driver_and_model_count_where_engines_depend_on_them(tiny_bundle, trt):
    bundle = load_bundle(tiny_bundle)
    full = TensorRt(SimpleNamespace(__version__="10.3.0"), "tensorrt")
    key = EngineKey.of(bundle, "encoder", full, gpu("87", "12060"))
    assert (key.driver, key.model) == ("12060", "NVIDIA A10")
    assert "-NVIDIA-A10-" in key.file
    key = EngineKey.of(bundle, "encoder", trt, gpu("86", "12060"))
    assert (key.driver, key.model) == ("any", "any")


def test_no_tensorrt_says_what_to_install(monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeUnavailableError, match="pip install tensorrt-rtx"):
        import_tensorrt()


def test_an_old_tensorrt_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="8.6.2"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(RuntimeUnavailableError, match=r"TensorRT 8\.6\.2 is older than 10\.3"):
        import_tensorrt()


def test_targets(trt):
    _, targets = engine_targets("auto", ["86", "8.6", "120"])
    assert [gpu.compute_capability for gpu in targets] == ["86", "120"]
    with pytest.raises(RuntimeUnavailableError, match=r"builds for 75, 80, .* but got '87'"):
        engine_targets("auto", ["87"])
    for device, refused in (("cpu", "engines are built for GPUs"), ("gpu", "device must be auto")):
        with pytest.raises(UsageError, match=refused):
            engine_targets(device, ["86"])
