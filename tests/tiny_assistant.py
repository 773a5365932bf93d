"""An assistant of the variant `tiny` with random parameters and a vocabulary of its own, made once for all tests."""

import functools
import io
import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from m3it_jax import checkpointing, config, parameter_paths, tokenizer
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.sampler import Sampler
from m3it_jax.models import variants, vlm

TEXTS = [
    "\n<human>:\nWhat colour is the circle?\n\n<bot>:\na blue circle\n",
    "\n<human>:\n这是什么颜色？\n\n<bot>:\n蓝色\n",
    "<Img></Img> a handwritten seven stands left of a small three, which is larger, left or right",
]


@functools.cache
def words() -> tokenizer.Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        return tokenizer.train(TEXTS * 20, Path(folder) / "tokenizer.model", 400)


@functools.cache
def tiny() -> tuple[vlm.VLM, dict]:
    """Returns the model and parameters whose scores are spread enough that no two tokens are nearly equal."""
    model = vlm.make_vlm(variants.VARIANTS["tiny"])
    rows = {k: jnp.zeros((1, 2), jnp.int32) for k in ("token_ids", "image_token_index", "positions", "segment_ids")}
    batch = {"images": jnp.zeros((1, 64, 64, 3), jnp.uint8), **rows}
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    return model, jax.tree.map(lambda leaf: leaf * 2.0, params)


def make(max_rows: int = 8, tiles: int = 1) -> Assistant:
    return Assistant(Sampler(*tiny(), words(), max_rows=max_rows, tiles=tiles), {}, 0)


def picture(seed: int = 0, size: int = 64, width: int = 0) -> Image.Image:
    """Returns a picture of noise, `size` pixels high and, if no width is given, as wide."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, width or size, 3), dtype=np.uint8))


def png(seed: int = 0, **sides: int) -> bytes:
    stream = io.BytesIO()
    picture(seed, **sides).save(stream, "PNG")
    return stream.getvalue()


def mixed_requests(**sampling) -> list[dict]:
    """Returns requests of several prompt lengths and numbers of pictures."""
    return [
        {"instruction": "What colour is the circle? " + "left or right " * number, "images": images, **sampling}
        for number, images in enumerate(([png(1)], [png(2), png(3)], [], [png(1)], [png(n) for n in range(4)]))
    ]


def write_run(folder: Path, *, variant: str = "tiny") -> Path:
    """Writes a run folder with a checkpoint of `tiny` at step 7, as training does, and returns it."""
    _, params = tiny()
    folder.mkdir(parents=True)
    settings = config.Experiment(model=config.ModelConfig(variant=variant))
    (folder / "config.json").write_text(json.dumps(config.to_dict(settings)))
    with checkpointing.open_manager(folder, keep=1) as manager:
        checkpointing.save(manager, 7, {"params": parameter_paths.flatten(params)}, position={})
    write_tokenizer(folder / "tokenizer.model")
    return folder


def write_tokenizer(path: Path, vocab_size: int = 400) -> None:
    texts = TEXTS * 20 if vocab_size <= 400 else [f"{number:x} {number * 7919:x}" for number in range(20_000)]
    tokenizer.train(texts, path, vocab_size)
