"""All 40 sources of M3IT, each on its own split and by its own metric; `evaluation/m3it_tasks.py` is the table.

command:   m3it eval runs/stage2 DATA --suite configs/eval_m3it.py
hardware:  that of the model; `--limit 1000` takes the first thousand of each source
score:     none published
"""

from m3it_jax.config import HELD_OUT, EvalRow, EvalSuite

# The 27 that the paper trains on, by its Table 7.
TRAINED = tuple(
    """
    coco textcap image-paragraph-captioning coco-goi coco-text imagenet coco-itm snli-ve mocheg iqa vqa-v2 shapes docvqa
    ocr-vqa st-vqa text-vqa gqa okvqa a-okvqa science-qa clevr nlvr vcr visual-mrc vist visual-dialog multi30k
    """.split()
)


def get_suite() -> EvalSuite:
    """Returns the suite."""
    rows = [EvalRow(name, table="trained on") for name in TRAINED]
    rows += [EvalRow(name, table="held out") for name in HELD_OUT]
    return EvalSuite(name="m3it", rows=tuple(rows))
