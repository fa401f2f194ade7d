"""Domains that documents come from: left out, or the only ones to keep."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.data.clean.word_lists import read_lines
from hfrecipes.recipe.cleaning import Domains
from hfrecipes.recipe.problem import Problem, RecipeError

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:(?!\d)")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_LONGEST = 253
# Lists in the form of a hosts file, as many blocklists come.
_HOSTS_LINE = re.compile(r"(?:[0-9.]{7,}|[0-9a-fA-F]*:[0-9a-fA-F:]+(?:%\w+)?)\s+(\S+)")
_NETWORK = re.compile(r"[0-9a-fA-F.:]+/\d{1,3}")
_FIX = "write a domain such as example.com, which stands for its subdomains too, or .org for all that end so"


class DomainsRule:
    """Leaves out documents of listed domains (`blocked`), and of all others than listed ones (`not_allowed`).

    A domain stands for its subdomains. One label alone (`localhost`) stands for that host only; with a dot before it (`.org`)
    it is an ending. Addresses that name no host are left out, too (`no_domain`), so that a list is never passed by accident.

    Args:
        settings: The words of the recipe. A list is written out, or is the path of a file that leads there from here, with
            a domain on each line (or the lines of a hosts file).
        where: Its place in the recipe, for problems.

    Raises:
        RecipeError: there is no list, or it cannot be read, or something on it is no domain.
    """

    name = "domains"

    def __init__(self, settings: Domains, where: str = "") -> None:
        if settings.block is None and settings.allow is None:
            raise RecipeError(
                Problem(where, "domains says neither block nor allow", "say block: [example.com] or a file")
            )
        self.column = settings.column or "url"
        self.columns = (self.column,)
        self.where = where
        self.block = None if settings.block is None else DomainSet(settings.block, f"{where}: block")
        self.allow = None if settings.allow is None else DomainSet(settings.allow, f"{where}: allow")

    @property
    def fingerprint(self) -> str:
        """Changes with what is on the lists."""
        return " ".join(domains.fingerprint if domains else "-" for domains in (self.block, self.allow))

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        """One verdict for each document, in their order.

        Raises:
            RecipeError: a row has no such column, or holds no text in it.
        """
        return [self._judge(document) for document in documents]

    def _judge(self, document: Document) -> Verdict:
        host = host_of(self._address(document))
        if host is None:
            return Verdict(reason="no_domain", detail=f"{self.column} names no host")
        if self.block and host in self.block:
            return Verdict(reason="blocked", detail=host)
        if self.allow and host not in self.allow:
            return Verdict(reason="not_allowed", detail=host)
        return KEPT

    def _address(self, document: Document) -> str:
        if self.column not in document.values:
            message = f"has no column {self.column!r}, which the rule domains reads"
            raise RecipeError(Problem(document.where, message, "say column: with the one that holds the address"))
        address = document.values[self.column]
        if address is not None and not isinstance(address, str):
            message = f"column {self.column!r} holds {type(address).__name__}, not an address"
            raise RecipeError(Problem(document.where, message, "say column: with the one that holds the address"))
        return address or ""


class DomainSet:
    """Domains and their subdomains.

    Args:
        said: Domains, or the path of a file that lists them.
        where: The place to name in problems.

    Raises:
        RecipeError: the file cannot be read, or an entry is no domain; all such entries are named at once.
    """

    def __init__(self, said: str | Sequence[str], where: str) -> None:
        if isinstance(said, str) and not Path(said).exists():
            raise RecipeError(Problem(where, f"there is no file {said!r}", f"write domains as a list, as in [{said}]"))
        entries = read_lines(said, where) if isinstance(said, str) else [(where, entry) for entry in said]
        self.hosts: set[str] = set()
        self.endings: set[str] = set()
        problems = [problem for place, entry in entries if (problem := self._add(place, entry))]
        if problems:
            raise RecipeError(problems)
        if not entries:
            raise RecipeError(Problem(where, "lists nothing", _FIX))

    @property
    def fingerprint(self) -> str:
        """Changes with the domains, not with their order."""
        known = "\n".join([*sorted(self.hosts), "", *sorted(self.endings)])
        return hashlib.sha256(known.encode()).hexdigest()[:16]

    def __contains__(self, host: str) -> bool:
        if host in self.hosts or host in self.endings:
            return True
        # A parent of a single label counts as an ending only: `com` does not stand for all of .com.
        while (dot := host.find(".")) >= 0:
            host = host[dot + 1 :]
            if host in self.endings:
                return True
        return False

    def _add(self, place: str, entry: Any) -> Problem | None:
        text = str(entry).split(" #")[0].strip()
        if named := _HOSTS_LINE.fullmatch(text):
            text = named[1]
        if _NETWORK.fullmatch(text):
            return Problem(place, f"{text!r} is a network, and addresses are known one by one", "list its addresses")
        bare = text.removeprefix("*").removeprefix(".") if text.startswith((".", "*.")) else text
        host = ipaddress.ip_address(bare).compressed if _is_address(bare) else host_of(_as_address(bare))
        if host is None:
            return Problem(place, f"{text[:80]!r} is no domain", _FIX)
        # `.org` is an ending; `example.com` stands for what is under it; `localhost` and addresses for themselves.
        if bare != text or ("." in host and not _is_address(host)):
            self.endings.add(host)
        else:
            self.hosts.add(host)
        return None


def _as_address(entry: str) -> str:
    return f"//{entry}" if entry and "//" not in entry else entry


def host_of(address: str) -> str | None:
    """The host that an address names: in lower case, without port, user and final dot, other scripts than Latin as punycode.

    Args:
        address: A URL, with or without its scheme.

    Returns:
        The host, or None where the address names none (`mailto:…`, `/path`, no address at all).
    """
    address = address.strip()
    if "//" not in address[: address.find("/") + 2]:
        if _SCHEME.match(address) or address.startswith("/"):
            return None
        address = f"//{address}" if "." in address else ""
    try:
        host = urlsplit(address).hostname
    except ValueError:
        return None
    return _plain_host(host) if host else None


@lru_cache(maxsize=65_536)
def _plain_host(host: str) -> str | None:
    host = unicodedata.normalize("NFKC", host.translate(_DOTS)).lower().removesuffix(".")
    if _is_address(host):
        return ipaddress.ip_address(host).compressed
    try:
        host = ".".join(
            label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in host.split(".")
        )
    except UnicodeError:
        return None
    return host if len(host) <= _LONGEST and _HOST.fullmatch(host) else None


# Full stops of Chinese and Japanese, which may stand between the labels of a domain (RFC 3490).
_DOTS = str.maketrans({"\u3002": ".", "\uff61": ".", "\uff0e": "."})


def _is_address(host: str) -> bool:
    if not (host[:1].isdigit() or ":" in host):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
