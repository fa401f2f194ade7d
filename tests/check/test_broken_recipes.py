"""Every recipe in `broken/` gets one exact answer: where, what, and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

# File, place, a phrase of the fault, a phrase of the mend, further words on the command line.
CASES: list[tuple[str, str, str, str, tuple[str, ...]]] = [
    # Words
    ("typo-at-the-top", ":8", "evalution is not a known key", "did you mean evaluation?", ()),
    ("typo-in-training", ":9", "training.learning_rat is not a known key", "did you mean learning_rate?", ()),
    ("typo-in-a-source", ":8", "data.train.0.limt is not a known key", "did you mean limit?", ()),
    ("typo-in-a-config", ":5", "model.config.hiden_size is not a known key", "did you mean hidden_size?", ()),
    ("typo-in-a-model-type", ":3", "model.config.model_type is 'lama'", "did you mean llama?", ()),
    ("typo-in-quantization", ":5", "quantization.bnb_4bit_qant_type", "did you mean bnb_4bit_quant_type?", ()),
    ("choice-that-is-none", ":9", "training.packing_strategy is 'bdf'", "did you mean bfd?", ()),
    ("word-that-is-ours", ":8", "training.output_dir is not for a recipe to say", "say name:", ()),
    ("word-that-was-removed", ":9", "training.warmup_ratio", "say warmup_steps", ()),
    ("key-said-twice", ":10", "training.max_length is said twice, first in line 8", "keep one", ()),
    ("wrong-type", ":8", "training.learning_rate is 'fast'", "it is a number", ()),
    ("number-in-quotes", ":8", "training.learning_rate is '1e-4'", "remove the quotes", ()),
    ("out-of-range", ":8", "training.learning_rate is -0.1", "at least 0", ()),
    ("tab", ":8", "a tab indents this line", "with spaces", ()),
    ("wrong-indentation", ":9", "is not valid YAML", "check indentation", ()),
    ("not-yaml", ":3", "is not valid YAML", "brackets", ()),
    ("empty-file", "", "holds no recipe", "begin with kind:", ()),
    ("list", "", "holds no recipe", "begin with kind:", ()),
    ("unknown-kind", ":1", "kind is 'stf'", "did you mean sft?", ()),
    (
        "no-kind",
        ":1",
        "kind is missing",
        "pretrain, sft, reward, dpo, kto, orpo, ppo, grpo, rloo, sample, pipeline",
        (),
    ),
    ("missing-section", ":1", "training is missing", "add it", ()),
    # Overrides
    ("good", "override training.max_lenght=9", "training.max_lenght", "mean max_length?", ("training.max_lenght=9",)),
    ("good", "override data.train.3.limit=9", "leads nowhere", "by their number", ("data.train.3.limit=9",)),
    ("good", "override model.tokenizer.x.y=9", "leads nowhere", "list items", ("model.tokenizer.x.y=9",)),
    ("good", "override max_steps", "is not key=value", "write it like", ("max_steps",)),
    ("good", "publish.repo_id", "looks like a Hugging Face token", "HF_TOKEN", ("publish.repo_id=hf_" + "x" * 34,)),
    # The model and its tokenizer
    ("neither-weights-nor-config", ":2", "neither name_or_path nor config", "add name_or_path", ()),
    ("weights-and-config", ":4", "model.config stands beside model.name_or_path", "keep name_or_path", ()),
    ("config-without-tokenizer", ":3", "model.tokenizer is missing", "vocab_size: 4096", ()),
    ("heads-that-do-not-divide", ":3", "hidden_size 66 is not a multiple of 4", "64 or 68", ()),
    ("heads-that-do-not-divide", ":3", "4 attention heads cannot share 3", "could be 1, 2, 4", ()),
    ("missing-model-folder", ":2", "there is no folder ./modle", "did you mean model?", ()),
    ("pickled-weights", ":2", "are pickled (pytorch_model.bin)", "save them as safetensors", ()),
    ("pickles-wanted", ":4", "model.use_safetensors is not a known key", "known here", ()),
    ("pickles-wanted", ":5", "model.weights_only is not a known key", "known here", ()),
    ("cut-weights", ":3", "cut/model.safetensors: is cut short or damaged", "fetch or save it again", ()),
    ("unfinished-run", ":3", "runs/unfinished/model: the save was not finished", "RECIPE --resume", ()),
    ("code-in-the-folder", "own_code/config.json", "the code that comes with it is not run", "model.revision", ()),
    ("kernel-without-revision", ":4", "at no pinned revision", "kernels-community/flash-attn@COMMIT", ()),
    ("kernels-that-cannot-be-pinned", ":4", "which a recipe cannot pin", "remove it", ()),
    ("tokenizer-missing", ":4", "holds no tokenizer", "save one there", ()),
    ("vocabulary-too-small", ":3", "400 entries, the model's vocab_size is 100", "remove vocab_size", ()),
    ("remote-code-without-revision", ":5", "no pinned revision", "the 40-digit commit", ()),
    ("context-longer-than-positions", ":7", "is 512, and the model has 128 positions", "at most 128", ()),
    ("template-missing", ":4", "has no chat template, and data.train.0 holds messages", "model.tokenizer", ()),
    ("template-without-markers", ":8", "does not mark what the assistant says", "{% generation %}", ()),
    # The data
    ("source-without-anything", ":7", "data.train.0 has neither a name nor a path", "add name:", ()),
    ("no-training-data", ":5", "data.train is missing", "add a source", ()),
    ("wrong-columns", ":7", "the columns question, answer make no example", "columns: {ours: theirs}", ()),
    ("renamed-column-missing", ":7", "there is no column 'anser'; the columns are question, answer", "columns:", ()),
    ("empty-data", ":7", "has no rows", "name a source", ()),
    ("none-rows", "data/none.jsonl:2", "text is None where a string is expected: 2 of 4 rows", "correct or remove", ()),
    ("blank-rows", "data/blank.jsonl:2", "text is empty", "correct or remove", ()),
    ("rows-of-another-type", "data/numbers.jsonl:3", "text is an int", "correct or remove", ()),
    (
        "malformed-rows",
        "data/malformed.jsonl:2",
        "is not valid JSON",
        "data/malformed.jsonl:4; correct or remove it",
        (),
    ),
    ("ragged-table", "data/ragged.csv:3", "has 3 cells where the header has 2", "quote cells", ()),
    ("missing-file", ":7", "data/pair.jsonl does not exist", "pairs.jsonl", ()),
    ("unknown-ending", ":7", "rows.xlsx is of no format", ".parquet", ()),
    ("unknown-split", ":7", "python_docstrings has no split 'valid'", "validation", ()),
    ("eval-overlaps-train", ":8", "1 of the 2 rows of data.eval.0", "overlap.jsonl:2 = data/pairs.jsonl:1", ()),
    ("eval-is-train", ":7", "data.eval.0 and data.train.0 are the same rows", "different splits", ()),
    ("prompt-longer-than-context", ":7", "leaves nothing to learn from in 1 of 7 rows", "long_prompts.jsonl:1", ()),
    ("nobody-answers", "data/monologue.jsonl:2", "no assistant speaks in 1 of 2", "give them an answer", ()),
    ("format-module-missing", ":8", "there is no module reward", "did you mean rewards?", ()),
    # Words that do not go together
    ("assistant-loss-on-text", ":8", "training.assistant_only_loss needs messages", "remove it", ()),
    ("completion-loss-on-text", ":8", "completion_only_loss needs prompt and completion", "remove it", ()),
    ("pretraining-on-pairs", ":7", "pretraining reads text", "use kind: sft", ()),
    ("task-on-text", ":10", "data.test.0 has text only", "prompt and completion", ()),
    ("unknown-metric", ":11", "'exact_mach' is not a metric", "did you mean exact_match?", ()),
    ("metric-class-missing", ":11", "rewards has no Shortnes", "did you mean Shortness?", ()),
    ("four-bits-without-adapter", ":3", "adapter is missing", "add adapter", ()),
    ("four-and-eight-bits", ":3", "load_in_4bit and load_in_8bit are both on", "keep one", ()),
    ("both-precisions", ":8", "training.fp16 and training.bf16 are both on", "keep one", ()),
    ("steps-and-epochs", ":9", "num_train_epochs has no effect beside", "keep one", ()),
    ("best-of-nothing", ":8", "needs a model to be measured", "add data.eval", ()),
    ("best-between-measures", ":11", "they are 50 and 20", "save_steps: 60 would do", ()),
    ("evaluation-of-nothing", ":8", "there is nothing to measure on", "add data.eval", ()),
    ("packing-without-length", ":9", "which is null", "max_length: 1024", ()),
    ("batch-said-in-two-ways", ":9", "stands beside training.global_batch_size", "remove it", ()),
    # The launch
    ("bf16-on-a-cpu", ":8", "training.bf16 is on, and a CPU", "remove it", ()),
    ("flash-attention-on-a-cpu", ":5", "cannot run on a CPU", "attn_implementation: sdpa", ()),
    ("liger-on-a-cpu", ":8", "do not run on a CPU", "remove it", ()),
    (
        "batch-that-does-not-divide",
        ":9",
        "a multiple of 4 (per_device_train_batch_size could be 1, 2, 5, 10",
        "8 or 12",
        (),
    ),
    ("batch-over-processes", ":8", "10 cannot be divided over 4 processes", "8 or 12", ("--num-processes", "4")),
    ("tracker-not-installed", ":8", "dvclive is not installed", "pip install dvclive", ()),
    ("optimizer-not-installed", ":8", "grokadamw is not installed", "pip install grokadamw", ()),
    ("good", ":1", "chat.jsonl is a file", "--runs-dir", ("--runs-dir", "data/chat.jsonl")),
    # Publishing
    ("publish-without-token", ":9", "no token to push someone/model", "hf auth login", ("--publish",)),
    ("publish-to-no-place", ":9", "'my model', which is no Hub id", "write owner/name", ("--publish",)),
    ("publish-to-no-place", ":10", "publish.license 'apache2' is unknown", "mean apache-2.0?", ("--publish",)),
    # Pipelines
    ("pipeline-unknown-step", ":8", "no earlier step is named bse", "did you mean base?", ()),
    ("pipeline-missing-recipe", ":4", "there is no recipe godd.yaml", "", ()),
    ("pipeline-broken-step", "pipeline-broken-step.yaml:6", "training.max_lenght is not", "mean max_length?", ()),
]


@pytest.mark.parametrize(("name", "place", "fault", "mend", "words"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_one_exact_answer(check, name: str, place: str, fault: str, mend: str, words: tuple[str, ...]) -> None:
    status, printed = check(f"{name}.yaml", *words)
    where = f"{name}.yaml{place}: error" if place.startswith(":") or not place else place
    lines = [line for line in printed.splitlines() if where in line and fault in line and mend in line]
    assert len(lines) == 1, printed
    assert " error: " in lines[0]
    assert status == 2
    assert "Traceback" not in printed


def test_every_broken_recipe_is_in_the_table() -> None:
    files = {file.stem for file in (Path(__file__).parent / "broken").glob("*.yaml")}
    assert files - {case[0] for case in CASES} == {"pipeline"}


@pytest.mark.parametrize("name", ["good", "pipeline"])
def test_recipes_in_order_are_ready(check, name: str) -> None:
    status, printed = check(f"{name}.yaml")
    assert (status, printed) == (0, f"{name}.yaml: ready to run\n")
