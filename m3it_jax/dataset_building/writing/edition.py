"""Builds a whole data folder: every source of an edition in worker processes, the tokenizer, the manifest, the card."""

import collections
import dataclasses
import json
import os
import pathlib
import shutil
import textwrap
from typing import Any

from m3it_jax import errors, file_safety, progress, prompts, records, schema, tokenizer
from m3it_jax.dataset_building import workers
from m3it_jax.dataset_building.publishers import npm
from m3it_jax.dataset_building.specification import WITHOUT, Assets, SourceSpec
from m3it_jax.dataset_building.writing import card, inputs
from m3it_jax.dataset_building.writing.order import Order
from m3it_jax.records import framing

TOKENIZER = "tokenizer.model"
BILL = "bill_of_materials.json"  # what each source is, its terms, and the raw files it was made from


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of an order.

    Attributes:
      manifest: What the folder holds.
      built: Sources that were made.
      rebuilt: Sources that stood there and were made again, since what they are imported from had changed.
      same: Those of `rebuilt` of which all bytes came out as they were.
    """

    manifest: dict[str, Any]
    built: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()
    same: tuple[str, ...] = ()


def build(order: Order, jobs: int) -> dict[str, Any]:
    """Builds what is missing of a data set and returns the manifest; raises what `carry_out` does."""
    return carry_out(order, jobs).manifest


def carry_out(order: Order, jobs: int) -> Outcome:
    """Builds what is missing of a data set. Finished sources are kept, unless what they are imported from has changed.

    Raises:
      UserError: the folder is in use or holds something else, npm is needed and missing, too many rows of a source
        are bad, or a worker died.
    """
    with file_safety.held(order.out, doing="building", instead="folder"):
        _check_folder(order)
        shutil.rmtree(order.out / ".building", ignore_errors=True)
        for name, folder in sorted(order.kept.items()):
            _take_over(order, name, folder)
        changed = {spec.name for spec in order.specs if _is_changed(order, spec)}
        todo = [spec for spec in order.specs if spec.name in changed or not _finished(order, spec)]
        if not todo and _complete(order):
            return Outcome(dict(records.DataFolder.open(order.out).manifest))
        before = {name: _fingerprint(order, name) for name in changed}
        assets = {**order.folders, **npm.fetch(sorted({name for spec in todo for name in spec.packages}))}
        tasks = [(order, tuple(spec.name for spec in group), assets, changed) for group in _groups(order, todo)]
        if order.vocab_size is not None:
            # Finished sources come with nothing to build: their texts are read for the vocabulary all the same.
            tasks.append((order, tuple(spec.name for spec in order.specs if spec not in todo), assets, changed))
        with workers.Workers(jobs) as pool, progress.Progress(sum(map(order.rows, todo)), "records") as shown:
            texts = pool.run(_build_sources, tasks, shown)
        if order.vocab_size is not None:
            _train_tokenizer(order, {name: lines for part in texts for name, lines in part.items()})
        manifest = _write_manifest(order)
        shutil.rmtree(order.out / ".building", ignore_errors=True)  # each source has left it when it was whole
        built = tuple(spec.name for spec in todo if spec.name not in changed)
        same = tuple(name for name in sorted(changed) if _fingerprint(order, name) == before[name])
        return Outcome(manifest, built, tuple(sorted(changed)), same)


def _is_changed(order: Order, spec: SourceSpec) -> bool:
    """Returns whether a finished source was made from what is another now, or lacks a split whose files have come."""

    def read(pictures: inputs.Pictures) -> None:
        from m3it_jax.dataset_building.steps import pipeline

        stream = pipeline.Stream(spec, order.folders, order.seed, limit=order.limit)
        for split in schema.SPLITS:
            for row in stream.rows(split):
                pictures.add(row)

    if not _finished(order, spec):
        return False
    lacked = _provenance(order.out / spec.name / spec.version).get(WITHOUT, ())
    return bool(set(lacked) - set(spec.settings.get(WITHOUT, ()))) or (
        bool(spec.inputs) and inputs.is_changed(order.out, spec, read)
    )


def _fingerprint(order: Order, name: str) -> str:
    (spec,) = (spec for spec in order.specs if spec.name == name)
    return str(_provenance(order.out / name / spec.version).get("fingerprint"))


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
                # A split whose files were taken away since stays as it was built.
                if name != WITHOUT and _comparable(made.get(name)) != _comparable(value):
                    was, wanted = (textwrap.shorten(str(each), 200) for each in (made.get(name), value))
                    raise errors.UserError(
                        f"{order.out / spec.name}: was built with {name} {was}, not {wanted}; "
                        "choose another folder or delete this one"
                    )


def _comparable(value: Any) -> Any:
    """Returns a setting without the sizes of imported files: a file of the same name may have been mended."""
    if isinstance(value, dict) and isinstance(value.get("files"), list):
        return {**value, "files": [[name, split] for name, _, split in value["files"]]}
    return value


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


def _build_sources(task: tuple[Order, tuple[str, ...], Assets, set[str]]) -> dict[str, dict[str, int]]:
    """Builds the named sources that are not finished or have changed; returns lines of train texts with counts.

    They are returned only where a vocabulary is to be trained, in the order of the shards: it depends on it.
    """
    order, names, assets, changed = task
    from m3it_jax.dataset_building.steps import pipeline  # TensorFlow: seconds, and only workers need it
    from m3it_jax.dataset_building.writing import builder

    found: dict[str, dict[str, int]] = {}
    for spec in order.specs:
        if spec.name in names:
            if spec.name in changed or not _finished(order, spec):
                stream = pipeline.Stream(
                    spec,
                    assets,
                    order.seed,
                    limit=order.limit,
                    pick=order.pick,
                    allow=order.allow,
                    max_bad=order.max_bad,
                    few_bad=order.few_bad,
                    on_record=workers.count,
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
        manifest["tokenizer"] = {"file": TOKENIZER, "sha256": file_safety.sha256(order.out / TOKENIZER)}
    bill = json.dumps(card.bill_of_materials(made), ensure_ascii=False, indent=2) + "\n"
    file_safety.write_whole(order.out / BILL, bill)
    file_safety.write_whole(order.out / "README.md", card.text(manifest, made, introduction=order.introduction))
    text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
    file_safety.write_whole(order.out / records.MANIFEST, text)
    return manifest
