"""Installed versions with which opening a model or a checkpoint of somebody else can run its code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hfrecipes.recipe.problem import Problem


@dataclass(frozen=True, slots=True)
class Advisory:
    """A known fault of a library.

    Args:
        name: Its number.
        package: The distribution that had it.
        mended: The first version without it.
    """

    name: str
    package: str
    mended: str


ADVISORIES = (
    Advisory("CVE-2026-4372", "transformers", "5.3"),  # a config.json runs code
    Advisory("CVE-2026-1839", "torch", "2.6"),  # a checkpoint's rng_state runs code
)


def installed_with_advisory() -> Iterator[tuple[Advisory, str, bool]]:
    """Every advisory whose package is installed, the installed version, and whether that one is open to it."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.version import Version

    for advisory in ADVISORIES:
        try:
            found = version(advisory.package)
        except PackageNotFoundError:
            continue
        # A release candidate of the version that mended it came before it.
        yield advisory, found, Version(found) < Version(advisory.mended)


def security_problems() -> list[Problem]:
    """An error for every installed library that is open to a known fault: nothing is to be opened with it."""
    return [
        Problem(f"{advisory.package} {found}", _fault(advisory), mend(advisory))
        for advisory, found, is_open in installed_with_advisory()
        if is_open
    ]


def mend(advisory: Advisory) -> str:
    """How to be rid of it."""
    return f'pip install "{advisory.package}>={advisory.mended}"'


def _fault(advisory: Advisory) -> str:
    return f"this version can run code of a model or checkpoint that it opens ({advisory.name})"
