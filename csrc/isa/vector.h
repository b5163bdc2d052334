// Everything a step computes beside its matrix products, on rows of floats; one table for each instruction set.
//
// Rows are padded to kRowPad floats, and the padding holds zeros before and after each of these.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead {

inline constexpr int kRowPad = 16;

// Tokens in a page of the KV cache.
inline constexpr int kPageTokens = 32;

// Logits that are surveyed together.
inline constexpr int kSurveyBlock = 128;

// How a page of one head holds its keys, [head_dim][kPageTokens], and its values, [kPageTokens][value_stride].
// In 8 bits, a key or value of a token is int8 codes times a scale, and each half is followed by its tokens' scales,
// float[kPageTokens].

// One token's key and value of one head, and its place.
struct KvSlot {
  const float* key;    // [head_dim]
  const float* value;  // [head_dim]
  int head_dim;
  int value_stride;  // head_dim padded to kRowPad
  std::byte* keys;   // of the page
  std::byte* values;
  int token;  // in the page
};

struct HeadTurn {
  const float* cosines;
  const float* sines;
  int pairs;
  int head_dim;
  float scale;
};

struct VectorKernels {
  // out = x / sqrt(mean(x²) + eps) · weight                    (Zhang and Sennrich, 2019)
  void (*rms_norm)(float* out, const float* x, const float* weight, int width, float eps);
  // out = (x - mean(x)) / sqrt(variance(x) + eps) · weight + bias       (Ba et al., 2016)
  void (*layer_norm)(float* out, const float* x, const float* weight, const float* bias, int width, float eps);
  void (*add)(float* out, const float* a, const float* b, int width);
  // out = gate · sigmoid(gate) · up                            (Shazeer, 2020)
  void (*swiglu)(float* out, const float* gate, const float* up, int width);
  // The tanh form of GELU.                                     (Hendrycks and Gimpel, 2016)
  void (*gelu)(float* out, const float* x, int width);
  // x · Φ(x) itself.
  void (*exact_gelu)(float* out, const float* x, int width);
  // Turns the first dimensions of a head by the angles whose cosines and sines are given, `pairs` of each (Su et al.,
  // 2021), and multiplies all `head_dim` with `scale`: dimension i turns with i + pairs, or 2i with 2i + 1.
  void (*turn_halves)(const HeadTurn& turn, float* head);
  void (*turn_interleaved)(const HeadTurn& turn, float* head);
  // Into the cache, for each of its types.
  void (*store_half)(const KvSlot& slot);
  void (*store_float)(const KvSlot& slot);
  void (*store_codes)(const KvSlot& slot);
  // Of each kSurveyBlock of `count` floats, the last block perhaps shorter: the largest, and Σ exp(scale · (x -
  // largest)) where `sums` is not null. What is not a number counts for nothing.
  void (*survey)(const float* x, int64_t count, float scale, float* largest, float* sums);
  // Σ exp(scale · (x - top)) over those of `count` floats, any count, that are at least `least`.
  float (*exp_sum)(const float* x, int64_t count, float least, float top, float scale);
};

extern const VectorKernels kVectorPortable;
extern const VectorKernels kVectorAvx2;
extern const VectorKernels kVectorAvx512;

// Those of the active instruction set.
const VectorKernels& vector_kernels();

}  // namespace fairlead
