"""A page of answers while a model is trained: validation records with the answer of this step beside the reference."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from m3it_jax import file_safety, prompts, schema
from m3it_jax import tokenizer as tokenization
from m3it_jax.evaluation import output
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.sampler import Sampler
from m3it_jax.models import vlm
from m3it_jax.training.setup import Setup

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Answers at step {step}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{{color-scheme:light dark}}
body{{background:Canvas;color:CanvasText;font:16px/1.5 system-ui,sans-serif;
max-width:60rem;margin:2rem auto;padding:0 1rem;overflow-wrap:break-word}}
img{{width:96px;height:96px;object-fit:contain;margin:0 .3rem .3rem 0}}
article{{border-top:1px solid #8886;padding:1rem 0}}
dl{{display:grid;grid-template-columns:6rem minmax(0,1fr);gap:.2rem 1rem;margin:0}}
dt{{font-weight:600}}dd{{margin:0;white-space:pre-line}}</style></head>
<body><main><h1>Answers at step {step}</h1>
<p>{count} held back from training. The model answered without having seen the reference.</p>
{rows}</main></body></html>
"""


def write(path: Path, setup: Setup, params: Any, *, instances: Sequence[schema.Instance], step: int) -> None:
    """Writes the answers of these parameters (nested arrays, wherever they lie) as one self-contained HTML file.

    The parameters are copied to the host and from there to one device, so that no mesh has a say in it.
    """
    answers = _assistant(setup, jax.device_get(params), step).generate_batch(
        [
            {
                "instruction": one.instruction,
                "inputs": one.inputs,
                "images": list(one.images),
                "max_new_tokens": 64,
                **{name: one.meta[name] for name in output.BEFORE if name in one.meta},
            }
            for one in instances
        ]
    )
    rows = "\n".join(_row(one, answer) for one, answer in zip(instances, answers, strict=True))
    count = "1 record" if len(instances) == 1 else f"{len(instances)} records"
    path.parent.mkdir(parents=True, exist_ok=True)
    file_safety.write_whole(path, _PAGE.format(step=step, count=count, rows=rows))


def _assistant(setup: Setup, params: Any, step: int) -> Assistant:
    variant = setup.task.variant
    qformer_path = tokenization.find_qformer(setup.tokenizer_path)
    sampler = Sampler(
        vlm.make_vlm(variant, dtype=setup.task.dtype),
        params,
        setup.tokenizer,
        max_rows=8,
        prompt_format=prompts.FORMATS[variant.prompt],
        qformer_tokenizer=tokenization.Tokenizer.load(qformer_path) if qformer_path.is_file() else None,
        tiles=setup.layout.tiling.most,
    )
    return Assistant(sampler, {}, step)


def _row(instance: schema.Instance, answer: str) -> str:
    pictures = "".join(
        f'<img alt="picture {number} of the record" src="data:image/{_kind(data)};base64,'
        f'{base64.b64encode(data).decode()}">'
        for number, data in enumerate(instance.images, start=1)
    )
    asked = f"{instance.instruction}\n{instance.inputs}".strip()
    told = {"asked": asked, "answered": answer, "reference": instance.outputs}
    texts = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in told.items())
    return f"<article><h2>{html.escape(instance.id)}</h2><div>{pictures}</div><dl>{texts}</dl></article>"


def _kind(data: bytes) -> str:
    return "png" if data.startswith(b"\x89PNG") else "jpeg"
