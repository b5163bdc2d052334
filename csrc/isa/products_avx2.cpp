// Products with AVX2: pairs of 8-bit products added to 16 bits (vpmaddubsw), half a panel at a time.
#if defined(__AVX2__)
#include <immintrin.h>

#include "isa/products_kernels.h"

namespace fairlead {
namespace {

struct Avx2 {
  static constexpr int kLanes = 8, kTileRows = 4;
  using Ints = __m256i;
  using Floats = __m256;
  using Partial = __m256i;  // 16-bit sums

  // Codes of 8 bits would overflow 16 bits. They are multiplied signed, as magnitude times the activation with the
  // code's sign.
  struct Signed {
    __m256i magnitude, code;
  };
  template <int max_code>
  static constexpr bool kSigned = max_code == 255;
  template <int max_code>
  static constexpr int span = kSigned<max_code> ? 1 : 32767 / (2 * 127 * max_code);

  FAIRLEAD_INLINE static __m256i bytes(const std::byte* p) { return _mm256_loadu_si256((const __m256i*)p); }
  FAIRLEAD_INLINE static __m256i low_nibbles(__m256i b) { return _mm256_and_si256(b, _mm256_set1_epi8(15)); }
  FAIRLEAD_INLINE static __m256i high_nibbles(__m256i b) { return low_nibbles(_mm256_srli_epi16(b, 4)); }
  template <int max_code>
  FAIRLEAD_INLINE static auto ready(__m256i b) {
    if constexpr (kSigned<max_code>) {
      const __m256i code = _mm256_xor_si256(b, _mm256_set1_epi8(-128));
      return Signed{_mm256_abs_epi8(code), code};
    } else {
      return b;
    }
  }
  FAIRLEAD_INLINE static Partial open(Ints) { return _mm256_setzero_si256(); }
  FAIRLEAD_INLINE static Partial dot(Partial sum, __m256i w, int32_t quad) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, _mm256_set1_epi32(quad)));
  }
  FAIRLEAD_INLINE static Partial dot(Partial sum, Signed w, int32_t quad) {
    return dot(sum, w.magnitude, _mm256_sign_epi8(_mm256_set1_epi32(quad), w.code));
  }
  FAIRLEAD_INLINE static Partial dot(Partial sum, __m256i w, __m256i x) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
  }
  FAIRLEAD_INLINE static Ints close(Ints sum, Partial partial) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(partial, _mm256_set1_epi16(1)));
  }

  FAIRLEAD_INLINE static Ints zero() { return _mm256_setzero_si256(); }
  template <int shift>
  FAIRLEAD_INLINE static Ints shifted(int32_t value) {
    return _mm256_slli_epi32(_mm256_set1_epi32(value), shift);
  }
  FAIRLEAD_INLINE static Ints joined(Ints high, Ints low) { return _mm256_add_epi32(_mm256_slli_epi32(high, 8), low); }
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

const Products& products_avx2() { return kProductsOf<Avx2>; }

}  // namespace fairlead
#endif
