"""Loss over a wide vocabulary with gradients: all scores at once against pieces (`training/chunked_loss.py`).

    python benchmarks/chunked_loss.py [--repeats 5]

A vocabulary of 39,424 (Ziya's), 8 rows of 128 supervised tokens, width 512, float32; with the head frozen and trained.
"Memory" is what the compiled program takes beside its inputs and outputs. The cases run in turn.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import harness

ROWS, TOKENS, WIDTH, VOCABULARY = 8, 128, 512, 39_424
COLUMNS = (
    ("head", "head", ""),
    ("form", "form", ""),
    ("memory", "memory, MB", ",.0f"),
    ("ms.min", "ms, best", ",.0f"),
    ("ms.median", "median", ",.0f"),
    ("ms.max", "worst", ",.0f"),
)


def head(params: Any, hidden: Any) -> Any:
    """Returns the scores [B, R, V]."""
    return hidden @ params["kernel"]


def losses_of() -> dict[str, Callable[..., Any]]:
    """Returns {form: the sum of the losses by (params, hidden, target ids, weights)}."""
    from m3it_jax.training import chunked_loss, losses

    def plain(params: Any, hidden: Any, *rows: Any) -> Any:
        return losses.token_losses(head(params, hidden), *rows)[0].sum()

    def pieces(params: Any, hidden: Any, *rows: Any) -> Any:
        ids, weights = rows
        count = chunked_loss.num_pieces(ids.shape, VOCABULARY)
        return chunked_loss.weighted_loss(head, params, hidden, target_ids=ids, weights=weights, pieces=count)[0]

    return {"all scores at once": plain, "pieces": pieces}


def main() -> None:
    """Makes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    machine = harness.machine()
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), 3)
    params = {"kernel": jax.random.normal(keys[0], (WIDTH, VOCABULARY)) / WIDTH**0.5}
    given = (
        params,
        jax.random.normal(keys[1], (ROWS, TOKENS, WIDTH)),
        jax.random.randint(keys[2], (ROWS, TOKENS), 0, VOCABULARY),
        jnp.ones((ROWS, TOKENS)),
    )
    cases, memory = {}, {}
    for what, places in (("frozen", (1,)), ("trained", (0, 1))):
        for form, loss in losses_of().items():
            compiled = jax.jit(jax.value_and_grad(loss, places)).lower(*given).compile()
            memory[what, form] = compiled.memory_analysis().temp_size_in_bytes / 1e6
            cases[f"{what}/{form}"] = functools.partial(lambda run: jax.block_until_ready(run(*given)), compiled)
    seconds = harness.interleave(cases, repeats)
    rows = [
        {"head": what, "form": form, "memory": size, "ms": harness.spread(seconds[f"{what}/{form}"], 1e3)}
        for (what, form), size in memory.items()
    ]
    harness.finish("chunked_loss", machine=machine, references={}, columns=COLUMNS, rows=rows)


if __name__ == "__main__":
    main()
