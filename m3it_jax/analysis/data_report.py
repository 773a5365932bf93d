"""Statistics of a data folder -> one self-contained page, in the look of the run's report."""

from collections.abc import Mapping
from typing import Any

import jinja2

PAGE = "data.html"


def render(told: Mapping[str, Any]) -> str:
    """Returns the page over what `dataset_building.statistics.report` tells; nothing in it is loaded from elsewhere."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("m3it_jax.analysis", "pages"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
    )
    skills = [
        {"name": skill, "source": name, "split": split, **seen}
        for name, source in told["sources"].items()
        for split, summary in source["splits"].items()
        for skill, seen in summary["skills"].items()
    ]
    most = max((number for counts in told["totals"].values() for number in counts.values()), default=1)
    return environment.get_template(PAGE).render(told=told, skills=skills, most=most)
