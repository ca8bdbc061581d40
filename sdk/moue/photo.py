"""A still photo in, uint8 RGB out: upright, whatever its mode, refused before it can do harm."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moue.errors import PhotoError, one_line, reason_of

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 64_000_000  # pixels, checked before any is decoded
MIN_SIDE = 32  # pixels
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
ORIENTATION = 0x0112  # the EXIF tag
# What undoes each orientation: swap the axes, then step through rows and columns this way.
UPRIGHT = {
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}

Source = str | os.PathLike[str] | bytes | NDArray[np.uint8]


def read_photo(source: Source) -> NDArray[np.uint8]:
    """Reads a photo into a new array.

    EXIF orientation is applied, transparency laid over white, 16-bit and CMYK brought to 8-bit RGB;
    of an animation the first picture counts.

    Args:
        source: a path, the bytes of an image file, or uint8 RGB [H, W, 3].

    Returns:
        uint8 RGB [H, W, 3], contiguous, the caller's own.

    Raises:
        PhotoError: missing, damaged, no image, under 32 pixels a side or over 64 megapixels.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), "the photo")
    try:
        path = Path(source)
        if path.is_dir():
            raise PhotoError(f"{path} is a folder, not a photo")
        if path.exists() and not path.is_file():
            raise PhotoError(f"{path} is not a file")
        with path.open("rb") as file:
            return _decode(file, str(path))
    except TypeError:
        raise PhotoError(
            "a photo must be a path, the bytes of an image file or a uint8 array [H, W, 3], "
            f"but got {type(source).__name__}"
        ) from None
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"cannot open the photo {str(source)[:200]!r}: {reason_of(error)}"
        ) from None


def _from_array(photo: NDArray[Any]) -> NDArray[np.uint8]:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise PhotoError(
            f"a photo array must be uint8 RGB [H, W, 3], but got {photo.dtype} {list(photo.shape)}"
        )
    _check_size(photo.shape[1], photo.shape[0], "the photo")
    return np.array(photo, order="C")


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"{name} has {width}×{height} pixels, more than {MAX_PIXELS // 10**6} megapixels; "
            "scale it down"
        )
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"{name} has {width}×{height} pixels, but needs at least {MIN_SIDE} a side"
        )


def _decode(file: Any, name: str) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata, large pictures: judged here, not there
        try:
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                _check_size(width, height, name)
                image.load()
                return _upright(_to_rgb(image), image)
        except PhotoError:
            raise
        except UnidentifiedImageError:
            raise PhotoError(
                f"{name} is not a picture; it must be JPEG, PNG, WebP, BMP or GIF"
            ) from None
        except Image.DecompressionBombError:
            raise PhotoError(
                f"{name} has more than {MAX_PIXELS // 10**6} megapixels; scale it down"
            ) from None
        # Damaged files raise nearly anything from inside the decoders.
        except Exception as error:
            raise PhotoError(f"{name} is damaged: {one_line(error)}") from error


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey, in a 32-bit array from some Pillow versions
        grey = (np.asarray(image).clip(0, 65535).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return np.array(Image.alpha_composite(white, over).convert("RGB"))
    return np.array(image.convert("RGB"))


def _upright(photo: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    """The photo turned as its EXIF orientation, 1 to 8, says; damaged EXIF counts as upright."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - the pixels are sound: bad metadata must not cost the photo
        orientation = 1
    if orientation not in UPRIGHT:
        return photo
    swap, rows, columns = UPRIGHT[orientation]
    photo = photo.transpose(1, 0, 2) if swap else photo
    return np.ascontiguousarray(photo[::rows, ::columns])
