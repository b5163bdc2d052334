"""An open GGUF model file. `header` parses and checks; this module opens."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Self

from fairlead.errors import ModelFileError
from fairlead.gguf.header import Tensor, Value, read_header
from fairlead.gguf.model_file import ModelFile, mapped_file

__all__ = ["GGUFFile", "Tensor", "Value"]


class GGUFFile(ModelFile):
    """An open GGUF file; a context manager.

    Attributes:
        header_size: bytes of its header, before the first tensor's data.
        version: of the format, 2 or 3.
    """

    def __init__(self, file_name: str, mapped: mmap.mmap) -> None:
        """Reads the header of a mapped file. `open` is the way to make one."""
        header = read_header(mapped, file_name)
        super().__init__(file_name, mapped, header.metadata, header.tensors)
        self.header_size = header.size
        self.version = header.version

    @classmethod
    def open(cls, path: Path) -> Self:
        """Maps a file and reads its header.

        Raises:
            UnsupportedModel: a sound file, of a version or with a tensor type that is not built in.
            ModelFileError: not a GGUF file, or one that is cut short or damaged. The message names the file
                without its folders.
        """
        mapped = mapped_file(path, "GGUF")
        try:
            return cls(path.name, mapped)
        except ModelFileError:
            mapped.close()
            raise
