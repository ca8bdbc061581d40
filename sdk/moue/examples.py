"""What `moue COMMAND --help` ends with: each command by example."""

from __future__ import annotations

EXAMPLES = {
    "animate": """examples:
  moue animate photo.jpg --expression happy -o happy.mp4
  moue animate photo.jpg --mix happy=0.5,surprise=0.5 --curve pulse --seconds 3 -o both.gif
  moue animate photo.jpg --expression happy --degree 0.6 --curve pulse --hold 1 --size 1080 -o hello.mp4
  moue animate photo.jpg --action mouthSmile=0.7,eyeBlinkLeft=1 -o wink.png
  moue animate photo.jpg --expression happy --action headYaw=-0.5,headPitch=0.3 -o turned.mp4
  moue animate photo.jpg --expression sad --degrees 0,0.25,0.5,1 -o frames/
  moue animate photo.jpg --curve performance.json -o performance.mp4
a curve file has a row a frame: {"fps": 30, "actions": ["jawOpen", …], "values": [[0, …], [0.2, …], …]}
or keys at seconds, linear in between: {"fps": 30, "keys": [{"at": 0}, {"at": 0.5, "mouthSmile": 0.8}, …]}""",
    "drive": """examples:
  moue drive photo.jpg me.mp4 -o driven.mp4
  moue drive photo.jpg me.mp4 --neutral 2.5 --gain mouthSmile=1.3 -o out.mp4
  moue drive photo.jpg me.mp4 --save-curve a.json -o out.mp4
  moue animate another.jpg --curve a.json -o another.mp4""",
    "live": """examples:
  moue live photo.jpg
  moue live one.jpg two.jpg --camera rtsp://host/stream --virtual-camera
  moue live photo.jpg --camera performance.mp4 --headless --record out.mp4
  moue track --camera 0 | moue live photo.jpg --actions -
keys in the window:
  n  the face is at rest now        m  mirror        space  next portrait
  r  begin or end a recording       o  overlay       q, Esc  quit""",
    "studio": """examples:
  moue studio
  moue studio photo.jpg another.jpg --port 0
  moue studio --host 192.168.1.20      for a browser on another machine: its address is a password
needs FastAPI and Uvicorn (pip install fastapi uvicorn websockets); Ctrl-C ends it""",
    "track": """examples:
  moue track --camera 0
  moue track --camera 0 --to udp://192.168.1.20:9000   and there:
  moue live photo.jpg --actions udp://0.0.0.0:9000
  moue track --camera 0 --to ws://0.0.0.0:9000         and there:
  moue live photo.jpg --actions ws://192.168.1.10:9000
each line: {"moue": 1, "time": s since 1970, "frame": n, "confidence": 0…1,
            "pose": {"yaw": °, "pitch": °, "roll": °} or null,
            "actions": {"jawOpen": 0…1, …, "headYaw": -1…1, …}}; an action that is not there is 0
osc:// sends a bundle a frame: /moue/jawOpen 0…1 and so on, for all 54 actions, /moue/confidence 0…1,
/moue/frame n, and with a face /moue/pose yaw pitch roll
ws:// listens for up to 16 readers (pip install websockets)""",
    "expressions": """examples:
  moue expressions
  moue expressions save wink --mix happy=0.4 --action eyeBlinkLeft=1
  moue animate photo.jpg --expression wink -o wink.mp4
  moue expressions remove wink
each is a file of weights, NAME.json, in $XDG_CONFIG_HOME/moue/expressions (~/.config/moue/expressions)""",
    "actions": """examples:
  moue actions
  moue actions --json
left and right are the subject's. The order is that of an action vector. Where actions are named, as in
--action mouthSmile=0.8, a name without its side stands for both; jawLeft, jawRight, mouthLeft and
mouthRight have no such name: they are one thing moved one way or the other""",
    "export": """example:
  moue export -o generator.onnx
in   photo    [1, 3, S, S]       the aligned face square, RGB in [0, 1]; S is 256 for edge
     actions  [frames, n]        weights of the n actions, in the order of moue actions, in [0, 1] or for
                                 headYaw, headPitch and headRoll [-1, 1]; any number of frames
out  frames   [frames, 3, S, S]  the face square in every frame, RGB in [0, 1]
all float16, or float32 with --fp32. The face square of a photo, float32, in Python:
  portrait = animator.prepare("photo.jpg")
  moue.kernels.preprocess(portrait.photo, portrait.faces[0].square.to_photo(), S)[None]
The graph works at S × S alone; what puts frames back into the photo at its own size is moue itself""",
    "engine": """examples:
  moue engine
  moue engine --sm 86 --sm 120 --workspace 2G""",
    "benchmark": """examples:
  moue benchmark
  moue benchmark --photo photo.jpg --batch 4 --threads 2 --seconds 10 --plot times.png
  moue benchmark --camera 0
the last line on standard output is one JSON document; the table goes to standard error""",
    "doctor": """example:
  moue doctor --json""",
    "verify": """example:
  moue verify happy.mp4
exit code 0: marked; 3: not marked; 4: marked, and changed since
a mark is an IPTC DigitalSourceType in XMP metadata; what moue writes has one. It is a label, no signature:
whoever wants to can take it off or write another, and many sites take all metadata off""",
}
