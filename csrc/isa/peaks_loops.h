// The loops of peaks.h as templates. In an unnamed namespace, as simd.h is and for its reason.
#pragma once

#include "isa/peaks.h"

namespace fairlead {
namespace {

// Sums that do not wait for each other: more than any processor starts before the first is done, and few enough for the
// registers to hold them with their operands.
#if defined(__AVX512F__)
constexpr int kChains = 24;
#else
constexpr int kChains = 12;
#endif

// From here on the compiler knows nothing of the value, so that it computes with it anew.
template <class Register>
inline __attribute__((always_inline)) void hide(Register& value) {
#if defined(__x86_64__)
  __asm__ volatile("" : "+v"(value));
#elif defined(__aarch64__)
  __asm__ volatile("" : "+w"(value));
#else
  __asm__ volatile("" : "+m"(value));
#endif
}

// A unit has: Register; operand(), any plain values; step(sum, a, b), which adds products of a and b.
template <class Unit>
void keep_busy(int64_t rounds) {
  auto a = Unit::operand(), b = Unit::operand();
  typename Unit::Register sums[kChains] = {};
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int chain = 0; chain < kChains; ++chain) {
      hide(a);
      sums[chain] = Unit::step(sums[chain], a, b);
    }
  }
#pragma GCC unroll 24
  for (int chain = 0; chain < kChains; ++chain) hide(sums[chain]);
}

template <class Unit>
constexpr PeakLoop peak_loop(std::string_view name, int multiply_adds_of_a_step) {
  return {name, int64_t{2} * kChains * multiply_adds_of_a_step, keep_busy<Unit>};
}

inline uint64_t read_memory(const std::byte* from, int64_t bytes, int64_t ahead) {
  typedef uint64_t Register __attribute__((vector_size(__BIGGEST_ALIGNMENT__), may_alias));
  constexpr int kAtOnce = 4, kBytes = sizeof(Register);
  Register found[kAtOnce] = {};
  for (int64_t at = 0; at + kAtOnce * kBytes <= bytes; at += kAtOnce * kBytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kAtOnce; ++i) {
      const std::byte* place = from + at + i * kBytes;
      __builtin_prefetch(place + ahead);
      found[i] ^= *reinterpret_cast<const Register*>(place);
    }
  }
  const Register all = found[0] ^ found[1] ^ found[2] ^ found[3];
  uint64_t result = 0;
  for (int i = 0; i < kBytes / 8; ++i) result ^= all[i];
  return result;
}

}  // namespace
}  // namespace fairlead
