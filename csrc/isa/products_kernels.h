// The products of panels with few rows, written once over the vectors that each instruction set supplies.
//
// Included by products_<isa>.cpp alone. All is in an unnamed namespace, and nothing of the standard library is
// instantiated: the linker must not hand one instruction set's copy of a function to another.
//
// `S` supplies:
//   kLanes, kTileRows  32-bit lanes of a vector (8 or 16: half or all of a panel), most rows of a tile
//   kUnpackedFrom      rows from which on weights are unpacked for all of them (products_unpacked.h), or kNever
//   kSums              sums of products, a vector each, that are best kept in registers at most
//   Ints, Floats       vectors
//   Codes, bytes(p)    a row of codes, or the half of it that has kLanes outputs
//   kCodeBits          16 or 8, of the codes that are multiplied: words in pairs, or bytes in quads
//   codes<shift, bits> the codes of `bits` bits that begin at bit `shift` of each kCodeBits
//   dot(sum, w, step)  adds the products of each lane's pair or quad of codes with that of an activation
// and for products of words
//   minus(words, zero) from each word
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa/products_rows.h"

namespace fairlead {
namespace {

// Panels follow one another in memory, so what lies this far ahead will be wanted soon, and asking for it early keeps
// memory busy while the vector units are.
constexpr int kPrefetchBytes = 2048;

// Panels of a task: as many as two vectors of outputs are.
template <class S>
constexpr int kPanels = 2 * S::kLanes / kPanel;

template <int Bytes>
FAIRLEAD_INLINE void prefetch(const std::byte* at) {
  FAIRLEAD_UNROLL
  for (int line = 0; line < Bytes; line += kRowBytes) __builtin_prefetch(at + kPrefetchBytes + line);
}

FAIRLEAD_INLINE void prefetch(const std::byte* at, int bytes) {
  for (int line = 0; line < bytes; line += kRowBytes) __builtin_prefetch(at + kPrefetchBytes + line);
}

// The activations of one group in a tile of R rows, or a plane of them, as packed.h lays them out.
template <class S, int R>
struct Activations {
  static constexpr bool kPlanes = S::kCodeBits == 8;
  static constexpr int kCodeBytes = kGroup * S::kCodeBits / 8;
  static constexpr int kBytes = R * (kPlanes ? kRowPlanesBytes : kRowGroupBytes);
  static constexpr int kHeaderBytes = kPlanes ? R * kLoudBytes : 0;  // of a block

  const std::byte* group;

  // A pair of words, or a quad of bytes.
  FAIRLEAD_INLINE int32_t step(int row, int index) const { return load<int32_t>(group + row * kCodeBytes + index * 4); }
  FAIRLEAD_INLINE float scale(int row) const { return load<float>(group + R * kCodeBytes + row * 4); }
  // Of the codes in one of `parts` parts, 1 or 2, of the group.
  FAIRLEAD_INLINE int32_t negated_sum(int row, int parts, int part) const {
    const int32_t all = load<int32_t>(group + R * (kCodeBytes + 4) + row * 4);
    if (parts == 1) return all;
    const int32_t first = load<int32_t>(group + R * (kCodeBytes + 8) + row * 4);
    return part == 0 ? first : all - first;
  }
  FAIRLEAD_INLINE float scaled_sum(int row) const {
    return load<float>(group + R * (kPlanes ? 2 * kPlaneBytes : kCodeBytes + 12) + row * 4);
  }
};

// The scales of a block for the lanes that begin with `lane`.
template <class S, Format F>
class Scales {
 public:
  Scales() = default;
  FAIRLEAD_INLINE Scales(const std::byte* block, int lane) : lane_(lane), records_(block + prefix_bytes(kE)) {
    if constexpr (prefix_bytes(kE) > 0) scale_ = S::halves(block + 2 * lane);
    if constexpr (kE.records == Records::k) minimum_ = S::halves(block + 2 * kPanel + 2 * lane);
  }

