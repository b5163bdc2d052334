// Matrix products of one group: the rows that they share are packed once, then the panels of all are split over the
// threads as if they were one weight.
#include <algorithm>
#include <array>

#include "stages.h"

namespace fairlead {
namespace {

// Up to this many rows, packing them by every thread for itself is quicker than meeting at a barrier.
constexpr int kOwnRows = 4;

class ProductStage final : public Stage {
 public:
  ProductStage(Plan& plan, Buffer& x, std::vector<Product> products)
      : plan_(plan), x_(x), products_(std::move(products)) {}

  void prepare(const Step& step) override {
    rows_ = x_.selected ? static_cast<int>(step.selected.size()) : step.rows();
    wanted_.fill(false);
    if (rows_ == 0) return;
    Workspace& workspace = plan_.workspace();
    for (const Product& product : products_) {
      wanted_[static_cast<int>(row_form(*product.weight, rows_))] = true;
      const size_t scratch = scratch_bytes(*product.weight, rows_);
      for (Workspace::Own& own : workspace.own) own.scratch.reserve(scratch);
    }
    for (int form = 0; form < Workspace::kForms; ++form) {
      if (!wanted_[form]) continue;
      const size_t bytes = row_bytes(static_cast<RowForm>(form), rows_, x_.width);
      if (rows_ > kOwnRows) workspace.packed[form].reserve(bytes);
      for (Workspace::Own& own : workspace.own) {
        if (rows_ <= kOwnRows) own.packed[form].reserve(bytes);
      }
    }
  }

  void run(const Step&, Worker& worker) override {
    if (rows_ == 0) return;
    Workspace::Own& own = plan_.workspace().own[worker.index()];
    const bool alone = rows_ <= kOwnRows;
    Workspace::Packed& packed = alone ? own.packed : plan_.workspace().packed;
    const Range rows = alone ? Range{0, rows_} : worker.share(rows_);
    for (int form = 0; form < Workspace::kForms; ++form) {
      if (!wanted_[form]) continue;
      pack_rows(static_cast<RowForm>(form), x_.data.data(), x_.stride, rows_, x_.width, static_cast<int>(rows.begin),
                static_cast<int>(rows.end), packed[form].data());
    }
    if (!alone) worker.barrier();

    int64_t panels = 0;
    for (const Product& product : products_) panels += product.weight->panels();
    const Range share = worker.share(panels);
    int64_t first = 0;  // of this product, counted over the group
    for (const Product& product : products_) {
      const int64_t end = first + product.weight->panels();
      const int64_t from = std::max(share.begin, first), to = std::min(share.end, end);
      if (from < to) multiply(product, packed, from - first, to - first, own.scratch.data());
      first = end;
    }
  }

 private:
  void multiply(const Product& product, const Workspace::Packed& packed, int64_t begin, int64_t end,
                std::byte* scratch) const {
    const RowForm form = row_form(*product.weight, rows_);
    Buffer& out = plan_.at(product.out);
    const Output output{.y = out.data.data(),
                        .stride = out.stride,
                        .bias = product.bias.empty() ? nullptr : product.bias.data(),
                        .accumulate = product.accumulate};
    matmul(*product.weight, form, packed[static_cast<int>(form)].data(), rows_, output, begin, end, scratch);
  }

  Plan& plan_;
  Buffer& x_;
  std::vector<Product> products_;
  int rows_ = 0;
  std::array<bool, Workspace::kForms> wanted_{};  // the forms that this step's products read
};

}  // namespace

std::unique_ptr<Stage> make_product_stage(Plan& plan, Buffer& x, std::vector<Product> products) {
  return std::make_unique<ProductStage>(plan, x, std::move(products));
}

}  // namespace fairlead
