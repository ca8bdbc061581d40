"""XMP metadata (ISO 16684-1): found in files of any kind, and put into pictures and clips (its part 3)."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

from moue.errors import OutputError

BORDER = re.compile(rb"<x:xmpmeta|</x:xmpmeta>")
LONGEST = 1 << 20  # bytes of a file's elements, of all together, that are looked at
LEAST = 1 << 8  # bytes that each counts as, at least
CHUNK = 1 << 20  # bytes of a file that are read at a time
Name: TypeAlias = tuple[str, str]  # namespace, and the name in it
RDF, XMP = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://ns.adobe.com/xap/1.0/"

PNG, GIF, JPEG = b"\x89PNG\r\n\x1a\n", b"GIF8", b"\xff\xd8\xff"
PNG_HEADER = 33  # bytes up to the end of its first chunk, which has to stay the first
PNG_NAME = b"XML:com.adobe.xmp\0"
PNG_TEXT = b"iTXt" + PNG_NAME + b"\0\0\0\0"  # neither compressed nor translated
JPEG_NAME = XMP.encode() + b"\0"
JFIF, EXIF = re.compile(rb"\xff\xe0"), re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL)  # stay first
GIF_NAME = b"XMP DataXMP"
GIF_TRAILER = bytes([1, *range(255, -1, -1), 0])  # who skips the packet by blocks ends behind it
MP4_NAME = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # the box's UUID
WEBP_HAS_XMP, WEBP_HAS_ALPHA = 0x04, 0x10
NO_KIND = "only a PNG, JPEG, WebP, GIF or MP4 can be marked, and this is none, or damaged"


def elements(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where the `x:xmpmeta` elements of a file begin, and each of them, as they stand there.

    What is compressed, or not in UTF-8, is not seen.
    """
    begin: int | None = None
    done = seen = 0
    for at, window in _windows(file):
        for found in BORDER.finditer(window, max(0, done - at)):
            done = at + found.end()
            if not found[0].startswith(b"</"):
                begin = at + found.start()
            elif begin is not None and begin >= max(at, done - LONGEST):
                seen += max(done - begin, LEAST)
                if seen > LONGEST:
                    return
                yield begin, window[begin - at : found.end()]
                begin = None
        done = max(done, at + len(window) - len(b"</x:xmpmeta"))


def values(element: bytes) -> dict[Name, str]:
    """Attributes and simple properties of an element by name; none where it is damaged."""
    from xml.parsers import expat

    found = _Found()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = found.start
    parser.CharacterDataHandler = found.read
    parser.EndElementHandler = found.end
    try:
        parser.Parse(element, True)
    except expat.ExpatError:
        return {}
    return found.attributes | found.properties


def has_xmp(file: BinaryIO) -> bool:
    """Whether a picture or clip holds XMP in whatever form, going by its containers' names for it."""
    file.seek(0)
    head = file.read(21)
    if head[8:16] == b"WEBPVP8X" and head[20:] and head[20] & WEBP_HAS_XMP:
        return True
    names = (PNG_NAME, JPEG_NAME, GIF_NAME, MP4_NAME)
    return any(name in window for _, window in _windows(file) for name in names)


def insert(file: BinaryIO, packet: bytes) -> int:
    """Puts a packet into a picture or clip without XMP; returns where it begins.

    Raises:
        OutputError: it is no PNG, JPEG, WebP, GIF or MP4, or one that is damaged.
    """
    at, before, after = _place(file, len(packet))
    file.seek(at)
    rest = file.read()  # a picture's; in clips there is next to none
    _put(file, at, before + packet + after + rest)
    replace(file, at + len(before), packet)
    return at + len(before)


def replace(file: BinaryIO, start: int, packet: bytes) -> None:
    """Puts a packet in the place of one as long."""
    _put(file, start, packet)
    end = start + len(packet)
    _put(file, end, checksum(file, start, end))


def checksum(file: BinaryIO, start: int, end: int) -> bytes:
    """What has to stand behind a packet that lies there: a PNG's checksum, nothing in other files."""
    file.seek(0)
    if file.read(len(PNG)) != PNG:
        return b""
    chunk = max(0, start - len(PNG_TEXT))
    file.seek(chunk)
    return struct.pack(">I", zlib.crc32(file.read(end - chunk)))


_NOTHING: dict[str, str] = {}  # that an element without attributes hides


