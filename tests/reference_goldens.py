"""The stored checkpoints of tests/golden/hf and what transformers computes on them, for tests of several folders."""

import contextlib
import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from m3it_jax.checkpoint_conversion.configs import hf_config
from m3it_jax.checkpoint_conversion.names import families, mapping
from m3it_jax.models import vlm
from m3it_jax.models.variant import Variant

STORED = pathlib.Path(__file__).parent / "golden" / "hf"
# Each is a whole model; minigpt4 has the vision tower and Q-Former of blip2_t5, the language model of llama.
WHOLE = ("blip2_opt", "blip2_t5", "ying_vlm", "instructblip_llama", "instructblip_t5", "llava", "minigpt4")
ENCODER_DECODERS = ("blip2_t5", "instructblip_t5")
PICTURE, PADDING = -1, -2

LAYER, LOGITS = 1e-5, 1e-4  # largest difference; beyond a size of 1 the layer's is relative to the largest value

PARTS = {
    "vit/layers": "ViTBlock",
    "qformer/layers": "QFormerBlock",
    "encoder/layers": "EncoderBlock",
    "decoder/layers": "DecoderBlock",
}


def read_json(path: pathlib.Path) -> dict:
    """Returns the values of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def golden(family: str, folders: pathlib.Path = STORED) -> dict[str, np.ndarray]:
    """Returns the arrays of golden.npz; the docstring of tests/reference/make_golden.py says what they are."""
    with np.load(folders / family / "golden.npz") as arrays:
        return dict(arrays)


def notes(family: str) -> dict:
    """Returns the values of golden.json: texts, ids, settings."""
    return read_json(STORED / family / "golden.json")


def variant_of(family: str, folders: pathlib.Path = STORED) -> Variant:
    """Returns the variant that a folder's configuration describes."""
    if family == "minigpt4":
        base = variant_of("blip2_t5", folders)
        config = read_json(folders / "llama" / "config.json")
        decoder = hf_config.recognise_part("decoder", config, where="llama")
        return dataclasses.replace(base, decoder=decoder, prompt="minigpt4")
    where, folder = str(folders / family), folders / family
    preprocessor = read_json(folder / "preprocessor_config.json")
    return hf_config.recognise(read_json(folder / "config.json"), where=where, preprocessor=preprocessor)[1]


def tensors_of(family: str, folders: pathlib.Path = STORED) -> dict[str, np.ndarray]:
    """Returns the tensors of a folder under their canonical names."""
    if family == "minigpt4":
        base, language = tensors_of("blip2_t5", folders), load_file(folders / "llama" / "model.safetensors")
        kept = {key: value for key, value in base.items() if not key.startswith("language_")}
        tensors = kept | language | load_file(folders / family / "projection.safetensors")
    else:
        tensors = load_file(folders / family / "model.safetensors")
    names = mapping.canonical_keys(tensors, families.aliases(variant_of(family, folders)), where=family)
    return {name: tensors[found] for name, found in names.items()}


@functools.cache
def parameter_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """Returns {path: shape} of a variant's parameters, without making them."""
    edge, text = variant.vit.image_size, {}
    if variant.qformer is not None and variant.qformer.text_vocab_size:
        text = {"text_ids": jnp.zeros((1, 3), jnp.int32), "text_mask": jnp.ones((1, 3), bool)}
    row = jnp.zeros((1, 4), jnp.int32)
    batch = {"images": jnp.zeros((1, edge, edge, 3), jnp.uint8), **text, "token_ids": row, "image_token_index": row}
    batch |= {"positions": row, "segment_ids": row + 1}
    tree = jax.eval_shape(lambda: vlm.make_vlm(variant).init(jax.random.key(0), batch))["params"]
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}


def parameters_of(family: str, folders: pathlib.Path = STORED) -> tuple[Variant, dict]:
    """Returns (variant, parameters as a nested dictionary) of a folder, read in memory."""
    variant = variant_of(family, folders)
    entries = families.entries(variant)
    flat = mapping.to_ours(entries, tensors_of(family, folders), parameter_shapes(variant))
    return variant, nested(flat)


