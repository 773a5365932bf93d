"""generation_config.json: which ids end an answer and what an encoder-decoder model begins with; the rest is told.

transformers generates with all of that file. Here the ids are taken over, and how an answer is decoded is the caller's:
a value that would change it is named, so that nobody takes two ways of decoding for two models. Source: transformers
5.24, generation/configuration_utils.py.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from m3it_jax.checkpoint_conversion.configs.hf_values import Values
from m3it_jax.safetensors_files import short

# Fields that change no answer, or are read elsewhere.
_SILENT = {
    "_from_model_config",
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "max_length",  # the length of the whole row; here `max_new_tokens` is always given
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "pad_token_id",
    "return_dict_in_generate",
    "transformers_version",
    "trust_remote_code",
    "use_cache",
}
# Values that mean what is done anyway (`GenerationConfig._get_default_generation_params`).
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "num_beam_groups": (1,),
    "repetition_penalty": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    "length_penalty": (1.0,),
    "diversity_penalty": (0.0,),
    "min_length": (0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "early_stopping": (False,),
    "remove_invalid_values": (False,),
    "renormalize_logits": (False,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "typical_p": (1.0,),
}
_OF_DRAWING = {"temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"}


@dataclasses.dataclass(frozen=True)
class Generation:
    """What a folder says of generating.

    Attributes:
      stop_ids: Ids of which each ends an answer; () where no file says it.
      start_id: What an encoder-decoder model begins with; None where the file does not say it.
      notes: What is not taken over, a line each.
    """

    stop_ids: tuple[int, ...] = ()
    start_id: int | None = None
    notes: tuple[str, ...] = ()


def read(file: Mapping[str, Any] | None, config: Mapping[str, Any], *, vocab_size: int, where: str) -> Generation:
    """Returns what the files of a folder say of generating.

    Args:
      file: The values of generation_config.json; None if there is none: then transformers takes the ids of config.json.
      config: The values of config.json.
      vocab_size: Ids that the model knows.
      where: The folder, for messages.

    Raises:
      UserError: an id is no id of the vocabulary.
    """
    if file is None:
        text = config.get("text_config")
        inner = text if isinstance(text, Mapping) else {}
        found = config.get("eos_token_id")
        values = Values({"eos_token_id": inner.get("eos_token_id") if found is None else found}, f"{where}/config.json")
        return Generation(_ids(values, vocab_size))
    values = Values(file, f"{where}/generation_config.json")
    start = file.get("decoder_start_token_id")
    return Generation(
        stop_ids=_ids(values, vocab_size),
        start_id=None if start is None else values.whole("decoder_start_token_id", 0, low=0, high=vocab_size - 1),
        notes=tuple(_notes(file)),
    )


def _ids(values: Values, vocab_size: int) -> tuple[int, ...]:
    found = values.get("eos_token_id", [])
    listed = found if isinstance(found, list) else [found]
    if not all(type(one) is int and 0 <= one < vocab_size for one in listed):
        values.refuse("eos_token_id", found, f"an id from 0 to {vocab_size - 1}, or a list of them,")
    return tuple(dict.fromkeys(listed))


def _notes(file: Mapping[str, Any]) -> list[str]:
    draws = file.get("do_sample") is True
    other = []
    for name, value in sorted(file.items()):
        is_known = name in _SILENT or value is None or value in _NEUTRAL.get(name, ())
        if not is_known and (draws or name not in _OF_DRAWING):
            shown = repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:37]}..."
            other.append(f"{short(name)}={shown}")
    if not other:
        return []
    return [
        f"generation_config.json: {', '.join(other)} would change answers in transformers; here answers are decoded as "
        "you ask (docs/use.md), greedily by default"
    ]
