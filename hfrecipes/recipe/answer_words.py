"""What recipes of policies say of answers, each kind in the words of the class that trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfrecipes.recipe.loader import Recipe

# The words of each kind, and the classes' own defaults; a test holds them together. How long an answer may be;
ANSWER_LENGTHS: dict[str, tuple[str, int]] = {
    "ppo": ("response_length", 53),
    "grpo": ("max_completion_length", 512),
    "rloo": ("max_completion_length", 512),
}
# what divergence from the reference costs;
PRICES: dict[str, tuple[str, float]] = {"ppo": ("kl_coef", 0.05), "grpo": ("beta", 0.0), "rloo": ("beta", 0.05)}
# and how many answers are drawn to each prompt.
NUM_GENERATIONS = {"grpo": 8, "rloo": 2}


def answer_word(recipe: Recipe) -> str:
    """The key that says how many tokens an answer may have."""
    return f"training.{ANSWER_LENGTHS[recipe.kind][0]}"


def answer_length(recipe: Recipe) -> int:
    """Tokens of an answer at most."""
    return recipe.get(answer_word(recipe), ANSWER_LENGTHS[recipe.kind][1])


def is_referred(recipe: Recipe) -> bool:
    """Whether a policy is compared with a reference as it learns from its own answers."""
    if recipe.kind not in PRICES:
        return False
    word, default = PRICES[recipe.kind]
    return recipe.get(f"training.{word}", default) > 0


def num_generations(recipe: Recipe) -> int:
    """Answers to each prompt, of a kind that compares them."""
    return recipe.get("training.num_generations", NUM_GENERATIONS[recipe.kind])
