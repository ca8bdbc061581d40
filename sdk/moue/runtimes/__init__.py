"""What executes a bundle's graphs: a seam (`base`), a file per runtime, a choice (`select`)."""

import os

# ONNX Runtime 1.32 and later keep a log of their use and send it off; this they read as they load.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
