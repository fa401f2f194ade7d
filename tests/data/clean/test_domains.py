"""Domains: the host of an address, and lists of those that are wanted or not."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.data.clean.domains import DomainSet, DomainsRule, host_of
from hfrecipes.data.clean.rule import Document
from hfrecipes.recipe.cleaning import Domains
from hfrecipes.recipe.problem import RecipeError


def reasons(rule: DomainsRule, *addresses, column="url") -> list[str | None]:
    documents = [
        Document(f"web.jsonl:{number}", ("x",), {column: url}) for number, url in enumerate(addresses, start=1)
    ]
    return [verdict.reason for verdict in rule.judge(documents)]


@pytest.mark.parametrize(
    "address, host",
    [
        ("https://www.Example.COM/path?q=1#x", "www.example.com"),
        ("http://user:pa:ss@example.com:8080/", "example.com"),
        ("http://user@evil.org@example.com/", "example.com"),
        ("http://example.com:80", "example.com"),
        ("http://example.com./", "example.com"),
        ("example.com/path//x", "example.com"),
        ("example.com:8080/x", "example.com"),
        ("//cdn.example.com/x.js", "cdn.example.com"),
        ("ftp://files.example.com/http://other.org/", "files.example.com"),
        ("  https://example.com\n", "example.com"),
        ("https://bücher.de/", "xn--bcher-kva.de"),
        ("https://XN--bcher-kva.de/", "xn--bcher-kva.de"),
        ("https://straße.de/", "xn--strae-oqa.de"),
        ("https://例子。中国/路径", "xn--fsqu00a.xn--fiqs8s"),
        ("https://ｅｘａｍｐｌｅ．com/", "example.com"),
        ("http://192.168.0.1:8000/x", "192.168.0.1"),
        ("http://[2001:DB8::1]:80/x", "2001:db8::1"),
        ("http://localhost:3000", "localhost"),
        ("https://my_bucket.example.com/", "my_bucket.example.com"),
        ("https://web.archive.org/web/2020/http://example.com/", "web.archive.org"),
        *[
            (nothing, None)
            for nothing in ("", "   ", "not a url", "/only/a/path", "mailto:a@example.com", "javascript:void(0)")
        ],
        *[
            (nothing, None)
            for nothing in ("http://", "http:///x", "data:text/html,x", "http://[::1", "http://exa mple.com/", "...")
        ],
        *[
            (nothing, None)
            for nothing in ("localhost", "http://a..b/", "http://" + "a" * 64 + ".com", "urn:isbn:0451450523")
        ],
    ],
)
def test_the_host_of_an_address(address, host):
    assert host_of(address) == host


@given(st.text(max_size=40))
def test_no_text_makes_it_fail(text):
    host = host_of(text)
    assert host is None or (host and host == host.lower())


def test_a_domain_stands_for_its_subdomains_and_for_nothing_that_only_ends_like_it():
    rule = DomainsRule(Domains(block=["example.com", "Bücher.de"]), "r.yaml:9")
    blocked = [
        "http://example.com",
        "https://a.b.example.com/x",
        "http://xn--bcher-kva.de",
        "http://shop.bücher.de:81/",
    ]
    kept = ["http://badexample.com", "http://example.com.org", "http://example.org/example.com", "http://com"]
    assert reasons(rule, *blocked) == ["blocked"] * 4
    assert reasons(rule, *kept) == [None] * 4


def test_a_single_label_stands_for_that_host_only_and_with_a_dot_for_an_ending():
    urls = ["http://com/", "http://example.com", "http://www.gov.uk", "http://dept.gov", "http://gov/"]
    assert reasons(DomainsRule(Domains(block=["com", "gov"])), *urls) == ["blocked", None, None, None, "blocked"]
    assert reasons(DomainsRule(Domains(block=[".com", "*.gov"])), *urls) == [
        "blocked",
        "blocked",
        None,
        "blocked",
        "blocked",
    ]


def test_addresses_of_machines_match_themselves_only():
    rule = DomainsRule(Domains(block=["10.0.0.1"]))
    assert reasons(rule, "http://10.0.0.1/", "http://10.0.0.11/", "http://5.10.0.0.1.example/") == [
        "blocked",
        None,
        None,
    ]


def test_only_what_is_allowed_is_kept_and_block_comes_before_it():
    rule = DomainsRule(Domains(allow=["example.com"], block=["ads.example.com"]))
    assert reasons(rule, "http://example.com", "http://ads.example.com", "http://other.org") == [
        None,
        "blocked",
        "not_allowed",
    ]


def test_addresses_without_a_host_are_left_out_under_a_reason_of_their_own():
    rule = DomainsRule(Domains(block=["example.com"]))
    assert reasons(rule, "", None, "no url", "mailto:a@example.com") == ["no_domain"] * 4


def test_a_row_without_the_column_is_a_problem_that_names_the_row():
    rule = DomainsRule(Domains(block=["example.com"], column="source_url"))
    assert rule.columns == ("source_url",)
    with pytest.raises(RecipeError, match=r"web.jsonl:1: error: has no column 'source_url'"):
        reasons(rule, "http://example.com")
    with pytest.raises(RecipeError, match=r"web.jsonl:2: error: column 'source_url' holds int"):
        reasons(rule, "http://a.org", 7, column="source_url")


def test_lists_come_from_files_too_with_comments_and_as_a_hosts_file(tmp_path):
    path = tmp_path / "block.txt"
    path.write_text(
        "# spam\nexample.com\n\n0.0.0.0 ads.example.org # ads\n127.0.0.1\ttracker.net\n::1 localhost\nfe80::1%lo0 localhost\n"
        "https://bad.example.net/page\n",
        encoding="utf-8",
    )
    domains = DomainSet(str(path), "r.yaml:9")
    assert domains.endings == {"example.com", "ads.example.org", "tracker.net", "bad.example.net"}
    assert domains.hosts == {"localhost"}


def test_every_entry_that_is_no_domain_is_named_with_its_line(tmp_path):
    path = tmp_path / "block.txt"
    path.write_text("good.org\nnot a domain\n-\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        DomainsRule(Domains(block=str(path)), "r.yaml:9")
    assert [problem.where for problem in caught.value.problems] == [f"{path}:2", f"{path}:3"]


@pytest.mark.parametrize("words", [{}, {"block": []}, {"block": "gone.txt"}, {"allow": ["http://"]}])
def test_no_list_or_a_bad_one_is_a_problem_of_the_recipe(words):
    with pytest.raises(RecipeError, match=r"r.yaml:9"):
        DomainsRule(Domains(**words), "r.yaml:9")


def test_the_fingerprint_depends_on_the_domains_and_not_on_their_order_or_case():
    first, second = (DomainsRule(Domains(block=block)) for block in (["a.org", "b.org"], ["B.org", "a.org", "a.org"]))
    assert first.fingerprint == second.fingerprint != DomainsRule(Domains(block=["a.org"])).fingerprint
    assert first.fingerprint != DomainsRule(Domains(allow=["a.org", "b.org"])).fingerprint
    assert pickle.loads(pickle.dumps(first)).fingerprint == first.fingerprint


def test_addresses_are_listed_with_or_without_brackets_and_networks_not_at_all():
    for written in ("2001:db8::1", "[2001:DB8::1]"):
        rule = DomainsRule(Domains(block=[written]))
        assert reasons(rule, "http://[2001:db8::1]:80/x", "http://[2001:db8::2]/") == ["blocked", None]
    for network in ("10.0.0.0/8", "2001:db8::/32"):
        with pytest.raises(RecipeError, match=r"r.yaml:9: block: error: .* is a network"):
            DomainsRule(Domains(block=[network]), "r.yaml:9")
