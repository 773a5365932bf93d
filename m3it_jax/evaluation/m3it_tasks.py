"""How each of M3IT's 40 sources is evaluated: which split, how asked, what is right, by which metric.

Splits are the test split where the paper's Table 7 (arXiv 2306.04387) has one with answers, else the validation split.
The first metric is the one that the source's own benchmark uses, as far as it can be computed from a generated answer;
ROUGE-L, the paper's metric for everything, stands behind it. A row that differs from a benchmark's rules says so.
"""

from m3it_jax import config
from m3it_jax.evaluation.task_row import EvalTask

# Captions: CIDEr over words as COCO's scorer cuts them; for Chinese over characters.
_CAPTION = ("cider_captions", "rouge_l")
_CHINESE_CAPTION = ("cider_words", "rouge_l")
_OPTIONS = ("multiple_choice", "exact_match_normalised", "rouge_l")
_SHORT = ("exact_match_normalised", "rouge_l")
_PEOPLE = ("vqa_accuracy", "exact_match_normalised", "rouge_l")
_DOCUMENT = ("anls", "exact_match_normalised", "rouge_l")
_SENTENCE = ("rouge_l", "chrf")

M3IT: tuple[EvalTask, ...] = (
    EvalTask("coco", "captioning", "en", _CAPTION),
    EvalTask("textcap", "captioning", "en", _CAPTION, split="validation"),
    EvalTask("image-paragraph-captioning", "captioning", "en", _CAPTION),
    EvalTask("coco-goi", "classification", "en", _OPTIONS, split="validation", postprocess="short"),
    EvalTask("coco-text", "classification", "en", _OPTIONS, split="validation"),
    EvalTask("imagenet", "classification", "en", _OPTIONS, split="validation"),
    EvalTask("coco-itm", "classification", "en", _OPTIONS),
    # The answer is the label, then an explanation on the next line: the label is judged.
    EvalTask("snli-ve", "classification", "en", _SHORT, postprocess="first_word"),
    EvalTask("mocheg", "classification", "en", _OPTIONS),
    EvalTask("iqa", "classification", "en", _OPTIONS),
    EvalTask("vqa-v2", "vqa", "en", _PEOPLE, split="validation", references="people", postprocess="short"),
    EvalTask("shapes", "vqa", "en", _SHORT, postprocess="short"),
    EvalTask("docvqa", "vqa", "en", _DOCUMENT, split="validation", postprocess="short"),
    EvalTask("ocr-vqa", "vqa", "en", _SHORT, split="validation", postprocess="short"),
    # The publishers keep the answers of these two tests: rows come only from raw files that hold answers.
    EvalTask("st-vqa", "vqa", "en", _DOCUMENT, postprocess="short"),
    EvalTask("text-vqa", "vqa", "en", _PEOPLE, references="people", postprocess="short"),
    EvalTask("gqa", "vqa", "en", _SHORT, split="validation", postprocess="short"),
    EvalTask("okvqa", "knowledge_vqa", "en", _PEOPLE, split="validation", references="people", postprocess="short"),
    # Its references are the written reasons, so its answer is compared as a sentence.
    EvalTask("a-okvqa", "knowledge_vqa", "en", _SENTENCE, split="validation"),
    EvalTask("science-qa", "knowledge_vqa", "en", _OPTIONS),
    EvalTask("viquae", "knowledge_vqa", "en", _SHORT, postprocess="short"),
    EvalTask("clevr", "reasoning", "en", _SHORT, split="validation", postprocess="short"),
    EvalTask("nlvr", "reasoning", "en", _SHORT, split="validation", postprocess="short"),
    EvalTask("vcr", "reasoning", "en", _OPTIONS),
    EvalTask("visual-mrc", "reasoning", "en", _SENTENCE),
    EvalTask("winoground", "reasoning", "en", _OPTIONS),
    EvalTask("vist", "generation", "en", _SENTENCE),
    EvalTask("visual-dialog", "generation", "en", _SENTENCE),
    EvalTask("multi30k", "generation", "mul", ("bleu", "chrf", "rouge_l")),
    EvalTask("fm-iqa", "chinese", "zh", _SENTENCE, split="validation"),
    EvalTask("coco-cn", "chinese", "zh", _CHINESE_CAPTION),
    EvalTask("flickr8k-cn", "chinese", "zh", _CHINESE_CAPTION),
    EvalTask("chinese-food", "chinese", "zh", _OPTIONS),
    EvalTask("mmchat", "chinese", "zh", _SENTENCE),
    EvalTask("ss", "video", "en", _OPTIONS),
    EvalTask("ivqa", "video", "en", _SHORT, postprocess="short"),
    EvalTask("msvd-qa", "video", "en", _SHORT, postprocess="short"),
    EvalTask("activitynet-qa", "video", "en", _SHORT, postprocess="short"),
    EvalTask("msrvtt-qa", "video", "en", _SHORT, postprocess="short"),
    EvalTask("msrvtt", "video", "en", _CAPTION),
)

BY_NAME = {task.name: task for task in M3IT}


def is_held_out(source: str) -> bool:
    """Returns whether the paper keeps a source for zero-shot tests: the list that training refuses."""
    return config.is_held_out(source)


def markdown() -> str:
    """Returns the table as docs/evaluation.md shows it."""
    lines = [
        "| source | task | split | metrics, headline first | right is | before scoring | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in M3IT:
        mark = "held out" if is_held_out(row.name) else ""
        names = ", ".join(row.metrics)
        lines.append(
            f"| {row.name} | {row.family} | {row.split} | {names} | {row.references} | {row.postprocess} | {mark} |"
        )
    return "\n".join(lines)
