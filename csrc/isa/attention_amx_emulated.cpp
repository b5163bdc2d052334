// The attention of attention_amx.cpp with its tiles emulated, so that every machine with AVX-512 BF16 can test it.
#if defined(__AVX512BF16__)
#include "isa/emulated_tiles.h"  // first: it takes the place of the intrinsics
#include "isa/tile_attention.h"

namespace fairlead {

const AttentionKernels kAttentionAmxEmulated = kTileKernels;

}  // namespace fairlead
#endif
