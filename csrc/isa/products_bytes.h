// Products of bytes: twice as many in an instruction as of words, with activations of 8 bits, which are less exact
// (docs/accuracy.md). Most of what 8 bits lose is lost in a few groups with large values, so these loud groups have 16:
// a second plane of bytes, which is multiplied for them alone.
//
// `S` supplies what products_kernels.h asks for, with kCodeBits = 8. Under the rules of products_kernels.h.
#pragma once

#include "isa/products_kernels.h"

namespace fairlead {
namespace {

// A group is loud where its largest magnitude is so many times what the row's groups have on average.
constexpr float kLoud = 2.0f;

constexpr float kMostByte = 127;
constexpr float kMostTwoBytes = 127 * 256 + 127;  // of which the high byte is rounded, and the low one has a sign

FAIRLEAD_INLINE float mean_of_largest(const float* x, int64_t groups) {
  float sum = 0;
  for (int64_t group = 0; group < groups; ++group) sum += largest_magnitude(x + group * kGroup);
  return sum / static_cast<float>(groups);
}

FAIRLEAD_INLINE int32_t sum_of_codes(const int32_t* codes, int count) {
  int32_t sum = 0;
  for (int i = 0; i < count; ++i) sum += codes[i];
  return sum;
}

FAIRLEAD_INLINE void put_plane(const int32_t (&codes)[kGroup], float scale, std::byte* plane, int rows, int row) {
  int8_t bytes[kGroup];
  for (int i = 0; i < kGroup; ++i) bytes[i] = static_cast<int8_t>(codes[i]);
  __builtin_memcpy(plane + row * kGroup, bytes, kGroup);
  std::byte* of_rows = plane + rows * kGroup + row * 4;
  store(of_rows, scale);
  store(of_rows + rows * 4, -sum_of_codes(codes, kGroup));
  store(of_rows + rows * 8, -sum_of_codes(codes, kGroup / 2));
}

// Both planes of a group, or the high one alone.
FAIRLEAD_INLINE void put_group(const float* x, float largest, bool loud, std::byte* group, int rows, int row) {
  const float most = loud ? kMostTwoBytes : kMostByte;
  const GroupScale s = scale_of_group(largest, most);
  int32_t codes[kGroup];
  round_group(x, s.inverse, most, codes);
  store(group + rows * 2 * kPlaneBytes + row * 4, s.scale * static_cast<float>(sum_of_codes(codes, kGroup)));
  if (!loud) return put_plane(codes, s.scale, group, rows, row);
  int32_t high[kGroup], low[kGroup];
  for (int i = 0; i < kGroup; ++i) {
    high[i] = (codes[i] + 128) >> 8;
    low[i] = codes[i] - high[i] * 256;
  }
  put_plane(high, s.scale * 256, group, rows, row);
  put_plane(low, s.scale, group + rows * kPlaneBytes, rows, row);
}

inline void pack_byte_row(const float* x, int64_t inputs, std::byte* tile, int rows, int row) {
  const int64_t groups = inputs / kGroup;
  const float quiet = kLoud * mean_of_largest(x, groups);
  for (int64_t first = 0; first < groups; first += kBlockGroups) {
    const int count = groups - first < kBlockGroups ? static_cast<int>(groups - first) : kBlockGroups;
    std::byte* const loud_of_row = tile + row * kLoudBytes;
    tile += rows * kLoudBytes;
    uint32_t loud_ones = 0;
    for (int group = 0; group < count; ++group, x += kGroup, tile += rows * kRowPlanesBytes) {
      const float largest = largest_magnitude(x);
      const bool loud = largest > quiet;
      loud_ones |= static_cast<uint32_t>(loud) << group;
      put_group(x, largest, loud, tile, rows, row);
    }
    store(loud_of_row, loud_ones);
  }
}

template <class S>
constexpr ByteProducts kByteProductsOf = {
    .tile_rows = S::kTileRows, .panels = kPanels<S>, .pack = pack_byte_row, .product = few_rows_product_for<S>};

}  // namespace
}  // namespace fairlead
