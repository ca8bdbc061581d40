from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from moue.errors import PhotoError
from moue.photo import read_photo

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + head + struct.pack(">I", 1000) + b"IDAT"


def test_path_bytes_and_array_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    for source in (path, str(path), path.read_bytes(), RGB):
        photo = read_photo(source)
        assert np.array_equal(photo, RGB)
        assert photo.flags.c_contiguous
        assert photo.flags.writeable
        assert not np.may_share_memory(photo, RGB)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(RGB), kind, exif=exif, lossless=True)
    with Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_photo(data), wanted)


def test_damaged_exif_costs_nothing() -> None:
    data = encoded(Image.fromarray(RGB), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(read_photo(data), RGB)


GREY_RGB = np.repeat(GREY[..., None], 3, axis=2)
HALF_OVER_WHITE = np.where(np.arange(50)[None, :, None] < 25, RGB, 255).astype(np.uint8)
ALPHA = np.tile(np.where(np.arange(50) < 25, 255, 0).astype(np.uint8), (40, 1))


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (Image.fromarray(GREY), GREY_RGB),
        (Image.fromarray(GREY.astype(np.uint16) * 257), GREY_RGB),
        (Image.fromarray(np.dstack([RGB, ALPHA])), HALF_OVER_WHITE),
        (
            Image.fromarray(np.dstack([GREY, ALPHA])),
            np.where(ALPHA[..., None] == 255, GREY_RGB, 255),
        ),
        (Image.fromarray(RGB).quantize(256), None),
        (Image.fromarray(GREY > 127), np.where(GREY_RGB > 127, 255, 0)),
    ],
    ids=["grey", "grey 16-bit", "alpha", "grey alpha", "palette", "black and white"],
)
def test_modes(image: Image.Image, wanted: np.ndarray | None) -> None:
    photo = read_photo(encoded(image))
    assert np.array_equal(photo, np.asarray(image.convert("RGB")) if wanted is None else wanted)


def test_colour_16_bit() -> None:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB.astype(np.uint16) * 257)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 50, 40, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in (*chunks, (b"IEND", b"")):
        data += (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )
    assert np.array_equal(read_photo(data), RGB)


def test_transparent_palette_lies_over_white() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([10, 20, 30])
    assert (read_photo(encoded(image, "GIF", transparency=0)) == 255).all()


def test_cmyk() -> None:
    smooth = Image.fromarray(RGB).resize((4, 4)).resize((64, 64), Image.Resampling.BICUBIC)
    photo = read_photo(encoded(smooth.convert("CMYK"), "JPEG", quality=98))
    assert np.abs(photo - np.asarray(smooth).astype(int)).mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "GIF"])
def test_formats(kind: str) -> None:
    assert read_photo(encoded(Image.fromarray(RGB), kind)).shape == RGB.shape


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "is not a picture"),
        (b"no picture at all", "is not a picture"),
        (encoded(Image.fromarray(RGB), "PPM"), "is not a picture"),
        (encoded(Image.fromarray(RGB))[:-2000], "is damaged"),
        (encoded(Image.fromarray(RGB), "JPEG")[:700], "is damaged"),
        (encoded(Image.fromarray(RGB), "TIFF"), "it must be JPEG, PNG, WebP, BMP or GIF"),
        (encoded(Image.new("RGB", (1, 1))), "1×1 pixels, but needs at least 32"),
        (png_header(9000, 9000), "9000×9000 pixels, more than 64 megapixels"),
        (png_header(30_000, 30_000), "more than 64 megapixels"),
        (png_header(2**31 - 1, 2**31 - 1), "more than 64 megapixels"),
        ("missing.jpg", "cannot open the photo 'missing.jpg': No such file"),
        ("", "is a folder"),
        ("a\0b", "cannot open"),
        ("x" * 5000, "cannot open"),
        (Path(__file__).parent, "is a folder, not a photo"),
        (Path("/dev/null"), "is not a file"),
        (None, "must be a path, the bytes of an image file or a uint8 array"),
        (RGB.astype(np.float32), "must be uint8 RGB"),
        (GREY, r"must be uint8 RGB \[H, W, 3\], but got uint8 \[40, 50\]"),
        (RGB[:31], "needs at least 32"),
        (np.broadcast_to(np.uint8(0), (8000, 8001, 3)), "more than 64 megapixels"),
    ],
)
def test_refusals(source: Any, message: str) -> None:
    with pytest.raises(PhotoError, match=message) as caught:
        read_photo(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
