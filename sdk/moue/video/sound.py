"""The sound of a video, carried into the clip made from it, in sync."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moue.errors import VideoError, one_line, reason_of
from moue.files import Closing
from moue.video.ffmpeg import open_container

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.filter import Graph

AS_IT_IS = frozenset({"aac", "mp3"})  # codecs that every player takes in an mp4
RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # Hz, what AAC has
MOST_SILENCE = 120  # s of a pause: a damaged time must not fill the memory
CATCH_UP = 1000  # samples a second that sound is stretched or shrunk by, where it is late or early

log = logging.getLogger("moue")


class Sound(Closing):
    """Packets of a video's first sound track, read as the pictures advance: memory stays flat.

    AAC and MP3 are carried as they are, without loss; other sound is encoded as AAC.

    Args:
        path: the video.
        start: seconds on the video's clock at which its first picture is shown.

    Raises:
        VideoError: the video cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], start: Fraction = Fraction(0)) -> None:
        import av

        try:
            self._container = open_container(Path(path))
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"cannot read {path}: {reason_of(error)}") from None
        self._start = start
        streams = self._container.streams.audio
        self._stream: AudioStream | None = streams[0] if streams else None
        self._packets: Iterator[tuple[Fraction, Any]] = iter(())
        self._held: tuple[Fraction, Any] | None = None
        self._out: OutputContainer | None = None

    @property
    def exists(self) -> bool:
        """Whether the video has any sound that can be read."""
        return self._stream is not None and self._stream.codec_context is not None

    def begin(self, out: OutputContainer) -> None:
        """Adds the sound's track to a clip, before anything is written to it."""
        if not self.exists or self._stream is None:
            return
        self._out = out
        if self._stream.codec_context.codec.canonical_name in AS_IT_IS:
            self._packets = self._copied(out.add_stream_from_template(self._stream))
        else:
            rate = self._stream.rate
            near = min(RATES, key=lambda known: abs(known - rate))
            encoder: AudioStream = out.add_stream("aac", rate=near)
            encoder.layout = "mono" if self._stream.channels == 1 else "stereo"
            self._packets = self._encoded(encoder)

    def advance(self, seconds: Fraction) -> None:
        """Writes the sound up to `seconds` after the first picture."""
        import av

        if self._out is None:
            return
        try:
            while True:
                self._held = self._held or next(self._packets, None)
                if self._held is None or self._held[0] >= seconds:
                    return
                self._out.mux(self._held[1])
                self._held = None
        except (av.FFmpegError, ValueError) as error:
            log.warning("the sound stops at %.1f s: %s", float(seconds), one_line(error))
            self._out = None

    def close(self) -> None:
        self._container.close()

    def _copied(self, out: AudioStream) -> Iterator[tuple[Fraction, Any]]:
        """Packets as they are, on the pictures' clock; those from before the first picture go."""
        assert self._stream is not None
        for packet in self._container.demux(self._stream):
            if packet.dts is None or packet.pts is None:
                continue
            late = round(self._start / packet.time_base)
            packet.pts, packet.dts = packet.pts - late, packet.dts - late
            if packet.pts < 0:
                continue
            packet.stream = out
            yield Fraction(packet.pts) * packet.time_base, packet

    def _encoded(self, encoder: AudioStream) -> Iterator[tuple[Fraction, Any]]:
        """The sound decoded and encoded anew, on the pictures' clock."""
        context = encoder.codec_context
        for part in chain(self._steady(context.layout.name, context.rate), [None]):
            for packet in context.encode(part):
                assert packet.pts is not None
                yield Fraction(packet.pts) * packet.time_base, self._named(packet, encoder)

    def _steady(self, layout: str, rate: int) -> Iterator[Any]:
        """The sound decoded, in a layout and rate, on the pictures' clock and without a gap.

        A pause is silence there, and a clock of the sound's own that runs apart is stretched to it.
        """
        assert self._stream is not None
        graph, end = None, Fraction(0)
        for frame in self._container.decode(self._stream):
            if frame.pts is not None and frame.time_base:
                frame.pts -= round(self._start / frame.time_base)
                if frame.pts < 0:
                    continue
                begins = frame.pts * frame.time_base
                if graph and begins > end + MOST_SILENCE:
                    raise ValueError(f"it pauses for more than {MOST_SILENCE} s")
                end = begins + Fraction(frame.samples, frame.sample_rate)
            graph = graph or _graph(frame, layout, rate)
            yield from _through(graph, frame)
        if graph:
            yield from _through(graph, None)

    @staticmethod
    def _named(packet: Any, encoder: AudioStream) -> Any:
        packet.stream = encoder
        return packet


def _graph(frame: AudioFrame, layout: str, rate: int) -> Graph:
    """Turns frames like this one into others of a layout and rate that follow each other without a gap."""
    from av.filter import Graph

    graph = Graph()
    nodes = (
        graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base,
        ),
        graph.add("aresample", f"async={CATCH_UP}"),
        graph.add("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"),
        graph.add("abuffersink"),
    )
    graph.link_nodes(*nodes).configure()
    return graph


def _through(graph: Graph, frame: AudioFrame | None) -> Iterator[Any]:
    graph.push(frame)
    with suppress(BlockingIOError, EOFError):
        while True:
            yield graph.pull()
