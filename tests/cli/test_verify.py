from __future__ import annotations

from moue.cli import TAMPERED, UNMARKED
from tests.cli import assert_one_line


def test_a_clip_says_that_it_is_synthetic_and_whether_it_was_changed(moue, animate, tmp_path):
    path = tmp_path / "out.mp4"
    assert animate("--expression", "happy", "--seconds", 0.2, "-o", path).code == 0
    ran = moue("verify", path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("marked as synthetic by moue 0.")
    assert ran.out.endswith("(compositeWithTrainedAlgorithmicMedia), as it was made\n")
    data = bytearray(path.read_bytes())
    data[data.index(b"mdat") + 100] ^= 1
    path.write_bytes(data)
    ran = moue("verify", path)
    assert (ran.code, ran.err) == (TAMPERED, "") == (4, "")
    assert ran.out.endswith("changed since it was marked\n")


def test_a_photo_is_not_marked(moue, photo):
    ran = moue("verify", photo)
    assert tuple(ran) == (UNMARKED, "not marked as synthetic\n", "") == (3, *ran[1:])


def test_another_programs_mark(moue, tmp_path):
    path = tmp_path / "theirs.bin"
    path.write_bytes(
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        b' i:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia">'
        b"</x:xmpmeta>"
    )
    ran = moue("verify", path)
    assert (ran.code, ran.out) == (
        0,
        "marked as synthetic (algorithmicMedia), with nothing to tell whether it was changed since\n",
    )


def test_what_cannot_be_read(moue, tmp_path):
    assert_one_line(moue("verify", tmp_path / "none.mp4"), 1, "No such file or directory")
