"""Which evaluated records a model may have met in training: the same picture, the same words, or a near embedding.

    {"train": folder, "evaluated": folder, "split": split, "train_split": split,
     "settings": {"distance", "correlation", "ngram", "similarity"},
     "tasks": {SKILL: {"records", "pictures", "texts", "embeddings", "dirty"}},   numbers of records
     "pairs": [{"id", "source", "train_id", "train_source", "why": "bytes" | "picture" | "text" | "embedding",
                "distance" | "correlation" | "words" | "similarity"}],            the first of each record and kind
     "recall": {CHANGE: share of planted copies found}, "false_alarms": share, if copies were planted
     "scores": {TASK: {"metric", "all" | "clean" | "dirty": {"value", "n", "low", "high"}}}, if answers were given}

The evaluated records are the index and training streams past it, so memory grows with the evaluation alone.
"""

import collections
import dataclasses
import hashlib
import pathlib
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from m3it_jax import errors, metrics, progress, records, schema
from m3it_jax.evaluation import controls, output, picture_hashes, scores, tasks

WHYS = ("bytes", "picture", "text", "embedding")

NGRAM = 8  # words; CHOICE: as for the contamination of short questions, where GPT-3's 13 would find nothing
SIMILARITY = 0.95  # cosine of embeddings

_BATCH = 64  # training pictures that are looked up together


@dataclasses.dataclass(frozen=True)
class Settings:
    """What counts as met: words in a row that are equal, least cosine of embeddings, most records of a source."""

    ngram: int = NGRAM
    similarity: float = SIMILARITY
    limit: int | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """An evaluated record without its pictures."""

    id: str
    source: str
    skill: str


Pair = dict[str, Any]


def stream(folder: records.DataFolder, split: str, limit: int | None) -> Iterator[schema.Instance]:
    """Yields the records of a split, of every source; at most `limit` of each.

    Raises:
      UserError: a record is damaged.
    """
    found = [folder.table(name, split) for name, info in folder.sources.items() if info.splits.get(split)]
    counts = [len(table) if limit is None else min(limit, len(table)) for table in found]
    with progress.Progress(sum(counts), f"{folder.path}: {split}") as shown:
        for table, count in zip(found, counts, strict=True):
            for number in range(count):
                yield table.read(number)
                shown.update()


def ngrams(text: str, size: int) -> set[int]:
    """Returns 64-bit hashes of each run of `size` words (characters in scripts without spaces) of a text."""
    words = metrics.words(text)
    runs = ("\x1f".join(words[begin : begin + size]) for begin in range(len(words) - size + 1))
    return {
        int.from_bytes(hashlib.blake2b(run.encode("utf-8", "surrogatepass"), digest_size=8).digest()) for run in runs
    }


