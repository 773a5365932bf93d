"""What a licence allows: one word for each licence text, so that a mixture can be held to what is allowed."""

import re
from collections.abc import Collection

# What the terms of a source allow, from most to least. `unknown` is a value of its own: nobody has said.
TERMS = ("commercial", "research", "unknown")

# What stands in a part of a licence text -> what it allows; the strictest that stands there decides. "Custom", and the
# terms of a site or of an owner, are conditions that no program can weigh. The names are those of the paper (arXiv
# 2306.04387, Table 7, which took them from PapersWithCode), of the SPDX list and of the hub's tags.
_SAYS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), terms)
    for pattern, terms in (
        (
            r"\b(?:custom|unknown|unspecified|unclear|proprietary|other|terms|copyright\w*|all rights reserved)\b",
            "unknown",
        ),
        (r"\b(?:each|on request|owners?|uploaders?|press|flickr|no licen[cs]e)\b", "unknown"),
        # No derivatives: whether a drawn box is one, a court would have to say.
        (r"\bcc[ -]?by[ -](?:\w+[ -])?nd\b|\bno-?derivatives\b", "unknown"),
        (r"\bnon[- ]?commercial|\b(?:no|not for|without) commercial|\bcc[ -]?by[ -]nc\b", "research"),
        (
            r"\b(?:research|academic|educational|education|personal|private)(?:[- ]only|\b(?! (?:group|lab)))",
            "research",
        ),
        (
            r"\bcc[ -]?by\b|\bcc[ -]?0\b|\bcreative commons (?:attribution|zero)\b|\bpublic[ -]domain\b|\bpddl\b",
            "commercial",
        ),
        (
            r"\b(?:mit|apache|bsd|isc|zlib|unlicense|unicode|ofl|[al]?gpl|mpl|odc[ -]by|odbl|cdla-permissive)\b",
            "commercial",
        ),
        (r"\b(?:for|free|allows?|permits?) commercial", "commercial"),
    )
)
# What a part may be about. One that names such a thing and no licence for it leaves open what holds there.
_THINGS = (
    r"(?:picture|image|photo|photograph|video|frame|text|annotation|caption|question|answer|conversation|article|page"
    r"|cover|dialogue|audio|name|fact|flag|font|code|label|translation|data|data ?set)s?"
)
_THING = re.compile(rf"\b{_THINGS}\b", re.IGNORECASE)
# `CC BY 4.0 (annotations; ...)`: what the licence before it is for.
_SCOPE = re.compile(rf"(?:(?:the|its|all|of|for|and|only|,)\s*|{_THINGS}\s*)+", re.IGNORECASE)
_PARTS = re.compile(r"([;()\n])")


def terms(licence: str) -> str:
    """Returns what a licence text allows, one of `TERMS`: its strictest part decides, and what nobody knows is strict.

    `CC BY 4.0 (annotations; pictures: Flickr terms)` is `unknown`: what is trained on has pictures and texts together.
    """
    found = [_said(part.strip(), is_remark=mark != "" and mark in "()") for mark, part in _parted(licence)]
    known = [said for said in found if said]
    return max(known, key=TERMS.index, default="unknown")


def _parted(licence: str) -> list[tuple[str, str]]:
    """Returns the parts of a licence text, each with the sign before it."""
    pieces = ["", *_PARTS.split(licence)]
    return [(mark, part) for mark, part in zip(pieces[::2], pieces[1::2], strict=True) if part.strip()]


def _said(part: str, *, is_remark: bool) -> str:
    """Returns what a part allows, empty if it says nothing about it."""
    found = [says for pattern, says in _SAYS if pattern.search(part)]
    if found:
        return max(found, key=TERMS.index)
    if _SCOPE.fullmatch(part) or (is_remark and ":" not in part and not _THING.search(part)):
        return ""
    return "unknown"


def allowed(licence: str, allow: Collection[str]) -> bool:
    """Returns whether rows under a licence may be used where `allow`, words of `TERMS`, is asked for.

    What may be sold may be studied: `research` takes `commercial` in. `unknown` is allowed only by its name. An empty
    `allow` takes everything.
    """
    found = terms(licence)
    return not allow or found in allow or (found == "commercial" and "research" in allow)
