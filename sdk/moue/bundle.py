"""A model on disk: a manifest, two ONNX graphs and a picture, hashed before they are parsed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from moue.errors import ActionError, BundleError, one_line, reason_of
from moue.expressions import Expression
from moue.mouth import PLACE_STEP, Mouth, Window, read_picture
from moue.reading import strict_json

if TYPE_CHECKING:
    import onnx

BUNDLES = Path(__file__).parent / "models"
MANIFEST = "manifest.json"
SCHEMA = 2
GRAPHS = ("encoder", "decoder")
BESIDES = re.compile(r"MODEL_CARD\.md|LICENSE[\w.-]*")  # files that need no entry in the manifest
NAME = re.compile(r"[A-Za-z0-9][\w-]{0,63}")
GRAPH_FILE = re.compile(r"[A-Za-z0-9][\w-]{0,63}\.onnx")
MOUTH_FILE = re.compile(r"mouth[\w-]{0,58}\.png")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_MANIFEST_BYTES = 2**20
MAX_GRAPH_BYTES = 2**30
MAX_PICTURE_BYTES = 2**25
MAX_ACTIONS = 512
MAX_SIZE = 2048  # cells a side of the input and of a level
MAX_CHANNELS = 8192
WINDOW_ERROR = 1e-6  # of a step of the place map: what is left of a third in decimals


@dataclass(frozen=True)
class Level:
    """One resolution at which the decoder takes the encoder's features.

    Attributes:
        size: cells a side.
        channels: features a cell.
        residual: whether actions act here; where not, the decoder takes the base as it is.
    """

    size: int
    channels: int
    residual: bool


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file of the bundle, its SHA-256 in hex and its size in bytes."""

    file: str
    sha256: str
    bytes: int

    @staticmethod
    def of(path: Path) -> GraphFile:
        data = path.read_bytes()
        return GraphFile(path.name, hashlib.sha256(data).hexdigest(), len(data))


