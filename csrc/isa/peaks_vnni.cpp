#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include "isa/peaks_loops.h"

namespace fairlead {
namespace {

struct Int8 {
  using Register = __m512i;
  static Register operand() { return _mm512_set1_epi8(3); }
  static Register step(Register sum, Register a, Register b) { return _mm512_dpbusd_epi32(sum, a, b); }
};

struct Int16 {
  using Register = __m512i;
  static Register operand() { return _mm512_set1_epi16(3); }
  static Register step(Register sum, Register a, Register b) { return _mm512_dpwssd_epi32(sum, a, b); }
};

}  // namespace

constinit const PeakLoop kPeakAvx512VnniInt8 = peak_loop<Int8>("avx512_vnni_int8", 64);
constinit const PeakLoop kPeakAvx512VnniInt16 = peak_loop<Int16>("avx512_vnni_int16", 32);

}  // namespace fairlead
#endif
