"""What the whole program makes of the probes: its prepared pictures and its greedy answer, as a user gets them."""

import dataclasses
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from m3it_jax import checkpointing, errors, prompts
from m3it_jax.checkpoint_conversion.certificate import probes
from m3it_jax.generation import assistant, pictures
from m3it_jax.generation.request import Request
from m3it_jax.models import variants, vlm
from m3it_jax.models.variants import Variant

INSTRUCTION, PICTURE, OTHER_PICTURE = "Describe the picture.", "odd size", "noise"
NUM_NEW_TOKENS = 32  # CHOICE: long enough for a wrong position or cache to show

_SPARE = 1.5  # CHOICE: memory for activations, caches and the compiler, as a share of the parameters


@dataclasses.dataclass(frozen=True)
class Answer:
    """A greedy answer to the probe picture.

    Attributes:
      row: What the language model read: token ids, -1 for each position of the picture.
      text: What the Q-Former read beside the picture; empty where it reads no text.
      new_ids: The answer's ids, the end mark included.
      num_ids: Ids that could be chosen.
      output: The answer in words.
    """

    row: list[int]
    text: str
    new_ids: list[int]
    num_ids: int
    output: str


def variant_of(run: Path, config: Mapping[str, Any]) -> Variant:
    """Returns the model of a checkpoint.

    Raises:
      UserError: its folder does not say, or names one that is not known.
    """
    if (run / variants.MODEL_FILE).is_file():
        return variants.read(run)
    fields = config.get("model")
    name = fields.get("variant") if isinstance(fields, Mapping) else None
    if name not in variants.VARIANTS:
        raise errors.UserError(
            f"{run / checkpointing.CONFIG_FILE}: model.variant={name!r} is not known; give a folder made by "
            "`m3it weights import`, or a run folder"
        )
    return variants.VARIANTS[name]


def picture(name: str = PICTURE) -> io.BytesIO:
    """Returns a probe picture, encoded."""
    return io.BytesIO(probes.pictures()[name])


def prepare(data: bytes, variant: Variant) -> np.ndarray:
    """Returns an encoded picture as the model takes it, normalised float32 [3, h, w]."""
    pixels = pictures.read([data])[0].pixels(variant.vit.image_size, variant.vit.image_fit)
    return np.moveaxis(np.asarray(vlm.normalise_pixels(jnp.asarray(pixels)[None], variant.vit))[0], -1, 0)


def answer(checkpoint: Path, variant: Variant, params: Mapping[str, np.ndarray]) -> Answer | str:
    """Returns the greedy answer of a checkpoint, or why there is none.

    Raises:
      UserError: the checkpoint cannot be loaded.
    """
    needed, free = sum(array.nbytes for array in params.values()) * _SPARE, _free_bytes()
    if needed > free:
        return f"the whole model needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
    asked = assistant.load(checkpoint, max_rows=1)
    sampler = asked.sampler
    if sampler.model.decoder.dtype != jnp.float32:
        return f"the checkpoint computes in {jnp.dtype(sampler.model.decoder.dtype).name}, not in float32"
    request = {"instruction": INSTRUCTION, "images": [picture().getvalue()], "max_new_tokens": NUM_NEW_TOKENS}
    prepared = sampler.prepare(Request.of(request))
    ((_, new_ids),) = sampler.answers([prepared])
    shown = prepared.row["image_token_index"] >= 0
    prompt = prompts.FORMATS[variant.prompt]
    return Answer(
        row=np.where(shown, -1, prepared.row["token_ids"]).tolist(),
        text=prompt.prompt(INSTRUCTION, "") if prompt.qformer_reads_prompt else "",
        new_ids=list(new_ids),
        num_ids=sampler.num_ids,
        output=asked.text(new_ids),
    )


def _free_bytes() -> float:
    """Returns the memory that may be taken, without limit where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
        known = all(name in os.sysconf_names for name in names)
        return float(os.sysconf(names[0]) * os.sysconf(names[1])) if known else float("inf")
