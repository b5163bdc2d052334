#include "peaks.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "aligned.h"
#include "cpu.h"
#include "isa/peaks.h"
#include "matmul.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fairlead {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// How long one call lasts at least: long beside waking a team, short beside a time slice.
constexpr double kShortest = 0.004;

std::vector<const PeakLoop*> loops() {
  std::vector<const PeakLoop*> found = {&kPeakPortableFp32};
#if defined(__x86_64__)
  const auto add = [&](bool there, std::initializer_list<const PeakLoop*> more) {
    if (there) found.insert(found.end(), more);
  };
  add(has_isa(Isa::avx2), {&kPeakAvx2Fp32, &kPeakAvx2Int8, &kPeakAvx2Int16});
  add(has_isa(Isa::avx_vnni), {&kPeakAvxVnniInt8, &kPeakAvxVnniInt16});
  add(has_isa(Isa::avx512), {&kPeakAvx512Fp32, &kPeakAvx512Int8, &kPeakAvx512Int16});
  add(has_isa(Isa::vnni), {&kPeakAvx512VnniInt8, &kPeakAvx512VnniInt16});
  add(has_avx512_bf16(), {&kPeakAvx512Bf16});
  add(has_isa(Isa::amx), {&kPeakAmxBf16, &kPeakAmxInt8});
#endif
  return found;
}

const PeakLoop& loop_of(std::string_view unit) {
  for (const PeakLoop* loop : loops()) {
    if (loop->unit == unit) return *loop;
  }
  throw std::invalid_argument("this processor has no arithmetic unit '" + std::string(unit) + "'");
}

ReadMemory read_memory() {
#if defined(__x86_64__)
  if (has_isa(Isa::avx512)) return kReadAvx512;
  if (has_isa(Isa::avx2)) return kReadAvx2;
#endif
  return kReadPortable;
}

double time_rounds(const PeakLoop& loop, ThreadPool& pool, int64_t rounds) {
  const auto start = Clock::now();
  pool.run([&](Worker&) { loop.run(rounds); });
  return seconds_since(start);
}

// Memory like that of weights: in large pages where there are any, each part first touched by the thread that reads it.
class Memory {
 public:
  Memory(ThreadPool& pool, int64_t bytes)
      : bytes_(round_up(bytes, kGrain)), data_(static_cast<std::byte*>(::operator new(bytes_, kAlignment))) {
#if defined(__linux__)
    madvise(data_, bytes_, MADV_HUGEPAGE);  // a hint, free to fail
#endif
    pool.run([this](Worker& worker) {
      const Range part = share(worker);
      std::memset(data_ + part.begin, 1, part.end - part.begin);
    });
  }
  ~Memory() { ::operator delete(data_, kAlignment); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  int64_t bytes() const { return bytes_; }
  const std::byte* data() const { return data_; }
  Range share(const Worker& worker) const { return worker.share(bytes_, kGrain); }

 private:
  static constexpr std::align_val_t kAlignment{4096};
  static constexpr int64_t kGrain = 4096;
  int64_t bytes_;
  std::byte* data_;
};

}  // namespace

std::vector<std::string_view> arithmetic_units() {
  std::vector<std::string_view> names;
  for (const PeakLoop* loop : loops()) names.push_back(loop->unit);
  return names;
}

double measure_peak(std::string_view unit, ThreadPool& pool, double seconds) {
  const PeakLoop& loop = loop_of(unit);
  int64_t rounds = 1024;
  while (time_rounds(loop, pool, rounds) < kShortest) rounds *= 2;
  const auto start = Clock::now();
  double best = 0;
  do {
    const double rate = static_cast<double>(loop.operations * rounds * pool.size()) / time_rounds(loop, pool, rounds);
    best = std::max(best, rate);
  } while (seconds_since(start) < seconds);
  return best;
}

double measure_read_bandwidth(ThreadPool& pool, int64_t bytes, double seconds) {
  constexpr int64_t kAhead[] = {0, 512, 2048, 8192};  // processors fetch ahead on their own, some too little
  const Memory memory(pool, bytes);
  const ReadMemory read = read_memory();
  std::atomic<uint64_t> found = 0;  // keeps the reads from being left out
  const auto start = Clock::now();
  double best = 0;
  do {
    for (const int64_t ahead : kAhead) {
      const auto pass = Clock::now();
      pool.run([&](Worker& worker) {
        const Range part = memory.share(worker);
        found ^= read(memory.data() + part.begin, part.end - part.begin, ahead);
      });
      best = std::max(best, static_cast<double>(memory.bytes()) / seconds_since(pass));
    }
  } while (seconds_since(start) < seconds);
  return best;
}

std::string_view product_unit([[maybe_unused]] const Weight& weight, [[maybe_unused]] int rows,
                              [[maybe_unused]] Activations activations) {
#if defined(__x86_64__)
  const RowForm form = row_form(weight, rows, activations);
  const Isa isa = active_isa();
  if (form == RowForm::bf16) return isa == Isa::amx ? kPeakAmxBf16.unit : kPeakPortableFp32.unit;  // or emulated
  if (form == RowForm::q8) return isa >= Isa::vnni ? kPeakAvx512VnniInt8.unit : kPeakAvxVnniInt8.unit;
  if (form == RowForm::q16) {
    if (isa >= Isa::vnni) return kPeakAvx512VnniInt16.unit;
    if (isa >= Isa::avx512) return kPeakAvx512Int16.unit;
    if (isa >= Isa::avx_vnni) return kPeakAvxVnniInt16.unit;
    if (isa >= Isa::avx2) return kPeakAvx2Int16.unit;
  }
#endif
  return vector_unit();  // plain C++ has one peak for all it does
}

std::string_view vector_unit() {
#if defined(__x86_64__)
  if (active_isa() >= Isa::avx512) return kPeakAvx512Fp32.unit;
  if (active_isa() >= Isa::avx2) return kPeakAvx2Fp32.unit;
#endif
  return kPeakPortableFp32.unit;
}

}  // namespace fairlead
