from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from hfrecipes.evaluation.intervals import bootstrap_interval
from hfrecipes.evaluation.language_modeling import RowLosses, language_modeling_estimates, measure_loss

from .tiny import FAMILIES, build_model


def make_rows(lengths=(5, 23, 2, 40, 11, 1, 17), seed=0):
    generator = np.random.default_rng(seed)
    rows = []
    for length in lengths:
        ids = generator.integers(4, 320, size=length).tolist()
        labels = [token if generator.random() < 0.7 else -100 for token in ids]
        rows.append({"input_ids": ids, "labels": labels, "num_bytes": 3 * length})
    return rows


def brute_force(model, row):
    """One unpadded row at a time, in float64, token by token."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].double()
    logits = logits[-len(row["input_ids"]) :]
    total, count = 0.0, 0
    for place in range(1, len(row["input_ids"])):
        if (target := row["labels"][place]) == -100:
            continue
        scores = logits[place - 1]
        total += float(torch.log(torch.exp(scores - scores.max()).sum()) + scores.max() - scores[target])
        count += 1
    return total, count


def check_against_brute_force(model, rows, losses):
    exact = copy.deepcopy(model).double().eval()
    for number, row in enumerate(rows):
        total, count = brute_force(exact, row)
        assert losses.nll[number] == pytest.approx(total, rel=2e-5, abs=1e-5)
        assert losses.num_tokens[number] == count
    assert losses.num_bytes.tolist() == [row["num_bytes"] for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_logit_bytes", [2**27, 320 * 4 * 7])
def test_agrees_with_brute_force(family, max_logit_bytes):
    model, rows = build_model(family), make_rows()
    losses = measure_loss(model, Dataset.from_list(rows), batch_size=3, max_logit_bytes=max_logit_bytes)
    check_against_brute_force(model, rows, losses)


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite"])
def test_logits_stay_within_the_bound(family, monkeypatch):
    from hfrecipes.evaluation import language_modeling

    sizes = []
    real = language_modeling.cross_entropy
    monkeypatch.setattr(
        language_modeling, "cross_entropy", lambda x, y, **words: sizes.append(x.nbytes) or real(x, y, **words)
    )
    model = build_model(family)
    produced = []
    model.get_output_embeddings().register_forward_hook(lambda m, i, output: produced.append(output.nbytes))
    bound = 320 * 4 * 45
    measure_loss(model, make_rows(), batch_size=7, max_logit_bytes=bound)
    assert max(sizes) <= bound
    assert max(produced) <= bound


def test_only_models_with_plain_heads_take_the_shortcut():
    """A model whose decoder is run for the hidden states never makes logits of positions without loss."""
    rows = [{"input_ids": list(range(10, 40)), "labels": [-100] * 29 + [39], "num_bytes": 1}]

    def largest_output(family):
        model, positions = build_model(family), []
        model.get_output_embeddings().register_forward_hook(
            lambda m, i, output: positions.append(output.shape[:-1].numel())
        )
        measure_loss(model, rows)
        return positions[-1]

    assert largest_output("gemma2") == 1
    assert largest_output("granite") == 30


def test_lora_adapter_counts():
    base, rows = build_model("llama"), make_rows()
    plain = measure_loss(base, rows)
    model = get_peft_model(
        base, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    )
    losses = measure_loss(model, rows, batch_size=4)
    check_against_brute_force(model, rows, losses)
    assert not np.allclose(losses.nll, plain.nll, rtol=1e-3)


def test_prompt_tuning_counts_the_rows_own_tokens():
    model = get_peft_model(build_model("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    rows = make_rows()
    check_against_brute_force(model, rows, measure_loss(model, rows, batch_size=4))


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma", "gemma2"])
def test_packed_documents_do_not_see_each_other(family):
    model = build_model(family)
    documents = [{**row, "labels": [-100, *row["input_ids"][1:]]} for row in make_rows(lengths=(6, 9, 13, 4, 20))]

    def pack(*parts):
        positions = [place for part in parts for place in range(len(part["input_ids"]))]
        joined = {key: [token for part in parts for token in part[key]] for key in ("input_ids", "labels")}
        return {**joined, "position_ids": positions, "num_bytes": sum(part["num_bytes"] for part in parts)}

    packed = [pack(*documents[:3]), pack(*documents[3:])]
    losses = measure_loss(model, packed, batch_size=2)
    alone = measure_loss(model, documents, batch_size=1)
    assert losses.nll == pytest.approx([alone.nll[:3].sum(), alone.nll[3:].sum()], rel=1e-5)
    # Were they to see each other, the losses would be others.
    unpacked = [{key: row[key] for key in ("input_ids", "labels", "num_bytes")} for row in packed]
    assert not np.allclose(measure_loss(model, unpacked).nll, losses.nll, rtol=1e-3)


def test_flash_attention_gets_packed_rows_one_by_one():
    model = build_model("llama")
    rows = [{**row, "position_ids": list(range(len(row["input_ids"])))} for row in make_rows()]
    batches = []
    model.model.register_forward_pre_hook(
        lambda module, args, words: batches.append(words["input_ids"].shape[0]), with_kwargs=True
    )
    expected = measure_loss(model, rows, batch_size=4)
    assert max(batches) == 4
    batches.clear()
    # The real kernels need a GPU; only the choice of batches is looked at here.
    config = copy.copy(model.config)
    model.config = type(
        "Config",
        (),
        {
            "_attn_implementation": "flash_attention_2",
            "get_text_config": lambda self: config,
            "__getattr__": lambda self, name: getattr(config, name),
        },
    )()
    assert measure_loss(model, rows, batch_size=4).nll == pytest.approx(expected.nll, rel=1e-5)
    assert max(batches) == 1


def test_every_module_gets_its_mode_back(llama):
    llama.train()
    llama.model.layers[0].eval()
    before = [module.training for module in llama.modules()]
    measure_loss(llama, make_rows())
    assert [module.training for module in llama.modules()] == before
    with pytest.raises(ValueError, match="row 0"):
        measure_loss(llama, [{"input_ids": [1, 2]}])
    assert [module.training for module in llama.modules()] == before


def test_dropout_is_off_and_training_goes_on_after():
    model = build_model("gpt2", resid_pdrop=0.5).train()
    rows = make_rows()
    assert measure_loss(model, rows).nll.tolist() == measure_loss(model, rows).nll.tolist()
    ids = torch.tensor([rows[1]["input_ids"]])
    model(input_ids=ids, labels=ids).loss.backward()
    assert model.transformer.wte.weight.grad.abs().sum() > 0


def test_rows_without_predictions_cost_nothing(llama):
    rows = [
        {"input_ids": [7], "labels": [7], "num_bytes": 1},
        {"input_ids": [7, 8], "labels": [7, -100], "num_bytes": 1},
    ]
    losses = measure_loss(llama, rows)
    assert losses.nll.tolist() == [0.0, 0.0]
    assert losses.num_tokens.tolist() == [0, 0]
    with pytest.raises(ValueError, match="no row has a supervised token"):
        language_modeling_estimates(losses)
    assert measure_loss(llama, []).nll.tolist() == []


def test_bad_rows_are_named(llama):
    rows = make_rows()
    with pytest.raises(ValueError, match="row 2: has no column 'num_bytes'"):
        measure_loss(llama, [*rows[:2], {"input_ids": [1, 2], "labels": [1, 2]}])
    with pytest.raises(ValueError, match="row 1: holds 2 input_ids and 1 labels"):
        measure_loss(llama, [rows[0], {"input_ids": [1, 2], "labels": [1], "num_bytes": 2}])
    with torch.no_grad():
        llama.lm_head.weight[5, 0] = float("nan")
    with pytest.raises(ValueError, match=r"row \d+: its loss is nan"):
        measure_loss(llama, rows)


def test_estimates_are_those_of_their_definitions():
    rows = RowLosses(np.array([10.0, 6.0, 0.0, 30.0]), np.array([5, 4, 0, 10]), np.array([20, 10, 99, 40]))
    bits, perplexity, loss = language_modeling_estimates(rows, step=7)
    assert bits["metric"] == "bits_per_byte"
    assert bits["value"] == pytest.approx(46 / math.log(2) / 70)
    assert perplexity["value"] == pytest.approx(math.exp(46 / 19))
    assert loss["value"] == pytest.approx(46 / 19)
    interval = bootstrap_interval([10.0, 6.0, 30.0], [5, 4, 10])
    assert (loss["low"], loss["high"]) == (interval.low, interval.high)
    assert (perplexity["low"], perplexity["high"]) == (math.exp(interval.low), math.exp(interval.high))
    keys = {"metric", "value", "low", "high", "n", "unit", "higher_is_better", "step"}
    for entry in (bits, perplexity, loss):
        assert set(entry) == keys
        assert (entry["n"], entry["step"], entry["higher_is_better"]) == (3, 7, False)
    assert [entry["unit"] for entry in (bits, perplexity, loss)] == ["bits/byte", "per token", "nats/token"]


def test_a_perplexity_beyond_floats_is_left_out():
    rows = RowLosses(np.array([2000.0, 1800.0]), np.array([1, 1]), np.array([4, 4]))
    assert [entry["metric"] for entry in language_modeling_estimates(rows)] == ["bits_per_byte", "token_loss"]


def test_special_tokens_alone_have_a_loss_and_no_bits_per_byte():
    rows = RowLosses(np.array([3.0, 1.0, 9.0]), np.array([1, 1, 0]), np.array([0, 0, 5]))
    entries = {entry["metric"]: entry["value"] for entry in language_modeling_estimates(rows)}
    assert entries == {"perplexity": pytest.approx(math.exp(2.0)), "token_loss": pytest.approx(2.0)}
