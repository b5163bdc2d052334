// Products with AVX-VNNI: two 16-bit products and a sum in one instruction (vpdpwssd), or four 8-bit ones (vpdpbusd).
#if defined(__AVXVNNI__)
#include "isa/products_256.h"
#include "isa/products_bytes.h"

namespace fairlead {
namespace {

struct AvxVnni : Vectors256 {
  static constexpr int kUnpackedFrom = 24;

  FAIRLEAD_INLINE static Ints dot(Ints sum, Codes words, int32_t pair) {
    return _mm256_dpwssd_avx_epi32(sum, words, _mm256_set1_epi32(pair));
  }
};

struct AvxVnniBytes : Vectors256 {
  static constexpr int kCodeBits = 8;
  static constexpr int kSums = 12;  // two vectors of outputs for all rows of a tile: just what 16 registers hold

  template <int shift, int bits>
  FAIRLEAD_INLINE static Codes codes(Codes b) {
    const __m256i moved = shift == 0 ? b : _mm256_srli_epi16(b, shift);
    return bits == 8 ? moved : _mm256_and_si256(moved, _mm256_set1_epi8((1 << bits) - 1));
  }
  FAIRLEAD_INLINE static Ints dot(Ints sum, Codes bytes, int32_t quad) {
    return _mm256_dpbusd_avx_epi32(sum, bytes, _mm256_set1_epi32(quad));
  }
};

}  // namespace

const Products& products_avx_vnni() { return kProductsOf<AvxVnni>; }
const ByteProducts& byte_products_avx_vnni() { return kByteProductsOf<AvxVnniBytes>; }

}  // namespace fairlead
#endif
