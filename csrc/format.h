// The weight formats of GGUF files that are built in.
#pragma once

#include <cstdint>

namespace fairlead {

// GGML's numbers for the formats of a file.
enum class Format : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30,
};

// Output channels that lie side by side, one in each 32-bit lane of the widest register. Every layout is a row of
// panels of this many outputs; the last one is padded with zeros.
inline constexpr int kPanel = 16;

}  // namespace fairlead
