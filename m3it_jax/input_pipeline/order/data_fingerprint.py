"""What the rows of a run depend on, as one hash and part by part."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from m3it_jax import config as configuration
from m3it_jax import prompts, records, schema
from m3it_jax import tokenizer as tokenization
from m3it_jax.input_pipeline.order import packed_plan
from m3it_jax.input_pipeline.rows import transforms


@dataclasses.dataclass(frozen=True)
class Rows:
    """What rows are made of, beside the records.

    Attributes:
      objective: `response` or `towers`.
      data: The configuration of the data.
      layout: Where tokens stand in a row.
      image: Side of the pictures in pixels, and how they become squares.
      tokenizers: The language model's, then the Q-Former's if it reads text.
      seed: Of the run.
    """

    objective: str
    data: configuration.DataConfig
    layout: transforms.Layout
    image: tuple[int, str]
    tokenizers: Sequence[tokenization.Tokenizer]
    seed: int


def whole(rows: Rows, folder: records.DataFolder, *, sources: Sequence[str], plan: str) -> str:
    """Returns the hash that changes whenever the rows of a step would.

    Args:
      rows: What they are made of.
      folder: Where the records are.
      sources: The mixture's, sorted.
      plan: Hash of the order.
    """
    data, (size, fit) = rows.data, rows.image
    pools = [folder.sources[name].instructions for name in sources]
    facts: dict[str, Any] = {
        "plan": plan,
        "rows": [rows.objective, data.split, data.picture_as],
        "sources": [(name, folder.sources[name].fingerprint) for name in sources],
        "pools": pools if data.redraw_instructions else None,
        "attributes": folder.attributes if rows.objective == "towers" else None,
        "layout": rows.layout.facts(),
        # Of towers that stretch as runs are stored with: the size alone.
        "image_size": size if fit == "stretch" else [size, fit],
        "augment": dataclasses.asdict(data.augment),
    }
    if data.supervised_answers != "all":  # runs from before there was a choice have one answer a row
        facts["supervised_answers"] = data.supervised_answers
    if data.validation_share:
        facts["validation_share"] = data.validation_share
    versions = [schema.SCHEMA_VERSION, prompts.TEMPLATE_VERSION, *(one.fingerprint for one in rows.tokenizers)]
    return _hash([facts, versions])


def parts(rows: Rows, folder: records.DataFolder, *, sources: Sequence[str]) -> dict[str, str]:
    """Returns the hashes of the parts by what a user calls them, so that a change can be named."""
    data, layout = rows.data, rows.layout.facts()
    tiles = layout.pop("tiles", None)
    shape = [data.temperature, data.source_cap] if data.temperature != 1 or data.source_cap else []
    version = [packed_plan.VERSION] if data.packing in configuration.PACKED else []
    found: dict[str, Any] = {
        "records": [data.split, data.validation_share, [(name, folder.sources[name].fingerprint) for name in sources]],
        "instructions": [data.redraw_instructions, [folder.sources[name].instructions for name in sources]],
        "tokenizer": [one.fingerprint for one in rows.tokenizers],
        "template and limits": [prompts.TEMPLATE_VERSION, layout, data.supervised_answers],
        "mixture": [sources, data.mixture, data.allow, data.weight_by, *shape],
        "packing": [data.packing.replace("off", "none"), data.row_len, data.row_images, data.too_long, *version],
        "batch sizes": [data.global_batch_size, data.max_images],
        "pictures": [rows.image, data.picture_as, dataclasses.asdict(data.augment)],
        "objective": rows.objective,
        "seed": rows.seed,
    }
    if tiles:  # runs from before there were tiles have no such part
        found["tiles"] = tiles
    return {name: _hash(value)[:16] for name, value in found.items()}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
