"""Builds a whole data folder: every source of an edition in worker processes, the tokenizer, the manifest, the card."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from m3it_jax import errors, framing, progress, prompts, records, schema, tokenizer
from m3it_jax.dataset_building import card, mini, npm
from m3it_jax.dataset_building.specification import Assets, SourceSpec

TOKENIZER = "tokenizer.model"
_LOCK = ".lock"
_POLL = 0.5  # seconds between looks at the workers


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be built: the folder, the edition's name, the seed, and most records of a split (None for all)."""

    out: pathlib.Path
    edition: str
    seed: int = 0
    limit: int | None = None

    def specs(self) -> tuple[SourceSpec, ...]:
        """Returns the sources of the edition."""
        return mini.EDITIONS[self.edition]

    def rows(self, spec: SourceSpec) -> int:
        """Returns about how many records a source will have, all splits together."""
        limit = self.limit
        return sum(number if limit is None else min(number, limit) for number in spec.rows.values())


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds the folder against a second build; the system lets go when the process ends, however it ends.

    Raises:
      UserError: another build holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / _LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.UserError(f"{folder}: another build is writing here; wait, or choose another") from error
        yield


def build(order: Order, jobs: int) -> dict[str, Any]:
    """Builds what is missing of an edition and returns the manifest. Finished sources are kept as they are.

    Raises:
      UserError: the folder holds something else, npm is needed and missing, or a worker died.
    """
    with locked(order.out):
        _check_folder(order)
        shutil.rmtree(order.out / ".building", ignore_errors=True)
        todo = [spec for spec in order.specs() if not _finished(order, spec)]
        if not todo and (order.out / records.MANIFEST).exists():
            return dict(records.DataFolder.open(order.out).manifest)
        assets = npm.fetch(sorted({name for spec in todo for name in spec.packages}))
        tasks = [(order, tuple(spec.name for spec in group), assets) for group in _groups(order, todo)]
        # Finished sources come with nothing to build: their texts are read for the vocabulary all the same.
        tasks.append((order, tuple(spec.name for spec in order.specs() if spec not in todo), assets))
        with _Workers(jobs) as workers, progress.Progress(sum(map(order.rows, todo)), "records") as shown:
            texts = workers.run(_build_sources, tasks, shown)
        _train_tokenizer(order, {name: lines for part in texts for name, lines in part.items()})
        return _write_manifest(order)


def _groups(order: Order, specs: list[SourceSpec]) -> list[list[SourceSpec]]:
    """Returns the sources in portions for one worker each, the largest first; the videos share their clips."""
    videos = [spec for spec in specs if spec.name.startswith("video-")]
    others = sorted((spec for spec in specs if spec not in videos), key=order.rows, reverse=True)
    return ([videos] if videos else []) + [[spec] for spec in others]


def _check_folder(order: Order) -> None:
    manifest = order.out / records.MANIFEST
    if manifest.exists():
        found = records.DataFolder.open(order.out).manifest
        names = {spec.name for spec in order.specs()}
        if found.get("name") != mini.NAME or not set(found["sources"]) <= names:
            held = f"{found.get('name')}, edition {found.get('edition')}"
            raise errors.UserError(f"{order.out}: holds {held}; choose another folder")
    for spec in order.specs():
        if _finished(order, spec):
            made = _provenance(order, spec)
            for name in ("seed", "limit"):
                if made[name] != getattr(order, name):
                    raise errors.UserError(
                        f"{order.out / spec.name}: was built with {name} {made[name]}, not {getattr(order, name)}; "
                        "choose another folder or delete this one"
                    )


def _finished(order: Order, spec: SourceSpec) -> bool:
    return (order.out / spec.name / spec.version).is_dir()


def _provenance(order: Order, spec: SourceSpec) -> dict[str, Any]:
    file = order.out / spec.name / spec.version / "provenance.json"
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


class _Workers:
    """Worker processes; leaving by an error ends them at once."""

    def __init__(self, jobs: int):
        context = multiprocessing.get_context("spawn")
        self._counter = context.Value("q", 0)
        self._pool = concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_start_worker, initargs=(self._counter, os.getpid())
        )

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None:
            for child in multiprocessing.active_children():
                child.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, task: Callable, orders: list[Any], shown: progress.Progress) -> list[Any]:
        """Returns task(order) of every order, and meanwhile reports the records that the workers count."""
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


def _count() -> None:
    with _reported.get_lock():
        _reported.value += 1


def _build_sources(task: tuple[Order, tuple[str, ...], Assets]) -> dict[str, dict[str, int]]:
    """Builds the named sources, unless they are finished, and returns the lines of their train texts with counts."""
    order, names, assets = task
    from m3it_jax.dataset_building import builder, pipeline  # TensorFlow: seconds, and only workers need it

    found: dict[str, dict[str, int]] = {}
    for spec in order.specs():
        if spec.name in names:
            lines: collections.Counter[str] = collections.Counter()
            add = functools.partial(_add_lines, lines)
            if _finished(order, spec):
                for shard in records.shard_paths(order.out / spec.name / spec.version, "train"):
                    for _, data in framing.scan(shard):
                        add(records.decode(data))
            else:
                stream = pipeline.Stream(spec, assets, order.seed, limit=order.limit, on_record=_count)
                builder.build(stream, order.out, add)
            found[spec.name] = dict(lines)
    return found


def _add_lines(lines: collections.Counter[str], instance: schema.Instance) -> None:
    """Adds the lines of a record as a model sees them: prompt, response, captions, and the marks around pictures."""
    text = prompts.prompt(instance.instruction, instance.inputs) + prompts.response(instance.outputs)
    lines.update(text.split("\n"))
    for caption in instance.meta["captions"]:
        lines.update((prompts.IMAGE_OPEN, caption, prompts.IMAGE_CLOSE))


def _train_tokenizer(order: Order, texts: dict[str, dict[str, int]]) -> None:
    lines: collections.Counter[str] = collections.Counter()
    for name in sorted(texts):
        lines.update(texts[name])
    partial = order.out / f"{TOKENIZER}.partial"
    tokenizer.train(lines, partial, mini.VOCAB_SIZE)
    os.replace(partial, order.out / TOKENIZER)


def _write_manifest(order: Order) -> dict[str, Any]:
    """Writes card and manifest, the manifest last: a folder without one is not taken for a data folder."""
    made = {spec.name: _provenance(order, spec) for spec in order.specs()}
    listed = ("version", "task", "language", "licence", "citation", "url", "splits", "fingerprint", "instructions")
    attributes: dict[str, set[str]] = {}
    for found in made.values():
        for name, values in found["attributes"].items():
            attributes.setdefault(name, set()).update(values)
    manifest = {
        "schema_version": schema.SCHEMA_VERSION,
        "name": mini.NAME,
        "edition": order.edition,
        "sources": {name: {key: found[key] for key in listed} for name, found in sorted(made.items())},
        "tokenizer": {
            "file": TOKENIZER,
            "sha256": hashlib.sha256((order.out / TOKENIZER).read_bytes()).hexdigest(),
        },
        "attributes": {name: sorted(values) for name, values in sorted(attributes.items())},
    }
    _write(order.out / "README.md", card.text(manifest, made))
    _write(order.out / records.MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    return manifest


def _write(path: pathlib.Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
