// IEEE half precision and bfloat16, by bits, for code that cannot count on instructions for them.
//
// `static inline` on purpose: files compiled for different instruction sets must not share these through the linker.
#pragma once

#include <cstdint>
#include <cstring>

namespace fairlead {

static inline float float_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t bits_of_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_from_half(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7fff;
  if (magnitude >= 0x7c00) return float_from_bits(sign | 0x7f800000 | magnitude << 13);  // infinity, NaN
  // Exponents move from bias 15 to bias 127 by a product, which also makes subnormals right.
  return float_from_bits(sign | bits_of_float(float_from_bits(magnitude << 13) * 0x1p112f));
}

// Rounds to nearest, ties to even; magnitudes past the largest half become that half, so that a cache never holds
// infinities.
static inline uint16_t half_from_float(float value) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);   // NaN
  if (magnitude >= 0x477fe000) return static_cast<uint16_t>(sign | 0x7bff);  // 65504 and above
  if (magnitude < 0x38800000) {
    // Subnormal halves are multiples of 2⁻²⁴: adding 0.5 leaves them in the lowest bits, rounded.
    const uint32_t sum = bits_of_float(float_from_bits(magnitude) + 0.5f);
    return static_cast<uint16_t>(sign | (sum - bits_of_float(0.5f)));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

static inline float float_from_bfloat16(uint16_t value) { return float_from_bits(static_cast<uint32_t>(value) << 16); }

}  // namespace fairlead
