#include "compose_device.h"
#include "launch.h"

namespace moue {
namespace {

constexpr int kColumns = 32, kRows = 4;

__global__ void __launch_bounds__(kColumns * kRows) make_cells(const __grid_constant__ Cells p) {
  const int frame = static_cast<int>(blockIdx.z), side = p.size + 2;
  int some = 0;
  for (int a = static_cast<int>(threadIdx.y * kColumns + threadIdx.x); a < p.n;
       a += kColumns * kRows)
    some |= p.actions[int64_t{frame} * p.n + a] != 0;
  const bool moves = __syncthreads_or(some) != 0;
  const int i = static_cast<int>(blockIdx.y * kRows + threadIdx.y);
  const int j = static_cast<int>(blockIdx.x * kColumns + threadIdx.x);
  if (i < side && j < side)
    p.cells[(int64_t{frame} * side + i) * side + j] = map_cell(p, frame, i, j, moves);
}

__global__ void __launch_bounds__(kColumns * kRows) blend_rows(const __grid_constant__ Blend p) {
  const auto i = p.first_row + static_cast<int32_t>(blockIdx.y * kRows + threadIdx.y);
  const auto k = static_cast<int32_t>(blockIdx.x * kColumns + threadIdx.x);
  if (i < p.last_row) blend_quad(p, static_cast<int>(blockIdx.z), i, k);
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
  blend_rows<<<dim3(blocks(quads(blend), kColumns), blocks(height, kRows), frames), block, 0,
               queue>>>(blend);
  check_launch("compose");
}

}  // namespace moue
