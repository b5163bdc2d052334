#if defined(__AMX_BF16__) || defined(__AMXBF16__)  // as gcc, or as older clang has it; flags come with int8
#include <immintrin.h>

#include "isa/peaks.h"

namespace fairlead {
namespace {

constexpr int kTileRows = 16, kTileRowBytes = 64;

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// In read-only memory, for the reason that products_amx.cpp gives.
constexpr TileConfig kConfig;

// Small numbers, read as bf16 or as int8.
struct alignas(64) Tile {
  uint16_t values[kTileRows * kTileRowBytes / 2];

  constexpr Tile() : values() {
    for (uint16_t& value : values) value = 0x3f01;
  }
};
constexpr Tile kOperand;

void load_operands() {
  _tile_loadconfig(&kConfig);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, kOperand.values, kTileRowBytes);
  _tile_loadd(5, kOperand.values, kTileRowBytes);
  _tile_loadd(6, kOperand.values, kTileRowBytes);
  _tile_loadd(7, kOperand.values, kTileRowBytes);
}

void bf16(int64_t rounds) {
  load_operands();
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

void int8(int64_t rounds) {
  load_operands();
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
}

constexpr int64_t operations(int item_bytes) {
  constexpr int kTiles = 4;
  return int64_t{2} * kTiles * kTileRows * kTileRows * (kTileRowBytes / item_bytes);
}

}  // namespace

constinit const PeakLoop kPeakAmxBf16 = {"amx_bf16", operations(2), bf16};
constinit const PeakLoop kPeakAmxInt8 = {"amx_int8", operations(1), int8};

}  // namespace fairlead
#endif
