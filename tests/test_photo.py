from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from skimage import data as skimage_data

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


def test_path_bytes_image_and_array_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    for source in (path, str(path), path.read_bytes(), Image.open(path), RGB):
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
        assert np.array_equal(read_photo(image), wanted)
        assert np.array_equal(read_photo(ImageOps.exif_transpose(image)), wanted)
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))
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
    wanted = np.asarray(image.convert("RGB")) if wanted is None else wanted
    assert np.array_equal(read_photo(encoded(image)), wanted)
    assert np.array_equal(read_photo(image), wanted)


def test_arrays_with_other_channels_are_read_as_files_of_them_are() -> None:
    assert np.array_equal(read_photo(np.dstack([RGB, ALPHA])), HALF_OVER_WHITE)
    assert np.array_equal(read_photo(np.dstack([RGB, ALPHA])[:, ::-1]), HALF_OVER_WHITE[:, ::-1])
    assert np.array_equal(read_photo(GREY), GREY_RGB)


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


def fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(65536 * number) for number in numbers))


def xyz(*numbers: float) -> bytes:
    return b"XYZ \0\0\0\0" + fixed(*numbers)


def gamma(exponent: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(256 * exponent)) + b"\0\0"


def icc(
    space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", to: bytes = b"XYZ "
) -> bytes:
    """An ICC profile, version 2, of tags whose lengths are multiples of 4."""
    at, table, tags = 132 + 12 * len(tags) + 12, b"", {b"wtpt": xyz(*D50), **tags}
    for name, body in tags.items():
        table += struct.pack(">4sII", name, at, len(body))
        at += len(body)
    head = struct.pack(">I4xI4s4s4s12x4s", at, 0x02400000, kind, space, to, b"acsp")
    head = (head.ljust(68, b"\0") + fixed(*D50)).ljust(128, b"\0") + struct.pack(">I", len(tags))
    return head + table + b"".join(tags.values())


def rgb_icc(primaries: np.ndarray, curve: bytes) -> bytes:
    tags = {f"{c}XYZ".encode(): xyz(*row) for c, row in zip("rgb", primaries, strict=True)}
    return icc(b"RGB ", {**tags, **{f"{c}TRC".encode(): curve for c in "rgb"}})


def cmyk_icc(darkest: int) -> bytes:
    """Every ink prints no colour, only grey down to a lightness of `darkest` of 255."""
    grid = [255 - (255 - darkest) * max(inks) for inks in np.ndindex(2, 2, 2, 2)]
    same, matrix = bytes(range(256)), fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lab = b"".join(bytes([lightness, 128, 128]) for lightness in grid)
    body = b"mft1\0\0\0\0\4\3\2\0" + matrix + 4 * same + lab + 3 * same
    return icc(b"CMYK", {b"A2B0": body}, b"prtr", b"Lab ")


# XYZ of red, green and blue on D50, as profiles hold them.
D50 = (0.9642, 1.0, 0.8249)
SRGB = np.array([(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)])
P3 = np.array([(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)])
ADOBE = np.array([(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)])
LIKE_SRGB = b"para" + struct.pack(">IHH", 0, 3, 0)
LIKE_SRGB += fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
OWN_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ACROSS, DOWN = np.meshgrid(np.linspace(0, 255, 50), np.linspace(0, 255, 40))
SMOOTH = np.rint(np.dstack([ACROSS, DOWN, 255 - ACROSS])).astype(np.uint8)


def linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_srgb(light: np.ndarray, primaries: np.ndarray) -> np.ndarray:
    """Levels of sRGB for linear light [..., 3] of other primaries."""
    light = np.clip(light @ primaries @ np.linalg.inv(SRGB), 0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return 255 * encoded


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        (rgb_icc(P3, LIKE_SRGB), in_srgb(linear(SMOOTH / 255), P3)),
        (rgb_icc(ADOBE, gamma(2.2)), in_srgb((SMOOTH / 255) ** 2.2, ADOBE)),
    ],
    ids=["Display P3", "Adobe RGB"],
)
def test_colours_of_a_profile_come_out_in_srgb(
    kind: str, profile: bytes, wanted: np.ndarray
) -> None:
    data = encoded(Image.fromarray(SMOOTH), kind, icc_profile=profile, lossless=True, quality=98)
    plain = encoded(Image.fromarray(SMOOTH), kind, lossless=True, quality=98)
    off = np.abs(read_photo(data) - wanted)
    assert off.mean() < np.abs(read_photo(plain) - wanted).mean() / 4
    assert off.max() <= 2 or kind == "JPEG"
    assert np.array_equal(read_photo(Image.open(io.BytesIO(data))), read_photo(data))


