"""Any record through any translator: it ends translated with all that must survive, or quarantined with a reason."""

import collections
import dataclasses
import random
import tempfile
from pathlib import Path

import hypothesis
from built_folder import row
from hypothesis import strategies
from toy_translator import Toy, backwards, step_for

from m3it_jax import schema
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.translation import asking, engines, masking
from m3it_jax.dataset_building.translation.store import Store

BASE = row("toys", "x", "y", meta={"references": ["y"]})
PIECES = (
    "(A) ", "(B) ", "\n", "\r\n", "\u2028", "3", "4.5", "[1, 2, 3, 4]", "[HYPO]", "{name}", "<image>", "%s", "\u202e",
    "\u200b", "\u200d", "\x07", "👨‍👩‍👧", "🇪🇸", "1️⃣", " ", ". ", "? ", "dog", "House", "собака", "狗", "كلب",
    "[1]", "[2]",
    "a" * 500, "https://a.b/c", "x@y.org", "A. ", "- ",
)  # fmt: skip
ODDITIES = (
    lambda text: engines.Failure("died"),
    lambda text: "",
    lambda text: text,
    lambda text: f"{text}\n{text}",
    lambda text: text.replace("[1]", ""),
    lambda text: text.replace("[1]", "[2]"),
    lambda text: text + " [1]",
    lambda text: "\ud800" + text,
    lambda text: "\x00" + backwards(text),
    lambda text: backwards(text),
    lambda text: backwards(text) * 3,
)


def chaos(seed: int):
    def say(text: str):
        rng = random.Random(f"{seed} {text}")
        return rng.choice(ODDITIES)(text) if rng.random() < 0.4 else backwards(text)

    return say


@hypothesis.given(
    strategies.lists(strategies.sampled_from(PIECES), max_size=12),
    strategies.lists(strategies.sampled_from(PIECES), min_size=1, max_size=6),
    strategies.integers(0, 1000),
)
@hypothesis.settings(max_examples=120, deadline=None)
def test_nothing_is_lost(inputs, outputs, seed):
    inputs, outputs = "".join(inputs), "".join(outputs)
    hypothesis.assume(outputs.strip())
    given = dataclasses.replace(BASE, inputs=inputs, outputs=outputs, meta={**BASE.meta, "references": [outputs]})
    engine = Toy(chaos(seed))
    with tempfile.TemporaryDirectory() as folder:
        each, store = step_for(engine, Path(folder)), Store(Path(folder), writes=True)
        asking.ask([given], [each], engine, store=store, counts={"de": asking.Counts()})
        found, again = each.changed(given, store), each.changed(given, store)
        store.close()
    assert found == again  # the store alone decides
    assert not any("\n" in text for text in engine.asked)
    if isinstance(found, Rejected):
        assert found.reason and found.place == given.id
    new = found.instance if isinstance(found, Rejected) else found
    if new is not None:
        assert list(schema.problems(new)) == [] and new.meta["references"] == [new.outputs]
        for name in ("inputs", "outputs"):
            wanted = collections.Counter(masking.protected(getattr(given, name)))
            assert all(getattr(new, name).count(span) >= number for span, number in wanted.items()), (given, new)
            breaks = masking._BREAKS.findall(getattr(given, name))
            assert masking._BREAKS.findall(getattr(new, name)) == breaks
