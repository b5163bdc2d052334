"""The colours and themes that people choose from. Every colour has a like among a terminal's sixteen."""

from __future__ import annotations

from typing import Final

COLOURS: Final = {
    "default": None, "red": "#ff5f5f", "green": "#5fd75f", "yellow": "#d7d700", "blue": "#5f87ff",
    "magenta": "#ff5fff", "cyan": "#00d7d7", "white": "#ffffff", "grey": "#8a8a8a",
}  # fmt: skip
"""By name; None is the theme's own."""

THEMES: Final = ("textual-dark", "textual-light", "nord", "gruvbox", "dracula", "solarized-light")
