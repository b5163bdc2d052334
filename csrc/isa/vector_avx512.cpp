#include "isa/vector.h"

// Elsewhere than on x86 this file is compiled without its flags, and is empty.
#if defined(__AVX512F__)

#include "isa/vector_impl.h"

namespace fairlead {

const VectorKernels kVectorAvx512 = kKernels;

}  // namespace fairlead

#endif
