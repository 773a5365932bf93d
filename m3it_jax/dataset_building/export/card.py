"""The card of an export: the header that the hub reads, and for people where everything comes from."""

from collections.abc import Mapping
from typing import Any

import jinja2

from m3it_jax import errors, licences

FILE = "README.md"
ALL = "all"  # the configuration that holds every source

_TEMPLATE = "card.md"

# How licences begin in the ledger -> the hub's identifiers (huggingface.co/docs/hub/repositories-licenses).
_LICENCES: tuple[tuple[str, str], ...] = (
    ("unknown", "unknown"),
    ("mit", "mit"),
    ("apache-2.0", "apache-2.0"),
    ("bsd-2-clause", "bsd-2-clause"),
    ("bsd-3-clause", "bsd-3-clause"),
    ("bsd 3-clause", "bsd-3-clause"),
    ("cc0", "cc0-1.0"),
    ("cc by 2.0", "cc-by-2.0"),
    ("cc by 3.0", "cc-by-3.0"),
    ("cc by 4.0", "cc-by-4.0"),
    ("cc-by 4.0", "cc-by-4.0"),
    ("cc-by-4.0", "cc-by-4.0"),
    ("cc by-sa 3.0", "cc-by-sa-3.0"),
    ("cc by-sa 4.0", "cc-by-sa-4.0"),
    ("cc by-nc 4.0", "cc-by-nc-4.0"),
    ("cc by-nc-sa 4.0", "cc-by-nc-sa-4.0"),
)

# Task of M3IT -> tasks of the hub (its `pipelines.ts`).
_TASKS: dict[str, tuple[str, ...]] = {
    "captioning": ("image-to-text",),
    "classification": ("image-classification",),
    "vqa": ("visual-question-answering",),
    "knowledge_vqa": ("visual-question-answering",),
    "reasoning": ("visual-question-answering",),
    "generation": (),
    "chinese": (),
    "video": ("video-text-to-text",),
}

# (below so many records, the hub's word).
_SIZES: tuple[tuple[float, str], ...] = (
    (1e3, "n<1K"),
    (1e4, "1K<n<10K"),
    (1e5, "10K<n<100K"),
    (1e6, "100K<n<1M"),
    (1e7, "1M<n<10M"),
    (float("inf"), "10M<n<100M"),
)


def text(manifest: Mapping[str, Any], made: Mapping[str, Any], provenance: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the card.

    Args:
      manifest: Of the data folder.
      made: Of the export, with its `files`.
      provenance: Of each source, as the builder wrote it.

    Raises:
      UserError: a provenance lacks what the card tells.
    """
    sources = {name: manifest["sources"][name] for name in made["sources"]}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("m3it_jax.dataset_building.export", ""),
        autoescape=False,  # Markdown; texts of the header are written as JSON, which YAML reads alike
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda value: " ".join(str(value).split()).replace("|", "\\|") or "-"
    environment.filters["terms"] = licences.terms
    try:
        return environment.get_template(_TEMPLATE).render(
            data=made["data"],
            format=made["format"],
            limit=made["limit"],
            sources=sources,
            provenance=provenance,
            configs=_configs(made["files"]),
            everything=ALL,
            records=sum(file["records"] for file in made["files"]),
            licences=sorted({_licence(source["licence"]) for source in sources.values()}),
            languages=_languages(provenance),
            tasks=sorted({"image-text-to-text", *(task for s in sources.values() for task in _TASKS[s["task"]])}),
            size=next(word for below, word in _SIZES if sum(file["records"] for file in made["files"]) < below),
        )
    except (KeyError, TypeError, AttributeError, jinja2.UndefinedError) as error:
        raise errors.UserError(
            f"{manifest.get('name')}: its manifest or a provenance.json is not whole ({error}); build the folder again"
        ) from error


def _licence(words: str) -> str:
    """Returns the hub's identifier for a licence of the ledger; `other` where there is none."""
    found = [(len(begin), name) for begin, name in _LICENCES if words.strip().lower().startswith(begin)]
    return max(found)[1] if found else ("other" if words.strip() else "unknown")


def _languages(provenance: Mapping[str, Mapping[str, Any]]) -> list[str]:
    seen = {tag for made in provenance.values() for split in made["statistics"].values() for tag in split["languages"]}
    return sorted({tag.split("-")[0] for tag in seen})


def _configs(files: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns configuration -> split -> its files' pattern, records and bytes; all sources together come first."""
    configs: dict[str, dict[str, dict[str, Any]]] = {}
    names = list(dict.fromkeys(file["source"] for file in files))
    for file in files:
        for name, folder in ((ALL, "*"), (file["source"], file["source"])):
            if name == ALL and (len(names) == 1 or ALL in names):
                continue
            empty = {"pattern": f"{folder}/{file['split']}-*.parquet", "records": 0, "bytes": 0}
            split = configs.setdefault(name, {}).setdefault(file["split"], empty)
            split["records"] += file["records"]
            split["bytes"] += file["bytes"]
    return configs
