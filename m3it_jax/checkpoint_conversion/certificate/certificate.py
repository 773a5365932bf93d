"""The parity certificate: does a checkpoint of ours compute what the Hugging Face folder beside it computes?

Nine answers, each with its figures and its `ok`: the same model; every tensor equal bit for bit after mapping back, and
finite; every layer, and the scores, equal to the plain reference (`plain/`); two pictures, seen as transformers would
see them (`sight`); the tokenizer's ids; prepared pictures; what ends an answer; and our greedy output, which the
reference must find the likeliest token by token. `problems` says in words what does not hold.
"""

import dataclasses
import hashlib
import importlib.metadata
import itertools
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from m3it_jax import checkpointing, errors, parameter_paths, safetensors_files
from m3it_jax import tokenizer as tokenization
from m3it_jax.checkpoint_conversion.certificate import checks, endings, findings, sight, whole_program
from m3it_jax.checkpoint_conversion.certificate.comparison import Comparison, Probe
from m3it_jax.checkpoint_conversion.certificate.layerwise import LayerwiseModel
from m3it_jax.checkpoint_conversion.certificate.plain import folder as plain_folder
from m3it_jax.checkpoint_conversion.certificate.plain import pixels, settings, text
from m3it_jax.checkpoint_conversion.certificate.plain.joined import PlainModel
from m3it_jax.checkpoint_conversion.certificate.whole_program import Answer
from m3it_jax.checkpoint_conversion.folders import placeholder, planning
from m3it_jax.checkpoint_conversion.folders.planning import Plan
from m3it_jax.models import variants
from m3it_jax.models.variants import Variant

FORMAT = 1  # of the JSON

_PACKAGES = ("jax", "flax", "numpy", "pillow", "safetensors", "tokenizers", "sentencepiece")
_NUM_TEXT = 24  # CHOICE: tokens of text that a model without tokenizer is shown

# Fields of a variant that change nothing of what one row gives.
_NOT_COMPUTED = ("prompt", "qformer.dropout_rate", "decoder.max_len")


@dataclasses.dataclass(frozen=True)
class _Sides:
    """What is compared."""

    hf_dir: Path
    plan: Plan
    checkpoint: Path
    run: Path  # that it belongs to
    variant: Variant
    params: Mapping[str, np.ndarray]


