// The stages that plans are made of. Each takes what it reads and writes by reference; the plan owns all of it.
#pragma once

#include <memory>
#include <vector>

#include "plan.h"

namespace fairlead {

std::unique_ptr<Stage> make_hold_stage(Plan& plan, Rows& out, Rows& x);

std::unique_ptr<Stage> make_product_stage(Plan& plan, Rows& x, std::vector<Product> products);

// Products of a gate and of what it gates. The stage says in `gated` whether the step's rows of the gate's output hold
// the gated product, as they do where kernels make it at once, or both outputs are as they were multiplied.
std::unique_ptr<Stage> make_gated_stage(Plan& plan, Rows& x, Product gate, Product up, std::shared_ptr<bool> gated);

// `rotations` and the rest are held.
struct AttentionRows {
  Rows &out, &q, &k, &v, &rotations;
};
std::unique_ptr<Stage> make_attention_stage(Plan& plan, const AttentionRows& rows, const AttentionShape& shape);

// All held.
struct BidirectionalRows {
  Rows &out, &q, &k, &v;
};
std::unique_ptr<Stage> make_bidirectional_stage(Plan& plan, const BidirectionalRows& rows, int heads, float scale);

}  // namespace fairlead
