"""What a licence allows: one word for each licence text, so that a mixture can be held to what is allowed."""

import re
from collections.abc import Collection

# What the terms of a source allow, from most to least. `unknown` is a value of its own: nobody has said.
TERMS = ("commercial", "research", "unknown")

# The begin of a licence text -> what it allows; the first that fits decides. A text begins with the words that hold for
# pictures and texts together: the paper's own (arXiv 2306.04387, Table 7), which took them from PapersWithCode.
# "Custom" means that the owner's page has terms of its own, which no program can weigh.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), terms)
    for pattern, terms in (
        (r"(custom|unknown)\b|$", "unknown"),
        (r"non-?commercial\b|research\b|cc[ -]by-nc", "research"),
        (r"cc[ -]by-nd", "unknown"),  # no derivatives: whether a drawn box is one, a court would have to say
        (r"cc[ -]by\b|cc0|public domain|mit\b|apache|bsd|unicode|ofl|code mit", "commercial"),
        (r"flat flags public domain|pictures apache", "commercial"),
    )
)


def terms(licence: str) -> str:
    """Returns what a licence text allows, one of `TERMS`; a text that no rule knows is `unknown`."""
    return next((found for pattern, found in _RULES if pattern.match(licence.strip())), "unknown")


def allowed(licence: str, allow: Collection[str]) -> bool:
    """Returns whether rows under a licence may be used where `allow`, words of `TERMS`, is asked for.

    What may be sold may be studied: `research` takes `commercial` in. `unknown` is allowed only by its name. An empty
    `allow` takes everything.
    """
    found = terms(licence)
    return not allow or found in allow or (found == "commercial" and "research" in allow)
