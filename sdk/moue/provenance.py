"""Marks that say a file is synthetic, as the IPTC words it, and whether it is as it was made.

>>> moue.verify("happy.mp4")
Mark(source='compositeWithTrainedAlgorithmicMedia', tool='moue 0.1.0', intact=True)

A mark is an XMP packet that names the `DigitalSourceType`, where ExifTool and picture editors find it,
and the SHA-256 of the file as it is without that number. It is a label, not a signature: it tells who
asks, and whoever wants to can take it off or write another.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from moue import xmp
from moue.errors import MoueError, OutputError, reason_of
from moue.files import check_file, whole_file
from moue.version import VERSION

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"  # a photograph, in part made by a trained model
SYNTHETIC = (  # the IPTC's terms for what no camera saw as it is
    "trainedAlgorithmicMedia",
    COMPOSITE,
    "compositeSynthetic",
    "algorithmicMedia",
    "virtualRecording",
)
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
MOUE = "urn:moue:provenance#"
BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
END = b'\n<?xpacket end="r"?>'
NO_DIGEST = b"0" * 64
ELEMENT = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{xmp.RDF}">
  <rdf:Description rdf:about=""
    xmlns:xmp="{xmp.XMP}" xmp:CreatorTool="moue {VERSION}"
    xmlns:Iptc4xmpExt="{IPTC}" Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPES}{COMPOSITE}"
    xmlns:moue="{MOUE}" moue:sha256="{NO_DIGEST.decode()}"/>
 </rdf:RDF>
</x:xmpmeta>""".encode()


@dataclass(frozen=True)
class Mark:
    """What a file says of itself.

    source: the IPTC's term for how it came to be, one of `SYNTHETIC`; tool: what wrote the mark, or "";
    intact: whether all of the file is as it was then, None where the mark does not say (another
    program's).
    """

    source: str
    tool: str
    intact: bool | None


def verify(path: str | os.PathLike[str]) -> Mark | None:
    """The mark of a file of any kind that says it is synthetic; None where none is found.

    Marks of other programs are found where their XMP is neither compressed nor over a megabyte.

    Raises:
        MoueError: the file cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is not a regular file")
        with open(path, "rb") as file:
            for start, element in xmp.elements(file):
                fields = xmp.values(element)
                term = fields.get((IPTC, "DigitalSourceType"), "").strip("/")
                source = re.sub("^https:", "http:", term).removeprefix(SOURCE_TYPES)
                if source not in SYNTHETIC:
                    continue
                digest = fields.get((MOUE, "sha256"))
                intact = (
                    None if digest is None else _is_intact(file, start, element, digest.encode())
                )
                tool = filter(str.isprintable, fields.get((xmp.XMP, "CreatorTool"), ""))
                return Mark(source, "".join(tool)[:80], intact)
    except (OSError, ValueError) as error:
        raise MoueError(f"cannot read {path}: {reason_of(error)}") from None
    return None


def is_ours(path: Path) -> bool:
    """Whether a file has moue's own mark, whatever has been done to it since; OSError where unreadable."""
    with path.open("rb") as file:
        fields = (xmp.values(element) for _, element in xmp.elements(file))
        return any(found.get((xmp.XMP, "CreatorTool"), "").startswith("moue ") for found in fields)


def mark(path: str | os.PathLike[str]) -> None:
    """Marks a picture or clip that you wrote from moue's frames yourself, whole or not at all.

    Args:
        path: a PNG, JPEG, WebP, GIF or MP4 without a mark or other XMP metadata.

    Raises:
        OutputError: no file, another kind of one, one that has XMP metadata, or a failing disk.
    """
    try:
        target = Path(path).resolve()
        source = target.open("rb") if target.is_file() else None
    except (OSError, RuntimeError, ValueError) as error:
        raise OutputError(f"cannot read {path}: {reason_of(error)}") from None
    if source is None:
        raise OutputError(f"there is no file {path} to mark")
    with source:
        check_file(target)
        if xmp.has_xmp(source):
            raise OutputError(f"{path} has XMP metadata already, a mark perhaps; write it anew")
        source.seek(0)
        with whole_file(target) as part:
            part.chmod(0o600)  # nobody sees more of it meanwhile
            with part.open("r+b") as file:
                shutil.copyfileobj(source, file)
                mark_file(file)
            shutil.copymode(target, part)


def mark_file(file: BinaryIO) -> None:
    """Marks a finished picture or clip, open for reading and writing, that has no XMP metadata.

    Raises:
        OutputError: it is no PNG, JPEG, WebP, GIF or MP4, or one that is damaged.
    """
    start = xmp.insert(file, BEGIN + ELEMENT + END)
    digest = _digest(file, start + len(BEGIN), ELEMENT, NO_DIGEST)
    xmp.replace(file, start, BEGIN + ELEMENT.replace(NO_DIGEST, digest) + END)


def _is_intact(file: BinaryIO, start: int, element: bytes, digest: bytes) -> bool:
    end = start + len(element + END)
    checksum = xmp.checksum(file, start - len(BEGIN), end)
    file.seek(end)
    sound = file.read(len(checksum)) == checksum
    return sound and digest == _digest(file, start, element, digest)


def _digest(file: BinaryIO, start: int, element: bytes, digest: bytes) -> bytes:
    """SHA-256, in hexadecimal, of a file with `NO_DIGEST` in its mark and no checksum behind that."""
    end = start + len(element + END)
    whole = hashlib.sha256()

    def add(begin: int, end: int) -> None:
        file.seek(begin)
        while chunk := file.read(min(xmp.CHUNK, end - file.tell())):
            whole.update(chunk)

    add(0, start)
    whole.update(element.replace(digest, NO_DIGEST, 1))
    add(start + len(element), end)
    add(end + len(xmp.checksum(file, start, end)), sys.maxsize)
    return whole.hexdigest().encode()
