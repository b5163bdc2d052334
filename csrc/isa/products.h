// What each instruction set supplies to the products (matmul.cpp), as a table of functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format.h"

namespace fairlead {

// The product of one panel with the tile of rows that `pack_codes` or `pack_floats` made: out[rows][16].
using PanelProduct = void (*)(const std::byte* panel, int64_t inputs, const std::byte* tile, int rows, float* out);

struct Products {
  int tile_rows;  // the most rows that a product takes at once

  // Packs x[inputs] as row `row` of a tile of `rows`; for quantised and for float weights.
  void (*pack_codes)(const float* x, int64_t inputs, std::byte* tile, int rows, int row);
  void (*pack_floats)(const float* x, int64_t inputs, std::byte* tile, int rows, int row);

  PanelProduct (*panel_product)(Format format);
};

const Products& products_portable();
const Products& products_avx2();
const Products& products_avx512();
const Products& products_vnni();

}  // namespace fairlead
