"""MediaPipe's blendshape scores: the independent measure of what a face shows.

They come from `face_landmarker.task`, which shares no data or weights with the generator.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moue.files import Closing


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
        """ARKit name → score in [0, 1] for uint8 RGB [H, W, 3]; empty when no face is found."""
        if self._landmarker is None:
            return {}
        from mediapipe.python._framework_bindings import image, image_frame

        picture = image.Image(
            image_format=image_frame.ImageFormat.SRGB, data=np.ascontiguousarray(photo)
        )
        found = self._landmarker.detect(picture).face_blendshapes
        return {c.category_name: float(c.score) for c in found[0]} if found else {}
