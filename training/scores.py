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


def landmarker_of(data: Path) -> Path:
    """The data root's `face_landmarker.task`; raises FileNotFoundError where there is none."""
    model = data / "models" / "face_landmarker.task"
    if not model.is_file():
        raise FileNotFoundError(f"the scores need {model}, which is not there")
    return model


class BlendshapeScorer(Closing):
    """Scores a picture of one face, by the model in a data root."""

    def __init__(self, data: Path) -> None:
        model = landmarker_of(data)
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
        self._landmarker.close()

    def __call__(self, photo: NDArray[np.uint8]) -> dict[str, float]:
        """What uint8 RGB [H, W, 3] shows, by action; empty when no face is found.

        ARKit's names have scores in [0, 1]; a turn of the head is 1 at `HEAD_TURN` degrees.
        """
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
