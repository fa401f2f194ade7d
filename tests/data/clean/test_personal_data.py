"""Personal data: what is found on cases that were written out, and what masking leaves alone."""

from __future__ import annotations

import gc
import pickle
import re
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean.context import MASKS
from hfrecipes.data.clean.personal_data import KINDS, Match, PersonalDataRule, find_personal_data, mask_personal_data
from hfrecipes.data.clean.rule import Document
from hfrecipes.recipe import secrets
from hfrecipes.recipe.cleaning import PersonalData

# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "HF": "hf" + "_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567",
    "SK": "sk" + "-" + "A1b2C3d4" * 6,
    "SK_PROJ": "sk" + "-proj-" + "Z9y8" * 10,
    "AKIA": "AK" + "IA" + "1B2C3D4E5F6G7H8I",
    "GHP": "gh" + "p_" + "q1W2e3R4" * 5,
    "AIZA": "AI" + "za" + "x" * 35,
    "XOX": "xo" + "xb-" + "1234567890-abcdefABCDEF",
    "PEM": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIabc+/=\n-----END RSA " + "PRIVATE KEY-----",
}
SECTIONS = yaml.safe_load(Path(__file__).with_name("personal_data_cases.yaml").read_text(encoding="utf-8"))
CASES = [line for block in SECTIONS.values() for line in block.splitlines()]
EMAIL, PHONE = "anna@klaviershop.de", "+49 30 23125 111"


def parse(case: str) -> tuple[str, set[Match]]:
    """A case without its marks, and what they say is there."""
    case = re.sub(r"\{\{(\w+)\}\}", lambda match: SECRETS[match[1]], case)
    text, matches, place = "", set(), 0
    for mark in re.finditer(r"⟦(\w+)\|(.*?)⟧", case, re.DOTALL):
        text += case[place : mark.start()]
        matches.add(Match(mark[1], len(text), len(text) + len(mark[2])))
        text, place = text + mark[2], mark.end()
    return text + case[place:], matches


def rule(**words) -> PersonalDataRule:
    return PersonalDataRule(PersonalData(**words))


def test_precision_and_recall_on_the_written_out_cases_are_above_95_percent_overall_and_for_each_kind():
    right, wrong, missed = Counter(), Counter(), Counter()
    for case in CASES:
        text, wanted = parse(case)
        found = set(find_personal_data(text))
        right.update(match.kind for match in found & wanted)
        wrong.update(match.kind for match in found - wanted)
        missed.update(match.kind for match in wanted - found)
        for match in sorted(found ^ wanted, key=lambda match: match.start):
            print(
                "wrong: " if match in found else "missed:", match.kind, repr(text[match.start : match.end]), "in", text
            )
    for counter in (right, wrong, missed):
        counter["all"] = counter.total()
    for kind in ("all", *KINDS):
        precision = right[kind] / (right[kind] + wrong[kind])
        recall = right[kind] / (right[kind] + missed[kind])
        print(
            f"{kind:12} {right[kind]:4} right {wrong[kind]:3} wrong {missed[kind]:3} missed {precision:.3f} {recall:.3f}"
        )
        assert precision > 0.95 and recall > 0.95, kind
    look_alikes = sum(len(block.splitlines()) for name, block in SECTIONS.items() if name.endswith("look_alikes"))
    assert len(CASES) >= 320 and look_alikes >= 150 and right["all"] >= 150


def test_every_form_of_secret_that_the_project_knows_is_masked():
    known = {kind for text in SECRETS.values() for _, kind in secrets.find_secrets(text)}
    assert known == set(secrets._FORMS), (
        "a sample of each form belongs into SECRETS, and its beginning into _SECRET_SIGNS"
    )
    for text in SECRETS.values():
        assert mask_personal_data(f"a {text} b {text}.") == ("a <SECRET> b <SECRET>.", {"secret": 2})


def test_a_secret_beside_a_value_of_this_machine_is_masked_to_its_end_and_no_further(monkeypatch):
    monkeypatch.setenv("INTERNAL_API_KEY", "horse-battery-staple-correct")
    text = f"x {SECRETS['HF']} and horse-battery-staple-correct, twice horse-battery-staple-correct"
    assert mask_personal_data(text)[0] == text.replace(SECRETS["HF"], "<SECRET>")


@pytest.mark.parametrize("case", CASES)
def test_masking_what_is_masked_changes_nothing(case):
    once, counts = mask_personal_data(parse(case)[0])
    assert mask_personal_data(once) == (once, {})
    assert sum(once.count(mask) for mask in set(MASKS.values())) == sum(counts.values())


PIECES = [
    "1.2.3.4",
    "8.8.8.8",
    EMAIL,
    "415-555-0132",
    "13800138000",
    "电话",
    "tel ",
    "order ",
    "4111 1111 1111 1111",
    "x",
]
PIECES += [
    "DE89370400440532013000",
    "11010519491231002X",
    "123-45-6789",
    "2606:4700::1111",
    " ",
    "-",
    ".",
    "@",
    "+",
    "0",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, "/", "(", ")", ":", "00", "\n", "１", "é", SECRETS["HF"]]), max_size=12))
