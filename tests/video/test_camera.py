from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from moue.errors import RuntimeUnavailableError, UsageError, VideoError
from moue.video import camera, write_frames
from moue.video.camera import file_player, import_opencv, open_camera
from moue.video.window import Window


@pytest.fixture
def clip(tmp_path):
    frames = (np.full((32, 32, 3), 20 * k, np.uint8) for k in range(10))
    write_frames(frames, tmp_path / "clip.mp4", Fraction(25))
    return str(tmp_path / "clip.mp4")


def test_a_file_plays_in_real_time(clip):
    start = time.monotonic()
    at = [(round(frame.mean() / 20), time.monotonic() - start) for frame in file_player(clip)()]
    assert [level for level, _ in at] == list(range(10))
    assert all(seconds >= level / 25 - 0.001 for level, seconds in at)
    assert at[-1][1] < 2


def test_a_slow_reader_gets_the_newest_frame(clip):
    with open_camera(clip) as feed:
        assert feed.newer(-1, 5.0) is not None
        time.sleep(0.2)
        fresh = feed.newer(-1, 0)
        assert fresh is not None
        assert fresh.number >= 3
        assert round(fresh.item.mean() / 20) == fresh.number


def test_a_file_is_a_file_whatever_its_name(clip, tmp_path):
    with open_camera(str(Path(clip).rename(tmp_path / "wow!.mp4"))) as feed:
        assert feed.newer(-1, 5.0) is not None


def test_again_and_again(clip):
    with open_camera(clip, loop=True) as feed:
        number = -1
        while number < 14:
            fresh = feed.newer(number, 5.0)
            assert fresh is not None
            number = fresh.number
        assert not feed.ended


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("97", "camera 97 cannot be opened; is it plugged in"),
        ("/dev/video97", "/dev/video97 cannot be opened"),
        ("rtsp://127.0.0.1:9/none", "cannot read rtsp://127.0.0.1:9/none: Connection refused$"),
    ],
)
def test_sources_that_are_not_there(source, words, capfd):
    with open_camera(source) as feed, pytest.raises(VideoError, match=words):
        feed.newer(-1, 10.0)
    assert capfd.readouterr().err == ""


class Cv2:
    """An OpenCV with GStreamer; `elements` are what the system has of it."""

    CAP_GSTREAMER, COLOR_BGR2RGB = 1800, 4

    def __init__(self, *elements: str) -> None:
        self.elements = elements
        self.opened: list[tuple[str, int]] = []
        self.videoio_registry = SimpleNamespace(hasBackend=lambda backend: backend == 1800)

    def VideoCapture(self, source: str, backend: int) -> SimpleNamespace:
        self.opened.append((source, backend))
        known = all(part.split()[0].split("/")[0] in self.elements for part in source.split("!"))
        return SimpleNamespace(
            isOpened=lambda: known,
            read=lambda: (True, np.full((8, 8, 3), (1, 2, 3), np.uint8)),
            release=lambda: None,
        )

    def cvtColor(self, picture: np.ndarray, code: int) -> np.ndarray:
        return picture[..., ::-1]


def test_a_jetsons_own_camera_is_a_pipeline(monkeypatch):
    cv2 = Cv2("nvarguscamerasrc", "video", "nvvidconv", "videoconvert", "appsink")
    monkeypatch.setattr(camera, "import_opencv", lambda purpose: cv2)
    with open_camera("csi://1") as feed:
        fresh = feed.newer(-1, 5.0)
    assert fresh is not None
    assert fresh.item[0, 0].tolist() == [3, 2, 1]
    source, backend = cv2.opened[0]
    assert source.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280,")
    assert source.endswith("video/x-raw,format=BGR ! appsink drop=true max-buffers=1")
    assert backend == cv2.CAP_GSTREAMER


def test_a_jetsons_own_camera_elsewhere(monkeypatch):
    monkeypatch.setattr(camera, "import_opencv", lambda purpose: Cv2("video", "appsink"))
    with (
        open_camera("csi://0") as feed,
        pytest.raises(VideoError, match="which JetPack has"),
    ):
        feed.newer(-1, 10.0)
    for nonsense in ("csi://", "csi://x", "csi://0 ! filesink location=x", "csi://-1"):
        with pytest.raises(UsageError, match="csi:// takes the number of a camera"):
            open_camera(nonsense)


def test_a_missing_file_is_said_before_anything_starts():
    with pytest.raises(VideoError, match="No such file"):
        open_camera("missing.mp4")


def test_a_stream_is_read_without_being_a_file(clip):
    with open_camera(f"file://{clip}") as feed:
        fresh = feed.newer(-1, 5.0)
        assert fresh is not None
        assert fresh.item.shape == (32, 32, 3)


def test_a_streams_frames_are_held_to_a_size(clip, monkeypatch):
    monkeypatch.setattr("moue.video.ffmpeg.MAX_PIXELS", 1000)
    with (
        open_camera(f"file://{clip}") as feed,
        pytest.raises(VideoError, match=r"a frame of file://.* is 32×32; moue reads up to"),
    ):
        feed.newer(-1, 5.0)


@pytest.fixture
def web(clip) -> Iterator[str]:
    """The clip's folder, served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder, _, name = clip.rpartition("/")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{name}"
        server.shutdown()
        thread.join()


def test_a_film_from_the_web_plays_in_real_time_and_again(web, caplog):
    with open_camera(web, loop=True) as feed:
        start, number = time.monotonic(), -1
        while number < 12:
            fresh = feed.newer(number, 10.0)
            assert fresh is not None
            number = fresh.number
        assert time.monotonic() - start > 0.3
    assert not caplog.records


@pytest.mark.parametrize("where", ["web", "file"])
def test_a_film_has_an_end(web, clip, caplog, where):
    with open_camera(web if where == "web" else clip) as feed:
        deadline = time.monotonic() + 20
        while not feed.ended:
            assert time.monotonic() < deadline
            feed.newer(10**6, 0.1)
    assert feed.losses == 0
    assert not caplog.records


def test_opencv_that_does_not_load_is_said_with_its_mend(monkeypatch):
    def broken(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(camera.importlib, "import_module", broken)
    with pytest.raises(RuntimeUnavailableError, match=r"\(libGL.*apt install libgl1"):
        import_opencv("a camera")


def test_no_screen_no_window(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(RuntimeUnavailableError, match="add --headless"):
        Window("moue")
