// Products with AVX-512 VNNI: four 8-bit products added to 32 bits (vpdpbusd).
#if defined(__AVX512VNNI__)
#include "isa/products_512.h"

namespace fairlead {
namespace {

struct Vnni : Vectors512 {
  using Partial = Ints;
  template <int max_code>
  static constexpr bool kSigned = false;
  template <int max_code>
  static constexpr int span = kQuads;

  template <int max_code>
  FAIRLEAD_INLINE static __m512i ready(__m512i b) {
    return b;
  }
  FAIRLEAD_INLINE static Partial open(Ints sum) { return sum; }
  FAIRLEAD_INLINE static Partial dot(Partial sum, __m512i w, int32_t quad) {
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(quad));
  }
  FAIRLEAD_INLINE static Ints close(Ints, Partial sum) { return sum; }
};

}  // namespace

const Products& products_vnni() { return kProductsOf<Vnni>; }

}  // namespace fairlead
#endif
