// Products with AVX-512 VNNI: two 16-bit products and a sum in one instruction (vpdpwssd), or four 8-bit ones
// (vpdpbusd).
#if defined(__AVX512VNNI__)
#include "isa/products_512.h"
#include "isa/products_bytes.h"

namespace fairlead {
namespace {

struct Vnni : Vectors512 {
  static constexpr int kUnpackedFrom = kNever;

  FAIRLEAD_INLINE static Ints dot(Ints sum, Codes words, int32_t pair) {
    return _mm512_dpwssd_epi32(sum, words, _mm512_set1_epi32(pair));
  }
};

struct VnniBytes : Vectors512 {
  static constexpr int kCodeBits = 8;

  template <int shift, int bits>
  FAIRLEAD_INLINE static Codes codes(Codes b) {
    const __m512i moved = shift == 0 ? b : _mm512_srli_epi16(b, shift);
    return bits == 8 ? moved : _mm512_and_si512(moved, _mm512_set1_epi8((1 << bits) - 1));
  }
  FAIRLEAD_INLINE static Ints dot(Ints sum, Codes bytes, int32_t quad) {
    return _mm512_dpbusd_epi32(sum, bytes, _mm512_set1_epi32(quad));
  }
};

}  // namespace

const Products& products_vnni() { return kProductsOf<Vnni>; }
const ByteProducts& byte_products_vnni() { return kByteProductsOf<VnniBytes>; }

}  // namespace fairlead
#endif
