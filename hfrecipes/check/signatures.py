"""What a function or class takes, read from its source: importing it would run its module."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from hfrecipes.check.dotted import UnknownNames, find_module, parse_module

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def signature_of(dotted_path: str, folder: Path) -> tuple[inspect.Signature, bool] | None:
    """What a reward takes, and whether it is a class, which takes it as it is built.

    Args:
        dotted_path: `package.module:name`.
        folder: The recipe's folder, whose modules count before the installed ones.

    Returns:
        None where reading does not tell: it is imported from elsewhere, made as the module runs, decorated, or inherits.
    """
    module, _, name = dotted_path.partition(":")
    spec = find_module(module, folder)
    try:
        body = parse_module(spec).body if spec else []
    except (UnknownNames, SyntaxError):
        return None
    assigned = [node for node in ast.walk(ast.Module(body, [])) if _binds(node, name)]
    if len(assigned) != 1 or assigned[0] not in body or assigned[0].decorator_list:
        return None
    (node,) = assigned
    if not isinstance(node, ast.ClassDef):
        return _signature(node.args, 0), False
    built_by = [inner for inner in node.body if _binds(inner, "__init__")]
    if node.bases or node.keywords or any(_binds(inner, "__new__") for inner in node.body) or len(built_by) > 1:
        return None
    if not built_by:
        return inspect.Signature(), True
    (function,) = built_by
    return None if function.decorator_list else (_signature(function.args, 1), True)


def _binds(node: ast.AST, name: str) -> bool:
    return isinstance(node, _Function | ast.ClassDef) and node.name == name


def _signature(given: ast.arguments, skipped: int) -> inspect.Signature:
    """The parameters of a function but for the first ones, `self` of a method."""
    positional = [*given.posonlyargs, *given.args]
    required = len(positional) - len(given.defaults)
    found = []
    for place, each in enumerate(positional):
        kind = (
            inspect.Parameter.POSITIONAL_ONLY
            if place < len(given.posonlyargs)
            else inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        found.append(_parameter(each, kind, has_default=place >= required))
    if given.vararg:
        found.append(_parameter(given.vararg, inspect.Parameter.VAR_POSITIONAL))
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append(_parameter(each, inspect.Parameter.KEYWORD_ONLY, has_default=default is not None))
    if given.kwarg:
        found.append(_parameter(given.kwarg, inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(found[skipped:])


def _parameter(argument: ast.arg, kind: object, has_default: bool = False) -> inspect.Parameter:
    return inspect.Parameter(argument.arg, kind, default=None if has_default else inspect.Parameter.empty)
