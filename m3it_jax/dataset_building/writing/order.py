"""What is to be built: `Order`, which sources, imports and rewritings make and `edition.build` carries out."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import video
from m3it_jax.dataset_building.specification import FEW_BAD, MAX_BAD, Assets, FramePick, SourceSpec


def tolerated(max_bad: float | None) -> dict[str, Any]:
    """Returns the fields of an order for the share of bad rows that a user gave: it is exact; None is the default."""
    return {"max_bad": MAX_BAD, "few_bad": FEW_BAD} if max_bad is None else {"max_bad": max_bad, "few_bad": 0}


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
      few_bad: So many bad rows never stop a build, whatever their share, unless `max_bad` is 0.
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
    few_bad: int = FEW_BAD
    beam_options: tuple[str, ...] | None = None
    kept: Assets = dataclasses.field(default_factory=dict)
    tokenizer: pathlib.Path | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def rows(self, spec: SourceSpec) -> int:
        """Returns about how many records a source will have, all splits together; 0 if that is unknown."""
        limit = self.limit
        expected = {**(spec.published.counts if spec.published else {}), **spec.rows}
        return sum(number if limit is None else min(number, limit) for number in expected.values())

    def names(self) -> set[str]:
        """Returns the sources that the folder will hold, beside those built into it before."""
        return {spec.name for spec in self.specs} | set(self.kept)

    def decided_by(self) -> dict[str, Any]:
        """Returns what decides the records of a source, as its provenance lists it."""
        return {"seed": self.seed, "limit": self.limit, "allow": list(self.allow), **self.settings}
