// Attention in fp32 vectors, written once over simd.h and compiled for each instruction set by the attention_*.cpp
// files.
//
// Both of its products, queries by keys and weights by values, are sums of numbers times rows: a page holds either
// operand in the order in which these rows are read.
#pragma once

#include <type_traits>

#include "isa/softmax.h"

namespace fairlead {
namespace {

// Queries whose sums, two vectors each, the registers hold.
constexpr int kTogether = kLanes == 16 ? 8 : kLanes == 8 ? 6 : 4;

// out[query][columns] = (or +=) Σ factors[query][k] · rows[k][columns], for k below `depth`.
template <typename Element>
struct RowSums {
  const float* factors;
  int factor_stride;
  const Element* rows;
  int row_stride;
  int depth;
  float* out;
  int out_stride;
  bool add;
  // What will be read next, laid out as `rows`: pages lie anywhere, which the processor cannot foresee.
  const Element* next;
};

template <int kQueries, int kVectors, typename Element>
void add_rows(const RowSums<Element>& task, int column) {
  constexpr int kLine = 64 / sizeof(Element);
  float* out = task.out + column;
  Floats sums[kQueries][kVectors];
  const float* factors[kQueries];
  for (int i = 0; i < kQueries; ++i) {
    factors[i] = task.factors + i * task.factor_stride;
    for (int j = 0; j < kVectors; ++j) {
      sums[i][j] = task.add ? Floats::load(out + i * task.out_stride + j * kLanes) : Floats::all(0);
    }
  }
  const Element* rows = task.rows + column;
  const Element* next = task.next + column;
  const int64_t stride = task.row_stride, depth = task.depth;
  for (int64_t k = 0; k < depth; ++k) {
    if constexpr (!std::is_same_v<Element, float>) {
      for (int e = 0; e < kVectors * kLanes; e += kLine) __builtin_prefetch(next + e);
      next += stride;
    }
    Floats row[kVectors];
    for (int j = 0; j < kVectors; ++j) row[j] = Floats::load(rows + j * kLanes);
    rows += stride;
    for (int i = 0; i < kQueries; ++i) {
      const Floats factor = Floats::all(factors[i][k]);
      for (int j = 0; j < kVectors; ++j) sums[i][j] = fma(factor, row[j], sums[i][j]);
    }
  }
  for (int i = 0; i < kQueries; ++i) {
    for (int j = 0; j < kVectors; ++j) sums[i][j].store(out + i * task.out_stride + j * kLanes);
  }
}

// For up to kTogether queries and any number of columns that is a multiple of 16.
template <int kQueries = kTogether, typename Element>
void add_rows(const RowSums<Element>& task, int queries, int columns) {
  if constexpr (kQueries > 1) {
    if (queries < kQueries) return add_rows<kQueries - 1>(task, queries, columns);
  }
  int column = 0;
  for (; column + 2 * kLanes <= columns; column += 2 * kLanes) add_rows<kQueries, 2>(task, column);
  if (column < columns) add_rows<kQueries, 1>(task, column);
}

// The scales behind the codes of a page's keys and values, whose first token is number `at` of the stretch.
inline void gather_scales(Scales& scales, int at, const int8_t* keys, const int8_t* values, const QueryBlock& block) {
  __builtin_memcpy(scales.keys + at, keys + block.head_dim * kPageTokens, sizeof(float) * kPageTokens);
  __builtin_memcpy(scales.values + at, values + block.value_stride * kPageTokens, sizeof(float) * kPageTokens);
}

template <typename Element>
class Attention {
 public:
  Attention(const QueryBlock& block, const Attended& found) : block_(block), found_(found) {
    auto* room = reinterpret_cast<float*>(block.room);
    scores_ = room;
    wide_ = scores_ + block.count * kStretch;
  }

  static size_t room_bytes(int count, int head_dim) {
    return sizeof(float) *
           (static_cast<size_t>(count) * kStretch + static_cast<size_t>(kPageTokens) * (head_dim + kRowPad));
  }

  void run() {
    int end = block_.begin;
    for (int i = 0; i < block_.count; ++i) {
      found_.maximum[i] = kHidden;
      found_.total[i] = 0;
      end = block_.visible[i] > end ? block_.visible[i] : end;
    }
    end_ = end < block_.end ? end : block_.end;
    for (int i = 0; i < block_.count * block_.value_stride; ++i) found_.sums[i] = 0;
    for (int start = block_.begin; start < end_; start += kStretch) {
      start_ = start;
      stop_ = start + kStretch < end_ ? start + kStretch : end_;
      score();
      weigh_scores();
      add_values();
    }
  }

 private:
  static constexpr bool kCodes = std::is_same_v<Element, int8_t>;

  const Element* page(const std::byte* first, int token) const {
    const auto number = static_cast<size_t>(block_.pages[token / kPageTokens]);
    return reinterpret_cast<const Element*>(first + block_.page_bytes * number);
  }
  const Element* keys(int token) const { return page(block_.keys, token); }
  const Element* values(int token) const { return page(block_.values, token); }

