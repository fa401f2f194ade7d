"""A pipeline's steps as recipes of their own: groups unrolled into rounds, references filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfrecipes.recipe.loader import Recipe, check_words, find_recipe, locate, set_value, split_key
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import ANSWER_FILES, RunDir
from hfrecipes.recipe.source_list import SAMPLE
from hfrecipes.recipe.validate import nearest
from hfrecipes.recipe.yaml_reader import dotted, read_yaml

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
# What a step can name of an earlier one; each is a path inside that step's run directory.
OUTPUTS = {"model": "model", "run": ".", "card": "README.md", **ANSWER_FILES}


@dataclass(frozen=True, slots=True)
class Step:
    """One step, ready to run.

    Args:
        name: Its name with its rounds, `loop-2/sft`; also its folder below the pipeline's run directory.
        recipe: Its recipe, overrides applied and references replaced by paths.
        uses: Names of the earlier steps whose output it takes.
        gate: What it must have reached before the next step starts, as the pipeline says it; empty where it has no gate.
        where: The place of the gate in the pipeline.
    """

    name: str
    recipe: Recipe
    uses: tuple[str, ...]
    gate: dict[str, Any] = field(default_factory=dict)
    where: str = ""


def expand_steps(pipeline: Recipe, run_dir: Path) -> list[Step]:
    """Unrolls a pipeline.

    `${steps.NAME.model}` in an override stands for the output of the latest earlier step of that name: in the same round, else
    in the round before, else outside the group. `${round}` is the number of the round, from 1.

    Args:
        pipeline: A recipe of `kind: pipeline`.
        run_dir: The pipeline's run directory; each step runs in a folder of its name below it.

    Raises:
        RecipeError: with every problem of every step's words and references.
    """
    expansion = _Expansion(pipeline, Path(run_dir))
    expansion.group(pipeline.get("steps", []), ("steps",), "", {})
    if not expansion.steps and not expansion.problems:
        expansion.problems.append(Problem(pipeline.where("steps"), "steps is empty", "name at least one step"))
    if expansion.problems:
        raise RecipeError(expansion.problems)
    return expansion.steps


class _Expansion:
    def __init__(self, pipeline: Recipe, run_dir: Path) -> None:
        self.pipeline = pipeline
        self.run_dir = run_dir
        self.steps: list[Step] = []
        self.problems: list[Problem] = []
        # The latest step of each plain name, by its full name.
        self.latest: dict[str, str] = {}

    def group(self, steps: list[dict[str, Any]], keys: tuple, prefix: str, variables: dict[str, str]) -> None:
        seen: set[str] = set()
        for index, step in enumerate(steps):
            here = (*keys, index)
            name = step.get("name", "")
            if name in seen or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
                fault = f"{dotted(here)}.name is {name!r}" + (", which an earlier step has" if name in seen else "")
                self._fault((*here, "name"), fault, "use letters, digits, - and _, each name once")
                continue
            seen.add(name)
            if ("steps" in step) == ("recipe" in step):
                self._fault(here, f"step {name} needs either a recipe or steps of its own", "keep one of them")
            elif "steps" in step:
                self._rounds(step, here, prefix + name, variables)
            else:
                self._step(step, here, prefix + name, variables)

    def _rounds(self, step: dict[str, Any], keys: tuple, name: str, variables: dict[str, str]) -> None:
        for word, title in (("with", "overrides"), ("gate", "a gate")):
            if word in step:
                self._fault((*keys, word), f"the group {name} has {title}", "give it to its steps")
        for number in range(1, step.get("rounds", 1) + 1):
            inner = {**variables, "round": str(number)}
            self.group(step["steps"] or [], (*keys, "steps"), f"{name}-{number}/", inner)

    def _step(self, step: dict[str, Any], keys: tuple, name: str, variables: dict[str, str]) -> None:
        if "rounds" in step:
            self._fault((*keys, "rounds"), f"step {name} has rounds", "rounds repeat a group: give it steps")
        try:
            recipe, uses = self._recipe(step, keys, variables)
        except RecipeError as error:
            self.problems += error.problems
            return
        gate, place = step.get("gate") or {}, (*keys, "gate")
        self._gate(gate, recipe, place)
        self.steps.append(Step(name, recipe, uses, gate, self._where(place)))
        self.latest[step["name"]] = name

    def _gate(self, gate: dict[str, Any], recipe: Recipe, keys: tuple) -> None:
        """A gate that asks for what its step does not measure would never open."""
        for word, measured in (("short_loss", "evaluation.short_context"), ("needles", "evaluation.needle")):
            if gate.get(word) not in (None, False) and recipe.get(measured) is None:
                fault = f"the gate asks for {word}, and the step's recipe does not say {measured}"
                self._fault((*keys, word), fault, f"add {measured} to {recipe.path.name}, or to the step's with:")

    def _recipe(self, step: dict[str, Any], keys: tuple, variables: dict[str, str]) -> tuple[Recipe, tuple[str, ...]]:
        beside = self.pipeline.find_file(step["recipe"])
        try:
            path = find_recipe(beside if beside.is_file() else step["recipe"])
        except RecipeError as error:
            fix = error.problems[0].fix
            raise RecipeError(
                Problem(self._where((*keys, "recipe")), f"there is no recipe {step['recipe']}", fix)
            ) from None
        values, lines = read_yaml(path)
        said, uses = {}, []
        for key, value in (step.get("with") or {}).items():
            place = (*keys, "with", key)
            filled = self._fill(value, place, variables, uses)
            try:
                set_value(values, split_key(key), filled)
            except (TypeError, IndexError):
                self._fault(place, f"{key} leads nowhere in {step['recipe']}", "list items go by their number, from 0")
            said[split_key(key)] = f"{key} in {self._where(place)}"
        recipe = check_words(values, path, lines, said)
        if recipe.kind == "pipeline":
            self._fault((*keys, "recipe"), f"{step['recipe']} is a pipeline", "write its steps out as a group")
        return recipe, tuple(dict.fromkeys(uses))

    def _fill(self, value: Any, keys: tuple, variables: dict[str, str], uses: list[str]) -> Any:
        if isinstance(value, dict):
            return {key: self._fill(item, (*keys, key), variables, uses) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item, (*keys, index), variables, uses) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        return _REFERENCE.sub(lambda match: self._reference(match[1], keys, variables, uses), value)

    def _reference(self, text: str, keys: tuple, variables: dict[str, str], uses: list[str]) -> str:
        if text in variables:
            return variables[text]
        parts = text.split(".")
        if len(parts) != 3 or parts[0] != "steps" or parts[2] not in OUTPUTS:
            fix = f"write ${{steps.NAME.model}}, {', '.join(f'.{name}' for name in OUTPUTS if name != 'model')}, or ${{round}}"
            self._fault(keys, f"${{{text}}} refers to nothing", fix)
        elif parts[1] not in self.latest:
            guess = nearest(parts[1], self.latest)
            fix = f"did you mean {guess}?" if guess else f"earlier steps: {', '.join(self.latest) or 'none'}"
            self._fault(keys, f"${{{text}}}: no earlier step is named {parts[1]}", fix)
        else:
            self._output(parts[2], self.latest[parts[1]], text, keys)
            uses.append(self.latest[parts[1]])
            return str(RunDir(self.run_dir / self.latest[parts[1]]).path / OUTPUTS[parts[2]])
        return ""

    def _output(self, output: str, step: str, text: str, keys: tuple) -> None:
        """Answers that were drawn are no model, and no other step writes them."""
        kind = next(each.recipe.kind for each in self.steps if each.name == step)
        if (output in ANSWER_FILES) != (kind == SAMPLE) and output not in ("run", "card"):
            gives = f"{' and '.join(f'.{name}' for name in ANSWER_FILES)}" if kind == SAMPLE else ".model"
            self._fault(keys, f"${{{text}}}: a step of kind: {kind} makes none", f"it has {gives}")

    def _where(self, keys: tuple) -> str:
        return locate(keys, self.pipeline.path, self.pipeline.lines, self.pipeline.overrides)

    def _fault(self, keys: tuple, message: str, fix: str) -> None:
        self.problems.append(Problem(self._where(keys), message, fix))
