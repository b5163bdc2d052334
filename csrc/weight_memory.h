// Where packed weights lie: one after another in large mappings of huge pages, which hold the small ones too. The
// streams through them then cross few page boundaries, and each is a page walk and a place where processors stop to
// read ahead.
#pragma once

#include <cstddef>
#include <memory>

namespace fairlead {

// Bytes for one weight, aligned to cache lines; what they are part of is given back with the last of its weights.
// Throws std::bad_alloc. May be called by several threads.
std::shared_ptr<std::byte> take_weight_memory(size_t bytes);

}  // namespace fairlead
