// Products in plain C++: for processors that no other file knows, and to check the others against.
#define FAIRLEAD_UNROLL  // its vectors are loops already: unrolled as well, they take the compiler minutes
#include "half.h"
#include "isa/products_kernels.h"

namespace fairlead {
namespace {

struct Portable {
  static constexpr int kLanes = 16, kTileRows = 4;
  struct Ints {
    int32_t v[kLanes];
  };
  struct Floats {
    float v[kLanes];
  };
  struct Bytes {
    uint8_t v[4 * kLanes];
  };
  using Partial = Ints;
  template <int max_code>
  static constexpr int span = kQuads;
  template <int max_code>
  static constexpr bool kSigned = false;

  template <class Result, class Lane>
  FAIRLEAD_INLINE static Result each(Lane lane) {
    Result result;
    for (int i = 0; i < kLanes; ++i) result.v[i] = lane(i);
    return result;
  }

  FAIRLEAD_INLINE static Bytes bytes(const std::byte* p) { return load<Bytes>(p); }
  FAIRLEAD_INLINE static Bytes low_nibbles(Bytes b) {
    for (uint8_t& byte : b.v) byte &= 15;
    return b;
  }
  FAIRLEAD_INLINE static Bytes high_nibbles(Bytes b) {
    for (uint8_t& byte : b.v) byte >>= 4;
    return b;
  }
  template <int max_code>
  FAIRLEAD_INLINE static Bytes ready(Bytes b) {
    return b;
  }
  FAIRLEAD_INLINE static Partial open(Ints sum) { return sum; }
  FAIRLEAD_INLINE static Partial dot(Partial sum, const Bytes& w, int32_t quad) {
    int8_t x[4];
    store(x, quad);
    return each<Ints>([&](int i) {
      const uint8_t* of_lane = w.v + 4 * i;
      return sum.v[i] + of_lane[0] * x[0] + of_lane[1] * x[1] + of_lane[2] * x[2] + of_lane[3] * x[3];
    });
  }
  FAIRLEAD_INLINE static Ints close(Ints, Partial sum) { return sum; }

  FAIRLEAD_INLINE static Ints zero() { return Ints{}; }
  template <int shift>
  FAIRLEAD_INLINE static Ints shifted(int32_t value) {
    return each<Ints>([=](int) { return value * (1 << shift); });
  }
  FAIRLEAD_INLINE static Ints joined(const Ints& high, const Ints& low) {
    return each<Ints>([&](int i) { return high.v[i] * 256 + low.v[i]; });
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
