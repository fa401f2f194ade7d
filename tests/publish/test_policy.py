"""What card and report say of a policy."""

from __future__ import annotations

from hfrecipes.publish.policy import policy_sentences, policy_series, score_sentence

LOG = [
    {"step": 4, "time": 1.0, "loss": 0.1, "objective/scores": 0.25, "objective/kl": 0.0, "completions/length": 20.0},
    {"step": 4, "time": 2.0, "eval_asked_score": 0.3},
    {"step": 8, "time": 3.0, "loss": 0.1, "objective/scores": 0.5, "objective/kl": 1.5, "completions/length": 22.0},
    {"step": 8, "time": 4.0, "eval_asked_score": 0.45},
]
LENGTH = {"value": 21.84, "low": 20.0, "high": 23.0, "n": 9}
FACTS = {"kind": "ppo", "policy": {"asked": {"base": {"length": LENGTH, "different": 9, "answers": 9}}}}


def test_the_score_is_told_with_what_it_cost() -> None:
    told = score_sentence(LOG)
    assert "from 0.25" in told and "0.5000 (step 8), 1.500 nats an answer" in told
    assert score_sentence(LOG[:1]) == "" and score_sentence([{"step": 1, "loss": 2.0}]) == ""


def test_lengths_and_different_answers_are_told() -> None:
    assert policy_sentences(FACTS) == ["`asked`: answers of base have 21.8 [20.0, 23.0] tokens, 9 of 9 are different."]
    assert policy_sentences({"policy": {"asked": {"base": {}}}}) == [] == policy_sentences({})


def test_scores_of_rollouts_and_held_out_prompts_are_curves() -> None:
    rollouts, held_out = policy_series(["run"], [LOG], "objective/scores")
    assert rollouts.points == [(4, 0.25), (8, 0.5)] and not rollouts.dashed
    assert held_out.points == [(4, 0.3), (8, 0.45)] and held_out.dashed and held_out.label == "eval asked"
    assert [one.points for one in policy_series(["run"], [LOG], "objective/kl")] == [[(4, 0.0), (8, 1.5)]]
