// The products of products_amx.cpp with its tiles emulated, so that every machine with AVX-512 BF16 can test them.
#if defined(__AVX512BF16__)
#include "isa/emulated_tiles.h"
#include "isa/products_tiles.h"

namespace fairlead {

const TileProducts& products_amx_emulated() { return kTileProducts; }

}  // namespace fairlead
#endif
