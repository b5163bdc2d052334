// Attention in the tiles of AMX.
#if defined(__AMX_BF16__) || defined(__AMXBF16__)  // as gcc, or as older clang has it
#include <immintrin.h>

#include "isa/tile_attention.h"

namespace fairlead {

const AttentionKernels kAttentionAmx = kTileKernels;

}  // namespace fairlead
#endif
