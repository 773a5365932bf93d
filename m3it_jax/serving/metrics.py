"""What GET /metrics tells, in the text form of Prometheus (version 0.0.4)."""

import collections
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: from a step of a small model to the longest answer.
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_COUNTERS = {
    "m3it_responses_total": "Responses by route and status.",
    "m3it_answers_total": "Answers by how they ended.",
    "m3it_prompt_tokens_total": "Tokens of prompts, pictures included.",
    "m3it_shared_prompt_tokens_total": "Tokens of prompts that were found computed.",
    "m3it_new_tokens_total": "Tokens of answers.",
}
_HISTOGRAMS = {
    "m3it_first_token_seconds": "From a request's last byte to the first text of its answer.",
    "m3it_request_seconds": "From a request's last byte to the end of its response.",
}


class Metrics:
    """Counts; used in the event loop alone."""

    def __init__(self) -> None:
        """Nothing was counted yet."""
        self._counts: collections.Counter[tuple[str, tuple[tuple[str, str], ...]]] = collections.Counter()
        self._buckets: dict[str, list[int]] = {name: [0] * (len(_BOUNDS) + 1) for name in _HISTOGRAMS}
        self._sums = dict.fromkeys(_HISTOGRAMS, 0.0)

    def count(self, name: str, number: int = 1, **labels: str) -> None:
        """Adds to a counter."""
        self._counts[name, tuple(sorted(labels.items()))] += number

    def observe(self, name: str, seconds: float) -> None:
        """Adds a duration to a histogram."""
        place = next((place for place, bound in enumerate(_BOUNDS) if seconds <= bound), len(_BOUNDS))
        self._buckets[name][place] += 1
        self._sums[name] += seconds

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Returns all of it; `gauges` are values of this moment: {name: (what it is, value)}."""
        lines: list[str] = []
        for name, about in _COUNTERS.items():
            lines += _head(name, about, "counter")
            found = {labels: number for (key, labels), number in self._counts.items() if key == name}
            lines += [f"{name}{_labels(labels)} {number}" for labels, number in sorted(found.items())]
            lines += [f"{name} 0"] if not found else []
        for name, about in _HISTOGRAMS.items():
            lines += _head(name, about, "histogram")
            total = 0
            for bound, number in zip((*map(str, _BOUNDS), "+Inf"), self._buckets[name], strict=True):
                total += number
                lines.append(f"{name}_bucket{_labels([('le', bound)])} {total}")
            lines += [f"{name}_sum {self._sums[name]:.6f}", f"{name}_count {total}"]
        for name, (about, value) in gauges.items():
            lines += [*_head(name, about, "gauge"), f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, about: str, kind: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""
