"""Whether `package.module:name` exists, found out by reading source and never by importing it."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from hfrecipes.recipe.validate import nearest


class UnknownNames(LookupError):
    """The module makes its names while it runs, so that reading it does not tell them."""


def missing_part(dotted_path: str, folder: Path) -> tuple[str, str] | None:
    """What of a dotted path does not exist.

    Args:
        dotted_path: `package.module:function`.
        folder: The recipe's folder, whose modules count before the installed ones.

    Returns:
        The fault and its mend; None where the module and the name in it exist, and the module is valid Python.

    Raises:
        UnknownNames: the module exists, but its names cannot be read.
    """
    module, colon, name = dotted_path.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        return f"{dotted_path!r} is not module:name", "write it like my_module:my_function"
    spec = find_module(module, folder)
    if spec is None:
        return f"there is no module {module}", _module_fix(module, folder)
    try:
        known = names_of(spec)
    except SyntaxError as error:
        return f"{Path(spec.origin or '').name}:{error.lineno or 1} is not valid Python: {error.msg}", "correct it"
    if name in known:
        return None
    guess = nearest(name, (word for word in known if not word.startswith("_")))
    public = ", ".join(sorted(word for word in known if not word.startswith("_"))[:10])
    return f"{module} has no {name}", f"did you mean {guess}?" if guess else f"it has {public or 'no names at all'}"


def find_module(module: str, folder: Path) -> ModuleSpec | None:
    """The spec of a module, without running the packages around it, as `importlib.util.find_spec` would."""
    places: list[str] | None = [str(folder.resolve()), *sys.path]
    spec = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return spec


def names_of(spec: ModuleSpec) -> set[str]:
    """The names at the top level of a module.

    Raises:
        UnknownNames: it is no Python source, or makes names as it runs.
        SyntaxError: it is not valid Python here.
    """
    body = parse_module(spec).body
    names = set().union(*(_bound(statement) for statement in body)) if body else set()
    if names & {"*", "__getattr__"}:
        raise UnknownNames(f"{spec.name} makes its names as it runs")
    return names


def parse_module(spec: ModuleSpec) -> ast.Module:
    """The source of a module as a tree.

    Raises:
        UnknownNames: it is no Python source.
        SyntaxError: it is not valid Python here.
    """
    origin = Path(spec.origin or "")
    if origin.suffix != ".py" or not origin.is_file():
        raise UnknownNames(f"{spec.name} is not Python source")
    try:
        return ast.parse(origin.read_bytes(), filename=origin.name)
    except ValueError as error:  # a NUL in the source
        raise SyntaxError(str(error), (origin.name, 1, 0, "")) from None


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module binds, those inside `if`, `try` and `with` included."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    inner = [node for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt | ast.excepthandler)]
    nested = [child for node in inner for child in (node.body if isinstance(node, ast.excepthandler) else [node])]
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names.union(*(_bound(child) for child in nested)) if nested else names


def _module_fix(module: str, folder: Path) -> str:
    beside = [file.stem for file in folder.glob("*.py")]
    guess = nearest(module, beside)
    return f"did you mean {guess}?" if guess else f"put {module.replace('.', '/')}.py beside the recipe, or install it"
