"""Text to token ids and back, as the model in a GGUF file was trained to see them.

The algorithms are the `tokenizers` library's; this module decides what a vocabulary means: which tokens a
text may become, which only a template may place, what bytes a token stands for. Templates themselves are not
known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

import tokenizers

from fairlead.errors import InvalidRequest
from fairlead.gguf.tokenizer_models import (
    SPACE,
    byte_level_bpe,
    choose_pretokenizer,
    sentencepiece_bpe,
    wordpiece,
)
from fairlead.gguf.tokenizer_vocab import Algorithm, TokenType, Vocabulary

_MARKUP: Final = re.compile(r"<[^\s<>]+>|\[/?[A-Z_]+\]")


class Tokenizer:
    """The tokenizer of one model; immutable, and safe to use from several threads.

    Tokens are of three sorts. *Special* ones (control tokens, the unknown token, and tokens that a file calls
    user-defined but that look like markup, such as `<tool_call>`) are never made from plain text: only
    `encode_marked` places them. *Literal* ones (other user-defined tokens, such as runs of spaces) are found
    in a text before anything else is. All others are what the algorithm cuts a text into.
    """

    def __init__(self, vocabulary: Vocabulary, model: tokenizers.Tokenizer, *, add_bos: bool, add_eos: bool) -> None:
        """Use `from_metadata` to make one."""
        self._vocabulary = vocabulary
        self._model = model
        self._add_space_prefix = (
            vocabulary.algorithm is Algorithm.SENTENCEPIECE_BPE and vocabulary.add_space_prefix is not False
        )
        self._bytes = _token_bytes(vocabulary)
        self._special = _ids(vocabulary, _is_special)
        self._special_finder = _Finder([text for text in self._special if len(text) > 1])
        self._literal = _ids(vocabulary, _is_literal)
        self._literal_finder = _Finder(self._literal)
        self.special_ids = frozenset(self._special.values())
        """The tokens that plain text never becomes."""
        self.bos_id = vocabulary.bos_id
        self.eos_id = vocabulary.eos_id
        self.stop_ids = vocabulary.stop_ids
        self.add_bos = add_bos and vocabulary.bos_id is not None
        self.add_eos = add_eos and vocabulary.eos_id is not None

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, object]) -> Tokenizer:
        """The tokenizer that a GGUF file's metadata describes.

        Raises:
            UnsupportedModel: its algorithm or pre-tokenizer is not built in; the message names it.
            ModelFileError: the vocabulary is missing, damaged or contradicts itself.
        """
        vocabulary = Vocabulary.from_metadata(metadata)
        ends, add_bos = False, True
        match vocabulary.algorithm:
            case Algorithm.BYTE_LEVEL_BPE:
                pretokenizer = choose_pretokenizer(metadata, vocabulary)
                model, add_bos = byte_level_bpe(vocabulary, pretokenizer), pretokenizer.add_bos
            case Algorithm.SENTENCEPIECE_BPE:
                model = sentencepiece_bpe(vocabulary)
            case Algorithm.WORDPIECE:
                model, ends = wordpiece(vocabulary), True
        return cls(
            vocabulary,
            model,
            add_bos=add_bos if vocabulary.add_bos is None else vocabulary.add_bos,
            add_eos=ends if vocabulary.add_eos is None else vocabulary.add_eos,
        )

    @property
    def vocab_size(self) -> int:
        """The number of tokens; ids are below it."""
        return len(self._vocabulary.tokens)

    @property
    def special_texts(self) -> Collection[str]:
        """The texts of the special tokens."""
        return self._special.keys()

    # ---- text to ids ------------------------------------------------------------------------------------

    def encode(self, text: str, *, bos: bool = False, eos: bool = False) -> list[int]:
        """The ids of a plain text. Special tokens written in it stay text.

        `bos` and `eos` put the model's tokens for these around it, where the model wants them.

        Raises:
            InvalidRequest: the text has lone surrogates, which no encoding of Unicode has.
        """
        _check_text(text)
        ids = self._encode_plain(text)
        if bos and self.add_bos and self.bos_id is not None:
            ids.insert(0, self.bos_id)
        if eos and self.add_eos and self.eos_id is not None:
            ids.append(self.eos_id)
        return ids

    def encode_marked(self, text: str, sentinel: str) -> list[int]:
        """The ids of a text in which special tokens are meant, but for those with a sentinel.

        A special token's text is taken for the token unless `sentinel`, one character, stands within it. Sentinels
        are then dropped, so that the text around is cut as if they had never been there. Nothing is added in front
        or behind. (A special token of a single character has no within; it is never placed.)

        Raises:
            InvalidRequest: the text has lone surrogates.
        """
        _check_text(text)
        ids: list[int] = []
        done = 0
        for start, end in self._special_finder.find(text):
            ids += self._encode_plain(text[done:start].replace(sentinel, ""))
            ids.append(self._special[text[start:end]])
            done = end
        return ids + self._encode_plain(text[done:].replace(sentinel, ""))

    def marked_ids(self, text: str) -> list[int]:
        """The special tokens alone that `encode_marked` places, in order."""
        return [self._special[text[start:end]] for start, end in self._special_finder.find(text)]

    def break_special(self, text: str, sentinel: str) -> str:
        """The text with a sentinel in each special token written in it, so that `encode_marked` finds none."""
        while found := list(self._special_finder.find(text)):  # one that overlaps another is found the next time
            pieces, done = [], 0
            for start, _ in found:
                pieces += [text[done : start + 1], sentinel]
                done = start + 1
            text = "".join([*pieces, text[done:]])
        return text

    def _encode_plain(self, text: str) -> list[int]:
        """The ids of a text that stands at the start or after a special token."""
        ids: list[int] = []
        done = 0
        for start, end in self._literal_finder.find(text):
            ids += self._encode_words(text[done:start])
            ids.append(self._literal[text[start:end]])
            done = end
        return ids + self._encode_words(text[done:])

    def _encode_words(self, text: str) -> list[int]:
        if not text:
            return []
        if self._vocabulary.algorithm is Algorithm.SENTENCEPIECE_BPE:
            text = (SPACE if self._add_space_prefix else "") + text.replace(" ", SPACE)
        # The plain `encode` holds the interpreter lock all the while; this one lets go of it.
        return self._model.encode_batch_fast([text], add_special_tokens=False)[0].ids

    # ---- ids to text ------------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], *, continues: bool = False) -> str:
        """The text of these tokens; control tokens have none, and bytes that are no UTF-8 become U+FFFD.

        Where the model's texts begin with a space that nobody wrote (SentencePiece, WordPiece), that one is
        left out, unless `continues` says that other text stands before.
        """
        text = b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.leading_space and not continues else text

    @property
    def leading_space(self) -> bool:
        """Whether texts begin with a space that nobody wrote."""
        return self._add_space_prefix or self._vocabulary.algorithm is Algorithm.WORDPIECE

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to a text, perhaps part of a character; none for control tokens."""
        return self._bytes[token_id]

    def token_text(self, token_id: int) -> str:
        """How the vocabulary spells a token; for showing, not for joining."""
        return self._vocabulary.tokens[token_id]


