// Products with AVX-512 that lacks VNNI: as with AVX2, a whole panel at a time.
#if defined(__AVX512BW__)
#include "isa/products_512.h"

namespace fairlead {
namespace {

struct Avx512 : Vectors512 {
  using Partial = __m512i;  // 16-bit sums

  // Codes of 8 bits, as in products_avx2.cpp.
  struct Signed {
    __m512i magnitude;
    __mmask64 negative;
  };
  template <int max_code>
  static constexpr bool kSigned = max_code == 255;
  template <int max_code>
  static constexpr int span = kSigned<max_code> ? 1 : 32767 / (2 * 127 * max_code);

  template <int max_code>
  FAIRLEAD_INLINE static auto ready(__m512i b) {
    if constexpr (kSigned<max_code>) {
      const __m512i code = _mm512_xor_si512(b, _mm512_set1_epi8(-128));
      return Signed{_mm512_abs_epi8(code), _mm512_movepi8_mask(code)};
    } else {
      return b;
    }
  }
  FAIRLEAD_INLINE static Partial open(Ints) { return _mm512_setzero_si512(); }
  FAIRLEAD_INLINE static Partial dot(Partial sum, __m512i w, __m512i x) {
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(w, x));
  }
  FAIRLEAD_INLINE static Partial dot(Partial sum, __m512i w, int32_t quad) {
    return dot(sum, w, _mm512_set1_epi32(quad));
  }
  FAIRLEAD_INLINE static Partial dot(Partial sum, Signed w, int32_t quad) {
    const __m512i x = _mm512_set1_epi32(quad);
    return dot(sum, w.magnitude, _mm512_mask_sub_epi8(x, w.negative, _mm512_setzero_si512(), x));
  }
  FAIRLEAD_INLINE static Ints close(Ints sum, Partial partial) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(partial, _mm512_set1_epi16(1)));
  }
};

}  // namespace

const Products& products_avx512() { return kProductsOf<Avx512>; }

}  // namespace fairlead
#endif
