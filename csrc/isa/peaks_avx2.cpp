#if defined(__AVX2__)
#include <immintrin.h>

#include "isa/peaks_loops.h"

namespace fairlead {
namespace {

struct Fp32 {
  using Register = __m256;
  static Register operand() { return _mm256_set1_ps(0.5f); }
  static Register step(Register sum, Register a, Register b) { return _mm256_fmadd_ps(a, b, sum); }
};

// Without an instruction for it, sums of 32 bits take three: products in pairs, pairs of pairs, the sum.
struct Int8 {
  using Register = __m256i;
  static Register operand() { return _mm256_set1_epi8(3); }
  static Register step(Register sum, Register a, Register b) {
    const Register pairs = _mm256_maddubs_epi16(a, b);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

struct Int16 {
  using Register = __m256i;
  static Register operand() { return _mm256_set1_epi16(3); }
  static Register step(Register sum, Register a, Register b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
};

}  // namespace

constinit const PeakLoop kPeakAvx2Fp32 = peak_loop<Fp32>("avx2_fp32", 8);
constinit const PeakLoop kPeakAvx2Int8 = peak_loop<Int8>("avx2_int8", 32);
constinit const PeakLoop kPeakAvx2Int16 = peak_loop<Int16>("avx2_int16", 16);
constinit const ReadMemory kReadAvx2 = read_memory;

}  // namespace fairlead
#endif
