"""Templates that put the columns of a row into words: compiled, judged before any row is read, and drawn row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta

from hfrecipes.data.hashing import content_key, stable_key
from hfrecipes.data.messages import text_fault
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.yaml_reader import read_yaml
from hfrecipes.tokenization.chat import Counter, Sandbox

# The words that every template of a task has to read somewhere: a row says nothing without them. The last one of a
# classification or an instruction is what the model learns to write.
_NEEDED = {
    "classification": ("text", "label"),
    "instruction": ("instruction", "output"),
    "preference": ("prompt",),
    "ranking": ("prompt",),
}
# The tasks of which a template writes the prompt alone: the answers are there.
_PROMPT_ONLY = ("preference", "ranking")
# Words that a row may leave empty. Where it does not, a template that drops them is not drawn for it.
OPTIONAL = ("system", "input")
_SHIPPED = Path(__file__).with_name("template_sets.yaml")
_FIELDS = ("system", "prompt", "completion")


@dataclass(frozen=True, slots=True)
class Written:
    """What a template made of a row; empty where it has no such part."""

    system: str
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Template:
    """One way to put a row into words.

    Args:
        place: How messages call it: `templates.0`, `classification_en.2`.
        sources: Field -> Jinja, for those of `system`, `prompt` and `completion` that it has.
        reads: The words that it reads anywhere.
    """

    place: str
    sources: tuple[tuple[str, str], ...]
    reads: frozenset[str]

    @property
    def has_system(self) -> bool:
        return any(field == "system" for field, _ in self.sources)

    def left_alone(self, system: str) -> str:
        """A row's system message, where the template neither writes one nor puts the row's elsewhere; else nothing."""
        return "" if self.has_system or "system" in self.reads else system

    def write(self, words: dict[str, Any], where: str) -> Written:
        """Puts a row into words.

        Raises:
            RecipeError: the template reads a column that the row lacks, fails, or writes nothing.
        """
        parts = {field: self._render(field, source, words, where) for field, source in self.sources}
        return Written(**{field: parts.get(field, "") for field in _FIELDS})

    def _render(self, field: str, source: str, words: dict[str, Any], where: str) -> str:
        name = f"{self.place}.{field}"
        try:
            text = _compiled(source).render(words | {"range": Counter()})
        except jinja2.UndefinedError as error:
            message = f"{name} reads what this row lacks: {error.message}; the row has {', '.join(words)}"
            fix = "correct the template, name the column with columns:, or ask first, as in {% if title is defined %}"
            raise RecipeError(Problem(where, message, fix)) from error
        except Exception as error:  # a template is somebody's program, and fails in any way that one can
            message = f"{name} fails on this row: {type(error).__name__}: {error}"
            raise RecipeError(Problem(where, message, "correct the template or the row")) from error
        if field != "system" and (fault := text_fault(text)):
            raise RecipeError(Problem(where, f"what {name} writes for this row {fault}", "correct the template or row"))
        return text


def draw_template(spec: dict[str, Any], words: dict[str, Any], own: tuple[str, ...], where: str) -> Template:
    """The template of a row. It depends on the row's own words, the seed and the templates, on no other row.

    A template that is added takes rows over from the others and moves none between them.

    Args:
        spec: The source as the recipe names it, with `templates`.
        words: What the row gives to templates.
        own: The words that tell rows apart; without any, all do.
        where: The row's place, for problems.

    Raises:
        RecipeError: the templates are faulty, or each drops a word that the row has.
    """
    templates = load_templates(spec)
    filled = [name for name in OPTIONAL if name in own and words.get(name)]
    turns = spec.get("conversational") is not False
    fitting = [template for template in templates if not _lost(template, filled, turns)]
    if not fitting:
        message = f"no template reads {' and '.join(filled)}, which this row has, so it would be lost"
        raise RecipeError(Problem(where, message, f"add a template with {{{{ {filled[-1]} }}}}"))
    if len(fitting) == 1:
        return fitting[0]
    key = f"{spec.get('template_seed') or 0} {content_key({name: words.get(name) for name in own or words})}"
    return max(fitting, key=lambda template: stable_key(f"{key} {template.sources}"))


def load_templates(spec: dict[str, Any]) -> tuple[Template, ...]:
    """The templates of a source.

    Raises:
        RecipeError: with every fault in them.
    """
    templates, problems = _judged(*_key(spec))
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise RecipeError(errors)
    return templates


def template_problems(spec: dict[str, Any], where: str = "templates") -> list[Problem]:
    """What is wrong with the templates of a source, found without a row; empty where it has none.

    Args:
        spec: The source as the recipe names it.
        where: The place of `templates` in the recipe.
    """
    if spec.get("templates") is None:
        return []
    return [replace(problem, where=where) for problem in _judged(*_key(spec))[1]]


@lru_cache(maxsize=1)
def shipped_templates() -> dict[str, dict[str, Any]]:
    """The sets that come along: name -> `tasks` it is for, `language`, and `templates`."""
    return read_yaml(_SHIPPED)[0]


def _lost(template: Template, filled: list[str], conversational: bool) -> set[str]:
    """What of a row a template drops. A system message that it leaves alone becomes a turn of its own."""
    lost = set(filled) - template.reads
    return lost - {"system"} if conversational and not template.has_system else lost


def _key(spec: dict[str, Any]) -> tuple[str, str | None, bool]:
    return json.dumps(spec["templates"]), spec.get("task"), spec.get("conversational") is not False


@lru_cache(maxsize=64)
def _judged(templates: str, task: str | None, conversational: bool) -> tuple[tuple[Template, ...], list[Problem]]:
    chosen = json.loads(templates)
    found, problems = [], []
    name = "templates"
    if isinstance(chosen, str):
        shipped = shipped_templates()
        fitting = [key for key, entry in shipped.items() if task in entry["tasks"]]
        if chosen not in fitting:
            message = f"templates: {chosen} is no shipped set for {f'task: {task}' if task else 'rows without a task'}"
            sets = f"the sets are {', '.join(fitting)}" if fitting else "say what the rows are with task:"
            return (), [Problem("templates", message, f"{sets}; or write a list of templates")]
        name, chosen = chosen, shipped[chosen]["templates"]
    if not chosen:
        return (), [Problem("templates", "templates is an empty list", "remove it, or write a template")]
    for number, fields in enumerate(chosen):
        template, faults = _read(f"{name}.{number}", fields, task, conversational)
        problems += faults
        found += [template] if template else []
    return tuple(found), problems


def _read(
    place: str, fields: dict[str, str | None], task: str | None, conversational: bool
) -> tuple[Template | None, list[Problem]]:
    """One template, or why it is none."""
    wanted = ("prompt",) if task in _PROMPT_ONLY else ("prompt", "completion")
    # The white space at a turn's ends is the chat template's to write. What a column holds stays as it is.
    given = {key: (text.strip() if conversational else text) for key, text in fields.items() if text is not None}
    problems = [
        Problem("templates", f"{place} has no {key}", f"add {key}:") for key in wanted if not given.get(key, "").strip()
    ]
    for key in given.keys() - {*wanted, "system"}:
        fix = "remove it: the answers are the row's own" if key == "completion" else "remove it, or correct its name"
        problems.append(Problem("templates", f"{place} has {key}, which a {task or 'source'} cannot take", fix))
    if "system" in given and not conversational:
        fix = "write it into prompt, or remove conversational: false"
        problems.append(Problem("templates", f"{place} has a system message, and plain text has none", fix))
    reads: dict[str, set[str]] = {}
    for key, source in given.items():
        try:
            _compiled(source)
            reads[key] = meta.find_undeclared_variables(_environment().parse(source))
        except jinja2.TemplateError as error:
            line = f" (line {error.lineno} of it)" if isinstance(error, jinja2.TemplateSyntaxError) else ""
            problems.append(Problem("templates", f"{place}.{key} is no Jinja{line}: {error}", "correct it"))
    if problems:
        return None, problems
    every = frozenset().union(*reads.values())
    return Template(place, tuple(given.items()), every), _unread(place, task, reads, every)


def _unread(place: str, task: str | None, reads: dict[str, set[str]], every: frozenset[str]) -> list[Problem]:
    """What a template leaves out of a row, and what it gives away."""
    if task is None:
        same = Problem("templates", f"{place}.completion is the same for all rows", "read a column, as in {{ answer }}")
        return [] if reads["completion"] else [same]
    missing = [word for word in _NEEDED[task] if word not in every]
    problems = [Problem("templates", f"{place} ignores {word}", f"read it, as in {{{{ {word} }}}}") for word in missing]
    answer = _NEEDED[task][-1]
    if task in _PROMPT_ONLY or missing:
        return problems
    shown = reads["prompt"] | reads.get("system", set())
    if answer in shown and answer in reads["completion"]:
        message = f"{place} shows {answer} in the prompt and asks for it in the completion"
        problems.append(Problem("templates", message, f"read {answer} in one of the two"))
    elif not reads["completion"]:
        problems.append(Problem("templates", f"{place}.completion is the same for all rows", f"read {answer} in it"))
    if task == "instruction" and "input" not in every:
        message = f"{place} does not read input; it is not drawn for rows that have one"
        problems.append(Problem("templates", message, "read it, as in {% if input %}{{ input }}{% endif %}", "warning"))
    return problems


@lru_cache(maxsize=1)
def _environment() -> Sandbox:
    environment = Sandbox(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    # A row has to come out the same each time.
    del environment.filters["random"], environment.globals["lipsum"]
    environment.filters["tojson"] = _to_json
    return environment


def _to_json(value: Any, **options: Any) -> str:
    # Jinja's own filter escapes <, > and & for HTML, which would reach the model.
    return json.dumps(value, ensure_ascii=False, **options)


@lru_cache(maxsize=256)
def _compiled(source: str) -> jinja2.Template:
    return _environment().from_string(source)