  // Of a group; of its first or second half, where these differ.
  FAIRLEAD_INLINE typename S::Floats scale(int group, int half = 0) const {
    const std::byte* record = records_ + group * record_bytes(kE);
    if constexpr (kE.records == Records::k) return S::mul(scale_, S::unsigned_bytes(record + lane_));
    if constexpr (kE.records == Records::k16) return S::mul(scale_, S::signed_bytes(record + half * kPanel + lane_));
    return S::halves(record + 2 * lane_);
  }

  FAIRLEAD_INLINE typename S::Floats minimum(int group) const {
    const std::byte* record = records_ + group * record_bytes(kE);
    if constexpr (kE.records == Records::k) return S::mul(minimum_, S::unsigned_bytes(record + kPanel + lane_));
    return S::halves(record + 2 * kPanel + 2 * lane_);
  }

 private:
  static constexpr Encoding kE = encoding(F);
  int lane_;
  const std::byte* records_;
  typename S::Floats scale_, minimum_;
};

// The steps in a row of codes: pairs of words, or quads of bytes. Part p of row r holds step `at(r, p)` of a group's
// inputs, as packed.h lays out codes and activations.
template <class S, Format F>
struct Steps {
  static constexpr Encoding kE = encoding(F);
  static constexpr int kRows = code_bytes(kE) / kRowBytes;
  static constexpr int kBits = kE.nibbles ? 4 : 8;
  static constexpr int kParts = S::kCodeBits / kBits;
  static constexpr int kOfQuad = S::kCodeBits / 8;  // steps of a quad of inputs