@pytest.mark.parametrize("profile", [OWN_SRGB, rgb_icc(SRGB, LIKE_SRGB)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_srgb_that_says_so_is_left_as_it_is(profile: bytes, mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    wanted = np.asarray(image.convert("RGB"))
    assert np.array_equal(read_photo(encoded(image, icc_profile=profile)), wanted)


def test_a_photo_with_the_usual_srgb_profile(portrait_photo: np.ndarray) -> None:
    path = Path(skimage_data.__file__).with_name("astronaut.png")
    with Image.open(path) as image:
        assert b"sRGB IEC61966-2.1" in image.info["icc_profile"]
    assert np.array_equal(read_photo(path), portrait_photo)


def test_profiles_of_other_modes() -> None:
    p3, dark = rgb_icc(P3, LIKE_SRGB), icc(b"GRAY", {b"kTRC": gamma(3.0)})
    straight = read_photo(encoded(Image.fromarray(SMOOTH), icc_profile=p3))
    see_through = np.dstack([SMOOTH, ALPHA])
    photo = read_photo(encoded(Image.fromarray(see_through), icc_profile=p3))
    assert np.array_equal(photo, np.where(ALPHA[..., None] == 255, straight, 255))
    palette = Image.fromarray(SMOOTH).quantize(64)
    in_full = read_photo(encoded(palette.convert("RGB"), icc_profile=p3))
    assert np.array_equal(read_photo(encoded(palette, icc_profile=p3)), in_full)

    grey = in_srgb((GREY_RGB / 255) ** 3.0, SRGB)
    for image in (GREY, GREY.astype(np.uint16) * 257, np.dstack([GREY, np.full_like(GREY, 255)])):
        photo = read_photo(encoded(Image.fromarray(image), icc_profile=dark))
        assert np.abs(photo - grey).max() <= 2

    inks = Image.fromarray(SMOOTH).convert("CMYK")
    photo = read_photo(encoded(inks, "JPEG", quality=98, icc_profile=cmyk_icc(0)))
    assert np.ptp(photo.astype(int), axis=2).max() <= 2  # as this press prints
    assert np.ptp(read_photo(encoded(inks, "JPEG", quality=98)).astype(int), axis=2).max() > 50


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        rgb_icc(P3, LIKE_SRGB)[:200],
        icc(b"RGB ", {}),
        icc(b"GRAY", {b"kTRC": gamma(3.0)}),
        cmyk_icc(0),
        rgb_icc(P3, LIKE_SRGB) + bytes(5 * 2**20),
    ],
    ids=["nonsense", "cut off", "empty", "grey", "of inks", "huge"],
)
def test_a_profile_that_is_of_no_use_costs_nothing(profile: bytes) -> None:
    image = Image.fromarray(RGB)
    image.info["icc_profile"] = profile
    assert np.array_equal(read_photo(image), RGB)


def test_damaged_profiles_cost_no_photo_and_no_time() -> None:
    rng = np.random.default_rng(0)
    sound = {
        "RGB": [rgb_icc(P3, LIKE_SRGB), rgb_icc(ADOBE, gamma(2.2)), OWN_SRGB],
        "L": [icc(b"GRAY", {b"kTRC": gamma(3.0)})],
        "CMYK": [cmyk_icc(60)],
    }
    changed = 0
    for mode, profiles in sound.items():
        image = Image.fromarray(RGB).convert(mode)
        plain = read_photo(image)
        for _ in range(60):
            data = bytearray(profiles[rng.integers(len(profiles))])
            for at in rng.integers(0, len(data), rng.integers(1, 9)):
                data[at] = rng.integers(0, 256)
            image.info["icc_profile"] = bytes(data)
            started = time.process_time()
            photo = read_photo(image)
            assert time.process_time() - started < 1, data
            assert photo.shape == RGB.shape
            changed += not np.array_equal(photo, plain)
    assert 18 < changed < 162  # the injuries are neither all deadly nor all harmless


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
        (None, "must be a path, the bytes of an image file, a PIL image or a uint8 array"),
        (RGB.astype(np.float32), "must be uint8 RGB"),
        (RGB[..., :2], r"or grey \[H, W\], but got uint8 \[40, 50, 2\]"),
        (GREY[0], r"must be uint8 RGB .* but got uint8 \[50\]"),
        (np.dstack([RGB, GREY])[None], r"but got uint8 \[1, 40, 50, 4\]"),
        (GREY[:31], "needs at least 32"),
        (Image.new("RGB", (50, 31)), "needs at least 32"),
        (Image.open(io.BytesIO(encoded(Image.fromarray(RGB))[:-2000])), "is damaged"),
        (RGB[:31], "needs at least 32"),
        (np.broadcast_to(np.uint8(0), (8000, 8001, 3)), "more than 64 megapixels"),
    ],
)
def test_refusals(source: Any, message: str) -> None:
    with pytest.raises(PhotoError, match=message) as caught:
        read_photo(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_address_is_no_photo():
    with pytest.raises(PhotoError, match=r"is an address; download the photo first"):
        read_photo("https://example.com/a.jpg")
