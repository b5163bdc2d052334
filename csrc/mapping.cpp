#include "mapping.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#else
#include <cstring>

#include "aligned.h"
#endif

namespace fairlead {

#if defined(__linux__)

namespace {

constexpr size_t kSmallPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;

// Makes the system give the pages now, all zeros; false where it has no more.
bool take(std::byte* pages, size_t bytes) {
#if defined(MADV_POPULATE_WRITE)
  if (madvise(pages, bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
#endif
  for (size_t at = 0; at < bytes; at += kSmallPage) static_cast<volatile std::byte*>(pages)[at] = std::byte{0};
  return true;  // before Linux 5.14 a process that finds no memory here is killed
}

}  // namespace

Mapping::Mapping(size_t bytes, ThreadPool& pool) : bytes_(bytes) {
  void* found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(found);
  madvise(data_, bytes_, MADV_HUGEPAGE);  // free to fail
  std::atomic<bool> given = true;
  pool.run([&](Worker& worker) {
    const Range share = worker.share(static_cast<int64_t>(bytes_), kHugePage);
    if (share.begin < share.end && !take(data_ + share.begin, static_cast<size_t>(share.end - share.begin))) {
      given = false;
    }
  });
  if (given) return;
  munmap(data_, bytes_);
  throw std::bad_alloc();
}

Mapping::~Mapping() { munmap(data_, bytes_); }

#else

Mapping::Mapping(size_t bytes, ThreadPool&)
    : bytes_(bytes), data_(static_cast<std::byte*>(::operator new(bytes, std::align_val_t(kCacheLine)))) {
  std::memset(data_, 0, bytes);
}

Mapping::~Mapping() { ::operator delete(data_, std::align_val_t(kCacheLine)); }

#endif

}  // namespace fairlead
