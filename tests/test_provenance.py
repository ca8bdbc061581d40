"""Marks: that every kind of file has one, that the picture stays what it is, and that changes show."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from PIL.PngImagePlugin import PngInfo

import moue
from moue.errors import MoueError, OutputError
from moue.provenance import COMPOSITE, IPTC, Mark, mark_file
from moue.video import VideoReader, write_frames
from moue.xmp import CHUNK, LONGEST

MINE = Mark(COMPOSITE, f"moue {moue.__version__}", True)
STILLS = {
    "png": {},
    "jpg": {},
    "gif": {},
    "plain.webp": {},
    "lossless.webp": {"lossless": True},
    "extended.webp": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
}


def frames(count: int) -> list[np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 256, (count, 8, 9, 3), np.uint8)
    return [np.asarray(Image.fromarray(each).resize((91, 77))) for each in noise]


def still(folder: Path, kind: str) -> Path:
    path = folder / f"still.{kind}"
    Image.fromarray(frames(1)[0]).save(path, **STILLS[kind])
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def written(folder: Path, kind: str) -> Path:
    write_frames(frames(1 if kind == "png" else 6), folder / f"out.{kind}", Fraction(25))
    return folder / f"out.{kind}"


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp", "png"])
def test_what_is_written_is_marked(tmp_path, kind):
    path = written(tmp_path, kind)
    assert moue.verify(path) == MINE
    if kind == "png":
        np.testing.assert_array_equal(pixels(path), frames(1)[0])
    elif kind == "mp4":
        assert sum(1 for _ in VideoReader(path)) == 6
    else:
        with Image.open(path) as image:
            assert sum(1 for _ in ImageSequence.Iterator(image)) == 6


def test_a_webp_of_one_frame_and_every_frame_of_a_folder(tmp_path):
    write_frames(frames(1), tmp_path / "one.webp", Fraction(25))
    assert moue.verify(tmp_path / "one.webp") == MINE
    write_frames(frames(3), f"{tmp_path}/all/", Fraction(25))
    assert [moue.verify(path) for path in (tmp_path / "all").iterdir()] == [MINE] * 3


@pytest.mark.parametrize("kind", STILLS)
def test_a_picture_stays_what_it_was(tmp_path, kind):
    path = still(tmp_path, kind)
    before, shown = path.read_bytes(), pixels(path)
    assert moue.verify(path) is None
    moue.mark(path)
    assert moue.verify(path) == MINE
    np.testing.assert_array_equal(pixels(path), shown)
    assert 500 < path.stat().st_size - len(before) < 1100
    if kind != "gif":  # Pillow looks for it in front of the first frame alone
        with Image.open(path) as image:
            assert COMPOSITE.encode() in image.info["xmp"]


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp", "png"])
def test_every_byte_counts(tmp_path, kind):
    path = written(tmp_path, kind)
    data = path.read_bytes()
    start, end = data.index(b"<?xpacket begin"), data.index(b'<?xpacket end="r"?>') + 19
    name = data.index(b"moue 0.")
    begin, close = data.index(b"<x:xmpmeta"), data.index(b"</x:xmpmeta>")
    for at in (*range(20, begin, 97), start, name, *range(close + 12, end + 8), len(data) - 1):
        if at < len(data):
            changed = bytearray(data)
            changed[at] ^= 1
            path.write_bytes(changed)
            found = moue.verify(path)
            assert found is not None
            assert found.intact is False, at
    path.write_bytes(data + b"\0")
    assert moue.verify(path) == Mark(MINE.source, MINE.tool, False)
    path.write_bytes(data)
    assert moue.verify(path) == MINE


@pytest.mark.parametrize("digest", ["", "0" * 64, "é" * 64])
def test_a_digest_that_is_none(tmp_path, digest):
    path = tmp_path / "any.bin"
    digest = f'xmlns:m="urn:moue:provenance#" m:sha256="{digest}"'
    path.write_bytes(xmp("", f"{says('compositeSynthetic')} {digest}") + b"the rest")
    assert moue.verify(path) == Mark("compositeSynthetic", "", False)


def test_another_picture_under_the_same_mark(tmp_path):
    path = written(tmp_path, "png")
    with Image.open(path) as image:
        xmp = image.info["xmp"]
    other = io.BytesIO()
    Image.fromarray(255 - frames(1)[0]).save(other, "jpeg", xmp=xmp)
    path.write_bytes(other.getvalue())
    assert moue.verify(path) == Mark(MINE.source, MINE.tool, False)


def xmp(inner: str, attributes: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmlns:xmp="http://ns.adobe.com/xap/1.0/" {attributes}>{inner}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def says(term: str) -> str:
    return f'i:DigitalSourceType="{TERM.format(term)}"'


TERM = "http://cv.iptc.org/newscodes/digitalsourcetype/{}"


@pytest.mark.parametrize(
    ("element", "wanted"),
    [
        (
            xmp(
                f"<!-- by hand --><i:DigitalSourceType>\n {TERM.format('trainedAlgorithmicMedia')} "
                "</i:DigitalSourceType><xmp:CreatorTool>Brush\x85 2</xmp:CreatorTool>"
            ),
            Mark("trainedAlgorithmicMedia", "Brush 2", None),
        ),
        (xmp("", says("compositeSynthetic")), Mark("compositeSynthetic", "", None)),
        (
            xmp(f'<i:DigitalSourceType rdf:resource="{TERM.format("algorithmicMedia")}/"/>'),
            Mark("algorithmicMedia", "", None),
        ),
        (
            xmp("", says("algorithmicMedia").replace("http:", "https:")),
            Mark("algorithmicMedia", "", None),
        ),
        (xmp("", says("digitalCapture")), None),
        (xmp("", 'xmp:CreatorTool="moue 0.1.0"'), None),
        (xmp("<i:DigitalSourceType>"), None),  # damaged
        (b"<x:xmpmeta>" + xmp("", says("virtualRecording")), Mark("virtualRecording", "", None)),
        (
            xmp("", 'xmp:CreatorTool="x"') + xmp("", says("virtualRecording")),
            Mark("virtualRecording", "", None),
        ),
        (xmp(" " * (LONGEST - 1000), says("virtualRecording")), Mark("virtualRecording", "", None)),
        (xmp(" " * LONGEST, says("virtualRecording")), None),
        (b"", None),
    ],
)
@pytest.mark.parametrize("before", [0, 1000, CHUNK - 5, CHUNK - 300, 3 * CHUNK - 3])
def test_what_other_programs_say(tmp_path, element, wanted, before):
    path = tmp_path / "any.bin"
    path.write_bytes(os.urandom(before) + element + os.urandom(1000))
    assert moue.verify(path) == wanted


EXIFTOOL = f"""<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 12.57'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>

 <rdf:Description rdf:about=''
  xmlns:Iptc4xmpExt='http://iptc.org/std/Iptc4xmpExt/2008-02-29/'>
  <Iptc4xmpExt:DigitalSourceType>{TERM.format("trainedAlgorithmicMedia")}</Iptc4xmpExt:DigitalSourceType>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:xmp='http://ns.adobe.com/xap/1.0/'>
  <xmp:CreatorTool>Köln &amp; Co</xmp:CreatorTool>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
