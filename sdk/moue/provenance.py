"""Marks that say a file is synthetic, as IPTC words it, and whether it is as it was made.

>>> moue.verify("happy.mp4")
Mark(source='compositeWithTrainedAlgorithmicMedia', tool='moue 0.1.0', intact=True)

A mark is an XMP packet (ISO 16684) that names the `DigitalSourceType`, where any program that reads
pictures' metadata finds it, and the SHA-256 of every other byte of the file. It is a label, not a
signature: it tells who asks, and whoever wants to can take it off or write another.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import shutil
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from moue.errors import OutputError, PhotoError, reason_of
from moue.files import check_file, whole_file
from moue.version import VERSION

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"  # a photograph, in part made by a trained model
SYNTHETIC = (  # the IPTC's terms for what no camera saw as it is
    *("trainedAlgorithmicMedia", COMPOSITE, "compositeSynthetic"),
    *("algorithmicMedia", "virtualRecording"),
)
IPTC, XMP = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "http://ns.adobe.com/xap/1.0/"
MOUE = "urn:moue:provenance#"
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="{xmp}" xmp:CreatorTool="{tool}"
    xmlns:Iptc4xmpExt="{iptc}" Iptc4xmpExt:DigitalSourceType="{source}"
    xmlns:moue="{moue}" moue:sha256="{digest}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
NEITHER = "only a PNG, JPEG, WebP, GIF or MP4 can be marked, but this is none"
NO_DIGEST = "0" * 64
WRAPPER = re.compile(rb"<\?xpacket (begin=|end=[^>]{0,8}\?>)")
LONGEST = 1 << 16  # bytes of a packet that is looked at
CHUNK = 1 << 20  # bytes of a file that are read at a time
PNG, GIF, JPEG = b"\x89PNG\r\n\x1a\n", b"GIF8", b"\xff\xd8\xff"
PNG_HEADER = 33  # bytes up to the end of its first chunk, which has to stay the first
CHECKSUM = 4  # bytes of what ends a PNG's chunk
JFIF = b"\xff\xe0"  # a JPEG's segment that has to stay its first
MP4_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # the box's UUID
GIF_TRAILER = bytes([1, *range(255, -1, -1), 0])  # who skips the packet by blocks ends behind it
WEBP_HAS_XMP, WEBP_HAS_ALPHA = 0x04, 0x10


@dataclass(frozen=True)
class Mark:
    """What a file says of itself.

    source: the IPTC's term for how it came to be, one of `SYNTHETIC`; tool: what wrote the mark, or "";
    intact: whether every byte is as it was then, None where the mark does not say (another program's).
    """

    source: str
    tool: str
    intact: bool | None


def verify(path: str | os.PathLike[str]) -> Mark | None:
    """The mark of a file of any kind that says it is synthetic; None where there is none.

    Raises:
        PhotoError: the file cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is not a regular file")
        with open(path, "rb") as file:
            for start, packet in _packets(file):
                fields = _values(packet)
                source = fields.get(f"{{{IPTC}}}DigitalSourceType", "").removeprefix(SOURCE_TYPES)
                if source not in SYNTHETIC:
                    continue
                digest = fields.get(f"{{{MOUE}}}sha256")
                intact = None if digest is None else digest == _digest(file, start, packet, digest)
                tool = filter(str.isprintable, fields.get(f"{{{XMP}}}CreatorTool", ""))
                return Mark(source, "".join(tool)[:80], intact)
    except (OSError, ValueError) as error:
        raise PhotoError(f"cannot read {path}: {reason_of(error)}") from None
    return None


def mark(path: str | os.PathLike[str]) -> None:
    """Marks a picture or clip that you wrote from moue's frames yourself, whole or not at all.

    Args:
        path: a PNG, JPEG, WebP, GIF or MP4 without a mark or other XMP metadata.

    Raises:
        OutputError: no file, another kind of one, one that has XMP metadata, or a failing disk.
    """
    target = Path(path).resolve()
    if not target.is_file():
        raise OutputError(f"there is no file {path} to mark")
    check_file(target)
    with whole_file(target) as part:
        shutil.copy(target, part)
        with part.open("r+b") as file:
            if next(_packets(file), None) is not None:
                raise OutputError(f"{path} has XMP metadata already, a mark perhaps; write it anew")
            mark_file(file)


def mark_file(file: BinaryIO) -> None:
    """Marks a finished picture or clip, open for reading and writing, that has no XMP metadata.

    Raises:
        OutputError: it is no PNG, JPEG, WebP, GIF or MP4.
    """
    empty = _packet(NO_DIGEST)
    at, before, after = _place(file, len(empty))
    file.seek(at)
    rest = file.read()  # short, or that of a picture
    _put(file, at, before + empty + after + rest)
    start = at + len(before)
    packet = _packet(_digest(file, start, empty, NO_DIGEST))
    _put(file, start, packet)
    if _is_png(file):
        _put(file, start + len(packet), struct.pack(">I", zlib.crc32(before[4:] + packet)))


def _packet(digest: str) -> bytes:
    return PACKET.format(
        xmp=XMP, tool=f"moue {VERSION}", iptc=IPTC, source=SOURCE_TYPES + COMPOSITE, moue=MOUE,
        digest=digest,
    ).encode()  # fmt: skip


def _place(file: BinaryIO, length: int) -> tuple[int, bytes, bytes]:
    """Where in a file a packet of that length goes, and what its format puts before and after it."""
    file.seek(0)
    head = file.read(PNG_HEADER)
    size = file.seek(0, os.SEEK_END)
    if size < PNG_HEADER:
        raise OutputError(NEITHER)
    if head.startswith(PNG):
        name = b"XML:com.adobe.xmp\0\0\0\0\0"
        chunk = struct.pack(">I4s", len(name) + length, b"iTXt") + name
        return PNG_HEADER, chunk, b"\0" * CHECKSUM
    if head.startswith(JPEG):
        name = b"http://ns.adobe.com/xap/1.0/\0"
        segment = b"\xff\xe1" + struct.pack(">H", 2 + len(name) + length) + name
        (first,) = struct.unpack(">H", head[4:6])
        return 4 + first if head[2:4] == JFIF else 2, segment, b""
    if head.startswith(GIF):
        return size - 1, b"\x21\xff\x0bXMP DataXMP", GIF_TRAILER
    if head[4:8] == b"ftyp":
        return size, struct.pack(">I4s", 24 + length, b"uuid") + MP4_XMP, b""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        size = _extended(file, head, size)
        chunk, even = struct.pack("<4sI", b"XMP ", length), b"\0" * (length % 2)
        _put(file, 4, struct.pack("<I", size + len(chunk) + length + len(even) - 8))
        return size, chunk, even
    raise OutputError(NEITHER)


def _extended(file: BinaryIO, head: bytes, size: int) -> int:
    """Has a WebP's header say that there is XMP; a plain one gets such a header. Returns its size then."""
    from PIL import Image

    if head[12:16] == b"VP8X":
        _put(file, 20, bytes([head[20] | WEBP_HAS_XMP]))
        return size
    file.seek(0)
    try:
        with Image.open(file, formats=("WEBP",)) as image:
            sides = [struct.pack("<I", side - 1)[:3] for side in image.size]
            flags = WEBP_HAS_XMP | (WEBP_HAS_ALPHA if image.mode == "RGBA" else 0)
    except OSError:
        raise OutputError(NEITHER) from None
    header = struct.pack("<4sIB3x", b"VP8X", 10, flags) + b"".join(sides)
    file.seek(12)
    _put(file, 12, header + file.read())
    return size + len(header)


def _put(file: BinaryIO, at: int, data: bytes) -> None:
    file.seek(at)
    file.write(data)


def _is_png(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(len(PNG)) == PNG


def _digest(file: BinaryIO, start: int, packet: bytes, digest: str) -> str:
    """SHA-256 of a file as it is with `NO_DIGEST` in its packet, but for the checksum of a PNG's chunk."""
    after = start + len(packet) + (CHECKSUM if _is_png(file) else 0)
    whole = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(min(CHUNK, start - file.tell())):
        whole.update(chunk)
    whole.update(packet.replace(digest.encode(), NO_DIGEST.encode(), 1))
    file.seek(after)
    while chunk := file.read(CHUNK):
        whole.update(chunk)
    return whole.hexdigest()


def _packets(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where a file's XMP packets begin, and each of them."""
    if os.fstat(file.fileno()).st_size == 0:
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start: int | None = None
        for found in WRAPPER.finditer(data):
            if found[1].startswith(b"begin"):
                start = found.start()
            elif start is not None and found.end() - start <= LONGEST:
                yield start, data[start : found.end()]
                start = None


def _values(packet: bytes) -> dict[str, str]:
    """Attributes and simple elements of a packet by `{namespace}name`; none where it is damaged."""
    from xml.etree import ElementTree

    if b"<!" in packet:  # no entities: what they stand for may be as large as it likes
        return {}
    try:
        nodes = list(ElementTree.fromstring(packet).iter())
    except (ElementTree.ParseError, ValueError, LookupError):  # the last two of odd encodings
        return {}
    values = {name: value for node in nodes for name, value in node.attrib.items()}
    return values | {node.tag: node.text.strip() for node in nodes if node.text}
