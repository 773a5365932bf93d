"""What packing saves on M3IT's shape: useful tokens, operations of an epoch, records a second; what the order costs.

    python benchmarks/packing.py [--repeats 5] [--records 10000000]

No data folder is needed: `m3it_shape.py` says how many records, pictures and tokens each source has, and what of it is
assumed. Operations are counted by `training/flops.py` for the full-size Ying-VLM as stage 2 trains it. Records a second
are those of a real update of variant mini on made-up tokens in the same shapes. Writes benchmarks/results/packing.json;
some minutes.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import harness
import jax
import m3it_shape
import numpy as np

from m3it_jax import prompts, sharding
from m3it_jax.cli import configuration
from m3it_jax.input_pipeline.order import bins
from m3it_jax.input_pipeline.order.packed_plan import PackedPlan, Stream
from m3it_jax.input_pipeline.order.token_lengths import Lengths
from m3it_jax.input_pipeline.rows import packing
from m3it_jax.input_pipeline.rows.layout import Layout
from m3it_jax.models.variants import VARIANTS, Variant
from m3it_jax.training import flops, objectives, optimizer, setup, state, step

ROW_LEN, ROW_IMAGES = 2_048, 10  # packed, pictures shared
ALONE_IMAGES = 23  # packed, none shared
PADDED_TEXT = 512  # data.max_text_len of the full-size presets
BLOCKS = 24  # of each order, from anywhere in its first epochs, that are looked at
STAGE_2 = "configs/stage2_instruct.py"
# Of the small model, whose attention over long rows would cost more than all else: rows of a step, tokens, pictures.
SMALL_ROWS, SMALL_LEN, SMALL_IMAGES, SMALL_ALONE = 4, 512, 4, 8

COLUMNS = (
    ("rows", "rows", ""),
    ("row_len", "tokens of a row", ""),
    ("row_images", "pictures of a row", ""),
    ("records_per_row", "records of a row", ".2f"),
    ("useful", "useful tokens", ".1%"),
    ("slots", "picture slots in use", ".1%"),
    ("eflop", "EFLOP of an epoch, full size", ",.2f"),
    ("times", "times the operations of shared rows", ".2f"),
    ("records_per_s", "records/s of a step, mini, best", ",.1f"),
)


def make_plan(streams: list[Stream], images: int, *, shares: bool, row_len: int = ROW_LEN) -> PackedPlan:
    """Returns the order of packed rows."""
    budgets = bins.Budgets(row_len, images, 0)
    return PackedPlan(streams, seed=0, global_batch_size=64, budgets=budgets, shares=shares)


def packed_facts(plan: PackedPlan) -> dict[str, float]:
    """Returns what some blocks of an order have on average."""
    records = rows = tokens = images = 0
    for number in np.random.default_rng(0).integers(0, 1_000, BLOCKS).tolist():
        block = plan._block(number)
        rows, records = rows + len(block.starts) - 1, records + len(block.entries)
        tokens, images = tokens + int(block.used[0]), images + int(block.used[1])
    return {
        "row_len": plan.budgets.tokens,
        "row_images": plan.budgets.images,
        "targets": plan.budgets.targets,
        "records_per_row": records / rows,
        "useful": tokens / rows / plan.budgets.tokens,
        "slots": images / rows / plan.budgets.images,
    }


def padded_facts(streams: list[Stream]) -> dict[str, float]:
    """Returns the same of rows with one record each, padded to the longest text that is let in (pictures weighted)."""
    sizes = np.array([len(stream.records) for stream in streams])
    images = np.array([stream.num_images[0] for stream in streams])
    means = np.array([stream.lengths.tokens.mean() for stream in streams])
    lengths = images * (m3it_shape.PICTURE + m3it_shape.MARKS) + PADDED_TEXT
    total = sizes.sum()
    return {
        "row_len": float((lengths * sizes).sum() / total),
        "row_images": float((images * sizes).sum() / total),
        "targets": 128,
        "records_per_row": 1.0,
        "useful": float((means * sizes).sum() / (lengths * sizes).sum()),
        "slots": 1.0,
    }


def bound(streams: list[Stream]) -> dict[str, float]:
    """Returns tokens and pictures of an epoch if each picture stood in one row and no row had padding."""
    keys = np.concatenate([stream.lengths.keys for stream in streams])
    order = np.argsort(keys, kind="stable")
    first = np.append(True, np.diff(keys[order].astype(np.int64)) != 0)
    tokens = np.concatenate([stream.lengths.tokens[:, 0] for stream in streams]).astype(np.int64)[order]
    shared = np.concatenate([stream.lengths.shared for stream in streams]).astype(np.int64)[order]
    images = np.concatenate([stream.num_images for stream in streams])[order]
    return {"tokens": float((tokens - np.where(first, 0, shared)).sum()), "images": float(images[first].sum())}


def step_flops() -> Callable[[dict[str, float]], float]:
    """Returns a function from the facts of a row to the operations of an update on it, full size, stage 2."""
    config = configuration.load(str(harness.ROOT / f"{STAGE_2}:paper"), [])
    variant = VARIANTS[config.model.variant]
    task = objectives.Task(variant, "bfloat16", False, (), len(m3it_shape.SOURCES), 1)
    params, _ = setup.abstract_params(objectives.OBJECTIVES["response"], task)
    trainable, frozen = state.split(params, config.trainable)

    def count(facts: dict[str, float]) -> float:
        formula = flops.StepFlops(variant, trainable=trainable, frozen=frozen, max_targets=int(facts["targets"]))
        many = 100  # rows, so that a mean number of pictures is a whole one
        shapes = flops.Shapes(
            num_images=round(many * facts["row_images"]),
            num_rows=many,
            row_len=round(facts["row_len"]),
            num_targets=int(facts["targets"]),
            caption_len=0,
            text_len=0,
        )
        return formula.count(shapes) / many

    return count


def lone_row(variant: Variant, tokens: int, targets: int, *, images: int) -> packing.Row:
    """Returns the row of a record with made-up ids: pictures of the small model first."""
    length = variant.picture_len
    index = np.full(tokens, -1, np.int32)
    for number in range(images):
        index[number * (length + 2) + 1 : number * (length + 2) + 1 + length] = number * length + np.arange(length)
    mask = np.zeros(tokens, np.float32)
    mask[-targets:] = 1.0
    return {
        "token_ids": np.where(index < 0, 7, 0).astype(np.int32),
        "image_token_index": index,
        "positions": np.arange(tokens, dtype=np.int32),
        "loss_mask": mask,
    }


def small_streams(variant: Variant, streams: list[Stream]) -> list[Stream]:
    """Returns the streams as the small model has them: its pictures take fewer positions, the texts stay."""
    made = []
    for stream in streams:
        images = stream.num_images.astype(np.int64)
        change = images * (m3it_shape.PICTURE + m3it_shape.MARKS - variant.picture_len - 2)
        lengths = stream.lengths
        shared = (images * (variant.picture_len + 2) - 1).astype(np.uint16)
        tokens = (lengths.tokens[:, 0] - change).astype(np.uint16)[:, None]
        own = Lengths(tokens, lengths.targets, shared, lengths.keys, lengths.fits)
        made.append(Stream(stream.source, stream.records, own, stream.num_images, stream.weight, stream.source))
    return made


def small_batches(streams: list[Stream]) -> dict[str, tuple[dict[str, np.ndarray], int]]:
    """Returns {case: (batch, its records)}: the same kind of records one a row, packed, and packed with sharing."""
    variant = VARIANTS["mini"]
    small = small_streams(variant, streams)
    side = variant.vit.image_size
    cases = {}
    for name, images, shares in (("shared", SMALL_IMAGES, True), ("records", SMALL_ALONE, False)):
        plan = make_plan(small, images, shares=shares, row_len=SMALL_LEN)
        made, records = [], 0
        for entries in plan.rows(0, SMALL_ROWS):
            groups = []
            for group in np.unique(entries[:, 4]):
                members = entries[entries[:, 4] == group]
                rows = [
                    _row_of(variant, small, source=source, record=record) for source, record in members[:, :2].tolist()
                ]
                shown = int(small[members[0, 0]].num_images[members[0, 1]])
                groups.append(packing.Group(rows, members[:, 0].tolist(), shown))
            records += len(entries)
            made.append(
                packing.packed_row(groups, row_len=SMALL_LEN, row_images=images, picture_len=variant.picture_len)
            )
        batch = {key: np.stack([row[key] for row in made]) for key in made[0]}
        batch["images"] = np.zeros((SMALL_ROWS * images, side, side, 3), np.uint8)
        cases[name] = (batch, records)
    cases["padded"] = padded_batch(variant, small), 32
    return cases


def _row_of(variant: Variant, streams: list[Stream], *, source: int, record: int) -> packing.Row:
    lengths = streams[source].lengths
    shown = int(streams[source].num_images[record])
    return lone_row(variant, int(lengths.tokens[record, 0]), int(lengths.targets[record]), images=shown)


def padded_batch(variant: Variant, streams: list[Stream]) -> dict[str, np.ndarray]:
    """Returns 32 rows of one record with one picture each, padded as the full-size presets pad."""
    layout = Layout(prompts.YING_VLM, variant.picture_len, (4,), (5,), (6, 2), (), 1, 2, PADDED_TEXT, 128)
    length, side = layout.row_len(1), variant.vit.image_size
    rows = [_row_of(variant, streams, source=2, record=record) for record in range(32)]  # captions, as a third of M3IT
    batch = {
        name: np.stack(
            [np.pad(row[name], (0, length - len(row[name])), constant_values=-(name[0] == "i")) for row in rows]
        )
        for name in rows[0]
    }
    batch["segment_ids"] = np.stack([(np.arange(length) < len(row["token_ids"])).astype(np.int32) for row in rows])
    for number, index in enumerate(batch["image_token_index"]):
        index[index >= 0] += number * variant.picture_len
    return batch | {"images": np.zeros((32, side, side, 3), np.uint8), "source_index": np.zeros(32, np.int32)}


def records_per_second(streams: list[Stream], repeats: int) -> dict[str, float]:
    """Returns {case: records a second of an update of the small model, best}."""
    config = configuration.load(str(harness.ROOT / f"{STAGE_2}:mini"), [])
    rule = optimizer.make_optimizer(config.optimizer, config.num_steps)
    runs, counts = {}, {}
    for name, (batch, records) in small_batches(streams).items():
        targets = int(batch["loss_mask"].sum(axis=1).max())
        task = objectives.Task(VARIANTS["mini"], "float32", False, (), len(streams), targets)
        objective = objectives.OBJECTIVES["response"]
        params = jax.jit(objective.make_model(task).init)(jax.random.key(0), batch)["params"]
        trainable, frozen = state.split(params, config.trainable)
        current = state.TrainState(np.int32(0), trainable, frozen, rule.init(trainable))
        update = jax.jit(
            step.make_train_step(objective, task, optimizer=rule, rules=sharding.PRESETS[config.mesh.rules], seed=0)
        )
        runs[name] = lambda update=update, current=current, batch=batch: jax.block_until_ready(update(current, batch))
        counts[name] = records
    seconds = harness.interleave(runs, repeats)
    return {name: counts[name] / min(times) for name, times in seconds.items()}


def order_costs(num_records: int) -> dict[str, float]:
    """Returns what the order of so many records costs in time and memory, in words that hold the unit.

    The work is done by one core, and its own seconds are counted: they hardly depend on what else the machine does.
    """
    shape = m3it_shape.streams()
    share = num_records / sum(len(stream.records) for stream in shape)
    streams = [_grown(stream, share) for stream in shape]

    def plan() -> PackedPlan:
        budgets = bins.Budgets(ROW_LEN, ROW_IMAGES, 0)
        return PackedPlan(streams, seed=0, global_batch_size=1, budgets=budgets, shares=True)

    begin = time.process_time()
    made = plan()
    made.step(0)
    first = time.process_time() - begin
    begin = time.process_time()
    plan().step(1_000_000)
    late = time.process_time() - begin
    windows = []
    for start in np.random.default_rng(0).integers(0, 1_000_000, 40).tolist():
        begin = time.process_time()
        made.rows(start, start + 256)
        windows.append(time.process_time() - begin)
    tracemalloc.start()
    held = plan()
    held.step(0)
    kept, most = (size / 2**20 for size in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    return {
        f"records of the order, step of one row of {ROW_LEN} tokens": float(num_records),
        "CPU seconds to the rows of step 0": first,
        "CPU seconds to the rows of step 1,000,000": late,
        "CPU milliseconds of 256 rows anywhere in 1,000,000, median": 1e3 * float(np.median(windows)),
        "CPU milliseconds of 256 rows anywhere in 1,000,000, least": 1e3 * min(windows),
        "CPU milliseconds of 256 rows anywhere in 1,000,000, most": 1e3 * max(windows),
        "MB of the order beside the columns of lengths, after step 0": kept,
        "MB of the order beside the columns of lengths, at most": most,
    }


def _grown(stream: Stream, share: float) -> Stream:
    """Returns the stream with its records repeated under new pictures until there are `share` times as many."""
    size = round(len(stream.records) * share)
    take = np.arange(size) % len(stream.records)
    new = (np.arange(size) // len(stream.records)).astype(np.uint64)
    old = stream.lengths
    keys = old.keys[take] ^ (new << np.uint64(40))
    lengths = Lengths(old.tokens[take], old.targets[take], old.shared[take], keys, old.fits[take])
    images = stream.num_images[take]
    return Stream(stream.source, np.arange(size), lengths, images, float(size), stream.source)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--records", type=int, default=10_000_000)
    args = parser.parse_args()
    machine = harness.machine()
    streams = m3it_shape.streams()
    total = sum(len(stream.records) for stream in streams)
    facts = {
        "shared": packed_facts(make_plan(streams, ROW_IMAGES, shares=True)),
        "records": packed_facts(make_plan(streams, ALONE_IMAGES, shares=False)),
        "padded": padded_facts(streams),
    }
    count = step_flops()
    least = bound(streams)
    # One long row of everything that cannot be saved; its attention is that of rows of the same length.
    ideal = count({**facts["shared"], "row_images": least["images"] / least["tokens"] * ROW_LEN})
    ideal *= least["tokens"] / ROW_LEN / 1e18
    rates = records_per_second(streams, args.repeats)
    names = {"shared": "packed, pictures shared", "records": "packed, none shared", "padded": "one record, padded"}
    rows: list[dict[str, Any]] = []
    for name, row in facts.items():
        eflop = count(row) * total / row["records_per_row"] / 1e18
        rows.append({**row, "rows": names[name], "eflop": eflop, "records_per_s": rates[name]})
    for row in rows:
        row["times"] = row["eflop"] / rows[0]["eflop"]
        row["row_len"], row["row_images"] = round(row["row_len"]), round(row["row_images"], 2)
    references = {
        "records of an epoch": float(total),
        "EFLOP of an epoch without padding, every picture in one row alone (the bound)": ideal,
        "share of that in the operations of shared rows": ideal / rows[0]["eflop"],
        **order_costs(args.records),
    }
    harness.finish("packing", machine=machine, references=references, columns=COLUMNS, rows=rows)


if __name__ == "__main__":
    main()
