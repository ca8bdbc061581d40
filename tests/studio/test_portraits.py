"""Photos in: what is taken, what is refused and when, and how long it is kept."""

from __future__ import annotations

import http.client
import io

import numpy as np
import pytest
from PIL import Image

from moue.studio import stage as stages
from moue.studio.app import MAX_PHOTO
from tests.cli.test_refusals import png_of_size
from tests.studio.conftest import TOKEN


def file_of(photo, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, kind)
    return file.getvalue()


def test_a_photo_is_taken_shown_and_dropped(studio, portrait_photo):
    taken = studio.ask(
        "POST", "/api/portraits?face=all&name=a.webp", file_of(portrait_photo, "webp")
    )
    assert (taken.json["name"], taken.json["face"]) == ("a.webp", "all")
    assert taken.status == 201
    assert (taken.json["width"], taken.json["height"]) == (512, 512)
    (square,) = taken.json["faces"]
    assert set(square) == {"cx", "cy", "side", "angle"}
    assert 150 < square["cx"] < 300
    path = f"/api/portraits/{taken.json['id']}"
    (listed,) = studio.ask("GET", "/api/model").json["portraits"]
    assert {**listed, "open": [listed["id"]]} == taken.json
    assert studio.ask("DELETE", path).status == 204
    for method, what in (("DELETE", path), ("GET", f"{path}/frame"), ("POST", f"{path}/clip")):
        assert studio.refusal(method, what)[0] == 404


def test_faces_that_move_together_are_counted(studio, portrait_photo, monkeypatch):
    two = file_of(np.concatenate([portrait_photo, portrait_photo[:, ::-1]], 1), "png")
    both = studio.ask("POST", "/api/portraits?face=all", two).json
    assert len(both["faces"]) == 2
    assert (studio.still(both["id"], "action=jawOpen=1") != studio.still(both["id"])).any(0).any(
        -1
    ).sum() > 100
    monkeypatch.setattr(stages, "MOST_FACES_KEPT", 3)
    one = studio.ask("POST", "/api/portraits", two).json
    assert one["open"] == [both["id"], one["id"]]
    again = studio.ask("POST", "/api/portraits?face=all", two).json
    assert again["open"] == [one["id"], again["id"]]  # the one used longest ago went
    monkeypatch.setattr(stages, "MOST_FACES", 1)
    status, line = studio.refusal("POST", "/api/portraits?face=all", two)
    assert (status, line[:36]) == (422, "2 faces are found, but 1 of a photo ")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (lambda png: b"", 415, "must be a JPEG, PNG or WebP"),
        (lambda png: b"no picture " * 99, 415, "must be a JPEG, PNG or WebP"),
        (lambda png: png[: len(png) // 2], 422, "is damaged"),
        (lambda png: png_of_size(5001, 5000), 413, "over 25 megapixels"),
        (lambda png: png_of_size(60_000, 60_000), 413, "over 25 megapixels"),
        (lambda png: png_of_size(2500, 2500), 422, "is damaged"),
        (lambda png: png_of_size(9, 9), 422, "at least 32 a side"),
    ],
    ids=["empty", "text", "half", "large", "bomb", "short", "small"],
)
def test_what_is_no_photo(studio, portrait_photo, content, status, words):
    body = content(file_of(portrait_photo[:64, :64], "png"))
    got, line = studio.refusal("POST", "/api/portraits", body)
    assert (got, words in line) == (status, True), line
    assert studio.stage.sitters == {}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("multipart/form-data; boundary=x", 415),
        ("Multipart/Form-Data;boundary=x", 415),
        ("application/x-www-form-urlencoded", 201),  # what curl says of any body
        ("image/png", 201),
    ],
)
def test_a_form_is_told_how_to_send_a_photo(studio, portrait_photo, kind, status):
    body = file_of(portrait_photo, "png")
    if status == 415:
        named = b'Content-Disposition: form-data; name="photo"; filename="photo.png"'
        body = b"--x\r\n" + named + b"\r\n\r\n" + body + b"\r\n--x--\r\n"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
    answer = studio.ask("POST", "/api/portraits", body, headers)
    assert answer.status == status
    if status == 415:
        line = answer.json["error"]
        assert "the photo's own bytes, but got a form" in line
        assert "curl --data-binary @photo.jpg" in line


