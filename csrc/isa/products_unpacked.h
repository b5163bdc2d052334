// Products of many rows: a block of weights is unpacked to words of 16 bits once, into a scratch that stays in the
// first-level cache, and serves all rows before the next one, which share what unpacking costs.
//
// Two vectors of outputs at a time, so that what is fetched of an activation is used twice: two panels with AVX-512,
// one with AVX2. Sums are those of products_kernels.h, in the same order: a row's outputs do not depend, bit for bit,
// on how many rows are computed with it.
//
// Under the rules of products_kernels.h.
#pragma once

#include "isa/products_kernels.h"

namespace fairlead {
namespace {

// Where things lie in the scratch. For each group: words[16 pairs][2 vectors][lanes][2], then floats [2
// vectors][lanes]: scales, scales of the second half where it has its own, minimums.
template <class S>
struct Unpacked {
  static constexpr int kVectors = 2, kPairs = kGroup / 2;
  static constexpr int kVectorBytes = S::kLanes * 4;
  static constexpr int kWidth = kVectors * S::kLanes;  // outputs
  static constexpr int kGroupBytes = (kPairs + 3) * kVectors * kVectorBytes;
  static constexpr int kBytes = kBlockGroups * kGroupBytes;

  static constexpr int words(int pair, int vector) { return (pair * kVectors + vector) * kVectorBytes; }
  static constexpr int scale(int half, int vector) { return words(kPairs + half, vector); }
  static constexpr int minimum(int vector) { return words(kPairs + 2, vector); }
};

// The pairs of words in one part of a row of codes, then of those after it.
template <class S, Format F, int Part>
FAIRLEAD_INLINE void unpack_parts(const typename S::Codes& bytes, int code_row, int vector, std::byte* group) {
  using P = Steps<S, F>;
  if constexpr (Part < P::kParts) {
    auto words = S::template codes<Part * P::kBits, P::kBits>(bytes);
    if constexpr (P::kE.zero() != 0) words = S::minus(words, P::kE.zero());
    store(group + Unpacked<S>::words(P::at(code_row, Part), vector), words);
    unpack_parts<S, F, Part + 1>(bytes, code_row, vector, group);
  }
}

// `count` groups of one block, for the outputs of one vector.
template <class S, Format F>
FAIRLEAD_INLINE void unpack_block(const std::byte* block, int count, int vector, std::byte* scratch) {
  constexpr Encoding e = encoding(F);
  using U = Unpacked<S>;
  const int lane = vector * S::kLanes % kPanel;
  const Scales<S, F> scales(block, lane);
  const std::byte* codes = block + header_bytes(e, count) + lane * 4;
  for (int group = 0; group < count; ++group, codes += code_bytes(e), scratch += U::kGroupBytes) {
    if (lane == 0) prefetch<code_bytes(e)>(codes);
    FAIRLEAD_UNROLL
    for (int row = 0; row < Steps<S, F>::kRows; ++row) {
      unpack_parts<S, F, 0>(S::bytes(codes + row * kRowBytes), row, vector, scratch);
    }
    store(scratch + U::scale(0, vector), scales.scale(group, 0));
    if constexpr (e.records == Records::k16) store(scratch + U::scale(1, vector), scales.scale(group, 1));
    if constexpr (e.has_minimum()) store(scratch + U::minimum(vector), scales.minimum(group));
  }
}

// Adds the products of `Count` pairs of inputs.
template <class S, int Count, int Vectors, int R>
FAIRLEAD_INLINE void add_words(const std::byte* group, int first, Activations<S, R> x,
                               typename S::Ints (&sum)[Vectors][R]) {
  using U = Unpacked<S>;
  FAIRLEAD_UNROLL
  for (int pair = first; pair < first + Count; ++pair) {
    typename S::Codes words[Vectors];
    FAIRLEAD_UNROLL
    for (int vector = 0; vector < Vectors; ++vector) words[vector] = S::bytes(group + U::words(pair, vector));
    FAIRLEAD_UNROLL
    for (int row = 0; row < R; ++row) {
      FAIRLEAD_UNROLL
      for (int vector = 0; vector < Vectors; ++vector) {
        sum[vector][row] = S::dot(sum[vector][row], words[vector], x.step(row, pair));
      }
    }
  }
}

// Adds the products of one group and R rows to found[R][kWidth].
template <class S, Records Kind, bool HasMinimum, int Vectors, int R>
FAIRLEAD_INLINE void add_unpacked_group(const std::byte* group, Activations<S, R> x, float* found) {
  using U = Unpacked<S>;
  constexpr int kParts = scaled_parts(Kind);
  constexpr int kPairs = U::kPairs / kParts;
  FAIRLEAD_UNROLL
  for (int part = 0; part < kParts; ++part) {
    typename S::Ints sum[Vectors][R];
    FAIRLEAD_UNROLL
    for (int vector = 0; vector < Vectors; ++vector) {
      FAIRLEAD_UNROLL
      for (int row = 0; row < R; ++row) sum[vector][row] = S::zero();
    }
    add_words<S, kPairs>(group, part * kPairs, x, sum);
    // Totals wait in memory: kept in registers from group to group they would drive the sums out.
    __asm__ volatile("" ::: "memory");
    FAIRLEAD_UNROLL
    for (int vector = 0; vector < Vectors; ++vector) {
      const auto scale = S::floats(group + U::scale(part, vector));
      FAIRLEAD_UNROLL
      for (int row = 0; row < R; ++row) {
        float* to = found + row * U::kWidth + vector * S::kLanes;
        auto total = S::floats(reinterpret_cast<const std::byte*>(to));
        total = add_scaled<S>(total, sum[vector][row], scale, x, row);
        if (HasMinimum && part == kParts - 1) {
          total = take_minimum<S>(total, S::floats(group + U::minimum(vector)), x, row);
        }
        S::put(to, total);
      }
    }
  }
}

// Adds `count` unpacked groups times a tile of R rows, whose activations of these groups begin at `tile`.
template <class S, Records Kind, bool HasMinimum, int Vectors, int R>
void add_unpacked(const std::byte* scratch, int count, const std::byte* tile, float* found) {
  for (int group = 0; group < count; ++group) {
    add_unpacked_group<S, Kind, HasMinimum, Vectors>(scratch, Activations<S, R>{tile}, found);
    scratch += Unpacked<S>::kGroupBytes;
    tile += R * kRowGroupBytes;
  }
}

// The same for any number of rows up to kTileRows.
template <class S, Records Kind, bool HasMinimum, int Vectors, int R = S::kTileRows>
FAIRLEAD_INLINE void add_tile(const std::byte* scratch, int count, const std::byte* tile, int rows, float* found) {
  if constexpr (R > 1) {
    if (rows < R) {
      return add_tile<S, Kind, HasMinimum, Vectors, R - 1>(scratch, count, tile, rows, found);
    }
  }
  add_unpacked<S, Kind, HasMinimum, Vectors, R>(scratch, count, tile, found);
}

template <class S, Format F, int Vectors>
FAIRLEAD_INLINE void unpack_and_multiply(const PanelTask& task) {
  constexpr Encoding e = encoding(F);
  // Formats whose scales are alike once they are unpacked share their code.
  constexpr Records kKind = scaled_parts(e.records) == 2 ? e.records : Records::half;
  using U = Unpacked<S>;
  const int64_t groups = task.inputs / kGroup;
  __builtin_memset(task.found, 0, task.rows * U::kWidth * sizeof(float));
  for (int64_t first = 0; first < groups; first += kBlockGroups) {
    const int count = groups - first < kBlockGroups ? static_cast<int>(groups - first) : kBlockGroups;
    for (int vector = 0; vector < Vectors; ++vector) {
      const std::byte* panel = task.panels[vector * S::kLanes / kPanel];
      unpack_block<S, F>(panel + first / kBlockGroups * block_bytes(e, kBlockGroups), count, vector, task.scratch);
    }
    for (int row = 0; row < task.rows; row += S::kTileRows) {
      const int rows = task.rows - row < S::kTileRows ? task.rows - row : S::kTileRows;
      const std::byte* tile = task.packed + (row * groups + rows * first) * kRowGroupBytes;
      add_tile<S, kKind, e.has_minimum(), Vectors>(task.scratch, count, tile, rows, task.found + row * U::kWidth);
    }
  }
  for (int panel = 0; panel < task.panel_count; ++panel) {
    write_panel<S>(task.found + panel * kPanel, U::kWidth, task.rows, task.to[panel]);
  }
}

template <class S, Format F>
void unpacked_product(const PanelTask& task) {
  if constexpr (kPanels<S> == 2) {
    if (task.panel_count == 1) return unpack_and_multiply<S, F, 1>(task);
  }
  unpack_and_multiply<S, F, 2>(task);
}

template <class S>
PanelProduct unpacked_product_for(Format format) {
  switch (format) {
    case Format::q4_0:
      return unpacked_product<S, Format::q4_0>;
    case Format::q4_1:
      return unpacked_product<S, Format::q4_1>;
    case Format::q5_0:
      return unpacked_product<S, Format::q5_0>;
    case Format::q5_1:
      return unpacked_product<S, Format::q5_1>;
    case Format::q8_0:
      return unpacked_product<S, Format::q8_0>;
    case Format::q4_k:
      return unpacked_product<S, Format::q4_k>;
    case Format::q5_k:
      return unpacked_product<S, Format::q5_k>;
    case Format::q6_k:
      return unpacked_product<S, Format::q6_k>;
    case Format::f32:
    case Format::f16:
    case Format::bf16:
      break;
  }
  return nullptr;
}

template <class S>
constexpr Products products_of() {
  Products products{.tile_rows = S::kTileRows,
                    .panels = kPanels<S>,
                    .pack_codes = pack_word_row,
                    .pack_floats = pack_float_row,
                    .few_rows = few_rows_product_for<S>,
                    .unpacked_from = S::kUnpackedFrom};
  if constexpr (S::kUnpackedFrom != kNever) {
    products.unpacked = unpacked_product_for<S>;
    products.unpacked_bytes = Unpacked<S>::kBytes;
  }
  return products;
}

template <class S>
constexpr Products kProductsOf = products_of<S>();

}  // namespace
}  // namespace fairlead
