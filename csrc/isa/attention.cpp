#include "isa/attention.h"

#include "cpu.h"

namespace fairlead {

const AttentionKernels& attention_kernels(bool many) {
#if defined(__x86_64__)
  const Isa isa = active_isa();
  if (many && isa == Isa::amx) return kAttentionAmx;
  if (many && isa == Isa::amx_emulated) return kAttentionAmxEmulated;
  if (isa >= Isa::avx512) return kAttentionAvx512;
  if (isa >= Isa::avx2) return kAttentionAvx2;
#else
  (void)many;
#endif
  return kAttentionPortable;
}

}  // namespace fairlead
