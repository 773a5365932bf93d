"""Tokens a second of greedy decoding beside transformers' `generate`, and beside what memory and arithmetic allow.

    M3IT_REFERENCE_PYTHON=/path/to/python python benchmarks/decode.py [--repeats 5] [--quick]

The interpreter named there has torch and transformers (tests/reference/requirements.txt). It makes a checkpoint of
81.7 million random parameters and answers in a child process; ours reads the same folder through `m3it weights import`.
Both answer rows of one picture (32 positions) and 96 tokens with 64 new tokens, from normalised pixels to ids, in turn,
each with as many threads as this process may use cores: `taskset -c 0 python benchmarks/decode.py` is one thread. Their
tokens are compared. Without the variable ours runs alone, with weights of its own.

A step must read the language model's kernels and its cache, and make its products, so it cannot be quicker than reading
so many bytes, nor than so many operations at the rate of a large matrix product; nor can a whole answer be quicker than
its steps and, at that rate, the products of its pictures and prompt. Both rates are measured in the same run; reading
is of an array of the size that a step reads, which may lie in the processor's cache.

The host's part of a token is measured on a model of the same number of layers and hardly any width: what is left of its
time is not the model's. Writes benchmarks/results/decode.json (decode_one_core.json with one core).
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import harness
import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import checkpointing, parameter_paths
from m3it_jax.generation import batching, choosing, decoding, layered, streaming
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.generation.stop_texts import StopTexts
from m3it_jax.models import abstract, variants, vlm
from m3it_jax.training import flops

REFERENCE = harness.ROOT / "tests" / "reference" / "serve_generate.py"
BATCHES = (1, 8, 32)
TEXT_LEN = 96  # tokens of the prompt after its picture
NEW_TOKENS = 64
PLACEHOLDER = 31_999  # of a picture's positions in the reference's ids (tests/reference/serve_generate.py)
STOP_IDS = (2,)  # never the last word here: min_new_tokens is max_new_tokens

COLUMNS = (
    ("batch", "rows", ""),
    ("tokens_per_s.max", "tokens/s from pixels to ids, best", ",.0f"),
    ("tokens_per_s.median", "median", ",.0f"),
    ("tokens_per_s.min", "least", ",.0f"),
    ("whole_roof_tokens_per_s", "roof of that, tokens/s", ",.0f"),
    ("reference_tokens_per_s.max", "transformers, best", ",.0f"),
    ("reference_tokens_per_s.median", "median", ",.0f"),
    ("ratio.min", "ratio of a round, least", ".2f"),
    ("ratio.median", "median", ".2f"),
    ("ratio.max", "most", ".2f"),
    ("loop_tokens_per_s", "tokens/s of the loop, best", ",.0f"),
    ("roof_tokens_per_s", "roof, tokens/s", ",.0f"),
    ("roof_share", "share of the roof", ".2f"),
    ("roof_kind", "what the roof is", ""),
    ("same_tokens", "tokens equal to the reference's", ".4f"),
)


class Reference:
    """transformers in a child process."""

    def __init__(self, python: str, folder: pathlib.Path, threads: int):
        """Starts it; it uses so many threads."""
        command = [python, str(REFERENCE), "serve", str(folder), "--threads", str(threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=environment, **pipes)
        self.versions = json.loads(self._read())

    def _read(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the reference's process ended; its message stands above")
        return line

    def answer(self, asked: dict[str, Any]) -> np.ndarray:
        """Returns the new ids [B, N]."""
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return np.array(json.loads(self._read())["ids"])

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()


@contextlib.contextmanager
def reference_and_weights(threads: int) -> Iterator[tuple[Reference | None, vlm.VLM, Any, variants.Variant]]:
    """Yields (the reference or None, our model, its parameters, its variant)."""
    python = os.environ.get("M3IT_REFERENCE_PYTHON")
    if not python:
        variant = own_variant()
        model = vlm.make_vlm(variant)
        params = jax.tree.map(lambda leaf: 0.05 * jax.random.normal(jax.random.key(0), leaf.shape), shapes(variant))
        yield None, model, params, variant
        return
    with tempfile.TemporaryDirectory() as scratch:
        hub, ours = pathlib.Path(scratch) / "hub", pathlib.Path(scratch) / "imported"
        subprocess.run([python, str(REFERENCE), "make", str(hub)], check=True)
        subprocess.run([sys.executable, "-m", "m3it_jax", "weights", "import", str(hub), str(ours)], check=True)
        params, _, _ = checkpointing.restore_params(ours)
        variant = variants.read(ours)
        reference = Reference(python, hub, threads)
        try:
            yield reference, vlm.make_vlm(variant), params, variant
        finally:
            reference.close()


def own_variant() -> variants.Variant:
    """Returns the sizes of the reference's checkpoint."""
    whole = variants.VARIANTS["ying_vlm_13b"]
    width = {"embed_dim": 384, "mlp_dim": 1_536, "num_layers": 6, "num_heads": 6}
    decoder = {"vocab_size": 32_000, "embed_dim": 512, "mlp_dim": 1_376, "num_layers": 8, "num_heads": 8}
    return dataclasses.replace(
        whole,
        vit=dataclasses.replace(whole.vit, **width),
        qformer=dataclasses.replace(whole.qformer, **width),
        decoder=dataclasses.replace(whole.decoder, **decoder, num_kv_heads=8, head_dim=64),
    )