"""
PHOTOSHOP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 9.0-c001 79.14ecb42, 2022/12/02-19:12:44">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
   xmp:CreatorTool="Adobe Photoshop 24.6 (Macintosh)"
   dc:format="image/jpeg"
   Iptc4xmpExt:DigitalSourceType="{TERM.format("compositeSynthetic")}">
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">A &lt;face&gt;</rdf:li></rdf:Alt></dc:title>
   <xmpMM:History>
    <rdf:Seq>
     <rdf:li stEvt:action="created" stEvt:softwareAgent="Adobe Photoshop 24.6 (Macintosh)"/>
    </rdf:Seq>
   </xmpMM:History>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        (EXIFTOOL, Mark("trainedAlgorithmicMedia", "Köln & Co", None)),
        (PHOTOSHOP, Mark("compositeSynthetic", "Adobe Photoshop 24.6 (Macintosh)", None)),
    ],
    ids=["ExifTool", "Photoshop"],
)
def test_packets_as_others_write_them(tmp_path, packet, wanted):
    (tmp_path / "any.bin").write_bytes(packet.encode())
    assert moue.verify(tmp_path / "any.bin") == wanted


def test_a_prefix_means_what_its_element_says(tmp_path):
    other = f"<a xmlns:i='urn:other'><b {says('virtualRecording')}/></a>"
    for inner, source in (
        (other, None),
        (other + f"<b {says('virtualRecording')}/>", "virtualRecording"),
        (f"<a xmlns:i='urn:other'/><b {says('virtualRecording')}/>", "virtualRecording"),
        (f"<DigitalSourceType>{TERM.format('virtualRecording')}</DigitalSourceType>", None),
        (f"<b {says('virtualRecording').removeprefix('i:')}/>", None),
        (
            f"<DigitalSourceType xmlns='{IPTC}'>{TERM.format('virtualRecording')}</DigitalSourceType>",
            "virtualRecording",
        ),
    ):
        (tmp_path / "any.bin").write_bytes(xmp(inner))
        found = moue.verify(tmp_path / "any.bin")
        assert (found and found.source) == source, inner


def test_what_a_tool_is_called_is_shown_safely(tmp_path):
    name = "A\x9b31m\u202eB\u2028" + "c" * 500_000
    (tmp_path / "any.bin").write_bytes(xmp("", f'{says(COMPOSITE)} xmp:CreatorTool="{name}"'))
    assert moue.verify(tmp_path / "any.bin") == Mark(COMPOSITE, "A31mB" + "c" * 75, None)


def test_entities_are_left_alone(tmp_path):
    path = tmp_path / "any.bin"
    entity = f'<!DOCTYPE x [<!ENTITY a "{TERM.format("compositeSynthetic")}">]>'
    path.write_bytes(xmp(f"{entity}<i:DigitalSourceType>&a;</i:DigitalSourceType>"))
    assert moue.verify(path) is None


@pytest.mark.parametrize(
    "piece", [b"<x:xmpmeta", b"</x:xmpmeta>", b"<x:xmpmeta>&</x:xmpmeta>", xmp("<a/>" * 16000)]
)
def test_hostile_files_take_no_time(tmp_path, piece):
    path = tmp_path / "hostile.bin"
    path.write_bytes(piece * (4 * LONGEST // len(piece)))
    started = time.process_time()
    assert moue.verify(path) is None
    assert time.process_time() - started < 3


FITS = LONGEST - 2_000
NAMES = [f"n{k:x}" for k in range(FITS // 20)]
LONG = "u" * (FITS // 2)
HOSTILE = {
    "a long namespace": f'<a xmlns:b="{LONG}">' + '<b:c b:d="1"/>' * 30_000 + "</a>",
    "in many names": f'<a xmlns:b="{LONG}">'
    + "".join(f"<b:{n}/>" for n in NAMES[:40_000])
    + "</a>",
    "in many attributes": f'<a xmlns:b="{LONG}" '
    + " ".join(f'b:{n}=""' for n in NAMES[:40_000])
    + "/>",
    "in nested elements": f'<a xmlns:b="{LONG}">' + "<b:c>" * 40_000 + "</b:c>" * 40_000 + "</a>",
    "not named": f'<a xmlns="{LONG}">' + "<c/>" * 100_000 + "</a>",
    "elements": "<a/>" * (FITS // 4),
    "names": "".join(f"<{name}/>" for name in NAMES),
    "attributes": "<a " + " ".join(f'{name}=""' for name in NAMES) + "/>",
    "namespaces": "<a " + " ".join(f'xmlns:{name}="u"' for name in NAMES[:50_000]) + "/>",
    "nested namespaces": "".join(f'<a xmlns:{n}="u">' for n in NAMES[:30_000]) + "</a>" * 30_000,
    "nested elements": "<a>" * (FITS // 7) + "</a>" * (FITS // 7),
    "open elements": "<a>" * (FITS // 3),
    "a long prefix": f"<{'p' * 1000}:a/>" * (FITS // 1005),
    "texts": "<a>" + "x<b/>&#65;" * (FITS // 10) + "</a>",
    "entities": '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><a>&b;</a>',
}
MEASURED = f"""
import resource, sys, time
from pathlib import Path
from moue import verify
held = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (held + {2**28}, held + {2**28}))
for path in sys.argv[1:]:
    start = time.process_time()
    assert verify(path) is None
    print(time.process_time() - start)
