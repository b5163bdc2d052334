// Attention of many queries in matrix tiles of bf16, nearly as exact as fp32.
//
// Each factor is split into two bf16, what its first 8 bits hold and what is left over: halves are the sum of the two
// exactly, codes of 8 bits need one, queries and weights keep 16 bits. Three products, high by low, high by high and
// low by high, then leave an error of some 2^-16 of the largest factors' product, a hundredth of what bf16 alone would.
//
// Keys, values and queries are split once for all that meet them, and lie in the order in which tiles read them.
// Included by attention_amx.cpp, and by attention_amx_emulated.cpp with functions in place of the tile intrinsics.
// Internal linkage, as simd.h.
#pragma once

#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "isa/attention_impl.h"

namespace fairlead {
namespace {

constexpr int kTileRows = 16;  // of 64 bytes
constexpr int kTileBytes = kTileRows * 64;
constexpr int kDepth = 32;  // factors of a sum in one tile: two in each of 16 pairs
static_assert(kDepth == kPageTokens && kStripQueries == 2 * kTileRows);

// All tiles are whole. In read-only memory: a configuration built on the stack may lie there unwritten when it is
// loaded, since compilers do not see that the instruction reads it.
struct alignas(64) WholeTiles {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {kTileRows, kTileRows, kTileRows, kTileRows, kTileRows, kTileRows, kTileRows, kTileRows};
};
static constexpr WholeTiles kWholeTiles;

// The same holds for all that tiles load and store.
inline void memory_barrier() { __asm__ volatile("" ::: "memory"); }

// Numbers j and j + 16 of a chunk of kDepth side by side, their first 8 bits, and in another tile the rest.
template <bool kLow>
inline void split(__m512 first, __m512 second, std::byte* high, std::byte* low) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  const auto pair = [&](__m512 a, __m512 b) {  // (b & upper) | (a >> 16)
    return _mm512_ternarylogic_epi32(_mm512_castps_si512(b), upper, _mm512_srli_epi32(_mm512_castps_si512(a), 16),
                                     0xea);
  };
  _mm512_store_si512(high, pair(first, second));
  if constexpr (kLow) {
    const auto rest = [&](__m512 a) {
      return _mm512_sub_ps(a, _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), upper)));
    };
    _mm512_store_si512(low, pair(rest(first), rest(second)));
  }
}

// out[rows of A][columns of B] (+)= A · B for `Rows` and `Columns` tiles. A chunk of A is its high tile and its low
// one, a chunk of B likewise or, where `kLow` does not hold, a single tile.
struct TileSum {
  const std::byte *a, *b;
  int64_t next_rows, next_columns;  // bytes to the second tile of rows of A, of columns of B
  int chunks;
  float* out;
  int64_t stride;  // floats
  bool add;
};

