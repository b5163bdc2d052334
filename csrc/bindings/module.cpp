// The extension module: each part of csrc/ binds itself.
#include <nanobind/nanobind.h>

#include "bindings.h"

NB_MODULE(_native, m) {
  m.doc() = "Fairlead's arithmetic. Use it through fairlead.kernels.";
  fairlead::bind_cpu(m);
  fairlead::bind_products(m);
  fairlead::bind_peaks(m);
  fairlead::bind_plan(m);
  fairlead::bind_sampling(m);
}
