// What the processor can do, found once by CPUID.
#pragma once

#include <string_view>

namespace fairlead {

// From worst to best. Each holds all that the ones before it hold, but AVX-VNNI, which some with AVX-512 lack.
enum class Isa {
  portable,      // plain C++
  avx2,          // AVX2, FMA, F16C, BMI2
  avx_vnni,      // VNNI in 256 bits
  avx512,        // AVX-512 F, BW, DQ, VL
  vnni,          // AVX-512 VNNI
  amx,           // AVX-512 BF16 and VBMI, AMX tiles with int8 and bf16
  amx_emulated,  // AVX-512 VNNI and BF16, tiles in plain C++: for tests, never chosen by itself
};

inline constexpr int kIsaCount = 7;

std::string_view isa_name(Isa isa);

// Whether the processor and the operating system offer it.
bool has_isa(Isa isa);

// Whether it has AVX-512 BF16, an arithmetic unit that processors have beside an instruction set of ours, or not.
bool has_avx512_bf16();

// What all kernels use: the best, or the one that FAIRLEAD_ISA names when this is first called.
// Throws std::invalid_argument where FAIRLEAD_ISA names none, or one that the processor lacks.
Isa active_isa();

// For tests, which run every kernel in every instruction set in one process. The same errors.
void set_active_isa(std::string_view name);

}  // namespace fairlead
