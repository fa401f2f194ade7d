"""Reports: self-contained, escaped, complete; and the verbs that write and check files."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.publish.card import render_card
from hfrecipes.publish.compare import recipe_differences
from hfrecipes.publish.curves import throughput
from hfrecipes.publish.report import render_report
from hfrecipes.publish.svg import Series, line_chart, nice_ticks, thin_out
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .client import main
from .conftest import write_run
from .facts import make_facts, make_metrics
from .test_card import VARIANTS


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles; checks that tags close in order."""

    VOID = ("meta", "br", "hr", "img", "link", "line", "circle", "rect", "polyline")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("facts", VARIANTS.values(), ids=VARIANTS)
def test_every_report_is_whole_and_asks_for_nothing(tmp_path: Path, facts: dict[str, Any]) -> None:
    html = render_report([write_run(tmp_path / "r", facts, make_metrics())])
    page = Page(html)
    assert {"script", "img", "link", "iframe", "a", "object"}.isdisjoint(tag for tag, _ in page.tags)
    assert not any(
        name in ("src", "href", "xlink:href") or name.startswith("on") for _, attrs in page.tags for name in attrs
    )
    assert "url(" not in html
    assert "@import" not in html
    assert "nan" not in page.text.lower().split()
    assert "/home/ada" not in html
    assert facts["name"] in page.text


def test_nothing_that_a_run_holds_can_become_markup(tmp_path: Path) -> None:
    evil = '</pre><script>alert(1)</script><img src=x onerror="alert(1)">&amp;'
    facts = make_facts(name=evil, status=evil, kind=evil, warnings=[evil], command=[evil])
    facts["samples"] = [{"model": evil, "prompt": evil, "completion": evil, "reference": evil}]
    facts["evaluations"][0] |= {"dataset": evil, "metric": evil, "unit": evil, "model": evil}
    facts["data"][0] |= {"name": evil, "split": evil, "license": evil}
    facts["versions"][evil] = evil
    facts["recipe"]["training"] = {evil: evil}
    metrics = [line | {f"eval_{evil}_loss": 1.0 + line["step"]} for line in make_metrics()]
    one = write_run(tmp_path / "a", facts, metrics)
    for runs in ([one], [one, write_run(tmp_path / "b", make_facts(), make_metrics())]):
        page = Page(render_report(runs))
        assert not {"script", "img"} & {tag for tag, _ in page.tags}
        assert evil in page.text


def test_the_figures_are_those_of_the_facts(tmp_path: Path) -> None:
    text = Page(render_report([write_run(tmp_path / "r", make_facts(), make_metrics())])).text
    for shown in (
        "0.3127 [0.2801, 0.3453]",
        "1.234 [1.201, 1.268]",
        "1,234,567",
        "3 min 12 s",
        "2.43e12",
        "1.074",
        "2.110",
    ):
        assert shown in text
    for title in (
        "Loss",
        "Bits per byte",
        "Learning rate",
        "Throughput, tokens/s",
        "Plan against actual",
        "Return the sum of a and b.",
    ):
        assert title in text


def test_several_runs_show_their_differences(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", make_facts(), make_metrics())
    changed = {"learning_rate": 1e-3, "max_steps": 40, "global_batch_size": 16, "seed": 7, "bf16": False}
    second = write_run(tmp_path / "b", make_facts(recipe__training=changed), make_metrics(shift=0.3))
    assert recipe_differences([first.facts(), second.facts()]) == [["training.learning_rate", "0.0005", "0.001"]]
    page = Page(render_report([first, second]))
    assert "2 runs side by side" in page.text
    # Per run: train and eval loss, bits per byte, learning rate, gradient norm, throughput.
    assert sum(tag == "polyline" for tag, _ in page.tags) == 2 * 6
    # Both are called tiny-docstrings; their folders tell them apart.
    assert f"tiny-docstrings ({tmp_path.name}/a)" in page.text


def test_a_chart_draws_its_points_where_they_belong() -> None:
    svg = ElementTree.fromstring(line_chart([Series("a", [(0, 1.0), (5, 3.0), (10, 2.0)], 0)], "t"))
    places = svg.find("polyline").attrib["points"].split()
    xs, ys = zip(*[map(float, place.split(",")) for place in places], strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)
    # Upwards is smaller in SVG, and 2.0 lies half way.
    assert ys[1] < ys[2] < ys[0]
    assert ys[2] == pytest.approx((ys[0] + ys[1]) / 2, abs=0.11)


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_ticks_are_round_and_inside(low: float, span: float) -> None:
    high = low + span
    if high - low < 1e-5 * max(abs(low), abs(high)):
        return
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 11
    slack = 1e-6 * (high - low)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-4


def test_thinning_keeps_every_spike() -> None:
    points = [(float(step), 1.0) for step in range(5000)]
    points[1234], points[4321] = (1234.0, 9.0), (4321.0, -9.0)
    kept = thin_out(points)
    assert len(kept) <= 602
    assert points[1234] in kept
    assert points[4321] in kept
    assert kept == sorted(kept)


def test_throughput_leaves_out_the_time_of_evaluations() -> None:
    log = [{"step": s, "time": 10.0 * s, "loss": 1.0} for s in range(1, 4)]
    log += [{"step": 3, "time": 90.0, "eval_loss": 1.0}]
    log += [{"step": s, "time": 60 + 10.0 * s, "loss": 1.0} for s in range(4, 7)]
    points, unit = throughput(log, {"training": {"tokens": 600, "steps": 6}})
    assert unit == "tokens/s"
    assert points == [(2, 10.0), (3, 10.0), (5, 10.0), (6, 10.0)]


def test_report_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "r", make_facts(), make_metrics())
    assert main(["report", str(run.path)]) == 0
    assert run.report.read_text() == render_report([run])
    assert main(["report", str(run.path), str(run.path), "--output", str(tmp_path / "new" / "x.html")]) == 0
    assert (tmp_path / "new" / "x.html").is_file()
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "not a run directory" in capsys.readouterr().err


def test_card_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "r", make_facts(), make_metrics())
    run.card.write_text(render_card(run.facts(), run.metrics()))
    assert main(["card", "lint", str(run.path)]) == 0
    assert "0 errors" in capsys.readouterr().out
    run.card.write_text(run.card.read_text().replace("0.3127", "0.3128"))
    assert main(["card", "lint", str(run.card)]) == 2
    assert f"{run.card}:" in capsys.readouterr().out
    alone = tmp_path / "README.md"
    alone.write_text(run.card.read_text())
    assert main(["card", "lint", str(alone)]) == 0
    assert main(["card", "lint", str(tmp_path / "nothing.md")]) == 2


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", make_facts(), [])
    run.metrics_file.write_text('{"step": 1}\n{"step" 2}\n')
    with pytest.raises(RecipeError, match=r"metrics\.jsonl"):
        render_report([run])
    assert RunDir(run.path).facts()["name"] == "tiny-docstrings"
