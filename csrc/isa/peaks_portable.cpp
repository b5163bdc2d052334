// What a compiler makes of plain C++ for any processor of the architecture: registers of 16 bytes.
#include "isa/peaks_loops.h"

namespace fairlead {
namespace {

struct Fp32 {
  typedef float Register __attribute__((vector_size(16)));
  static Register operand() { return Register{} + 0.5f; }
  static Register step(Register sum, Register a, Register b) { return sum + a * b; }
};

}  // namespace

constinit const PeakLoop kPeakPortableFp32 = peak_loop<Fp32>("portable_fp32", 4);
constinit const ReadMemory kReadPortable = read_memory;

}  // namespace fairlead
