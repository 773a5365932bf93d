"""The README.md of imported and of exported weights: what they are, where they come from, how to use them."""

import math
from collections.abc import Iterable, Mapping, Sequence

from m3it_jax import safetensors_files
from m3it_jax.checkpoint_conversion.folders.planning import Plan, part_of
from m3it_jax.models.variants import Variant

_LICENCE = (
    "The weights keep the licences of the places named above; several of them forbid commercial use or passing them "
    "on. This program adds no right."
)


def of_import(found: Plan) -> str:
    """Returns the README.md of a folder made by an import."""
    lines = [
        f"# {found.variant_name}",
        "",
        "Weights in the layout of m3it_jax, made by `m3it weights import` from:",
        "",
        *(f"- {part}: {words}" for part, words in found.origins.items()),
        "",
        *_table(found.shapes, {path: safetensors_files.NAMES[dtype] for path, dtype in found.dtypes.items()}),
        "",
        "Use it as any checkpoint: `m3it generate FOLDER --image photo.png --instruction ...`, "
        '`m3it_jax.load("FOLDER")`, `--init_from.all=FOLDER`; `m3it weights export FOLDER HF_DIR` gives the Hugging '
        "Face layout back.",
        "",
        *_carried({key: row.reason for key, row in found.unused.items()}),
        *(line for note in found.notes for line in (f"Note: {note}.", "")),
        _LICENCE,
    ]
    return "\n".join(lines) + "\n"


def of_export(
    name: str, variant: Variant, *, model_class: str, origins: Mapping[str, str], shapes: Mapping[str, Sequence[int]]
) -> str:
    """Returns the model card of exported weights.

    Args:
      name: Of the model.
      variant: The model.
      model_class: Class of `transformers` that loads it.
      origins: Where the weights come from.
      shapes: All parameters.
    """
    count = sum(math.prod(shape) for shape in shapes.values())
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "---",
        "",
        f"# {name}",
        "",
        f"{count:,} parameters, written by `m3it weights export`; prompts in the form `{variant.prompt}`.",
        "",
        "```python",
        f"from transformers import AutoProcessor, {model_class}",
        "",
        f'model = {model_class}.from_pretrained("FOLDER")',
        'processor = AutoProcessor.from_pretrained("FOLDER")',
        "```",
        "",
        "The weights come from:",
        "",
        *(f"- {part}: {words}" for part, words in origins.items()),
        "",
        _LICENCE,
    ]
    return "\n".join(lines) + "\n"


def _table(shapes: Mapping[str, Sequence[int]], dtypes: Mapping[str, str]) -> Iterable[str]:
    yield "| part | parameters | stored as |"
    yield "|---|---|---|"
    for part in dict.fromkeys(map(part_of, shapes)):
        paths = [path for path in shapes if part_of(path) == part]
        count = sum(math.prod(shapes[path]) for path in paths)
        yield f"| {part} | {count:,} | {', '.join(sorted({dtypes[path] for path in paths}))} |"


def _carried(reasons: Mapping[str, str]) -> Iterable[str]:
    if reasons:
        yield "The model does not compute with these tensors; an export gives them back:"
        yield ""
        yield from (f"- `{key}`: {reason}" for key, reason in reasons.items())
        yield ""
