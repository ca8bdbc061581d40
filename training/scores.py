"""MediaPipe's blendshape scores and the head's pose: the independent measure of what a face shows.

They come from `face_landmarker.task`, which shares no data or weights with the generator.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.actions import HEAD_TURN, HEAD_TURNS
from moue.files import Closing
from moue.tracking.mesh import place
from moue.tracking.regressor import load_regressor


class BlendshapeScorer(Closing):
    """Scores a picture of one face; without the model file every answer is empty."""

    def __init__(self, model: Path) -> None:
        self._landmarker = None
        if model.exists():
            from mediapipe.tasks import python as tasks
            from mediapipe.tasks.python import vision

            self._landmarker = vision.FaceLandmarker.create_from_options(
                vision.FaceLandmarkerOptions(
                    tasks.BaseOptions(model_asset_buffer=model.read_bytes()),
                    output_face_blendshapes=True,
                )
            )

    def close(self) -> None:
        """Gives back the landmarker."""
        if self._landmarker is not None:
            self._landmarker.close()

    def __call__(self, photo: NDArray[np.uint8]) -> dict[str, float]:
        """What uint8 RGB [H, W, 3] shows, by action; empty when no face is found.

        ARKit's names have scores in [0, 1]; a turn of the head is 1 at `HEAD_TURN` degrees.
        """
        if self._landmarker is None:
            return {}
        from mediapipe.python._framework_bindings import image, image_frame

        picture = image.Image(
            image_format=image_frame.ImageFormat.SRGB, data=np.ascontiguousarray(photo)
        )
        found = self._landmarker.detect(picture)
        if not found.face_blendshapes:
            return {}
        height, width = photo.shape[:2]
        points = [(p.x * width, p.y * height, p.z * width) for p in found.face_landmarks[0]]
        _, pose = place(np.array(points, np.float32), load_regressor().mean)
        angles = (pose.yaw, pose.pitch, pose.roll)
        return {
            **{c.category_name: float(c.score) for c in found.face_blendshapes[0]},
            **{name: angle / HEAD_TURN for name, angle in zip(HEAD_TURNS, angles, strict=True)},
        }
