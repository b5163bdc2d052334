#if defined(__AVX512BF16__)
#include <immintrin.h>

#include "isa/peaks_loops.h"

namespace fairlead {
namespace {

struct Bf16 {
  using Register = __m512;
  static __m512bh operand() {
    const __m512 half = _mm512_set1_ps(0.5f);
    return _mm512_cvtne2ps_pbh(half, half);
  }
  static Register step(Register sum, __m512bh a, __m512bh b) { return _mm512_dpbf16_ps(sum, a, b); }
};

}  // namespace

constinit const PeakLoop kPeakAvx512Bf16 = peak_loop<Bf16>("avx512_bf16", 32);

}  // namespace fairlead
#endif
