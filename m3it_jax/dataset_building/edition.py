"""Builds a whole data folder: every source of an edition in worker processes, the tokenizer, the manifest, the card."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from m3it_jax import errors, file_safety, framing, progress, prompts, records, schema, tokenizer
from m3it_jax.dataset_building import card, npm, video
from m3it_jax.dataset_building.specification import Assets, FramePick, SourceSpec

TOKENIZER = "tokenizer.model"
BILL = "bill_of_materials.json"  # what each source is, its terms, and the raw files it was made from
_POLL = 0.5  # seconds between looks at the workers


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be built.

    Attributes:
      out: The folder.
      name: Name of the data set.
      edition: Which of its editions; a folder holds one.
      specs: Its sources.
      introduction: The begin of the card.
      folders: Folders that the sources read, by name.
      vocab_size: Pieces of a vocabulary that is trained on the training text; None trains none.
      seed: Decides splits, drawings and instructions.
      limit: Most rows of a split; None for all.
      pick: Which frames of a video are taken.
      allow: What the licence of a row must allow, words of `licences.TERMS`; empty takes all.
      max_bad: Share of a split's rows (0..1) that may be bad before the build stops.
      beam_options: Apache Beam's own command line, if Beam is to make the records; None takes processes.
      kept: Sources that are taken over from another data folder byte for byte: name -> its version folder there.
      tokenizer: A vocabulary that is taken over.
      settings: What else decides the records, as JSON: a finished source that was built otherwise is not taken.
    """

    out: pathlib.Path
    name: str
    edition: str
    specs: tuple[SourceSpec, ...]
    introduction: str
    folders: Assets = dataclasses.field(default_factory=dict)
    vocab_size: int | None = None
    seed: int = 0
    limit: int | None = None
    pick: FramePick = video.uniform
    allow: tuple[str, ...] = ()
    max_bad: float = 1.0
    beam_options: tuple[str, ...] | None = None
    kept: Assets = dataclasses.field(default_factory=dict)
    tokenizer: pathlib.Path | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def rows(self, spec: SourceSpec) -> int:
        """Returns about how many records a source will have, all splits together; 0 if that is unknown."""
        limit = self.limit
        expected = spec.rows or (spec.published.counts if spec.published else {})
        return sum(number if limit is None else min(number, limit) for number in expected.values())

    def names(self) -> set[str]:
        """Returns the sources that the folder will hold, beside those built into it before."""
        return {spec.name for spec in self.specs} | set(self.kept)

    def decided_by(self) -> dict[str, Any]:
        """Returns what decides the records of a source, as its provenance lists it."""
        return {"seed": self.seed, "limit": self.limit, "allow": list(self.allow), **self.settings}


def build(order: Order, jobs: int) -> dict[str, Any]:
    """Builds what is missing of a data set and returns the manifest. Finished sources are kept as they are.

    Raises:
      UserError: the folder is in use or holds something else, npm is needed and missing, too many rows of a source
        are bad, or a worker died.
    """
    with file_safety.held(order.out, doing="building", instead="folder"):
        _check_folder(order)
        shutil.rmtree(order.out / ".building", ignore_errors=True)
        for name, folder in sorted(order.kept.items()):
            _take_over(order, name, folder)
        todo = [spec for spec in order.specs if not _finished(order, spec)]
        if not todo and _complete(order):
            return dict(records.DataFolder.open(order.out).manifest)
        assets = {**order.folders, **npm.fetch(sorted({name for spec in todo for name in spec.packages}))}
        tasks = [(order, tuple(spec.name for spec in group), assets) for group in _groups(order, todo)]
        if order.vocab_size is not None:
            # Finished sources come with nothing to build: their texts are read for the vocabulary all the same.
            tasks.append((order, tuple(spec.name for spec in order.specs if spec not in todo), assets))
        with Workers(jobs) as workers, progress.Progress(sum(map(order.rows, todo)), "records") as shown:
            texts = workers.run(_build_sources, tasks, shown)
        if order.vocab_size is not None:
            _train_tokenizer(order, {name: lines for part in texts for name, lines in part.items()})
        manifest = _write_manifest(order)
        shutil.rmtree(order.out / ".building", ignore_errors=True)  # each source has left it when it was whole
        return manifest


