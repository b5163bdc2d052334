// Products of many rows in matrix tiles: weights unpacked to bf16 as they stream by, activations rounded to bf16.
//
// Two panels at a time. Their codes become bf16 in a scratch that stays in the first-level cache, a chunk of inputs at
// a time, and each chunk serves all rows before it is overwritten. While the first rows are multiplied, the vector
// units unpack the groups ahead: tiles and vectors work side by side.
//
// Included by products_amx.cpp, and by products_amx_emulated.cpp with functions in place of the tile intrinsics.
// Internal linkage, as products_kernels.h.
#pragma once

#include "isa/products_512.h"
#include "isa/simd.h"

namespace fairlead {
namespace {

constexpr int kTileBytes = 1024;  // 16 pairs of inputs × 16 outputs × 2 inputs of bf16: one group of a panel
constexpr int kChunkGroups = 16;  // of two panels: 32 KB
constexpr int kAhead = 2;         // groups unpacked ahead of the one that is multiplied
constexpr int kFoundWidth = 2 * kPanel;

// Tiles 0 to 3 hold sums, 4 and 5 activations, 6 and 7 weights.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};
};

struct TileConfigs {
  TileConfig of_rows[kTileRowsMost + 1];

  constexpr TileConfigs() : of_rows() {
    for (int count = 0; count <= kTileRowsMost; ++count) {
      for (int tile = 0; tile < 8; ++tile) of_rows[count].rows[tile] = tile < 6 ? count : 16;
    }
  }
};

// In read-only memory: a configuration built on the stack may lie there unwritten when it is loaded, since compilers
// do not see that the instruction reads it.
static constexpr TileConfigs kConfigs;

// The same holds for all that tiles load and store.
FAIRLEAD_INLINE void memory_barrier() { __asm__ volatile("" ::: "memory"); }

// Turns codes of 4 bits or 8 into pairs of bf16, by the bits of floats: or-ed into the mantissa of 2^e, a code at bit
// 23 - e stands for 2^e + code, and one fused multiply-add makes scale · (code − zero) − minimum of it.
struct Affine {
  __m512 scale, low, middle, high;  // offsets for the three places that a code can have

  template <int e>
  FAIRLEAD_INLINE static __m512 offset(__m512 scale, __m512 shift, float zero) {
    return _mm512_fnmsub_ps(scale, _mm512_set1_ps(static_cast<float>(1 << e) + zero), shift);
  }
};

// Weights are cut to bf16, not rounded. Enlarging them before by half of the last place (on average over a binade,
// 0.5 / (128 / ln 2)) leaves errors without bias and little larger than those of rounding, and costs nothing.
constexpr float kHalfPlace = 1.0f + 0.5f * 0.69314718f / 128.0f;

template <int at, int mask>
FAIRLEAD_INLINE __m512 code_in_mantissa(__m512i word) {
  // (word & mask << at) | exponent of 2^(23 - at)
  return _mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(word, _mm512_set1_epi32(mask << at), _mm512_set1_epi32((127 + 23 - at) << 23), 0xea));
}

// The upper halves of `first` and `second` side by side in each lane.
FAIRLEAD_INLINE __m512i pair(__m512 first, __m512 second) {
  const __m512i upper = _mm512_set4_epi32(0x00000f0e, 0x00000b0a, 0x00000706, 0x00000302);
  return _mm512_mask_shuffle_epi8(_mm512_castps_si512(second), 0x3333333333333333, _mm512_castps_si512(first), upper);
}

template <Format F>
class Unpacker {
 public:
  FAIRLEAD_INLINE Unpacker(const std::byte* panel, int64_t inputs) : panel_(panel), groups_(inputs / kGroup) {}

