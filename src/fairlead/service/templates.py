"""Chat templates for models whose files bring none, and the choice among them.

Each is written as its family's authors describe the format. Special tokens are named by their text; what they are
in a vocabulary is not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class BuiltInTemplate:
    """A template in Jinja.

    Attributes:
        source: writes `messages`, and the beginning of an answer where `add_generation_prompt` is true.
        stops: how the next turn begins, for models that have no token for the end of theirs.
    """

    source: str
    stops: tuple[str, ...] = ()


CHATML: Final = BuiltInTemplate(
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)

LLAMA3: Final = BuiltInTemplate(
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- set role = 'ipython' if message.role == 'tool' else message.role -%}"
    "{{ '<|start_header_id|>' + role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}"
)

# A system message has no turn of its own: it stands before the user's message that follows it.
INST: Final = BuiltInTemplate(
    "{{- bos_token -}}"
    "{%- set turn = namespace(system='') -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{%- set turn.system = turn.system + message.content | trim + '\n\n' -%}"
    "{%- elif message.role == 'assistant' -%}{{ ' ' + message.content | trim + eos_token }}"
    "{%- else -%}{{ '[INST] ' + turn.system + message.content | trim + ' [/INST]' }}{%- set turn.system = '' -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if turn.system -%}{{ '[INST] ' + turn.system | trim + ' [/INST]' }}{%- endif -%}"
)

ZEPHYR: Final = BuiltInTemplate(
    "{%- for message in messages -%}"
    "{{ '<|' + message.role + '|>\n' + message.content + eos_token + '\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- endif -%}"
)

PHI2: Final = BuiltInTemplate(
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{{ message.content | trim + '\n' }}"
    "{%- elif message.role == 'assistant' -%}{{ 'Output: ' + message.content | trim + '\n' }}"
    "{%- else -%}{{ 'Instruct: ' + message.content | trim + '\n' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'Output:' }}{%- endif -%}",
    stops=("\nInstruct:",),
)


def choose_template(metadata: Mapping[str, object], special_texts: Collection[str]) -> BuiltInTemplate:
    """The template that a model without one was most likely trained with.

    The special tokens of its vocabulary tell most; then its architecture and its name; else ChatML in plain
    letters, which most models follow.
    """
    if "<|start_header_id|>" in special_texts:
        return LLAMA3
    if "<|im_start|>" in special_texts:
        return CHATML
    if metadata.get("general.architecture") == "phi2":
        return PHI2
    name = str(metadata.get("general.name", "")).lower()
    if "tinyllama" in name or "zephyr" in name:
        return ZEPHYR
    if any(part in name for part in ("mistral", "mixtral", "llama-2", "llama 2", "llama2")):
        return INST
    return CHATML
