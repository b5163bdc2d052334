#include "cpu.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace fairlead {
namespace {

constexpr std::array<std::string_view, kIsaCount> kNames = {"portable", "avx2", "avx512", "vnni", "amx"};

#if defined(__x86_64__)

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

bool has(unsigned value, std::initializer_list<int> bits) {
  for (const int bit : bits) {
    if ((value >> bit & 1) == 0) return false;
  }
  return true;
}

// The register state that the operating system saves (XCR0).
unsigned long long saved_state() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<unsigned long long>(high) << 32 | low;
}

// Linux hands out the tile registers only to processes that ask.
bool request_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Isa detect() {
  const Registers one = cpuid(1, 0);
  const Registers seven = cpuid(7, 0);
  const Registers seven_one = cpuid(7, 1);
  if (!has(one.ecx, {12, 27, 28, 29})) return Isa::portable;  // FMA, OSXSAVE, AVX, F16C
  const unsigned long long state = saved_state();
  if ((state & 0x6) != 0x6 || !has(seven.ebx, {5, 8})) return Isa::portable;          // AVX2, BMI2
  if ((state & 0xe6) != 0xe6 || !has(seven.ebx, {16, 17, 30, 31})) return Isa::avx2;  // F, DQ, BW, VL
  if (!has(seven.ecx, {11})) return Isa::avx512;                                      // VNNI
  const bool tiles = has(seven.edx, {22, 24, 25}) && (state & 0x60000) == 0x60000;    // BF16, TILE, INT8
  if (!tiles || !has(seven.ecx, {1}) || !has(seven_one.eax, {5})) return Isa::vnni;   // VBMI, AVX512_BF16
  return request_tiles() ? Isa::amx : Isa::vnni;
}

#else

Isa detect() { return Isa::portable; }

#endif

Isa parse(std::string_view name) {
  for (int i = 0; i < kIsaCount; ++i) {
    if (kNames[i] != name) continue;
    const auto isa = static_cast<Isa>(i);
    if (isa > best_isa()) {
      throw std::invalid_argument("this processor lacks the instruction set '" + std::string(name) +
                                  "'; the best it has is '" + std::string(isa_name(best_isa())) + "'");
    }
    return isa;
  }
  throw std::invalid_argument("'" + std::string(name) +
                              "' is no instruction set: use portable, avx2, avx512, vnni or amx");
}

std::atomic<Isa>& active() {
  static std::atomic<Isa> isa = [] {
    const char* forced = std::getenv("FAIRLEAD_ISA");
    return forced != nullptr && *forced != '\0' ? parse(forced) : best_isa();
  }();
  return isa;
}

}  // namespace

std::string_view isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

Isa best_isa() {
  static const Isa isa = detect();
  return isa;
}

#if defined(__x86_64__)
bool has_avx_vnni() { return best_isa() >= Isa::avx2 && has(cpuid(7, 1).eax, {4}); }
bool has_avx512_bf16() { return best_isa() >= Isa::avx512 && has(cpuid(7, 1).eax, {5}); }
#else
bool has_avx_vnni() { return false; }
bool has_avx512_bf16() { return false; }
#endif

Isa active_isa() { return active().load(std::memory_order_relaxed); }

void set_active_isa(std::string_view name) { active().store(parse(name)); }

}  // namespace fairlead