  // One group as a tile of 16 pairs of inputs.
  FAIRLEAD_INLINE void unpack(int64_t group, std::byte* tile) const {
    const int64_t first = group / kBlockGroups * kBlockGroups;
    const int count = groups_ - first < kBlockGroups ? static_cast<int>(groups_ - first) : kBlockGroups;
    const int in_block = static_cast<int>(group - first);
    const std::byte* block = panel_ + group / kBlockGroups * block_bytes(kE, kBlockGroups);
    const std::byte* codes = block + header_bytes(kE, count) + in_block * code_bytes(kE);
    prefetch<code_bytes(kE)>(codes);
    const Scales<Vectors512, F> scales(block, 0);

    if constexpr (kE.nibbles) {
      unpack_nibbles(affine<7, 11, 15>(scales, in_block, 0), codes, tile);
    } else {
      constexpr int kHalf = kQuads / 2;
      const Affine first_half = affine<8, 16, 16>(scales, in_block, 0);
      unpack_bytes(first_half, codes, tile);
      unpack_bytes(kE.records == Records::k16 ? affine<8, 16, 16>(scales, in_block, 1) : first_half,
                   codes + kHalf * kRowBytes, tile + kHalf * 2 * kRowBytes);
    }
  }

 private:
  static constexpr Encoding kE = encoding(F);

  template <int low, int middle, int high>
  FAIRLEAD_INLINE static Affine affine(const Scales<Vectors512, F>& scales, int group, int half) {
    const __m512 enlarge = _mm512_set1_ps(kHalfPlace);
    const __m512 scale = _mm512_mul_ps(scales.scale(group, half), enlarge);
    __m512 minimum = _mm512_setzero_ps();
    if constexpr (kE.has_minimum()) minimum = _mm512_mul_ps(scales.minimum(group), enlarge);
    constexpr float kZero = kE.zero();
    return {scale, Affine::offset<low>(scale, minimum, kZero), Affine::offset<middle>(scale, minimum, kZero),
            Affine::offset<high>(scale, minimum, kZero)};
  }

  // Nibble n of a lane, counted from the lowest, is input n / 2 of quad j where n is even, of quad j + 4 where odd.
  FAIRLEAD_INLINE static void unpack_nibbles(const Affine& a, const std::byte* codes, std::byte* tile) {
    FAIRLEAD_UNROLL
    for (int row = 0; row < kQuads / 2; ++row) {
      const __m512i word = Vectors512::bytes(codes + row * kRowBytes);
      const __m512i left = _mm512_slli_epi32(word, 12), right = _mm512_srli_epi32(word, 12);
      const __m512 n0 = _mm512_fmadd_ps(code_in_mantissa<12, 15>(left), a.scale, a.middle);
      const __m512 n1 = _mm512_fmadd_ps(code_in_mantissa<16, 15>(left), a.scale, a.low);
      const __m512 n2 = _mm512_fmadd_ps(code_in_mantissa<8, 15>(word), a.scale, a.high);
      const __m512 n3 = _mm512_fmadd_ps(code_in_mantissa<12, 15>(word), a.scale, a.middle);
      const __m512 n4 = _mm512_fmadd_ps(code_in_mantissa<16, 15>(word), a.scale, a.low);
      const __m512 n5 = _mm512_fmadd_ps(code_in_mantissa<8, 15>(right), a.scale, a.high);
      const __m512 n6 = _mm512_fmadd_ps(code_in_mantissa<12, 15>(right), a.scale, a.middle);
      const __m512 n7 = _mm512_fmadd_ps(code_in_mantissa<16, 15>(right), a.scale, a.low);
      std::byte* of_quad = tile + row * 2 * kRowBytes;
      constexpr int kUpper = kQuads * kRowBytes;
      _mm512_store_si512(of_quad, pair(n0, n2));
      _mm512_store_si512(of_quad + kRowBytes, pair(n4, n6));
      _mm512_store_si512(of_quad + kUpper, pair(n1, n3));
      _mm512_store_si512(of_quad + kUpper + kRowBytes, pair(n5, n7));
    }
  }

