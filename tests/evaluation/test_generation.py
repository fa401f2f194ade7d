from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from hfrecipes.evaluation.generation import generate_texts

from .tiny import CHATML, build_model, chat, force_token, train_tokenizer

TEXTS = ["Return the", "What is the capital of France? It is", "def", "number of items in a container."]
CHATS = [chat(question, "")["prompt"] for question in TEXTS]


def greedy(model, tokenizer, ids, max_new_tokens):
    """One prompt at a time, without padding, cache or generate()."""
    new = []
    for _ in range(max_new_tokens):
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([ids + new]), use_cache=False).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id or token == tokenizer.convert_tokens_to_ids("<|im_end|>"):
            break
        new.append(token)
    return tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma"])
def test_greedy_is_greedy_whatever_the_batch(family, tokenizer):
    model = build_model(family)
    # What a checkpoint's generation config asks for has no place in a greedy measurement.
    model.generation_config.repetition_penalty = 1.5
    expected = [greedy(model, tokenizer, tokenizer(text)["input_ids"], 12) for text in TEXTS]
    assert generate_texts(model, tokenizer, TEXTS, 12, batch_size=3) == expected
    assert any(expected)


def test_chat_prompts_go_through_the_template(llama, tokenizer):
    rendered = [f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in TEXTS]
    expected = [greedy(llama, tokenizer, tokenizer(text)["input_ids"], 8) for text in rendered]
    assert generate_texts(llama, tokenizer, CHATS, 8, batch_size=4) == expected


def test_adapter_models_generate(tokenizer):
    model = get_peft_model(build_model("llama"), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False))
    expected = [greedy(model, tokenizer, tokenizer(text)["input_ids"], 6) for text in TEXTS]
    assert generate_texts(model, tokenizer, TEXTS, 6) == expected


def test_conversations_stop_at_the_end_of_the_turn(llama, tokenizer):
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    passes = force_token(llama, end, after=3)
    answers = generate_texts(llama, tokenizer, CHATS[:1], 20)
    assert len(passes) == 4
    assert answers[0] and "<|im_end|>" not in answers[0]


def test_texts_do_not_stop_at_the_end_of_a_turn(llama, tokenizer):
    passes = force_token(llama, tokenizer.convert_tokens_to_ids("<|im_end|>"), after=3)
    generate_texts(llama, tokenizer, TEXTS[:1], 9)
    assert len(passes) == 9


def test_stops_at_the_models_own_end(llama, tokenizer):
    own = tokenizer.convert_tokens_to_ids("e")
    llama.generation_config.eos_token_id = [own]
    passes = force_token(llama, own, after=2)
    generate_texts(llama, tokenizer, TEXTS[:1], 9)
    assert len(passes) == 3


def test_prompts_that_do_not_fit_are_skipped(llama, tokenizer):
    long = "container " * 200
    answers = generate_texts(llama, tokenizer, [TEXTS[0], long, TEXTS[1]], 4)
    assert answers[1] is None
    assert [answers[0], answers[2]] == generate_texts(llama, tokenizer, [TEXTS[0], TEXTS[1]], 4)
    ids = tokenizer(long)["input_ids"]
    for extra, fits in ((0, True), (1, False)):
        text = tokenizer.decode(ids[: 128 - 4 + extra])
        assert len(tokenizer(text)["input_ids"]) == 124 + extra
        assert (generate_texts(llama, tokenizer, [text], 4)[0] is not None) == fits


def test_one_beginning_of_sequence(llama):
    template = "{{ bos_token }}" + CHATML
    tokenizer = train_tokenizer(template, add_bos=True, add_eos=True)
    seen = []
    llama.model.register_forward_pre_hook(lambda module, args, words: seen.append(words["input_ids"]), with_kwargs=True)
    generate_texts(llama, tokenizer, [CHATS[0]], 1)
    generate_texts(llama, tokenizer, [TEXTS[0]], 1)
    for ids in seen:
        assert ids[0, 0] == 1
        assert (ids == 1).sum() == 1
        # The tokenizer ends every text; what is to be continued has no end.
        assert ids[0, -1] != 0


def test_the_empty_prompt_starts_a_document(llama, tokenizer):
    assert generate_texts(llama, tokenizer, [""], 5) == [greedy(llama, tokenizer, [1], 5)]


def test_mode_and_random_state_are_left_alone(llama, tokenizer):
    llama.train()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = generate_texts(llama, tokenizer, TEXTS, 8, do_sample=True, temperature=1.5, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert llama.training and llama.model.layers[1].training
    assert first == generate_texts(llama, tokenizer, TEXTS, 8, do_sample=True, temperature=1.5, seed=3)
    assert first != generate_texts(llama, tokenizer, TEXTS, 8, do_sample=True, temperature=1.5, seed=4)


def test_conversations_need_a_template(llama):
    with pytest.raises(ValueError, match="no chat template"):
        generate_texts(llama, train_tokenizer(None), CHATS, 4)
