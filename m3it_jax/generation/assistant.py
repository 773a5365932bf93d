"""What `m3it_jax.load` returns: a trained model that answers about pictures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import checkpointing, errors, parameter_paths, prompts
from m3it_jax import config as config_lib
from m3it_jax import tokenizer as tokenization
from m3it_jax.generation import layered, streaming
from m3it_jax.generation.request import Request, SamplingConfig
from m3it_jax.generation.sampler import Sampler
from m3it_jax.generation.session import Session
from m3it_jax.models import abstract, quantization, variants, vlm

# CHOICE: more rows gave no more answers a second on two cores with variant mini.
_MAX_ROWS = 128


class Assistant:
    """Answers instructions about pictures. Requests of any length share batches and compiled programs.

    Attributes:
      sampler: What runs the model.
      config: The configuration that the checkpoint was trained with, as JSON values.
      step: Optimiser updates of the checkpoint.
    """

    def __init__(self, sampler: Sampler, config: Mapping[str, Any], step: int):
        """Takes the parts; `load` makes one from a checkpoint."""
        self.sampler, self.config, self.step = sampler, config, step

    def __repr__(self) -> str:
        count = sum(leaf.size for leaf in jax.tree.leaves(self.sampler.params))
        variant = self.config.get("model", {}).get("variant", "a model")
        device = jax.devices()[0]
        return f"<Assistant {variant}, step {self.step}, {count:,} parameters, on {device.platform}>"

    def generate(self, instruction: str, inputs: str = "", images: Sequence[Any] = (), **sampling: Any) -> str:
        """Returns one answer.

        Args:
          instruction: What to do.
          inputs: The text that the instruction is about (a question, options); may be empty.
          images: Pictures in order (a video is its frames): PIL images, paths, encoded PNG or JPEG bytes, or float32
            arrays [3, h, w] that are normalised already. `video=PATH` shows 8 frames of an animated GIF, WebP or PNG or
            of a folder.
          **sampling: Fields of `request.SamplingConfig`: max_new_tokens=32, temperature=0.0 (greedy), num_beams=1,
            top_k, top_p, repetition_penalty, min_new_tokens, length_penalty, early_stopping, stop=[], seed. In a
            conversation also `turns`, `new_pictures` and `system` of `request.Request`.

        Raises:
          ConfigError: an unknown setting or a value that is not allowed; an empty instruction.
          UserError: an unreadable picture, or more than the model can hold.
        """
        return self.generate_batch([{"instruction": instruction, "inputs": inputs, "images": images, **sampling}])[0]

    def generate_batch(self, requests: Sequence[Mapping[str, Any]]) -> list[str]:
        """Returns the answers to requests, in their order; each request is a dict of the arguments of `generate`.

        An answer does not depend on the other requests. A picture that several requests show is encoded once.

        Raises:
          ConfigError: as `generate`.
          UserError: as `generate`, with the number of the request where it is known.
        """
        answers = [""] * len(requests)
        for number, answer in self.stream_batch(requests):
            answers[number] = answer
        return answers

    def stream_batch(self, requests: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
        """Yields (number of the request, its answer) as batches are finished, the longest prompts first.

        Raises:
          ConfigError: as `generate`.
          UserError: as `generate_batch`.
        """
        prepared = [self.sampler.prepare(Request.of(request)) for request in requests]
        for number, ids in self.sampler.answers(prepared):
            yield number, self.text(ids, prepared[number].sampling.stop)

    def stream(self, instruction: str, inputs: str = "", images: Sequence[Any] = (), **sampling: Any) -> Iterator[str]:
        """Yields the pieces of one answer as its tokens are made; joined and stripped they are what `generate` returns.

        The arguments are those of `generate`; `num_beams` must be 1.

        Raises:
          ConfigError: as `generate`, or more beams, whose tokens are known only at the end.
          UserError: as `generate`.
        """
        request = Request.of({"instruction": instruction, "inputs": inputs, "images": images, **sampling})
        if request.sampling.num_beams > 1:
            raise errors.ConfigError(
                f"num_beams={request.sampling.num_beams}: beams end all at once; set it to 1 to stream"
            )
        prepared = self.sampler.prepare(request)
        return streaming.pieces(
            self.session().stream_row(prepared),
            self.sampler.tokenizer.decode,
            self.sampler.answer_format(request.sampling),
        )

    def text(self, ids: Sequence[int], stop: Sequence[str] = ()) -> str:
        """Returns the answer in generated token ids, cut at the family's stop texts and these."""
        asked = self.sampler.answer_format(SamplingConfig(stop=stop))
        return asked.answer(self.sampler.tokenizer.decode(ids))

    def log_likelihood(
        self,
        instruction: str,
        inputs: str = "",
        images: Sequence[Any] = (),
        response: str | None = None,
        *,
        video: Any = None,
    ) -> float:
        """Returns the sum of log p (natural, float32) of the response's tokens, its newline and end id included.

        `log_likelihood("What is it?", images=["photo.png"], response="a circle")` needs no empty `inputs`.

        Raises:
          ConfigError: an empty instruction, or no response.
          UserError: as `generate`.
        """
        if response is None:
            raise errors.ConfigError(
                "response: is missing; give the text whose likelihood is wanted, as response='...'"
            )
        request = Request.of({"instruction": instruction, "inputs": inputs, "images": images, "video": video})
        return self.sampler.log_likelihood(request, response)

    def logits(
        self,
        images: Sequence[Any],
        token_ids: Sequence[int],
        *,
        decoder_ids: Sequence[int] | None = None,
        qformer_text: str = "",
    ) -> np.ndarray:
        """Returns float32 [T, V]: the scores of the next token after every position.

        The positions are those of the pictures' blocks (opening marks, query tokens, closing marks), then `token_ids`,
        which are taken as they are: the begin id is the caller's. In ids that have image placeholders, the pictures
        stand there instead.

        Args:
          images: Pictures in order, as `generate` takes them.
          token_ids: The ids that the family's reference takes.
          decoder_ids: What an encoder-decoder model writes, the start token first; the positions are then theirs.
          qformer_text: What a Q-Former that reads text reads beside the pictures.

        Raises:
          UserError: an id outside the vocabulary, an unreadable picture, or more than the model can hold.
        """
        return self.sampler.logits(images, token_ids, decoder_ids, qformer_text=qformer_text)

    def session(self) -> Session:
        """Returns the memory of one conversation, which computes pictures and earlier turns once."""
        return Session(self.sampler)