"""


def test_hostile_packets_take_neither_time_nor_memory(tmp_path):
    for name, inner in HOSTILE.items():
        element = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{inner}</x:xmpmeta>'
        assert len(element) < LONGEST, name
        (tmp_path / name).write_text(element)
    paths = [str(tmp_path / name) for name in HOSTILE]
    code = [sys.executable, "-c", MEASURED, *paths]
    ran = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")
    took = dict(zip(HOSTILE, map(float, ran.stdout.split()), strict=True))
    assert max(took.values()) < 1, took


def test_a_large_file_takes_no_memory(tmp_path):
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(100 * CHUNK)
    tracemalloc.start()
    assert moue.verify(path) is None
    assert tracemalloc.get_traced_memory()[1] < 8 * CHUNK
    tracemalloc.stop()


def test_a_file_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # which nobody writes to
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(MoueError, match="cannot read") as refused:
            moue.verify(path)
        assert refused.type is MoueError  # neither a photo nor a video: it may be anything


def test_what_cannot_be_marked_stays_as_it_was(tmp_path):
    path = still(tmp_path, "png")
    moue.mark(path)
    marked = path.read_bytes()
    with pytest.raises(OutputError, match="XMP metadata already"):
        moue.mark(path)
    assert path.read_bytes() == marked
    (tmp_path / "loop").symlink_to("loop")
    for name, words in (
        *(("none.png", "no file"), ("a\0b", "null byte"), ("x" * 300, "too long")),
        ("loop", "cannot read|no file"),
    ):
        with pytest.raises(OutputError, match=words):
            moue.mark(tmp_path / name)
    assert {each.name for each in tmp_path.iterdir()} == {path.name, "loop"}


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_anothers_xmp_is_not_doubled(tmp_path, kind):
    path = tmp_path / f"theirs.{kind}"
    bare = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", bare.decode(), zip=True)
    given = {"pnginfo": text} if kind == "png" else {"xmp": bare}
    Image.fromarray(frames(1)[0]).save(path, **given)
    with pytest.raises(OutputError, match="XMP metadata already"):
        moue.mark(path)


def test_exif_stays_first(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(frames(1)[0]).save(tmp_path / "a.jpg", exif=exif)
    moue.mark(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    assert data.index(b"Exif\0\0") < data.index(b"http://ns.adobe.com/xap/1.0/\0")
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif()[0x0112] == 6


def test_a_damaged_clip_is_not_marked(tmp_path):
    path = written(tmp_path, "mp4")
    data = path.read_bytes().partition(b"<?xpacket")[0][:-24]  # without the mark's box
    path.write_bytes(data[:-10])
    with pytest.raises(OutputError, match="or damaged"):
        moue.mark(path)
    path.write_bytes(data)
    moue.mark(path)
    assert moue.verify(path) == MINE


@pytest.mark.parametrize(
    "stub",
    [
        *(b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"\0\0\0\x18ftyp"),
        b"RIFF\x20\0\0\0WEBPVP8X",
        b"RIFF\x20\0\0\0WEBPVP8 " + bytes(30),
        *(
            b"GIF89a" + bytes(40),
            b"\x89PNG\r\n\x1a\n" + bytes(40),
            b"\xff\xd8\xff\xe0" + b"\xff" * 40,
        ),
    ],
)
def test_stubs_of_pictures(tmp_path, stub):
    path = tmp_path / "stub"
    path.write_bytes(stub)
    with pytest.raises(OutputError, match="only a PNG, JPEG, WebP, GIF or MP4"):
        moue.mark(path)
    assert path.read_bytes() == stub
    assert list(tmp_path.iterdir()) == [path]


def test_a_marked_file_keeps_its_permissions_and_its_links(tmp_path):
    path, link = still(tmp_path, "png"), tmp_path / "link.png"
    path.chmod(0o600)
    link.symlink_to(path.name)
    moue.mark(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert moue.verify(path) == moue.verify(link) == MINE


def test_files_in_memory(tmp_path):
    file = io.BytesIO()
    Image.fromarray(frames(1)[0]).save(file, "webp")
    mark_file(file)
    (tmp_path / "a").write_bytes(file.getvalue())
    assert moue.verify(tmp_path / "a") == MINE