  static constexpr int at(int row, int part) {
    return kE.nibbles ? kOfQuad * (row + part % 2 * (kQuads / 2)) + part / 2 : kOfQuad * row + part;
  }
};

// Adds the products of one part of a row of codes of each vector, then of those after it.
template <class S, Format F, int Part, int V, int R>
FAIRLEAD_INLINE void add_parts(const typename S::Codes (&bytes)[V], int code_row, Activations<S, R> x,
                               typename S::Ints (&sum)[V][R]) {
  using Of = Steps<S, F>;
  if constexpr (Part < Of::kParts) {
    typename S::Codes codes[V];
    FAIRLEAD_UNROLL
    for (int v = 0; v < V; ++v) codes[v] = S::template codes<Part * Of::kBits, Of::kBits>(bytes[v]);
    FAIRLEAD_UNROLL
    for (int row = 0; row < R; ++row) {
      const int32_t step = x.step(row, Of::at(code_row, Part));
      FAIRLEAD_UNROLL
      for (int v = 0; v < V; ++v) sum[v][row] = S::dot(sum[v][row], codes[v], step);
    }
    add_parts<S, F, Part + 1>(bytes, code_row, x, sum);
  }
}

// Adds the products of `Count` rows of codes.
template <class S, Format F, int Count, int V, int R>
FAIRLEAD_INLINE void add_codes(const std::byte* const (&codes)[V], int first, Activations<S, R> x,
                               typename S::Ints (&sum)[V][R]) {
  FAIRLEAD_UNROLL
  for (int row = first; row < first + Count; ++row) {
    typename S::Codes bytes[V];
    FAIRLEAD_UNROLL
    for (int v = 0; v < V; ++v) bytes[v] = S::bytes(codes[v] + row * kRowBytes);
    add_parts<S, F, 0>(bytes, row, x, sum);
  }
}

// total += sum of products · scale of the weights · scale of the activations
template <class S, int R>
FAIRLEAD_INLINE typename S::Floats add_scaled(typename S::Floats total, typename S::Ints sum, typename S::Floats scale,
                                              Activations<S, R> x, int row) {
  return S::fma(S::to_floats(sum), S::mul(scale, S::all(x.scale(row))), total);
}

template <class S, int R>
FAIRLEAD_INLINE typename S::Floats take_minimum(typename S::Floats total, typename S::Floats minimum,
                                                Activations<S, R> x, int row) {
  return S::fnma(minimum, S::all(x.scaled_sum(row)), total);
}

// Parts of a group that have scales of their own.
static constexpr int scaled_parts(Records records) { return records == Records::k16 ? 2 : 1; }

// What the code that means zero takes away from the sum of one part of a group.
template <class S, Format F, int R>
FAIRLEAD_INLINE typename S::Ints start_of_sum(Activations<S, R> x, int row, int part) {
  constexpr Encoding e = encoding(F);
  if constexpr (e.zero_shift == 0) return S::zero();
  return S::template shifted<e.zero_shift>(x.negated_sum(row, scaled_parts(e.records), part));
}

// Adds the products of one group to total[V][R].
template <class S, Format F, int V, int R>
FAIRLEAD_INLINE void add_group(const Scales<S, F> (&scales)[V], int group, const std::byte* const (&codes)[V],
                               Activations<S, R> x, typename S::Floats (*total)[R]) {
  constexpr Encoding e = encoding(F);
  constexpr int kParts = scaled_parts(e.records);
  constexpr int kRows = Steps<S, F>::kRows / kParts;
  FAIRLEAD_UNROLL
  for (int part = 0; part < kParts; ++part) {
    typename S::Ints sum[V][R];
    FAIRLEAD_UNROLL
    for (int row = 0; row < R; ++row) {
      const auto start = start_of_sum<S, F>(x, row, part);
      FAIRLEAD_UNROLL
      for (int v = 0; v < V; ++v) sum[v][row] = start;
    }
    add_codes<S, F, kRows>(codes, part * kRows, x, sum);
    FAIRLEAD_UNROLL
    for (int v = 0; v < V; ++v) {
      const auto scale = scales[v].scale(group, part);
      FAIRLEAD_UNROLL
      for (int row = 0; row < R; ++row) total[v][row] = add_scaled<S>(total[v][row], sum[v][row], scale, x, row);
    }
  }
  if constexpr (e.has_minimum()) {
    FAIRLEAD_UNROLL
    for (int v = 0; v < V; ++v) {
      const auto minimum = scales[v].minimum(group);
      FAIRLEAD_UNROLL
      for (int row = 0; row < R; ++row) total[v][row] = take_minimum<S>(total[v][row], minimum, x, row);
    }
  }
}

// Adds the products of the low planes of one block: what the loud groups of each row lack.
template <class S, Format F, int V, int R>
FAIRLEAD_INLINE void add_low_planes(const Scales<S, F> (&scales)[V], const std::byte* const (&codes)[V],
                                    const std::byte* rows, typename S::Floats (*total)[R]) {
  constexpr Encoding e = encoding(F);
  constexpr int kParts = scaled_parts(e.records);
  constexpr int kRows = Steps<S, F>::kRows / kParts;
  using X = Activations<S, R>;
  static_assert(R * kBlockGroups <= 64);
  uint64_t loud = 0;  // a bit for each group of each row: one loop over all, which ends at one unforeseen place
  FAIRLEAD_UNROLL
  for (int row = 0; row < R; ++row) loud |= uint64_t{load<uint32_t>(rows + row * kLoudBytes)} << row * kBlockGroups;
  for (; loud != 0; loud &= loud - 1) {
    const int found = __builtin_ctzll(loud);
    const int group = found % kBlockGroups, row = R == 1 ? 0 : found / kBlockGroups;
    const X low{rows + X::kHeaderBytes + group * X::kBytes + R * kPlaneBytes};
    const Activations<S, 1> x{low.group + row * X::kCodeBytes};
    const std::byte* of_group[V];
    FAIRLEAD_UNROLL
    for (int v = 0; v < V; ++v) of_group[v] = codes[v] + group * code_bytes(e);
    FAIRLEAD_UNROLL
    for (int part = 0; part < kParts; ++part) {
      typename S::Ints sum[V][1];
      FAIRLEAD_UNROLL
      for (int v = 0; v < V; ++v) sum[v][0] = start_of_sum<S, F>(low, row, part);
      add_codes<S, F, kRows>(of_group, part * kRows, x, sum);
      FAIRLEAD_UNROLL
      for (int v = 0; v < V; ++v) {
        total[v][row] = add_scaled<S>(total[v][row], sum[v][0], scales[v].scale(group, part), low, row);
      }
    }
  }
}

// Adds the products of one block and V vectors of outputs to total[V][R]: `lane` is where in a panel the first begins,
// and the others follow, in this panel and the next. `rows` are the activations of the block.
template <class S, Format F, int V, int R>
FAIRLEAD_INLINE void add_block(const std::byte* const* panels, int64_t offset, int lane, int count,
                               const std::byte* rows, typename S::Floats (*total)[R]) {
  constexpr Encoding e = encoding(F);
  using X = Activations<S, R>;
  Scales<S, F> scales[V];
  const std::byte* codes[V];
  FAIRLEAD_UNROLL
  for (int v = 0; v < V; ++v) {
    const std::byte* block = panels[(lane + v * S::kLanes) / kPanel] + offset;
    const int of_panel = (lane + v * S::kLanes) % kPanel;
    if (of_panel == 0) prefetch(block, header_bytes(e, count));
    scales[v] = Scales<S, F>(block, of_panel);
    codes[v] = block + header_bytes(e, count) + of_panel * 4;
  }
  for (int group = 0; group < count; ++group) {
    const std::byte* of_group[V];
    FAIRLEAD_UNROLL
    for (int v = 0; v < V; ++v) {
      of_group[v] = codes[v] + group * code_bytes(e);
      if ((lane + v * S::kLanes) % kPanel == 0) prefetch<code_bytes(e)>(of_group[v]);
    }
    add_group<S, F, V, R>(scales, group, of_group, X{rows + X::kHeaderBytes + group * X::kBytes}, total);
  }
  if constexpr (X::kPlanes) add_low_planes<S, F, V, R>(scales, codes, rows, total);
}

// Vectors of outputs that are worked on together, where their sums have room in registers: what is fetched of an
// activation serves them all, and they need not wait for one another.
template <class S>
static constexpr int together(int vectors, int rows) {
  return vectors * rows <= S::kSums ? vectors : 1;
}

// Panels of quantised weights times R rows.
template <class S, Format F, int Panels, int R>
void code_product(const PanelTask& task) {
  constexpr Encoding e = encoding(F);
  constexpr int kVectors = Panels * kPanel / S::kLanes;
  constexpr int kTogether = together<S>(kVectors, R);
  typename S::Floats total[kVectors][R];
  FAIRLEAD_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    FAIRLEAD_UNROLL
    for (int row = 0; row < R; ++row) total[v][row] = S::all(0.0f);
  }
  const std::byte* tile = task.packed;
  int64_t offset = 0;
  for (int64_t groups = task.inputs / kGroup; groups > 0; groups -= kBlockGroups) {
    const int count = groups < kBlockGroups ? static_cast<int>(groups) : kBlockGroups;
    FAIRLEAD_UNROLL
    for (int v = 0; v < kVectors; v += kTogether) {
      add_block<S, F, kTogether, R>(task.panels, offset, v * S::kLanes, count, tile, total + v);
    }
    offset += block_bytes(e, count);
    tile += Activations<S, R>::kHeaderBytes + count * Activations<S, R>::kBytes;
  }
  write_totals<S, Panels>(total, task);
}

template <class S, Format F>
FAIRLEAD_INLINE typename S::Floats float_weights(const std::byte* panel, int64_t at) {
  if constexpr (F == Format::f32) return S::floats(panel + 4 * at);
  if constexpr (F == Format::f16) return S::halves(panel + 2 * at);
  return S::bfloats(panel + 2 * at);
}

// A panel of float weights times R rows. Sums run over 128 inputs before they join the total, which keeps the
// rounding error of long rows small; each is split so that its additions need not wait for one another. A row's sums
// are added in the same order whatever rows it is computed with.
template <class S, Format F, int R>
FAIRLEAD_INLINE void add_floats(const std::byte* panel, int64_t inputs, int lane, const std::byte* tile,
                                typename S::Floats (&total)[R]) {
  constexpr int kSplit = 2;
  constexpr int kSpan = 128;
  for (int64_t begin = 0; begin < inputs; begin += kSpan) {
    const int64_t end = begin + kSpan < inputs ? begin + kSpan : inputs;
    typename S::Floats sum[kSplit][R];
    FAIRLEAD_UNROLL
    for (int part = 0; part < kSplit; ++part) {
      FAIRLEAD_UNROLL
      for (int row = 0; row < R; ++row) sum[part][row] = S::all(0.0f);
    }
    int64_t input = begin;
    for (; input + kSplit <= end; input += kSplit) {
      FAIRLEAD_UNROLL
      for (int part = 0; part < kSplit; ++part) {
        const int64_t at = (input + part) * kPanel + lane;
        constexpr int kBytes = F == Format::f32 ? 4 : 2;
        if (lane == 0 && part * kPanel * kBytes % kRowBytes == 0) prefetch<kRowBytes>(panel + at * kBytes);
        const auto weights = float_weights<S, F>(panel, at);
        FAIRLEAD_UNROLL
        for (int row = 0; row < R; ++row) {
          const float x = load<float>(tile + ((input + part) * R + row) * 4);
          sum[part][row] = S::fma(weights, S::all(x), sum[part][row]);
        }
      }
    }
    for (; input < end; ++input) {
      const auto weights = float_weights<S, F>(panel, input * kPanel + lane);
      FAIRLEAD_UNROLL
      for (int row = 0; row < R; ++row) {
        sum[0][row] = S::fma(weights, S::all(load<float>(tile + (input * R + row) * 4)), sum[0][row]);
      }
    }
    FAIRLEAD_UNROLL
    for (int part = 0; part < kSplit; ++part) {
      FAIRLEAD_UNROLL
      for (int row = 0; row < R; ++row) total[row] = S::add(total[row], sum[part][row]);
    }
  }
}

// Panels of float weights times R rows.
template <class S, Format F, int Panels, int R>
void float_product(const PanelTask& task) {
  constexpr int kVectors = Panels * kPanel / S::kLanes;
  typename S::Floats total[kVectors][R];
  FAIRLEAD_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    FAIRLEAD_UNROLL
    for (int row = 0; row < R; ++row) total[v][row] = S::all(0.0f);
    add_floats<S, F>(task.panels[v * S::kLanes / kPanel], task.inputs, v * S::kLanes % kPanel, task.packed, total[v]);
  }
  write_totals<S, Panels>(total, task);
}

