// Memory of zeros for what is large and stays: taken whole at once, so that nothing later fails for want of it.
#pragma once

#include <cstddef>

#include "thread_pool.h"

namespace fairlead {

// In huge pages where the system has them: they are quicker to take, and to walk through in leaps.
class Mapping {
 public:
  // The threads of `pool` take it side by side. Throws std::bad_alloc.
  Mapping(size_t bytes, ThreadPool& pool);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* data() { return data_; }  // on a cache line
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  std::byte* data_;
};

}  // namespace fairlead
