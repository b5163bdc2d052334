// The stages that plans are made of. Each takes what it reads and writes by reference; the plan owns all of it.
#pragma once

#include <memory>
#include <vector>

#include "plan.h"

namespace fairlead {

std::unique_ptr<Stage> make_hold_stage(Plan& plan, Rows& out, Rows& x);

std::unique_ptr<Stage> make_product_stage(Plan& plan, Rows& x, std::vector<Product> products);

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
