"""The card of a data folder, as Markdown."""

from collections.abc import Mapping
from typing import Any

from m3it_jax import licences


def text(manifest: Mapping[str, Any], made: Mapping[str, Mapping[str, Any]], *, introduction: str) -> str:
    """Returns the card for a manifest and the provenance of its sources.

    Of the introduction the first line comes before the title; the rest comes last.
    """
    first, _, how = introduction.partition("\n")
    splits = ("train", "validation", "test")
    totals = [sum(source["splits"].get(split, 0) for source in manifest["sources"].values()) for split in splits]
    lines = [first, "", f"# {manifest['name']}, edition {manifest['edition']}", ""]
    lines += [f"{totals[0]} records to train on, {totals[1]} to validate, {totals[2]} to test.", ""]
    lines += ["| source | version | task | language | train | validation | test |", "|---|---|---|---|---|---|---|"]
    for name, source in manifest["sources"].items():
        counts = " | ".join(str(source["splits"].get(split, 0)) for split in splits)
        lines.append(f"| {name} | {source['version']} | {source['task']} | {source['language']} | {counts} |")
    lines += ["", "## Skills in the test split", ""]
    lines += ["| skill | source | records | different answers | commonest answer |", "|---|---|---|---|---|"]
    for name, source in sorted(made.items()):
        for skill, seen in source["statistics"].get("test", {}).get("skills", {}).items():
            share = f"{100 * seen['majority']:.1f} %"
            lines.append(f"| {skill} | {name} | {seen['records']} | {seen['answers']} | {share} |")
    lines += ["", "## Licences and sources", ""]
    lines += ["| source | licence | allows | citation | where | known problems |", "|---|---|---|---|---|---|"]
    for name, source in sorted(made.items()):
        facts = (source[key] for key in ("citation", "url", "known_problems"))
        cells = (source["licence"] or "unknown", licences.terms(source["licence"]), *facts)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + how


def bill_of_materials(made: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns, for the provenance of each source, what it is, what its terms are and what it was made from."""
    listed = ("version", "licence", "citation", "url", "builder_version", "splits", "fingerprint", "raw")
    return [
        {"source": name, "terms": licences.terms(source["licence"])} | {key: source.get(key, "") for key in listed}
        for name, source in sorted(made.items())
    ]
