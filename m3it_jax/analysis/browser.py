"""Data folder -> static pages that one can search: pictures, texts, tokens, plots, counts, what was left out.

    DIR/index.html              the page; it opens from the disk and loads nothing from elsewhere
    DIR/files/browse.js, *.css  its program and its look
    DIR/files/index.js          every record's texts, which the search goes through
    DIR/files/records/<n>.js    meta and tokens of `CHUNK` records, loaded when one of them is opened
    DIR/files/pictures/         pictures, named by their content

Data are JSON inside a call, since a page on the disk may load scripts but no JSON. Nothing of a record is ever put into
a page as HTML: the program sets texts as texts, and the page's policy forbids scripts that are not its own files.
"""

import collections
import dataclasses
import hashlib
import importlib.resources
import io
import itertools
import json
import os
import pathlib
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
from PIL import Image

from m3it_jax import errors, file_safety, progress, prompts, records, schema
from m3it_jax import tokenizer as tokenization
from m3it_jax.analysis import charts, token_view
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.media import pictures
from m3it_jax.dataset_building.steps import quality
from m3it_jax.dataset_building.writing import rejections
from m3it_jax.input_pipeline.rows import transforms

PAGE = "index.html"
LIMIT = 100  # records of each source
CHUNK = 50  # records whose details are loaded together
REJECTED_SHOWN = 20  # rows of each source and reason

# The limits of the preset `ying_vlm` of configs/stage2_instruct.py; a picture's query tokens are drawn as one.
MAX_TEXT_LEN, MAX_RESPONSE_LEN, NUM_QUERIES = 512, 128, 1

