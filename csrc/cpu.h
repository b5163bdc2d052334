// What the processor can do, found once by CPUID.
#pragma once

#include <string_view>

namespace fairlead {

// Each holds all that the ones before it hold.
enum class Isa {
  portable,  // plain C++
  avx2,      // AVX2, FMA, F16C, BMI2
  avx512,    // AVX-512 F, BW, DQ, VL
  vnni,      // AVX-512 VNNI
  amx,       // AVX-512 BF16 and VBMI, AMX tiles with int8 and bf16
};

inline constexpr int kIsaCount = 5;

std::string_view isa_name(Isa isa);

// The best that the processor and the operating system offer.
Isa best_isa();

// Arithmetic units that processors have beside an instruction set of ours, or not.
bool has_avx_vnni();     // the instructions of VNNI on registers of AVX2
bool has_avx512_bf16();  // beside AVX-512

// What all kernels use: the best, or the lower one that FAIRLEAD_ISA names when this is first called.
// Throws std::invalid_argument where FAIRLEAD_ISA names none, or one that the processor lacks.
Isa active_isa();

// For tests, which run every kernel in every instruction set in one process. The same errors.
void set_active_isa(std::string_view name);

}  // namespace fairlead
