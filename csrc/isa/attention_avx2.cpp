#include "isa/attention.h"

// Elsewhere than on x86 this file is compiled without its flags, and is empty.
#if defined(__AVX2__)

#include "isa/attention_impl.h"

namespace fairlead {

const AttentionKernels kAttentionAvx2 = kKernels;

}  // namespace fairlead

#endif