def shapes(variant: variants.Variant) -> Any:
    """Returns the shapes of a variant's parameters."""
    return parameter_paths.unflatten(abstract.parameters(variant))


def make_rows(num_rows: int, picture_len: int, vocab_size: int) -> dict[str, np.ndarray]:
    """Returns rows of one picture and TEXT_LEN tokens each."""
    length = picture_len + TEXT_LEN
    index = np.full((num_rows, length), -1, np.int32)
    index[:, :picture_len] = np.arange(num_rows * picture_len).reshape(num_rows, picture_len)
    ids = np.random.default_rng(0).integers(4, vocab_size - 1, (num_rows, length), np.int32)
    return {
        "token_ids": ids,
        "image_token_index": index,
        "segment_ids": np.ones((num_rows, length), np.int32),
    }


@dataclasses.dataclass(frozen=True)
class Ours:
    """The cases of one batch size."""

    model: vlm.VLM
    params: Any
    rows: dict[str, np.ndarray]
    settings: choosing.Settings
    images: np.ndarray

    @classmethod
    def of(cls, model: vlm.VLM, params: Any, variant: variants.Variant, *, num_rows: int) -> "Ours":
        """Returns them with pictures drawn as the reference draws them."""
        rows = make_rows(num_rows, variant.picture_len, variant.decoder.vocab_size)
        side = variant.vit.image_size
        pixels = np.random.default_rng(1).standard_normal((num_rows, 3, side, side), np.float32)
        sampling = SamplingConfig(max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)
        num_ids = variant.decoder.vocab_size
        stops = StopTexts([], num_ids).settings([()] * num_rows)
        settings = batching.settings(
            [sampling] * num_rows, num_rows=num_rows, stop_ids=STOP_IDS, num_ids=num_ids, stops=stops
        )
        return cls(model, params, rows, settings, np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)))

    def begun(self) -> decoding.State:
        """Returns the state after the first token."""
        embeds = decoding.encode_images(self.model, self.params, self.images)
        slots = self.rows["token_ids"].shape[1] + NEW_TOKENS
        logits, cache = decoding.prefill(self.model, self.params, self.rows, image_embeds=embeds, num_slots=slots)
        shape = {"prompt_ids": None, "settings": self.settings, "num_new_slots": NEW_TOKENS}
        return decoding.begin(choosing.greedy, logits, cache, **shape)

    def loop(self, state: decoding.State, num_steps: int = NEW_TOKENS) -> decoding.State:
        """Returns the state after so many more tokens; the state that goes in is used up."""
        how = {"choose": choosing.greedy, "settings": self.settings, "num_steps": np.int32(num_steps)}
        return decoding.run(self.model, self.params, state, **how)

    def whole(self) -> np.ndarray:
        """Returns the new ids [B, N], from pixels."""
        return np.asarray(self.loop(self.begun())["new_tokens"])


