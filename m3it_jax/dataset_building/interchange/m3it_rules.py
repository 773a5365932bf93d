"""What the rows of each released M3IT source say: which field becomes `inputs` and which `outputs`.

The authors' loading script did this at each load (MMInstruction/M3IT, M3IT.py); the files hold what it read. Where the
keys of a source are not known, `plain` takes the first of the keys that were seen in any of them.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from m3it_jax import prompts, rng
from m3it_jax.dataset_building.interchange import image_endings
from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import RowError

# Keys seen in the released files, the finished ones first.
INPUT_KEYS = ("inputs", "input", "question", "hypothesis")
OUTPUT_KEYS = ("outputs", "output", "paraphrased_answer", "answer", "original_answer", "sentences", "caption")
SHORT_KEYS = ("original_answer", "answer")
LABEL_KEYS = ("label", "class", "synset", *OUTPUT_KEYS)
EXPLANATION_KEYS = ("explanation", "rationale", "Explanation_1")

NUM_OPTIONS = 10  # of an ImageNet row; for Something-Something the number is not published, CHOICE: the same

HYPOTHESIS = "HYPO"
# e-SNLI-VE: the classes of the source and the words of the released rows.
_VERDICTS = {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}


@dataclasses.dataclass(frozen=True)
class Texts:
    """What a row says.

    Attributes:
      inputs, outputs: As of an `Instance`.
      slots: Texts for the slots of the instruction.
      options: The answers to choose from.
      references: Every right answer; empty takes `outputs` alone.
      original: The answer before it was paraphrased, where the row has both.
      change: What was done to the text; empty if it is the row's own.
    """

    inputs: str
    outputs: str
    slots: Mapping[str, str] = dataclasses.field(default_factory=dict)
    options: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    original: str = ""
    change: str = ""


@dataclasses.dataclass(frozen=True)
class About:
    """What a rule may need beside the row.

    Attributes:
      key: Identity of the row's picture; with `seed` it decides what is drawn.
      seed: The import's seed.
      labels: Names of the source's classes by their own id (mapping.txt, labels.json), in the file's order.
      instructions: The pool that an instruction is drawn from.
    """

    key: str
    seed: int
    labels: Mapping[str, str]
    instructions: tuple[str, ...]


Rule = Callable[[Mapping[str, Any], About], Iterable[Texts]]


def first(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Returns the text under the first of the keys that holds one, empty if none does; a list is joined by spaces.

    Raises:
      RowError: `wrong-type`: the key holds something else.
    """
    for key in keys:
        value = row.get(key)
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            value = " ".join(each.strip() for each in value)
        if isinstance(value, bool | int | float):
            value = str(value)
        if not isinstance(value, str | None):
            raise RowError("wrong-type", f"field {key!r} is {type(value).__name__}, must be text")
        if value and value.strip():
            return value.strip()
    return ""


