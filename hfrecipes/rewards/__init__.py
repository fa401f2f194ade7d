"""Rewards that follow from rules: functions `reward(prompts, completions, **columns) -> list[float]`, TRL's GRPO contract.

Pure Python, without torch. A recipe names them as `hfrecipes.rewards:NAME`; classes are built with the words that stand beside
the name (`hfrecipes.rewards.load`), and what they build is the reward.
"""

from hfrecipes.rewards.answers import ExactAnswer
from hfrecipes.rewards.docstrings import docstring_fits
from hfrecipes.rewards.form import Format, Length, RegexMatch, Repetition
from hfrecipes.rewards.python_code import new_statement, python_compiles, python_parses

__all__ = (
    "ExactAnswer",
    "Format",
    "Length",
    "RegexMatch",
    "Repetition",
    "docstring_fits",
    "new_statement",
    "python_compiles",
    "python_parses",
)
