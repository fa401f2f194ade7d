"""What the rules did, as plain JSON: by rule and by source, why, and examples of what was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from hfrecipes.data.clean.sums import Amounts, Tallies, amounts_of, tallies_of
from hfrecipes.data.clean.tally import Amount, RuleTally
from hfrecipes.data.clean.work import Work
from hfrecipes.data.sources import open_sources
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.secrets import redact_values

# Reasons that the message about an empty result gives.
_REASONS_SHOWN = 5


def make_report(work: Work) -> dict[str, Any]:
    """The report of a cleaning all of whose passes have ended.

    Returns:
        `documents`, `characters`, `bytes` (and `tokens` where a tokenizer counted them), each `{before, after, kept}`;
        `rules`, in their order, each with the same by rule, `reasons`, `changed`, `counts`, and `examples` in which
        personal data is masked; `sources`, each with the same by source; `metrics` before and after; `warnings`.
    """
    counted = ["documents", "characters", "bytes", *(["tokens"] if work.tokenizer else [])]
    sources = open_sources(work.recipe, work.role)
    titles = [source.title for source in sources]
    passes = work.sums()
    amounts, tallies = amounts_of(passes), tallies_of(passes)
    rules = [_rule(work, position, tallies, titles, counted) for position in range(len(work.rules))]
    by_source = [
        {
            "name": source.title,
            "revision": source.revision,
            "license": source.license,
            **_kept(*amounts.get(index, (Amount(), Amount())), counted),
            "left_out": _left_out(work, index, tallies),
        }
        for index, source in enumerate(sources)
    ]
    return redact_values(
        {
            "role": work.role,
            **_kept(*_sums(amounts), counted),
            "rules": rules,
            "sources": by_source,
            "metrics": {"before": passes[0]["before"], "after": passes[-1]["after"]},
            "warnings": _warnings(rules, by_source),
        }
    )


def nothing_left(work: Work, report: dict[str, Any]) -> Problem | None:
    """What is wrong where the rules left nothing; None where they left something."""
    if report["documents"]["after"]:
        return None
    reasons = Counter(
        {f"{rule['rule']}: {reason}": count for rule in report["rules"] for reason, count in rule["reasons"].items()}
    )
    told = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(_REASONS_SHOWN))
    before = report["documents"]["before"]
    gone = "do not leave the one document" if before == 1 else f"leave none of the {before:,} documents"
    message = f"the rules {gone}: {told}"
    # Profiles and thresholds change nothing about text that is measured on as well.
    overlapping = {rule["rule"] for rule in report["rules"] if rule["reasons"]} == {"decontaminate"}
    fix = "measure on other text" if overlapping else "choose the profile that suits this text, or other thresholds"
    return Problem(work.recipe.where("data.clean"), message, fix)


def _rule(work: Work, position: int, tallies: Tallies, titles: list[str], counted: list[str]) -> dict[str, Any]:
    total = RuleTally()
    examples = []
    for index, title in enumerate(titles):
        tally = tallies.get((position, index), RuleTally())
        total.merge(tally)
        examples += [(one.key, {"source": title, **_shown(one)}) for one in tally.dropped]
    shown = {(one.where, one.reason) for one in total.dropped}
    return {
        "rule": work.rules[position].name,
        "settings": {name: value for name, value in work.settings[position].items() if name != "rule"},
        **_kept(total.before, total.after, counted),
        "reasons": dict(total.reasons.most_common()),
        "changed": total.changed,
        "counts": dict(total.counts.most_common()),
        "examples": [
            one for _, one in sorted(examples, key=lambda pair: pair[0]) if (one["where"], one["reason"]) in shown
        ],
    }


def _shown(one: Any) -> dict[str, str]:
    return {"where": one.where, "reason": one.reason, "detail": one.detail, "text": one.excerpt}


def _kept(before: Amount, after: Amount, counted: list[str]) -> dict[str, Any]:
    """Before, after and the share that was kept, of each thing that was counted."""
    first, last = asdict(before), asdict(after)
    return {
        name: {
            "before": first[name],
            "after": last[name],
            "kept": round(last[name] / first[name], 6) if first[name] else None,
        }
        for name in counted
    }


def _sums(amounts: Amounts) -> tuple[Amount, Amount]:
    before, after = Amount(), Amount()
    for read, kept in amounts.values():
        before.add(read)
        after.add(kept)
    return before, after


def _left_out(work: Work, index: int, tallies: Tallies) -> dict[str, int]:
    """How many documents of a source each rule left out, by the rule's name."""
    counts: Counter[str] = Counter()
    for (position, source), tally in sorted(tallies.items()):
        if source == index:
            counts[work.rules[position].name] += sum(tally.reasons.values())
    return {name: count for name, count in counts.items() if count}


def _warnings(rules: list[dict[str, Any]], sources: list[dict[str, Any]]) -> list[str]:
    warnings = [
        f"the rules leave nothing of {source['name']}: {', '.join(source['left_out'])}"
        for source in sources
        if source["documents"]["before"] and not source["documents"]["after"]
    ]
    for rule in rules:
        kept = rule["documents"]["kept"]
        if kept is not None and kept < 0.1:
            warnings.append(f"{rule['rule']} leaves out {1 - kept:.1%} of what comes to it: does it suit this text?")
    return warnings