def _groups(order: Order, specs: list[SourceSpec]) -> list[list[SourceSpec]]:
    """Returns the sources in portions for one worker each, the largest first; the drawn videos share their clips."""
    videos = [spec for spec in specs if spec.name.startswith("video-")]
    others = sorted((spec for spec in specs if spec not in videos), key=order.rows, reverse=True)
    return ([videos] if videos else []) + [[spec] for spec in others]


def _others(order: Order) -> list[str]:
    """Returns the sources in the folder that this order does not speak of: built before, and kept."""
    if not (order.out / records.MANIFEST).exists():
        return []
    return [name for name in records.DataFolder.open(order.out).sources if name not in order.names()]


def _complete(order: Order) -> bool:
    if not (order.out / records.MANIFEST).exists():
        return False
    manifest = records.DataFolder.open(order.out).manifest
    return manifest["edition"] == order.edition and order.names() <= set(manifest["sources"])


def _check_folder(order: Order) -> None:
    manifest = order.out / records.MANIFEST
    if manifest.exists():
        found = records.DataFolder.open(order.out).manifest
        same = found.get("edition") == order.edition
        if found.get("name") != order.name or (_others(order) and not same):
            held = f"{found.get('name')}, edition {found.get('edition')}"
            raise errors.UserError(f"{order.out}: holds {held}; choose another folder")
    for spec in order.specs:
        if _finished(order, spec):
            made = _provenance(order.out / spec.name / spec.version)
            for name, value in {**order.decided_by(), **spec.settings}.items():
                if made.get(name) != value:
                    was, wanted = (textwrap.shorten(str(each), 200) for each in (made.get(name), value))
                    raise errors.UserError(
                        f"{order.out / spec.name}: was built with {name} {was}, not {wanted}; "
                        "choose another folder or delete this one"
                    )


def _take_over(order: Order, name: str, folder: pathlib.Path) -> None:
    """Copies a source as it is, unless it is there; a copy that is cut off is not taken for one.

    Raises:
      UserError: another state of the source is there.
    """
    final = order.out / name / folder.name
    wanted = _provenance(folder)
    if final.is_dir():
        if _provenance(final).get("fingerprint") != wanted.get("fingerprint"):
            raise errors.UserError(f"{final}: is another than {folder}; choose another folder or delete this one")
        return
    scratch = order.out / ".building" / name
    shutil.copytree(folder, scratch, symlinks=True)  # a link stays one: what it leads to may be no data
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(scratch, final)


def _finished(order: Order, spec: SourceSpec) -> bool:
    return (order.out / spec.name / spec.version).is_dir()


def _provenance(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the provenance in a source's version folder."""
    file = folder / "provenance.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{file}: cannot be read ({error}); delete the source's folder and run again") from error


_reported: Any = None  # in a worker: the counter that it shares with the parent


def _start_worker(counter: Any, parent: int) -> None:
    global _reported
    _reported = counter
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: it logs a page at start
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL)
        os._exit(1)  # the parent was killed: an orphan must not go on writing

    threading.Thread(target=watch, daemon=True).start()


class Workers:
    """Worker processes; leaving by an error ends them at once."""

    def __init__(self, jobs: int):
        context = multiprocessing.get_context("spawn")
        self._counter = context.Value("q", 0)
        self._pool = concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_start_worker, initargs=(self._counter, os.getpid())
        )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None:
            for child in multiprocessing.active_children():
                child.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, task: Callable, orders: list[Any], shown: progress.Progress) -> list[Any]:
        """Returns task(order) of every order, and meanwhile reports what the workers count."""
        futures = [self._pool.submit(task, order) for order in orders]
        pending = set(futures)
        while pending:
            done, pending = concurrent.futures.wait(pending, _POLL, concurrent.futures.FIRST_EXCEPTION)
            try:
                for future in done:
                    future.result()
            except concurrent.futures.process.BrokenProcessPool as error:
                raise errors.UserError(
                    "a worker of the build died, perhaps for want of memory; run the same command again with --jobs 1"
                ) from error
            shown.update_to(self._counter.value)
        return [future.result() for future in futures]


