"""What travels inside the package: the recipes, the launcher files, the card templates."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_folder(name: str) -> Path:
    """The folder `recipes` or `model_cards`: inside an installed package, at the top level of a checkout."""
    installed = _PACKAGE / "_shipped" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def shipped_recipes() -> dict[str, Path]:
    """Name (`sft/qwen3-0.6b-lora`) and file of every shipped recipe, in alphabetical order."""
    root = shipped_folder("recipes")
    names = {path.relative_to(root).with_suffix("").as_posix(): path for path in root.rglob("*.yaml")}
    return {name: names[name] for name in sorted(names) if not name.startswith("launchers/")}


def shipped_launchers() -> dict[str, Path]:
    """Name and file of every accelerate configuration under `recipes/launchers/`."""
    return {path.stem: path for path in sorted((shipped_folder("recipes") / "launchers").glob("*.yaml"))}
