#include "isa/vector.h"

#include "cpu.h"

namespace fairlead {

const VectorKernels& vector_kernels() {
#if defined(__x86_64__)
  if (active_isa() >= Isa::avx512) return kVectorAvx512;
  if (active_isa() >= Isa::avx2) return kVectorAvx2;
#endif
  return kVectorPortable;
}

}  // namespace fairlead