@dataclass(frozen=True)
class MouthFile(GraphFile):
    """The bundle's picture of a mouth, and the window of the face square in which it may show.

    Attributes:
        window: left, top, right, bottom, in sides of the square, whole steps of the place map.
    """

    window: Window


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself; BundleError for any field that is wrong.

    Attributes:
        name, preset, version: which model this is.
        actions: n action names, the order of the residuals.
        expressions: weights by action, by expression name.
        input_size: S, pixels a side of the photo the encoder takes.
        levels: coarse to fine.
        graphs: `encoder` and `decoder`.
        mouth: the picture that the decoder's place map looks up.
        training: what it was trained on, free-form JSON.
        licence: of the weights.
    """

    name: str
    preset: str
    version: str
    actions: tuple[str, ...]
    expressions: Mapping[str, Mapping[str, float]]
    input_size: int
    levels: tuple[Level, ...]
    graphs: Mapping[str, GraphFile]
    mouth: MouthFile
    training: Mapping[str, Any]
    licence: str

    def __post_init__(self) -> None:
        try:
            _check(self)
        except (ValueError, TypeError, AttributeError, ActionError) as error:
            raise BundleError(f"the manifest is wrong: {one_line(error)}") from None
        for name in ("expressions", "graphs", "training"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def files(self) -> tuple[GraphFile, ...]:
        """All that lie beside the manifest."""
        return (*self.graphs.values(), self.mouth)

    def to_json(self) -> str:
        """The manifest as text; its `sha256` is that of all other fields, so that no edit hides."""
        fields: dict[str, Any] = {
            "schema": SCHEMA,
            "name": self.name,
            "preset": self.preset,
            "version": self.version,
            "actions": list(self.actions),
            "expressions": {name: dict(weights) for name, weights in self.expressions.items()},
            "input_size": self.input_size,
            "levels": [vars(level) for level in self.levels],
            "graphs": {name: vars(graph) for name, graph in self.graphs.items()},
            "mouth": vars(self.mouth),
            "training": dict(self.training),
            "licence": self.licence,
        }
        return (
            json.dumps({**fields, "sha256": _digest(fields)}, indent=1, ensure_ascii=False) + "\n"
        )

    @staticmethod
    def from_json(data: bytes) -> Manifest:
        """Reads what `to_json` wrote."""
        try:
            fields = strict_json(data)
            if not isinstance(fields, dict):
                raise TypeError("it holds no object")
            if fields.get("schema") != SCHEMA:
                raise ValueError(
                    f"its schema is {fields.get('schema')!r}, this moue reads {SCHEMA}"
                )
            if fields.pop("sha256", None) != _digest(fields):
                raise ValueError("it was changed after it was written (its sha256 does not match)")
            fields.pop("schema")
            for name in ("actions", "levels"):
                if not isinstance(fields.get(name), list):
                    raise TypeError(f"its {name} are not a list")
            fields["actions"] = tuple(fields["actions"])
            fields["levels"] = tuple(Level(**level) for level in fields["levels"])
            fields["graphs"] = {
                name: GraphFile(**graph) for name, graph in fields.get("graphs", {}).items()
            }
            mouth = fields.get("mouth")
            if not isinstance(mouth, dict) or not isinstance(mouth.get("window"), list):
                raise TypeError("its mouth has no window")
            fields["mouth"] = MouthFile(**{**mouth, "window": tuple(mouth["window"])})
            return Manifest(**fields)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BundleError(f"the manifest cannot be read: {one_line(error)}") from None


@dataclass(frozen=True)
class Bundle:
    """A model folder whose files are those the manifest lists, byte for byte."""

    folder: Path
    manifest: Manifest

    @property
    def actions(self) -> tuple[str, ...]:
        return self.manifest.actions

    @property
    def expressions(self) -> Mapping[str, Mapping[str, float]]:
        return self.manifest.expressions

    @property
    def input_size(self) -> int:
        return self.manifest.input_size

    @property
    def levels(self) -> tuple[Level, ...]:
        return self.manifest.levels

    @cached_property
    def mouth(self) -> Mouth:
        """The picture of a mouth in full detail, verified, read once."""
        listed = self.manifest.mouth
        try:
            return Mouth(read_picture(self._read(listed)), listed.window)
        except ValueError as error:
            raise BundleError(f"{self.folder / listed.file} {one_line(error)}") from None

    def encoder_bytes(self) -> bytes:
        """The encoder's ONNX file, verified."""
        return self._read(self.manifest.graphs["encoder"])

    def decoder_bytes(self) -> bytes:
        """The decoder's ONNX file, verified."""
        return self._read(self.manifest.graphs["decoder"])

    def graph(self, name: str) -> onnx.ModelProto:
        """The `encoder` or `decoder`, verified, then parsed; refused if it points outside."""
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        data = self._read(self.manifest.graphs[name])
        try:
            model = onnx.load_model_from_string(data)
            if _points_outside(model):
                raise BundleError(
                    f"{self.folder}: the {name} keeps weights outside its file; store them inside"
                )
            onnx.checker.check_model(data)
        except (DecodeError, UnicodeDecodeError, onnx.checker.ValidationError) as error:
            raise BundleError(
                f"{self.folder}: the {name} is not an ONNX graph: {one_line(error)}"
            ) from None
        return model

    def _read(self, listed: GraphFile) -> bytes:
        data = _read_file(self.folder / listed.file, listed.bytes)
        if len(data) != listed.bytes or hashlib.sha256(data).hexdigest() != listed.sha256:
            raise BundleError(
                f"{self.folder / listed.file} is damaged: it is not the file the manifest lists; "
                "install the bundle again"
            )
        return data


def load_bundle(bundle: str | os.PathLike[str]) -> Bundle:
    """Opens a bundle by path, or a shipped one by name (`edge`), and verifies every byte of it.

    Raises:
        BundleError: missing, damaged, incomplete, or holding anything its manifest does not list.
    """
    try:
        folder = _locate(bundle)
        data = _read_file(folder / MANIFEST, MAX_MANIFEST_BYTES)
        try:
            manifest = Manifest.from_json(data)
        except BundleError as error:
            raise BundleError(f"{folder}: {error}") from None
        _check_files(folder, manifest)
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"cannot open the bundle {str(bundle)!r}: {reason_of(error)}") from None
    opened = Bundle(folder, manifest)
    for listed in manifest.files:
        opened._read(listed)
    return opened


def _locate(bundle: str | os.PathLike[str]) -> Path:
    folder = Path(bundle)
    if isinstance(bundle, str) and NAME.fullmatch(bundle):
        folder = BUNDLES / bundle
        if not folder.is_dir():
            shipped = sorted(path.parent.name for path in BUNDLES.glob("*/manifest.json"))
            raise BundleError(
                f"no bundle is named {bundle!r} (shipped: {', '.join(shipped) or 'none'}); "
                f"a folder of your own is written ./{bundle}"
            )
    if not folder.is_dir():
        raise BundleError(f"a bundle is a folder with a {MANIFEST}, but {folder} is not a folder")
    return folder


