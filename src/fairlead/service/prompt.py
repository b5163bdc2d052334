"""From the messages of a chat to the token ids that the model reads.

Special tokens come from the template alone: none of what people, files or tools wrote can become one, whatever a
template makes of it. Where a prompt goes from here, and whether it fits, is not known here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fairlead.errors import InvalidRequest, ModelFileError
from fairlead.gguf.tokenizer import Tokenizer
from fairlead.service.template_sandbox import Sandbox
from fairlead.service.templates import BuiltInTemplate, choose_template

ROLES: Final = ("system", "user", "assistant", "tool")

_SENTINELS: Final = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Noncharacters, which Unicode keeps for use within a program."""

# What a rendering may take: room for a template's own words, and for escaping and repeating what it is given.
_TEMPLATE_CHARS: Final = 1 << 20
_GROWTH: Final = 8
_MAX_DEPTH: Final = 64

_UNLIKE: Final = ("a", "1")
"""What users may begin with, of which no two characters are in one token."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks, one of `ROLES`, and what is said."""

    role: str
    content: str


class ChatTemplate:
    """A model's chat template together with its tokenizer; safe to use from several threads."""

    def __init__(self, template: BuiltInTemplate, tokenizer: Tokenizer) -> None:
        """Compiles the template; raises ModelFileError where that cannot be done."""
        self.stops = template.stops
        """Strings that end an answer, beside the tokenizer's stop tokens."""
        self._sandbox = Sandbox(template.source)
        self._tokenizer = tokenizer
        taken = "".join([template.source, *tokenizer.special_texts])
        self._sentinels = [sentinel for sentinel in _SENTINELS if sentinel not in taken]
        self._names = {
            "bos_token": "" if tokenizer.bos_id is None else tokenizer.token_text(tokenizer.bos_id),
            "eos_token": "" if tokenizer.eos_id is None else tokenizer.token_text(tokenizer.eos_id),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, object], tokenizer: Tokenizer) -> ChatTemplate:
        """The template in a model file, or the one built in that suits the model best.

        Raises:
            ModelFileError: the file's template is not a template, or asks for what is not offered.
        """
        source = metadata.get("tokenizer.chat_template")
        if source is None:
            return cls(choose_template(metadata, tokenizer.special_texts), tokenizer)
        if not isinstance(source, str):
            raise ModelFileError("tokenizer.chat_template must be a string")
        return cls(BuiltInTemplate(source), tokenizer)

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, object]] | None = None) -> list[int]:
        """The prompt for the next answer to these messages, with the model's BOS once where it wants one.

        A special token's text within a message or a tool is broken by a sentinel, which the tokenizer takes out
        again. The template can look at what is written, and works as with the text itself. But it could also put
        together what was apart; so it is run once more on messages that have sentinels around each character,
        from which no special token can come. Where the special tokens of both differ, the second is the prompt.

        Raises:
            InvalidRequest: no message, an unknown role, text that is not Unicode, or the template refuses them.
            ModelFileError: the template fails on them, or goes past its limits.
        """
        if not messages:
            raise InvalidRequest("at least one message is needed", param="messages")
        for message in messages:
            if message.role not in ROLES:
                raise InvalidRequest(f"the role {message.role[:64]!r} is none of {', '.join(ROLES)}", param="messages")
        texts = [message.content for message in messages]

        def noted(text: str) -> str:
            texts.append(text)
            return text

        _map_texts(tools, noted)
        sentinel = self._unused_sentinel(texts)
        max_chars = _TEMPLATE_CHARS + _GROWTH * sum(map(len, texts))

        def broken(text: str) -> str:
            return self._tokenizer.break_special(text, sentinel)

        def apart(text: str) -> str:
            return sentinel.join(("", *text, "")) if text else ""

        def tool_apart(text: str) -> str:  # templates ask for the names in a tool's schema
            return broken(text) if text.isidentifier() else apart(text)

        text = self._text(messages, tools, broken, broken, max_chars)
        safe = self._text(messages, tools, apart, tool_apart, max_chars)
        if self._tokenizer.marked_ids(text) != self._tokenizer.marked_ids(safe):
            text = safe
        return self._with_one_bos(self._tokenizer.encode_marked(text, sentinel))

    def opening(self, system: str | None) -> Sequence[int]:
        """The tokens with which every conversation begins that has this system prompt, or with None has none.

        They are what conversations have in common whose users begin differently: so none of them depends on what a
        user wrote, be it that the tokenizer joins the user's first letters to what stands before.
        """
        first = [Message("system", system)] if system else []
        try:
            one, other = (self.render([*first, Message("user", text)]) for text in _UNLIKE)
        except (InvalidRequest, ModelFileError) as error:
            logger.info("the template takes no plain conversation, and so knows no opening: %s", error.message)
            return ()
        return common_prefix(one, other)

    def _text(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, object]] | None,
        mark: Callable[[str], str],
        mark_tool: Callable[[str], str],
        max_chars: int,
    ) -> str:
        """What the template writes, once the texts of messages and tools went through `mark` and `mark_tool`."""
        variables = {
            **self._names,
            "messages": [{"role": message.role, "content": mark(message.content)} for message in messages],
            "tools": _map_texts(tools, mark_tool),
            "documents": None,
            "add_generation_prompt": True,
        }
        return self._sandbox.render(variables, max_chars)

    def _unused_sentinel(self, texts: Sequence[str]) -> str:
        for sentinel in self._sentinels:
            if not any(sentinel in text for text in texts):
                return sentinel
        raise InvalidRequest(
            "the messages hold each of the noncharacters U+FDD0 to U+FDEF; leave one out", param="messages"
        )

    def _with_one_bos(self, ids: list[int]) -> list[int]:
        bos = self._tokenizer.bos_id
        if bos is None:
            return ids
        given = next((number for number, token_id in enumerate(ids) if token_id != bos), len(ids))
        return [bos] * (given > 0 or self._tokenizer.add_bos) + ids[given:]


def common_prefix(one: Sequence[int], other: Sequence[int]) -> Sequence[int]:
    """The tokens with which both begin."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return one[:place]
    return one if len(one) <= len(other) else other


def _map_texts(value: object, function: Callable[[str], str], depth: int = 0) -> object:
    """A JSON value with each string in it, names included, replaced."""
    if depth > _MAX_DEPTH:
        raise InvalidRequest(f"the tools are nested deeper than {_MAX_DEPTH} levels", param="tools")
    if isinstance(value, str):
        return function(value)
    if isinstance(value, Mapping):
        return {function(str(name)): _map_texts(member, function, depth + 1) for name, member in value.items()}
    if isinstance(value, Sequence):
        return [_map_texts(member, function, depth + 1) for member in value]
    return value