def load(
    checkpoint: str | Path, *, max_rows: int = _MAX_ROWS, dtype: str | None = None, decoder_weights: str | None = None
) -> Assistant:
    """Returns the assistant of a checkpoint.

    Args:
      checkpoint: A run folder (its newest checkpoint), a quick-start folder (its stage 2), one checkpoint folder, or a
        folder made by `m3it weights import`.
      max_rows: Most rows that are decoded together, counting each beam; fewer need less memory.
      dtype: Type of the parameters, `float32` or `bfloat16`; None keeps what is stored.
      decoder_weights: `int8` keeps the language model's kernels as whole numbers, a quarter of float32's memory, at
        some cost in quality (docs/performance.md); None keeps them as the other parameters.

    Raises:
      ConfigError: `dtype` is another type, or `decoder_weights` another word.
      UserError: there is no checkpoint, it is damaged, it holds another model than its config.json says, or its
        tokenizer is missing or does not fit.
    """
    fits, allowed = config_lib.CHECKS["model.frozen_dtype"]
    if dtype is not None and not fits(dtype):
        raise errors.ConfigError(f"dtype={dtype!r}: must be {allowed}")
    if decoder_weights not in (None, "int8"):
        raise errors.ConfigError(f"decoder_weights={decoder_weights!r}: must be int8, or None to keep what is stored")
    location = checkpointing.locate(checkpoint)
    run = location.run
    params, config, step = checkpointing.restore_params(checkpoint)
    variant, model = _model_of(config, run)
    path = tokenization.find(run)
    tokenizer = _tokenizer(path, variant.decoder.vocab_size, is_needed=not location.is_imported)
    params = _checked(params, abstract.parameters(variant), run)
    if decoder_weights == "int8":
        params = quantization.quantize(params)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def place(leaf: np.ndarray) -> jax.Array:
        kind = dtype if dtype and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype
        return checkpointing.placed(leaf, jnp.dtype(kind), device)

    model, params = layered.of(model, params, used_up=True, place=place)
    qformer_path = tokenization.find_qformer(path)
    sampler = Sampler(
        model,
        params,
        tokenizer,
        max_rows=max_rows,
        prompt_format=prompts.FORMATS[variant.prompt],
        image_token_id=_image_token_id(run, tokenizer),
        qformer_tokenizer=tokenization.Tokenizer.load(qformer_path) if qformer_path.is_file() else None,
        stop_ids=_stop_ids(config),
        num_ids=variant.decoder.vocab_size if _is_foreign(location, config) else None,
        tiles=config_lib.stored_tiles(config),
    )
    return Assistant(sampler, config, step)


