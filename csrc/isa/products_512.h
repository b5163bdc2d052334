// The vectors of AVX-512 that the products are written over, but for the product of words, which differs between the
// instruction sets above it. Internal linkage, as products_kernels.h.
#pragma once

#include <immintrin.h>

#include "isa/products_unpacked.h"

namespace fairlead {
namespace {

struct Vectors512 {
  static constexpr int kLanes = 16, kTileRows = 8, kSums = 16, kCodeBits = 16;
  using Codes = __m512i;
  using Ints = __m512i;
  using Floats = __m512;

  FAIRLEAD_INLINE static Codes bytes(const std::byte* p) { return _mm512_loadu_si512(p); }
  template <int shift, int bits>
  FAIRLEAD_INLINE static Codes codes(Codes b) {
    const __m512i moved = shift == 0 ? b : _mm512_srli_epi16(b, shift);
    return shift + bits == 16 ? moved : _mm512_and_si512(moved, _mm512_set1_epi16((1 << bits) - 1));
  }
  FAIRLEAD_INLINE static Codes minus(Codes words, int16_t zero) {
    return _mm512_sub_epi16(words, _mm512_set1_epi16(zero));
  }

  FAIRLEAD_INLINE static Ints zero() { return _mm512_setzero_si512(); }
  template <int shift>
  FAIRLEAD_INLINE static Ints shifted(int32_t value) {
    return _mm512_slli_epi32(_mm512_set1_epi32(value), shift);
  }
  FAIRLEAD_INLINE static Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }

  FAIRLEAD_INLINE static Floats all(float value) { return _mm512_set1_ps(value); }
  FAIRLEAD_INLINE static Floats floats(const std::byte* p) { return _mm512_loadu_ps(p); }
  FAIRLEAD_INLINE static Floats halves(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
  }
  FAIRLEAD_INLINE static Floats bfloats(const std::byte* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  FAIRLEAD_INLINE static Floats unsigned_bytes(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)));
  }
  FAIRLEAD_INLINE static Floats signed_bytes(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
  }
  FAIRLEAD_INLINE static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  FAIRLEAD_INLINE static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  FAIRLEAD_INLINE static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  FAIRLEAD_INLINE static Floats fnma(Floats a, Floats b, Floats c) { return _mm512_fnmadd_ps(a, b, c); }
  FAIRLEAD_INLINE static void put(float* p, Floats a) { _mm512_storeu_ps(p, a); }
};

}  // namespace
}  // namespace fairlead
