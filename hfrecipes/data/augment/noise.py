"""The method `noise`: mistakes of typing, by the keyboard in Latin and Cyrillic script, by sound in Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hfrecipes.data.augment.method import Task, pick
from hfrecipes.data.augment.protected import is_program, split_protected
from hfrecipes.recipe.augmentation import Noise

_RATE = 0.02
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_CYRILLIC_ROWS = ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю")
# Characters that are typed by the same syllable or look alike, each group of one sound. Simplified and traditional.
_CHINESE_GROUPS = (
    "的地得 在再 做作 他她它 那哪 象像向 以已 和合 里理 以一 即既 须需 是事 有又 坐座 带戴 做坐 买卖 侯候 未末 己已 那哪 "
    "从重 到道 其起 时实 们门 么吗 知之 能弄 会回 因应 进近 经京 题提 点电 定订 成程 长常 常场 话画 见件 现线 心新 "
    "在載 裡理 買賣 嗎麼 著者 後候 來賴 時實 門們 電點 話畫 見件 現線"
)
_FULL_WIDTH = {"，": ",", "。": ".", "！": "!", "？": "?", "：": ":", "；": ";", "（": "(", "）": ")"}


class NoiseMethod:
    """Changes single characters: a neighbour on the keyboard, two in the wrong order, one too few or too many, another case,
    a space too few or too many; in Chinese, characters that sound alike, swapped or doubled ones, marks of half width.

    Digits, code, addresses and formulas stay. A text that is code altogether stays as it is.
    """

    name = "noise"
    min_similarity = 0.5
    fingerprint = "1"

    def __init__(self, settings: Noise) -> None:
        self.settings = settings
        self.rate = _RATE if settings.rate is None else settings.rate

    def change(self, tasks: Sequence[Task]) -> list[tuple[str, ...]]:
        return [self._task(task) for task in tasks]

    def _task(self, task: Task) -> tuple[str, ...]:
        random = Random(task.seed)
        return tuple(text if is_program(text) else self._text(random, text, task.fixed) for text in task.texts)

    def _text(self, random: Random, text: str, fixed: Sequence[str]) -> str:
        pieces = split_protected(text, fixed)
        return "".join(self._piece(random, piece) if changeable else piece for piece, changeable in pieces)

    def _piece(self, random: Random, piece: str) -> str:
        written, place = [], 0
        while place < len(piece):
            if random.random() < self.rate:
                read, mistake = _mistake(random, piece, place)
                written.append(mistake)
                place += read
            else:
                written.append(piece[place])
                place += 1
        return "".join(written)


def neighbours_of(character: str) -> str:
    """The letters beside a letter on its keyboard, in lower case; none for what is on neither."""
    return _NEIGHBOURS.get(character.lower(), "")


def alike(character: str) -> str:
    """Chinese characters that are easily typed in place of one."""
    return _ALIKE.get(character, "")


def _mistake(random: Random, text: str, place: int) -> tuple[int, str]:
    """How many characters are read, and what is written in their place."""
    here, after = text[place], text[place + 1 : place + 2]
    if here in _FULL_WIDTH:
        return 1, _FULL_WIDTH[here]
    if here == " ":
        # A space too few joins two words; at the end of a line or in an indentation spaces mean something.
        between = place > 0 and text[place - 1].isalpha() and after.isalpha()
        return 1, pick(random, ("", "  ")) if between else here
    if not here.isalpha():
        return 1, here
    if here >= "\u2e80":
        return _chinese_mistake(random, here, after)
    kind = pick(random, ("neighbour", "neighbour", "swap", "delete", "double", "case"))
    if kind == "neighbour" and (near := neighbours_of(here)):
        letter = pick(random, near)
        return 1, letter.upper() if here.isupper() else letter
    if kind == "swap" and after.isalpha() and after != here:
        return 2, after + here
    if kind == "delete":
        return 1, ""
    if kind == "case":
        return 1, here.swapcase() if len(here.swapcase()) == 1 else here
    return 1, here * 2


def _chinese_mistake(random: Random, here: str, after: str) -> tuple[int, str]:
    kind = pick(random, ("alike", "alike", "swap", "delete", "double"))
    if kind == "alike" and (others := alike(here)):
        return 1, pick(random, others)
    if kind == "swap" and after >= "\u2e80" and after.isalpha() and after != here:
        return 2, after + here
    return 1, "" if kind == "delete" else here * 2


def _keyboard(rows: Sequence[str]) -> dict[str, str]:
    """Letter -> those beside it in its row and over and under it; a row begins half a key right of that above."""
    near: dict[str, str] = {}
    for number, row in enumerate(rows):
        for column, letter in enumerate(row):
            places = [(number, column - 1), (number, column + 1), (number - 1, column), (number - 1, column + 1)]
            places += [(number + 1, column - 1), (number + 1, column)]
            inside = [(r, c) for r, c in places if 0 <= r < len(rows) and 0 <= c < len(rows[r])]
            near[letter] = "".join(rows[r][c] for r, c in inside)
    return near


def _groups(listed: str) -> dict[str, str]:
    others: dict[str, str] = {}
    for group in listed.split():
        for character in group:
            rest = others.get(character, "") + "".join(one for one in group if one != character)
            others[character] = "".join(dict.fromkeys(rest))
    return others


_NEIGHBOURS = {**_keyboard(_ROWS), **_keyboard(_CYRILLIC_ROWS)}
_ALIKE = _groups(_CHINESE_GROUPS)
