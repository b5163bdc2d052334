// The kernels of vector.h, written once over simd.h and compiled for each instruction set by the vector_*.cpp files.
#pragma once

#include <cstddef>
#include <cstdint>

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

// Scores of `kQueries` queries against one page: scores[query][token].
template <int kQueries, typename Element>
void score_page(const float* queries, int head_dim, const Element* keys, float (*scores)[kPageTokens]) {
  constexpr int kVectors = kPageTokens / kLanes;
  Floats sums[kQueries][kVectors];
  for (auto& row : sums) {
    for (Floats& s : row) s = Floats::all(0);
  }
  for (int d = 0; d < head_dim; ++d) {
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

template <int kQueries, typename Element>
void attend_some(const QueryBlock& block, int first) {
  const float* queries = block.queries + first * block.head_dim;
  float* out = block.out + first * block.value_stride;
  float maximum[kQueries], total[kQueries], decay[kQueries];
  int longest = 0;
  for (int i = 0; i < kQueries; ++i) {
    maximum[i] = kHidden;
    total[i] = 0;
    if (block.visible[first + i] > longest) longest = block.visible[first + i];
  }
  for (int i = 0; i < kQueries * block.value_stride; ++i) out[i] = 0;

  for (int start = 0; start < longest; start += kPageTokens) {
    const size_t page = block.page_bytes * static_cast<size_t>(block.pages[start / kPageTokens]);
    const auto* keys = reinterpret_cast<const Element*>(block.keys + page);
    const auto* values = reinterpret_cast<const Element*>(block.values + page);
    alignas(64) float scores[kQueries][kPageTokens];
    score_page<kQueries>(queries, block.head_dim, keys, scores);
    for (int i = 0; i < kQueries; ++i) {
      int seen = block.visible[first + i] - start;
      seen = seen < 0 ? 0 : seen > kPageTokens ? kPageTokens : seen;
      if (seen == 0) {  // an earlier query of the block, done with its context
        for (float& s : scores[i]) s = 0;
        decay[i] = 1;
        continue;
      }
      decay[i] = soften(scores[i], seen, maximum[i], total[i]);
    }
    const int tokens = longest - start < kPageTokens ? longest - start : kPageTokens;
    add_page<kQueries>(out, block.value_stride, decay, scores, values, tokens);
  }
  for (int i = 0; i < kQueries; ++i) {
    const Floats share = Floats::all(1.0f / total[i]);
    for (int d = 0; d < block.value_stride; d += kLanes) {
      (Floats::load(out + i * block.value_stride + d) * share).store(out + i * block.value_stride + d);
    }
  }
}

// As many queries at once as the registers hold sums for: 2 vectors of 16 lanes, 4 of 8 or 8 of 4 for each.
template <typename Element>
void attend(const QueryBlock& block) {
  int first = 0;
  if constexpr (kLanes == 16) {
    for (; block.count - first >= 8; first += 8) attend_some<8, Element>(block, first);
    if (block.count - first >= 4) {
      attend_some<4, Element>(block, first);
      first += 4;
    }
    if (block.count - first == 3) return attend_some<3, Element>(block, first);
  }
  if constexpr (kLanes >= 8) {
    for (; block.count - first >= 2; first += 2) attend_some<2, Element>(block, first);
  }
  for (; first < block.count; ++first) attend_some<1, Element>(block, first);
}

constexpr VectorKernels kKernels = {
    rms_norm, layer_norm, add, swiglu, gelu, attend<uint16_t>, attend<float>, survey, exp_sum,
};

}  // namespace
}  // namespace fairlead
