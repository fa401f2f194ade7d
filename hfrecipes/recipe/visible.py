"""Text of other people's making, so that showing it does nothing but show it."""

from __future__ import annotations

import re

# What a terminal obeys (C0 but for tabs and line ends, DEL, C1); embeddings and overrides of direction, by which text reads
# as it is not written (Boucher and Anderson 2021, arXiv:2111.00169); and halves of characters, which no file can hold.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with `\\x1b` where a terminal would be told something; line ends and tabs stay as they are."""
    return _CONTROLS.sub(lambda match: _escape(ord(match.group())), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
