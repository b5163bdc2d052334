// Rows on their way into a product and out of it: activations packed into tiles, sums written to y. Compiled for each
// instruction set with the products, under the rules of products_kernels.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa/products.h"
#include "packed.h"

namespace fairlead {
namespace {

#define FAIRLEAD_INLINE [[gnu::always_inline]] inline
#ifndef FAIRLEAD_UNROLL
#define FAIRLEAD_UNROLL _Pragma("GCC unroll 16")
#endif

// The same value, of which the compiler does not know where it comes from. gcc 12 would regroup long sums of integers:
// all products first, which do not fit into the registers.
template <typename Vector>
FAIRLEAD_INLINE Vector in_order(Vector sum) {
  __asm__("" : "+v"(sum));
  return sum;
}

template <typename T>
FAIRLEAD_INLINE T load(const void* address) {
  T value;
  __builtin_memcpy(&value, address, sizeof value);
  return value;
}

template <typename T>
FAIRLEAD_INLINE void store(void* address, T value) {
  __builtin_memcpy(address, &value, sizeof value);
}

// The largest code of an activation.
constexpr float kMostCode = 32767;

// A group whose largest magnitude is below this counts as zero: the inverse of its scale would overflow.
constexpr float kSmallest = 0x1p-111f;

// Adding this leaves a float's nearest integer (ties to even) in the low bits of the sum.
constexpr float kRounder = 0x1.8p23f;

struct GroupScale {
  float scale, inverse;
};

// Magnitudes order like their bits, infinity and NaN above all: a row that holds one gets a scale that is not finite,
// and so do all products with it.
FAIRLEAD_INLINE float largest_magnitude(const float* x) {
  uint32_t largest = 0;
  for (int i = 0; i < kGroup; ++i) {
    const uint32_t magnitude = load<uint32_t>(x + i) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  return load<float>(&largest);
}

FAIRLEAD_INLINE GroupScale scale_of_group(float largest, float most_code) {
  if (largest < kSmallest) return {0.0f, 0.0f};
  return {largest / most_code, most_code / largest};
}

FAIRLEAD_INLINE void round_group(const float* x, float inverse_scale, float most_code, int32_t (&codes)[kGroup]) {
  for (int i = 0; i < kGroup; ++i) {
    float code = x[i] * inverse_scale;
    code = code < most_code ? code : most_code;  // also where it is not a number
    code = code > -most_code ? code : -most_code;
    const float rounded = code + kRounder;
    codes[i] = load<int32_t>(&rounded) - load<int32_t>(&kRounder);
  }
}

inline void pack_word_row(const float* x, int64_t inputs, std::byte* tile, int rows, int row) {
  for (int64_t begin = 0; begin < inputs; begin += kGroup, x += kGroup, tile += rows * kRowGroupBytes) {
    const GroupScale s = scale_of_group(largest_magnitude(x), kMostCode);
    int32_t codes[kGroup];
    round_group(x, s.inverse, kMostCode, codes);
    int16_t words[kGroup];
    for (int i = 0; i < kGroup; i += 4) {
      words[i] = static_cast<int16_t>(codes[i]);
      words[i + 1] = static_cast<int16_t>(codes[i + 2]);
      words[i + 2] = static_cast<int16_t>(codes[i + 1]);
      words[i + 3] = static_cast<int16_t>(codes[i + 3]);
    }
    int32_t first = 0, second = 0;
    for (int i = 0; i < kGroup / 2; ++i) first += codes[i];
    for (int i = kGroup / 2; i < kGroup; ++i) second += codes[i];
    __builtin_memcpy(tile + row * sizeof words, words, sizeof words);
    std::byte* of_rows = tile + rows * 2 * kGroup + row * 4;
    store(of_rows, s.scale);
    store(of_rows + rows * 4, -(first + second));
    store(of_rows + rows * 8, -first);
    store(of_rows + rows * 12, s.scale * static_cast<float>(first + second));
  }
}

inline void pack_float_row(const float* x, int64_t inputs, std::byte* tile, int rows, int row) {
  for (int64_t input = 0; input < inputs; ++input) store(tile + (input * rows + row) * 4, x[input]);
}

template <class S, bool Accumulate>
FAIRLEAD_INLINE void write_full_panel(const float* found, int64_t stride, int rows, const Destination& to) {
  constexpr int kVectors = kPanel / S::kLanes;
  const auto floats = [](const float* p) { return S::floats(reinterpret_cast<const std::byte*>(p)); };
  typename S::Floats bias[kVectors];
  FAIRLEAD_UNROLL
  for (int i = 0; i < kVectors; ++i) bias[i] = to.bias == nullptr ? S::all(0.0f) : floats(to.bias + i * S::kLanes);
  for (int row = 0; row < rows; ++row) {
    FAIRLEAD_UNROLL
    for (int i = 0; i < kVectors; ++i) {
      float* y = to.y + row * to.stride + i * S::kLanes;
      const auto sum = S::add(floats(found + row * stride + i * S::kLanes), bias[i]);
      S::put(y, Accumulate ? S::add(floats(y), sum) : sum);
    }
  }
}

template <class S>
void write_panel(const float* found, int64_t stride, int rows, const Destination& to) {
  if (to.outputs == kPanel) {
    if (to.accumulate) return write_full_panel<S, true>(found, stride, rows, to);
    return write_full_panel<S, false>(found, stride, rows, to);
  }
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < to.outputs; ++i) {
      const float sum = found[row * stride + i] + (to.bias == nullptr ? 0.0f : to.bias[i]);
      float& y = to.y[row * to.stride + i];
      y = to.accumulate ? y + sum : sum;
    }
  }
}

// The totals of a task's panels, still in registers; `total` has all vectors of outputs, one panel's after the other's.
template <class S, int Panels, int V, int R>
FAIRLEAD_INLINE void write_totals(const typename S::Floats (&total)[V][R], const PanelTask& task) {
  alignas(64) float found[R][V * S::kLanes];
  FAIRLEAD_UNROLL
  for (int v = 0; v < V; ++v) {
    FAIRLEAD_UNROLL
    for (int row = 0; row < R; ++row) S::put(found[row] + v * S::kLanes, total[v][row]);
  }
  FAIRLEAD_UNROLL
  for (int panel = 0; panel < Panels; ++panel)
    write_panel<S>(found[0] + panel * kPanel, V * S::kLanes, R, task.to[panel]);
}

}  // namespace
}  // namespace fairlead
