"""Builds the `tokenizers` library's models from a checked vocabulary, one function for each algorithm.

Control tokens are left out of what is built: a text can then not be cut into one, whatever it says. Adding
them where they belong is the business of `tokenizer.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.tokenizer_vocab import TokenType, Vocabulary

_log = logging.getLogger(__name__)

SPACE: Final = "▁"
"""How SentencePiece vocabularies spell a space."""

_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Pretokenizer:
    """How byte-level BPE cuts a text into the words within which it merges.

    Attributes:
        patterns: regular expressions; each cuts the pieces that the one before left, matches and gaps alike.
        whole_words: a word that is a token needs no merges to become it.
        add_bos: what its models want where their file does not say.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    add_bos: bool = False


PRETOKENIZERS: Final[Mapping[str, Pretokenizer]] = {
    "gpt-2": Pretokenizer((_GPT2,)),
    "phi-2": Pretokenizer((_GPT2,)),
    "llama-bpe": Pretokenizer((_LLAMA3,), whole_words=True, add_bos=True),
    "llama3": Pretokenizer((_LLAMA3,), whole_words=True, add_bos=True),
    "llama-v3": Pretokenizer((_LLAMA3,), whole_words=True, add_bos=True),
    "qwen2": Pretokenizer((_LLAMA3.replace("{1,3}", ""),)),
    "smollm": Pretokenizer((r"\p{N}", _GPT2)),
    # What llama.cpp does with files that name none: no model was trained so, but such files were tested so.
    "default": Pretokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}
"""By the names of `tokenizer.ggml.pre`."""

# Files from before spring 2024 name no pre-tokenizer; for these architectures there was only one.
_BY_ARCHITECTURE: Final = {"gpt2": "gpt-2", "phi2": "gpt-2", "qwen2": "qwen2"}


def choose_pretokenizer(metadata: Mapping[str, object], vocabulary: Vocabulary) -> Pretokenizer:
    """The pre-tokenizer that the file names or, where it names none, the likeliest, with a warning.

    Raises:
        UnsupportedModel: the file names one that is not built in.
        ModelFileError: the name is not a string.
    """
    name = metadata.get("tokenizer.ggml.pre")
    if name is None:
        architecture = metadata.get("general.architecture")
        if "<|begin_of_text|>" in vocabulary.tokens:
            name = "llama-bpe"
        else:
            name = _BY_ARCHITECTURE.get(str(architecture), "default")
        _log.warning("the model file names no pre-tokenizer; %s is used: convert it anew if answers are poor", name)
    if not isinstance(name, str):
        raise ModelFileError("tokenizer.ggml.pre must be a string")
    if name not in PRETOKENIZERS:
        raise UnsupportedModel(
            f"the pre-tokenizer {name[:64]!r} is not built in; these are: {', '.join(PRETOKENIZERS)}"
        )
    return PRETOKENIZERS[name]


def byte_level_bpe(vocabulary: Vocabulary, pretokenizer: Pretokenizer) -> Tokenizer:
    """Byte-level BPE (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019)."""
    ids = _ids_of(vocabulary, (TokenType.NORMAL, TokenType.UNDEFINED))
    merges = [
        (left, right) for left, right in vocabulary.merges if left in ids and right in ids and left + right in ids
    ]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, ignore_merges=pretokenizer.whole_words))
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pretokenizer.patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


def sentencepiece_bpe(vocabulary: Vocabulary) -> Tokenizer:
    """SentencePiece's BPE (Kudo and Richardson, 2018): of all neighbours those scoring highest merge first.

    Characters without a token become their bytes where the vocabulary has tokens for these, else the unknown
    token. Expects spaces spelt as `SPACE`. The library ranks pairs, not the tokens they make: where two
    tokens have one score, a text in which both could be made may be cut otherwise than by SentencePiece.
    """
    ids = _ids_of(vocabulary, (TokenType.NORMAL, TokenType.UNDEFINED))
    ranked = []
    for text, whole in ids.items():
        for cut in range(1, len(text)):
            left, right = ids.get(text[:cut]), ids.get(text[cut:])
            if left is not None and right is not None:
                ranked.append((-vocabulary.scores[whole], left, right, text[:cut], text[cut:]))
    ranked.sort()
    vocab = ids | _ids_of(vocabulary, (TokenType.BYTE,))
    unknown = None
    if vocabulary.unknown_id is not None:
        unknown = vocabulary.tokens[vocabulary.unknown_id]
        vocab[unknown] = vocabulary.unknown_id
    return Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=[(left, right) for *_, left, right in ranked],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )


def wordpiece(vocabulary: Vocabulary) -> Tokenizer:
    """WordPiece as BERT uses it (Devlin et al., 2019), in lower case and without accents.

    A file spells pieces that begin a word with `SPACE` before them; the library spells the others with "##".
    """
    if vocabulary.unknown_id is None:
        raise ModelFileError("the vocabulary is for WordPiece, but tokenizer.ggml.unknown_token_id is missing")
    unknown = vocabulary.tokens[vocabulary.unknown_id]
    ids = {
        text.removeprefix(SPACE) if text.startswith(SPACE) else "##" + text: token_id
        for text, token_id in _ids_of(vocabulary, (TokenType.NORMAL, TokenType.UNDEFINED)).items()
    }
    ids[unknown] = vocabulary.unknown_id
    tokenizer = Tokenizer(models.WordPiece(vocab=ids, unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _ids_of(vocabulary: Vocabulary, types: Collection[TokenType]) -> dict[str, int]:
    return {
        text: token_id
        for token_id, (text, type_) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
        if type_ in types
    }
