// Floats side by side in one register: the widest that this file is compiled for.
//
// In an unnamed namespace on purpose: each file of isa/ has its own, so that the linker never puts one compiled for
// AVX-512 where another instruction set runs.
#pragma once

#include <cstdint>
#include <cstring>

#include "half.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace fairlead {
namespace {

// Stored as halves, larger magnitudes become this one, so that a cache never holds infinities.
constexpr float kMostHalf = 65504.0f;

// Loads and stores are of floats, of IEEE halves, and of codes: whole numbers from -127 to 127.

#if defined(__AVX512F__)

struct Floats {
  static constexpr int kLanes = 16;
  __m512 v;

  static Floats load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Floats load(const uint16_t* halves) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)))};
  }
  static Floats load(const int8_t* codes) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes))))};
  }
  static Floats all(float x) { return {_mm512_set1_ps(x)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store(uint16_t* halves) const {
    const __m512 bounded = _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(-kMostHalf)), _mm512_set1_ps(kMostHalf));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(halves),
                        _mm512_cvtps_ph(bounded, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  void store(int8_t* codes) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
  }

  friend Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend Floats operator/(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
};

inline Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Floats max(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Floats min(Floats a, Floats b) { return {_mm512_min_ps(a.v, b.v)}; }
// `value` where a is at least `least`, else 0; of the other sets likewise.
inline Floats where_at_least(Floats a, Floats least, Floats value) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, least.v, _CMP_GE_OQ), value.v)};
}
// 1 / a for a from 1 to 2¹²⁶, within 2 ulp; of the other sets likewise.
inline Floats reciprocal(Floats a) {
  const Floats guess{_mm512_rcp14_ps(a.v)};
  return guess * (Floats::all(2.0f) - a * guess);
}
inline float sum(Floats a) { return _mm512_reduce_add_ps(a.v); }
inline float largest(Floats a) { return _mm512_reduce_max_ps(a.v); }

// x · 2ⁿ for whole n from -126 to 127.
inline Floats scaled_by_power(Floats x, Floats n) { return {_mm512_scalef_ps(x.v, n.v)}; }

#elif defined(__AVX2__)

struct Floats {
  static constexpr int kLanes = 8;
  __m256 v;