class Radar:
    """The evaluated records, and what of training was found among them."""

    def __init__(self, evaluated: Iterable[schema.Instance], settings: Settings):
        """Reads every evaluated record once.

        Raises:
          UserError: a picture cannot be decoded.
        """
        self._settings = settings
        self.records: list[Record] = []
        self.pairs: dict[tuple[int, str], Pair] = {}  # (number of the record, why) -> the first pair
        self._of_picture: dict[bytes, list[int]] = collections.defaultdict(list)  # digest -> records
        self._of_ngram: dict[int, list[int]] = collections.defaultdict(list)
        self._digests: list[bytes] = []  # of the pictures in the index
        smalls: list[picture_hashes.Small] = []
        for number, instance in enumerate(evaluated):
            self.records.append(Record(instance.id, instance.source, tasks.skill_of(instance)))
            for image in instance.images:
                digest = _digest(image)
                if digest not in self._of_picture:
                    one = _small(instance, image)
                    if one.has_contrast:
                        smalls.append(one)
                        self._digests.append(digest)
                if number not in self._of_picture[digest]:
                    self._of_picture[digest].append(number)
            for run in ngrams(_text(instance), settings.ngram):
                self._of_ngram[run].append(number)
        self._index = picture_hashes.Index(smalls)

    def look(self, training: Iterable[schema.Instance]) -> None:
        """Compares training records with the evaluated ones; `pairs` holds what is found.

        Raises:
          UserError: a picture cannot be decoded.
        """
        seen: set[bytes] = set()
        waiting: list[tuple[schema.Instance, picture_hashes.Small]] = []
        for instance in training:
            for run in ngrams(_text(instance), self._settings.ngram) & self._of_ngram.keys():
                for number in self._of_ngram[run]:
                    self._found(number, "text", instance, words=self._settings.ngram)
            for image in instance.images:
                digest = _digest(image)
                if digest in seen:
                    continue
                seen.add(digest)
                for number in self._of_picture.get(digest, ()):
                    self._found(number, "bytes", instance)
                one = _small(instance, image)
                if one.has_contrast:
                    waiting.append((instance, one))
            if len(waiting) >= _BATCH:
                self._look_at(waiting)
                waiting = []
        self._look_at(waiting)

    def _look_at(self, waiting: Sequence[tuple[schema.Instance, picture_hashes.Small]]) -> None:
        for match in self._index.matches([one for _, one in waiting]):
            for number in self._of_picture[self._digests[match.known]]:
                self._found(
                    number,
                    "picture",
                    waiting[match.asked][0],
                    distance=match.distance,
                    correlation=round(match.correlation, 4),
                )

    def look_at_embeddings(self, vectors: Mapping[str, np.ndarray], training: Mapping[str, str]) -> None:
        """Compares embeddings of evaluated and training records.

        Args:
          vectors: Record id -> vector of length 1.
          training: Id -> source of the training records; those without a vector are passed over.
        """
        numbers = [number for number, record in enumerate(self.records) if record.id in vectors]
        ids = [name for name in training if name in vectors]
        if not numbers or not ids:
            return
        known = np.stack([vectors[self.records[number].id] for number in numbers])
        for begin in range(0, len(ids), 4096):
            part = ids[begin : begin + 4096]
            near = known @ np.stack([vectors[name] for name in part]).T
            for row, column in np.argwhere(near >= self._settings.similarity).tolist():
                pair = {"train_id": part[column], "train_source": training[part[column]]}
                self._keep(numbers[row], "embedding", {**pair, "similarity": round(float(near[row, column]), 4)})

    def _found(self, number: int, why: str, instance: schema.Instance, **facts: Any) -> None:
        self._keep(number, why, {"train_id": instance.id, "train_source": instance.source, **facts})

    def _keep(self, number: int, why: str, facts: Mapping[str, Any]) -> None:
        record = self.records[number]
        self.pairs.setdefault((number, why), {"id": record.id, "source": record.source, "why": why, **facts})

    def dirty(self, why: Sequence[str] = WHYS) -> set[tuple[str, str]]:
        """Returns (source, id) of the evaluated records that were met for one of the reasons."""
        numbers = {number for number, reason in self.pairs if reason in why}
        return {(self.records[number].source, self.records[number].id) for number in numbers}

    def report(self) -> dict[str, Any]:
        """Returns `tasks` and `pairs`, as above."""
        kinds = {"pictures": ("bytes", "picture"), "texts": ("text",), "embeddings": ("embedding",), "dirty": WHYS}
        met = {kind: self.dirty(why) for kind, why in kinds.items()}
        counted: dict[str, dict[str, int]] = {}
        for record in self.records:
            entry = counted.setdefault(record.skill, {"records": 0, **dict.fromkeys(kinds, 0)})
            entry["records"] += 1
            for kind, found in met.items():
                entry[kind] += (record.source, record.id) in found
        return {"tasks": counted, "pairs": [self.pairs[key] for key in sorted(self.pairs)]}


def _small(instance: schema.Instance, image: bytes) -> picture_hashes.Small:
    try:
        return picture_hashes.small(image)
    except errors.UserError as error:
        raise errors.UserError(f"record {instance.id} of {instance.source}: {error}; see `m3it check`") from error


def _digest(image: bytes) -> bytes:
    return hashlib.blake2b(image, digest_size=16).digest()