def _needed(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    if found := first(row, keys):
        return found
    raise RowError("missing-field", f"has no text under any of {', '.join(keys)}")


def _options(row: Mapping[str, Any]) -> tuple[str, ...]:
    value = row.get("options")
    if isinstance(value, list) and value and all(isinstance(each, str) and each for each in value):
        return tuple(value)
    return ()


def plain(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Takes the row's input and output; options that it lists apart follow the input."""
    del about
    inputs, outputs, options = first(row, INPUT_KEYS), _needed(row, OUTPUT_KEYS), _options(row)
    if options and options[0] not in inputs:
        inputs = f"{inputs}\n{adapters.options_text(options)}".lstrip("\n")
    # A released answer may be worded freely; only what names an option is held to the options.
    named = any(option in outputs for option in options)
    yield Texts(inputs, outputs, options=options if named else ())


def caption(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Takes the output alone: a caption has no input."""
    del about
    yield Texts("", _needed(row, OUTPUT_KEYS))


def captions(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Gives one text for each reference caption in `meta.targets`."""
    meta = row.get("meta")
    if isinstance(meta, str):
        try:
            meta = json.loads(meta)
        except (ValueError, RecursionError):
            meta = None
    targets = meta.get("targets") if isinstance(meta, Mapping) else None
    if targets is None:
        return caption(row, about)
    if not isinstance(targets, list) or not targets or not all(isinstance(each, str) for each in targets):
        raise RowError("wrong-type", "field 'meta.targets' must be a list of captions")
    stripped = tuple(each.strip() for each in targets)
    return [Texts("", each, references=stripped) for each in stripped]


def chosen_class(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Puts the class among others at a random place, unless the row has its options already.

    A label is a class's name, its id (ImageNet's synset), or its number, counted from 1 (M3IT.py once counted from 0
    and was mended).
    """
    if first(row, INPUT_KEYS) or not about.labels:
        return plain(row, about)
    label = _class(row, about)
    others = [name for name in dict.fromkeys(about.labels.values()) if name != label]
    drawn = rng.generator(about.seed, "released-options", about.key).choice(
        len(others), min(NUM_OPTIONS - 1, len(others)), replace=False
    )
    options = [others[place] for place in drawn]
    place = adapters.choice_place(len(options) + 1, seed=about.seed, name="released", key=about.key)
    options.insert(place, label)
    inputs = "\n".join(adapters.lettered(options))
    return [Texts(inputs, adapters.lettered(options)[place], options=tuple(options), change="options drawn")]


def named_class(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Takes the class's name as the answer; there are no options."""
    yield Texts("", _class(row, about) if about.labels else _needed(row, LABEL_KEYS))


def _class(row: Mapping[str, Any], about: About) -> str:
    label = _needed(row, LABEL_KEYS)
    if label in about.labels:
        return about.labels[label]
    names = list(about.labels.values())
    if label.isascii() and label.isdigit() and 1 <= int(label[:9]) <= len(names):
        return names[int(label[:9]) - 1]
    if label not in names:
        raise RowError("unknown-label", f"{label[:80]!r} is none of the {len(names)} classes")
    return label


def entailment(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Puts the hypothesis into the instruction's slot; the answer is yes, maybe or no and the explanation."""
    hypothesis = _needed(row, ("hypothesis", *INPUT_KEYS))
    outputs = first(row, ("outputs", "output", "answer", "label", "gold_label"))
    verdict = _VERDICTS.get(outputs.lower())
    if verdict:
        outputs = verdict
    if not outputs:
        raise RowError("missing-field", "has no verdict")
    explanation = first(row, EXPLANATION_KEYS)
    if explanation and explanation not in outputs:
        outputs = f"{outputs}\n{explanation}"
    slotted = all(HYPOTHESIS in prompts.SLOT.findall(each) for each in about.instructions)
    yield Texts("" if slotted else hypothesis, outputs, slots={HYPOTHESIS: hypothesis})


def paraphrased(
    row: Mapping[str, Any], about: About, *, template: str, refused: tuple[str, ...] = ("sorry",)
) -> Iterable[Texts]:
    """Takes the paraphrase, or the short answer in the template if there is none or it holds a refused word."""
    del about
    inputs, short = first(row, INPUT_KEYS), first(row, SHORT_KEYS)
    found = first(row, ("paraphrased_answer", "outputs", "output"))
    if found and not any(word in found.lower() for word in refused):
        yield Texts(inputs, found, original=short if short != found else "")
        return
    if not short:
        raise RowError("missing-field", "has neither a sound paraphrase nor a short answer")
    change = "paraphrase refused, short answer in a template" if found else "short answer in a template"
    yield Texts(inputs, template.format(short), original=short, change=change)


def reasoned(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Takes the merged text of rationale and answer, or joins the two."""
    merged, short = first(row, ("paraphrased_answer", "outputs", "output")), first(row, SHORT_KEYS)
    if merged or not short:
        return [dataclasses.replace(each, original=short) for each in plain(row, about)]
    rationale = row.get("rationale", row.get("rationales"))
    if isinstance(rationale, list):
        rationale = next((each for each in rationale if isinstance(each, str)), "")
    joined = f"{rationale.strip() if isinstance(rationale, str) else ''} So the answer is {short}.".strip()
    return [Texts(first(row, INPUT_KEYS), joined, original=short, change="rationale and answer joined")]


def mended_stop(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Takes input and output, and mends an answer that ends with `?.`."""
    for each in plain(row, about):
        mended = each.outputs.replace("?.", ".")
        yield dataclasses.replace(
            each, outputs=mended, change="?. mended to ." if mended != each.outputs else each.change
        )


def sentence(row: Mapping[str, Any], about: About) -> Iterable[Texts]:
    """Puts a short answer into a sentence."""
    for each in plain(row, about):
        if each.outputs.lower().startswith("the answer is"):
            yield each
        else:
            yield dataclasses.replace(
                each, outputs=f"The answer is {each.outputs}.", original=each.outputs, change="answer in a sentence"
            )


@dataclasses.dataclass(frozen=True)
class Released:
    """One config of the released data set.

    Attributes:
      folder: Its folder under `data/`.
      rule: What its rows say.
      kin: The source of ours whose task, language and terms it shares, where it is none of the 40 itself.
      suffix: What the loading script appended to each instruction.
    """

    folder: str
    rule: Rule = plain
    kin: str = ""
    suffix: str = ""


_SENTENCE = functools.partial(paraphrased, template="The answer is {}.")

# Config -> where it lies and what its rows say; the 40 in the order of the paper's Table 7, then the loader's others.
RELEASED: dict[str, Released] = {
    "coco": Released("captioning/coco", captions),
    "textcap": Released("captioning/textcap", caption),
    "image-paragraph-captioning": Released("captioning/image_paragraph_captioning", caption),
    "coco-goi": Released("classification/coco-goi"),
    "coco-text": Released("classification/coco-text"),
    "imagenet": Released("classification/imagenet", chosen_class),
    "coco-itm": Released("classification/itm"),
    "snli-ve": Released("classification/snli-ve", entailment),
    "mocheg": Released("classification/mocheg"),
    "iqa": Released("classification/iqa"),
    "vqa-v2": Released(
        "vqa/vqav2",
        functools.partial(
            paraphrased, template="The answer is {}", refused=("not answerable", "sorry", "image descriptions")
        ),
    ),
    "shapes": Released("vqa/shapes"),
    "docvqa": Released("vqa/docvqa"),
    "ocr-vqa": Released("vqa/ocr-vqa"),
    "st-vqa": Released("vqa/st-vqa"),
    "text-vqa": Released("vqa/text-vqa", mended_stop),
    "gqa": Released("vqa/gqa", mended_stop),
    "okvqa": Released("vqa/okvqa", _SENTENCE),
    "a-okvqa": Released("vqa/a-okvqa", reasoned),
    "science-qa": Released("reasoning/science_qa"),
    "viquae": Released("vqa/viquae", _SENTENCE),
    "clevr": Released("reasoning/clevr", sentence),
    "nlvr": Released("reasoning/nlvr", sentence),
    "vcr": Released("reasoning/vcr"),
    "visual-mrc": Released("reasoning/visual_mrc"),
    "winoground": Released("classification/winoground"),
    "vist": Released("generation/vist", caption),
    "visual-dialog": Released("generation/visual_dialog"),
    "multi30k": Released("generation/multi30k"),
    # Its paraphrases are Chinese, and so is our template; the words are how such refusals begin.
    "fm-iqa": Released(
        "vqa/fm-iqa", functools.partial(paraphrased, template="答案是{}。", refused=("抱歉", "对不起", "sorry"))
    ),
    "coco-cn": Released("captioning/coco-cn", caption),
    "flickr8k-cn": Released("captioning/flickr8k-cn", caption),
    "chinese-food": Released("classification/chinesefoodnet-10"),
    "mmchat": Released("generation/mmchat"),
    "ss": Released("classification/ss", chosen_class),
    "ivqa": Released("vqa/ivqa", _SENTENCE),
    "msvd-qa": Released("vqa/msvd-qa", _SENTENCE),
    "activitynet-qa": Released("vqa/activitynet-qa"),
    "msrvtt-qa": Released("vqa/msrvtt-qa", _SENTENCE),
    "msrvtt": Released("captioning/msrvtt", caption),
    "imagenet-open-ended": Released("classification/imagenet", named_class, kin="imagenet"),
    "vsr": Released("classification/vsr", kin="nlvr", suffix=" Options: True or False."),
    "refcoco": Released("classification/refcoco", kin="coco-goi"),
    "visual-dialog-rephrased": Released("generation/visual_dialog", kin="visual-dialog"),
}


def meta_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the row's own meta data, an object or nothing."""
    meta = row.get("meta")
    return meta if isinstance(meta, Mapping) else {}


def picture_name(row: Mapping[str, Any]) -> str:
    """Returns the publisher's id of the row's picture or video, empty if the row has none."""
    for place in (row, meta_of(row)):
        for key in ("image_id", "img_id", "imageId", "image_name", "video_id", "video"):
            value = place.get(key)
            if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()[:200]
    return ""


def picture_field(row: Any, keys: Sequence[str]) -> list[Any]:
    """Returns the texts of the row's pictures: a lone one becomes a list.

    Raises:
      RowError: `text-only`, `wrong-type`, or `no-image`: a picture stands under another name.
    """
    if not isinstance(row, Mapping):
        raw.field(row, keys[0])
    for key in keys:
        value = row.get(key)
        if value:
            return value if isinstance(value, list) else [value]
    if hidden := image_endings.hidden(row, keys):
        told = f"field {hidden[0]!r} holds {hidden[1]!r}"
        raise RowError("no-image", f"has no picture under any of {', '.join(keys)}; {told}")
    raise RowError("text-only", f"has no picture under any of {', '.join(keys)}")
