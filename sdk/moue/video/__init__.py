"""Reading and writing videos, animations and pictures."""

from moue.video.reader import VideoReader
from moue.video.sound import Sound
from moue.video.writer import Output, Written, check_output, check_rate, write_frames

__all__ = [
    "Output",
    "Sound",
    "VideoReader",
    "Written",
    "check_output",
    "check_rate",
    "write_frames",
]
