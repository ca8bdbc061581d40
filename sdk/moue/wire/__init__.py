"""Actions on the wire, as `moue track` sends and `moue live` plays them: JSON lines, or OSC.

    {"moue": 1, "time": 1795170202.92, "frame": 17, "confidence": 1.0,
     "pose": {"yaw": 2.1, "pitch": -4.0, "roll": 0.3}, "actions": {"jawOpen": 0.3125, …}}

| JSON | OSC | what |
|---|---|---|
| `moue` | | the version of this form, 1 |
| `time` | the bundle's time tag | when the frame was taken, by the sender's clock: s since 1970 UTC |
| `frame` | `/moue/frame i` | counts frames, those without a face too; a gap is frames dropped |
| `confidence` | `/moue/confidence f` | 0 … 1; how surely a face is followed; actions ease to 0 with it |
| `pose` | `/moue/pose fff` | yaw, pitch, roll: degrees towards the subject's left, up, and the left shoulder; null, or no message, without a face |
| `actions` | `/moue/jawOpen f`, … | weight in [0, 1] by ARKit name, and `headYaw`, `headPitch`, `headRoll` from the rest, in [-1, 1]; JSON leaves out what is 0, OSC nothing |

A line is one such object; so is a datagram of `udp://` and a message of `ws://`. A datagram of
`osc://` is one bundle of about 2 kB (OSC 1.0). A receiver needs `moue` and `actions`, or one message
under `/moue/`, a float, a double or an integer; it takes a name without its side for both sides, an
action that is left out as 0, and ignores what it does not know, unless that is all there is. No picture
and no landmark is ever sent. A sender goes on as long as its face is to be shown: what falls silent
for 0.2 s is lost, and the portrait eases to rest.

Datagrams go to the receiver's address. A WebSocket is opened the other way round: who tracks listens,
anyone may connect, and each gets the newest line as fast as it takes them.
"""

from __future__ import annotations

from moue.wire.channels import Sender, check_target, receive, sender
from moue.wire.sample import Received, Sample

__all__ = ["Received", "Sample", "Sender", "check_target", "receive", "sender"]
