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

constexpr std::array<std::string_view, kIsaCount> kNames = {"portable", "avx2", "avx-vnni",    "avx512",
                                                            "vnni",     "amx",  "amx-emulated"};

using Offered = std::array<bool, kIsaCount>;

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

void detect(Offered& offered) {
  const Registers one = cpuid(1, 0);
  const Registers seven = cpuid(7, 0);
  const Registers seven_one = cpuid(7, 1);
  const auto offer = [&](Isa isa, bool present) { return offered[static_cast<int>(isa)] = present; };
  if (!has(one.ecx, {12, 27, 28, 29})) return;  // FMA, OSXSAVE, AVX, F16C
  const unsigned long long state = saved_state();
  if (!offer(Isa::avx2, (state & 0x6) == 0x6 && has(seven.ebx, {5, 8}))) return;  // AVX2, BMI2
  offer(Isa::avx_vnni, has(seven_one.eax, {4}));
  if (!offer(Isa::avx512, (state & 0xe6) == 0xe6 && has(seven.ebx, {16, 17, 30, 31}))) return;  // F, DQ, BW, VL
  if (!offer(Isa::vnni, has(seven.ecx, {11}))) return;
  if (!offer(Isa::amx_emulated, has(seven_one.eax, {5}))) return;                   // AVX512_BF16
  const bool tiles = has(seven.edx, {22, 24, 25}) && (state & 0x60000) == 0x60000;  // BF16, TILE, INT8
  offer(Isa::amx, tiles && has(seven.ecx, {1}) && request_tiles());                 // VBMI
}

#else

void detect(Offered&) {}

#endif

const Offered& offered() {
  static const Offered found = [] {
    Offered offered{};
    offered[static_cast<int>(Isa::portable)] = true;
    detect(offered);
    return offered;
  }();
  return found;
}

Isa best_isa() {
  int best = static_cast<int>(Isa::amx);
  while (!offered()[best]) --best;
  return static_cast<Isa>(best);
}

Isa parse(std::string_view name) {
  for (int i = 0; i < kIsaCount; ++i) {
    if (kNames[i] != name) continue;
    const auto isa = static_cast<Isa>(i);
    if (!has_isa(isa)) {
      throw std::invalid_argument("this processor lacks the instruction set '" + std::string(name) +
                                  "'; the best it has is '" + std::string(isa_name(best_isa())) + "'");
    }
    return isa;
  }
  std::string known;
  for (const std::string_view one : kNames) known += (known.empty() ? "" : ", ") + std::string(one);
  throw std::invalid_argument("'" + std::string(name) + "' is no instruction set; there are: " + known);
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

bool has_isa(Isa isa) { return offered()[static_cast<int>(isa)]; }

bool has_avx512_bf16() { return has_isa(Isa::amx_emulated); }  // which is made of it

Isa active_isa() { return active().load(std::memory_order_relaxed); }

void set_active_isa(std::string_view name) { active().store(parse(name)); }

}  // namespace fairlead
