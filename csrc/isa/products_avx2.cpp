// Products with AVX2: two 16-bit products added to 32 bits (vpmaddwd).
#if defined(__AVX2__)
#include "isa/products_256.h"

namespace fairlead {
namespace {

struct Avx2 : Vectors256 {
  static constexpr int kUnpackedFrom = 24;

  FAIRLEAD_INLINE static Ints dot(Ints sum, Codes words, int32_t pair) {
    return in_order(_mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi32(pair))));
  }
};

}  // namespace

const Products& products_avx2() { return kProductsOf<Avx2>; }

}  // namespace fairlead
#endif
