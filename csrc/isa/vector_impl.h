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
static_assert(kRowPad % kLanes == 0 && kPageTokens % kLanes == 0);

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

// ---- attention ------------------------------------------------------------------------------------------------------

constexpr float kHidden = -1e30f;  // the score of a token that a query does not see

// Scores of `kQueries` queries against one page: scores[query][token]. On the way the keys and values of `next`, which
// lie one behind the other, are called from memory: pages lie anywhere, which the processor cannot foresee.
template <int kQueries, typename Element>
void score_page(const float* queries, int head_dim, const Element* keys, const Element* next,
                float (*scores)[kPageTokens]) {
  constexpr int kAhead = 2 * kPageTokens;  // elements that are called for each dimension
  constexpr int kVectors = kPageTokens / kLanes;
  Floats sums[kQueries][kVectors];
  for (auto& row : sums) {
    for (Floats& s : row) s = Floats::all(0);
  }
  for (int d = 0; d < head_dim; ++d) {
    constexpr int kLine = 64 / sizeof(Element);
    for (int i = 0; i < kAhead; i += kLine) __builtin_prefetch(next + d * kAhead + i);
    Floats key[kVectors];
    for (int j = 0; j < kVectors; ++j) key[j] = Floats::load(keys + d * kPageTokens + j * kLanes);
    for (int i = 0; i < kQueries; ++i) {
      const Floats q = Floats::all(queries[i * head_dim + d]);
      for (int j = 0; j < kVectors; ++j) sums[i][j] = fma(q, key[j], sums[i][j]);
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int j = 0; j < kVectors; ++j) sums[i][j].store(scores[i] + j * kLanes);
  }
}

// out[query] = out[query] · decay[query] + Σ weight[query][token] · value[token]
template <int kQueries, typename Element>
void add_page(float* out, int stride, const float* decay, const float (*weights)[kPageTokens], const Element* values,
              int tokens) {
  constexpr int kVectors = kQueries > 4 ? 2 : kQueries > 2 ? 4 : 8;
  for (int d = 0; d < stride; d += kVectors * kLanes) {
    const int vectors = (stride - d) / kLanes < kVectors ? (stride - d) / kLanes : kVectors;
    Floats sums[kQueries][kVectors];
    const auto run = [&](int n) {
      for (int i = 0; i < kQueries; ++i) {
        for (int j = 0; j < n; ++j) {
          sums[i][j] = Floats::load(out + i * stride + d + j * kLanes) * Floats::all(decay[i]);
        }
      }
      for (int t = 0; t < tokens; ++t) {
        for (int j = 0; j < n; ++j) {
          const Floats value = Floats::load(values + t * stride + d + j * kLanes);
          for (int i = 0; i < kQueries; ++i) sums[i][j] = fma(Floats::all(weights[i][t]), value, sums[i][j]);
        }
      }
      for (int i = 0; i < kQueries; ++i) {
        for (int j = 0; j < n; ++j) sums[i][j].store(out + i * stride + d + j * kLanes);
      }
    };
    // The whole blocks have a constant count, which keeps the sums in registers.
    vectors == kVectors ? run(kVectors) : run(vectors);
  }
}

// Turns one query's scores of a page into weights relative to its running maximum; returns what its earlier sum decays
// by.
float soften(float* scores, int seen, float& maximum, float& total) {
  for (int t = seen; t < kPageTokens; ++t) scores[t] = kHidden;
  Floats top = Floats::all(maximum);
  for (int t = 0; t < kPageTokens; t += kLanes) top = max(top, Floats::load(scores + t));
  const float new_maximum = largest(top);
  Floats added = Floats::all(0);
  for (int t = 0; t < kPageTokens; t += kLanes) {
    const Floats weight = exp(Floats::load(scores + t) - Floats::all(new_maximum));
    weight.store(scores + t);
    added = added + weight;
  }
  for (int t = seen; t < kPageTokens; ++t) {
    scores[t] = 0;  // exp never gives zero itself
  }
  float decay = 0;
  if (maximum > kHidden) {
    float one[kLanes];
    exp(Floats::all(maximum - new_maximum)).store(one);
    decay = one[0];
  }
  maximum = new_maximum;
  total = total * decay + sum(added);
  return decay;
}

