"""A still photo in, uint8 sRGB out: upright, whatever its mode, refused before it can do harm."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from moue.errors import PhotoError, one_line, reason_of
from moue.streams import quiet_warnings

if TYPE_CHECKING:
    from PIL import Image, ImageCms

MAX_PIXELS = 64_000_000  # pixels, checked before any is decoded
MIN_SIDE = 32  # pixels
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
KINDS = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}  # of colour, by mode; all others are RGB
SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # what ICC calls those
MAX_PROFILE = 4 * 2**20  # bytes; those of presses have up to 3 MB
SAME_COLOUR = 2  # levels by which a profile of sRGB itself, rounded somehow, may differ from it
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

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8] | Image.Image"
)


def read_photo(source: Source) -> NDArray[np.uint8]:
    """Reads a photo into a new array.

    EXIF orientation is applied, transparency laid over white, 16-bit and CMYK brought to 8-bit RGB,
    the colours of an embedded profile to sRGB; of an animation the first picture counts.

    Args:
        source: a path, the bytes of an image file, a PIL image, which is taken as a file of it would
            be, or a uint8 array: RGB [H, W, 3], RGBA [H, W, 4] or grey [H, W].

    Returns:
        uint8 sRGB [H, W, 3], contiguous, the caller's own.

    Raises:
        PhotoError: missing, damaged, no image, under 32 pixels a side or over 64 megapixels.
    """
    from PIL import Image

    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _decode(source, "the photo")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(source), "the photo")
    try:
        if isinstance(source, str) and "://" in source:
            raise PhotoError(f"{source[:200]!r} is an address; download the photo first")
        path = Path(source)
        if path.is_dir():
            raise PhotoError(f"{path} is a folder, not a photo")
        if path.exists() and not path.is_file():
            raise PhotoError(f"{path} is not a file")
        with path.open("rb") as file:
            return _decode(file, str(path))
    except TypeError:
        raise PhotoError(
            "a photo must be a path, the bytes of an image file, a PIL image or a uint8 array "
            f"[H, W, 3], but got {type(source).__name__}"
        ) from None
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"cannot open the photo {str(source)[:200]!r}: {reason_of(error)}"
        ) from None


def _from_array(photo: NDArray[Any]) -> NDArray[np.uint8]:
    from PIL import Image

    if photo.dtype != np.uint8 or photo.shape[2:] not in ((), (3,), (4,)) or photo.ndim < 2:
        raise PhotoError(
            "a photo array must be uint8 RGB [H, W, 3], RGBA [H, W, 4] or grey [H, W], "
            f"but got {photo.dtype} {list(photo.shape)}"
        )
    _check_size(photo.shape[1], photo.shape[0], "the photo")
    if photo.shape[2:] == (3,):
        return np.array(photo, order="C")
    return _to_rgb(Image.fromarray(np.ascontiguousarray(photo)))


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


def _decode(source: Any, name: str) -> NDArray[np.uint8]:
    """A file's picture, or a PIL image, which stays open."""
    from PIL import Image, UnidentifiedImageError

    with quiet_warnings():  # of damaged metadata and large pictures: judged here, not there
        try:
            if isinstance(source, Image.Image):
                return _pixels(source, name)
            with Image.open(source, formats=FORMATS) as image:
                return _pixels(image, name)
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


def _pixels(image: Image.Image, name: str) -> NDArray[np.uint8]:
    _check_size(*image.size, name)
    image.load()
    return _upright(_to_rgb(image), image)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image

    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # 16-bit grey, in a 32-bit array from some Pillow versions
        grey = (np.asarray(image).clip(0, 65535).astype(np.uint32) + 128) // 257
        image = Image.fromarray(grey.astype(np.uint8))
    kind = KINDS.get(image.mode, "RGB")
    if not image.has_transparency_data:
        return np.array(_in_srgb(image, kind, profile))
    over = image.convert("RGBA")
    colours = _in_srgb(over, kind, profile).convert("RGBA")
    colours.putalpha(over.getchannel("A"))
    white = Image.new("RGBA", image.size, "white")
    return np.array(Image.alpha_composite(white, colours).convert("RGB"))


def _in_srgb(image: Image.Image, kind: str, profile: bytes | None) -> Image.Image:
    """The picture in sRGB, without its transparency.

    Args:
        kind: `RGB`, `L` or `CMYK`: what a profile that is used must be of.
        profile: what is known of its colours; None, or what is no profile, stands for sRGB.
    """
    try:
        transform = _to_srgb(profile, kind) if profile else None
    except Exception:  # noqa: BLE001 - the pixels are sound: a bad profile must not cost the photo
        transform = None
    return image.convert("RGB") if transform is None else transform.apply(image.convert(kind))


def _to_srgb(profile: bytes, kind: str) -> ImageCms.ImageCmsTransform | None:
    """What brings the colours of a profile to sRGB; None where they are, or are of another kind."""
    from PIL import Image, ImageCms

    if len(profile) > MAX_PROFILE:
        return None
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if given.profile.xcolor_space != SPACES[kind]:
        return None
    transform = ImageCms.buildTransform(
        given,
        ImageCms.createProfile("sRGB"),
        kind,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    levels = np.mgrid[0:256:17, 0:256:17, 0:256:17].astype(np.uint8)
    colours = Image.fromarray(levels.reshape(3, 16, 256).transpose(1, 2, 0)).convert(kind)
    moved = np.asarray(transform.apply(colours), np.int16)
    differs = np.abs(moved - np.asarray(colours.convert("RGB"))).max() > SAME_COLOUR
    return transform if differs else None


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


def within(photo: NDArray[np.uint8], width: float, height: float) -> NDArray[np.uint8]:
    """The photo scaled down to fit into `width` × `height` pixels; itself where it does.

    Args:
        photo: uint8 RGB [H, W, 3].
        width, height: pixels at most; infinity for any.

    Returns:
        uint8 RGB [h, w, 3], its proportions kept to the nearest pixel.
    """
    from PIL import Image

    scale = min(width / photo.shape[1], height / photo.shape[0])
    if scale >= 1:
        return photo
    size = (max(1, round(scale * photo.shape[1])), max(1, round(scale * photo.shape[0])))
    return np.array(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))
