"""Tokens a second of greedy decoding, beside what the machine's memory and arithmetic allow.

    python benchmarks/decode.py [--repeats 7]

Variant mini with fresh weights: how fast a token is made does not depend on their values, and end marks are put off
until the last token. A token of a step needs every weight of the decoder once and the cached keys and values of its
row, so a step cannot be quicker than reading them, nor than its products at the rate of a large matrix product. Both
rates are measured in the same run; reading is measured on an array of the size that a step reads, since that may lie
in the processor's cache. Writes benchmarks/results/decode.json; under a minute on two quiet cores.
"""

import argparse
from collections.abc import Callable
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import parameter_paths
from m3it_jax.generation import batching, choosing, decoding
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.models import variants, vlm
from m3it_jax.training import flops

VARIANT = "mini"
BATCHES = (1, 8, 32)
TEXT_LEN = 32  # tokens of the prompt after its picture
NEW_TOKENS = 64
STOP_IDS = (2,)  # never the last word here: min_new_tokens is max_new_tokens

COLUMNS = (
    ("batch", "rows", ""),
    ("tokens_per_s.max", "tokens/s of the loop, best", ",.0f"),
    ("tokens_per_s.median", "median", ",.0f"),
    ("tokens_per_s.min", "least", ",.0f"),
    ("whole_tokens_per_s.max", "with picture and prompt, best", ",.0f"),
    ("roof_tokens_per_s", "roof, tokens/s", ",.0f"),
    ("roof_share", "share of the roof", ".2f"),
    ("roof_kind", "what the roof is", ""),
    ("read_mb", "MB read by a step", ".1f"),
)


def make_rows(num_rows: int, num_queries: int, vocab_size: int) -> dict[str, np.ndarray]:
    """Returns rows of one picture and TEXT_LEN tokens each, padded to their bucket."""
    length = num_queries + TEXT_LEN
    rng = np.random.default_rng(0)
    index = np.full((num_rows, length), -1, np.int32)
    index[:, :num_queries] = np.arange(num_rows * num_queries).reshape(num_rows, num_queries)
    rows = {
        "token_ids": rng.integers(4, vocab_size, (num_rows, length), np.int32),
        "image_token_index": index,
        "segment_ids": np.ones((num_rows, length), np.int32),
    }
    fill = {"image_token_index": -1}
    widths = ((0, 0), (0, batching.length_bucket(length) - length))
    return {name: np.pad(array, widths, constant_values=fill.get(name, 0)) for name, array in rows.items()}


def make_cases(
    model: vlm.VLM, params: decoding.Params, variant: variants.Variant, *, num_rows: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Returns (make NEW_TOKENS tokens of every row from a filled cache, the same from pixels)."""
    rows = make_rows(num_rows, variant.qformer.num_queries, variant.decoder.vocab_size)
    side, length = variant.vit.image_size, rows["token_ids"].shape[1]
    images = np.random.default_rng(1).integers(0, 256, (num_rows, side, side, 3), np.uint8)
    sampling = SamplingConfig(max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)
    settings = batching.settings(
        [sampling] * num_rows, num_rows=num_rows, stop_ids=STOP_IDS, num_ids=variant.decoder.vocab_size
    )

    def begun() -> decoding.State:
        embeds = decoding.encode_images(model, params, images)
        slots = length + NEW_TOKENS
        logits, cache = decoding.prefill(model, params, rows, image_embeds=embeds, num_slots=slots)
        return decoding.begin(choosing.greedy, logits, cache, rows=rows, settings=settings, num_new_slots=NEW_TOKENS)

    filled = jax.block_until_ready(begun())

    def loop(state: decoding.State) -> None:
        state = decoding.run(
            model, params, state, choose=choosing.greedy, settings=settings, num_steps=np.int32(NEW_TOKENS)
        )
        counts = np.asarray(jax.block_until_ready(state)["num_new"])
        if not (counts == NEW_TOKENS).all():
            raise RuntimeError(f"rows ended after {counts} tokens; the figures would be of less work")

    # The loop uses its state up, so it gets a copy: one call, while each of the loop's tokens reads as much or more.
    copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
    return lambda: loop(copy(filled)), lambda: loop(begun())


def reading(num_bytes: int) -> Callable[[], None]:
    """Returns a function that reads an array of so many bytes once, and waits."""
    array = jnp.ones(num_bytes // 4, jnp.float32)
    total = jax.jit(jnp.sum)

    def run() -> None:
        jax.block_until_ready(total(array))

    return run


def step_cost(params: decoding.Params, variant: variants.Variant, *, num_rows: int) -> tuple[float, float]:
    """Returns (bytes that a step must read, operations of its products) for rows of average length."""
    leaves = parameter_paths.flatten({"decoder": params["decoder"]})
    weights = sum(leaf.size for path, leaf in leaves.items() if path.endswith("/kernel"))
    decoder = variant.decoder
    length = variant.qformer.num_queries + TEXT_LEN + NEW_TOKENS / 2
    cached = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * length
    attention = 4 * decoder.num_layers * decoder.num_heads * decoder.head_dim * length
    return 4 * (weights + num_rows * (cached + decoder.embed_dim)), num_rows * (2 * weights + attention)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    machine = harness.machine()
    variant = variants.VARIANTS[VARIANT]
    model = vlm.make_vlm(variant)
    side = variant.vit.image_size
    example = dict.fromkeys(
        ("token_ids", "image_token_index", "positions", "segment_ids"), jnp.zeros((1, 2), jnp.int32)
    )
    example["images"] = jnp.zeros((1, side, side, 3), jnp.uint8)
    params = jax.jit(model.init)(jax.random.key(0), example)["params"]
    costs = {num_rows: step_cost(params, variant, num_rows=num_rows) for num_rows in BATCHES}
    cases: dict[str, Callable[[], Any]] = {"gemm": flops.gemm(), "memory": reading(256 << 20)}
    for num_rows in BATCHES:
        cases[f"loop {num_rows}"], cases[f"whole {num_rows}"] = make_cases(model, params, variant, num_rows=num_rows)
        cases[f"read {num_rows}"] = reading(int(costs[num_rows][0]))
    seconds = harness.interleave(cases, args.repeats)
    gemm_rate = flops.GEMM_FLOPS / min(seconds["gemm"])
    rows = []
    for num_rows, (num_bytes, operations) in costs.items():
        new_tokens = num_rows * NEW_TOKENS
        bounds = {"reading": min(seconds[f"read {num_rows}"]), "arithmetic": operations / gemm_rate}
        kind = max(bounds, key=lambda name: bounds[name])
        # The first token of an answer comes from the prompt: the loop makes one less.
        loop = harness.spread([(new_tokens - num_rows) / time for time in seconds[f"loop {num_rows}"]])
        roof = num_rows / bounds[kind]
        rows.append(
            {
                "batch": num_rows,
                "tokens_per_s": loop,
                "whole_tokens_per_s": harness.spread([new_tokens / time for time in seconds[f"whole {num_rows}"]]),
                "roof_tokens_per_s": roof,
                "roof_share": loop["max"] / roof,
                "roof_kind": kind,
                "read_mb": num_bytes / 1e6,
            }
        )
    references = {
        "reading 256 MiB from memory, best of the run, GB/s": (256 << 20) / min(seconds["memory"]) / 1e9,
        "float32 product 2048 x 2048 x 2048, best of the run, GFLOP/s": gemm_rate / 1e9,
    }
    harness.finish("decode", machine=machine, references=references, columns=COLUMNS, rows=rows)


if __name__ == "__main__":
    main()
