// Attention over the pages of the KV cache, for which vector.h says how they hold keys and values; one table for each
// instruction set, and for matrix tiles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa/vector.h"

namespace fairlead {

// Queries of one sequence against some of the keys and values of one head.
struct QueryBlock {
  const float* queries;  // [count][head_dim], scaled already
  int count;
  const int32_t* visible;  // [count] tokens that each query sees
  int begin, end;          // the tokens attended to; `begin` opens a page
  int head_dim;
  int value_stride;
  const int32_t* pages;
  const std::byte* keys;    // this head's keys in page 0
  const std::byte* values;  // this head's values in page 0
  size_t page_bytes;        // from one page to the next
  std::byte* room;          // of AttentionKernels::room_bytes, on a cache line
};

// Queries are taken in strips of this many: what they find has room for whole strips.
inline constexpr int kStripQueries = 32;

// A softmax on its way: what attending to some tokens gives, to be merged with what others give and then divided.
struct Attended {
  float* sums;     // [count][value_stride] Σ exp(score - maximum) · value
  float* maximum;  // [count] of the scores
  float* total;    // [count] Σ exp(score - maximum)
};

struct AttentionKernels {
  // For each type of cache. Scores come first, some hundred tokens at a time, then their softmax with a running maximum
  // (Milakov and Gimelshein, 2018), then the sum of values. What a query finds depends on no other query.
  void (*attend_half)(const QueryBlock& block, const Attended& found);
  void (*attend_float)(const QueryBlock& block, const Attended& found);
  void (*attend_codes)(const QueryBlock& block, const Attended& found);
  // Adds what was found in the next part of a context.
  void (*merge)(const Attended& found, const Attended& next, int count, int value_stride);
  size_t (*room_bytes)(int count, int head_dim);
};

extern const AttentionKernels kAttentionPortable, kAttentionAvx2, kAttentionAvx512, kAttentionAmx,
    kAttentionAmxEmulated;

// Those of the active instruction set: the quickest for few queries and, where it has tiles, for many.
const AttentionKernels& attention_kernels(bool many);

}  // namespace fairlead
