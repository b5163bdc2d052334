// The tile intrinsics of AMX that our products use, as functions in plain C++, for machines without AMX.
//
// They compute what Intel's manual (Software Developer's Manual, volume 2, LDTILECFG to TDPBF16PS) gives as pseudocode,
// rounding included, and stop the process where the processor would raise #UD: tiles that are not configured, or whose
// shapes do not fit together. For tests alone, and slow.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "half.h"

namespace fairlead {
namespace {
namespace emulated {

constexpr int kTiles = 8, kMostRows = 16, kMostRowBytes = 64;

// What LDTILECFG reads, and the tiles themselves. Unconfigured tiles have no rows.
struct Tiles {
  int rows[kTiles];
  int row_bytes[kTiles];
  unsigned char data[kTiles][kMostRows][kMostRowBytes];
};

thread_local Tiles tiles;

inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

inline void require_configured(int tile) { require(tiles.rows[tile] > 0 && tiles.row_bytes[tile] > 0); }

inline void release() { tiles = {}; }

inline void load_config(const void* config) {
  const auto* bytes = static_cast<const unsigned char*>(config);
  require(bytes[0] == 1);
  release();
  for (int tile = 0; tile < kTiles; ++tile) {
    const int row_bytes = bytes[16 + 2 * tile] | bytes[17 + 2 * tile] << 8;
    const int rows = bytes[48 + tile];
    require(row_bytes <= kMostRowBytes && row_bytes % 4 == 0 && rows <= kMostRows);
    require((row_bytes == 0) == (rows == 0));
    tiles.row_bytes[tile] = row_bytes;
    tiles.rows[tile] = rows;
  }
}

inline void zero(int tile) {
  require_configured(tile);
  __builtin_memset(tiles.data[tile], 0, sizeof tiles.data[tile]);
}

inline void load(int tile, const void* base, ptrdiff_t stride) {
  zero(tile);
  for (int row = 0; row < tiles.rows[tile]; ++row) {
    __builtin_memcpy(tiles.data[tile][row], static_cast<const char*>(base) + row * stride, tiles.row_bytes[tile]);
  }
}

inline void store(int tile, void* base, ptrdiff_t stride) {
  require_configured(tile);
  for (int row = 0; row < tiles.rows[tile]; ++row) {
    __builtin_memcpy(static_cast<char*>(base) + row * stride, tiles.data[tile][row], tiles.row_bytes[tile]);
  }
}

// Subnormal numbers count as zeros, and become zeros.
inline float flushed(float value) { return value > -0x1p-126f && value < 0x1p-126f ? 0.0f : value; }

inline float bf16_at(const unsigned char* row, int index) {
  uint16_t bits;
  __builtin_memcpy(&bits, row + 2 * index, sizeof bits);
  return flushed(float_from_bfloat16(bits));
}

// Row m of `sums` += row m of `a` times all of `b`; products of even and of odd elements are summed apart.
inline void add_row_dot_bf16(unsigned char* sums, const unsigned char* a, int b, int columns) {
  constexpr int kMostColumns = kMostRowBytes / 4;
  float parts[2][kMostColumns] = {};
  for (int k = 0; k < tiles.rows[b]; ++k) {
    for (int part = 0; part < 2; ++part) {
      const float factor = bf16_at(a, 2 * k + part);
      for (int n = 0; n < columns; ++n) {
        const float weight = bf16_at(tiles.data[b][k], 2 * n + part);
        parts[part][n] = flushed(__builtin_fmaf(factor, weight, parts[part][n]));
      }
    }
  }
  for (int n = 0; n < columns; ++n) {
    float sum;
    __builtin_memcpy(&sum, sums + 4 * n, sizeof sum);
    sum = flushed(flushed(sum) + flushed(parts[0][n] + parts[1][n]));
    __builtin_memcpy(sums + 4 * n, &sum, sizeof sum);
  }
}

inline void dot_bf16(int sums, int a, int b) {
  require_configured(sums);
  require_configured(a);
  require_configured(b);
  require(sums != a && sums != b && a != b);
  require(tiles.rows[sums] == tiles.rows[a]);
  require(tiles.row_bytes[sums] == tiles.row_bytes[b]);
  require(tiles.row_bytes[a] == 4 * tiles.rows[b]);
  for (int m = 0; m < tiles.rows[sums]; ++m) {
    add_row_dot_bf16(tiles.data[sums][m], tiles.data[a][m], b, tiles.row_bytes[sums] / 4);
  }
}

}  // namespace emulated
}  // namespace
}  // namespace fairlead

// Compilers define some of these as macros, some as functions.
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) ::fairlead::emulated::load_config(config)
#define _tile_release() ::fairlead::emulated::release()
#define _tile_zero(tile) ::fairlead::emulated::zero(tile)
#define _tile_loadd(tile, base, stride) ::fairlead::emulated::load(tile, base, stride)
#define _tile_stream_loadd(tile, base, stride) ::fairlead::emulated::load(tile, base, stride)
#define _tile_stored(tile, base, stride) ::fairlead::emulated::store(tile, base, stride)
#define _tile_dpbf16ps(sums, a, b) ::fairlead::emulated::dot_bf16(sums, a, b)
