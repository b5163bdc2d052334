// Products with AVX-512 VNNI: two 16-bit products and a sum in one instruction (vpdpwssd).
#if defined(__AVX512VNNI__)
#include "isa/products_512.h"

namespace fairlead {
namespace {

struct Vnni : Vectors512 {
  FAIRLEAD_INLINE static Ints dot(Ints sum, Words words, int32_t pair) {
    return _mm512_dpwssd_epi32(sum, words, _mm512_set1_epi32(pair));
  }
};

}  // namespace

const Products& products_vnni() { return kProductsOf<Vnni>; }

}  // namespace fairlead
#endif