def count(number: int = 1) -> None:
    """Adds to what the workers have done; only a worker calls it."""
    with _reported.get_lock():
        _reported.value += number


def _build_sources(task: tuple[Order, tuple[str, ...], Assets]) -> dict[str, dict[str, int]]:
    """Builds the named sources, unless they are finished; returns the lines of their train texts with counts.

    They are returned only where a vocabulary is to be trained, in the order of the shards: it depends on it.
    """
    order, names, assets = task
    from m3it_jax.dataset_building import builder, pipeline  # TensorFlow: seconds, and only workers need it

    found: dict[str, dict[str, int]] = {}
    for spec in order.specs:
        if spec.name in names:
            if not _finished(order, spec):
                stream = pipeline.Stream(
                    spec,
                    assets,
                    order.seed,
                    limit=order.limit,
                    pick=order.pick,
                    allow=order.allow,
                    max_bad=order.max_bad,
                    on_record=count,
                )
                builder.build(stream, order.out, decided_by=order.decided_by(), beam_options=order.beam_options)
            if order.vocab_size is not None:
                found[spec.name] = _train_lines(order.out / spec.name / spec.version)
    return found


def _train_lines(folder: pathlib.Path) -> dict[str, int]:
    """Returns the lines of a source's train records with their counts, in the order of its shards."""
    lines: collections.Counter[str] = collections.Counter()
    for shard in records.shard_paths(folder, "train"):
        for _, data in framing.scan(shard):
            _add_lines(lines, records.decode(data))
    return dict(lines)


def _add_lines(lines: collections.Counter[str], instance: schema.Instance) -> None:
    """Adds the lines of a record as a model sees them: prompt, response, captions, and the marks around pictures."""
    asked = prompts.YING_VLM
    text = asked.prompt(instance.instruction, instance.inputs) + asked.response(instance.outputs)
    lines.update(text.split("\n"))
    for caption in instance.meta.get("captions", ()):
        lines.update((asked.picture_open, caption, asked.picture_close))


def _train_tokenizer(order: Order, texts: dict[str, dict[str, int]]) -> None:
    lines: collections.Counter[str] = collections.Counter()
    for name in sorted(texts):
        lines.update(texts[name])
    partial = order.out / f"{TOKENIZER}.partial"
    assert order.vocab_size is not None  # the caller asked
    tokenizer.train(lines, partial, order.vocab_size)
    os.replace(partial, order.out / TOKENIZER)


def _write_manifest(order: Order) -> dict[str, Any]:
    """Writes card and manifest, the manifest last: a folder without one is not taken for a data folder."""
    folders = {spec.name: spec.version for spec in order.specs}
    folders |= {name: folder.name for name, folder in order.kept.items()}
    for name in _others(order):
        folders[name] = records.DataFolder.open(order.out).sources[name].version
    made = {name: _provenance(order.out / name / version) for name, version in folders.items()}
    listed = ("version", "task", "language", "licence", "citation", "url", "splits", "fingerprint", "instructions")
    attributes: dict[str, set[str]] = {}
    for found in made.values():
        for name, values in found["attributes"].items():
            attributes.setdefault(name, set()).update(values)
    manifest: dict[str, Any] = {
        "schema_version": schema.SCHEMA_VERSION,
        "name": order.name,
        "edition": order.edition,
        "sources": {name: {key: found[key] for key in listed} for name, found in sorted(made.items())},
        "attributes": {name: sorted(values) for name, values in sorted(attributes.items())},
    }
    if order.tokenizer is not None:
        file_safety.write_whole(order.out / TOKENIZER, order.tokenizer.read_bytes())
    if order.vocab_size is not None or order.tokenizer is not None:
        digest = hashlib.sha256((order.out / TOKENIZER).read_bytes()).hexdigest()
        manifest["tokenizer"] = {"file": TOKENIZER, "sha256": digest}
    bill = json.dumps(card.bill_of_materials(made), ensure_ascii=False, indent=2) + "\n"
    file_safety.write_whole(order.out / BILL, bill)
    file_safety.write_whole(order.out / "README.md", card.text(manifest, made, introduction=order.introduction))
    text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
    file_safety.write_whole(order.out / records.MANIFEST, text)
    return manifest
