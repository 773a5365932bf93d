"""Sets of evaluations that a file under `configs/` may return."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class EvalRow:
    """One row of a suite (`configs/eval_paper.py`): a source, and what differs from its row in the table of tasks.

    Empty fields are those of `evaluation/m3it_tasks.py`, where the allowed values stand as well.
    """

    source: str
    split: str = ""
    prompt: str = ""
    references: str = ""
    postprocess: str = ""
    metrics: tuple[str, ...] = ()
    table: str = ""  # where it stands in the publication, as "Table 4: knowledge VQA"
    published: dict[str, float] = dataclasses.field(default_factory=dict)  # system -> its published figure


@dataclasses.dataclass(frozen=True)
class EvalSuite:
    """A set of evaluations that are made together, each source with its own split, prompt and metric."""

    name: str
    rows: tuple[EvalRow, ...]
    max_new_tokens: int = 128  # YING-VLM inference_example.py
    means: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # label -> sources; mean of their rows
    citation: str = ""  # where `published` is from
