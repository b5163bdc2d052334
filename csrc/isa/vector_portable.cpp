#include "isa/vector_impl.h"

namespace fairlead {

const VectorKernels kVectorPortable = kKernels;

}  // namespace fairlead
