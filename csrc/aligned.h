// Memory that starts on a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace fairlead {

inline constexpr size_t kCacheLine = 64;

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// An array of plain values that grows on demand and then holds zeros; growing forgets what it held.
template <typename T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(size_t size) { reserve(size); }

  // Throws std::bad_alloc.
  void reserve(size_t size) {
    if (size <= size_) return;
    data_.reset();  // first give back, then take
    size_ = 0;
    data_.reset(new (std::align_val_t(kCacheLine)) T[size]());
    size_ = size;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }

 private:
  struct Free {
    void operator()(T* data) const { ::operator delete[](data, std::align_val_t(kCacheLine)); }
  };
  std::unique_ptr<T[], Free> data_;
  size_t size_ = 0;
};

}  // namespace fairlead
