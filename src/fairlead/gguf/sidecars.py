"""The files that lie beside a checkpoint's weights, each read into what of it a BERT needs, in GGUF's words.

They are input from strangers: bounded in size, and every value typed before it is looked at. What is left out of a
file, or says of itself that it is otherwise than built in, is refused and never guessed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar, overload

import msgspec

from fairlead.errors import ModelFileError, UnsupportedModel
from fairlead.gguf.header import Value, shown

_MAX_BYTES: Final = 64 << 20
_PREFIX: Final = "##"
_SPACE: Final = "▁"
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3
"""GGUF's types of tokens."""


class BertConfig(msgspec.Struct, frozen=True):
    """`config.json`."""

    model_type: str
    hidden_size: int = 0
    num_hidden_layers: int = 0
    num_attention_heads: int = 0
    intermediate_size: int = 0
    max_position_embeddings: int = 0
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"
    is_decoder: bool = False

    def metadata(self) -> dict[str, Value]:
        """The sizes; UnsupportedModel where this is no BERT, or one with a turn that is not built in."""
        if self.model_type != "bert":
            raise UnsupportedModel(
                f"config.json is of a model of type {shown(self.model_type)}; only bert is read from safetensors"
            )
        if self.hidden_act != "gelu" or self.position_embedding_type != "absolute" or self.is_decoder:
            raise UnsupportedModel(
                f"config.json: activation {shown(self.hidden_act)}, {shown(self.position_embedding_type)} positions"
                f"{', a decoder' if self.is_decoder else ''}: built in are gelu and absolute positions in an encoder"
            )
        return {
            "general.architecture": "bert",
            "bert.context_length": self.max_position_embeddings,
            "bert.embedding_length": self.hidden_size,
            "bert.block_count": self.num_hidden_layers,
            "bert.attention.head_count": self.num_attention_heads,
            "bert.feed_forward_length": self.intermediate_size,
            "bert.attention.layer_norm_epsilon": self.layer_norm_eps,
            "bert.attention.causal": False,
        }


class Pooling(msgspec.Struct, frozen=True):
    """`1_Pooling/config.json` of sentence-transformers; where there is none, the mean is meant."""

    pooling_mode_mean_tokens: bool = True
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False

    def metadata(self) -> dict[str, Value]:
        """The one way of pooling; UnsupportedModel where it is not built in, or there are several."""
        chosen = [name for name in self.__struct_fields__ if getattr(self, name)]
        if chosen == ["pooling_mode_mean_tokens"]:
            return {"bert.pooling_type": 1}
        if chosen == ["pooling_mode_cls_token"]:
            return {"bert.pooling_type": 2}
        raise UnsupportedModel(f"1_Pooling/config.json: {', '.join(chosen) or 'no pooling'} is not built in")


class _Model(msgspec.Struct, frozen=True):
    type: str = ""
    vocab: dict[str, int] = {}
    unk_token: str = "[UNK]"  # noqa: S105 - no password
    continuing_subword_prefix: str = _PREFIX
    max_input_chars_per_word: int = 100


class _Normalizer(msgspec.Struct, frozen=True):
    type: str = ""
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True


class _PreTokenizer(msgspec.Struct, frozen=True):
    type: str = ""


class _AddedToken(msgspec.Struct, frozen=True):
    id: int
    content: str
    special: bool = False


class WordPieceFile(msgspec.Struct, frozen=True):
    """`tokenizer.json`."""

    model: Any
    normalizer: _Normalizer | None = None
    pre_tokenizer: _PreTokenizer | None = None
    added_tokens: list[_AddedToken] = []

    def metadata(self) -> dict[str, Value]:
        """The vocabulary as llama.cpp's converter spells it.

        Raises:
            UnsupportedModel: it is not WordPiece in lower case, as BERT was trained with.
            ModelFileError: its numbers contradict each other.
        """
        model = self._word_piece()
        pieces = sorted(model.vocab.items(), key=lambda item: item[1])
        if [token_id for _, token_id in pieces] != list(range(len(pieces))):
            raise ModelFileError("tokenizer.json: the ids of its tokens are not 0, 1, 2 and so on")
        special = {token.content for token in self.added_tokens if token.special}
        for name in (model.unk_token, "[CLS]", "[SEP]"):
            if name not in model.vocab:
                raise ModelFileError(f"tokenizer.json: there is no token {shown(name)}")
        control = (special | {"[CLS]", "[SEP]"}) - {model.unk_token}
        types = {model.unk_token: _UNKNOWN, **dict.fromkeys(control, _CONTROL)}
        return {
            "tokenizer.ggml.model": "bert",
            "tokenizer.ggml.tokens": tuple(text if text in types else _spelt(text) for text, _ in pieces),
            "tokenizer.ggml.token_type": tuple(types.get(text, _NORMAL) for text, _ in pieces),
            "tokenizer.ggml.unknown_token_id": model.vocab[model.unk_token],
            "tokenizer.ggml.cls_token_id": model.vocab["[CLS]"],
            "tokenizer.ggml.seperator_token_id": model.vocab["[SEP]"],  # the format's own spelling
        }

    def _word_piece(self) -> _Model:
        if not isinstance(self.model, dict) or self.model.get("type") != "WordPiece":
            raise UnsupportedModel("tokenizer.json: only WordPiece is read from it")
        model = _converted("tokenizer.json", self.model, _Model)
        as_bert = (
            (model.continuing_subword_prefix, model.max_input_chars_per_word) == (_PREFIX, 100)
            and self.pre_tokenizer is not None
            and self.pre_tokenizer.type == "BertPreTokenizer"
            and self.normalizer is not None
            and self.normalizer in (_Normalizer("BertNormalizer"), _Normalizer("BertNormalizer", strip_accents=True))
        )
        if not as_bert:
            raise UnsupportedModel("tokenizer.json: only the WordPiece of an uncased BERT is built in")
        return model


S = TypeVar("S", bound=msgspec.Struct)


@overload
def read_sidecar(folder: Path, name: str, kind: type[S]) -> S: ...
@overload
def read_sidecar(folder: Path, name: str, kind: type[S], default: S) -> S: ...
def read_sidecar(folder: Path, name: str, kind: type[S], default: S | None = None) -> S:
    """The JSON file `name` in a checkpoint's folder; `default` where there is none.

    Raises:
        ModelFileError: it is missing, cannot be read, or is not what it must be.
    """
    path = folder / name
    try:
        if default is not None and not path.exists():
            return default
        if path.stat().st_size > _MAX_BYTES:
            raise ModelFileError(f"{name} has {path.stat().st_size} bytes; at most {_MAX_BYTES} are read")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ModelFileError(f"{name}, which belongs beside the weights, cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"{name} is not what it must be: {shown(str(error))}") from error


def _converted(name: str, value: object, kind: type[S]) -> S:
    try:
        return msgspec.convert(value, kind)
    except msgspec.MsgspecError as error:
        raise ModelFileError(f"{name} is not what it must be: {shown(str(error))}") from error


def _spelt(piece: str) -> str:
    """A piece that begins a word has a mark before it, and one that goes on none."""
    return piece.removeprefix(_PREFIX) if piece.startswith(_PREFIX) else _SPACE + piece
