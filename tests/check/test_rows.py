from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.check.rows import EvenSample, content_of, malformed_lines, named_places


@given(st.integers(1, 40), st.integers(0, 500))
def test_a_sample_is_even_over_a_stream_of_any_length(size: int, length: int) -> None:
    sample = EvenSample(size)
    for item in range(length):
        sample.add(item)
    taken = sample.items()
    assert taken == sorted(set(taken))
    assert set(taken) <= set(range(length))
    assert len(taken) == length if length <= size else len(taken) == size
    if taken:
        # No stretch longer than four times the mean distance is passed over, at the ends neither.
        gaps = [after - before for before, after in zip([-1, *taken], [*taken, length], strict=True)]
        assert max(gaps) <= 4 * max(1, length / size) + 1


@given(st.text(alphabet="ab \n\t", max_size=12), st.text(alphabet="ab \n\t", max_size=12))
def test_two_rows_say_the_same_when_their_words_do(one: str, other: str) -> None:
    same = one.split() == other.split()
    assert (content_of({"text": one}) == content_of({"text": other})) == same
    assert content_of({"text": one.upper()}) == content_of({"text": one})


def test_prompt_and_completion_are_kept_apart() -> None:
    assert content_of({"prompt": "a b", "completion": "c"}) != content_of({"prompt": "a", "completion": "b c"})
    messages = {"messages": [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]}
    assert content_of(messages) == content_of({"prompt": "A b", "completion": "c "})


@pytest.mark.parametrize(
    ("count", "text"), [(1, "r:1"), (3, "r:1, r:2, r:3"), (4, "r:1, r:2, r:3 and 1 more"), (1503, "and 1,500 more")]
)
def test_many_rows_are_named_by_the_first(count: int, text: str) -> None:
    assert named_places([f"r:{number}" for number in range(1, count + 1)]).endswith(text)


def test_malformed_lines_are_counted_from_one(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n[1]\n{"a": \n"text"\n{"b": "\xff"}\n{}\n')
    assert malformed_lines(file) == [3, 4, 5, 6]