  static Floats load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Floats load(const uint16_t* halves) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)))};
  }
  static Floats load(const int8_t* codes) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes))))};
  }
  static Floats all(float x) { return {_mm256_set1_ps(x)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void store(uint16_t* halves) const {
    const __m256 bounded = _mm256_min_ps(_mm256_max_ps(v, _mm256_set1_ps(-kMostHalf)), _mm256_set1_ps(kMostHalf));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(halves),
                     _mm256_cvtps_ph(bounded, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  void store(int8_t* codes) const {
    const __m256i whole = _mm256_cvtps_epi32(v);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(codes), _mm_packs_epi16(words, words));
  }

  friend Floats operator+(Floats a, Floats b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend Floats operator-(Floats a, Floats b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend Floats operator*(Floats a, Floats b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend Floats operator/(Floats a, Floats b) { return {_mm256_div_ps(a.v, b.v)}; }
};

inline Floats fma(Floats a, Floats b, Floats c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Floats where_at_least(Floats a, Floats least, Floats value) {
  return {_mm256_and_ps(_mm256_cmp_ps(a.v, least.v, _CMP_GE_OQ), value.v)};
}
inline Floats reciprocal(Floats a) {
  Floats guess{_mm256_rcp_ps(a.v)};
  guess = guess * (Floats::all(2.0f) - a * guess);
  return guess * (Floats::all(2.0f) - a * guess);
}
inline float sum(Floats a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float largest(Floats a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline Floats scaled_by_power(Floats x, Floats n) {
  const __m256i exponents = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_mul_ps(x.v, _mm256_castsi256_ps(_mm256_slli_epi32(exponents, 23)))};
}

#else  // the compiler's own vectors: SSE2, NEON or plain loops

struct Floats {
  static constexpr int kLanes = 4;
  typedef float Vector __attribute__((vector_size(16)));
  Vector v;

  static Floats load(const float* p) {
    Floats x;
    std::memcpy(&x.v, p, sizeof x.v);
    return x;
  }
  static Floats load(const uint16_t* h) {
    return {Vector{float_from_half(h[0]), float_from_half(h[1]), float_from_half(h[2]), float_from_half(h[3])}};
  }
  static Floats load(const int8_t* c) {
    return {
        Vector{static_cast<float>(c[0]), static_cast<float>(c[1]), static_cast<float>(c[2]), static_cast<float>(c[3])}};
  }
  static Floats all(float x) { return {Vector{x, x, x, x}}; }
  void store(float* p) const { std::memcpy(p, &v, sizeof v); }
  void store(uint16_t* halves) const {
    for (int i = 0; i < kLanes; ++i) halves[i] = half_from_float(v[i]);
  }
  void store(int8_t* codes) const {
    for (int i = 0; i < kLanes; ++i) {
      codes[i] = static_cast<int8_t>(__builtin_fminf(__builtin_fmaxf(__builtin_rintf(v[i]), -128.0f), 127.0f));
    }
  }

  friend Floats operator+(Floats a, Floats b) { return {a.v + b.v}; }
  friend Floats operator-(Floats a, Floats b) { return {a.v - b.v}; }
  friend Floats operator*(Floats a, Floats b) { return {a.v * b.v}; }
  friend Floats operator/(Floats a, Floats b) { return {a.v / b.v}; }
};

inline Floats fma(Floats a, Floats b, Floats c) { return {a.v * b.v + c.v}; }
inline Floats max(Floats a, Floats b) { return {a.v > b.v ? a.v : b.v}; }
inline Floats min(Floats a, Floats b) { return {a.v < b.v ? a.v : b.v}; }
inline Floats where_at_least(Floats a, Floats least, Floats value) {
  return {a.v >= least.v ? value.v : Floats::all(0).v};
}
inline Floats reciprocal(Floats a) { return Floats::all(1.0f) / a; }
inline float sum(Floats a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
inline float largest(Floats a) {
  const float low = a.v[0] > a.v[1] ? a.v[0] : a.v[1];
  const float high = a.v[2] > a.v[3] ? a.v[2] : a.v[3];
  return low > high ? low : high;
}
inline Floats scaled_by_power(Floats x, Floats n) {
  Floats power;
  for (int i = 0; i < Floats::kLanes; ++i) {
    power.v[i] = float_from_bits(static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127) << 23);
  }
  return x * power;
}

#endif

constexpr float kLeastExponent = -87.0f, kMostExponent = 88.0f;

// eˣ within 2 ulp for x from kLeastExponent to kMostExponent.
// Range reduction by ln 2 in two parts, then the polynomial of Cephes' expf (Moshier, 1989).
inline Floats exp_within(Floats x) {
  const Floats shift = Floats::all(0x1.8p23f);  // adding it leaves no bits behind the point
  const Floats n = fma(x, Floats::all(1.44269504088896341f), shift) - shift;
  Floats r = fma(n, Floats::all(-0.693359375f), x);
  r = fma(n, Floats::all(2.12194440e-4f), r);
  Floats p = Floats::all(1.9875691500e-4f);
  p = fma(p, r, Floats::all(1.3981999507e-3f));
  p = fma(p, r, Floats::all(8.3334519073e-3f));
  p = fma(p, r, Floats::all(4.1665795894e-2f));
  p = fma(p, r, Floats::all(1.6666665459e-1f));
  p = fma(p, r, Floats::all(5.0000001201e-1f));
  p = fma(fma(p, r, Floats::all(1.0f)), r, Floats::all(1.0f));
  return scaled_by_power(p, n);
}

// eˣ for any x; below and above the range it is that of the bound.
inline Floats exp(Floats x) { return exp_within(min(max(x, Floats::all(kLeastExponent)), Floats::all(kMostExponent))); }

inline Floats sigmoid(Floats x) { return Floats::all(1.0f) / (Floats::all(1.0f) + exp(Floats::all(0.0f) - x)); }

}  // namespace
}  // namespace fairlead
