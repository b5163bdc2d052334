#if defined(__AVXVNNI__)
#include <immintrin.h>

#include "isa/peaks_loops.h"

namespace fairlead {
namespace {

struct Int8 {
  using Register = __m256i;
  static Register operand() { return _mm256_set1_epi8(3); }
  static Register step(Register sum, Register a, Register b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
};

struct Int16 {
  using Register = __m256i;
  static Register operand() { return _mm256_set1_epi16(3); }
  static Register step(Register sum, Register a, Register b) { return _mm256_dpwssd_avx_epi32(sum, a, b); }
};

}  // namespace

constinit const PeakLoop kPeakAvxVnniInt8 = peak_loop<Int8>("avx_vnni_int8", 32);
constinit const PeakLoop kPeakAvxVnniInt16 = peak_loop<Int16>("avx_vnni_int16", 16);

}  // namespace fairlead
#endif
