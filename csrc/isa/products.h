// What each instruction set supplies to the products (matmul.cpp), as a table of functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "format.h"

namespace fairlead {

// Where a part of a product goes: y = found + bias, or y += found + bias, for 16 outputs or fewer.
struct Destination {
  float* y;
  int64_t stride;
  const float* bias;  // or none
  bool accumulate;
  int outputs;
};

// The product of one or two panels of a weight with rows in tiles that `pack_codes` or `pack_floats` made.
struct PanelTask {
  int64_t inputs;
  int rows;
  const std::byte* packed;
  float* found = nullptr;        // [rows][panels * 16], and
  std::byte* scratch = nullptr;  // of Products::unpacked_bytes, for an unpacked product
  int panel_count = 0;
  const std::byte* panels[2] = {};
  Destination to[2] = {};
};
using PanelProduct = void (*)(const PanelTask& task);

// More rows than there can be.
inline constexpr int kNever = std::numeric_limits<int>::max();

struct Products {
  int tile_rows;  // the most rows that a product of few takes at once
  int panels;     // the most that a task has

  // Packs x[inputs] as row `row` of a tile of `rows`; for quantised and for float weights.
  void (*pack_codes)(const float* x, int64_t inputs, std::byte* tile, int rows, int row);
  void (*pack_floats)(const float* x, int64_t inputs, std::byte* tile, int rows, int row);

  PanelProduct (*few_rows)(Format format);  // of one tile

  // For quantised weights, which it unpacks for all the rows of a task; where it is quicker, from so many rows on.
  int unpacked_from = kNever;
  PanelProduct (*unpacked)(Format format) = nullptr;
  size_t unpacked_bytes = 0;  // of a task's scratch
};

// Products of quantised weights with activations in bytes.
struct ByteProducts {
  int tile_rows, panels;
  void (*pack)(const float* x, int64_t inputs, std::byte* tile, int rows, int row);
  PanelProduct (*product)(Format format);  // of one tile
};

// Rows of a tile register, the most that a block of rows has.
inline constexpr int kTileRowsMost = 16;

// The product of one or two panels with all rows, over some of the inputs.
struct TileTask {
  int64_t inputs;  // of the weight
  int rows;
  const std::byte* packed;  // the rows, in `blocks` of `block_rows`
  int blocks, block_rows;
  float* found;                // [blocks * block_rows][32]
  std::byte* scratch;          // of TileProducts::scratch_bytes
  int64_t begin = 0, end = 0;  // groups of 32 inputs
  int panel_count = 0;
  const std::byte* panels[2] = {};
  Destination to[2] = {};
  bool gated = false;  // what goes to to[0].y is silu(first) · second, over all inputs
};

// Products of many rows with quantised weights in matrix tiles.
struct TileProducts {
  // Packs x[inputs] as row `row` of a block.
  void (*pack_row)(const float* x, int64_t inputs, std::byte* block, int block_rows, int row);

  using Product = void (*)(const TileTask& task);
  Product (*product)(Format format);
  size_t scratch_bytes;
};

const Products& products_portable();
const Products& products_avx2();
const Products& products_avx_vnni();
const Products& products_avx512();
const Products& products_vnni();
const ByteProducts& byte_products_avx_vnni();
const ByteProducts& byte_products_vnni();
const TileProducts& products_amx();
const TileProducts& products_amx_emulated();

}  // namespace fairlead
