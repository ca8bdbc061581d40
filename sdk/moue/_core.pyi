import numpy as np
from numpy.typing import NDArray

def skip_sum(
    base: NDArray[np.float32],
    residual: NDArray[np.float32] | NDArray[np.float16],
    actions: NDArray[np.float32],
    sizes: list[int],
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
    rest_flow: NDArray[np.float32] | None,
    rest_mask: NDArray[np.float32] | None,
    light: NDArray[np.float32],
    place: NDArray[np.float32],
    picture: NDArray[np.uint8],
    window: NDArray[np.float64],
    colour: float,
    out: NDArray[np.uint8],
    whole: bool,
    threads: int = 0,
) -> None: ...
def device_skip_sum(
    *,
    base: int,
    residual: int,
    actions: int,
    out: int,
    frames: int,
    n: int,
    sizes: list[int],
    stream: int | None,
) -> None: ...
def square_rows(
    to_crop: NDArray[np.float64],
    window: NDArray[np.float64],
    height: int,
    width: int,
    size: int,
) -> tuple[NDArray[np.int32], int, int, int]: ...
def device_compose(
    *,
    flow: int,
    mask: int,
    light: int,
    place: int,
    rest_flow: int,
    rest_mask: int,
    picture: int,
    actions: int,
    cells: int,
    source: int,
    source_stride: int,
    rows: int,
    out: int,
    frames: int,
    n: int,
    size: int,
    place_height: int,
    place_width: int,
    picture_height: int,
    picture_width: int,
    height: int,
    width: int,
    pixel: int,
    first_row: int,
    last_row: int,
    most_pixels: int,
    to_crop: NDArray[np.float64],
    window: NDArray[np.float64],
    colour: float,
    stream: int | None,
) -> None: ...
def device_preprocess(
    *,
    photo: int,
    out: int,
    height: int,
    width: int,
    pixel: int,
    size: int,
    taps: int,
    to_photo: NDArray[np.float64],
    stream: int | None,
) -> None: ...
def dlpack(
    *,
    address: int,
    shape: list[int],
    kind: int,
    bits: int,
    place: int,
    index: int,
    owner: object,
) -> object: ...
def cuda_devices() -> list[str]: ...
def check_cuda(device: int) -> None: ...
