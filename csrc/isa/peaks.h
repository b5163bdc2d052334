// Loops that keep one arithmetic unit, or memory, as busy as it can be. They compute nothing that anybody wants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fairlead {

// A loop on registers alone. A multiply-add is two operations.
struct PeakLoop {
  std::string_view unit;
  int64_t operations;  // of a round
  void (*run)(int64_t rounds);
};

extern const PeakLoop kPeakPortableFp32;
extern const PeakLoop kPeakAvx2Fp32;
extern const PeakLoop kPeakAvx2Int8;
extern const PeakLoop kPeakAvx2Int16;
extern const PeakLoop kPeakAvxVnniInt8;
extern const PeakLoop kPeakAvxVnniInt16;
extern const PeakLoop kPeakAvx512Fp32;
extern const PeakLoop kPeakAvx512Int8;
extern const PeakLoop kPeakAvx512Int16;
extern const PeakLoop kPeakAvx512VnniInt8;
extern const PeakLoop kPeakAvx512VnniInt16;
extern const PeakLoop kPeakAvx512Bf16;
extern const PeakLoop kPeakAmxBf16;
extern const PeakLoop kPeakAmxInt8;

// Reads memory from an aligned place on, asking for what lies `ahead` bytes further on, which need not be there;
// returns the exclusive or of all of it. `bytes` is a multiple of 256.
using ReadMemory = uint64_t (*)(const std::byte* from, int64_t bytes, int64_t ahead);

extern const ReadMemory kReadPortable;
extern const ReadMemory kReadAvx2;
extern const ReadMemory kReadAvx512;

}  // namespace fairlead
