// How packed weights and activations lie in memory: one layout for all instruction sets.
//
// A weight is a row of panels of 16 outputs, each one sequential stream. In the quantised layouts a panel is a row of
// blocks of up to 256 inputs, which is 8 groups of 32:
//
//   prefix  K formats only: the block's fp16 scales, then its fp16 scales of minimums, one per output (64 bytes)
//   record  of each group: its scales, and its minimums where the format has them, one per output
//           (padded to whole cache lines after the last group)
//   codes   of each group: rows of 64 bytes, [16 outputs][4 inputs]; "q8" has 8 rows, for the 8 quads of inputs,
//           "q4" has 4, with quad j in the low nibbles of row j and quad j + 4 in the high ones
//
// A row of codes is a register of AVX-512 and two of AVX2, an output in each 32-bit lane; tiles are made from the same
// rows. A weight is scale · (code − zero) − minimum, exactly as in the file. The float layouts are
// [input][16 outputs].
//
// Functions in this header have internal linkage: files compiled for different instruction sets include it, and the
// linker must not merge their copies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format.h"

namespace fairlead {

inline constexpr int kGroup = 32;       // inputs of a group
inline constexpr int kBlockGroups = 8;  // groups of a block, the last one of a panel may have fewer
inline constexpr int kRowBytes = 64;    // of a row of codes: 16 outputs × 4 inputs
inline constexpr int kQuads = 8;        // quads of inputs in a group

enum class Records : uint8_t {
  none,      // a float layout
  half,      // fp16 scales
  half_min,  // fp16 scales, fp16 minimums
  k,         // 8-bit scales and minimums, to be multiplied with the prefix
  k16,       // signed 8-bit scales for each half of the group, to be multiplied with the prefix
};

struct Encoding {
  bool nibbles = false;  // "q4", else "q8"
  int zero_shift = 0;    // the code that means zero is 2 to this power; 0 where zero means zero
  Records records = Records::none;

  constexpr int zero() const { return zero_shift == 0 ? 0 : 1 << zero_shift; }
  constexpr bool has_minimum() const { return records == Records::half_min || records == Records::k; }
};

static constexpr Encoding encoding(Format format) {
  switch (format) {
    case Format::q4_0:
      return {true, 3, Records::half};
    case Format::q4_1:
      return {true, 0, Records::half_min};
    case Format::q5_0:
      return {false, 4, Records::half};
    case Format::q5_1:
      return {false, 0, Records::half_min};
    case Format::q8_0:
      return {false, 7, Records::half};
    case Format::q4_k:
      return {true, 0, Records::k};
    case Format::q5_k:
      return {false, 0, Records::k};
    case Format::q6_k:
      return {false, 5, Records::k16};
    default:
      return {};
  }
}

static constexpr int prefix_bytes(const Encoding& e) {
  return e.records == Records::k || e.records == Records::k16 ? 4 * kPanel : 0;
}

static constexpr int record_bytes(const Encoding& e) {
  return e.records == Records::half_min ? 4 * kPanel : 2 * kPanel;
}

static constexpr int header_bytes(const Encoding& e, int groups) {
  return (prefix_bytes(e) + groups * record_bytes(e) + kRowBytes - 1) / kRowBytes * kRowBytes;
}

static constexpr int code_bytes(const Encoding& e) { return (e.nibbles ? kQuads / 2 : kQuads) * kRowBytes; }

static constexpr int block_bytes(const Encoding& e, int groups) {
  return header_bytes(e, groups) + groups * code_bytes(e);
}

// A tile of activations for quantised weights: the rows that a product takes at once, interleaved by groups of 32
// inputs so that one pointer reaches them all. An activation is scale · code with a code of 16 bits: with 8, rounding
// them would be all of the error there is (docs/accuracy.md), and memory leaves time for more. For each group:
//
//   int16  code[rows][32]         the inputs of each quad in the order 0, 2, 1, 3
//   float  scale[rows]            the largest magnitude / 32767
//   int32  negated_sum[rows]      of the codes
//   int32  negated_half_sum[rows] of the first 16 codes
//   float  scaled_sum[rows]       scale · sum of the codes
//
// Codes of weights become words of 16 bits where they stand, by a shift and a mask; and so the first and the third byte
// of a quad's word, and the second and the fourth, are the pairs that meet pairs of activations.
inline constexpr int kRowGroupBytes = 2 * kGroup + 16;

// The same for products of bytes: an activation has 8 bits, and 16 where its group is loud (isa/products_bytes.h). For
// each block of up to 8 groups:
//
//   uint32 loud[rows]             a bit for each group whose low plane counts
//
// and then, of each group, a high plane, a low one, which holds what the high one leaves in steps of a 256th, and
//
//   float  scaled_sum[rows]       of both
//
// A plane is
//
//   int8   code[rows][32]         the inputs as they come
//   float  scale[rows]
//   int32  negated_sum[rows]
//   int32  negated_half_sum[rows]
inline constexpr int kPlaneBytes = kGroup + 12;
inline constexpr int kRowPlanesBytes = 2 * kPlaneBytes + 4;
inline constexpr int kLoudBytes = 4;

// Rows of a tile; the last tile of a batch has what is left.
static constexpr int rows_of_tile(int rows, int tile_rows, int tile) {
  const int left = rows - tile * tile_rows;
  return left < tile_rows ? left : tile_rows;
}

}  // namespace fairlead
