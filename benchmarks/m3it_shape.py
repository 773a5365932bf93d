"""M3IT's training mixture as numbers: records, pictures and text lengths of each source, for benchmarks without data.

Records are those of the paper's Table 7 (arXiv 2306.04387), the 27 sources that it trains on. No table says how many
records show one picture, or how long texts are: what stands here is ASSUMED, from the data sets that each source was
made of (five captions of a COCO picture, the pictures of TextVQA, ten questions for a document, ...) and from the
paper's length of an instruction, 24.4 tokens with a deviation of 9.6.
"""

import zlib
from typing import NamedTuple

import numpy as np

from m3it_jax.input_pipeline.order.packed_plan import Stream, scrambled
from m3it_jax.input_pipeline.order.token_lengths import Lengths


class Source(NamedTuple):
    """One source; all but `records` is assumed."""

    name: str
    records: int
    pictures: str  # the set of pictures that it shows; sets of one name are shared by sources
    num_pictures: int  # of that set that it shows
    inputs: int  # mean tokens
    outputs: int  # mean tokens
    images: int = 1  # pictures of a record


SOURCES = (
    Source("a-okvqa", 17_056, "coco", 16_540, 45, 24),
    Source("clevr", 30_000, "clevr", 24_500, 22, 14),
    Source("coco", 566_747, "coco", 113_287, 0, 13),
    Source("coco-goi", 30_000, "coco", 27_000, 12, 6),
    Source("coco-itm", 30_000, "coco", 26_000, 16, 6),
    Source("coco-text", 118_312, "coco", 118_287, 0, 10),
    Source("docvqa", 39_463, "docvqa", 10_194, 12, 16),
    Source("gqa", 30_001, "visual-genome", 24_500, 12, 14),
    Source("image-paragraph-captioning", 14_575, "visual-genome", 14_575, 0, 75),
    Source("imagenet", 30_000, "imagenet", 30_000, 60, 5),
    Source("iqa", 5_000, "iqa", 5_000, 20, 6),
    Source("mocheg", 4_991, "mocheg", 4_900, 120, 60),
    Source("multi30k", 90_000, "flickr30k", 30_000, 16, 22),
    Source("nlvr", 29_372, "nlvr", 9_900, 18, 6),
    Source("ocr-vqa", 11_414, "ocr-vqa", 10_000, 12, 14),
    Source("okvqa", 9_009, "coco", 8_998, 11, 22),
    Source("science-qa", 12_726, "science-qa", 6_218, 90, 60),
    Source("shapes", 13_568, "shapes", 212, 12, 3),
    Source("snli-ve", 20_000, "flickr30k", 15_000, 18, 40),
    Source("st-vqa", 26_074, "st-vqa", 18_921, 11, 12),
    Source("text-vqa", 27_113, "text-vqa", 17_400, 10, 12),
    Source("textcap", 97_765, "text-vqa", 19_553, 0, 16),
    Source("vcr", 25_000, "vcr", 17_500, 70, 18),
    Source("vist", 5_000, "vist", 5_000, 0, 60, 5),
    Source("visual-dialog", 50_000, "coco", 46_000, 60, 8),
    Source("visual-mrc", 15_000, "visual-mrc", 6_500, 12, 14),
    Source("vqa-v2", 30_000, "coco", 25_000, 9, 18),
)
INSTRUCTION = (24.4, 9.6)  # the paper's Table 2: mean and deviation
PICTURE, MARKS = 32, 6  # query tokens of a picture, and the tokens of <Img> and </Img> in Ziya's vocabulary
TEMPLATE = 14  # tokens of Ying-VLM's turn and of the ids of begin and end
ANSWER_END = 2  # a newline and the end id


def streams() -> list[Stream]:
    """Returns the sources as the order of packed rows takes them, by name, drawn with fixed seeds."""
    made = []
    for source in SOURCES:
        rng = np.random.default_rng(zlib.crc32(source.name.encode()))
        size, block = source.records, source.images * (PICTURE + MARKS)
        # Lengths have a long tail: gamma with a deviation of 60 % of the mean.
        texts = [np.rint(rng.gamma(2.8, mean / 2.8, size)) if mean else np.zeros(size) for mean in source[4:6]]
        asked = np.clip(np.rint(rng.normal(*INSTRUCTION, size)), 5, 80)
        outputs = np.clip(texts[1], 1, 126) + ANSWER_END
        tokens = block + TEMPLATE + asked + np.clip(texts[0], 0, 300) + outputs
        shown = rng.permutation(np.arange(size) % source.num_pictures).astype(np.uint64)
        keys = scrambled(shown, np.uint64(zlib.crc32(source.pictures.encode()) | 1 << 40))
        lengths = Lengths(
            tokens=tokens.astype(np.uint16)[:, None],
            targets=outputs.astype(np.uint16),
            shared=np.full(size, block - MARKS // 2, np.uint16),
            keys=keys,
            fits=np.zeros(size, np.uint8),
        )
        images = np.full(size, source.images, np.int32)
        made.append(Stream(source.name, np.arange(size), lengths, images, float(size), source.name))
    return made
