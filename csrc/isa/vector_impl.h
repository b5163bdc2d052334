// The kernels of vector.h, written once over simd.h and compiled for each instruction set by the vector_*.cpp files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "isa/simd.h"
#include "isa/vector.h"

namespace fairlead {
namespace {

constexpr int kLanes = Floats::kLanes;
static_assert(kRowPad % kLanes == 0);

constexpr float kLowest = -__FLT_MAX__;

int padded(int width) { return (width + kRowPad - 1) / kRowPad * kRowPad; }

void rms_norm(float* out, const float* x, const float* weight, int width, float eps) {
  Floats squares = Floats::all(0);
  for (int i = 0; i < padded(width); i += kLanes) {
    const Floats a = Floats::load(x + i);
    squares = fma(a, a, squares);
  }
  const Floats scale = Floats::all(1.0f / __builtin_sqrtf(sum(squares) / width + eps));
  for (int i = 0; i < padded(width); i += kLanes) {
    (Floats::load(x + i) * scale * Floats::load(weight + i)).store(out + i);
  }
}

void layer_norm(float* out, const float* x, const float* weight, const float* bias, int width, float eps) {
  const int whole = width / kLanes * kLanes;  // past these the padding's zeros would count as values
  Floats total = Floats::all(0);
  for (int i = 0; i < whole; i += kLanes) total = total + Floats::load(x + i);
  float mean_value = sum(total);
  for (int i = whole; i < width; ++i) mean_value += x[i];
  mean_value /= width;
  const Floats mean = Floats::all(mean_value);
  Floats squares = Floats::all(0);
  for (int i = 0; i < whole; i += kLanes) {
    const Floats a = Floats::load(x + i) - mean;
    squares = fma(a, a, squares);
  }
  float variance = sum(squares);
  for (int i = whole; i < width; ++i) variance += (x[i] - mean_value) * (x[i] - mean_value);
  const Floats scale = Floats::all(1.0f / __builtin_sqrtf(variance / width + eps));
  for (int i = 0; i < padded(width); i += kLanes) {
    const Floats a = (Floats::load(x + i) - mean) * scale;
    fma(a, Floats::load(weight + i), Floats::load(bias + i)).store(out + i);
  }
}

void add(float* out, const float* a, const float* b, int width) {
  for (int i = 0; i < padded(width); i += kLanes) (Floats::load(a + i) + Floats::load(b + i)).store(out + i);
}

void swiglu(float* out, const float* gate, const float* up, int width) {
  for (int i = 0; i < padded(width); i += kLanes) {
    const Floats g = Floats::load(gate + i);
    (g * sigmoid(g) * Floats::load(up + i)).store(out + i);
  }
}

void gelu(float* out, const float* x, int width) {
  // ½(1 + tanh(z)) = sigmoid(2z), z = √(2/π)(x + 0.044715 x³)
  const Floats linear = Floats::all(2 * 0.7978845608028654f);
  const Floats cubic = Floats::all(2 * 0.7978845608028654f * 0.044715f);
  for (int i = 0; i < padded(width); i += kLanes) {
    const Floats a = Floats::load(x + i);
    (a * sigmoid(a * fma(a * a, cubic, linear))).store(out + i);
  }
}

// ½(1 + erf(x / √2)) · x, with erf within 1.5e-7 (Abramowitz and Stegun, 1964, 7.1.26).
void exact_gelu(float* out, const float* x, int width) {
  const Floats one = Floats::all(1.0f);
  for (int i = 0; i < padded(width); i += kLanes) {
    const Floats a = Floats::load(x + i);
    const Floats magnitude = max(a, Floats::all(0.0f) - a);
    const Floats z = magnitude * Floats::all(0.70710678118654752f);
    const Floats t = reciprocal(fma(z, Floats::all(0.3275911f), one));
    Floats p = Floats::all(1.061405429f);
    p = fma(p, t, Floats::all(-1.453152027f));
    p = fma(p, t, Floats::all(1.421413741f));
    p = fma(p, t, Floats::all(-0.284496736f));
    p = fma(p, t, Floats::all(0.254829592f));
    // What erf lacks of 1, halved: Φ(-|x|).
    const Floats tail = p * t * exp(Floats::all(0.0f) - z * z) * Floats::all(0.5f);
    // max(x, 0) - |x| Φ(-|x|) is right on both sides.
    (max(a, Floats::all(0.0f)) - magnitude * tail).store(out + i);
  }
}

void survey_block(const float* x, float scale, float* top, float* total) {
  Floats tops = Floats::load(x);
  for (int i = kLanes; i < kSurveyBlock; i += kLanes) tops = max(Floats::load(x + i), tops);
  *top = largest(tops);
  if (!total) return;
  const Floats from = Floats::all(*top < kLowest ? kLowest : *top), scales = Floats::all(scale);
  Floats sums = Floats::all(0);
  for (int i = 0; i < kSurveyBlock; i += kLanes) sums = sums + exp((Floats::load(x + i) - from) * scales);
  *total = sum(sums);
}

void survey(const float* x, int64_t count, float scale, float* largest, float* sums) {
  int64_t block = 0;
  for (; (block + 1) * kSurveyBlock <= count; ++block) {
    survey_block(x + block * kSurveyBlock, scale, largest + block, sums ? sums + block : nullptr);
  }
  if (const int64_t left = count - block * kSurveyBlock; left > 0) {
    float rest[kSurveyBlock];
    for (int i = 0; i < kSurveyBlock; ++i) rest[i] = i < left ? x[block * kSurveyBlock + i] : -__builtin_inff();
    survey_block(rest, scale, largest + block, sums ? sums + block : nullptr);
  }
}

float exp_sum(const float* x, int64_t count, float least, float top, float scale) {
  const Floats leasts = Floats::all(least), tops = Floats::all(top), scales = Floats::all(scale);
  Floats sums = Floats::all(0);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats a = Floats::load(x + i);
    sums = sums + where_at_least(a, leasts, exp((a - tops) * scales));
  }
  float total = sum(sums);
  for (; i < count; ++i) total += x[i] >= least ? __builtin_expf((x[i] - top) * scale) : 0;
  return total;
}

// ---- position -------------------------------------------------------------------------------------------------------

// Left to the compiler, which knows how to take every second number of a register.
template <bool kInterleaved>
void turn(const HeadTurn& turn, float* head) {
  const int pairs = turn.pairs, step = kInterleaved ? 2 : 1, partner = kInterleaved ? 1 : pairs;
  const float* __restrict cosines = turn.cosines;
  const float* __restrict sines = turn.sines;
  const float scale = turn.scale;
  float* __restrict firsts = head;
  float* __restrict seconds = head + partner;  // never one of the firsts
  for (int i = 0; i < pairs; ++i) {
    const float cosine = cosines[i] * scale, sine = sines[i] * scale;
    const float a = firsts[i * step], b = seconds[i * step];
    firsts[i * step] = a * cosine - b * sine;
    seconds[i * step] = a * sine + b * cosine;
  }
  for (int d = 2 * pairs; d < turn.head_dim; ++d) head[d] *= scale;
}

// ---- the cache ------------------------------------------------------------------------------------------------------

constexpr int kStrip = 64;  // floats of a key or value that are converted before they are put in their places

// Converts x[count], `kStrip` at a time, and calls put(i, converted value of x[i]).
template <typename Element, typename Put>
void convert(const float* x, int count, float factor, const Put& put) {
  alignas(64) float padded[kStrip] = {};
  alignas(64) Element converted[kStrip];
  for (int at = 0; at < count; at += kStrip) {
    const int length = count - at < kStrip ? count - at : kStrip;
    std::memcpy(padded, x + at, sizeof(float) * static_cast<size_t>(length));
    for (int i = 0; i < kStrip; i += kLanes) (Floats::load(padded + i) * Floats::all(factor)).store(converted + i);
    for (int i = 0; i < length; ++i) put(at + i, converted[i]);
  }
}

template <typename Element>
void store(const KvSlot& slot) {
  auto* keys = reinterpret_cast<Element*>(slot.keys);
  auto* values = reinterpret_cast<Element*>(slot.values) + slot.token * slot.value_stride;
  float key_factor = 1, value_factor = 1;
  if constexpr (std::is_same_v<Element, int8_t>) {
    // The scale makes the largest magnitude 127; what is all zeros, or next to it, is stored as zeros.
    const auto factor = [&](const float* x, int8_t* codes, int count) {
      constexpr float kSmallest = 0x1p-120f, kLargest = 0x1p120f;
      float largest = 0;
      for (int d = 0; d < slot.head_dim; ++d) largest = __builtin_fmaxf(largest, __builtin_fabsf(x[d]));
      largest = __builtin_fminf(largest, kLargest);
      const float scale = largest < kSmallest ? 0 : largest / 127;
      reinterpret_cast<float*>(codes + count)[slot.token] = scale;
      return scale == 0 ? 0 : 1 / scale;
    };
    key_factor = factor(slot.key, keys, slot.head_dim * kPageTokens);
    value_factor = factor(slot.value, reinterpret_cast<int8_t*>(slot.values), slot.value_stride * kPageTokens);
  }
  convert<Element>(slot.key, slot.head_dim, key_factor,
                   [&](int d, Element code) { keys[d * kPageTokens + slot.token] = code; });
  convert<Element>(slot.value, slot.head_dim, value_factor, [&](int d, Element code) { values[d] = code; });
}

constexpr VectorKernels kKernels = {
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add,
    .swiglu = swiglu,
    .gelu = gelu,
    .exact_gelu = exact_gelu,
    .turn_halves = turn<false>,
    .turn_interleaved = turn<true>,
    .store_half = store<uint16_t>,
    .store_float = store<float>,
    .store_codes = store<int8_t>,
    .survey = survey,
    .exp_sum = exp_sum,
};

}  // namespace
}  // namespace fairlead
