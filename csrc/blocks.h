// The blocks of quantised weights in GGUF files, as llama.cpp's ggml-common.h and ggml-quants.c define them.
//
// For each format: how many bytes and groups of 32 weights a block has; `quad`, four neighbouring codes of a group as
// the bytes of a word, lowest first; and `scales`, which writes the scales of a group for one output into the record
// (and prefix) that packed.h lays out. Blocks are not aligned in memory.
#pragma once

#include <cstdint>
#include <cstring>

#include "format.h"

namespace fairlead {

inline uint32_t load_word(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

inline uint16_t load_half(const uint8_t* bytes) {
  uint16_t half;
  std::memcpy(&half, bytes, sizeof half);
  return half;
}

inline void store_half(uint8_t* lanes, int output, uint16_t half) {
  std::memcpy(lanes + 2 * output, &half, sizeof half);
}

inline constexpr uint32_t kLowNibbles = 0x0f0f0f0f;

// Bits 0 to 3 of `bits` become bit 4 of the bytes of a word.
inline uint32_t spread_fifth_bits(uint32_t bits) { return (((bits & 0xf) * 0x00204081u) & 0x01010101u) << 4; }

// Quad `quad` of 16 bytes that hold inputs 0 to 15 in their low nibbles and 16 to 31 in their high ones.
inline uint32_t nibble_quad(const uint8_t* bytes, int quad) {
  return quad < 4 ? load_word(bytes + 4 * quad) & kLowNibbles : load_word(bytes + 4 * quad - 16) >> 4 & kLowNibbles;
}

template <Format>
struct Block;

template <>
struct Block<Format::q4_0> {
  static constexpr int kBytes = 18, kGroups = 1;
  static uint32_t quad(const uint8_t* block, int, int quad) { return nibble_quad(block + 2, quad); }
  static void scales(const uint8_t* block, int, int output, uint8_t*, uint8_t* record) {
    store_half(record, output, load_half(block));
  }
};

// A format with a scale and an offset that is added: its minimum is the offset's negative.
inline void store_scale_and_offset(const uint8_t* block, int output, uint8_t* record) {
  store_half(record, output, load_half(block));
  store_half(record + 2 * kPanel, output, load_half(block + 2) ^ 0x8000);
}

template <>
struct Block<Format::q4_1> {
  static constexpr int kBytes = 20, kGroups = 1;
  static uint32_t quad(const uint8_t* block, int, int quad) { return nibble_quad(block + 4, quad); }
  static void scales(const uint8_t* block, int, int output, uint8_t*, uint8_t* record) {
    store_scale_and_offset(block, output, record);
  }
};

template <>
struct Block<Format::q5_0> {
  static constexpr int kBytes = 22, kGroups = 1;
  static uint32_t quad(const uint8_t* block, int, int quad) {
    return nibble_quad(block + 6, quad) | spread_fifth_bits(load_word(block + 2) >> (4 * quad));
  }
  static void scales(const uint8_t* block, int, int output, uint8_t*, uint8_t* record) {
    store_half(record, output, load_half(block));
  }
};

template <>
struct Block<Format::q5_1> {
  static constexpr int kBytes = 24, kGroups = 1;
  static uint32_t quad(const uint8_t* block, int, int quad) {
    return nibble_quad(block + 8, quad) | spread_fifth_bits(load_word(block + 4) >> (4 * quad));
  }
  static void scales(const uint8_t* block, int, int output, uint8_t*, uint8_t* record) {
    store_scale_and_offset(block, output, record);
  }
};

template <>
struct Block<Format::q8_0> {
  static constexpr int kBytes = 34, kGroups = 1;
  // Signed in the file; 128 is added to each.
  static uint32_t quad(const uint8_t* block, int, int quad) { return load_word(block + 2 + 4 * quad) ^ 0x80808080u; }
  static void scales(const uint8_t* block, int, int output, uint8_t*, uint8_t* record) {
    store_half(record, output, load_half(block));
  }
};

// The 6-bit scales and minimums of the K formats' 8 groups, in 12 bytes; d and dmin before them.
inline void store_k_scales(const uint8_t* block, int group, int output, uint8_t* prefix, uint8_t* record) {
  const uint8_t* packed = block + 4;
  int scale, minimum;
  if (group < 4) {
    scale = packed[group] & 63;
    minimum = packed[group + 4] & 63;
  } else {
    scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
    minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
  }
  record[output] = static_cast<uint8_t>(scale);
  record[kPanel + output] = static_cast<uint8_t>(minimum);
  store_half(prefix, output, load_half(block));
  store_half(prefix + 2 * kPanel, output, load_half(block + 2));
}

// Pairs of groups share 32 bytes: the even one has the low nibbles.
inline uint32_t k_nibble_quad(const uint8_t* bytes, int group, int quad) {
  return load_word(bytes + group / 2 * 32 + 4 * quad) >> (group % 2 * 4) & kLowNibbles;
}

template <>
struct Block<Format::q4_k> {
  static constexpr int kBytes = 144, kGroups = 8;
  static uint32_t quad(const uint8_t* block, int group, int quad) { return k_nibble_quad(block + 16, group, quad); }
  static void scales(const uint8_t* block, int group, int output, uint8_t* prefix, uint8_t* record) {
    store_k_scales(block, group, output, prefix, record);
  }
};

template <>
struct Block<Format::q5_k> {
  static constexpr int kBytes = 176, kGroups = 8;
  // Byte i of 32 holds the fifth bits of input i of all groups, a bit for each.
  static uint32_t quad(const uint8_t* block, int group, int quad) {
    const uint32_t fifth = load_word(block + 16 + 4 * quad) >> group & 0x01010101u;
    return k_nibble_quad(block + 48, group, quad) | fifth << 4;
  }
  static void scales(const uint8_t* block, int group, int output, uint8_t* prefix, uint8_t* record) {
    store_k_scales(block, group, output, prefix, record);
  }
};

template <>
struct Block<Format::q6_k> {
  static constexpr int kBytes = 210, kGroups = 8;
  // Each half of the block has 64 bytes of low nibbles and 32 of upper pairs of bits for its four groups: the first
  // two groups have the low nibbles, the upper bits lie from low to high.
  static uint32_t quad(const uint8_t* block, int group, int quad) {
    const int half = group / 4, of_half = group % 4;
    const uint32_t low = load_word(block + half * 64 + of_half % 2 * 32 + 4 * quad) >> (of_half / 2 * 4) & kLowNibbles;
    const uint32_t high = load_word(block + 128 + half * 32 + 4 * quad) >> (2 * of_half) & 0x03030303u;
    return low | high << 4;
  }
  static void scales(const uint8_t* block, int group, int output, uint8_t* prefix, uint8_t* record) {
    record[output] = block[192 + 2 * group];
    record[kPanel + output] = block[192 + 2 * group + 1];
    store_half(prefix, output, load_half(block + 208));
  }
};

}  // namespace fairlead
