"""Source -> drafts -> boxes -> encoding -> id and instruction -> check: a stream of Instances for each split."""

import collections
import dataclasses
import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from m3it_jax import schema
from m3it_jax.dataset_building import boxes, instructions, quality
from m3it_jax.dataset_building.specification import Assets, Draft, SourceSpec


@dataclasses.dataclass
class Stream:
    """The records of one source, and what was seen on the way.

    Attributes:
      spec: The source.
      assets: Folders of the packages it reads.
      seed: Decides splits, drawings and instructions.
      limit: Most records of a split; None for all.
      on_record: Called after each record, for progress.
      rejected: Number of drafts that were left out, by reason.
      attributes: Values of each attribute seen in the train split.
    """

    spec: SourceSpec
    assets: Assets
    seed: int
    limit: int | None = None
    on_record: Callable[[], None] = lambda: None
    rejected: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    attributes: dict[str, set[str]] = dataclasses.field(default_factory=dict)

    def instances(self, split: str) -> Iterator[schema.Instance]:
        """Yields the sound records of a split in the source's order; the others are counted in `rejected`."""
        rows = self.spec.rows[split] if self.limit is None else min(self.limit, self.spec.rows[split])
        pool = instructions.pool(self.spec.pool)
        seen: set[str] = set()
        for draft in itertools.islice(self.spec.drafts(self.assets, split, self.seed), rows):
            try:
                images = encoded(draft)
            except ValueError as error:
                self.rejected[f"box: {error}"] += 1
                continue
            instance = instance_of(draft, images, spec=self.spec, pool=pool, seed=self.seed)
            drawn = not any(isinstance(image, bytes) for image in draft.images)  # by us, so it can be decoded
            broken = schema.problems(instance) if drawn else quality.problems(instance)
            reasons = ["duplicate-id"] if instance.id in seen else [code for code, _ in broken]
            if reasons:
                self.rejected.update(reasons[:1])
                continue
            seen.add(instance.id)
            if split == "train":
                for name, value in draft.attributes.items():
                    self.attributes.setdefault(name, set()).add(value)
            self.on_record()
            yield instance


def encode_png(picture: np.ndarray) -> bytes:
    """Returns a uint8 picture [h, w, 3] as PNG.

    Unfiltered rows at zlib level 1: for small drawings this takes half the time of Pillow's writer and is a tenth
    larger. Chunks as in the PNG specification (ISO/IEC 15948), section 11.
    """
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter, 0 is none
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, no interlace
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        parts += [struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(name + data))]
    return b"".join(parts)


def encoded(draft: Draft) -> tuple[bytes, ...]:
    """Returns the draft's pictures as PNG or as they were given, the boxes drawn into the first.

    Raises:
      ValueError: a box lies outside the picture.
    """
    images = list(draft.images)
    for box in draft.boxes:
        first = images[0]
        pixels = np.asarray(Image.open(io.BytesIO(first)).convert("RGB")) if isinstance(first, bytes) else first
        images[0] = boxes.draw_box(pixels, box)
    return tuple(image if isinstance(image, bytes) else encode_png(image) for image in images)


def instance_of(
    draft: Draft, images: tuple[bytes, ...], *, spec: SourceSpec, pool: tuple[str, ...], seed: int
) -> schema.Instance:
    """Returns the record of a draft. Its id comes from skill, texts and pictures, so a rebuild gives the same."""
    record_id = schema.content_id(spec.name, draft.skill, draft.inputs, draft.outputs, *images)
    return schema.Instance(
        id=record_id,
        source=spec.name,
        task=spec.task,
        language=draft.language or spec.language,
        instruction=instructions.choose(pool, seed, record_id),
        inputs=draft.inputs,
        outputs=draft.outputs,
        images=images,
        meta=draft.meta(),
    )
