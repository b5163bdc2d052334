// Products in plain C++: for processors that no other file knows, and to check the others against.
#define FAIRLEAD_UNROLL  // its vectors are loops already: unrolled as well, they take the compiler minutes
#include "half.h"
#include "isa/products_unpacked.h"

namespace fairlead {
namespace {

struct Portable {
  static constexpr int kLanes = 16, kTileRows = 4, kSums = 8, kCodeBits = 16, kUnpackedFrom = kNever;
  struct Ints {
    int32_t v[kLanes];
  };
  struct Floats {
    float v[kLanes];
  };
  struct Codes {
    uint16_t v[2 * kLanes];
  };

  template <class Result, class Lane>
  FAIRLEAD_INLINE static Result each(Lane lane) {
    Result result;
    for (int i = 0; i < kLanes; ++i) result.v[i] = lane(i);
    return result;
  }

  FAIRLEAD_INLINE static Codes bytes(const std::byte* p) { return load<Codes>(p); }
  template <int shift, int bits>
  FAIRLEAD_INLINE static Codes codes(Codes w) {
    for (uint16_t& word : w.v) word = static_cast<uint16_t>(word >> shift & ((1 << bits) - 1));
    return w;
  }
  FAIRLEAD_INLINE static Codes minus(Codes w, int16_t zero) {
    for (uint16_t& word : w.v) word = static_cast<uint16_t>(word - zero);
    return w;
  }
  FAIRLEAD_INLINE static Ints dot(const Ints& sum, const Codes& words, int32_t pair) {
    int16_t x[2];
    store(x, pair);
    return each<Ints>([&](int i) {
      const int16_t first = static_cast<int16_t>(words.v[2 * i]), second = static_cast<int16_t>(words.v[2 * i + 1]);
      return sum.v[i] + first * x[0] + second * x[1];
    });
  }

  FAIRLEAD_INLINE static Ints zero() { return Ints{}; }
  template <int shift>
  FAIRLEAD_INLINE static Ints shifted(int32_t value) {
    return each<Ints>([=](int) { return value * (1 << shift); });
  }
  FAIRLEAD_INLINE static Floats to_floats(const Ints& a) {
    return each<Floats>([&](int i) { return static_cast<float>(a.v[i]); });
  }

  FAIRLEAD_INLINE static Floats all(float value) {
    return each<Floats>([=](int) { return value; });
  }
  FAIRLEAD_INLINE static Floats floats(const std::byte* p) { return load<Floats>(p); }
  FAIRLEAD_INLINE static Floats halves(const std::byte* p) {
    return each<Floats>([=](int i) { return float_from_half(load<uint16_t>(p + 2 * i)); });
  }
  FAIRLEAD_INLINE static Floats bfloats(const std::byte* p) {
    return each<Floats>([=](int i) { return float_from_bfloat16(load<uint16_t>(p + 2 * i)); });
  }
  FAIRLEAD_INLINE static Floats unsigned_bytes(const std::byte* p) {
    return each<Floats>([=](int i) { return static_cast<float>(load<uint8_t>(p + i)); });
  }
  FAIRLEAD_INLINE static Floats signed_bytes(const std::byte* p) {
    return each<Floats>([=](int i) { return static_cast<float>(load<int8_t>(p + i)); });
  }
  FAIRLEAD_INLINE static Floats add(const Floats& a, const Floats& b) {
    return each<Floats>([&](int i) { return a.v[i] + b.v[i]; });
  }
  FAIRLEAD_INLINE static Floats mul(const Floats& a, const Floats& b) {
    return each<Floats>([&](int i) { return a.v[i] * b.v[i]; });
  }
  FAIRLEAD_INLINE static Floats fma(const Floats& a, const Floats& b, const Floats& c) {
    return each<Floats>([&](int i) { return c.v[i] + a.v[i] * b.v[i]; });
  }
  FAIRLEAD_INLINE static Floats fnma(const Floats& a, const Floats& b, const Floats& c) {
    return each<Floats>([&](int i) { return c.v[i] - a.v[i] * b.v[i]; });
  }
  FAIRLEAD_INLINE static void put(float* p, const Floats& a) { store(p, a); }
};

}  // namespace

const Products& products_portable() { return kProductsOf<Portable>; }

}  // namespace fairlead
