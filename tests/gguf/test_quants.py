from __future__ import annotations

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.gguf.formats import Format
from fairlead.gguf.quants import dequantise, quantise

# The root mean square error that each format leaves of normally distributed weights, as a share of their
# deviation; llama.cpp's own quantiser is within a few per cent of these.
ERROR = {
    Format.F32: 0.0,
    Format.F16: 2.5e-4,
    Format.BF16: 2e-3,
    Format.Q4_0: 0.1,
    Format.Q4_1: 0.085,
    Format.Q5_0: 0.05,
    Format.Q5_1: 0.042,
    Format.Q8_0: 0.006,
    Format.Q4_K: 0.09,
    Format.Q5_K: 0.045,
    Format.Q6_K: 0.025,
}


def theirs(data: NDArray[np.uint8], weight_format: Format) -> NDArray[np.float32]:
    """The gguf package's reading; it takes the two plain formats as NumPy types."""
    plain = {Format.F32: np.float32, Format.F16: np.float16}
    viewed = data.view(plain[weight_format]) if weight_format in plain else data
    weights: NDArray[np.float32] = gguf.dequantize(viewed, gguf.GGMLQuantizationType(int(weight_format)))
    return weights


@pytest.mark.parametrize("weight_format", Format)
def test_any_bytes_mean_what_they_mean_to_gguf(weight_format: Format) -> None:
    data = np.random.default_rng(1).integers(0, 256, (40, 3 * weight_format.block_bytes), dtype=np.uint8)
    with np.errstate(all="ignore"):  # random scales are infinite or NaN now and then
        ours = dequantise(data, weight_format, (40, 3 * weight_format.block))
        np.testing.assert_array_equal(ours, theirs(data, weight_format))
    assert ours.dtype == np.float32


@pytest.mark.parametrize("weight_format", Format)
def test_quantised_weights_are_near(weight_format: Format) -> None:
    values = np.random.default_rng(2).standard_normal((3, 64, 512)).astype(np.float32)
    data = quantise(values, weight_format)
    assert data.shape == (3, 64, weight_format.bytes_for(512))
    back = dequantise(data, weight_format, values.shape)
    assert np.sqrt(np.mean((back - values) ** 2)) <= ERROR[weight_format]


@pytest.mark.parametrize("weight_format", Format)
@pytest.mark.parametrize("sign", [1, -1])
def test_one_sided_and_constant_weights_are_near(weight_format: Format, sign: int) -> None:
    values = np.linspace(3, 4, 512, dtype=np.float32) * sign
    values[:256] = 0.5 * sign
    back = dequantise(quantise(values, weight_format), weight_format, (512,))
    np.testing.assert_allclose(back, values, atol=0.3)


@pytest.mark.parametrize("weight_format", Format)
def test_zeros_stay_zeros(weight_format: Format) -> None:
    data = quantise(np.zeros((2, 256), np.float32), weight_format)
    assert not dequantise(data, weight_format, (2, 256)).any()


def test_what_a_format_can_say_exactly_is_kept() -> None:
    """Groups whose scales and minima need all their bits, in each of the places where they are packed."""
    rng = np.random.default_rng(3)
    scales = np.array([63, 1, 32, 47, 21, 63, 16, 40])
    minima = np.array([5, 63, 31, 48, 63, 17, 33, 50])
    for weight_format, top in ((Format.Q4_K, 15), (Format.Q5_K, 31)):
        weights = rng.integers(0, top + 1, (8, 32))
        weights[:, 0], weights[:, 1] = 0, top
        values = (scales[:, None] * weights - minima[:, None]).astype(np.float32).reshape(256)
        back = dequantise(quantise(values, weight_format), weight_format, (256,))
        np.testing.assert_allclose(back, values, rtol=0, atol=0.5)


def test_bf16_rounds_to_the_nearest_even() -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -2.5e38], np.float32)
    bits = quantise(values, Format.BF16).view(np.uint16)
    assert [hex(bit) for bit in bits] == ["0x3f80", "0x3f80", "0x3f82", "0x3f81", "0xff3c"]


def test_bytes_of_another_size_are_refused() -> None:
    data = np.zeros(144, np.uint8)
    for shape in ((512,), (2, 256), (255,)):
        with pytest.raises(ValueError, match="Q4_K"):
            dequantise(data, Format.Q4_K, shape)
    with pytest.raises(ValueError, match="float32"):
        dequantise(data.astype(np.float32), Format.Q4_K, (256,))
    with pytest.raises(ValueError, match="whole blocks"):
        quantise(np.zeros((4, 33), np.float32), Format.Q8_0)
