// The vectors of AVX2 that the products are written over, but for the product of words, as products_512.h; a panel is
// two of them.
#pragma once

#include <immintrin.h>

#include "isa/products_unpacked.h"

namespace fairlead {
namespace {

struct Vectors256 {
  static constexpr int kLanes = 8, kTileRows = 6, kSums = 4, kCodeBits = 16;
  using Codes = __m256i;
  using Ints = __m256i;
  using Floats = __m256;

  FAIRLEAD_INLINE static Codes bytes(const std::byte* p) { return _mm256_loadu_si256((const __m256i*)p); }
  template <int shift, int bits>
  FAIRLEAD_INLINE static Codes codes(Codes b) {
    const __m256i moved = shift == 0 ? b : _mm256_srli_epi16(b, shift);
    return shift + bits == 16 ? moved : _mm256_and_si256(moved, _mm256_set1_epi16((1 << bits) - 1));
  }
  FAIRLEAD_INLINE static Codes minus(Codes words, int16_t zero) {
    return _mm256_sub_epi16(words, _mm256_set1_epi16(zero));
  }

  FAIRLEAD_INLINE static Ints zero() { return _mm256_setzero_si256(); }
  template <int shift>
  FAIRLEAD_INLINE static Ints shifted(int32_t value) {
    return _mm256_slli_epi32(_mm256_set1_epi32(value), shift);
  }
  FAIRLEAD_INLINE static Floats to_floats(Ints a) { return _mm256_cvtepi32_ps(a); }

  FAIRLEAD_INLINE static Floats all(float value) { return _mm256_set1_ps(value); }
  FAIRLEAD_INLINE static Floats floats(const std::byte* p) { return _mm256_loadu_ps((const float*)p); }
  FAIRLEAD_INLINE static Floats halves(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  }
  FAIRLEAD_INLINE static Floats bfloats(const std::byte* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
  }
  FAIRLEAD_INLINE static Floats unsigned_bytes(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)));
  }
  FAIRLEAD_INLINE static Floats signed_bytes(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
  }
  FAIRLEAD_INLINE static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  FAIRLEAD_INLINE static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  FAIRLEAD_INLINE static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  FAIRLEAD_INLINE static Floats fnma(Floats a, Floats b, Floats c) { return _mm256_fnmadd_ps(a, b, c); }
  FAIRLEAD_INLINE static void put(float* p, Floats a) { _mm256_storeu_ps(p, a); }
};

}  // namespace
}  // namespace fairlead