  // Half of a group.
  FAIRLEAD_INLINE static void unpack_bytes(const Affine& a, const std::byte* codes, std::byte* tile) {
    FAIRLEAD_UNROLL
    for (int row = 0; row < kQuads / 2; ++row) {
      const __m512i word = Vectors512::bytes(codes + row * kRowBytes);
      const __m512i left = _mm512_slli_epi32(word, 7), right = _mm512_srli_epi32(word, 9);
      const __m512 b0 = _mm512_fmadd_ps(code_in_mantissa<7, 255>(left), a.scale, a.middle);
      const __m512 b1 = _mm512_fmadd_ps(code_in_mantissa<15, 255>(left), a.scale, a.low);
      const __m512 b2 = _mm512_fmadd_ps(code_in_mantissa<7, 255>(right), a.scale, a.middle);
      const __m512 b3 = _mm512_fmadd_ps(code_in_mantissa<15, 255>(right), a.scale, a.low);
      _mm512_store_si512(tile + row * 2 * kRowBytes, pair(b0, b1));
      _mm512_store_si512(tile + row * 2 * kRowBytes + kRowBytes, pair(b2, b3));
    }
  }

  const std::byte* panel_;
  int64_t groups_;
};

// Weights of bf16 are as they are, and only brought side by side: [input][16 outputs] becomes pairs of inputs.
template <>
class Unpacker<Format::bf16> {
 public:
  FAIRLEAD_INLINE Unpacker(const std::byte* panel, int64_t) : panel_(panel) {}

  FAIRLEAD_INLINE void unpack(int64_t group, std::byte* tile) const {
    const std::byte* from = panel_ + group * kTileBytes;
    prefetch<kTileBytes>(from);
    // Outputs 0 to 7 of two inputs, and 8 to 15, are halves of a register: word i of the one next to word i of the
    // other.
    const __m512i side_by_side = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                                  22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    FAIRLEAD_UNROLL
    for (int pair = 0; pair < kGroup / 2; ++pair) {
      const __m512i inputs = _mm512_loadu_si512(from + pair * kRowBytes);
      _mm512_store_si512(tile + pair * kRowBytes, _mm512_permutexvar_epi16(side_by_side, inputs));
    }
  }

 private:
  const std::byte* panel_;
};

// The sums of up to two blocks of rows by up to two panels.
template <int Blocks, int Panels>
struct Sums {
  FAIRLEAD_INLINE static void clear() {
    _tile_zero(0);
    if constexpr (Panels == 2) _tile_zero(1);
    if constexpr (Blocks == 2) _tile_zero(2);
    if constexpr (Blocks == 2 && Panels == 2) _tile_zero(3);
  }

  FAIRLEAD_INLINE static void fetch(const float* found, int block_rows) {
    constexpr int kStride = kFoundWidth * sizeof(float);
    memory_barrier();
    _tile_loadd(0, found, kStride);
    if constexpr (Panels == 2) _tile_loadd(1, found + kPanel, kStride);
    if constexpr (Blocks == 2) _tile_loadd(2, found + block_rows * kFoundWidth, kStride);
    if constexpr (Blocks == 2 && Panels == 2) _tile_loadd(3, found + block_rows * kFoundWidth + kPanel, kStride);
  }

  FAIRLEAD_INLINE static void put(float* found, int block_rows) {
    constexpr int kStride = kFoundWidth * sizeof(float);
    _tile_stored(0, found, kStride);
    if constexpr (Panels == 2) _tile_stored(1, found + kPanel, kStride);
    if constexpr (Blocks == 2) _tile_stored(2, found + block_rows * kFoundWidth, kStride);
    if constexpr (Blocks == 2 && Panels == 2) _tile_stored(3, found + block_rows * kFoundWidth + kPanel, kStride);
    memory_barrier();
  }

  // Brings in what `add` multiplies: one group of the inputs; the second block's activations lie `next_block` bytes
  // after the first's.
  FAIRLEAD_INLINE static void load(const std::byte* rows, int64_t next_block, const std::byte* weights) {
    memory_barrier();
    _tile_stream_loadd(4, rows, 64);
    _tile_loadd(6, weights, 64);
    if constexpr (Panels == 2) _tile_loadd(7, weights + kTileBytes, 64);
    if constexpr (Blocks == 2) _tile_stream_loadd(5, rows + next_block, 64);
  }

