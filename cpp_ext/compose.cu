#include "compose_device.h"
#include "launch.h"

namespace moue {
namespace {

constexpr int kColumns = 32, kRows = 4, kRun = 4 * kColumns;

__global__ void __launch_bounds__(kColumns * kRows) make_cells(const __grid_constant__ Cells p) {
  const int frame = static_cast<int>(blockIdx.z), side = p.size + 2;
  const int i = static_cast<int>(blockIdx.y * kRows + threadIdx.y);
  const int j = static_cast<int>(blockIdx.x * kColumns + threadIdx.x);
  const bool inside = i < side && j < side;
  MapCell cell = {};
  if (inside) cell = map_cell(p, frame, i, j);  // on its way while the actions are looked at
  int some = 0;
  for (int a = static_cast<int>(threadIdx.y * kColumns + threadIdx.x); a < p.n;
       a += kColumns * kRows)
    some |= p.actions[int64_t{frame} * p.n + a] != 0;
  const bool moves = __syncthreads_or(some) != 0;
  if (inside) p.cells[(int64_t{frame} * side + i) * side + j] = moves ? cell : MapCell{};
}

// A warp makes kRun pixels of a row. Neighbouring threads make neighbouring pixels, so that their
// loads fall together; the bytes meet in shared memory, to leave as whole words.
template <int kPixel>
__global__ void __launch_bounds__(kColumns * kRows) blend_rows(const __grid_constant__ Blend p) {
  __shared__ uint32_t words[kRows][kRun * 3 / 4];
  const auto i = p.first_row + static_cast<int32_t>(blockIdx.y * kRows + threadIdx.y);
  if (i >= p.last_row) return;
  const auto lane = static_cast<int32_t>(threadIdx.x);
  const auto frame = static_cast<int32_t>(blockIdx.z);
  const Row row = p.rows[i];
  // The run begins where a word does: at a multiple of four among the pixels of all frames.
  const int64_t start = (int64_t{frame} * p.height + i) * p.width;
  const auto first = static_cast<int32_t>((start + row.begin) / 4 * 4 - start) +
                     static_cast<int32_t>(blockIdx.x) * kRun;
  const Parts parts = parts_of(p, frame);
  auto* bytes = reinterpret_cast<uint8_t*>(words[threadIdx.y]);
  for (int32_t at = lane; at < kRun; at += kColumns)
    if (const int32_t j = first + at; j >= row.begin && j < row.end) {
      const Bytes3 rgb = blended<kPixel>(p, parts, row, i, j);
      bytes[3 * at] = rgb.red;
      bytes[3 * at + 1] = rgb.green;
      bytes[3 * at + 2] = rgb.blue;
    }
  __syncwarp();
  uint8_t* out = p.out + (start + first) * 3;
  const bool aligned = reinterpret_cast<uintptr_t>(p.out) % 4 == 0;
  const int32_t begin = (row.begin - first) * 3, end = (row.end - first) * 3;
  for (int32_t k = 4 * lane; k < kRun * 3; k += 4 * kColumns)
    if (aligned && k >= begin && k + 4 <= end) {
      *reinterpret_cast<uint32_t*>(out + k) = words[threadIdx.y][k / 4];
    } else {
      for (int32_t b = k; b < k + 4; ++b)
        if (b >= begin && b < end) out[b] = bytes[b];
    }
}

}  // namespace

void compose_on_device(const Cells& cells, const Blend& blend, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const auto frames = static_cast<unsigned>(cells.frames);
  const dim3 block(kColumns, kRows);
  const int side = cells.size + 2, height = blend.last_row - blend.first_row;
  make_cells<<<dim3(blocks(side, kColumns), blocks(side, kRows), frames), block, 0, queue>>>(cells);
  check_launch("compose");
  if (height <= 0) return;
  const dim3 grid(blocks(blend.most_pixels + 3, kRun), blocks(height, kRows), frames);
  if (blend.pixel == 4)
    blend_rows<4><<<grid, block, 0, queue>>>(blend);
  else
    blend_rows<3><<<grid, block, 0, queue>>>(blend);
  check_launch("compose");
}

}  // namespace moue
