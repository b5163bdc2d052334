// The stages that plans are made of. Each takes what it reads and writes by reference; the plan owns all of it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "plan.h"

namespace fairlead {

// A stage that treats every row by itself.
using RowFunction = std::function<void(const Step& step, int64_t row)>;
std::unique_ptr<Stage> make_row_stage(bool selected, RowFunction function);

std::unique_ptr<Stage> make_product_stage(Plan& plan, Buffer& x, std::vector<Product> products);

struct AttentionBuffers {
  Buffer &out, &q, &k, &v, &rotations;
};
std::unique_ptr<Stage> make_attention_stage(KvCache& cache, int threads, const AttentionBuffers& buffers,
                                            const AttentionShape& shape);

}  // namespace fairlead
