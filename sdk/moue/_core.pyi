import numpy as np
from numpy.typing import NDArray

def skip_sum(
    base: NDArray[np.float32],
    residual: NDArray[np.float32] | NDArray[np.float16],
    actions: NDArray[np.float32],
    out: NDArray[np.float32],
    threads: int = 0,
) -> None: ...
def preprocess(
    photo: NDArray[np.uint8],
    to_photo: NDArray[np.float64],
    taps: int,
    out: NDArray[np.float32],
    threads: int = 0,
) -> None: ...
def compose(
    photo: NDArray[np.uint8],
    to_crop: NDArray[np.float64],
    flow: NDArray[np.float32],
    mask: NDArray[np.float32],
    colour: NDArray[np.float32],
    out: NDArray[np.uint8],
    threads: int = 0,
) -> None: ...
def cuda_devices() -> list[str]: ...
