"""The formula against the compiler's count of the same program without loops, and against rules anyone can check."""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import numpy as np
import pytest
import small_models

from m3it_jax import parameter_paths, sharding
from m3it_jax.config import OptimizerConfig
from m3it_jax.models.variant import Variant
from m3it_jax.models.variants import VARIANTS
from m3it_jax.training import flops, objectives, optimizer, setup, state, step

I, B, T, R, C = 4, 4, 32, 8, 16  # noqa: E741

STAGE_1 = ((r"(qformer|projection)/.*", True), (r"(vit|decoder)/.*", False))
STAGE_2 = ((r"(qformer|projection)/.*", True), (r"decoder/blocks/attn/(query|value)/kernel", True), (r".*", False))
ALL = ((r".*", True),)


def wide(width: int = 256) -> Variant:
    """The mini variant with fewer layers and wider: matrix products outweigh what the formula leaves out."""
    variant = VARIANTS["mini"]
    return dataclasses.replace(
        variant,
        vit=dataclasses.replace(variant.vit, num_layers=2, embed_dim=width, mlp_dim=4 * width, patch_size=16),
        qformer=dataclasses.replace(variant.qformer, num_layers=4, embed_dim=width, mlp_dim=4 * width),
        decoder=dataclasses.replace(
            variant.decoder, num_layers=2, embed_dim=width, mlp_dim=3 * width, head_dim=width // 4, vocab_size=512
        ),
    )


def make_batch(*, with_images: bool = True) -> dict[str, np.ndarray]:
    batch = {
        "images": np.zeros((I, 64, 64, 3), np.uint8),
        "token_ids": np.zeros((B, T), np.int32),
        "image_token_index": np.full((B, T), -1, np.int32),
        "segment_ids": np.ones((B, T), np.int32),
        "positions": np.tile(np.arange(T, dtype=np.int32), (B, 1)),
        "loss_mask": np.ones((B, T), np.float32),
        "source_index": np.zeros(B, np.int32),
        "caption_ids": np.zeros((I, C), np.int32),
        "attributes": np.zeros((I, 2), np.int32),
    }
    return batch if with_images else {name: array for name, array in batch.items() if name != "images"}


def make(objective: str, table, variant: Variant) -> tuple[objectives.Task, dict, dict]:
    task = objectives.Task(variant, "float32", False, (("colour", 5), ("shape", 3)), 1, R)
    abstract, _ = setup.abstract_params(objectives.OBJECTIVES[objective], task)
    return task, *state.split(abstract, table)


def formula(objective: str, table, batch, variant: Variant | None = None) -> float:
    task, trainable, frozen = make(objective, table, variant or wide())
    return flops.StepFlops(task.variant, trainable=trainable, frozen=frozen, max_targets=task.max_targets)(batch)


def counted_by_compiler(objective: str, table, batch) -> float:
    """The operations of a whole update as XLA counts them; call it where scans are unrolled, it counts a loop once."""
    task, trainable, frozen = make(objective, table, wide())
    rules = optimizer.make_optimizer(OptimizerConfig(), 10)
    update = step.make_train_step(
        objectives.OBJECTIVES[objective], task, optimizer=rules, rules=sharding.PRESETS["single"], seed=0
    )
    before = state.TrainState(
        jax.ShapeDtypeStruct((), np.int32), trainable, frozen, jax.eval_shape(rules.init, trainable)
    )
    return jax.jit(update).lower(before, batch).compile().cost_analysis()["flops"]


@pytest.fixture
def unrolled(monkeypatch) -> None:
    scan = nn.scan
    monkeypatch.setattr(nn, "scan", lambda body, **options: scan(body, **options, unroll=options["length"]))


def sizes_of(objective: str, pattern: str) -> int:
    """Weights of all kernels whose whole path matches."""
    _, trainable, _ = make(objective, ALL, wide())
    leaves = parameter_paths.flatten(trainable)
    return sum(int(np.prod(leaf.shape)) for path, leaf in leaves.items() if re.fullmatch(f"{pattern}/kernel", path))


