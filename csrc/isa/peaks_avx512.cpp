#if defined(__AVX512BW__)
#include <immintrin.h>

#include "isa/peaks_loops.h"

namespace fairlead {
namespace {

struct Fp32 {
  using Register = __m512;
  static Register operand() { return _mm512_set1_ps(0.5f); }
  static Register step(Register sum, Register a, Register b) { return _mm512_fmadd_ps(a, b, sum); }
};

// As with AVX2.
struct Int8 {
  using Register = __m512i;
  static Register operand() { return _mm512_set1_epi8(3); }
  static Register step(Register sum, Register a, Register b) {
    const Register pairs = _mm512_maddubs_epi16(a, b);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
};

struct Int16 {
  using Register = __m512i;
  static Register operand() { return _mm512_set1_epi16(3); }
  static Register step(Register sum, Register a, Register b) { return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)); }
};

}  // namespace

constinit const PeakLoop kPeakAvx512Fp32 = peak_loop<Fp32>("avx512_fp32", 16);
constinit const PeakLoop kPeakAvx512Int8 = peak_loop<Int8>("avx512_int8", 64);
constinit const PeakLoop kPeakAvx512Int16 = peak_loop<Int16>("avx512_int16", 32);
constinit const ReadMemory kReadAvx512 = read_memory;

}  // namespace fairlead
#endif
