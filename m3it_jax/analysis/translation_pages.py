"""A page for each language of a translated folder, and one over all: counts, reasons, scores, examples."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2

from m3it_jax import file_safety, languages

INDEX = "index.html"


def write(folder: pathlib.Path, seen: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes `<code>.html` for each language of `translation.report.collect` and `index.html` over them.

    Raises:
      OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("m3it_jax.analysis", "pages"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
    )
    known = {code: languages.find(code) for code in seen}
    index = environment.get_template("translations.html").render(seen=seen, known=known)
    file_safety.write_whole(folder / INDEX, index)
    for code, found in seen.items():
        page = environment.get_template("translation.html").render(found=found, language=known[code], most=_most(found))
        file_safety.write_whole(folder / f"{code}.html", page)


def _most(found: Mapping[str, Any]) -> int:
    return max(1, *found["weights"])
