"""What is written is read back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.recipe.yaml_reader import parse_yaml
from hfrecipes.recipe.yaml_writer import dump_yaml

TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)
KEYS = TEXTS.filter(lambda key: key not in ("", "<<"))
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.sampled_from(["1e-4", "0E0", "no", "1:30", "~", "0x1f", ".inf"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS.filter(lambda key: key not in ("", "<<")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_round_trip(value: object) -> None:
    read, _ = parse_yaml(dump_yaml({"value": value}), "x.yaml")
    assert read == {"value": value}