@pytest.mark.parametrize("kind", ["gif", "bmp", "tiff", "ppm"])
def test_other_formats(studio, portrait_photo, kind):
    body = file_of(portrait_photo[:64, :64], kind)
    assert studio.refusal("POST", "/api/portraits", body)[0] == 415


@pytest.mark.parametrize(
    ("face", "words"),
    [
        ("largest", "no face found"),
        ("0", "face must be"),
        ("left", "face must be"),
        ("9" * 5000, "must be"),
    ],
)
def test_no_such_face(studio, face, words):
    grey = file_of(np.full((64, 64, 3), 127, np.uint8), "png")
    status, line = studio.refusal("POST", f"/api/portraits?face={face}", grey)
    assert (status, words in line) == (422, True)


def test_too_many_bytes_are_refused_as_they_come(studio):
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=60)
    connection.putrequest("POST", "/api/portraits")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    for size in (MAX_PHOTO // 2, MAX_PHOTO // 2, 1):
        connection.send(b"%x\r\n%s\r\n" % (size, bytes(size)))
    answer = connection.getresponse()  # the end of the body was never sent
    assert (answer.status, answer.headers["Connection"]) == (413, "close")
    assert b"over 20 MB" in answer.read()
    connection.close()


def test_too_many_bytes_are_refused_when_announced(studio):
    length = f"Content-Length: {MAX_PHOTO + 1}"
    with studio.begin("POST", "/api/portraits", length, "Expect: 100-continue") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come(studio, monkeypatch):
    monkeypatch.setattr("moue.studio.app.PATIENCE", 0.05)
    with studio.begin("POST", "/api/portraits", "Content-Length: 9") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


PAYLOADS = [
    *("..", "../..", "../../etc/passwd", "/etc/passwd", "//etc/passwd", "....//....//etc/passwd"),
    *("..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%252f..%252fetc%252fpasswd"),
    *("..\\..\\windows\\win.ini", "..%5c..%5cwin.ini", "C:%5cwindows", "file:///etc/passwd"),
    *("%00", "x%00.png", "..%00/", "%c0%ae%c0%ae/", "%uff0e%uff0e/", "~root", "$HOME", "%0d%0aX:1"),
    *("astronaut.png", "./astronaut.png", "*", "%", "%zz", "None", "0", "-1", "a" * 5000),
    *("..;/", "..%ff/", "%252e%252e", "..%c1%9c..", "%2fproc%2fself%2fenviron", ".git%2fconfig"),
    *("page.html", "%2e%2e%2fpage.html", "__init__.py", "..%2fapp.py"),
]


@pytest.mark.parametrize("what", ["", "/frame"])
def test_no_path_leads_anywhere(studio, key, what):
    assert len(PAYLOADS) == 40
    for payload in PAYLOADS:
        answer = studio.ask("GET", f"/api/portraits/{payload}{what}")
        assert answer.status in (404, 405, 400), payload
        assert len(answer.body) < 200, payload


def test_ids_are_not_guessable(studio, portrait):
    keys = {studio.stage.keep(portrait, "photo.jpg") for _ in range(9)}
    assert len(keys) == 9
    assert all(len(key) >= 16 for key in keys)


def test_the_one_used_longest_ago_goes(studio, portrait):
    keys = [studio.stage.keep(portrait, f"{k}.jpg") for k in range(stages.MOST)]
    studio.still(keys[0], "side=64")
    studio.stage.keep(portrait, "one more.jpg")
    listed = studio.ask("GET", "/api/model").json["portraits"]
    assert [each["id"] for each in listed[:-1]] == [keys[0], *keys[2:]]
    assert studio.refusal("GET", f"/api/portraits/{keys[1]}/frame")[0] == 404
