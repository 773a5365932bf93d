"""How long each record is in tokens and which pictures it shows: a file beside the data, made once and checked.

An order of packed rows is made from whole numbers alone. They are written on first use, one file for each source and
split, whose name and content carry a fingerprint of all that they depend on: records, tokenizer, prompt format, limits
and pools. A file of something else is never read; a damaged one is told and made again.

    DATA/lengths/SOURCE-SPLIT-FINGERPRINT.npz     (in the user's cache folder, if DATA cannot be written to)
        fingerprint   text
        tokens        uint16 [records, 1 + pool]  tokens of the row asked with its own instruction, and with each of the
                                                  pool (there is one column where instructions are not redrawn)
        targets       uint16 [records]            tokens that the loss counts
        shared        uint16 [records]            tokens up to the last of the last picture
        keys          uint64 [records]            a hash of those tokens and of the pictures' content; 0: no picture
        fits          uint8 [records]             a place in `FITS`
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3it_jax import errors, progress, prompts, records, schema, user_cache
from m3it_jax import tokenizer as tokenization
from m3it_jax.input_pipeline.order import kept_arrays
from m3it_jax.input_pipeline.pixels import tiling
from m3it_jax.input_pipeline.rows import packing, record_rows, tower_rows, transforms

FOLDER = "lengths"
VERSION = 1  # of the file's columns

# What may be said of a record: it fits into a row; it fits without its first turns or the end of its inputs; it would
# lose a part of its answer; its pictures alone are too many.
FITS = ("whole", "cut", "answer", "pictures")
_COLUMNS = {"tokens": "u2", "targets": "u2", "shared": "u2", "keys": "u8", "fits": "u1"}
_LONGEST = np.iinfo(np.uint16).max


@dataclasses.dataclass(frozen=True)
class Lengths:
    """The columns of the file, see above."""

    tokens: npt.NDArray[np.uint16]
    targets: npt.NDArray[np.uint16]
    shared: npt.NDArray[np.uint16]
    keys: npt.NDArray[np.uint64]
    fits: npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Rules:
    """What lengths depend on beside the records.

    Attributes:
      layout: Where tokens stand in the row of one record.
      tokenizer: Encodes the texts.
      row_len: Most tokens of a record.
      picture_as: As `data.picture_as`.
      supervised_answers: As `data.supervised_answers`.
      redraws: Whether each epoch draws instructions from the pools.
    """

    layout: transforms.Layout
    tokenizer: tokenization.Tokenizer
    row_len: int
    picture_as: str
    supervised_answers: str
    redraws: bool

    def fingerprint(self, source: records.SourceInfo, split: str) -> str:
        """Returns the hash of all that the lengths of a split depend on."""
        facts = [
            [VERSION, schema.SCHEMA_VERSION, prompts.TEMPLATE_VERSION],
            [source.fingerprint, split, source.instructions if self.redraws else ()],
            [self.layout.facts(), self.tokenizer.fingerprint],
            [self.row_len, self.picture_as, self.supervised_answers],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def limited(self, instance: schema.Instance) -> transforms.Layout | None:
        """Returns the layout in which a record fits into a row; None: its pictures do not."""
        room = self.row_len - self._pictures_len(instance)
        if room < self.layout.least_response + len(self.layout.begin_ids) + 1:
            return None
        return dataclasses.replace(self.layout, max_text_len=min(self.layout.max_text_len, room))

    def _pictures_len(self, instance: schema.Instance) -> int:
        """Returns the most tokens that a record's pictures and their marks take."""
        if self.picture_as == "captions":
            return self.layout.pictures_len([1] * len(instance.images), tower_rows.CAPTION_LEN)
        return self.layout.pictures_len([cut.slots for cut in record_rows.cuts(self.layout, instance)])

    def text(self, instance: schema.Instance, instruction: str) -> transforms.Text:
        """Returns the text of a record asked with an instruction, within the limits.

        Raises:
          UserError: the pictures or the instruction alone are too long.
        """
        layout = self.limited(instance)
        if layout is None:
            taken = self._pictures_len(instance)
            raise errors.UserError(
                f"its {len(instance.images)} pictures take {taken} of data.row_len={self.row_len} tokens and leave no "
                "room for text; raise data.row_len"
            )
        answers = self.supervised_answers
        return record_rows.fitted(layout, self.tokenizer, instance, instruction=instruction, supervised_answers=answers)

    def row(self, instance: schema.Instance, text: transforms.Text) -> packing.Row:
        """Returns the record's row without padding.

        Raises:
          UserError: pictures are shown as descriptions, and there is not one for each.
        """
        if self.picture_as == "captions":
            return record_rows.captioned(self.layout, self.tokenizer, instance, text=text)
        return record_rows.shown(self.layout, instance, text)


class _Remembering:
    """A tokenizer that keeps what it encoded last: captions ask with ten sentences, again and again."""

    def __init__(self, tokenizer: tokenization.Tokenizer) -> None:
        self.encode = functools.lru_cache(maxsize=1 << 14)(tokenizer.encode)


