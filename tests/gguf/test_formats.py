from __future__ import annotations

import gguf
import pytest

from fairlead.gguf.formats import Format


@pytest.mark.parametrize("weight_format", Format)
def test_numbers_and_sizes_are_ggmls(weight_format: Format) -> None:
    theirs = gguf.GGMLQuantizationType(int(weight_format))
    assert theirs.name == weight_format.name
    assert gguf.GGML_QUANT_SIZES[theirs] == (weight_format.block, weight_format.block_bytes)


def test_a_number_gives_its_format() -> None:
    assert Format(12) is Format.Q4_K
    with pytest.raises(ValueError, match="99"):
        Format(99)


def test_only_whole_blocks_have_a_size() -> None:
    assert Format.Q4_K.bytes_for(512) == 288
    assert Format.F16.bytes_for(3) == 6
    for elements in (-32, 1, 31):
        with pytest.raises(ValueError, match="whole blocks"):
            Format.Q8_0.bytes_for(elements)
