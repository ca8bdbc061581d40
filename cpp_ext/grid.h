// The decoder's maps of one frame, made ready for its pixels to be read between their cells.
#pragma once

#include "compose.h"
#include "square_rows.h"

namespace moue {

inline constexpr int64_t kLanes = 16;  // pixels of a row, and with them cells, taken at once

// The maps with their edges repeated once around, [size + 2, size + 2] of each: to where a pixel
// comes from, x and y in photo pixels, and the mask; red, green, blue, 255 for full light. Of each
// row the cells, from the first to the last, that move or show light. `faded` is the maps'.
struct Grid {
  int64_t size, stride;
  float *motion[3], *light[3];
  Span* alive;
  float faded;
};

// The same of where the mouth is looked up: [rows + 2, columns + 2]. The window begins at `left`,
// `top`, counted in nodes as the grid's positions are in cells; so many nodes lie in a cell.
struct Nodes {
  int64_t rows, columns, stride;
  float left, top, per_cell;
  float* place[2];  // in the picture's pixels, x and y
};

// Room for the maps' cells, and as far beyond as cells read together may reach. It is this thread's,
// as the nodes' is, until its next frame.
Grid grid_of(const Maps& maps);

// One row of the grid; to_pixels [2, 2] turns flow into photo pixels. Light is left as it is where
// neither this row nor the next ones show any.
void fill_row(const Grid& grid, int64_t i, const Maps& maps, const float* to_pixels);

// Where the maps place the mouth's picture, whose sides the mouth gives.
Nodes nodes_of(const Maps& maps, const Mouth& mouth);

}  // namespace moue