def _text(instance: schema.Instance) -> str:
    """Returns the text of a record that is its own: instructions are of a pool that all records share."""
    return f"{instance.inputs}\n{instance.outputs}"


def load_embeddings(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns {record id: float32 vector of length 1} of a NumPy file with `ids` [N] and `vectors` [N, D].

    Raises:
      UserError: it cannot be read, has other arrays, or a vector is zero or holds no numbers.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            ids, vectors = file["ids"], np.asarray(file["vectors"], np.float32)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise errors.UserError(
            f"{path}: cannot be read ({error}); write it with numpy.savez(FILE, ids=ids, vectors=vectors)"
        ) from error
    if ids.ndim != 1 or ids.dtype.kind != "U" or vectors.ndim != 2 or len(ids) != len(vectors):
        raise errors.UserError(
            f"{path}: ids {ids.dtype}{list(ids.shape)} and vectors {list(vectors.shape)} must be N texts and [N, D]"
        )
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    broken = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(broken):
        raise errors.UserError(f"{path}: the vector of {ids[broken[0]]} is zero or holds no finite numbers")
    return dict(zip(ids.tolist(), vectors / lengths, strict=True))


def part_scores(store: output.EvalFolder, radar: Radar, *, protocol: tasks.Protocol) -> dict[str, Any]:
    """Returns `scores` as above: each task's headline on all records, on those not met in training, and on the others.

    Args:
      store: Answers; only the model's own about records that the radar has looked at count.
      radar: After it has looked at training.
      protocol: How they are scored.

    Raises:
      UserError: there are no answers, or they are damaged.
    """
    protocol = dataclasses.replace(protocol, suite=tasks.suite_of(store.lock()))
    every, dirty = {(record.source, record.id) for record in radar.records}, radar.dirty()
    parts = {"all": every, "clean": every - dirty, "dirty": dirty}
    found: dict[str, Any] = {}
    for part, kept_ids in parts.items():

        def is_in(row: Mapping[str, Any], kept_ids: Collection[tuple[str, str]] = kept_ids) -> bool:
            return row["variant"] == controls.OWN and (row["source"], row["id"]) in kept_ids

        scored = scores.score(store, protocol, is_asked=is_in)
        for task, entry in scored["tasks"].items():
            metric = found[task]["metric"] if task in found else next(iter(entry))
            # A part may lack what another metric needs, so the whole's headline is looked up by its name.
            if metric in entry:
                kept = {name: entry[metric][name] for name in ("value", "n", "low", "high")}
                found.setdefault(task, {"metric": metric})[part] = kept
    if not found:
        raise errors.UserError(
            f"{store.path}: holds no answer to these records; name a folder that m3it eval has written"
        )
    return found


def table(report: Mapping[str, Any]) -> str:
    """Returns a report as text."""
    lines = [f"{'task':<24} {'records':>8} {'pictures':>9} {'texts':>7} {'embeddings':>11} {'dirty':>7}"]
    for name, entry in report["tasks"].items():
        share = f"{100 * entry['dirty'] / entry['records']:.1f} %"
        lines.append(
            f"{name:<24} {entry['records']:8,} {entry['pictures']:9,} {entry['texts']:7,} {entry['embeddings']:11,} "
            f"{entry['dirty']:7,} {share:>8}"
        )
    for change, share in report.get("recall", {}).items():
        lines.append(f"planted copies found, {change}: {100 * share:.1f} %")
    if "false_alarms" in report:
        lines.append(f"pairs of different pictures taken for copies: {100 * report['false_alarms']:.4f} %")
    for name, entry in report.get("scores", {}).items():
        parts = (f"{part} {_said(entry[part])}" for part in ("all", "clean", "dirty") if part in entry)
        lines.append(f"{name} ({entry['metric']}): {', '.join(parts)}")
    return "\n".join(lines)


def _said(entry: Mapping[str, Any]) -> str:
    return f"{entry['value']:.1f} [{entry['low']:.1f}, {entry['high']:.1f}] of {entry['n']:,}"