def _read_file(path: Path, limit: int) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise BundleError(
                f"{path} is missing or not a file of its own; install the bundle again"
            )
        if (size := path.stat().st_size) > limit:
            raise BundleError(f"{path} must not be larger than {limit} bytes, but has {size}")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {reason_of(error)}") from None


def _points_outside(message: Any) -> bool:
    """Whether any tensor anywhere in a protobuf message keeps its data in another file.

    Every string is decoded on the way; UnicodeDecodeError where one is no text.
    """
    import onnx
    from google.protobuf.message import Message

    if isinstance(message, onnx.TensorProto):
        return bool(message.data_location == onnx.TensorProto.EXTERNAL or message.external_data)
    parts: list[Any] = []
    for _, value in message.ListFields():
        if isinstance(value, Message):
            parts.append(value)
        elif not isinstance(value, (str, bytes, int, float)):
            parts += value
    return any(_points_outside(part) for part in parts if isinstance(part, Message))


def _check_files(folder: Path, manifest: Manifest) -> None:
    listed = {MANIFEST, *(listed.file for listed in manifest.files)}
    for path in folder.iterdir():
        if path.name not in listed and not BESIDES.fullmatch(path.name):
            raise BundleError(f"{path} is not listed in the manifest; remove it")
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{path} must be a file of its own, not a link or a folder")


def _digest(fields: Mapping[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _check(manifest: Manifest) -> None:
    for name in ("name", "preset"):
        _text(getattr(manifest, name), name, NAME)
    for name in ("version", "licence"):
        _text(getattr(manifest, name), name)
    actions = manifest.actions
    for action in actions:
        _text(action, "an action's name", NAME)
    if not 1 <= len(set(actions)) == len(actions) <= MAX_ACTIONS:
        raise ValueError(f"actions must be 1 … {MAX_ACTIONS} different names")
    for name, weights in manifest.expressions.items():
        _text(name, "an expression's name", NAME)
        if unknown := Expression(name, weights).weights.keys() - set(actions):
            raise ValueError(f"expression {name} uses unknown actions {sorted(unknown)}")
    _integer(manifest.input_size, "input_size", MAX_SIZE)
    _check_levels(manifest)
    if manifest.graphs.keys() != set(GRAPHS):
        raise ValueError(f"graphs must be {' and '.join(GRAPHS)}")
    for graph in manifest.graphs.values():
        _check_file(graph, "a graph's", GRAPH_FILE, MAX_GRAPH_BYTES)
    if len({graph.file for graph in manifest.graphs.values()}) != len(GRAPHS):
        raise ValueError("the graphs must be different files")
    _check_mouth(manifest)
    if not isinstance(manifest.training, Mapping):
        raise TypeError("training must be an object")


def _check_levels(manifest: Manifest) -> None:
    for level in manifest.levels:
        _integer(level.size, "a level's size", manifest.input_size)
        _integer(level.channels, "a level's channels", MAX_CHANNELS)
        if not isinstance(level.residual, bool):
            raise TypeError(f"a level's residual must be true or false, but got {level.residual!r}")
    sizes = [level.size for level in manifest.levels]
    if sizes != sorted(set(sizes)) or not any(level.residual for level in manifest.levels):
        raise ValueError("levels must go from coarse to fine, at least one of them with residuals")


def _check_mouth(manifest: Manifest) -> None:
    _check_file(manifest.mouth, "the mouth's", MOUTH_FILE, MAX_PICTURE_BYTES)
    window, step = manifest.mouth.window, PLACE_STEP / manifest.input_size
    if not (
        len(window) == 4
        and all(type(side) in (int, float) for side in window)
        and 0 <= window[0] < window[2] <= 1
        and 0 <= window[1] < window[3] <= 1
        and all(abs(side / step - round(side / step)) < WINDOW_ERROR for side in window)
    ):
        raise ValueError(
            "the mouth's window must be left < right and top < bottom in [0, 1], "
            f"in steps of {PLACE_STEP}/{manifest.input_size}, but got {str(window)[:80]}"
        )


def _check_file(file: GraphFile, whose: str, name: re.Pattern[str], most: int) -> None:
    _text(file.file, f"{whose} file", name)
    _text(file.sha256, f"{whose} sha256", SHA256)
    _integer(file.bytes, f"{whose} bytes", most)


def _text(value: Any, what: str, pattern: re.Pattern[str] = re.compile(r"[^\n]{1,200}")) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{what} must match {pattern.pattern}, but got {str(value)[:80]!r}")


def _integer(value: Any, what: str, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(
            f"{what} must be a whole number in 1 … {most}, but got {str(value)[:80]!r}"
        )