@pytest.mark.parametrize(
    ("table", "vit", "cross", "reader", "text"),
    [
        pytest.param(ALL, 3, 3, 3, 3, id="all"),  # each kernel: forward, gradient of its input, its own gradient
        pytest.param(STAGE_1, 1, 2, 3, 2, id="stage_1"),  # nothing is trained below the frozen tower, all is below text
    ],
)
def test_each_part_costs_what_its_products_multiply(table, vit: int, cross: int, reader: int, text: int) -> None:
    """Two operations for each weight, token and pass; two products of scores and values, each pass anew."""
    variant, width = wide(), 256
    p, q = variant.vit.num_positions, variant.qformer.num_queries
    patch = sizes_of("response", "vit/patch_embedding") * I * (p - 1) * (2 if vit == 3 else 1)  # pixels: no gradient
    tower = sizes_of("response", "vit/blocks/.*") * I * p * vit
    read = sizes_of("response", r"qformer/.*/cross_attn/(key|value)") * I * p * cross
    own = sizes_of("response", r"qformer/.*/(self_attn/.*|mlp/.*|cross_attn/(query|out))") * I * q * reader
    own += sizes_of("response", "projection") * I * q * reader
    written = sizes_of("response", "decoder/blocks/.*") * B * T * text
    written += sizes_of("response", "decoder/head") * B * R * text
    scores = 2 * (3 if vit == 3 else 1) * variant.vit.num_layers * I * width * p * p
    scores += 2 * 3 * I * width * (variant.qformer.num_layers * q * q + READING * q * p)
    scores += 2 * 3 * variant.decoder.num_layers * B * variant.decoder.num_heads * variant.decoder.head_dim * T * T
    assert formula("response", table, make_batch()) == 2 * (patch + tower + read + own + written + scores)


READING = 4 // wide().qformer.cross_attention_every