class _Found:
    """What expat finds in an element; namespaces are looked up here.

    expat's own way is to copy a namespace into every name that is in it, however long it is.
    """

    def __init__(self) -> None:
        self.attributes: dict[Name, str] = {}
        self.properties: dict[Name, str] = {}
        self._spaces: dict[str, str] = {}  # by what declares them: `xmlns:rdf`, or `xmlns` alone
        self._hidden: list[dict[str, str]] = []  # those before, for each element that is open
        self._leaf: str | None = None  # the element that is open, while there is none inside it
        self._text: list[str] = []  # of the leaf

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._leaf, self._text = tag, []
        if not attributes:  # as most are
            self._hidden.append(_NOTHING)
            return
        declared = {key: attributes.pop(key) for key in [*attributes] if key.startswith("xmlns")}
        self._hidden.append({key: self._spaces.get(key, "") for key in declared})
        self._spaces |= declared
        named = {self._name(key, ""): value for key, value in attributes.items()}
        self.attributes |= named
        if resource := named.get((RDF, "resource")):
            self.properties[self._name(tag, "xmlns")], self._leaf = resource, None

    def read(self, text: str) -> None:
        self._text.append(text)

    def end(self, _: str) -> None:
        if self._leaf and (text := "".join(self._text).strip()):
            self.properties[self._name(self._leaf, "xmlns")] = text
        self._leaf = None
        self._spaces |= self._hidden.pop()

    def _name(self, written: str, plain: str) -> Name:
        """A name such as `rdf:about` in full; where it has no prefix, `plain` declares its space."""
        prefix, _, name = written.rpartition(":")
        return self._spaces.get(f"xmlns:{prefix}" if prefix else plain, ""), name


def _windows(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """A file piece by piece, each from where it begins; it overlaps the one before by LONGEST."""
    window, size = b"", 0
    while True:
        file.seek(size)  # whoever takes the pieces may read on their own
        if not (fresh := file.read(CHUNK)):
            return
        window = window[-LONGEST:] + fresh
        size += len(fresh)
        yield size - len(window), window


def _place(file: BinaryIO, length: int) -> tuple[int, bytes, bytes]:
    """Where a packet of that length goes, and what stands before and after it there.

    Sizes and flags elsewhere in the file are set as if it stood there already.
    """
    file.seek(0)
    head = file.read(PNG_HEADER)
    size = file.seek(0, os.SEEK_END)
    if head.startswith(PNG + b"\0\0\0\rIHDR"):
        chunk = struct.pack(">I", len(PNG_TEXT) - 4 + length) + PNG_TEXT
        return PNG_HEADER, chunk, bytes(4)
    if head.startswith(JPEG):
        segment = b"\xff\xe1" + struct.pack(">H", 2 + len(JPEG_NAME) + length) + JPEG_NAME
        return _behind_exif(file, size), segment, b""
    if head.startswith(GIF) and _last(file) == b";":
        return size - 1, b"\x21\xff\x0b" + GIF_NAME, GIF_TRAILER
    if head[4:8] == b"ftyp" and _boxes_fit(file, size):
        return size, struct.pack(">I4s", 24 + length, b"uuid") + MP4_NAME, b""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and size > PNG_HEADER:
        size = _say_webp_has_xmp(file, head, size)
        chunk, even = struct.pack("<4sI", b"XMP ", length), bytes(length % 2)
        _put(file, 4, struct.pack("<I", size + len(chunk) + length + len(even) - 8))
        return size, chunk, even
    raise OutputError(NO_KIND)


def _last(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read()


def _behind_exif(file: BinaryIO, size: int) -> int:
    at = 2
    while True:
        file.seek(at)
        start = file.read(10)
        if not (JFIF.match(start) or EXIF.match(start)):
            return at
        at += 2 + int.from_bytes(start[2:4], "big")
        if at >= size:
            raise OutputError(NO_KIND)


def _boxes_fit(file: BinaryIO, size: int) -> bool:
    """Whether a file is MP4 boxes and nothing else."""
    at = 0
    while at < size:
        file.seek(at)
        start = file.read(16)
        length = int.from_bytes(start[:4], "big")
        if length == 1:
            length = int.from_bytes(start[8:16], "big")
        if length < 8:
            return False
        at += length
    return at == size


def _say_webp_has_xmp(file: BinaryIO, head: bytes, size: int) -> int:
    """Says so in the header, which a plain WebP is given for that; returns the file's size then."""
    kind, data = head[12:16], head[20:30]
    if kind == b"VP8X":
        _put(file, 20, bytes([head[20] | WEBP_HAS_XMP]))
        return size
    if kind == b"VP8L" and data[:1] == b"\x2f":
        bits = int.from_bytes(data[1:5], "little")
        width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
    elif kind == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", data[6:10]))
        width, height, alpha = width - 1, height - 1, 0
        if width < 0 or height < 0:
            raise OutputError(NO_KIND)
    else:
        raise OutputError(NO_KIND)
    sides = b"".join(struct.pack("<I", side)[:3] for side in (width, height))
    flags = WEBP_HAS_XMP | WEBP_HAS_ALPHA * alpha
    header = struct.pack("<4sIB3x", b"VP8X", 10, flags) + sides
    file.seek(12)
    _put(file, 12, header + file.read())
    return size + len(header)


def _put(file: BinaryIO, at: int, data: bytes) -> None:
    file.seek(at)
    file.write(data)