def copied(state: decoding.State) -> decoding.State:
    """Returns a copy, which a loop may use up."""
    return jax.block_until_ready(jax.tree.map(jnp.copy, state))


def reading(num_bytes: int) -> Callable[[], None]:
    """Returns a function that reads an array of so many bytes once, and waits."""
    array = jnp.ones(num_bytes // 4, jnp.float32)
    total = jax.jit(jnp.sum)

    def run() -> None:
        jax.block_until_ready(total(array))

    return run


def step_cost(params: Any, variant: variants.Variant, *, num_rows: int) -> tuple[float, float]:
    """Returns (bytes that a step must read, operations of its products) for rows of average length."""
    leaves = parameter_paths.flatten({"decoder": params["decoder"]})
    weights = sum(leaf.size for path, leaf in leaves.items() if path.endswith("/kernel"))
    decoder = variant.decoder
    length = variant.picture_len + TEXT_LEN + NEW_TOKENS / 2
    cached = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * length
    attention = 4 * decoder.num_layers * decoder.num_heads * decoder.head_dim * length
    return 4 * (weights + num_rows * (cached + decoder.embed_dim)), num_rows * (2 * weights + attention)


def begin_cost(params: Any, variant: variants.Variant, *, num_rows: int) -> float:
    """Returns the operations of the first tokens: of the pictures, the prompts and one pass through the head."""
    count = flops.StepFlops(variant, trainable={}, frozen=params, max_targets=1)
    rows = make_rows(num_rows, variant.picture_len, variant.decoder.vocab_size)
    return count({**rows, "images": np.zeros((num_rows, 1)), "source_index": np.zeros(num_rows)})


def host_overhead(variant: variants.Variant) -> dict[str, float]:
    """Returns microseconds of a token on a model that computes next to nothing, in one loop and as a stream."""
    small = {"embed_dim": 8, "mlp_dim": 8, "num_heads": 1, "num_kv_heads": 1, "head_dim": 8, "vocab_size": 64}
    null = dataclasses.replace(variant, decoder=dataclasses.replace(variant.decoder, **small))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes(null))
    ours = Ours.of(*layered.of(vlm.make_vlm(null), params), null, num_rows=1)
    begun = jax.block_until_ready(ours.begun())

    def streamed(state: decoding.State) -> None:
        for _ in streaming.groups(state, ours.loop):
            pass

    found = {}
    for name, run in (("one loop", lambda state: int(ours.loop(state)["num_new"][0])), ("a stream", streamed)):
        seconds = []
        for _ in range(8):  # the first compiles
            state = copied(begun)
            began = time.perf_counter()
            run(state)
            seconds.append(time.perf_counter() - began)
        found[f"microseconds of a token without a model, {name}, best"] = 1e6 * min(seconds) / (NEW_TOKENS - 1)
    return found


