"""What an import will do, found out from headers alone: which tensor fills which parameter, what is left over."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m3it_jax import errors, safetensors_files
from m3it_jax.checkpoint_conversion.configs import (
    clip_config,
    generation_values,
    hf_config,
    hf_export,
    hf_processor,
    llava_config,
)
from m3it_jax.checkpoint_conversion.configs.generation_values import Generation
from m3it_jax.checkpoint_conversion.files import derived, hf_folder, reading
from m3it_jax.checkpoint_conversion.files.sources import Source
from m3it_jax.checkpoint_conversion.folders import parts, side_files
from m3it_jax.checkpoint_conversion.folders.parts import Origin
from m3it_jax.checkpoint_conversion.names import families, mapping
from m3it_jax.checkpoint_conversion.names.mapping import Entry, Unused
from m3it_jax.models import abstract, variants
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig
from m3it_jax.models.variants import Variant

_GENERATION = "generation_config.json"
# What a part may differ in from its variant and still compute the same: room for positions, tables not yet grown,
# dropout; sizes are told by the tensors.
_FREE_FIELDS = {"max_len", "vocab_size", "text_vocab_size", "text_max_len", "dropout_rate", "start_id"}
_READ_OF_TOWER = {"num_layers", "keeps_class_token"}
# A Flan-T5 alone has the tanh form of GELU; BLIP-2's authors read it with the exact one (variants.py).
_READ_OF_T5 = {"activation": ("gelu_tanh", "gelu")}
_STORED = ("F32", "F16", "BF16")  # types of weights; others would have to be converted


@dataclasses.dataclass(frozen=True)
class Plan:
    """An import before it is made.

    Attributes:
      family: Which naming the tensors follow.
      variant: The model.
      shapes: All parameters, {path: shape}.
      entries: The map of the parts that are read.
      tensors: What is read, {canonical key: tensor}, in the order of the files.
      unused: Tensors that the model does not compute with, {canonical key: why}.
      dtypes: {path: type it is stored in}.
      fresh: Paths of parameters that start fresh.
      seed: Of the fresh ones.
      folder: The Hugging Face folder whose JSON files belong to the model; None if it was put together from parts.
      tokenizer: Folder of the tokenizer.
      origins: {part or `all`: where it comes from}, in words.
      stop_ids: Ids of which each ends an answer; () leaves it to the tokenizer.
      notes: What to tell beside that, a line each.
    """

    family: str
    variant: Variant
    shapes: dict[str, tuple[int, ...]]
    entries: list[Entry]
    tensors: dict[str, Source]
    unused: dict[str, Unused]
    dtypes: dict[str, np.dtype]
    fresh: list[str]
    seed: int
    folder: Path | None
    tokenizer: Path
    origins: dict[str, str]
    stop_ids: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def variant_name(self) -> str:
        """Name of the row of `variants.VARIANTS` that the model is, or `imported`."""
        return next((name for name, row in variants.VARIANTS.items() if row == self.variant), "imported")


def part_of(path: str) -> str:
    """Returns the part that a parameter belongs to."""
    return path.split("/")[0]


def plan(source: Path, *, dtype: np.dtype | None, scratch: Path, is_dry: bool = False) -> Plan:
    """Returns the plan of an import.

    Args:
      source: A Hugging Face folder, or a JSON file of parts.
      dtype: Type of all parameters; None keeps what is stored.
      scratch: Folder for what is made of pickled files.
      is_dry: True reads headers alone.

    Raises:
      UserError: files are missing, broken or of another model.
      ConfigError: the file of parts is wrong.
    """
    if source.is_file() and source.suffix == ".json":
        return _of_parts(parts.read(source), where=source, dtype=dtype, scratch=scratch, is_dry=is_dry)
    if not source.is_dir():
        raise errors.UserError(f"{source}: no such folder; give a Hugging Face folder, or a JSON file of parts")
    config = source / hf_folder.CONFIG_FILE
    values = hf_folder.read_json(config)
    family, variant = hf_config.recognise(values, where=str(config))
    variant = hf_processor.applied(variant, side_files.processor(source))
    generation = _generation(source, variant)
    variant = _starting(variant, generation)
    entries, known = families.entries(variant), families.unused(variant)
    found = reading.tensors(source, families.aliases(variant), scratch=scratch, is_dry=is_dry)
    found = with_one_of_two(found, entries, known)
    if llava_config.is_of_authors(values) and not any(key.startswith("vision_tower.") for key in found):
        raise errors.UserError(
            f"{source}: has no vision tower; it is {values.get('mm_vision_tower')}, which is published apart: import "
            "from parts, as configs/weights/llava_1.5_7b.json does"
        )
    # The files before the model: sizes that no file has are not asked for.
    unused = mapping.check_cover(entries, _shapes(found), unused=known, where=str(source))
    shapes = {path: tuple(leaf.shape) for path, leaf in abstract.parameters(variant).items()}
    mapping.check_map(entries, shapes)
    return Plan(
        family=family,
        variant=variant,
        shapes=shapes,
        entries=entries,
        tensors=found,
        unused=unused,
        dtypes=_dtypes(entries, found, dtype),
        fresh=[],
        seed=0,
        folder=source,
        tokenizer=source,
        origins={"all": source.name},
        stop_ids=generation.stop_ids,
        notes=generation.notes,
    )


def _of_parts(chosen: parts.Parts, *, where: Path, dtype: np.dtype | None, scratch: Path, is_dry: bool) -> Plan:
    variant = _with_words(variants.named(chosen.variant), chosen.origins)
    language = chosen.origins.get("decoder", Origin(None)).folder
    generation = _generation(language, variant)
    variant = _starting(variant, generation)
    entries = families.entries(variant)
    shapes = {path: tuple(leaf.shape) for path, leaf in abstract.parameters(variant).items()}
    mapping.check_map(entries, shapes)
    needed = list(dict.fromkeys(map(part_of, shapes)))
    for part in {*needed, *chosen.origins}:
        if (part in needed) != (part in chosen.origins):
            what = "does not say where it comes from" if part in needed else "is no part of this variant"
            raise errors.ConfigError(f"{where}: {part} {what}; variant {chosen.variant} has {', '.join(needed)}")
    used: list[Entry] = []
    tensors: dict[str, Source] = {}
    unused: dict[str, Unused] = {}
    places: dict[str, dict[str, Source]] = {}
    for part, origin in chosen.origins.items():
        if origin.folder is not None:
            _check_part(part, origin.folder, variant)
            places[part] = _of_origin(origin, part, variant=variant, scratch=scratch, is_dry=is_dry)
    _lend_norm(places)
    for part, everything in places.items():
        origin = chosen.origins[part]
        mine = [entry for entry in entries if part_of(entry.paths[0]) == part]
        found, others = _of_part(everything, mine, variant)
        known = families.unused(variant)
        unused |= mapping.check_cover(mine, _shapes(found), unused=known, where=str(origin.folder), others=others)
        used += mine
        tensors |= found
    fresh = [path for path in shapes if chosen.origins[part_of(path)].folder is None]
    dtypes = _dtypes(used, tensors, dtype) | dict.fromkeys(fresh, dtype or np.dtype(np.float32))
    return Plan(
        family=hf_export.export_family(variant),
        variant=variant,
        shapes=shapes,
        entries=used,
        tensors=tensors,
        unused=unused,
        dtypes=dtypes,
        fresh=fresh,
        seed=chosen.seed,
        folder=None,
        tokenizer=chosen.tokenizer,
        origins={part: _words(origin) for part, origin in chosen.origins.items()},
        stop_ids=generation.stop_ids,
        notes=generation.notes,
    )


def _with_words(variant: Variant, origins: Mapping[str, Origin]) -> Variant:
    """Returns the variant with as many words as the folders say that its texts are read with.

    Vocabularies grow by padding (LLaVA's by 64) and by added tokens (InstructBLIP's by one), so the same model is
    published with several; one file of weights says nothing of it.
    """
    decoder, qformer = _told(origins, "decoder"), _told(origins, "qformer")
    if decoder is not None:
        words = dataclasses.replace(variant.decoder, vocab_size=decoder.vocab_size)
        variant = dataclasses.replace(variant, decoder=words)
    if qformer is not None and variant.qformer is not None and variant.qformer.text_vocab_size:
        sizes = {"text_vocab_size": qformer.text_vocab_size, "text_max_len": qformer.text_max_len}
        variant = dataclasses.replace(variant, qformer=dataclasses.replace(variant.qformer, **sizes))
    return variant


def _told(origins: Mapping[str, Origin], part: str) -> Any:
    """Returns the configuration of a part that its folder has; None where it has none."""
    folder = origins.get(part, Origin(None)).folder
    config = folder / hf_folder.CONFIG_FILE if folder is not None else None
    if config is None or not config.is_file():
        return None
    return hf_config.recognise_part(part, hf_folder.read_json(config), where=str(config))


def _lend_norm(places: Mapping[str, dict[str, Source]]) -> None:
    """Gives a tower that is published without it the norm behind its last block, which BLIP-2's files have.

    EVA-CLIP has a norm of its own there. BLIP-2 puts another in its place, teaches it (`ln_vision`) and stores it with
    the Q-Former; MiniGPT-4 reads both files, the Q-Former's last (minigpt4/models/mini_gpt4.py).
    """
    tower, reader = places.get("vit", {}), places.get("qformer", {})
    for name in ("weight", "bias"):
        key = f"{families.EVA_NORM}.{name}"
        if key not in tower and key in reader:
            tower[key] = reader[key]


def _generation(folder: Path | None, variant: Variant) -> Generation:
    """Returns what the folder of a language model says of generating; nothing of a file of weights alone."""
    if folder is None or not folder.is_dir():
        return Generation()
    file, config = folder / _GENERATION, folder / hf_folder.CONFIG_FILE
    return generation_values.read(
        hf_folder.read_json(file) if file.is_file() else None,
        hf_folder.read_json(config) if config.is_file() else {},
        vocab_size=variant.decoder.vocab_size,
        where=str(folder),
    )


def _starting(variant: Variant, generation: Generation) -> Variant:
    """Returns the variant with the id that an encoder-decoder model begins to write with."""
    if generation.start_id is None or not isinstance(variant.decoder, EncoderDecoderConfig):
        return variant
    return dataclasses.replace(variant, decoder=dataclasses.replace(variant.decoder, start_id=generation.start_id))


def _check_part(part: str, folder: Path, variant: Variant) -> None:
    """Refuses a folder whose config.json asks for other values than the variant, such as another epsilon.

    Raises:
      UserError: a field differs; sizes of files without a config.json are told by the tensors alone.
    """
    config = folder / hf_folder.CONFIG_FILE
    if not config.is_file():
        return
    values = hf_folder.read_json(config)
    theirs = dataclasses.asdict(hf_config.recognise_part(part, values, where=str(config)))
    # Which blocks of a tower alone are read is the variant's; that it has as many is told by the tensors.
    free = _FREE_FIELDS | (_READ_OF_TOWER if values.get("model_type") in clip_config.KINDS else set())
    for name, ours in dataclasses.asdict(getattr(variant, part)).items():
        is_reread = values.get("model_type") == "t5" and _READ_OF_T5.get(name) == (theirs.get(name), ours)
        if name not in free and not is_reread and theirs.get(name, ours) != ours:
            raise errors.UserError(
                f"{config}: {part}.{name} is {theirs[name]!r} there, the variant has {ours!r}; take another folder, or "
                f"a variant of your own: a folder with a {variants.MODEL_FILE}"
            )


def _of_origin(origin: Origin, part: str, *, variant: Variant, scratch: Path, is_dry: bool) -> dict[str, Source]:
    """Returns the tensors of the place that one part comes from, those of its other parts among them."""
    aliases = families.aliases(variant, part)
    folder = origin.folder or Path()
    found = reading.tensors(folder, aliases, scratch=scratch, is_dry=is_dry)
    if origin.base is not None:
        base = reading.tensors(origin.base, aliases, scratch=scratch, is_dry=is_dry)
        found = derived.summed(found, base, embeddings=origin.embeddings)
    return found


def _of_part(
    found: Mapping[str, Source], entries: Sequence[Entry], variant: Variant
) -> tuple[dict[str, Source], list[str]]:
    """Returns (the tensors of one part, the keys of others, which are not asked for): the first word of a key tells."""
    words = {entry.key.split(".")[0] for entry in entries}
    mine = {key: one for key, one in found.items() if key.split(".")[0] in words}
    return with_one_of_two(mine, entries, families.unused(variant)), [key for key in found if key not in mine]


def _words(origin: Origin) -> str:
    if origin.folder is None:
        return parts.FRESH
    return origin.folder.name if origin.base is None else f"{origin.folder.name} over {origin.base.name}"


def _shapes(found: Mapping[str, Source]) -> dict[str, tuple[int, ...]]:
    return {key: source.shape for key, source in found.items()}


def with_one_of_two(
    found: Mapping[str, Source], entries: Sequence[Entry], known: Sequence[Unused]
) -> dict[str, Source]:
    """Returns tensors, with the copy of a tied weight under the weight's own name where the file has the copy alone.

    A T5 whose outputs are not scaled and which has no head of its own computes with its embedding (transformers 5 ties
    the head of every T5, modeling_t5.py), so the head is given the same numbers.
    """
    wanted = {entry.key for entry in entries}
    made = dict(found)
    if families.T5_HEAD in wanted and families.T5_HEAD not in made and families.T5_EMBEDDING in made:
        made[families.T5_HEAD] = made[families.T5_EMBEDDING]
    for key in found:
        row = None if key in wanted else mapping.unused_row(key, known)
        original = mapping.original_of(key, row) if row is not None else ""
        if original in wanted and original not in made:
            made = {original if name == key else name: source for name, source in made.items()}
    return made


def _dtypes(entries: Sequence[Entry], found: Mapping[str, Source], dtype: np.dtype | None) -> dict[str, np.dtype]:
    """Returns {path: type}, after looking that what fills one parameter has one type."""
    dtypes: dict[str, np.dtype] = {}
    first: dict[str, str] = {}
    for entry in entries:
        theirs = found[entry.key].dtype
        name = safetensors_files.NAMES[theirs]
        if name not in _STORED and dtype is None:
            raise errors.UserError(
                f"{found[entry.key].origin}: {entry.key} is stored as {name}, weights are {', '.join(_STORED)}; give "
                "--dtype float32 or --dtype bfloat16 to convert it"
            )
        for path in entry.paths:
            known = dtypes.setdefault(path, dtype or theirs)
            if dtype is None and known != theirs:
                raise errors.UserError(
                    f"{found[entry.key].origin}: {entry.key} is stored as {name}, {first[path]} as "
                    f"{safetensors_files.NAMES[known]}, and both fill {path}; give --dtype to convert them"
                )
            first.setdefault(path, entry.key)
    return dtypes