// After each chunk comes `between`, whose vectors are computed beside the tiles.
template <int Rows, int Columns, bool kLow, typename Between>
void add_tiles(const TileSum& task, const Between& between) {
  float* lower = task.out + kTileRows * task.stride;
  const int64_t stride = task.stride * static_cast<int64_t>(sizeof(float));
  memory_barrier();
  if (task.add) {
    _tile_loadd(0, task.out, stride);
    if constexpr (Columns == 2) _tile_loadd(1, task.out + kTileRows, stride);
    if constexpr (Rows == 2) _tile_loadd(2, lower, stride);
    if constexpr (Rows == 2 && Columns == 2) _tile_loadd(3, lower + kTileRows, stride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const auto load_rows = [&](const std::byte* a) {
    _tile_loadd(4, a, 64);
    if constexpr (Rows == 2) _tile_loadd(5, a + task.next_rows, 64);
  };
  const auto load_columns = [&](const std::byte* b) {
    _tile_loadd(6, b, 64);
    if constexpr (Columns == 2) _tile_loadd(7, b + task.next_columns, 64);
  };
  const auto multiply = [] {
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (Columns == 2) _tile_dpbf16ps(1, 4, 7);
    if constexpr (Rows == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (Rows == 2 && Columns == 2) _tile_dpbf16ps(3, 5, 7);
  };
  const std::byte *a = task.a, *b = task.b;
  for (int chunk = 0; chunk < task.chunks; ++chunk) {
    load_rows(a);
    if constexpr (kLow) {
      load_columns(b + kTileBytes);
      multiply();
    }
    load_columns(b);
    multiply();
    load_rows(a + kTileBytes);
    multiply();
    a += 2 * kTileBytes;
    b += (kLow ? 2 : 1) * kTileBytes;
    between();
  }
  _tile_stored(0, task.out, stride);
  if constexpr (Columns == 2) _tile_stored(1, task.out + kTileRows, stride);
  if constexpr (Rows == 2) _tile_stored(2, lower, stride);
  if constexpr (Rows == 2 && Columns == 2) _tile_stored(3, lower + kTileRows, stride);
  memory_barrier();
}

// For any number of columns that is a multiple of 16; those after the first two tiles lie `next_columns` further each.
template <int Rows, bool kLow, typename Between>
void add_tiles(TileSum task, int columns, const Between& between) {
  int column = 0;
  for (; column + 2 * kTileRows <= columns; column += 2 * kTileRows) {
    add_tiles<Rows, 2, kLow>(task, between);
    task.b += 2 * task.next_columns;
    task.out += 2 * kTileRows;
  }
  if (column < columns) add_tiles<Rows, 1, kLow>(task, between);
}

template <typename Element>
class TileAttention {
 public:
  TileAttention(const QueryBlock& block, const Attended& found)
      : block_(block), found_(found), room_(block.room, block.count, block.head_dim) {}

  static size_t room_bytes(int count, int head_dim) { return Room(nullptr, count, head_dim).bytes; }

  void run() {
    int end = block_.begin;
    for (int i = 0; i < block_.count; ++i) {
      found_.maximum[i] = kHidden;
      found_.total[i] = 0;
      end = block_.visible[i] > end ? block_.visible[i] : end;
    }
    end_ = end < block_.end ? end : block_.end;
    if (end_ == block_.begin) {
      for (int i = 0; i < block_.count * block_.value_stride; ++i) found_.sums[i] = 0;
      return;
    }
    _tile_loadconfig(&kWholeTiles);
    split_queries();
    for (int start = block_.begin; start < end_; start += kStretch) {
      start_ = start;
      stop_ = start + kStretch < end_ ? start + kStretch : end_;
      split_keys_and_values();
      attend_to_stretch();
    }
    _tile_release();
  }

 private:
  static constexpr bool kCodes = std::is_same_v<Element, int8_t>;
  static constexpr bool kLow = !kCodes;
  static constexpr int kParts = kLow ? 2 : 1;
  static constexpr int kPages = kStretch / kPageTokens;

  static int chunks_of(int width) { return (width + kDepth - 1) / kDepth; }

  struct Room {
    Room(std::byte* first, int count, int head_dim) {
      const int strips = (count + kStripQueries - 1) / kStripQueries;
      const size_t chunks = chunks_of(head_dim);
      std::byte* at = first;
      const auto take = [&](size_t tiles) { return std::exchange(at, at + tiles * kTileBytes); };
      queries = take(2 * chunks * 2 * strips);
      keys = take(2 * chunks * (kStretch / kTileRows));
      values = take(2 * kPages * (2 * chunks));
      for (int parity = 0; parity < 2; ++parity) {
        weights[parity] = take(2 * kPages * 2);
        scores[parity] = reinterpret_cast<float*>(take(sizeof(float) * kStretch * kStripQueries / kTileBytes));
      }
      bytes = static_cast<size_t>(at - first);
    }

    std::byte* queries;  // [tile of rows][chunk of dimensions][high, low]
    std::byte* keys;     // [tile of tokens][chunk of dimensions][parts]
    std::byte* values;   // [tile of dimensions][page][parts]
    // Of a strip and the next one.
    std::byte* weights[2];  // [tile of rows][page][high, low]
    float* scores[2];       // [rows][kStretch]
    size_t bytes;
  };

  int chunks() const { return chunks_of(block_.head_dim); }

  // Rows past the last are of no account, but dimensions past the last are zeros.
  void split_queries() {
    const int width = block_.head_dim;
    for (int i = 0; i < block_.count; ++i) {
      std::byte* row = room_.queries + i / kTileRows * chunks() * 2 * kTileBytes + i % kTileRows * 64;
      for (int d = 0; d < width; d += kDepth, row += 2 * kTileBytes) {
        const float* query = block_.queries + i * width + d;
        const auto some = [&](int from) {
          const int left = width - d - from;
          const int count = left < 0 ? 0 : left < 16 ? left : 16;
          return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), query + from);
        };
        split<true>(some(0), some(16), row, row + kTileBytes);
      }
    }
  }

  // Rows k of Element[depth][columns] as chunks of tiles; those past `depth` are zeros.
  static void split_rows(const Element* rows, int stride, int depth, int columns, std::byte* to, int64_t next_column) {
    for (int pair = 0; pair < kDepth / 2; ++pair, to += 64) {
      const Element* first = rows + pair * stride;
      const Element* second = first + kDepth / 2 * stride;
      std::byte* tile = to;
      for (int c = 0; c < columns; c += kTileRows, tile += next_column) {
        const __m512 a = pair < depth ? Floats::load(first + c).v : _mm512_setzero_ps();
        const __m512 b = pair + kDepth / 2 < depth ? Floats::load(second + c).v : _mm512_setzero_ps();
        split<kLow>(a, b, tile, tile + kTileBytes);
      }
    }
  }

  void split_keys_and_values() {
    const int64_t of_tokens = chunks() * kParts * kTileBytes, of_dimensions = kPages * kParts * kTileBytes;
    for (int token = start_; token < stop_; token += kPageTokens) {
      const size_t page = block_.page_bytes * static_cast<size_t>(block_.pages[token / kPageTokens]);
      const auto* keys = reinterpret_cast<const Element*>(block_.keys + page);
      const auto* values = reinterpret_cast<const Element*>(block_.values + page);
      const int number = (token - start_) / kPageTokens;
      for (int chunk = 0; chunk < chunks(); ++chunk) {
        split_rows(keys + chunk * kDepth * kPageTokens, kPageTokens, block_.head_dim - chunk * kDepth, kPageTokens,
                   room_.keys + 2 * number * of_tokens + chunk * kParts * kTileBytes, of_tokens);
      }
      split_rows(values, block_.value_stride, stop_ - token, block_.value_stride,
                 room_.values + number * kParts * kTileBytes, of_dimensions);
      if constexpr (kCodes) gather_scales(scales_, token - start_, keys, values, block_);
    }
  }

  // Some queries side by side, at first without what they see.
  struct Strip {
    int first = 0, count = 0;
    int pages = 0;    // that any of them sees
    int weighed = 0;  // queries
    std::byte* weights = nullptr;
    float* scores = nullptr;
  };

  Strip strip(int number) const {
    Strip s;
    s.first = number * kStripQueries;
    const int left = block_.count - s.first;
    s.count = left < 0 ? 0 : left < kStripQueries ? left : kStripQueries;
    int stop = start_;
    for (int i = s.first; i < s.first + s.count; ++i) stop = block_.visible[i] > stop ? block_.visible[i] : stop;
    s.pages = ((stop < stop_ ? stop : stop_) - start_ + kPageTokens - 1) / kPageTokens;
    s.weights = room_.weights[number % 2];
    s.scores = room_.scores[number % 2];
    return s;
  }

  // While tiles make scores of one strip and sums of another, vectors make the weights of the strip between.
  void attend_to_stretch() {
    Strip before, at = strip(0);
    score(at, [] {});
    for (int number = 1; before.count > 0 || at.count > 0; ++number) {
      Strip next = strip(number);
      const auto between = [&] {
        if (at.weighed < at.count) weigh_next(at);
      };
      add_values(before, between);
      score(next, between);
      while (at.weighed < at.count) weigh_next(at);
      before = at;
      at = next;
    }
  }

  template <typename Between>
  void score(const Strip& strip, const Between& between) const {
    const int64_t of_tokens = chunks() * kParts * kTileBytes, of_rows = chunks() * 2 * kTileBytes;
    const TileSum sum{room_.queries + strip.first / kTileRows * of_rows,
                      room_.keys,
                      of_rows,
                      of_tokens,
                      chunks(),
                      strip.scores,
                      kStretch,
                      false};
    add(strip, sum, strip.pages * kPageTokens, between);
  }

  template <typename Between>
  void add_values(const Strip& strip, const Between& between) const {
    constexpr int64_t kOfRows = kPages * 2 * kTileBytes, kOfDimensions = kPages * kParts * kTileBytes;
    const int stride = block_.value_stride;
    const TileSum sum{strip.weights, room_.values,         kOfRows,
                      kOfDimensions, strip.pages,          found_.sums + strip.first * stride,
                      stride,        start_ > block_.begin};
    add(strip, sum, stride, between);
  }

  template <typename Between>
  static void add(const Strip& strip, const TileSum& sum, int columns, const Between& between) {
    if (strip.count > kTileRows) return add_tiles<2, kLow>(sum, columns, between);
    if (strip.count > 0) add_tiles<1, kLow>(sum, columns, between);
  }

  // Makes weights of the scores of a strip's next query, split for tiles.
  void weigh_next(Strip& strip) {
    const int row = strip.weighed++, i = strip.first + row;
    const int visible = block_.visible[i] < stop_ ? block_.visible[i] : stop_;
    const int seen = visible > start_ ? visible - start_ : 0;
    std::byte* to = strip.weights + row / kTileRows * kPages * 2 * kTileBytes + row % kTileRows * 64;
    const auto put = [&](int t, const Weights& weights) __attribute__((always_inline)) {
      std::byte* tile = to + t / kPageTokens * 2 * kTileBytes;
      split<true>(weights.of[0].v, weights.of[1].v, tile, tile + kTileBytes);
    };
    const float decay =
        soften<kCodes>(strip.scores + row * kStretch, seen, found_.maximum[i], found_.total[i], scales_, put);
    for (int t = (seen + kPageTokens - 1) / kPageTokens; t < strip.pages; ++t) {
      put(t * kPageTokens, {Floats::all(0), Floats::all(0)});
    }
    if (start_ > block_.begin) decay_sums(found_.sums + i * block_.value_stride, block_.value_stride, decay);
  }

  const QueryBlock& block_;
  const Attended& found_;
  const Room room_;
  int end_ = 0;               // of what any query sees
  int start_ = 0, stop_ = 0;  // the stretch at hand
  Scales scales_;
};

template <typename Element>
void attend_in_tiles(const QueryBlock& block, const Attended& found) {
  TileAttention<Element>(block, found).run();
}

// A cache of floats keeps what it has: it is chosen for exactness.
constexpr AttentionKernels kTileKernels = {
    .attend_half = attend_in_tiles<uint16_t>,
    .attend_float = attend<float>,
    .attend_codes = attend_in_tiles<int8_t>,
    .merge = merge,
    .room_bytes =
        [](int count, int head_dim) {
          const size_t vectors = kKernels.room_bytes(count, head_dim);
          const size_t tiles = TileAttention<uint16_t>::room_bytes(count, head_dim);
          return vectors > tiles ? vectors : tiles;
        },
};

}  // namespace
}  // namespace fairlead