def loop_seconds(ours: Ours, repeats: int) -> float:
    """Returns the least seconds of the loop from a filled cache."""
    begun, seconds = ours.begun(), []
    for _ in range(repeats):
        state = copied(begun)
        began = time.perf_counter()
        jax.block_until_ready(ours.loop(state)["num_new"])
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def row_of(
    ours: Ours, seconds: dict[str, list[float]], *, cost: tuple[float, float], begin: float, gemm_rate: float
) -> dict:
    """Returns one line of the table, but for the reference's part."""
    num_rows = len(ours.images)
    loop = loop_seconds(ours, len(seconds["gemm"]))
    bounds = {"reading": min(seconds[f"read {num_rows}"]), "arithmetic": cost[1] / gemm_rate}
    kind = max(bounds, key=lambda name: bounds[name])
    # The first token of an answer comes from the prompt: the loop makes one less.
    loop_rate, roof = num_rows * (NEW_TOKENS - 1) / loop, num_rows / bounds[kind]
    return {
        "batch": num_rows,
        "tokens_per_s": harness.spread([num_rows * NEW_TOKENS / time for time in seconds[f"ours {num_rows}"]]),
        "whole_roof_tokens_per_s": num_rows * NEW_TOKENS / (begin / gemm_rate + (NEW_TOKENS - 1) * bounds[kind]),
        "loop_tokens_per_s": loop_rate,
        "roof_tokens_per_s": roof,
        "roof_share": loop_rate / roof,
        "roof_kind": kind,
        "read_mb": cost[0] / 1e6,
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="one row and one round, to see that it runs; writes nothing"
    )
    args = parser.parse_args()
    batches, repeats = (BATCHES[:1], 1) if args.quick else (BATCHES, args.repeats)
    machine = harness.machine()
    threads = machine["cores"]
    with reference_and_weights(threads) as (reference, model, params, variant):
        costs = {num_rows: step_cost(params, variant, num_rows=num_rows) for num_rows in batches}
        begins = {num_rows: begin_cost(params, variant, num_rows=num_rows) for num_rows in batches}
        model, params = layered.of(model, params)
        params = jax.device_put(params)
        ours = {num_rows: Ours.of(model, params, variant, num_rows=num_rows) for num_rows in batches}
        cases: dict[str, Callable[[], Any]] = {"gemm": flops.gemm(), "memory": reading(256 << 20)}
        asked: dict[int, dict[str, Any]] = {}
        for num_rows, case in ours.items():
            shown = case.rows["image_token_index"] >= 0
            ids = np.where(shown, PLACEHOLDER, case.rows["token_ids"])
            pictures = [[3, variant.vit.image_size, variant.vit.image_size], 1]
            asked[num_rows] = {"ids": ids.tolist(), "pictures": pictures, "new_tokens": NEW_TOKENS}
            cases[f"ours {num_rows}"] = case.whole
            if reference is not None:
                cases[f"theirs {num_rows}"] = lambda num_rows=num_rows: reference.answer(asked[num_rows])
            cases[f"read {num_rows}"] = reading(int(costs[num_rows][0]))
        seconds = harness.interleave(cases, repeats)
        gemm_rate = flops.GEMM_FLOPS / min(seconds["gemm"])
        rows = []
        for num_rows, case in ours.items():
            row = row_of(case, seconds, cost=costs[num_rows], begin=begins[num_rows], gemm_rate=gemm_rate)
            if reference is not None:
                theirs = seconds[f"theirs {num_rows}"]
                row["reference_tokens_per_s"] = harness.spread([num_rows * NEW_TOKENS / time for time in theirs])
                pairs = zip(theirs, seconds[f"ours {num_rows}"], strict=True)
                row["ratio"] = harness.spread([their_time / our_time for their_time, our_time in pairs])
                row["same_tokens"] = float((reference.answer(asked[num_rows]) == case.whole()).mean())
            rows.append(row)
        machine["versions"] |= reference.versions if reference is not None else {}
    references = {
        "threads of each": threads,
        "reading 256 MiB from memory, best of the run, GB/s": (256 << 20) / min(seconds["memory"]) / 1e9,
        "float32 product 2048 x 2048 x 2048, best of the run, GFLOP/s": gemm_rate / 1e9,
        **host_overhead(variant),
    }
    columns = COLUMNS if "ratio" in rows[0] else [column for column in COLUMNS if column[0].split(".")[0] in rows[0]]
    result = {"machine": machine, "references": references, "columns": columns, "rows": rows}
    if args.quick:
        print(harness.describe(result))
        return
    harness.finish("decode" if threads > 1 else "decode_one_core", **result)


if __name__ == "__main__":
    main()
