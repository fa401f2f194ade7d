"""Whether an answer declines, or asks back, by the words that people use for it in English and Chinese. Pure functions.

A rule sees words, not meaning: it is exact where refusals are worded alike, as in data that teaches them, and a lower bound
elsewhere. What it makes of the references themselves is told before a training.
"""

from __future__ import annotations

import re

# A refusal says so at once; further on, "I can't" belongs to what the answer is about.
_BEGINNING = 200
_REFUSES = re.compile(
    r"\b(?:i|we)(?:'m| am|'re| are)? (?:sorry|unable to|not able to|not allowed to|afraid i can)"
    r"|\b(?:i|we) (?:can't|cannot|can not|could not|couldn't|won't|will not|shouldn't|must decline|decline|refuse)\b"
    r"|\b(?:i|we) (?:don't|do not) (?:know|have (?:enough|that|access|any))"
    r"|\b(?:cannot|can't) be (?:answered|determined|known|told)\b"
    r"|\b(?:impossible|not possible) to (?:answer|say|tell|know)\b"
    r"|抱歉|对不起|我(?:无法|不能|不可以|不知道|没法|没有办法)|无法(?:回答|提供|判断|确定|得知|协助)|不能(?:回答|提供|协助)",
    re.IGNORECASE,
)
_REQUESTS = re.compile(
    r"\bplease (?:also )?(?:provide|specify|clarify|show|tell|give|share|send|paste|say|explain|name)\b"
    r"|\b(?:could|can|would) you (?:please )?(?:provide|specify|clarify|show|tell|give|share|send|paste|say|explain|name)\b"
    r"|请(?:您|你)?(?:先|再)?(?:提供|说明|告诉|给出|指明|明确|补充|发)",
    re.IGNORECASE,
)
_ASKS = ("?", "？")


def refuses(answer: str) -> bool:
    """Whether an answer says near its beginning that it will not or cannot give what was asked for."""
    return _REFUSES.search(_plain(answer)[:_BEGINNING]) is not None


def asks_back(answer: str) -> bool:
    """Whether an answer ends in a question, or requests what it lacks."""
    text = _plain(answer)
    return text.rstrip("\"'*`)）」 ").endswith(_ASKS) or _REQUESTS.search(text) is not None


def _plain(answer: str) -> str:
    return " ".join(answer.replace("’", "'").split())
