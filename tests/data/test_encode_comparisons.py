"""Preferences become the ids that TRL's own trainers make of the same rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers.processors import TemplateProcessing

from hfrecipes.data.encode_comparisons import EncodedComparison, encode_comparisons
from hfrecipes.data.formats import to_examples
from hfrecipes.data.settings import CompareSettings
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

TURNS = [
    {"prompt": "The fox?", "chosen": "It jumps. 🦊", "rejected": "It sleeps."},
    {"prompt": "Wer reitet so spät?", "chosen": "Nacht", "rejected": "Nacht und Wind 学而时习之"},
]
TEXTS = [
    {"prompt": "The quick", "chosen": " brown fox", "rejected": " brown dog"},
    {"prompt": "jump", "chosen": "s over", "rejected": "ed"},  # tokens may merge across the boundary
    {"prompt": "2 + 2 =", "chosen": " 4<|endoftext|>", "rejected": " 5"},
]
IMPLICIT = [
    {
        "chosen": [{"role": "user", "content": "Wind?"}, {"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "user", "content": "Wind?"}, {"role": "assistant", "content": "No."}],
    }
]
RANKED = [{"prompt": "Name one.", "answers": ["fox", "dog", "wind"]}]
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "turns": (TURNS, {"task": "preference"}),
    "texts": (TEXTS, {"task": "preference", "conversational": False}),
    "implicit prompt": (IMPLICIT, {"task": "preference"}),
    "ranking": (RANKED, {"task": "ranking"}),
}


@pytest.fixture(scope="module")
def bos_folder(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer, which puts BOS before every text by itself."""
    folder = tmp_path_factory.mktemp("bos") / "tokenizer"
    shutil.copytree(tokenizer_folder, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"bos_token": "<|im_start|>"}))
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    bos = ("<|im_start|>", backend.token_to_id("<|im_start|>"))
    backend.post_processor = TemplateProcessing(single="<|im_start|> $A", pair="$A $B", special_tokens=[bos])
    backend.save(str(folder / "tokenizer.json"))
    return folder


def small_model(**options: Any) -> Any:
    from transformers import LlamaConfig

    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaConfig(vocab_size=400, **shape, **options)


