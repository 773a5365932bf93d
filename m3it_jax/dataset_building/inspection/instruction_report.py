"""How long, how alike and how varied the instructions of a pool are: what a reviewer of the bank wants to know."""

import collections
import itertools
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein

from m3it_jax import prompts

# The paper's own bank: 24.4 +- 9.6 tokens an instruction, edit distance 76.6 +- 37.2 within a task (Table 2). It names
# neither the tokenizer nor the unit; here a token is a word, a punctuation mark or one Chinese character, and a
# distance counts characters.
PAPER_LENGTH = (24.4, 9.6)
NEARLY_ALIKE = 0.9  # CHOICE: of 20 words at most two differ

_TOKEN = re.compile(r"[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]|[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")

# What an instruction asks somebody to do. English only: a Chinese verb has no place in the sentence to be found by.
_VERBS = frozenset(
    "add analyse analyze answer apply assess assign be bear begin break caption categorise categorize check "
    "choose cite classify combine compare complete compose conclude consider continue count decide deduce define "
    "describe detect determine distinguish draft draw enumerate estimate evaluate examine explain express extract "
    "fill find focus follow formulate generate give guess identify imagine indicate infer inspect interpret judge "
    "label let list locate look make mark match mention name narrate note observe offer outline pick pinpoint "
    "point predict present produce propose provide put rate read reason recall recognise recognize refer render "
    "rephrase reply report respond retell reveal rewrite say scan scrutinise search see select settle show sort "
    "specify spot state study suggest summarise summarize supply support take tell think transcribe transform "
    "translate treat try turn use verify view watch weigh work write".split()
)


def tokens(text: str) -> list[str]:
    """Returns the words, punctuation marks and Chinese characters of a text."""
    return _TOKEN.findall(text)


def form(text: str) -> str:
    """Returns how an instruction speaks: `question`, `role`, `order` (begins with a verb) or `statement`."""
    words = [word.lower() for word in tokens(text)]
    if text.rstrip().endswith(("?", "?")):
        return "question"
    if words[:2] == ["you", "are"] or words[:1] == ["as"] or text.startswith("你是"):
        return "role"
    if words and (words[0] in _VERBS or text.startswith(("请", "给", "看", "用", "写", "说"))):
        return "order"
    return "statement"


def pool_report(pool: Sequence[str]) -> dict[str, Any]:
    """Returns the numbers of one pool; lengths in tokens, distances in characters."""
    lengths = [len(tokens(text)) for text in pool]
    words = [[word.lower() for word in tokens(text)] for text in pool]
    distances = [Levenshtein.distance(a, b) for a, b in itertools.combinations(pool, 2)]
    return {
        "instructions": len(pool),
        "length": {"mean": round(statistics.fmean(lengths), 1), "std": round(statistics.pstdev(lengths), 1)},
        "distance": round(statistics.fmean(distances), 1) if distances else 0.0,
        "openings": len({tuple(each[:2]) for each in words}),
        "verbs": len({word for each in words for word in each if word in _VERBS}),
        "forms": dict(sorted(collections.Counter(map(form, pool)).items())),
        "slots": sorted({slot for text in pool for slot in prompts.SLOT.findall(text)}),
        "nearly_alike": nearly_alike(pool),
    }


def nearly_alike(pool: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the pairs of instructions of which one is the other with hardly a word changed."""
    return [
        (a, b)
        for a, b in itertools.combinations(pool, 2)
        if Levenshtein.normalized_similarity(a.lower(), b.lower()) >= NEARLY_ALIKE
    ]


def problems(pool: Sequence[str]) -> list[str]:
    """Returns what a reviewer would send back, one sentence each; nothing if the pool is sound."""
    found = [f"{a!r} and {b!r} are nearly alike" for a, b in nearly_alike(pool)]
    slots = [prompts.SLOT.findall(text) for text in pool]
    for text, named in zip(pool, slots, strict=True):
        if any(slots) and not named:
            found.append(f"{text!r} has no slot, others of its pool have")
        if text != text.strip() or "\n" in text:
            found.append(f"{text!r} must be one line without blanks around it")
    return found


def report(pools: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Returns the numbers of each pool by name, and of all together; empty pools are left out."""
    full = {name: pool for name, pool in pools.items() if pool}
    together = [text for pool in full.values() for text in dict.fromkeys(pool)]
    lengths = [len(tokens(text)) for text in dict.fromkeys(together)]
    return {
        "pools": {name: pool_report(pool) for name, pool in full.items()},
        "different": len(set(together)),
        "length": {
            "mean": round(statistics.fmean(lengths), 1) if lengths else 0.0,
            "std": round(statistics.pstdev(lengths), 1) if lengths else 0.0,
            "paper": list(PAPER_LENGTH),
        },
        "shared": sum(number > 1 for number in collections.Counter(together).values()),
    }