class _Finder:
    """Finds strings in a text, from left to right; of those that begin at one place, the longest.

    There may be thousands of strings, for which a regular expression of them all is too slow.
    """

    def __init__(self, strings: Collection[str]) -> None:
        self._strings = frozenset(strings)
        lengths: dict[str, set[int]] = {}
        for string in strings:
            lengths.setdefault(string[:2], set()).add(len(string))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        firsts = {re.escape(string[0]) for string in strings}
        self._first = re.compile("|".join(sorted(firsts)) or "(?!)")

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where each one found begins and ends; they do not overlap."""
        position = 0
        while match := self._first.search(text, position):
            start = match.start()
            position = start + 1
            for length in (*self._lengths.get(text[start : start + 2], ()), 1):
                if text[start : start + length] in self._strings:
                    position = start + length
                    yield start, position
                    break


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"the text has a lone surrogate at character {error.start}, which is not Unicode"
        ) from None


def _spoken(text: str, algorithm: Algorithm) -> str:
    """A token's text as it stands in a prompt."""
    return text if algorithm is Algorithm.BYTE_LEVEL_BPE else text.replace(SPACE, " ")


def _is_special(type_: TokenType, text: str) -> bool:
    if type_ is TokenType.USER_DEFINED:
        return _MARKUP.fullmatch(text) is not None
    return type_ in (TokenType.CONTROL, TokenType.UNKNOWN)


def _is_literal(type_: TokenType, text: str) -> bool:
    return type_ is TokenType.USER_DEFINED and not _is_special(type_, text)


def _ids(vocabulary: Vocabulary, chosen: Callable[[TokenType, str], bool]) -> dict[str, int]:
    """The ids of the chosen tokens by their text."""
    return {
        _spoken(text, vocabulary.algorithm): token_id
        for token_id, (text, type_) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
        if chosen(type_, text)
    }


def _token_bytes(vocabulary: Vocabulary) -> list[bytes]:
    """What each token adds to a text."""
    of_character = _byte_of_character()
    spelt_in_bytes = vocabulary.algorithm is Algorithm.BYTE_LEVEL_BPE
    table = []
    for token_id, (text, type_) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        if type_ in (TokenType.CONTROL, TokenType.UNKNOWN):
            table.append(b"")
        elif type_ is TokenType.BYTE:
            table.append(bytes([vocabulary.byte(token_id)]))
        elif spelt_in_bytes and type_ is not TokenType.USER_DEFINED:
            try:
                table.append(bytes(map(of_character.__getitem__, text)))
            except KeyError:  # not spelt so, which some files do to tokens that no merge makes
                table.append(text.encode())
        else:
            table.append(_spoken(text, vocabulary.algorithm).encode())
    return table


def _byte_of_character() -> dict[str, int]:
    """Byte-level BPE's spelling: printable bytes stand for themselves, the n-th other one is U+0100 + n."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}
