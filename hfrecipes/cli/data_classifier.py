"""`hfrecipes data classifier`: a small linear classifier from examples of what is wanted and what is not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_EPILOG = """\
Each LABEL=SOURCE gives texts of one label: a local file or folder, or an embedded source such as python_prose; the label that is
wanted comes last. :COLUMN names the column of the text, where it is not text. A label may be given several times.

  hfrecipes data classifier good-prose bad=web.jsonl good=books.jsonl
  hfrecipes data classifier topics code=python_code prose=python_prose maths=gsm8k.jsonl:question

A recipe names the folder:

  data:
    clean:
      - {rule: classifier, name_or_path: good-prose, min_probability: 0.5}
      - {rule: topics, name_or_path: topics, shares: {code: 0.2}}
"""


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "classifier",
        help="train a linear classifier for the rules classifier and topics",
        description="Train a linear classifier on hashed n-grams of words and characters, for the rules classifier and topics.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where it is written")
    parser.add_argument("sources", nargs="+", metavar="LABEL=SOURCE", help="texts of a label")
    parser.set_defaults(command=classifier)
    # LABEL=SOURCE looks like key=value, which the command line otherwise takes for overrides.
    parser.set_defaults(overrides=[])


def classifier(args: argparse.Namespace) -> int:
    from hfrecipes.data.clean.classifier_training import train_classifier_from_recipe
    from hfrecipes.recipe.loader import Recipe
    from hfrecipes.recipe.problem import Problem, RecipeError

    if args.folder.exists() and not args.folder.is_dir():
        raise RecipeError(Problem(str(args.folder), "is a file, and the classifier is a folder", "give another name"))
    sources: dict[str, list[dict[str, Any]]] = {}
    for text in [*args.sources, *args.overrides]:
        label, spec = _source(text)
        sources.setdefault(label, []).append(spec)
    here = Recipe("sft", "classifier", Path("classifier"), {})
    facts = train_classifier_from_recipe(here, sources, args.folder)
    print(f"texts: {', '.join(f'{number} {label}' for label, number in facts['texts'].items())}")
    print(f"held out: {_measured(facts['held_out'])}")
    if shared := facts["texts_of_several_labels"]:
        print(f"! {shared} texts stand under more than one label, which nothing can tell apart")
    print(f"wrote {args.folder}")
    return 0


def _measured(held_out: dict[str, Any]) -> str:
    if not held_out["texts"]:
        return "too few texts to keep some back and measure on them"
    recall = ", ".join(f"{label} {_share(value)}" for label, value in held_out["recall"].items())
    return f"{held_out['texts']} texts, of which {_share(held_out['accuracy'])} right; by label: {recall}"


def _share(value: float | None) -> str:
    return "none held out" if value is None else f"{value:.1%}"


def _source(text: str) -> tuple[str, dict[str, Any]]:
    """`bad=web.jsonl:body` as a label and a source.

    Raises:
        RecipeError: it is not LABEL=SOURCE.
    """
    from hfrecipes.data.embedded import NAMES
    from hfrecipes.recipe.problem import Problem, RecipeError

    label, equals, source = text.partition("=")
    if not label or not equals or not source:
        raise RecipeError(Problem(text, "is not LABEL=SOURCE", "write it like good=books.jsonl"))
    if source in NAMES:
        return label, {"name": source}
    path, _, column = source.rpartition(":") if not Path(source).exists() else (source, "", "")
    path = path or source
    return label, {"path": path, **({"columns": {"text": column}} if column and path != source else {})}
