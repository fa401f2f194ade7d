"""The rule for docstrings: what each of its parts counts, counted by hand, and what it can be fooled by."""

from __future__ import annotations

import pytest

from hfrecipes.rewards import docstring_fits

FUNCTION = "def set_max_size(self, limit):\n    self.maxSize = limit  # bytes\n    return closeFile(limit)"
ASKED = [{"role": "user", "content": f"Say what this does.\n\n```python\n{FUNCTION}\n```"}]


def scored(sentence: str) -> float:
    (found,) = docstring_fits([ASKED], [[{"role": "assistant", "content": sentence}]])
    assert docstring_fits([FUNCTION], [sentence]) == [found]
    return found


@pytest.mark.parametrize(
    ("sentence", "score"),
    [
        # All four: set, limit, size and bytes of set, the limit, size, bytes (the, for: everywhere).
        ("Set the limit for size of bytes.", 1.0),
        ("Closes the file.", 1.0),
        # One word of two is the function's: 3 + .5.
        ("Set elephants.", 0.875),
        ("set the limit.", 0.75),
        ("Set the limit", 0.75),
        ("Set the limit the limit.", 0.75),
        # A name that there is, and one that there is not (whose parts are half the function's).
        ("Set maxSize.", 1.0),
        ("Set max_size_hint.", (1 + 1 + 0 + 3 / 4) / 4),
        ("Set `limits`.", 0.75),
        # No word that could be the function's.
        ("It is so.", 0.75),
        ("", 0.0),
    ],
)
def test_four_parts_count_the_same(sentence: str, score: float) -> None:
    assert scored(sentence) == pytest.approx(score)


def test_a_list_of_the_functions_names_is_praised_as_the_docs_say() -> None:
    assert scored("Limit size close file set max.") == 1.0