  // Adds the products of the group that was loaded.
  FAIRLEAD_INLINE static void add() {
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (Panels == 2) _tile_dpbf16ps(1, 4, 7);
    if constexpr (Blocks == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (Blocks == 2 && Panels == 2) _tile_dpbf16ps(3, 5, 7);
  }

  // The same, and brings in the next one: each operand as soon as the last product of the old one is under way.
  FAIRLEAD_INLINE static void add_and_load(const std::byte* rows, int64_t next_block, const std::byte* weights) {
    memory_barrier();
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (Panels == 2) _tile_dpbf16ps(1, 4, 7);
    _tile_stream_loadd(4, rows, 64);
    if constexpr (Blocks == 2) _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(6, weights, 64);
    if constexpr (Blocks == 2 && Panels == 2) _tile_dpbf16ps(3, 5, 7);
    if constexpr (Panels == 2) _tile_loadd(7, weights + kTileBytes, 64);
    if constexpr (Blocks == 2) _tile_stream_loadd(5, rows + next_block, 64);
  }
};

// What is done to the rows of one or two neighbouring blocks in one go: groups [begin, end) of the inputs.
struct Pass {
  int block;  // the first
  int64_t begin, end;
};

// Products come to their places in y once all inputs are through. Writing there would wait for memory, so the lines
// are asked for while the last groups are multiplied, some with each group.
template <int Blocks, int Panels>
class Results {
 public:
  FAIRLEAD_INLINE Results(const TileTask& task, const Pass& pass)
      : task_(task), first_row_(pass.block * task.block_rows), wanted_(pass.end == task.end) {
    const int left = task.rows - first_row_;
    rows_ = left < Blocks * task.block_rows ? left : Blocks * task.block_rows;
    const int groups = static_cast<int>(pass.end - pass.begin);
    rows_per_group_ = (rows_ + groups - 1) / groups;
  }

  FAIRLEAD_INLINE void prefetch(int64_t group) const {
    if (!wanted_) return;
    const int written = task_.gated ? 1 : Panels;
    for (int64_t row = group * rows_per_group_; row < (group + 1) * rows_per_group_ && row < rows_; ++row) {
      for (int panel = 0; panel < written; ++panel) {
        const Destination& to = task_.to[panel];
        __builtin_prefetch(to.y + (first_row_ + row) * to.stride, 1);
      }
    }
  }

  FAIRLEAD_INLINE void write(const float* found) const {
    if (!wanted_) return;
    if constexpr (Panels == 2) {
      if (task_.gated) return write_gated(found);
    }
    for (int panel = 0; panel < Panels; ++panel) {
      Destination to = task_.to[panel];
      to.y += first_row_ * to.stride;
      write_panel<Vectors512>(found + panel * kPanel, kFoundWidth, rows_, to);
    }
  }

 private:
  // As vector.h has swiglu: outputs past the last one are products of zeros, and so come out as zeros.
  void write_gated(const float* found) const {
    const Destination& to = task_.to[0];
    alignas(64) float bias[2][kPanel] = {};
    for (int panel = 0; panel < Panels; ++panel) {
      const Destination& of = task_.to[panel];
      if (of.bias != nullptr) __builtin_memcpy(bias[panel], of.bias, of.outputs * sizeof(float));
    }
    for (int row = 0; row < rows_; ++row, found += kFoundWidth) {
      const Floats gate = Floats::load(found) + Floats::load(bias[0]);
      const Floats up = Floats::load(found + kPanel) + Floats::load(bias[1]);
      (gate * sigmoid(gate) * up).store(to.y + (first_row_ + row) * to.stride);
    }
  }