  // The keys or values that are read two pages after these; there are two pages ahead of each but the last ones.
  const Element* after_keys(int token) const {
    const int ahead = token + kPagesAhead * kPageTokens;
    return ahead < stop_ ? keys(ahead) : values(start_ + (ahead - stop_) / kPageTokens * kPageTokens);
  }
  const Element* after_values(int token) const {
    const int ahead = token + kPagesAhead * kPageTokens;
    if (ahead < stop_) return values(ahead);
    return ahead < end_ ? keys(ahead) : values(token);
  }

  // Queries in groups, for each of which `task` is run; but for those that do not see the page's first token.
  void run_all(const RowSums<Element>& task, int token, int columns) {
    if (block_.count <= kTogether) return add_rows(task, block_.count, columns);
    RowSums<float> wide{task.factors,    task.factor_stride, widened(task, columns),
                        columns,         task.depth,         task.out,
                        task.out_stride, task.add,           nullptr};
    wide.next = wide.rows;
    for (int first = 0; first < block_.count; first += kTogether) {
      const int left = block_.count - first, queries = left < kTogether ? left : kTogether;
      if (seen_by_any(first, queries) <= token) continue;
      wide.factors = task.factors + first * task.factor_stride;
      wide.out = task.out + first * task.out_stride;
      add_rows(wide, queries, columns);
    }
  }

  int seen_by_any(int first, int queries) const {
    int seen = 0;
    for (int i = first; i < first + queries; ++i) seen = block_.visible[i] > seen ? block_.visible[i] : seen;
    return seen;
  }

  // A page's rows as floats, for many queries.
  const float* widened(const RowSums<Element>& task, int columns) {
    if constexpr (std::is_same_v<Element, float>) {
      return task.rows;
    } else {
      for (int k = 0; k < task.depth; ++k) {
        for (int c = 0; c < columns; c += kLanes) {
          Floats::load(task.rows + k * task.row_stride + c).store(wide_ + k * columns + c);
        }
      }
      return wide_;
    }
  }

  void score() {
    for (int token = start_; token < stop_; token += kPageTokens) {
      run_all({block_.queries, block_.head_dim, keys(token), kPageTokens, block_.head_dim, scores_ + (token - start_),
               kStretch, false, after_keys(token)},
              token, kPageTokens);
    }
  }

  void weigh_scores() {
    if constexpr (kCodes) {
      for (int token = start_; token < stop_; token += kPageTokens) {
        gather_scales(scales_, token - start_, keys(token), values(token), block_);
      }
    }
    for (int i = 0; i < block_.count; ++i) {
      float* scores = scores_ + i * kStretch;
      const int visible = block_.visible[i] < stop_ ? block_.visible[i] : stop_;
      const int seen = visible > start_ ? visible - start_ : 0;
      const float decay =
          soften<kCodes>(scores, seen, found_.maximum[i], found_.total[i], scales_, [&](int t, const Weights& weights) {
            for (int j = 0; j < kPageVectors; ++j) weights.of[j].store(scores + t + j * kLanes);
          });
      for (int t = (seen + kPageTokens - 1) / kPageTokens * kPageTokens; t < stop_ - start_; ++t) scores[t] = 0;
      if (start_ > block_.begin) decay_sums(found_.sums + i * block_.value_stride, block_.value_stride, decay);
    }
  }

  void add_values() {
    for (int token = start_; token < stop_; token += kPageTokens) {
      const int depth = stop_ - token < kPageTokens ? stop_ - token : kPageTokens;
      run_all({scores_ + (token - start_), kStretch, values(token), block_.value_stride, depth, found_.sums,
               block_.value_stride, true, after_values(token)},
              token, block_.value_stride);
    }
  }

  static constexpr int kPagesAhead = 2;

  const QueryBlock& block_;
  const Attended& found_;
  int end_ = 0;               // of what any query sees
  int start_ = 0, stop_ = 0;  // the stretch at hand
  float *scores_, *wide_;
  Scales scales_;
};

template <typename Element>
void attend(const QueryBlock& block, const Attended& found) {
  Attention<Element>(block, found).run();
}

void merge(const Attended& found, const Attended& next, int count, int value_stride) {
  for (int i = 0; i < count; ++i) {
    const float maximum = found.maximum[i] > next.maximum[i] ? found.maximum[i] : next.maximum[i];
    const float decay = exp_of_one(found.maximum[i] - maximum), share = exp_of_one(next.maximum[i] - maximum);
    found.maximum[i] = maximum;
    found.total[i] = found.total[i] * decay + next.total[i] * share;
    float* sums = found.sums + i * value_stride;
    const float* added = next.sums + i * value_stride;
    for (int d = 0; d < value_stride; d += kLanes) {
      fma(Floats::load(sums + d), Floats::all(decay), Floats::load(added + d) * Floats::all(share)).store(sums + d);
    }
  }
}

constexpr AttentionKernels kKernels = {
    .attend_half = attend<uint16_t>,
    .attend_float = attend<float>,
    .attend_codes = attend<int8_t>,
    .merge = merge,
    .room_bytes = Attention<float>::room_bytes,
};

}  // namespace
}  // namespace fairlead
