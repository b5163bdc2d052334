// The softmax of attention over simd.h: scores of one query against a stretch of tokens become weights.
//
// Internal linkage, as simd.h.
#pragma once

#include "isa/attention.h"
#include "isa/simd.h"

namespace fairlead {
namespace {

constexpr int kLanes = Floats::kLanes;
static_assert(kPageTokens % kLanes == 0);

// Tokens whose scores are held before their softmax is taken.
constexpr int kStretch = 256;

constexpr float kHidden = -1e30f;  // lower than any score: these are kept within ±kMostScore
constexpr float kMostScore = 1e29f;

// The scales of a stretch's codes; keys and values that are no codes have none.
struct Scales {
  alignas(64) float keys[kStretch];
  alignas(64) float values[kStretch];
};

// Scores that overflowed, made comparable again. What is not a number stays so.
inline void bound(float* scores, int count) {
  for (int t = 0; t < count; ++t) {
    if (scores[t] > kMostScore) scores[t] = kMostScore;
    if (scores[t] < -kMostScore) scores[t] = -kMostScore;
  }
}

constexpr int kPageVectors = kPageTokens / kLanes;

// Of the first `seen` scores, which are multiplied with their keys' scales before. Whole pages are read, and what lies
// behind `seen` in the last one becomes kHidden.
template <bool kScaled>
float largest_score(float* scores, int seen, const Scales& scales) {
  if constexpr (kScaled) {
    for (int t = 0; t < seen; t += kLanes) {
      (Floats::load(scores + t) * Floats::load(scales.keys + t)).store(scores + t);
    }
  }
  for (int t = seen; t % kPageTokens != 0; ++t) scores[t] = kHidden;
  Floats tops[kPageVectors];
  for (Floats& top : tops) top = Floats::all(kHidden);
  for (int t = 0; t < seen; t += kPageTokens) {
    for (int j = 0; j < kPageVectors; ++j) tops[j] = max(tops[j], Floats::load(scores + t + j * kLanes));
  }
  for (int j = 1; j < kPageVectors; ++j) tops[0] = max(tops[0], tops[j]);
  return largest(tops[0]);
}

// A page's weights.
struct Weights {
  Floats of[kPageVectors];
};

// The weights of a query's part of a stretch, relative to its maximum: `use` is called with each page's first token and
// its weights, zeros behind `seen`. Returns their sum; what `use` gets is multiplied with the values' scales.
template <bool kScaled, typename Use>
float weigh(const float* scores, int seen, float maximum, const Scales& scales, const Use& use) {
  const Floats top = Floats::all(maximum);
  Floats sums[kPageVectors];
  for (Floats& sum : sums) sum = Floats::all(0);
  const auto weigh_page = [&](int t, const auto& hide) __attribute__((always_inline)) {
    Weights weights;
    for (int j = 0; j < kPageVectors; ++j) {
      weights.of[j] = exp_within(max(Floats::load(scores + t + j * kLanes) - top, Floats::all(kLeastExponent)));
    }
    hide(weights);
    for (int j = 0; j < kPageVectors; ++j) {
      sums[j] = sums[j] + weights.of[j];
      if constexpr (kScaled) weights.of[j] = weights.of[j] * Floats::load(scales.values + t + j * kLanes);
    }
    use(t, weights);
  };
  const int whole = seen / kPageTokens * kPageTokens;
  for (int t = 0; t < whole; t += kPageTokens) weigh_page(t, [](Weights&) {});
  if (whole < seen) {
    weigh_page(whole, [&](Weights& weights) {  // exp never gives zero itself
      float page[kPageTokens];
      for (int j = 0; j < kPageVectors; ++j) weights.of[j].store(page + j * kLanes);
      for (int t = seen - whole; t < kPageTokens; ++t) page[t] = 0;
      for (int j = 0; j < kPageVectors; ++j) weights.of[j] = Floats::load(page + j * kLanes);
    });
  }
  for (int j = 1; j < kPageVectors; ++j) sums[0] = sums[0] + sums[j];
  return sum(sums[0]);
}

// eˣ of one number, as that of many.
inline float exp_of_one(float x) {
  float one[kLanes];
  exp(Floats::all(x)).store(one);
  return one[0];
}

// Makes weights of a query's scores, and gives what its earlier sums and total decay by. Queries that see none of the
// stretch, having done with their context before, keep what they have.
template <bool kScaled, typename Use>
float soften(float* scores, int seen, float& maximum, float& total, const Scales& scales, const Use& use) {
  if (seen <= 0) return 1;
  float top = largest_score<kScaled>(scores, seen, scales);
  if (!(top <= kMostScore && top >= -kMostScore)) {
    bound(scores, seen);
    top = top > 0 ? kMostScore : -kMostScore;
  }
  const float before = maximum;
  if (top > maximum) maximum = top;
  const float decay = before == kHidden ? 0 : exp_of_one(before - maximum);
  total = total * decay + weigh<kScaled>(scores, seen, maximum, scales, use);
  return decay;
}

inline void decay_sums(float* sums, int stride, float decay) {
  for (int d = 0; d < stride; d += kLanes) (Floats::load(sums + d) * Floats::all(decay)).store(sums + d);
}

}  // namespace
}  // namespace fairlead