template <class S, Format F, int Panels, int R>
void panels_product(const PanelTask& task) {
  if constexpr (encoding(F).records == Records::none) {
    float_product<S, F, Panels, R>(task);
  } else {
    code_product<S, F, Panels, R>(task);
  }
}

// The same for any number of rows up to kTileRows, and of panels.
template <class S, Format F, int R = S::kTileRows>
void few_rows_product(const PanelTask& task) {
  if constexpr (R > 1) {
    if (task.rows < R) return few_rows_product<S, F, R - 1>(task);
  }
  if constexpr (kPanels<S> == 2) {
    if (task.panel_count == 2) return panels_product<S, F, 2, R>(task);
  }
  panels_product<S, F, 1, R>(task);
}

template <class S>
PanelProduct few_rows_product_for(Format format) {
  if constexpr (S::kCodeBits == 16) {  // those of bytes are for quantised weights alone
    if (format == Format::f32) return few_rows_product<S, Format::f32>;
    if (format == Format::f16) return few_rows_product<S, Format::f16>;
    if (format == Format::bf16) return few_rows_product<S, Format::bf16>;
  }
  switch (format) {
    case Format::q4_0:
      return few_rows_product<S, Format::q4_0>;
    case Format::q4_1:
      return few_rows_product<S, Format::q4_1>;
    case Format::q5_0:
      return few_rows_product<S, Format::q5_0>;
    case Format::q5_1:
      return few_rows_product<S, Format::q5_1>;
    case Format::q8_0:
      return few_rows_product<S, Format::q8_0>;
    case Format::q4_k:
      return few_rows_product<S, Format::q4_k>;
    case Format::q5_k:
      return few_rows_product<S, Format::q5_k>;
    case Format::q6_k:
      return few_rows_product<S, Format::q6_k>;
    case Format::f32:
    case Format::f16:
    case Format::bf16:
      break;
  }
  return nullptr;
}

}  // namespace
}  // namespace fairlead
