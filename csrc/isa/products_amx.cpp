// Products in the tiles of AMX.
#if defined(__AMX_BF16__) || defined(__AMXBF16__)  // as gcc, or as older clang has it
#include <immintrin.h>

#include "isa/products_tiles.h"

namespace fairlead {

const TileProducts& products_amx() { return kTileProducts; }

}  // namespace fairlead
#endif
