#include "weight_memory.h"

#include <algorithm>
#include <mutex>
#include <new>

#include "aligned.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fairlead {

#if defined(__linux__)

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Of address space: pages that nobody touches are not there.
constexpr size_t kChunkBytes = size_t{256} << 20;

class Chunk {
 public:
  explicit Chunk(size_t bytes) : mapped_(bytes + kHugePage), end_(bytes) {
    void* found = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    start_ = static_cast<std::byte*>(found);
    first_ = start_ + (kHugePage - reinterpret_cast<uintptr_t>(start_) % kHugePage) % kHugePage;
    madvise(first_, end_, MADV_HUGEPAGE);  // a hint, free to fail
  }
  ~Chunk() { munmap(start_, mapped_); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  // The next bytes, or none where they do not fit.
  std::byte* take(size_t bytes) {
    if (bytes > end_ - taken_) return nullptr;
    std::byte* const at = first_ + taken_;
    taken_ += bytes;
    return at;
  }

 private:
  size_t mapped_;
  size_t end_, taken_ = 0;
  std::byte *start_, *first_;
};

}  // namespace

std::shared_ptr<std::byte> take_weight_memory(size_t bytes) {
  static std::mutex one_at_a_time;
  static std::weak_ptr<Chunk> latest;  // which its weights keep
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  const auto whole = static_cast<size_t>(round_up(static_cast<int64_t>(bytes), kCacheLine));
  std::shared_ptr<Chunk> chunk = latest.lock();
  std::byte* at = chunk == nullptr ? nullptr : chunk->take(whole);
  if (at == nullptr) {
    chunk = std::make_shared<Chunk>(std::max(kChunkBytes, whole));
    latest = chunk;
    at = chunk->take(whole);
  }
  return {std::move(chunk), at};
}

#else

std::shared_ptr<std::byte> take_weight_memory(size_t bytes) {
  constexpr std::align_val_t kAlignment{kCacheLine};
  auto* data = static_cast<std::byte*>(::operator new(bytes, kAlignment));
  return {data, [](std::byte* p) { ::operator delete(p, kAlignment); }};
}

#endif

}  // namespace fairlead