def dpo_rows(examples: list[dict[str, Any]], folder: Path, output: Path, max_length: int | None) -> tuple[Any, Any]:
    """What the trainer itself prepares, and what its collator then cuts and stacks."""
    import datasets
    from transformers import AutoTokenizer, LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    args = DPOConfig(output_dir=str(output), use_cpu=True, bf16=False, report_to="none", max_length=max_length)
    trainer = DPOTrainer(
        LlamaForCausalLM(small_model()),
        ref_model=LlamaForCausalLM(small_model()),
        args=args,
        train_dataset=datasets.Dataset.from_list(examples),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    rows = [{name: row[name] for name in ("prompt_ids", "chosen_ids", "rejected_ids")} for row in trainer.train_dataset]
    return rows, trainer.data_collator(rows) if rows else None


def reward_rows(examples: list[dict[str, Any]], folder: Path, output: Path, max_length: int | None) -> Any:
    import datasets
    from transformers import AutoTokenizer, LlamaForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    args = RewardConfig(output_dir=str(output), use_cpu=True, bf16=False, report_to="none", max_length=max_length)
    trainer = RewardTrainer(
        LlamaForSequenceClassification(small_model(num_labels=1)),
        args=args,
        train_dataset=datasets.Dataset.from_list(examples),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    return [(row["chosen_ids"], row["rejected_ids"]) for row in trainer.train_dataset]


def examples_of(case: str) -> list[dict[str, Any]]:
    rows, spec = CASES[case]
    return [example for row in rows for example in to_examples(row, spec)]


def encoded(examples: list[dict[str, Any]], folder: Path, max_length: int | None = None) -> list[EncodedComparison]:
    return encode_comparisons(examples, Tokenizer.load(folder), CompareSettings(max_length=max_length))


def as_rows(results: list[EncodedComparison]) -> list[dict[str, list[int]]]:
    return [
        {"prompt_ids": row.prompt_ids, "chosen_ids": row.answers[0], "rejected_ids": row.answers[1]} for row in results
    ]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("bos", [False, True])
def test_ids_are_those_of_the_dpo_trainer(
    case: str, bos: bool, tokenizer_folder: Path, bos_folder: Path, tmp_path: Path
) -> None:
    folder = bos_folder if bos else tokenizer_folder
    examples = examples_of(case)
    theirs, _ = dpo_rows(examples, folder, tmp_path, None)
    assert as_rows(encoded(examples, folder)) == theirs
    first = Tokenizer.load(folder).bos_token_id
    assert not bos or [row["prompt_ids"][:2].count(first) for row in theirs] == [1] * len(theirs)


@pytest.mark.parametrize("case", ["turns", "texts", "ranking"])
def test_sequences_are_those_of_the_reward_trainer(case: str, tokenizer_folder: Path, tmp_path: Path) -> None:
    examples = examples_of(case)
    ours = encoded(examples, tokenizer_folder)
    # The median length, so that some pairs are left out and some stay.
    lengths = sorted(max(map(len, row.sequences)) for row in ours)
    limit = lengths[len(lengths) // 2 - 1]
    cut = encode_comparisons(examples, Tokenizer.load(tokenizer_folder), CompareSettings(limit, leaves_out=True))
    kept = [tuple(row.sequences) for row in cut if row.teaches]
    assert kept == reward_rows(examples, tokenizer_folder, tmp_path, limit) and 0 < len(kept) < len(cut)


def test_what_is_cut_is_what_the_dpo_collator_cuts(tokenizer_folder: Path, tmp_path: Path) -> None:
    examples = examples_of("turns")
    whole = encoded(examples, tokenizer_folder)
    limit = max(len(row.prompt_ids) for row in whole) + 3
    cut = encoded(examples, tokenizer_folder, limit)
    _, batch = dpo_rows(examples, tokenizer_folder, tmp_path, limit)
    sequences = [row.sequences[0] for row in cut] + [row.sequences[1] for row in cut]
    for ids, theirs, mask in zip(sequences, batch["input_ids"], batch["attention_mask"], strict=True):
        assert ids == theirs[mask.bool()].tolist()
    for row, full in zip(cut, whole, strict=True):
        lost = len(full.input_ids) - len(row.input_ids)
        assert row.truncated_tokens == lost > 0


def test_a_pair_whose_difference_is_cut_off_does_not_teach(tokenizer_folder: Path) -> None:
    examples = [{"prompt": "The ", "chosen": "fox jumps over", "rejected": "fox jumps under"}]
    (whole,) = encoded(examples, tokenizer_folder)
    (short,) = encoded(examples, tokenizer_folder, len(whole.prompt_ids) + 2)
    (shorter,) = encoded(examples, tokenizer_folder, 1)
    assert whole.teaches and not short.teaches and not shorter.teaches
    assert short.answers[0] == short.answers[1] and shorter.answers[0] == []


def test_turns_and_texts_may_be_mixed_and_keep_their_order(tokenizer_folder: Path) -> None:
    mixed = [examples_of("turns")[0], *examples_of("texts")[:2], examples_of("turns")[1]]
    assert encoded(mixed, tokenizer_folder) == [encoded([example], tokenizer_folder)[0] for example in mixed]


def test_kind_and_group_reach_no_tokenizer(tokenizer_folder: Path) -> None:
    (plain,) = encoded(examples_of("turns")[:1], tokenizer_folder)
    tagged = [examples_of("turns")[0] | {"kind": "refusal", "group": "ab"}]
    assert encoded(tagged, tokenizer_folder) == [plain]


def ranking(answers: list[str], **more: Any) -> dict[str, Any]:
    (example,) = to_examples(
        {"prompt": "Name", "answers": answers, **more}, {"task": "comparison", "pairs": "together"}
    )
    return example


def test_of_columns_that_say_the_same_thing_the_one_that_the_recipe_names_counts() -> None:
    row = {"prompt": "Name", "theirs": [" a", " b"], "answers": [" c", " d"], "ranks": [1, 2], "stars": [1, 5]}
    spec = {"task": "comparison", "pairs": "together", "columns": {"responses": "theirs", "scores": "stars"}}
    (example,) = to_examples(row, spec)
    assert example["answers"] == [" b", " a"]
    pair = {"chosen": " e", "rejected": " f"}
    assert to_examples(row | pair, spec) == [example]
    assert to_examples(row | pair, {"task": "comparison"}) == [{"prompt": "Name"} | pair]


def test_a_ranking_is_one_row_of_all_its_answers(tokenizer_folder: Path) -> None:
    (whole,) = encoded([ranking([" fox", " brown dog", " wind"], scores=[1, 3, 1])], tokenizer_folder)
    tokenizer = Tokenizer.load(tokenizer_folder)
    assert [tokenizer.decode(ids) for ids in whole.sequences] == [
        f"Name{answer}<|endoftext|>" for answer in (" brown dog", " fox", " wind")
    ]
    assert whole.ranks == [0, 1, 1]
    row = whole.row()
    assert sum(row["seq_lengths"]) == len(row["input_ids"]) == len(row["labels"])
    supervised = [label for label in row["labels"] if label != -100]
    assert supervised == [token for answer in whole.answers for token in answer]


def test_long_answers_of_a_ranking_are_left_out_and_ties_teach_nothing(tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder)
    example = ranking([" fox", " brown dog jumps over the wind", " wind"])
    (whole,) = encode_comparisons([example], tokenizer, CompareSettings(None, leaves_out=True))
    limit = len(whole.sequences[1]) - 1
    (cut,) = encode_comparisons([example], tokenizer, CompareSettings(limit, leaves_out=True))
    assert cut.sequences == [whole.sequences[0], whole.sequences[2]] and cut.ranks == [0, 2] and cut.teaches
    assert cut.truncated_tokens == limit + 1
    (tied,) = encoded([ranking([" fox", " dog"], ranks=[2, 2])], tokenizer_folder)
    assert tied.tied and not tied.teaches and tied.supervised_tokens == 0


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"prompt": "a", "completion": "b"}, "has no chosen and no rejected, which a preference needs"),
        ({"prompt": "a", "chosen": "b", "rejected": "b<|endoftext|>"}, "are the same tokens"),
        (
            {
                "prompt": [{"role": "user", "content": "a"}],
                "chosen": [{"role": "assistant", "content": "b<|im_end|>\n<|im_start|>user"}],
                "rejected": [{"role": "assistant", "content": "c"}],
            },
            "message 2 holds '<|im_end|>'",
        ),
    ],
)
def test_pairs_that_cannot_be_used_are_refused_by_their_place(
    example: dict[str, Any], message: str, tokenizer: Tokenizer
) -> None:
    with pytest.raises(RecipeError) as caught:
        encode_comparisons([example], tokenizer, CompareSettings(), ["train.jsonl:7"])
    (problem,) = caught.value.problems
    assert problem.where == "train.jsonl:7" and message in problem.message and problem.fix
