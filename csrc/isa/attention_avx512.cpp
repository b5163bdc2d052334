#include "isa/attention.h"

// Elsewhere than on x86 this file is compiled without its flags, and is empty.
#if defined(__AVX512F__)

#include "isa/attention_impl.h"

namespace fairlead {

const AttentionKernels kAttentionAvx512 = kKernels;

}  // namespace fairlead

#endif