  const TileTask& task_;
  int first_row_;
  bool wanted_;
  int rows_, rows_per_group_;
};

FAIRLEAD_INLINE std::byte* scratch_of_group(const TileTask& task, int64_t group) {
  return task.scratch + group % kChunkGroups * 2 * kTileBytes;
}

// Makes one pass over the rows of one or two blocks; where nobody unpacked the groups before, while at it.
template <Format F, int Blocks, int Panels, bool Unpack>
FAIRLEAD_INLINE void make_pass(const TileTask& task, const Pass& pass) {
  using Tiles = Sums<Blocks, Panels>;
  const Results<Blocks, Panels> results(task, pass);
  float* found = task.found + static_cast<int64_t>(pass.block) * task.block_rows * kFoundWidth;
  if (pass.begin == task.begin) {
    Tiles::clear();
  } else {
    Tiles::fetch(found, task.block_rows);
  }
  const int64_t tile_bytes = task.block_rows * kRowBytes;
  const int64_t block_bytes = task.inputs / kGroup * tile_bytes;
  const std::byte* rows = task.packed + pass.block * block_bytes;
  const Unpacker<F> one(task.panels[0], task.inputs), two(task.panels[1], task.inputs);
  const auto unpack = [&](int64_t group) {
    if (!Unpack || group >= pass.end) return;
    std::byte* tile = scratch_of_group(task, group);
    one.unpack(group, tile);
    if constexpr (Panels == 2) two.unpack(group, tile + kTileBytes);
  };
  for (int64_t group = pass.begin; group < pass.begin + kAhead; ++group) unpack(group);
  Tiles::load(rows + pass.begin * tile_bytes, block_bytes, scratch_of_group(task, pass.begin));
  for (int64_t group = pass.begin; group + 1 < pass.end; ++group) {
    unpack(group + kAhead);
    Tiles::add_and_load(rows + (group + 1) * tile_bytes, block_bytes, scratch_of_group(task, group + 1));
    results.prefetch(group - pass.begin);
  }
  Tiles::add();
  results.prefetch(pass.end - 1 - pass.begin);
  Tiles::put(found, task.block_rows);
  results.write(found);
}

template <Format F, int Panels>
FAIRLEAD_INLINE void make_passes(const TileTask& task) {
  if (task.blocks == 1) return make_pass<F, 1, Panels, true>(task, {0, task.begin, task.end});
  if (task.blocks == 2) return make_pass<F, 2, Panels, true>(task, {0, task.begin, task.end});
  for (int64_t begin = task.begin; begin < task.end; begin += kChunkGroups) {
    const int64_t end = begin + kChunkGroups < task.end ? begin + kChunkGroups : task.end;
    make_pass<F, 2, Panels, true>(task, {0, begin, end});
    int block = 2;
    for (; block + 2 <= task.blocks; block += 2) make_pass<F, 2, Panels, false>(task, {block, begin, end});
    if (block < task.blocks) make_pass<F, 1, Panels, false>(task, {block, begin, end});
  }
}

template <Format F>
void tile_product(const TileTask& task) {
  _tile_loadconfig(&kConfigs.of_rows[task.block_rows]);
  if (task.panel_count == 2) {
    make_passes<F, 2>(task);
  } else {
    make_passes<F, 1>(task);
  }
  _tile_release();
}

inline TileProducts::Product product_for(Format format) {
  switch (format) {
    case Format::q4_0:
      return tile_product<Format::q4_0>;
    case Format::q4_1:
      return tile_product<Format::q4_1>;
    case Format::q5_0:
      return tile_product<Format::q5_0>;
    case Format::q5_1:
      return tile_product<Format::q5_1>;
    case Format::q8_0:
      return tile_product<Format::q8_0>;
    case Format::q4_k:
      return tile_product<Format::q4_k>;
    case Format::q5_k:
      return tile_product<Format::q5_k>;
    case Format::q6_k:
      return tile_product<Format::q6_k>;
    case Format::bf16:
      return tile_product<Format::bf16>;
    case Format::f32:
    case Format::f16:
      break;
  }
  return nullptr;
}

inline void pack_tile_row(const float* x, int64_t inputs, std::byte* block, int block_rows, int row) {
  std::byte* to = block + row * kRowBytes;
  for (int64_t input = 0; input < inputs; input += kGroup, to += block_rows * kRowBytes) {
    const __m512bh values = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + input + 16), _mm512_loadu_ps(x + input));
    __builtin_memcpy(to, &values, sizeof values);
  }
}

constexpr TileProducts kTileProducts = {pack_tile_row, product_for, 2 * kChunkGroups * kTileBytes};

}  // namespace
}  // namespace fairlead
