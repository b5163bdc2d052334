"""The vocabulary of a model file, checked: what each token is, and which ids have a meaning of their own.

Reads the `tokenizer.ggml.*` keys and trusts none of them. How text is cut into tokens is not known here.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.errors import ModelFileError, UnsupportedModel

_PREFIX: Final = "tokenizer.ggml."
_MAX_TOKENS: Final = 1 << 20
_MAX_TOKEN_CHARS: Final = 512
_MAX_TOTAL_CHARS: Final = 1 << 23
_BYTE_TOKEN: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")

# Tokens that end a turn or a text, by the names that families of models gave them. A file that types one of
# them as ordinary text is in error.
_STOP_TEXTS: Final = frozenset(
    {
        "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<|return|>",
        "<|call|>", "<end_of_turn>", "<end_of_utterance>", "<eos>", "</s>", "<EOT>", "_<EOT>",
        "<｜end▁of▁sentence｜>",
    }
)  # fmt: skip


class TokenType(enum.IntEnum):
    """`tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Algorithm(enum.Enum):
    """How a text becomes tokens: `tokenizer.ggml.model`."""

    BYTE_LEVEL_BPE = "gpt2"
    SENTENCEPIECE_BPE = "llama"
    WORDPIECE = "bert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The checked vocabulary of a model file. All ids are below `len(tokens)`.

    Attributes:
        algorithm: what it was made for.
        tokens: the text of each token as the file spells it; no two alike, but for empty ones (UNUSED).
        types: the type of each token, corrected where the file types a stop token as ordinary text.
        scores: of SentencePiece: the higher, the earlier a token is merged; else empty.
        merges: of byte-level BPE: pairs of tokens whose joint text is a token, in order of rank; else empty.
        bos_id, eos_id: what stands before and after a text; for WordPiece [CLS] and [SEP].
        stop_ids: drawing one of these ends an answer.
        add_bos, add_eos, add_space_prefix: what the file says; None where it says nothing.
    """

    algorithm: Algorithm
    tokens: Sequence[str]
    types: Sequence[TokenType]
    scores: Sequence[float]
    merges: Sequence[tuple[str, str]]
    bos_id: int | None
    eos_id: int | None
    unknown_id: int | None
    stop_ids: frozenset[int]
    add_bos: bool | None
    add_eos: bool | None
    add_space_prefix: bool | None

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, object]) -> Vocabulary:
        """Read and check a vocabulary.

        Raises:
            UnsupportedModel: its algorithm is not built in.
            ModelFileError: something is missing, of a wrong type, out of range or contradicts itself.
        """
        keys = _Keys(metadata)
        algorithm = _algorithm(keys)
        tokens = _tokens(keys)
        bos_id, eos_id = keys.id("bos_token_id", len(tokens)), keys.id("eos_token_id", len(tokens))
        if algorithm is Algorithm.WORDPIECE:
            bos_id = keys.id("cls_token_id", len(tokens)) if bos_id is None else bos_id
            # The key is misspelt in the format.
            separator = keys.id("seperator_token_id", len(tokens))
            eos_id = eos_id if separator is None else separator
        unknown_id = keys.id("unknown_token_id", len(tokens))
        named = {eos_id, keys.id("eot_token_id", len(tokens)), keys.id("eom_token_id", len(tokens))} - {None}
        types = _types(keys, tokens, algorithm, frozenset({bos_id, *named} - {None}), unknown_id)
        by_name = {id_ for id_, text in enumerate(tokens) if text in _STOP_TEXTS}
        return cls(
            algorithm=algorithm,
            tokens=tokens,
            types=types,
            scores=_scores(keys, len(tokens)) if algorithm is Algorithm.SENTENCEPIECE_BPE else (),
            merges=_merges(keys, tokens) if algorithm is Algorithm.BYTE_LEVEL_BPE else (),
            bos_id=bos_id,
            eos_id=eos_id,
            unknown_id=unknown_id,
            stop_ids=frozenset(id_ for id_ in by_name | named if id_ is not None),
            add_bos=keys.flag("add_bos_token"),
            add_eos=keys.flag("add_eos_token"),
            add_space_prefix=keys.flag("add_space_prefix"),
        )

    def byte(self, token_id: int) -> int:
        """The value of a token of type BYTE."""
        match = _BYTE_TOKEN.fullmatch(self.tokens[token_id])
        assert match is not None  # was checked with the types
        return int(match[1], 16)


class _Keys:
    """The values under `tokenizer.ggml.`, each of the type asked for; ModelFileError names the key."""

    def __init__(self, metadata: Mapping[str, object]) -> None:
        self._metadata = metadata

    def text(self, key: str) -> str | None:
        value = self._metadata.get(_PREFIX + key)
        if value is not None and not isinstance(value, str):
            raise ModelFileError(f"{_PREFIX}{key} must be a string")
        return value

    def flag(self, key: str) -> bool | None:
        value = self._metadata.get(_PREFIX + key)
        if value is not None and not isinstance(value, bool):
            raise ModelFileError(f"{_PREFIX}{key} must be true or false")
        return value

    def id(self, key: str, count: int) -> int | None:
        value = self._metadata.get(_PREFIX + key)
        if value is None or value in (0xFFFFFFFF, -1):  # writers without such a token write "none" so
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
            raise ModelFileError(f"{_PREFIX}{key} must be the id of one of the {count} tokens")
        return value

    def texts(self, key: str) -> list[str] | None:
        values = self._array(key)
        if values is None:
            return None
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) != len(values):
            raise ModelFileError(f"{_PREFIX}{key} must be an array of strings")
        return texts

    def numbers(self, key: str) -> list[int | float] | None:
        values = self._array(key)
        if values is None:
            return None
        numbers = [value for value in values if isinstance(value, int | float)]
        if len(numbers) != len(values):
            raise ModelFileError(f"{_PREFIX}{key} must be an array of numbers")
        return numbers

    def _array(self, key: str) -> list[object] | tuple[object, ...] | None:
        value = self._metadata.get(_PREFIX + key)
        if value is not None and not isinstance(value, list | tuple):
            raise ModelFileError(f"{_PREFIX}{key} must be an array")
        return value


def _algorithm(keys: _Keys) -> Algorithm:
    name = keys.text("model")
    if name is None:
        raise ModelFileError(f"the model file has no tokenizer: {_PREFIX}model is missing")
    if name not in (known.value for known in Algorithm):
        raise UnsupportedModel(f"the tokenizer model {name[:64]!r} is not built in")
    return Algorithm(name)


def _tokens(keys: _Keys) -> list[str]:
    tokens = keys.texts("tokens")
    if not tokens:
        raise ModelFileError(f"the model file has no vocabulary: {_PREFIX}tokens is missing or empty")
    if len(tokens) > _MAX_TOKENS:
        raise ModelFileError(f"the vocabulary has {len(tokens)} tokens; at most {_MAX_TOKENS} are read")
    longest, together = max(map(len, tokens)), sum(map(len, tokens))
    if longest > _MAX_TOKEN_CHARS or together > _MAX_TOTAL_CHARS:
        raise ModelFileError(f"the vocabulary is too long: {together} characters, {longest} in one token")
    if len(set(tokens)) != len(tokens):
        seen: set[str] = set()
        for token_id, text in enumerate(tokens):
            if text and text in seen:
                raise ModelFileError(f"token {token_id} has the text of an earlier one: {text[:64]!r}")
            seen.add(text)
    return tokens


def _types(
    keys: _Keys,
    tokens: Sequence[str],
    algorithm: Algorithm,
    special: frozenset[int | None],
    unknown: int | None,
) -> list[TokenType]:
    """The type of each token; the ids in `special` are CONTROL, whatever the file says."""
    numbers = keys.numbers("token_type")
    if numbers is None:
        types = [TokenType.NORMAL] * len(tokens)
        if unknown is not None:
            types[unknown] = TokenType.UNKNOWN
        if algorithm is Algorithm.SENTENCEPIECE_BPE:
            types = [
                TokenType.BYTE if _BYTE_TOKEN.fullmatch(text) else type_
                for text, type_ in zip(tokens, types, strict=True)
            ]
    else:
        known = {int(type_): type_ for type_ in TokenType}
        if len(numbers) != len(tokens) or not known.keys() >= set(numbers):
            raise ModelFileError(
                f"{_PREFIX}token_type must give each of the {len(tokens)} tokens a type of 0 to {max(known)}"
            )
        types = [known[int(number)] for number in numbers]
    textual = (TokenType.UNDEFINED, TokenType.NORMAL, TokenType.USER_DEFINED)
    for token_id, (text, type_) in enumerate(zip(tokens, types, strict=True)):
        if not text:
            types[token_id] = TokenType.UNUSED
        elif type_ in textual and (text in _STOP_TEXTS or (token_id in special and len(text) > 1)):
            types[token_id] = TokenType.CONTROL
        elif type_ is TokenType.BYTE and not _BYTE_TOKEN.fullmatch(text):
            raise ModelFileError(f"token {token_id} is typed as a byte but spelt {text[:64]!r}, not <0xNN>")
    return types


def _scores(keys: _Keys, count: int) -> list[float]:
    scores = keys.numbers("scores")
    if scores is None or len(scores) != count or not all(map(math.isfinite, scores)):
        raise ModelFileError(f"{_PREFIX}scores must give each of the {count} tokens a finite score")
    return [float(score) for score in scores]


def _merges(keys: _Keys, tokens: Sequence[str]) -> list[tuple[str, str]]:
    lines = keys.texts("merges")
    if lines is None:
        raise ModelFileError(f"the vocabulary is for byte-level BPE, but {_PREFIX}merges is missing")
    known = set(tokens)
    merges = []
    for rank, line in enumerate(lines):
        left, _, right = line.partition(" ")
        if not left or not right or not (left in known and right in known and left + right in known):
            raise ModelFileError(f"merge {rank} is not of two tokens that make a third: {line[:64]!r}")
        merges.append((left, right))
    return merges
