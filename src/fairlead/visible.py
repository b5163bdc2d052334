"""Text of anybody's that is shown in a terminal: its control characters are seen, and none is obeyed."""

from __future__ import annotations

_VISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_VISIBLE |= {0x7F: "\u2421"} | dict.fromkeys(range(128, 160), "�")


def safe(text: str) -> str:
    """The text with its control characters made visible, so that nothing in it can steer a terminal."""
    return text.translate(_VISIBLE)