def nested(flat: dict[str, np.ndarray]) -> dict:
    """Returns {"a/b": x} as {"a": {"b": x}}."""
    tree: dict = {}
    for path, value in flat.items():
        *parents, last = path.split("/")
        here = tree
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = jnp.asarray(value)
    return tree


def batch_of(stored: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Returns the model's input for the rows of a golden file: pictures as the reference's processor made them."""
    rows = stored["token_ids"]
    shown = rows == PICTURE
    index = np.where(shown, np.cumsum(shown).reshape(rows.shape) - 1, -1)  # row after row, as the pictures are
    batch = {
        "token_ids": jnp.asarray(np.maximum(rows, 0)),
        "image_token_index": jnp.asarray(index, jnp.int32),
        "positions": jnp.asarray(np.broadcast_to(np.arange(rows.shape[1]), rows.shape), jnp.int32),
        "segment_ids": jnp.asarray(rows != PADDING, jnp.int32),
    }
    if "pixel_values" in stored:
        batch["images"] = jnp.asarray(stored["pixel_values"].transpose(0, 2, 3, 1))
    if "qformer_ids" in stored:
        batch["text_ids"] = jnp.asarray(stored["qformer_ids"], jnp.int32)
        batch["text_mask"] = jnp.asarray(stored["qformer_mask"], bool)
    return batch


@contextlib.contextmanager
def block_outputs(*names: str) -> Iterator[dict[str, list[np.ndarray]]]:
    """Collects what modules of these class names give out, also inside a scan; ready when the context is left."""
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def note(next_function, arguments, options, context):
        result = next_function(*arguments, **options)
        name = type(context.module).__name__
        if name in seen and context.method_name == "__call__":
            first = result[0] if isinstance(result, tuple) else result
            jax.debug.callback(lambda value: seen[name].append(np.asarray(value)), first, ordered=True)
        return result

    with nn.intercept_methods(note):
        yield seen
    jax.effects_barrier()


def _compare(ours: np.ndarray, theirs: np.ndarray, what: str, tolerance: float) -> None:
    assert ours.shape == theirs.shape, what
    size = max(1.0, float(np.abs(theirs).max()))
    assert np.abs(ours - theirs).max() <= tolerance * size, f"{what}: {np.abs(ours - theirs).max()} at size {size}"


def check_layers_and_logits(family: str, stored: dict[str, np.ndarray], variant, params) -> None:
    """Compares every block, the parts' outputs and the logits with those of the reference."""
    model = vlm.make_vlm(variant)
    batch = batch_of(stored)
    real = {"encoder/layers": np.asarray(batch["segment_ids"]) > 0}
    real["decoder/layers"] = real["encoder/layers"]
    if "decoder_ids" in stored:
        batch["decoder_ids"] = stored["decoder_ids"]
        real["decoder/layers"] = np.ones(stored["decoder_ids"].shape, bool)

    def compute(params, batch):
        # Noted where it is called: the pictures are computed once.
        logits, noted = model.apply(
            {"params": params}, batch, capture_intermediates=lambda _, name: name == "encode_images"
        )
        return noted["intermediates"]["encode_images"][0], logits

    with block_outputs("ViT", *PARTS.values()) as seen:
        pictures, logits = jax.block_until_ready(jax.jit(compute)(params, batch))
    _compare(seen["ViT"][0], stored["vit/output"], f"{family} vit/output", LAYER)
    for name, kind in PARTS.items():
        if name not in stored:
            continue
        theirs = stored[name]
        ours = np.stack(seen[kind][: len(theirs)])
        if name == "qformer/layers":
            ours = ours[:, :, : theirs.shape[2]]  # the queries; the text goes no further
        keep = real[name][None, :, :, None] if name in real else True
        for layer, (our_layer, their_layer) in enumerate(zip(ours * keep, theirs, strict=True)):
            _compare(our_layer, their_layer, f"{family} {name} {layer}", LAYER)
    _compare(np.asarray(pictures), stored["projection"], f"{family} projection", LAYER)
    asked = np.take_along_axis(np.asarray(logits), stored["logit_positions"][:, :, None], axis=1)
    assert np.abs(asked - stored["logits"]).max() <= LOGITS
