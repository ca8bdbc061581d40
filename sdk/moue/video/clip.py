"""Encoding frames as an mp4, gif or webp with FFmpeg, one frame at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moue.errors import OutputError
from moue.video.ffmpeg import ACCURATE_RND, BICUBIC, Frame

if TYPE_CHECKING:
    import av
    from PIL import Image

    from moue.video.sound import Sound


BT601 = 5  # swscale's number for the matrix of a WebP
BT709 = 1  # FFmpeg's number for the BT.709 matrix, primaries and transfer alike
LIMITED_RANGE = 1
PALETTE_READ_AHEAD = 128 << 20  # bytes of frames seen before a gif's colours are chosen
PALETTE_SAMPLE = 1 << 18  # pixels of them that choose


@dataclass(frozen=True)
class Codec:
    """How FFmpeg writes one kind of clip."""

    container: str
    encoder: str
    pictures: Callable[[Iterator[Frame]], Iterator[av.VideoFrame]]  # in the encoder's pixel format
    max_side: int  # px
    max_fps: int  # players show more than this at a speed of their own
    bt709: bool = False
    sound: bool = False
    container_options: tuple[tuple[str, str], ...] = ()
    encoder_options: tuple[tuple[str, str], ...] = ()


def check_encoder(codec: Codec) -> None:
    """Raises OutputError where this PyAV lacks the codec's encoder."""
    import av

    if codec.encoder not in av.codecs_available:
        raise OutputError(
            f"PyAV {av.__version__} has no {codec.encoder} encoder, which .{codec.container} needs;"
            " take its ready wheel: pip install --force-reinstall --only-binary av av"
        )


def write_clip(
    frames: Iterable[Frame], path: Path, fps: Fraction, codec: Codec, sound: Sound | None = None
) -> tuple[int, int]:
    """Encodes frames into the file `path`; frame k is shown from k / fps seconds on, exactly.

    Args:
        frames: at least one, uint8 RGB [H, W, 3], all of one size.
        path: an existing file, overwritten.
        fps: frames per second.
        codec: one of `CODECS`.
        sound: what is heard meanwhile, as far as the frames last; only an mp4 carries it.

    Returns:
        The pictures' width and height, px.

    Raises:
        OutputError: frames too large for the format.
        OSError: a failing disk or encoder.
    """
    import av

    pictures = codec.pictures(iter(frames))
    first = next(pictures)
    if max(first.width, first.height) > codec.max_side:
        raise OutputError(
            f"a .{codec.container} is at most {codec.max_side} px a side,"
            f" but got {first.width}×{first.height}; use a smaller photo, or FOLDER/ for PNGs"
        )
    options = dict(codec.container_options)
    try:
        with av.open(
            os.path.abspath(path), "w", format=codec.container, options=options
        ) as container:
            context = container.add_stream(codec.encoder, rate=fps).codec_context
            assert isinstance(context, av.VideoCodecContext)
            context.options = dict(codec.encoder_options)
            context.width, context.height = first.width, first.height
            context.pix_fmt = first.format.name
            context.time_base = 1 / fps
            if codec.bt709:
                context.colorspace = context.color_primaries = context.color_trc = BT709
                context.color_range = LIMITED_RANGE
            if sound is not None:
                sound.begin(container)
            for k, picture in enumerate(chain([first], pictures)):
                picture.pts, picture.time_base = k, 1 / fps
                container.mux(context.encode(picture))
                if sound is not None:
                    sound.advance((k + 1) / fps)
            container.mux(context.encode(None))
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
    return first.width, first.height


def _yuv420_pictures(frames: Iterator[Frame]) -> Iterator[av.VideoFrame]:
    """BT.709 pictures with even sides, the last row and column repeated where they were odd."""
    import av

    for frame in frames:
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        yield av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=BT709, interpolation=BICUBIC | ACCURATE_RND
        )


def _bt601_pictures(frames: Iterator[Frame]) -> Iterator[av.VideoFrame]:
    import av

    for frame in frames:
        yield av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=BT601, interpolation=BICUBIC | ACCURATE_RND
        )


def _palette_pictures(frames: Iterator[Frame]) -> Iterator[av.VideoFrame]:
    """Pictures in one palette; a pixel that stays the same keeps its colour, so nothing boils."""
    import av
    from PIL import Image

    first = next(frames)
    ahead = [first, *islice(frames, PALETTE_READ_AHEAD // first.nbytes)]
    palette, argb = _palette(ahead)
    shown, indices = None, None
    for frame in chain(ahead, frames):
        fresh = np.asarray(Image.fromarray(frame).quantize(palette=palette))
        if shown is not None and indices is not None:
            fresh = np.where((frame == shown).all(axis=-1), indices, fresh)
        shown, indices = frame, fresh
        yield av.VideoFrame.from_ndarray((fresh, argb), format="pal8")  # type: ignore[arg-type]


def _palette(frames: Sequence[Frame]) -> tuple[Image.Image, NDArray[np.uint8]]:
    """The colours that suit some frames best, as Pillow takes them and as ARGB, uint8 [256, 4]."""
    from PIL import Image

    step = max(1, len(frames) * frames[0].size // 3 // PALETTE_SAMPLE)
    samples = [frame.reshape(-1, 3)[k % step :: step] for k, frame in enumerate(frames)]
    palette = Image.fromarray(np.concatenate(samples)[None]).quantize(
        256, method=Image.Quantize.MEDIANCUT
    )
    colours = np.array(palette.getpalette("RGB"), np.uint8).reshape(-1, 3)
    argb = np.full((256, 4), 255, np.uint8)
    argb[: len(colours), 1:] = colours
    return palette, argb


CODECS = {
    ".mp4": Codec(
        *("mp4", "libx264", _yuv420_pictures),
        max_side=16384,
        max_fps=240,
        bt709=True,
        sound=True,
        container_options=(("movflags", "+faststart"),),
        # Every picture that x264 looks ahead stays in memory: 23 MB less at 1024² than its ten take.
        encoder_options=(("crf", "18"), ("preset", "veryfast"), ("rc-lookahead", "4")),
    ),
    ".gif": Codec(
        *("gif", "gif", _palette_pictures),
        max_side=65535,
        max_fps=50,
        container_options=(("loop", "0"),),
    ),
    ".webp": Codec(
        *("webp", "libwebp", _bt601_pictures),
        max_side=16383,
        max_fps=90,
        container_options=(("loop", "0"),),
        # Blocks that stay as they are to the bit are left out. libwebp_anim leaves out what changes
        # little from one picture to the next, too, and slow motion piles up to something else.
        encoder_options=(("quality", "85"), ("cr_threshold", "1")),
    ),
}
