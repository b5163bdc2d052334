"""A model file's tensors in the forms that the extension computes with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fairlead.gguf.formats import Format
from fairlead.gguf.model_file import ModelFile
from fairlead.gguf.quants import dequantise, quantise
from fairlead.kernels import _native
from fairlead.models.plan import Rows

ReportProgress = Callable[[int, int], None]
"""Called with the bytes of the file that are packed, and all of them."""


def as_stored(stored: Format) -> Format:
    """Products of weights as the file has them."""
    return stored


class FileWeights:
    """Packs a file's tensors, each range of outputs once, and reports how far it is; implements `lowering.Weights`.

    Args:
        file: may be closed when all is packed.
        pool: does the work.
        progress: hears of it.
        product_format: in which format the products shall have a weight that is stored in another.
    """

    def __init__(
        self,
        file: ModelFile,
        pool: _native.ThreadPool,
        progress: ReportProgress | None = None,
        product_format: Callable[[Format], Format] = as_stored,
    ) -> None:
        self._file = file
        self._pool = pool
        self._progress = progress or (lambda _done, _total: None)
        self._product_format = product_format
        self.packed: dict[Rows, _native.Weight] = {}
        self._done = 0
        self._total = sum(tensor.nbytes for tensor in file.tensors.values())

    def matrix(self, rows: Rows) -> _native.Weight:
        """A weight, packed; the same object where an output head is tied to the embedding."""
        if rows not in self.packed:
            tensor = self._file.tensors[rows.tensor]
            inputs, outputs = tensor.shape[1], rows.end - rows.begin
            data, wanted = self._data(rows), self._product_format(tensor.format)
            if wanted is not tensor.format:
                data = quantise(dequantise(data, tensor.format, (outputs, inputs)), wanted).ravel()
            self.packed[rows] = _native.Weight(wanted, data, outputs, inputs, self._pool)
            self._report(tensor.format.bytes_for(outputs * inputs))
        return self.packed[rows]

    def table(self, rows: Rows) -> _native.Table | None:
        """Rows to look up, of a format that holds each by itself; None for the others."""
        tensor = self._file.tensors[rows.tensor]
        if tensor.format.block > 1:
            return None
        data = self._data(rows)
        table = _native.Table(tensor.format, data, rows.end - rows.begin, tensor.shape[1])
        self._report(len(data))
        return table

    def vector(self, rows: Rows) -> NDArray[np.float32]:
        """A norm's weight or a bias, as fp32."""
        tensor = self._file.tensors[rows.tensor]
        values = dequantise(tensor.data, tensor.format, tensor.shape)
        return np.ascontiguousarray(values[rows.begin : rows.end], np.float32)

    def _data(self, rows: Rows) -> NDArray[np.uint8]:
        tensor = self._file.tensors[rows.tensor]
        row_bytes = tensor.format.bytes_for(tensor.shape[1])
        return tensor.data[rows.begin * row_bytes : rows.end * row_bytes]

    def _report(self, nbytes: int) -> None:
        self._done += nbytes
        self._progress(self._done, self._total)