@pytest.mark.parametrize("objective", ["vit_tower", "qformer_tower"])
def test_the_heads_of_a_tower_cost_what_their_products_multiply(objective: str) -> None:
    """What the heads add to the towers: counted beside the same tower with heads that nobody counts."""
    variant, width = wide(), 256
    reads = 1 + (64 // 16) ** 2 if objective == "vit_tower" else variant.qformer.num_queries
    _, trainable, _ = make(objective, ALL, variant)
    bare = flops.StepFlops(
        variant, trainable={k: v for k, v in trainable.items() if k != "heads"}, frozen={}, max_targets=R
    )
    pools = sizes_of(objective, "heads/pool_(key|value)") * I * reads
    words = sizes_of(objective, "heads/text_up") * I * C
    once = sizes_of(objective, "heads/(text_out|image_out|attribute_.*)") * I
    scores = 2 * 3 * width * I * reads + 1 * width * I * I  # three pools; each picture against each caption
    found = formula(objective, ALL, make_batch()) - bare(make_batch())
    assert found == 2 * 3 * (pools + words + once + scores)


@pytest.mark.parametrize(
    ("objective", "table"),
    [
        pytest.param("response", STAGE_2, id="stage_2"),
        pytest.param("vit_tower", ALL, id="tower"),
    ],
)
def test_formula_is_the_count_of_the_unrolled_program(unrolled, objective: str, table) -> None:
    batch = make_batch()
    counted = counted_by_compiler(objective, table, batch)
    # The compiler's count holds norms, activations and the optimiser as well, and the norms of gradients and updates
    # that metrics tell, none of which is useful work by convention.
    assert 0.92 <= formula(objective, table, batch) / counted <= 1.0


@functools.cache
def part(variant: Variant) -> dict[str, int]:
    """Weights of the kernels of each part, the output head apart."""
    _, trainable, _ = make("response", ALL, variant)
    sizes: dict[str, int] = {}
    for path, leaf in parameter_paths.flatten(trainable).items():
        if path.endswith("/kernel"):
            name = "head" if path.startswith("decoder/head") else path.split("/")[0]
            sizes[name] = sizes.get(name, 0) + int(np.prod(leaf.shape))
    return sizes


def test_frozen_parts_cost_less_than_trained_ones() -> None:
    """2N below what is trained, 4N above it, 6N where it is; measured as the change from one more row or picture."""
    variant = dataclasses.replace(wide(), decoder=dataclasses.replace(wide().decoder, num_layers=50))
    one, two = make_batch(), make_batch()
    for name in ("token_ids", "image_token_index", "segment_ids", "positions", "loss_mask", "source_index"):
        two[name] = np.concatenate([one[name], one[name]])
    rows = {}
    for name, table in (("stage_1", STAGE_1), ("all", ALL)):
        rows[name] = formula("response", table, two, variant) - formula("response", table, one, variant)
    tokens, sizes = B * T, part(variant)
    attention = 2 * 50 * B * T * T * variant.decoder.embed_dim * (2 + 4)
    assert rows["stage_1"] == 4 * tokens * sizes["decoder"] + 4 * B * R * sizes["head"] + attention
    assert rows["all"] == 6 * tokens * sizes["decoder"] + 6 * B * R * sizes["head"] + attention
    last = ((r"decoder/head/kernel", True), (r".*", False))
    only_head = formula("response", last, two, variant) - formula("response", last, one, variant)
    assert only_head == 2 * tokens * sizes["decoder"] + 4 * B * R * sizes["head"] + attention / 3


def test_only_supervised_positions_go_through_the_head() -> None:
    task, trainable, frozen = make("response", ALL, wide())
    costs = [
        flops.StepFlops(task.variant, trainable=trainable, frozen=frozen, max_targets=count)(make_batch())
        for count in (R, 2 * R, T - 1, 1 << 30)
    ]
    assert costs[1] - costs[0] == 6 * B * R * part(wide())["head"]
    assert costs[2] == costs[3]


def test_a_batch_without_pictures_costs_the_text_alone() -> None:
    text = formula("response", ALL, make_batch(with_images=False))
    assert 0 < text < formula("response", ALL, make_batch())


def test_a_kernel_of_no_known_part_is_refused() -> None:
    with pytest.raises(ValueError, match="audio/kernel"):
        flops.StepFlops(wide(), trainable={"audio": {"kernel": np.zeros((2, 2))}}, frozen={}, max_targets=R)


def test_every_parameter_tree_is_covered() -> None:
    for name in VARIANTS:
        assert formula("response", STAGE_2, make_batch(), VARIANTS[name]) > 0
    for objective in ("vit_tower", "qformer_tower"):
        assert formula(objective, ALL, make_batch()) > 0


@dataclasses.dataclass
class FakeDevice:
    device_kind: str
    platform: str = "cpu"
    process_index: int = 0


def test_peak_of_known_and_unknown_devices(monkeypatch) -> None:
    monkeypatch.setattr(flops, "measured_gemm_flops", lambda: 100.0)
    assert flops.peak_flops([FakeDevice("TPU v5 lite", "tpu")] * 4) == 4 * 197e12
    assert flops.peak_flops([FakeDevice("TPU v5", "tpu")]) == 459e12
    assert flops.peak_flops([FakeDevice("NVIDIA A100-SXM4-80GB", "gpu")]) == 312e12
    assert flops.peak_flops([FakeDevice("card of tomorrow", "gpu")] * 2) == 200.0
    # Eight fake devices of one machine are one machine; two hosts are two.
    assert flops.peak_flops([FakeDevice("cpu")] * 8) == 100.0
    assert flops.peak_flops([FakeDevice("cpu", process_index=index) for index in (0, 1)]) == 200.0


def test_peaks_are_those_of_the_makers() -> None:
    """Dense bfloat16, 10^12 operations a second: system architecture pages of Google Cloud, data sheets of NVIDIA."""
    tpus = {"TPU v5 lite": 197, "TPU v5e": 197, "TPU v5": 459, "TPU v6 lite": 918, "TPU v6e": 918}
    cards = {"NVIDIA A100": 312, "NVIDIA H100 80GB HBM3": 989, "NVIDIA H200": 989}
    assert {name: peak / 1e12 for name, peak in flops.PEAKS.items()} == tpus | cards


def test_the_rate_is_that_of_the_quickest_product_after_the_first(monkeypatch) -> None:
    now, runs = [30.0], []

    def run() -> None:
        runs.append(5.0 if not runs else (0.2, 0.1, 0.3)[len(runs) % 3])  # the first compiles
        now[0] += runs[-1]

    monkeypatch.setattr(flops.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(flops, "gemm", lambda: run)
    assert flops.measured_gemm_flops.__wrapped__() == pytest.approx(2 * 2048**3 / 0.1)
    assert 0.4 <= sum(runs[1:]) <= 0.7


def test_measured_rate_is_a_rate() -> None:
    assert 1e8 < flops.measured_gemm_flops() < 1e14


def test_measuring_works_inside_a_run_on_many_devices() -> None:
    with jax.set_mesh(sharding.make_mesh()):
        flops.gemm()()


@pytest.mark.parametrize("family", ["blip2_opt", "instructblip", "llava"])
def test_every_kind_of_part_is_counted(family: str) -> None:
    """A kernel without a row would raise; the formula is checked on what the other tests have not."""
    variant = small_models.SMALL[family]
    params = small_models.shapes(family)
    num_rows, length, num_targets = 2, variant.picture_len + 7, 4
    batch = small_models.make_batch(variant) | {"source_index": np.zeros(num_rows, np.int32)}
    count = flops.StepFlops(variant, trainable={}, frozen=params, max_targets=num_targets)
    head = 2 * num_rows * num_targets * variant.decoder.vocab_size * variant.decoder.embed_dim
    fewer = flops.StepFlops(variant, trainable={}, frozen=params, max_targets=0)
    assert count(batch) - fewer(batch) == head  # tied to the embedding or not
    if "text_ids" in batch:
        text_len = batch["text_ids"].shape[1]
        without = {name: array for name, array in batch.items() if name != "text_ids"}
        reader, q = variant.qformer, variant.qformer.num_queries
        each = 3 * reader.embed_dim * reader.embed_dim + reader.embed_dim**2 + 2 * reader.embed_dim * reader.mlp_dim
        scores = 2 * reader.embed_dim * ((q + text_len) ** 2 - q**2)
        wanted = 2 * num_rows * reader.num_layers * (text_len * each + scores)
        assert count(batch) - count(without) == wanted
    assert length == batch["token_ids"].shape[1]