def verify(
    hf_dir: Path, checkpoint: Path, *, finished: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Returns the certificate of a checkpoint, as JSON values; `ok` says whether everything holds.

    Weights of 16 bits are compared as what they are when widened to float32. One layer of each model is in memory at a
    time; the greedy output needs the whole of ours, and is left out where there is no room for it.

    Args:
      hf_dir: The folder in Hugging Face layout.
      checkpoint: A folder made by `m3it weights import`, or a run folder.
      finished: Is told (comparisons made, comparisons in all).

    Raises:
      UserError: one of the folders cannot be read, or holds a model that is not known.
      ConfigError: the folders are given in the wrong order.
    """
    _check_order(hf_dir, checkpoint)
    plain = PlainModel(hf_dir)
    location = checkpointing.locate(checkpoint)
    params, config, _ = checkpointing.restore_params(checkpoint)
    variant = whole_program.variant_of(location.run, config)
    result: dict[str, Any] = {"format": FORMAT, "ok": False, "problems": []}
    with tempfile.TemporaryDirectory() as scratch:
        plan = planning.plan(hf_dir, dtype=None, scratch=Path(scratch))
        sides = _Sides(hf_dir, plan, checkpoint, location.run, variant, parameter_paths.flatten(params))
        result["tolerance"] = {"layers": findings.LAYER, "logits": findings.LOGITS}
        sides, num_added = _with_placeholder(sides, plain)
        result["model"] = _compare_models(plan.variant, sides.variant) | {"added_rows": num_added}
        if result["model"]["ok"]:
            result |= _compare(sides, plain, _counter(sides, finished))
    result |= {"versions": _versions(), "hashes": _hashes(hf_dir)}
    result["problems"] = findings.problems(result)
    result["ok"] = not result["problems"]
    return result


def _check_order(hf_dir: Path, checkpoint: Path) -> None:
    """Refuses folders that have changed places.

    Raises:
      ConfigError: the first is a checkpoint of ours, or the second a folder in Hugging Face layout.
    """
    order = "the order is: m3it weights verify HF_DIR CHECKPOINT; give them the other way round"
    for folder, wrong, kind in (
        (hf_dir, "model", "a checkpoint of ours"),
        (checkpoint, "model_type", "in Hugging Face layout"),
    ):
        config = folder / settings.CONFIG_FILE
        if config.is_file() and wrong in plain_folder.read_json(config):
            raise errors.ConfigError(f"{folder}: is {kind}, and {order}")


def _with_placeholder(sides: _Sides, plain: PlainModel) -> tuple[_Sides, int]:
    """Returns our side with the rows that an export adds for the placeholder, if HF_DIR has them, and their number."""
    path, size = tokenization.find(sides.run), sides.variant.decoder.vocab_size
    if not path.is_file():
        return sides, 0
    own = tokenization.Tokenizer.load(path)
    num_added = placeholder.num_added(sides.variant, own.image_id)
    if plain.image_id != own.image_id or sides.plan.variant.decoder.vocab_size != size + num_added:
        return sides, 0
    return dataclasses.replace(
        sides,
        variant=placeholder.grown_variant(sides.variant, num_added),
        params=placeholder.grown(sides.params, num_added, pad_id=own.pad_id),
    ), num_added


def _compare_models(theirs: Variant, ours: Variant) -> dict[str, Any]:
    """Returns which sizes or kinds of the two models differ."""
    found, held = (_flat(variants.to_dict(variant)) for variant in (theirs, ours))
    apart = {
        name: {"hf_dir": found.get(name), "checkpoint": held.get(name)}
        for name in sorted(found.keys() | held.keys())
        if found.get(name) != held.get(name) and name not in _NOT_COMPUTED
    }
    return {"ok": not apart, "differences": apart}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _compare(sides: _Sides, plain: PlainModel, step: Callable[[], None]) -> dict[str, Any]:
    """Returns the answers about two models of one size."""
    file = sides.run / checkpointing.CARRIED_FILE
    places = safetensors_files.read_header(file) if file.is_file() else {}
    carried = {key: place.mapped() for key, place in places.items()}
    tensors = checks.compare_tensors(sides.plan, sides.params, carried=carried, on_tensor=step)
    processor = pixels.read_settings(sides.hf_dir)
    preprocessing = findings.left_out(f"{sides.hf_dir} has no {pixels.PREPROCESSOR_FILE}")
    if processor is not None:
        preprocessing = checks.compare_pictures(processor, lambda data: whole_program.prepare(data, sides.variant))
    step()
    texts = _compare_texts(sides.hf_dir, tokenization.find(sides.run))
    step()
    questions = None
    if plain.qformer_reads_text:
        path = tokenization.find_qformer(tokenization.find(sides.run))
        questions = _compare_texts(sides.hf_dir / text.QFORMER_FOLDER, path)
    vocabularies = [one for one in (texts, questions) if one is not None]
    result = {
        "tensors": tensors,
        "tokenizer": texts,
        "qformer_tokenizer": questions or findings.left_out("no Q-Former reads text"),
        "preprocessing": preprocessing,
        "endings": endings.compare(sides.hf_dir, sides.run, sides.variant),
    }
    if tensors["not_finite"]:
        none = findings.left_out("the weights hold numbers that are not finite")
        return result | {"layers": {}, "logits": none, "sight": none, "greedy": none}
    missing = [one["left_out"] for one in vocabularies if "left_out" in one]
    answer: Answer | str = missing[0] if missing else "the tokenizers differ"
    if not missing and all(one["ok"] for one in vocabularies):
        answer = whole_program.answer(sides.checkpoint, sides.variant, sides.params)
    step()
    return result | _compare_computed(sides, plain, step, processor=processor, answer=answer)


def _compare_computed(
    sides: _Sides,
    plain: PlainModel,
    step: Callable[[], None],
    *,
    processor: Mapping[str, Any] | None,
    answer: Answer | str,
) -> dict[str, Any]:
    """Returns the answers about what both models compute beside two pictures."""
    ours, seen = LayerwiseModel(sides.variant, sides.params), sight.look(sides.hf_dir, plain)
    probe = _probe(sides, plain, processor, answer=answer)
    probe = dataclasses.replace(probe, given=seen.given(probe.row), image_id=seen.image_id)
    comparison = Comparison(plain, ours, step)
    scores = comparison.run(probe)
    other = Comparison(plain, ours, step).run(
        dataclasses.replace(probe, pixels=_shown(sides, processor, is_first=False))
    )
    return {
        "layers": comparison.layers,
        "logits": findings.judge_scores(scores),
        "sight": sight.judge(seen, first=scores, second=other),
        "greedy": findings.left_out(answer) if isinstance(answer, str) else findings.judge_answer(scores, answer),
    }


def _counter(sides: _Sides, finished: Callable[[int, int], None]) -> Callable[[], None]:
    """Returns what is called after each comparison."""
    variant, decoder = sides.variant, sides.variant.decoder
    # What goes in, each layer and the final norm of every part, then projection and head.
    states = 2 + variant.vit.num_layers + 1 + variant.vit.has_final_norm + decoder.num_layers + 2
    states += 0 if variant.qformer is None else variant.qformer.num_layers + 1
    states += getattr(decoder, "num_encoder_layers", -2) + 2
    # Pictures, texts, answer; two pictures go through all states.
    total = len(sides.plan.entries) + len(sides.plan.unused) + 2 * states + 3
    count = itertools.count(1)
    return lambda: finished(next(count), total)


def _compare_texts(folder: Path, path: Path) -> dict[str, Any]:
    """Returns the answer about the tokenizer of a Hugging Face folder and our file of it."""
    reference = text.read_tokenizer(folder) if folder.is_dir() else None
    if reference is None:
        return findings.left_out(f"{folder} has no tokenizer")
    if not path.is_file():
        return {"ok": False, "num_texts": 0, "num_unequal": 0, "missing": str(path)}
    return checks.compare_texts(reference, tokenization.Tokenizer.load(path).encode)


def _probe(sides: _Sides, plain: PlainModel, processor: Mapping[str, Any] | None, *, answer: Answer | str) -> Probe:
    """Returns what both models are shown: the row that our program made, or without one a picture and random text."""
    draw = np.random.default_rng(0)
    if isinstance(answer, Answer):
        row, new = list(answer.row), list(answer.new_ids[:-1])
        text_ids = (
            text.encode_with_specials(sides.hf_dir / text.QFORMER_FOLDER / text.FAST_FILE, answer.text)
            if answer.text
            else []
        )
    else:
        row = [-1] * plain.num_picture_tokens + draw.integers(3, plain.text["vocab_size"], _NUM_TEXT).tolist()
        new = draw.integers(3, plain.text["vocab_size"], _NUM_TEXT).tolist()
        text_ids = draw.integers(1, 100, 8).tolist() if plain.qformer_reads_text else []
    start = [getattr(sides.variant.decoder, "start_id", 0)]
    return Probe(
        pixels=_shown(sides, processor, is_first=True),
        row=row if plain.is_encoder_decoder else row + new,
        text_ids=text_ids,
        written=[*start, *new] if plain.is_encoder_decoder else (),
    )


def _shown(sides: _Sides, processor: Mapping[str, Any] | None, *, is_first: bool) -> np.ndarray:
    """Returns one of two probe pictures as HF_DIR's processor prepares it, or noise where it has none."""
    if processor is None:
        side = sides.variant.vit.image_size
        return np.random.default_rng(0 if is_first else 1).normal(size=(3, side, side)).astype(np.float32)
    name = whole_program.PICTURE if is_first else whole_program.OTHER_PICTURE
    return pixels.prepare(Image.open(whole_program.picture(name)), processor).astype(np.float32)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        found[name] = importlib.metadata.version(name)
    return found


def _hashes(hf_dir: Path) -> dict[str, str]:
    """Returns the SHA-256 of the small files of HF_DIR that decide what the model does; the weights' is beside them."""
    names = (settings.CONFIG_FILE, text.FAST_FILE, *text.SENTENCEPIECE_FILES, pixels.PREPROCESSOR_FILE)
    files = [hf_dir / name for name in names]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}