def _tokenizer(path: Path, num_embedded: int, *, is_needed: bool) -> tokenization.Tokenizer:
    """Returns the tokenizer of a checkpoint; imported weights without one still give scores for ids.

    Raises:
      UserError: it is missing and needed, or has more pieces than the model embeds.
    """
    if not is_needed and not path.is_file():
        return tokenization.NoTokenizer(path, num_embedded)
    tokenizer = tokenization.Tokenizer.load(path)
    if tokenizer.vocab_size > num_embedded:
        raise errors.UserError(
            f"{path}: has {tokenizer.vocab_size} pieces, the model of {path.parent} has room for {num_embedded}; put "
            "the tokenizer back that it was trained with"
        )
    return tokenizer


def _stop_ids(config: Mapping[str, Any]) -> list[int]:
    """Returns the ids that end answers of imported weights, as their files say; [] of a model that was trained here."""
    weights = config.get("weights")
    found = weights.get("stop_ids", []) if isinstance(weights, Mapping) else []
    return [one for one in found if type(one) is int] if isinstance(found, list) else []


def _is_foreign(location: checkpointing.Location, config: Mapping[str, Any]) -> bool:
    """Returns whether the weights, or those that a run began with, were imported.

    Such a vocabulary often has spare rows behind the tokenizer's ids, and the reference may choose one of them.
    """
    fields = config.get("model")
    name = fields.get("variant") if isinstance(fields, Mapping) else None
    return location.is_imported or name not in variants.VARIANTS


def _image_token_id(run: Path, tokenizer: tokenization.Tokenizer) -> int | None:
    """Returns the id that stands for a picture's positions in the ids of the reference, if it has one.

    Imported weights say it themselves; for others it is what an export of them writes.
    """
    path = run / "hf" / checkpointing.CONFIG_FILE
    if not path.is_file():
        return tokenizer.image_id
    found = json.loads(path.read_text("utf-8-sig"))
    return found.get("image_token_index", found.get("image_token_id"))


def _model_of(config: Mapping[str, Any], run: Path) -> tuple[variants.Variant, vlm.VLM]:
    fields = config.get("model")
    fields = fields if isinstance(fields, dict) else {}
    name, dtype = fields.get("variant"), fields.get("compute_dtype", "float32")
    if (run / variants.MODEL_FILE).is_file():
        variant = variants.read(run)
    elif isinstance(name, str) and name in variants.VARIANTS:
        variant = variants.VARIANTS[name]
    else:
        raise errors.UserError(
            f"{run / checkpointing.CONFIG_FILE}: model.variant={name!r} is not one of {', '.join(variants.VARIANTS)}, "
            f"and there is no {variants.MODEL_FILE}; the checkpoint is of another version or no model of this program"
        )
    fits, allowed = config_lib.CHECKS["model.compute_dtype"]
    if not fits(dtype):
        raise errors.UserError(
            f"{run / checkpointing.CONFIG_FILE}: model.compute_dtype={dtype!r} must be {allowed}; restore the file"
        )
    return variant, vlm.make_vlm(variant, dtype=dtype)


def _checked(params: Mapping[str, Any], wanted: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """Returns the parameters that the model has, after comparing each with `wanted` {path: shape}.

    Raises:
      UserError: one is missing or has another shape.
    """
    found = parameter_paths.flatten(params)
    for path, shape in wanted.items():
        if path not in found or tuple(found[path].shape) != tuple(shape.shape):
            held = f"has shape {tuple(found[path].shape)}" if path in found else "is missing"
            raise errors.UserError(
                f"{run}: parameter {path} {held}, the model needs {tuple(shape.shape)}; "
                f"{checkpointing.CONFIG_FILE} does not fit this checkpoint"
            )
    return parameter_paths.unflatten({path: found[path] for path in wanted})
