#include "isa/attention_impl.h"

namespace fairlead {

const AttentionKernels kAttentionPortable = kKernels;

}  // namespace fairlead
