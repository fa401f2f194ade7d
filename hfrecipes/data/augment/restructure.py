"""The method `restructure`: the same sentences in another order, joined or split, in English and Chinese."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from hfrecipes.data.augment import clauses
from hfrecipes.data.augment.method import Task, shuffled
from hfrecipes.data.augment.protected import is_program, split_blocks
from hfrecipes.data.clean.segments import split_sentences
from hfrecipes.recipe.augmentation import Restructure

_PARAGRAPH_END = re.compile(r"(\n[ \t]*\n\s*)")
_BULLET = re.compile(r"[ \t]*[-*•][ \t]+\S")
# Lines that are no running prose: numbered steps, choices, speakers, headings, tables, quotes, indented code.
_FORM = re.compile(
    r"[ \t]*(?:\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4}|[一二三四五六七八九十]{1,3})[.)、）](?:\s|(?=[^\s\d]))|[|#>+]"
    r"|[\w ]{1,30}[:：](?:\s|\Z)|[-=_*]{3,}|[A-D][.:：、])|(?: {4}|\t)"
)
# A sentence that begins so leans on the one before it.
_LEANS = re.compile(
    r"(?:He|She|It|They|We|You|This|That|These|Those|Such|His|Her|Hers|Its|Their|Him|Them|The|Then|So|Thus|Therefore|Hence|"
    r"However|But|And|Or|Also|Next|Finally|Afterwards|Later|Meanwhile|Instead|Moreover|Furthermore|Besides|Nevertheless|Still|"
    r"Yet|Otherwise|Consequently|Accordingly|Both|Neither|Either|Another|Others?|First|Second|Third|Here|There|As a result|"
    r"For example|For instance|In addition|On the other hand|In the (?:morning|afternoon|evening|end|meantime)|"
    r"At (?:night|noon|first|last|the end)|On \w+day|Today|Tomorrow|Yesterday|During|Before|After|Once|When|By|Until|Since|Last|"
    r"Now|Soon)\b"
    r"|[他她它这那其此该]|然后|但|可是|不过|然而|因此|所以|于是|而|并|接着|最后|另外|同时|例如|比如|首先|也|就|还|又|則|则|故|是以"
    r"|第[一二三四五]|早上|上午|中午|下午|晚上|今天|明天|昨天|后来|之后|随后|当时"
    r"|[a-z\"'“‘«「『（(\[]"
)
# Direct speech: who says what to whom hangs on the order.
_SPEECH = re.compile(r"[:：,，]\s*[\"“「『«]|[\"”」』»]\s*(?:[a-z]+ )?(?:said|says|asked|replied|说|道|问)")
_QUESTION = re.compile(r"[?？]")
_CHANCE = 0.5
_PAIRS = ("“”", "「」", "『』", "《》", "（）", "()", "[]", "«»")


class RestructureMethod:
    """Changes the order of what is said, never the words: sentences within a paragraph, the items of a list without numbers,
    the two clauses of a sentence; joins two short sentences and splits a long one.

    A paragraph's first sentence and its questions keep their place, direct speech keeps its order, and a sentence that leans
    on the one before it (`He …`, `However …`, `因此…`) goes with it. Code blocks, numbered lists, choices, dialogues and
    tables stay.
    """

    name = "restructure"
    min_similarity = 0.5
    fingerprint = "1"

    def __init__(self, settings: Restructure) -> None:
        self.settings = settings
        self.reorders = settings.reorder is not False
        self.joins = settings.join_and_split is not False

    def change(self, tasks: Sequence[Task]) -> list[tuple[str, ...]]:
        return [self._task(task) for task in tasks]

    def _task(self, task: Task) -> tuple[str, ...]:
        random = Random(task.seed)
        return tuple(text if is_program(text) else self._text(random, text) for text in task.texts)

    def _text(self, random: Random, text: str) -> str:
        blocks = split_blocks(text)
        return "".join(self._block(random, block) if prose else block for block, prose in blocks)

    def _block(self, random: Random, text: str) -> str:
        # Every second piece is the space between paragraphs.
        pieces = _PARAGRAPH_END.split(text)
        pieces[::2] = [self._paragraph(random, paragraph) for paragraph in pieces[::2]]
        return "".join(pieces)

    def _paragraph(self, random: Random, text: str) -> str:
        lines = text.split("\n")
        bullets = [bool(_BULLET.match(line)) for line in lines]
        if any(bullets):
            return _shuffle_items(random, lines, bullets) if self.reorders else text
        if any(map(_FORM.match, lines)):
            return text
        pieces = [_parted(piece) for piece in _quotes_whole(split_sentences(text))]
        sentences, spaces = [piece[0] for piece in pieces], [piece[1] for piece in pieces]
        if self.reorders and not _SPEECH.search(text):
            sentences = _shuffle_sentences(random, sentences)
            sentences = [_perhaps(random, clauses.reordered(one), one) for one in sentences]
        if self.joins:
            sentences = [_perhaps(random, clauses.split(one), one) for one in sentences]
            sentences, spaces = _join(random, sentences, spaces)
        return "".join(sentence + space for sentence, space in zip(sentences, spaces, strict=True))


def _quotes_whole(pieces: list[str]) -> list[str]:
    """Sentences of one quotation or bracket put together, so that none leaves it."""
    whole: list[str] = []
    for piece in pieces:
        if whole and _is_open(whole[-1]):
            whole[-1] += piece
        else:
            whole.append(piece)
    return whole


def _is_open(text: str) -> bool:
    return text.count('"') % 2 == 1 or any(text.count(first) > text.count(last) for first, last in _PAIRS)


def _parted(piece: str) -> tuple[str, str]:
    sentence = piece.rstrip()
    return sentence, piece[len(sentence) :]


def _perhaps(random: Random, changed: str | None, sentence: str) -> str:
    return changed if changed is not None and random.random() < _CHANCE else sentence


def _shuffle_sentences(random: Random, sentences: list[str]) -> list[str]:
    """Groups of sentences that belong together in another order; the first one and questions stay where they are."""
    groups: list[list[str]] = []
    for sentence in sentences:
        if groups and _LEANS.match(sentence):
            groups[-1].append(sentence)
        else:
            groups.append([sentence])
    free = [
        place for place, group in enumerate(groups) if place > 0 and not any(_QUESTION.search(one) for one in group)
    ]
    order = list(groups)
    for place, source in zip(free, shuffled(random, free), strict=True):
        order[place] = groups[source]
    return [sentence for group in order for sentence in group]


def _shuffle_items(random: Random, lines: list[str], bullets: list[bool]) -> str:
    """The items of a list of one level in another order, each with the lines that belong to it."""
    first = bullets.index(True)
    indents = {len(line) - len(line.lstrip()) for line, bullet in zip(lines, bullets, strict=True) if bullet}
    items: list[list[str]] = []
    for line, bullet in zip(lines[first:], bullets[first:], strict=True):
        if bullet and len(line) - len(line.lstrip()) == min(indents):
            items.append([line])
        elif line[:1].isspace() and line.strip() and items:
            items[-1].append(line)
        else:
            return "\n".join(lines)  # text after the list, whose end is not clear
    mixed = [line for item in shuffled(random, items) for line in item]
    return "\n".join([*lines[:first], *mixed])


def _join(random: Random, sentences: list[str], spaces: list[str]) -> tuple[list[str], list[str]]:
    done: list[str] = []
    after: list[str] = []
    for sentence, space in zip(sentences, spaces, strict=True):
        whole = clauses.joined(done[-1], sentence) if done and "\n" not in after[-1] else None
        if whole is not None and random.random() < _CHANCE:
            done[-1], after[-1] = whole, space
        else:
            done.append(sentence)
            after.append(space)
    return done, after
