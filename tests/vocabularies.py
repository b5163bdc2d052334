"""Small made-up vocabularies, as the metadata of model files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Metadata = dict[str, Any]

CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA3_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
)  # fmt: skip

_WORDS = (
    "the",
    "in",
    "is",
    "an",
    "user",
    "assistant",
    "system",
    "end",
    "im",
    "start",
    "hello",
    "world",
    "INST",
    "text",
)


def byte_level(
    special: Sequence[str] = CHATML_TOKENS, *, pre: str | None = "gpt-2", literal: Sequence[str] = (), bos: int = 1
) -> Metadata:
    """Byte-level BPE: special tokens first, the bytes, some words with and without a space, literal tokens last."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spelling = [*map(chr, printable), *(chr(0x100 + number) for number in range(256 - len(printable)))]
    pieces = dict.fromkeys(spelling)
    merges: dict[str, None] = {}
    for word in _WORDS:
        for text in (word, "Ġ" + word):
            for end in range(2, len(text) + 1):
                merges[f"{text[: end - 1]} {text[end - 1]}"] = None
                pieces[text[:end]] = None
    tokens = [*special, *pieces, *literal]
    metadata: Metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tuple(tokens),
        "tokenizer.ggml.token_type": (3,) * len(special) + (1,) * len(pieces) + (4,) * len(literal),
        "tokenizer.ggml.merges": tuple(merges),
        "tokenizer.ggml.bos_token_id": bos,
        "tokenizer.ggml.eos_token_id": len(special) - 1,
    }
    if pre is not None:
        metadata["tokenizer.ggml.pre"] = pre
    return metadata


def sentencepiece(words: Sequence[str] = _WORDS, *, bytes_too: bool = True) -> Metadata:
    """SentencePiece BPE: `<unk>`, `<s>`, `</s>`, the bytes, words with and without a space, characters."""
    pieces: dict[str, None] = {}
    for word in words:
        for text in (word, "▁" + word):
            pieces.update(dict.fromkeys(text[:end] for end in range(2, len(text) + 1)))
    characters = dict.fromkeys("▁" + "".join(map(chr, range(0x21, 0x7F))) + "äé世")
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)] if bytes_too else []
    tokens = ["<unk>", "<s>", "</s>", *byte_tokens, *pieces, *characters]
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tuple(tokens),
        "tokenizer.ggml.token_type": (2, 3, 3) + (6,) * len(byte_tokens) + (1,) * (len(pieces) + len(characters)),
        "tokenizer.ggml.scores": tuple(-float(rank) for rank in range(len(tokens))),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def wordpiece() -> Metadata:
    """WordPiece: the five special tokens of BERT, words, their endings."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁hello", "▁world", "▁un", "aff", "able", "s", "▁!", "▁世"]
    return {
        "general.architecture": "bert",
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tuple(tokens),
        "tokenizer.ggml.token_type": (3, 2, 3, 3, 3) + (1,) * (len(tokens) - 5),
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
    }
