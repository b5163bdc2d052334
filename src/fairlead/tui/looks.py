"""The colours and themes that people choose from. Every colour has a like among a terminal's sixteen."""

from __future__ import annotations

import curses
import os
from typing import Final

COLOURS: Final = {
    "default": None, "red": "#ff5f5f", "green": "#5fd75f", "yellow": "#d7d700", "blue": "#5f87ff",
    "magenta": "#ff5fff", "cyan": "#00d7d7", "white": "#ffffff", "grey": "#8a8a8a",
}  # fmt: skip
"""By name; None is the theme's own."""

THEMES: Final = ("textual-dark", "textual-light", "nord", "gruvbox", "dracula", "solarized-light")

OWN_COLOURS: Final = "ansi-dark"
"""The theme of a terminal that has sixteen colours or fewer: its own ones, on its own background."""
FEW: Final = 16


def colours_there() -> int:
    """How many colours the terminal has; 0 where it has none, or NO_COLOR asks for none (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return 0
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return 1 << 24
    try:
        curses.setupterm()
        return max(0, curses.tigetnum("colors"))
    except curses.error:  # nothing is known of such a terminal
        return FEW
