"""The seam of every runtime: photo → features, once; skips → flow, mask, light, place, per frame."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moue.bundle import Bundle
from moue.errors import BundleError, RuntimeUnavailableError, UsageError
from moue.files import Closing

if TYPE_CHECKING:
    from moue.runtimes.frame_loop import FrameLoop, PreparedFace

Tensors = dict[str, NDArray[np.float32]]
HALF_INFINITY = 0x7C00  # its bits; those of NaN, but for the sign, are more
Shape = tuple[int | str, ...]  # a name stands for an axis of any length
FRAMES = "frames"


class Runtime(Closing):
    """Runs the encoder and the decoder of one bundle. Inputs are checked here, for every runtime.

    Attributes:
        name: as `--runtime` takes it.
        device: where it runs, as `--device` takes it.
    """

    name: str
    device: str
    closed = False

    def __repr__(self) -> str:
        return f"{self.name} on {self.device}"

    def __init__(self, bundle: Bundle) -> None:
        size = bundle.input_size
        self.encoder_inputs: dict[str, Shape] = {"photo": (1, 3, size, size)}
        self.encoder_outputs: dict[str, Shape] = {}
        self.decoder_inputs: dict[str, Shape] = {}
        for level in bundle.levels:
            cells = (level.channels, level.size, level.size)
            self.encoder_outputs[f"base_{level.size}"] = (1, *cells)
            if level.residual:
                self.encoder_outputs[f"residual_{level.size}"] = (len(bundle.actions), *cells)
                self.decoder_inputs[f"skip_{level.size}"] = (FRAMES, *cells)
            else:
                self.decoder_inputs[f"base_{level.size}"] = (1, *cells)
        self.decoder_outputs: dict[str, Shape] = {
            "flow": (FRAMES, 2, size, size),
            "mask": (FRAMES, 1, size, size),
            "light": (FRAMES, 3, size, size),
            "place": (FRAMES, 2, *bundle.mouth.nodes(size)),
        }

    def encode(self, photo: NDArray[np.float32]) -> Tensors:
        """The features of one face.

        Args:
            photo: float32 [1, 3, S, S] in [0, 1], the face square.

        Returns:
            `base_{size}` float32 [1, C, h, w] for every level, `residual_{size}` float32 or
            float16 [n, C, h, w] for every level where actions act.
        """
        self._check_inputs({"photo": photo}, self.encoder_inputs)
        return self._checked(self._encode(photo), self.encoder_outputs)

    def encode_on_device(self, photo: Any, to_photo: ArrayLike) -> Tensors:
        """The features of a face in a picture that is on the device already, as a camera's may be.

        Args:
            photo: uint8 [H, W, 3] or [H, W, 4] with `__cuda_array_interface__` or DLPack.
            to_photo: float [2, 3], M with photo point = M (ux, uy, 1).

        Raises:
            UsageError: it is not there, or this runtime computes on the CPU.
        """
        raise self._no_device()

    def from_device(self, photo: Any) -> NDArray[np.uint8]:
        """The same picture in host memory, uint8 [H, W, 3]; a fourth channel is left out."""
        raise self._no_device()

    def decode(
        self, features: Mapping[str, NDArray[np.float32]], one_core: bool = False
    ) -> Tensors:
        """The decoder's raw outputs for T frames.

        Args:
            features: `skip_{size}` float32 [T, C, h, w] for every level where actions act
                (eq. 7: `skip = e0 + Σ a_i e_i`), `base_{size}` float32 [1, C, h, w] for the others.
            one_core: where a CPU decodes, on the calling thread alone: other threads decode others.

        Returns:
            `flow` float32 [T, 2, S, S], `mask` [T, 1, S, S], `light` [T, 3, S, S] and `place`
            [T, 2, h, w], a node for every 4×4 pixels of the mouth's window: (u, v) in the mouth's
            picture less 0.5. They hold until the same thread decodes again.
        """
        self._check_inputs(features, self.decoder_inputs)
        decode = self._decode_on_one_core if one_core else self._decode
        return self._checked(decode(features), self.decoder_outputs)

    def frame_loop(
        self, photo: NDArray[np.uint8], faces: Sequence[PreparedFace], batch: int = 1
    ) -> FrameLoop | None:
        """What makes whole frames of a prepared photo where the runtime computes.

        None where that is the CPU: then `decode` and the kernels make them, one by one.
        """
        return None

    def close(self) -> None:
        """Gives back what the runtime holds; it cannot be used afterwards."""
        if not self.closed:
            self.closed = True
            self._release()

    @abstractmethod
    def _encode(self, photo: NDArray[np.float32]) -> Tensors: ...

    @abstractmethod
    def _decode(self, features: Mapping[str, NDArray[np.float32]]) -> Tensors: ...

    def _decode_on_one_core(self, features: Mapping[str, NDArray[np.float32]]) -> Tensors:
        return self._decode(features)

    @abstractmethod
    def _release(self) -> None: ...

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError(f"the {self.name} runtime is closed; open another")

    def _no_device(self) -> UsageError:
        return UsageError(
            f"the photo is on a GPU, but {self.name} computes on the {self.device}; "
            "open the animator with device='cuda', or copy the photo to host memory"
        )

    def _check_inputs(
        self, given: Mapping[str, NDArray[np.float32]], wanted: Mapping[str, Shape]
    ) -> None:
        self._check_open()
        if given.keys() != wanted.keys():
            raise UsageError(f"inputs must be {sorted(wanted)}, but got {sorted(given)}")
        for name, shape in wanted.items():
            if given[name].dtype != np.float32 or not _fits(given[name], shape):
                raise UsageError(
                    f"{name} must be float32 {list(shape)}, "
                    f"but got {given[name].dtype} {list(given[name].shape)}"
                )
        frames = {len(given[name]) for name, shape in wanted.items() if shape[0] == FRAMES}
        if len(frames) > 1:
            raise UsageError(f"every skip must hold as many frames, but got {sorted(frames)}")

    def _checked(self, outputs: Tensors, wanted: Mapping[str, Shape]) -> Tensors:
        for name, shape in wanted.items():
            if not _fits(outputs[name], shape):
                raise BundleError(
                    f"the bundle's {name} must be {list(shape)}, "
                    f"but came out as {list(outputs[name].shape)}"
                )
            if not _finite(outputs[name]):
                raise RuntimeUnavailableError(
                    f"{self.name} on {self.device} gave {name} values that are not finite; "
                    "try another --runtime or --device"
                )
        return outputs


def _finite(array: NDArray[Any]) -> bool:
    """Whether no number is infinite or none; for float32 without memory of its own."""
    if array.dtype == np.float16:
        return bool(((array.view(np.uint16) & 0x7FFF) < HALF_INFINITY).all())
    return bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def _fits(array: NDArray[np.float32], shape: Shape) -> bool:
    return array.ndim == len(shape) and all(
        length > 0 if axis == FRAMES else length == axis
        for length, axis in zip(array.shape, shape, strict=True)
    )
