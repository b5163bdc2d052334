// Products with AVX-VNNI: two 16-bit products and a sum in one instruction (vpdpwssd).
#if defined(__AVXVNNI__)
#include "isa/products_256.h"

namespace fairlead {
namespace {

struct AvxVnni : Vectors256 {
  FAIRLEAD_INLINE static Ints dot(Ints sum, Words words, int32_t pair) {
    return _mm256_dpwssd_avx_epi32(sum, words, _mm256_set1_epi32(pair));
  }
};

}  // namespace

const Products& products_avx_vnni() { return kProductsOf<AvxVnni>; }

}  // namespace fairlead
#endif
