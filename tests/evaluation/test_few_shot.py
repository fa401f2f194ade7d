from __future__ import annotations

import pytest

from hfrecipes.evaluation.few_shot import few_shot_prompts
from hfrecipes.evaluation.prompts import prompt_ids

from .tiny import CHATML, chat, train_tokenizer

TEST = [chat(f"test {number}", "?") for number in range(6)]
POOL = [chat(f"question {number}", f"answer {number}" + " and more" * (8 * (number % 2))) for number in range(20)]


def contents(prompt):
    return [message["content"] for message in prompt]


def test_shots_are_earlier_turns_from_the_pool(tokenizer):
    for number, built in enumerate(few_shot_prompts(TEST, POOL, 3, 0, tokenizer)):
        assert built.num_shots == 3
        assert [message["role"] for message in built.prompt] == ["user", "assistant"] * 3 + ["user"]
        assert built.prompt[-1]["content"] == f"test {number}"
        pairs = list(zip(contents(built.prompt)[:-1:2], contents(built.prompt)[1::2], strict=True))
        known = {(example["prompt"][0]["content"], example["completion"][0]["content"]) for example in POOL}
        assert len(set(pairs)) == 3 and set(pairs) <= known


def test_the_draw_depends_on_seed_and_number_only(tokenizer):
    first = few_shot_prompts(TEST, POOL, 2, 0, tokenizer)
    assert first == few_shot_prompts(TEST, POOL, 2, 0, tokenizer)
    assert first[:2] == few_shot_prompts(TEST[:2], POOL, 2, 0, tokenizer)
    assert first != few_shot_prompts(TEST, POOL, 2, 1, tokenizer)
    assert len({tuple(contents(built.prompt)[:-1]) for built in first}) > 1


@pytest.mark.parametrize("room", [90, 120, 150])
def test_shots_fit(room, tokenizer):
    built = few_shot_prompts(TEST, POOL, 2, 0, tokenizer, room)
    for prompt in built:
        assert len(prompt_ids(tokenizer, prompt.prompt)) <= room
        assert prompt.num_shots == 2
    # There are short answers enough, so at the tightest no long one is taken.
    if room == 90:
        assert not any("more" in text for prompt in built for text in contents(prompt.prompt))


def test_fewer_shots_where_there_is_no_room(tokenizer):
    alone = len(prompt_ids(tokenizer, TEST[0]["prompt"]))
    assert few_shot_prompts(TEST[:1], POOL, 2, 0, tokenizer, alone + 5)[0].num_shots == 0
    one = few_shot_prompts(TEST[:1], POOL, 2, 0, tokenizer, alone + 45)[0]
    assert 0 <= one.num_shots <= 1
    assert one.prompt[-1] == TEST[0]["prompt"][0]


def test_templates_that_write_more_into_long_conversations():
    template = CHATML.replace("{% endfor %}", "{% if loop.index > 2 %}{{ 'items ' * 20 }}{% endif %}{% endfor %}", 1)
    tokenizer = train_tokenizer(template)
    pool = POOL[::2]
    built = few_shot_prompts(TEST, pool, 2, 0, tokenizer, 110)
    assert {prompt.num_shots for prompt in built} == {1}
    assert all(len(prompt_ids(tokenizer, prompt.prompt)) <= 110 for prompt in built)


def test_the_question_itself_is_no_shot(tokenizer):
    pool = [TEST[0], POOL[0], POOL[2]]
    built = few_shot_prompts(TEST[:1], pool, 3, 0, tokenizer)[0]
    assert built.num_shots == 2
    assert contents(built.prompt).count("test 0") == 1


def test_the_tests_system_prompt_comes_first_and_alone(tokenizer):
    def with_system(example, words):
        return {**example, "prompt": [{"role": "system", "content": words}, *example["prompt"]]}

    pool = [with_system(example, "pool") for example in POOL]
    built = few_shot_prompts([with_system(TEST[0], "test")], pool, 2, 0, tokenizer)[0]
    assert [message["role"] for message in built.prompt] == ["system", *["user", "assistant"] * 2, "user"]
    assert built.prompt[0]["content"] == "test"


def test_texts_stand_above_each_other(tokenizer):
    pool = [{"prompt": "in: 1 out:", "completion": " 2"}, {"prompt": "in: 2 out:", "completion": " 3"}]
    built = few_shot_prompts([{"prompt": "in: 5 out:", "completion": " 6"}], pool, 2, 0, tokenizer)[0]
    shots = {"in: 1 out: 2", "in: 2 out: 3"}
    *above, last = built.prompt.split("\n\n")
    assert set(above) == shots
    assert last == "in: 5 out:"


def test_shots_of_another_kind_are_refused(tokenizer):
    with pytest.raises(ValueError, match="test example 0 is a conversation"):
        few_shot_prompts(TEST, [{"prompt": "a", "completion": "b"}], 1, 0, tokenizer)
    with pytest.raises(ValueError, match="training example 0: needs"):
        few_shot_prompts(TEST, [{"text": "a"}], 1, 0, tokenizer)
    assert few_shot_prompts(TEST, [], 0, 0, tokenizer)[0].prompt == TEST[0]["prompt"]
