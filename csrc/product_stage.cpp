// Matrix products of one group: the rows that they share are computed and packed once, then the panels of all are
// shared out as if they were one weight's.
#include <algorithm>
#include <array>

#include "stages.h"

namespace fairlead {
namespace {

// Up to this many rows, packing them by every thread for itself is quicker than sharing them out.
constexpr int kOwnRows = 4;

// Portions of panels are of whole pairs, which matrix tiles take at once.
constexpr int kGrain = 2;

class ProductStage final : public Stage {
 public:
  // `gated` is null, or the products are a gate's and what it gates.
  ProductStage(Plan& plan, Rows& x, std::vector<Product> products, std::shared_ptr<bool> gated)
      : plan_(plan), x_(x), products_(std::move(products)), gated_(std::move(gated)) {
    for (const Product& product : products_) panels_ += round_up(product.weight->panels(), kGrain);
  }

  void prepare(const Step& step) override {
    rows_ = x_.selected ? static_cast<int>(step.selected.size()) : step.rows();
    wanted_.fill(false);
    const int threads = plan_.pool().size();
    packing_.set(rows_ > kOwnRows ? rows_ : 0, 1, threads);
    if (gated_) *gated_ = rows_ > 0 && gates(*products_[0].weight, *products_[1].weight, form_of(products_[0]));
    const int64_t panels = gates_now() ? products_[0].weight->panels() : panels_;
    multiplying_.set(rows_ > 0 ? panels : 0, kGrain, threads);
    if (rows_ == 0) return;
    Workspace& workspace = plan_.workspace();
    for (const Product& product : products_) {
      wanted_[static_cast<int>(form_of(product))] = true;
      const size_t scratch = scratch_bytes(*product.weight, form_of(product), rows_);
      for (Workspace::Own& own : workspace.own) own.scratch.reserve(scratch);
    }
    for (int form = 0; form < kRowForms; ++form) {
      if (!wanted_[form]) continue;
      const size_t bytes = row_bytes(static_cast<RowForm>(form), rows_, x_.width);
      if (rows_ > kOwnRows) workspace.packed[form].reserve(bytes);
      for (Workspace::Own& own : workspace.own) {
        if (rows_ <= kOwnRows) own.packed[form].reserve(bytes);
      }
    }
  }

  void run(const Step& step, Worker& worker) override {
    Workspace& workspace = plan_.workspace();
    Workspace::Own& own = workspace.own[worker.index()];
    const bool alone = rows_ <= kOwnRows;
    Workspace::Packed& packed = alone ? own.packed : workspace.packed;
    packing_.work_off([&](Range rows) { pack(step, rows, own.row.data(), packed); });
    bool ready = !alone;
    multiplying_.work_off([&](Range panels) {
      if (!ready) pack(step, {0, rows_}, own.row.data(), packed);
      ready = true;
      gates_now() ? gate(panels, packed, own.scratch.data()) : multiply(panels, packed, own.scratch.data());
    });
  }

 private:
  void pack(const Step& step, Range rows, float* room, Workspace::Packed& packed) const {
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const float* x = x_.read(step, row, room);
      for (int form = 0; form < kRowForms; ++form) {
        if (!wanted_[form]) continue;
        constexpr int64_t kThisRow = 0;  // the stride of a batch whose every row is this one
        pack_rows(static_cast<RowForm>(form), x, kThisRow, rows_, x_.width, static_cast<int>(row),
                  static_cast<int>(row) + 1, packed[form].data());
      }
    }
  }

  // What is selected are the rows of which logits are made: nothing comes after these that would even out an error.
  RowForm form_of(const Product& product) const {
    return row_form(*product.weight, rows_, x_.selected ? Activations::q16 : plan_.activations());
  }

  bool gates_now() const { return gated_ && *gated_; }

  void gate(Range panels, const Workspace::Packed& packed, std::byte* scratch) const {
    const Product &gate = products_[0], &up = products_[1];
    Rows& out = plan_.at(gate.out);
    const GatedOutput output{.y = out.data.data(),
                             .stride = out.stride,
                             .gate_bias = gate.bias.empty() ? nullptr : gate.bias.data(),
                             .up_bias = up.bias.empty() ? nullptr : up.bias.data()};
    const RowForm form = form_of(gate);
    gated_matmul(*gate.weight, *up.weight, packed[static_cast<int>(form)].data(), rows_, output, panels.begin,
                 panels.end, scratch);
  }

  // The share of each product in a range of the group's panels.
  void multiply(Range panels, const Workspace::Packed& packed, std::byte* scratch) const {
    int64_t first = 0;  // of this product, counted over the group
    for (const Product& product : products_) {
      const int64_t count = product.weight->panels();
      const int64_t from = std::max(panels.begin - first, int64_t{0}), to = std::min(panels.end - first, count);
      if (from < to) multiply(product, packed, from, to, scratch);
      first += round_up(count, kGrain);
    }
  }

  void multiply(const Product& product, const Workspace::Packed& packed, int64_t begin, int64_t end,
                std::byte* scratch) const {
    const RowForm form = form_of(product);
    Rows& out = plan_.at(product.out);
    const Output output{.y = out.data.data(),
                        .stride = out.stride,
                        .bias = product.bias.empty() ? nullptr : product.bias.data(),
                        .accumulate = product.accumulate};
    matmul(*product.weight, form, packed[static_cast<int>(form)].data(), rows_, output, begin, end, scratch);
  }

  Plan& plan_;
  Rows& x_;
  std::vector<Product> products_;
  std::shared_ptr<bool> gated_;
  int64_t panels_ = 0;  // of all products, each rounded up to whole portions
  int rows_ = 0;        // of this step
  Portions packing_, multiplying_;
  std::array<bool, kRowForms> wanted_{};  // the forms that this step's products read
};

}  // namespace

std::unique_ptr<Stage> make_product_stage(Plan& plan, Rows& x, std::vector<Product> products) {
  return std::make_unique<ProductStage>(plan, x, std::move(products), nullptr);
}

std::unique_ptr<Stage> make_gated_stage(Plan& plan, Rows& x, Product gate, Product up, std::shared_ptr<bool> gated) {
  std::vector<Product> products;
  products.push_back(std::move(gate));
  products.push_back(std::move(up));
  return std::make_unique<ProductStage>(plan, x, std::move(products), std::move(gated));
}

}  // namespace fairlead
