"""What a run with heads shows in the terminal of their worth."""

from __future__ import annotations

from rich.console import Console

from hfrecipes.evaluation.decoding import HEADS, PLAIN, Decoding
from hfrecipes.stages.decoding import decoding_line, decoding_table


def test_pass_speed_and_agreement_stand_in_one_line_over_the_table() -> None:
    counts = {"drafted": [10, 8], "reached": [10, 6], "accepted": [7, 3]}
    found = Decoding(
        prompts=1, max_new_tokens=20, tokens=20, identical=1, seconds={PLAIN: 3.0, HEADS: 2.0}, forwards=8, **counts
    )
    console = Console(width=120)
    with console.capture() as shown:
        console.print(decoding_line(found), highlight=False)
        console.print(decoding_table(found))
    lines = shown.get().splitlines()
    assert lines[0] == "2.50 tokens a pass, 1.50 times the speed of generate; 1 of 1 prompts token for token as without"
    assert "token ahead" in lines[2] and max(map(len, lines[1:])) < len(lines[0])