_SIDE = 640  # pixels; a larger picture is shown smaller
_JPEG_QUALITY = 85
_FILES, _WRITING, _LOCK = "files", ".writing", ".lock"
_MARK = ".m3it-browse"  # a folder with this file is ours to write again
_PAGES = "m3it_jax.analysis"
_STATIC = ("style.css", "browse.css", "browse.js")


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be shown.

    Attributes:
      folder: The data.
      out: Where the pages go.
      sources: Names of the sources.
      limit: Most records of each source, spread over its splits.
      tokenizer: Cuts texts into tokens; without one no tokens are shown.
    """

    folder: records.DataFolder
    out: pathlib.Path
    sources: tuple[str, ...]
    limit: int = LIMIT
    tokenizer: tokenization.Tokenizer | None = None

    def shown(self) -> dict[tuple[str, str], int]:
        """Returns (source, split) -> number of records that are shown."""
        return {
            (source, split): number
            for source in self.sources
            for split, number in shares(self.folder.sources[source].splits, self.limit).items()
        }


def order(
    folder: records.DataFolder,
    out: pathlib.Path,
    *,
    sources: Sequence[str],
    limit: int = LIMIT,
    tokenizer_path: pathlib.Path | None = None,
) -> Order:
    """Returns the order that shows the named sources (all if none is named) with the tokenizer, or the folder's own.

    Raises:
      UserError: the data folder has no such source, or the tokenizer cannot be read.
    """
    for source in sources:
        folder.source_path(source)
    path = tokenizer_path or folder.tokenizer_path
    tokenizer = tokenization.Tokenizer.load(path) if path else None
    return Order(folder, out, tuple(sorted(set(sources)) if sources else folder.sources), limit, tokenizer)


def shares(counts: Mapping[str, int], limit: int) -> dict[str, int]:
    """Returns how many records of each split make up `limit`: as evenly as the splits' own sizes allow."""
    found, left = {}, limit
    for place, (split, count) in enumerate(sorted(counts.items(), key=lambda item: item[1])):
        found[split] = min(count, -(-left // (len(counts) - place)))
        left -= found[split]
    return {split: found[split] for split in dict.fromkeys((*schema.SPLITS, *counts)) if found.get(split)}


def write(order: Order) -> dict[str, Any]:
    """Writes the pages and returns how many records and pictures they show.

    Raises:
      UserError: DIR is in use or holds something else, or a record or a list of left-out rows is damaged.
    """
    with file_safety.held(order.out, doing="writing pages", instead="folder"):
        check_folder(order.out)
        (order.out / _MARK).touch()
        scratch = order.out / _WRITING
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "pictures").mkdir(parents=True)
        (scratch / "records").mkdir()
        about = {source: _about(order.folder, source) for source in order.sources}
        lengths = _write_records(order, scratch)
        for name in _STATIC:
            text = importlib.resources.files(_PAGES).joinpath("pages", name).read_text(encoding="utf-8")
            (scratch / name).write_text(text, encoding="utf-8")
        num_pictures = sum(1 for _ in (scratch / "pictures").iterdir())
        page = _render(order, about, lengths=lengths, num_pictures=num_pictures)
        (order.out / PAGE).unlink(missing_ok=True)  # from here on the folder is not taken for whole
        shutil.rmtree(order.out / _FILES, ignore_errors=True)
        os.replace(scratch, order.out / _FILES)
        file_safety.write_whole(order.out / PAGE, page)
    return {"records": sum(order.shown().values()), "pictures": num_pictures}


def check_folder(out: pathlib.Path) -> None:
    """Refuses a folder that is neither empty nor one with pages of ours.

    Raises:
      UserError: it holds something else.
    """
    if not out.is_dir() or (out / _MARK).exists():
        return
    if strangers := sorted(path.name for path in out.iterdir() if path.name != _LOCK):
        raise errors.UserError(f"{out}: holds {strangers[0]} and is no folder of `m3it browse`; choose an empty one")


def _write_records(order: Order, scratch: pathlib.Path) -> dict[str, list[int]]:
    """Writes index, details and pictures; returns the lengths that are plotted, by what they measure."""
    index: list[dict[str, Any]] = []
    lengths: dict[str, list[int]] = collections.defaultdict(list)
    instances = progress.track(_instances(order), sum(order.shown().values()), "records")
    for number in itertools.count():
        chunk = list(itertools.islice(instances, CHUNK))
        if not chunk:
            break
        details = []
        for split, instance in chunk:
            details.append(_detail(order, instance))
            index.append(_entry(instance, split, scratch / "pictures"))
            for name in ("instruction", "inputs", "outputs"):
                lengths[name].append(len(getattr(instance, name)))
            if kinds := [kind for kind, _ in details[-1].get("tokens", ())]:
                lengths["response"].append(kinds.count(token_view.LEARNED))
                lengths["prompt"].append(len(kinds) - kinds.count(token_view.PICTURE) - lengths["response"][-1])
        _write_call(scratch / "records" / f"{number}.js", "browse.details", [number, details])
    licences = {source: order.folder.sources[source].licence for source in order.sources}
    _write_call(scratch / "index.js", "browse.begin", [{"records": index, "chunk": CHUNK, "licences": licences}])
    return lengths


def _write_call(path: pathlib.Path, function: str, arguments: list[Any]) -> None:
    values = ",".join(json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in arguments)
    path.write_text(f"{function}({values});\n", encoding="utf-8")


def _instances(order: Order) -> Iterator[tuple[str, schema.Instance]]:
    for (source, split), number in order.shown().items():
        table = order.folder.table(source, split)
        for place in range(number):
            yield split, table.read(place)


def _entry(instance: schema.Instance, split: str, folder: pathlib.Path) -> dict[str, Any]:
    """Returns what the search and the cards need of a record."""
    meta = instance.meta
    entry = {
        "id": instance.id,
        "source": instance.source,
        "split": split,
        "task": instance.task,
        "language": instance.language,
        "instruction": instance.instruction,
        "inputs": instance.inputs,
        "outputs": instance.outputs,
        "pictures": [_picture(data, folder) for data in instance.images],
        "before": meta.get("original_answer"),
        "boxes": len(boxes) if isinstance(boxes := meta.get("boxes"), list) else 0,
        "turns": _turns(instance),
        "system": meta.get("system"),
    }
    return {name: value for name, value in entry.items() if value or name in ("inputs", "outputs")}


def _turns(instance: schema.Instance) -> list[dict[str, Any]]:
    """Returns the turns of a conversation, its own last; none of a record that is no conversation, or no sound one."""
    try:
        turns = schema.turns_of(instance)
    except errors.UserError:  # told where its tokens would stand
        return []
    return [dataclasses.asdict(turn) for turn in turns] if len(turns) > 1 else []


def _picture(data: bytes, folder: pathlib.Path) -> dict[str, Any]:
    """Writes a picture as it is stored, a large one smaller, and returns its file and its own size, or its problem."""
    if problem := quality.picture_problem(data):
        return {"problem": problem[1]}
    with Image.open(io.BytesIO(data), formats=schema.PICTURE_FORMATS) as picture:
        width, height = picture.size
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.{pictures.extension(data)}"
        if max(width, height) > _SIDE:
            picture.draft("RGB", (_SIDE, _SIDE))
            small = picture.convert("RGB")
            small.thumbnail((_SIDE, _SIDE))
            name = f"{name.split('.')[0]}.jpg"
            small.save(folder / name, "JPEG", quality=_JPEG_QUALITY)
        else:
            (folder / name).write_bytes(data)
    return {"file": name, "width": width, "height": height}


def _detail(order: Order, instance: schema.Instance) -> dict[str, Any]:
    """Returns what is shown of an opened record: its meta, and its row as training lays it out."""
    detail: dict[str, Any] = {"meta": dict(instance.meta)}
    if order.tokenizer is None:
        return detail
    layout = transforms.Layout.of(
        order.tokenizer,
        prompts.YING_VLM,
        picture_len=NUM_QUERIES,
        max_text_len=MAX_TEXT_LEN,
        max_response_len=MAX_RESPONSE_LEN,
    )
    try:
        text = transforms.fit(
            layout, order.tokenizer, schema.turns_of(instance), system=instance.meta.get("system", "")
        )
    except errors.UserError as error:
        return detail | {"problem": str(error)}
    row = transforms.make_row(layout, text, num_images=len(instance.images))
    return detail | {"tokens": token_view.tokens(row, order.tokenizer), "dropped": text.num_dropped}


def _about(folder: records.DataFolder, source: str) -> dict[str, Any]:
    """Returns what the page says about a source: its counts beside the paper's, and the rows that were left out."""
    info, made = folder.sources[source], folder.provenance(source)
    published = sources.load(source).published if source in sources.NAMES else None
    return {
        "task": info.task,
        "language": info.language,
        "licence": info.licence,
        "version": info.version,
        "url": info.url,
        "counts": {split: info.splits.get(split, 0) for split in schema.SPLITS},
        "paper": dict(published.counts) if published else None,
        "languages": _languages(made),
        "rejected": dict(made.get("rejected", {})),
        "rows": _rejected(folder.source_path(source) / rejections.REJECTED),
    }


def _languages(provenance: Mapping[str, Any]) -> collections.Counter[str]:
    seen: collections.Counter[str] = collections.Counter()
    for split in provenance.get("statistics", {}).values():
        seen.update(split["languages"])
    return seen


def _rejected(file: pathlib.Path) -> dict[str, list[dict[str, str]]]:
    """Returns the first rows of each reason in a list of left-out rows; none if there is no list.

    Raises:
      UserError: a line is no object with the fields that the builder writes.
    """
    found: dict[str, list[dict[str, str]]] = {}
    if not file.exists():
        return found
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                kept = {name: str(row[name]).encode("utf-8", "replace").decode() for name in ("split", "place", "text")}
                shown = found.setdefault(str(row["reason"]), [])
            except (ValueError, KeyError, TypeError) as error:
                raise errors.UserError(f"{file}:{number}: is no left-out row ({error}); build it again") from error
            if len(shown) < REJECTED_SHOWN:
                shown.append(kept)
    return found


# What is plotted -> its heading and unit.
_PLOTS = {
    "instruction": ("Instruction", "characters"),
    "inputs": ("Inputs", "characters"),
    "outputs": ("Outputs", "characters"),
    "prompt": ("Prompt, with begin and picture marks", "tokens"),
    "response": ("Response: what the loss counts", "tokens"),
}


def _render(
    order: Order, about: Mapping[str, Mapping[str, Any]], *, lengths: Mapping[str, list[int]], num_pictures: int
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_PAGES, "pages"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = [
        {
            "name": heading,
            "unit": unit,
            "chart": charts.histogram(lengths[name]),
            "median": statistics.median(lengths[name]),
            "mean": statistics.fmean(lengths[name]),
            "longest": max(lengths[name]),
        }
        for name, (heading, unit) in _PLOTS.items()
        if lengths.get(name)
    ]
    totals: dict[str, collections.Counter[str]] = {"language": collections.Counter(), "task": collections.Counter()}
    for told in about.values():
        totals["language"].update(told["languages"])
        totals["task"][told["task"]] += sum(told["counts"].values())
    shown = order.shown()
    return environment.get_template("browse.html").render(
        name=order.folder.manifest.get("name", order.folder.path.name),
        edition=order.folder.manifest.get("edition", ""),
        sources=about,
        totals={name: counts.most_common() for name, counts in totals.items()},
        plots=plots,
        num_records=sum(sum(told["counts"].values()) for told in about.values()),
        num_shown=sum(shown.values()),
        num_pictures=num_pictures,
        num_rejected=sum(sum(told["rejected"].values()) for told in about.values()),
        splits=schema.SPLITS,
        most_rejected=REJECTED_SHOWN,
        has_tokens=order.tokenizer is not None,
        size={name: getattr(charts, name.upper()) for name in ("width", "height", "left", "right", "top", "bottom")},
    )
