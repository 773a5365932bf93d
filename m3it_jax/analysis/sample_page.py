"""A page of decoded training rows: the pictures, and every token as the model gets it, the supervised ones coloured."""

import base64
import html
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from m3it_jax.analysis import packed_view, token_view
from m3it_jax.input_pipeline.pixels import tiling
from m3it_jax.tokenizer import Tokenizer
from m3it_jax.training.loop import NAMES_JOINED
from m3it_jax.training.setup import Setup

Cuts = Mapping[str, Sequence[tiling.Grid]]

_NUM_ROWS = 12
_NUM_PACKED = 4  # packed rows hold many records each
_LONGEST = 12  # tokens that are kept in a line: more do not fit on a phone
_TILED = (
    "A picture in a frame was cut into tiles, which the model sees row by row, and behind them the overview that "
    "stands beside the frame."
)
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Training rows</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{{color-scheme:light dark}}
body{{background:Canvas;color:CanvasText;font:16px/1.5 system-ui,sans-serif;
max-width:60rem;margin:2rem auto;padding:0 1rem;
overflow-wrap:break-word}}
img{{width:96px;height:96px;image-rendering:pixelated;margin:0 .3rem .3rem 0}}
article{{border-top:1px solid #8886;padding:1rem 0}}
code span{{padding:.1rem .15rem;margin:.05rem;
border-radius:.2rem;background:#8882;display:inline-block}}
code .word{{background:none;padding:0;margin:0;white-space:nowrap}}
.cut{{display:inline-flex;gap:.3rem;align-items:end;margin:0 .3rem .3rem 0}}
.tiles{{display:grid;gap:2px;background:#3b7dd8;border:2px solid #3b7dd8}}img.tile{{width:64px;height:64px;margin:0}}
code .learned{{background:#2a9d5c55}}code .picture{{background:#3b7dd855}}{style}</style></head>
<body><main><h1>Training rows</h1><p>Green tokens are learned, blue ones stand for a picture, grey ones are given.</p>
{rows}</main></body></html>
"""


def write(path: Path, batch: dict[str, np.ndarray], *, record_ids: list[str], setup: Setup) -> None:
    """Writes the first rows of a host batch (of any objective) as one self-contained HTML file."""
    legend = f"<p>{_TILED}</p>" if setup.layout.tiling.most > 1 else ""
    if "parent_ids" in batch:
        names = [joined.split(NAMES_JOINED) for joined in record_ids[:_NUM_PACKED]]
        cuts = setup.pipeline.cuts(itertools.chain(*names))
        rows = [_packed(batch, number, names=own, cuts=cuts, setup=setup) for number, own in enumerate(names)]
        page = _PAGE.format(rows="\n".join([packed_view.legend() + legend, *rows]), style=packed_view.STYLE)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, "utf-8")
        return
    shown = record_ids[:_NUM_ROWS]
    cuts = setup.pipeline.cuts(shown)
    rows = [
        _row(batch, number, record_id=name, cuts=cuts, tokenizer=setup.tokenizer) for number, name in enumerate(shown)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_PAGE.format(rows="\n".join([legend, *rows]), style=""), "utf-8")


def _row(batch: dict[str, np.ndarray], number: int, *, record_id: str, cuts: Cuts, tokenizer: Tokenizer) -> str:
    shown = ""
    if "images" in batch:
        pictures = batch["images"].reshape(len(batch["source_index"]), -1, *batch["images"].shape[1:])
        shown = _pictures(pictures[number], cuts.get(record_id, ()))
    if "token_ids" in batch:
        tokens = _tokens(batch, number, tokenizer)
    else:
        tokens = html.escape(tokenizer.decode([int(token) for token in batch["caption_ids"][number] if token > 0]))
    return f"<article><h2>{html.escape(record_id)}</h2><div>{shown}</div><p><code>{tokens}</code></p></article>"


def _packed(batch: dict[str, np.ndarray], number: int, *, names: list[str], cuts: Cuts, setup: Setup) -> str:
    """Returns a packed row as HTML; `names` are the ids of its records."""
    rows = {name: array[number] for name, array in batch.items() if array.shape[:2] == batch["token_ids"].shape}
    slots = len(batch["images"]) // len(batch["token_ids"]) if "images" in batch else 0
    images = batch["images"][number * slots :] if slots else ()

    def tokens(places: np.ndarray) -> str:
        part = {name: array[places][None] for name, array in rows.items()}
        return _tokens(part, 0, setup.tokenizer)

    return packed_view.article(
        rows,
        names,
        picture_len=setup.layout.picture_len,
        pictures=lambda own, name: _pictures([images[slot] for slot in own], cuts.get(name, ())),
        tokens=tokens,
        mask=_picture(packed_view.mask_pixels(rows), "mask"),
    )


def _tokens(batch: dict[str, np.ndarray], number: int, tokenizer: Tokenizer) -> str:
    row = {name: batch[name][number] for name in ("token_ids", "image_token_index", "segment_ids", "loss_mask")}
    return "".join(
        '<span class="word">'
        + "".join(f'<span class="{kind}">{html.escape(text)}</span>' for kind, text in word)
        + "</span><wbr>"
        for word in _words(token_view.tokens(row, tokenizer))
    )


def _words(shown: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Returns the tokens by word, so that a line ends between words: a vocabulary marks where a word begins."""
    words: list[list[tuple[str, str]]] = []
    for kind, text in shown:
        if not words or not text[:1].isalnum() or not words[-1][-1][1][-1:].isalnum() or len(words[-1]) >= _LONGEST:
            words.append([])
        words[-1].append((kind, text))
    return words


def _pictures(slots: Sequence[np.ndarray], cuts: Sequence[tiling.Grid]) -> str:
    """Returns the pictures of a record as HTML, the tiles of a cut one in their grid beside its overview."""
    if sum(cut.slots for cut in cuts) != len(slots):  # another record stands in for a damaged one
        return "".join(map(_picture, slots))
    parts, waiting = [], iter(slots)
    for cut in cuts:
        own = [_picture(next(waiting), "tile" if cut != tiling.WHOLE else "shown") for _ in range(cut.slots)]
        if cut != tiling.WHOLE:
            grid = f'<span class="tiles" style="grid-template-columns:repeat({cut.columns},auto)">{"".join(own[:-1])}'
            own = [f'<span class="cut">{grid}</span>{own[-1]}</span>']
        parts += own
    return "".join(parts)


def _picture(pixels: np.ndarray, kind: str = "shown") -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="{kind}" alt="a picture of the row" src="data:image/png;base64,{data}">'
