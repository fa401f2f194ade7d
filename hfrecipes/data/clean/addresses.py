"""Addresses of mail and of the internet."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from hfrecipes.data.clean.context import words_before

_LATIN = "A-Za-z0-9À-ÖØ-öø-ÿ"
# RFC 5321 allows 64 characters before the @ and 255 after it.
_LONGEST_LOCAL, _LONGEST_DOMAIN = 64, 255
_LOCAL = re.compile(rf"(?<![@{_LATIN}])[{_LATIN}_](?:[{_LATIN}_.+%'~-]{{0,63}}[{_LATIN}_+-])?\Z")
_DOMAIN = re.compile(rf"(?:[{_LATIN}](?:[{_LATIN}-]{{0,61}}[{_LATIN}])?\.)+([A-Za-z]{{2,18}})")
# Generic endings in use; any two letters are a country's. A file's or a method's name (`A@b.mean`) ends in neither.
_GENERIC = """
com net org edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post app dev page cloud online
site store shop tech xyz club top vip work live life world today news blog wiki agency company group team email mail support
help services solutions systems software digital media design studio art photo video music games health care clinic dental
law legal finance bank money capital fund insurance school academy college university science engineering energy green eco
farm garden house homes land city town berlin hamburg koeln bayern wien paris london nyc tokyo amsterdam swiss africa ltd
gmbh inc llc one zone space fun link click icu chat social network host hosting website press express global international
foundation center community church charity ngo ong
"""
_ENDINGS = frozenset(_GENERIC.split())
_SPECIAL_ENDINGS = frozenset({"example", "test", "invalid", "localhost", "local"})  # RFC 2606, RFC 6762
_SPECIAL_DOMAINS = (".example.com", ".example.org", ".example.net")
_FILE_ENDINGS = frozenset({"js", "ts", "md", "sh", "gz"})  # some are countries, too, but rarely those of mail


def find_emails(text: str, allow_private: bool) -> Iterator[tuple[int, int]]:
    """Spans of addresses of mail. A login for a copy (`user@host.org:/path`) and `git@host` are none.

    Args:
        text: Where to look.
        allow_private: Leave out domains that are set aside for examples and tests (RFC 2606).
    """
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text, max(0, at - _LONGEST_LOCAL - 1), at) if text[at - 1 : at] not in ("", "@") else None
        domain = _DOMAIN.match(text, at + 1, at + 1 + _LONGEST_DOMAIN) if local else None
        if local and domain and _is_mail(text, local, domain, allow_private):
            yield local.start(), domain.end()
        at = text.find("@", at + 1)


def _is_mail(text: str, local: re.Match[str], domain: re.Match[str], allow_private: bool) -> bool:
    name, ending = domain.group().lower(), domain.group(1).lower()
    follows = text[domain.end() : domain.end() + 2]
    if follows[:1] in ("(", "@", "_") or (follows[:1].isascii() and follows[:1].isalnum()):
        return False
    # https://user@host is a login, too.
    if local.group() == "git" or ".." in local.group() or text.endswith("://", 0, local.start()):
        return False
    if follows[:1] == ":" and (follows[1:] in ("/", "~") or follows[1:].isalpha()):
        return False
    if ending in _SPECIAL_ENDINGS or f".{name}".endswith(_SPECIAL_DOMAINS):
        return not allow_private
    return ending in _ENDINGS or (len(ending) == 2 and ending not in _FILE_ENDINGS)


_IPV4 = re.compile(
    r"(?<![0-9A-Za-z_.])(?<![A-Za-z]-)(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
    r"(?![0-9A-Za-z_]|\.[0-9]|\.(?:tar|t?gz|zip|whl|jar|exe|deb|rpm|in-addr)|-(?:rc|alpha|beta|dev))"
)
_VERSION = re.compile(
    r"(?:(?<![a-z])(?:v|ver|versions?|versionsnummer|release|build|firmware|sections?|sect?|chapter|kapitel|abschnitt|ziffer|"
    r"clause|figure|fig|table|tabelle|chapitre)\.?|§|版本|固件|第|[=<>~^!]=|[a-z]/)[\s:=\"']{0,3}\Z"
)
# Four small numbers are a version or a section nearly always: of all addresses, one in 700 has only such numbers. Those
# of public name servers are what people write most.
_SMALL = 50
_RESOLVERS = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "4.2.2.1", "4.2.2.2"})
_IPV6_MARK = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"(?<![0-9A-Za-z_:.])[0-9A-Fa-f:]{2,39}(?![0-9A-Za-z_:])")
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


def find_ipv4(text: str, start: int, end: int, allow_private: bool) -> Iterator[tuple[int, int]]:
    """Spans of IPv4 addresses between two places. What is called a version or a section is none.

    Args:
        text: The whole text.
        start: Where to begin.
        end: Where to stop.
        allow_private: Leave out addresses of private networks, of this machine and for documentation.
    """
    for match in _IPV4.finditer(text, start, end):
        if (
            _is_wanted(match.group(), allow_private)
            and not _looks_like_version(match.group())
            and not _VERSION.search(words_before(text, match.start(), 20))
        ):
            yield match.span()


def _looks_like_version(written: str) -> bool:
    return written not in _RESOLVERS and max(map(int, written.split("."))) < _SMALL


def find_ipv6(text: str, allow_private: bool) -> Iterator[tuple[int, int]]:
    """Spans of IPv6 addresses, the public ones by their prefix 2000::/3: `a::b` is more often a name in a program."""
    place = 0
    while mark := _IPV6_MARK.search(text, place):
        start = mark.start()
        while start > max(place, mark.start() - 4) and text[start - 1] in _HEXADECIMAL:
            start -= 1
        match = _IPV6.match(text, start)
        place = match.end() if match else mark.end() - 1
        if match:
            written = match.group() if match.group().endswith("::") else match.group().rstrip(":")
            if _is_wanted(written, allow_private):
                yield start, start + len(written)


_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_LOCAL_V6 = [ipaddress.ip_network(net) for net in ("fc00::/7", "fe80::/10", "::1/128")]


def _is_wanted(written: str, allow_private: bool) -> bool:
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    if address.version == 6 and not any(address in net for net in (_GLOBAL_V6, *_LOCAL_V6)):
        return False
    if address.is_multicast or address.is_unspecified:
        return False
    if address.is_global:
        return True
    # Masks of networks and addresses that stand for none belong to nobody.
    return not allow_private and not written.startswith(("0.", "255."))