def test_matches_never_overlap_and_masking_is_idempotent_whatever_stands_beside_what(pieces):
    text = "".join(pieces)
    matches = find_personal_data(text)
    assert all(first.end <= second.start for first, second in pairwise(matches))
    expected, place = "", 0
    for match in matches:  # what is not matched comes through unchanged
        expected, place = expected + text[place : match.start] + MASKS[match.kind], match.end
    once, _ = mask_personal_data(text)
    assert once == expected + text[place:]
    assert mask_personal_data(once)[0] == once


@pytest.mark.parametrize("between", ["hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567", "ann.lee@mail.example-company.com"])
def test_what_is_masked_brings_nothing_nearer_to_a_number(between):
    """Eleven digits are a mobile number near Chinese text; what stands between them is shorter once it is masked."""
    for text in (f"13800138000 {between} 电话", f"请拨打 {between} x 13800138000"):
        once, counts = mask_personal_data(text)
        assert mask_personal_data(once) == (once, {}) and "phone" not in counts
    assert mask_personal_data(f"{between} 13800138000，电话")[1]["phone"] == 1


def test_of_two_that_overlap_the_longer_is_masked():
    # The mobile number is part of the address.
    assert mask_personal_data("13912345678@139.com 电话") == ("<EMAIL> 电话", {"email": 1})


def test_the_kinds_that_are_not_asked_for_stay():
    text = f"{EMAIL} {PHONE} 8.8.8.8"
    assert mask_personal_data(text, ["phone"]) == (f"{EMAIL} <PHONE> 8.8.8.8", {"phone": 1})


def test_private_addresses_are_masked_where_they_are_not_allowed():
    text = "root@host.example at 192.168.1.1 or 203.0.113.9, fe80::1ff:fe23:4567:890a, masks 255.255.255.0"
    assert mask_personal_data(text) == (text, {})
    masked, counts = mask_personal_data(text, allow_private=False)
    assert masked == "<EMAIL> at <IP> or <IP>, <IP>, masks 255.255.255.0" and counts == {"email": 1, "ip": 3}


def test_the_rule_masks_each_text_of_a_conversation_and_counts_by_kind():
    first, second = rule().judge(
        [Document("a:1", (f"I am {EMAIL}", "Hello", f"call {PHONE}")), Document("a:2", ("Hello",))]
    )
    assert first.reason is None and first.texts == ("I am <EMAIL>", "Hello", "call <PHONE>")
    assert first.counts == {"email": 1, "phone": 1}
    assert second.texts is None and not second.counts


def test_the_rule_drops_with_the_most_frequent_kind_as_reason_and_quotes_nothing():
    [verdict] = rule(action="drop").judge([Document("a:1", (f"{PHONE}, {EMAIL}, bob@klaviershop.de",))])
    assert verdict.reason == "email" and verdict.texts is None and verdict.detail == "2 x email, 1 x phone"


def test_the_rule_can_be_pickled_and_keeps_its_settings():
    again = pickle.loads(pickle.dumps(rule(kinds=["email"], allow_private=False)))
    [verdict] = again.judge([Document("a:1", (f"a@b.example {PHONE}",))])
    assert verdict.texts == (f"<EMAIL> {PHONE}",)


WORST = [
    "1",
    "@",
    "a.",
    "1 ",
    "01 ",
    "a@",
    "a.@",
    "1.",
    ":",
    "a:",
    "(",
    "+1",
    "0-",
    "4111 ",
    "DE89 ",
    "sk-",
    "１",
    "1234567890 ",
]


@pytest.mark.parametrize("piece", [*WORST, "-----BEGIN A ", "(0", "00 1", "A"])
def test_a_megabyte_of_what_only_begins_like_something_takes_less_than_two_cpu_seconds(piece):
    text = piece * (1_000_000 // len(piece))
    began = time.process_time()
    find_personal_data(text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("piece", ["a@b.co ", "8.8.8.8 ", "tel 1234567 "])
def test_time_grows_no_faster_than_the_number_of_matches(piece):
    seconds = [min(_seconds(piece, repeats) for _ in range(3)) for repeats in (5_000, 40_000)]
    assert seconds[1] < 8 * 3 * seconds[0]


def _seconds(piece, repeats):
    # A collection of garbage would be counted to whichever it falls into.
    gc.collect()
    began = time.process_time()
    assert len(find_personal_data(piece * repeats)) == repeats
    return time.process_time() - began


def test_it_is_faster_than_datatrove_on_the_two_kinds_that_datatrove_knows():
    formatter = pytest.importorskip("datatrove.pipeline.formatters.pii").PIIFormatter()
    prose = (
        "The committee met on 12 March 2021 at 10:30 and voted 7 to 2; see https://quillmarket.com/minutes?id=4711.\n"
    )
    documents = [
        prose * 20 + f"Write to clerk{number}@quillmarket.com or 45.155.205.{number % 256}." for number in range(300)
    ]

    def rate(function) -> float:
        began = time.process_time()
        for document in documents:
            function(document)
        return len(documents) / (time.process_time() - began)

    ours, all_of_ours = rate(lambda text: mask_personal_data(text, ("email", "ip"))), rate(mask_personal_data)
    theirs = rate(formatter.format)
    print(f"documents per CPU-s: {ours:.0f} (e-mail and IP), {all_of_ours:.0f} (all kinds), datatrove {theirs:.0f}")
    assert ours > 1.5 * theirs
