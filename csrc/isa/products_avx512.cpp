// Products with AVX-512 that lacks VNNI: as with AVX2, a whole panel at a time.
#if defined(__AVX512BW__)
#include "isa/products_512.h"

namespace fairlead {
namespace {

struct Avx512 : Vectors512 {
  static constexpr int kUnpackedFrom = 64;

  FAIRLEAD_INLINE static Ints dot(Ints sum, Codes words, int32_t pair) {
    return in_order(_mm512_add_epi32(sum, _mm512_madd_epi16(words, _mm512_set1_epi32(pair))));
  }
};

}  // namespace

const Products& products_avx512() { return kProductsOf<Avx512>; }

}  // namespace fairlead
#endif