def measure(rules: Rules, instance: schema.Instance, pool: Sequence[str]) -> tuple[list[int], int, int, int, int]:
    """Returns (tokens with each instruction, targets, shared, key, place in FITS) of one record.

    Args:
      rules: What lengths depend on.
      instance: The record.
      pool: Instructions that an epoch may draw.

    Raises:
      UserError: the record's texts or descriptions are none that a row can be made of.
    """
    nothing = [0] * (1 + len(pool))
    if rules.limited(instance) is None:
        return nothing, 0, 0, 0, FITS.index("pictures")
    whole = len(transforms.response_ids(rules.layout, rules.tokenizer, instance.outputs))
    rows, verdict = [], 0
    for instruction in [instance.instruction, *record_rows.suitable(instance, pool)]:
        try:
            text = rules.text(instance, instruction)
        except errors.UserError:
            return nothing, 0, 0, 0, FITS.index("answer")
        rows.append(rules.row(instance, text))
        is_answer_cut = len(text.response_ids) < min(whole, rules.layout.max_response_len)
        verdict = max(verdict, FITS.index("answer") if is_answer_cut else int(text.num_dropped > 0))
    tokens = [len(row["token_ids"]) for row in rows]
    tokens += tokens[:1] * (1 + len(pool) - len(tokens))
    targets = max(int(row["loss_mask"].sum()) for row in rows)
    shared, key = (
        _shared(rows, instance, record_rows.cuts(rules.layout, instance))
        if rules.picture_as == "embeddings"
        else (0, 0)
    )
    return tokens, targets, shared, key, verdict


def _shared(
    rows: Sequence[packing.Row], instance: schema.Instance, cuts: Sequence[tiling.Grid] = ()
) -> tuple[int, int]:
    """Returns `shared` and `keys` of a record; both 0 if no beginning that shows all pictures is always the same."""
    shared = packing.shared_len(rows[0])
    begin = rows[0]["token_ids"][:shared]
    if not shared or any(
        packing.shared_len(row) != shared or not np.array_equal(row["token_ids"][:shared], begin) for row in rows
    ):
        return 0, 0
    digest = hashlib.blake2b(begin.tobytes(), digest_size=8)
    for image in instance.images:
        digest.update(hashlib.blake2b(image, digest_size=16).digest())
    if any(cut != tiling.WHOLE for cut in cuts):
        digest.update(repr([tuple(cut) for cut in cuts]).encode())
    return shared, max(int.from_bytes(digest.digest(), "little"), 1)


def load(folder: records.DataFolder, source: str, split: str, *, rules: Rules) -> Lengths:
    """Returns the lengths of a split, from their file or measured now and written.

    Raises:
      UserError: a record cannot be read, or no row can be made of it.
    """
    fingerprint = rules.fingerprint(folder.sources[source], split)
    name = f"{source}-{split}-{fingerprint[:12]}.npz"
    for place in places(folder):
        found = kept_arrays.read(place / name, fingerprint, columns=_COLUMNS)
        if found is not None and len(found["keys"]) == folder.sources[source].splits[split]:
            return Lengths(**found)
    made = _measured(folder, source, split, rules=rules)
    if not kept_arrays.write(places(folder), name, fingerprint=fingerprint, arrays=dataclasses.asdict(made)):
        sys.stderr.write(f"m3it: {name}: no folder to keep the lengths in; they are counted again next time\n")
    return made


def places(folder: records.DataFolder) -> list[pathlib.Path]:
    """Returns the folders where lengths may lie: the data folder's own, then the user's cache, if there is one."""
    own = folder.path / FOLDER
    try:
        return [own, user_cache.folder() / FOLDER]
    except errors.UserError:  # no home: what can be written beside the data needs no cache
        return [own]


def _measured(folder: records.DataFolder, source: str, split: str, *, rules: Rules) -> Lengths:
    table = folder.table(source, split)
    pool = folder.sources[source].instructions if rules.redraws else ()
    quick = dataclasses.replace(rules, tokenizer=_Remembering(rules.tokenizer))  # type: ignore[arg-type]  # encodes only
    tokens = np.zeros((len(table), 1 + len(pool)), np.uint16)
    targets, shared = np.zeros(len(table), np.uint16), np.zeros(len(table), np.uint16)
    keys, fits = np.zeros(len(table), np.uint64), np.zeros(len(table), np.uint8)
    for number in progress.track(range(len(table)), label=f"{source}: counting tokens"):
        instance = table.read(number)
        try:
            found = measure(quick, instance, pool)
        except errors.UserError as error:
            raise errors.UserError(f"record {instance.id}: {error}") from error
        if max(found[0]) > _LONGEST:
            raise errors.UserError(f"record {instance.id}: {max(found[0])} tokens, must be at most {_LONGEST}")
        tokens[number], targets[number], shared[number], keys[number], fits[number] = found
    return Lengths(tokens, targets, shared, keys, fits)
