"""From a data folder and the configuration to the order of packed rows: which records take part in it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from m3it_jax import config as configuration
from m3it_jax import errors, records
from m3it_jax.input_pipeline.order import bins, held_pictures, mixture, picture_slots, token_lengths
from m3it_jax.input_pipeline.order.packed_plan import PackedPlan, Stream

_CUT, _ANSWER, _PICTURES = (token_lengths.FITS.index(name) for name in ("cut", "answer", "pictures"))


def budgets(data: configuration.DataConfig) -> bins.Budgets:
    """Returns what a row has room for; the targets are left to the plan.

    Raises:
      ConfigError: the pictures of a step are fewer than its rows.
    """
    if data.picture_as != "embeddings":
        return bins.Budgets(data.row_len, 0, 0)
    slots = data.row_images or data.max_images // data.global_batch_size
    if not slots:
        raise errors.ConfigError(
            f"data.max_images={data.max_images}: leaves no picture for each of data.global_batch_size="
            f"{data.global_batch_size} packed rows; raise it, or give --data.row_images"
        )
    return bins.Budgets(data.row_len, slots, 0)


def make_plan(
    folder: records.DataFolder, data: configuration.DataConfig, *, rules: token_lengths.Rules, seed: int
) -> PackedPlan:
    """Returns the order of packed rows; the first time, every record is read once for its lengths.

    Raises:
      ConfigError: the mixture or the sizes of a row do not suit the data folder.
      UserError: a record cannot be read, or is too long and `data.too_long` refuses it.
    """
    room = budgets(data)
    streams = []
    cut = rules.layout.tiling
    for source, found in _by_source(mixture.streams(folder, data, objective="response", seed=seed, cut=cut)).items():
        split, _ = held_pictures.part(folder, data, source, seed=seed)
        lengths = token_lengths.load(folder, source, split, rules=rules)
        table = folder.table(source, split)
        num_images = picture_slots.load(folder, source, split, cut=cut) * np.int32(room.images > 0)
        numbers = np.sort(np.concatenate([stream.records for stream in found]))
        verdicts = lengths.fits[numbers]
        verdicts = np.where((num_images[numbers] > room.images) | (lengths.targets[numbers] == 0), _PICTURES, verdicts)
        kept = numbers[_kept(verdicts, data.too_long)]
        if refused := numbers[verdicts >= {"error": _CUT, "cut": _ANSWER, "drop": 255}[data.too_long]].tolist():
            raise errors.UserError(_refusal(source, str(table.ids[refused[0]]), len(refused), data=data, room=room))
        if not len(kept):
            raise errors.UserError(
                f"data.too_long=drop: no record of source {source!r} is left; raise data.row_len={data.row_len} or "
                f"data.max_text_len={data.max_text_len}, or leave the source out of data.mixture"
            )
        weight = sum(stream.weight for stream in found)
        if not data.mixture:
            weight *= len(kept) / len(numbers)
        fingerprint = rules.fingerprint(folder.sources[source], split)
        streams.append(Stream(source, kept, lengths, num_images, weight, fingerprint, len(numbers) - len(kept)))
    return PackedPlan(
        _weighted(streams, data.weight_by),
        seed=seed,
        global_batch_size=data.global_batch_size,
        budgets=room,
        shares=data.packing == "rows" and rules.layout.qformer_text_len == 0,
    )


def _by_source(streams: list[mixture.Stream]) -> Mapping[str, list[mixture.Stream]]:
    found: dict[str, list[mixture.Stream]] = {}
    for stream in streams:
        found.setdefault(stream.source, []).append(stream)
    return found


def _kept(verdicts: np.ndarray, too_long: str) -> np.ndarray:
    return verdicts == 0 if too_long == "drop" else np.ones(len(verdicts), bool)


def _weighted(streams: list[Stream], weight_by: str) -> list[Stream]:
    """Returns the streams with weights that are shares of records, whatever those of the mixture are shares of."""
    if weight_by == "examples":
        return streams
    means = [float(stream.lengths.targets[stream.records].mean()) for stream in streams]
    return [
        dataclasses.replace(stream, weight=stream.weight / mean) for stream, mean in zip(streams, means, strict=True)
    ]


def _refusal(source: str, record_id: str, count: int, *, data: configuration.DataConfig, room: bins.Budgets) -> str:
    limits = (
        f"data.row_len={data.row_len}, data.max_text_len={data.max_text_len}, data.max_response_len="
        f"{data.max_response_len} and {room.images} pictures of a row"
    )
    choice = "take data.too_long=cut or drop" if data.too_long == "error" else "take data.too_long=drop"
    what = "do not fit whole" if data.too_long == "error" else "would lose a picture or a part of the answer"
    example = f"for instance {record_id}; raise them, or {choice}"
    return f"{count} records of source {source!r} {what} within {limits}, {example}"