// The scales behind the codes of a page's keys or values.
const float* scales_behind(const int8_t* codes, int count) { return reinterpret_cast<const float*>(codes + count); }

void multiply_page(float* scores, const float* factors) {
  for (int t = 0; t < kPageTokens; t += kLanes)
    (Floats::load(scores + t) * Floats::load(factors + t)).store(scores + t);
}

template <int kQueries, typename Element>
void attend_some(const QueryBlock& block, const Attended& found, int first) {
  constexpr bool kCodes = std::is_same_v<Element, int8_t>;
  const float* queries = block.queries + first * block.head_dim;
  float* sums = found.sums + first * block.value_stride;
  float maximum[kQueries], total[kQueries], decay[kQueries];
  int end = block.begin;
  for (int i = 0; i < kQueries; ++i) {
    maximum[i] = kHidden;
    total[i] = 0;
    if (block.visible[first + i] > end) end = block.visible[first + i];
  }
  if (end > block.end) end = block.end;
  for (int i = 0; i < kQueries * block.value_stride; ++i) sums[i] = 0;

  for (int start = block.begin; start < end; start += kPageTokens) {
    const size_t page = block.page_bytes * static_cast<size_t>(block.pages[start / kPageTokens]);
    const auto* keys = reinterpret_cast<const Element*>(block.keys + page);
    const auto* values = reinterpret_cast<const Element*>(block.values + page);
    const int following = start + kPageTokens < end ? start + kPageTokens : start;
    const size_t next = block.page_bytes * static_cast<size_t>(block.pages[following / kPageTokens]);
    alignas(64) float scores[kQueries][kPageTokens];
    score_page<kQueries>(queries, block.head_dim, keys, reinterpret_cast<const Element*>(block.keys + next), scores);
    const int tokens = end - start < kPageTokens ? end - start : kPageTokens;
    for (int i = 0; i < kQueries; ++i) {
      if constexpr (kCodes) multiply_page(scores[i], scales_behind(keys, block.head_dim * kPageTokens));
      const int visible = block.visible[first + i] - start;
      const int seen = visible < tokens ? visible : tokens;
      if (seen <= 0) {  // an earlier query of the block, done with its context
        for (float& s : scores[i]) s = 0;
        decay[i] = 1;
        continue;
      }
      decay[i] = soften(scores[i], seen, maximum[i], total[i]);
      if constexpr (kCodes) multiply_page(scores[i], scales_behind(values, block.value_stride * kPageTokens));
    }
    add_page<kQueries>(sums, block.value_stride, decay, scores, values, tokens);
  }
  for (int i = 0; i < kQueries; ++i) {
    found.maximum[first + i] = maximum[i];
    found.total[first + i] = total[i];
  }
}

// As many queries at once as the registers hold sums for: 2 vectors of 16 lanes, 4 of 8 or 8 of 4 for each.
template <typename Element>
void attend(const QueryBlock& block, const Attended& found) {
  int first = 0;
  if constexpr (kLanes == 16) {
    for (; block.count - first >= 8; first += 8) attend_some<8, Element>(block, found, first);
    if (block.count - first >= 4) {
      attend_some<4, Element>(block, found, first);
      first += 4;
    }
    if (block.count - first == 3) return attend_some<3, Element>(block, found, first);
  }
  if constexpr (kLanes >= 8) {
    for (; block.count - first >= 2; first += 2) attend_some<2, Element>(block, found, first);
  }
  for (; first < block.count; ++first) attend_some<1, Element>(block, found, first);
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
    .attend_half = attend<uint16_t>,
    .attend_float = attend<float>,
    .attend_codes = attend<int8_t>,
    .store_half = store<uint16_t>,
    .store_float = store<float>,
    .store_codes = store<int8_t>,
    .survey = survey,
    .exp_sum = exp_sum,
};

}  // namespace
}  // namespace fairlead
