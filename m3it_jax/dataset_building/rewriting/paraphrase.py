"""Short answer -> full sentence, by a text model; what the model says badly is replaced by a sentence of a template.

    ask(folder, paraphraser, client, ...)     asks for every record; the answers lie in the cache, nothing is written
    Paraphraser(...)(instance)                the changed record, from the cache alone: a `copying.Change`

So the two phases never mix: whatever interrupts them, no answer is lost and no record depends on when it was asked for.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from m3it_jax import errors, llm_client, records, schema
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.rewriting import copying, paraphrase_rules

# Raised when prompt, rules or templates change: two versions do not go into one folder.
VERSION = 1
NO_ANSWER = "no-answer"  # the reason where the endpoint gave nothing

# CHOICE: the paper does not publish its decoding. The same answer each time suits a step that may be repeated.
SAMPLING: Mapping[str, Any] = {"temperature": 0, "max_tokens": 200}

# What the released data set's loading script looks for in the lower-cased paraphrase (M3IT.py, vqa-v2 and okvqa).
PAPER_PHRASES: Mapping[str, tuple[str, ...]] = {
    "vqa-v2": ("not answerable", "sorry", "image descriptions"),
    "okvqa": ("sorry",),
}

# CHOICE: characters of a caption or of the text read off a picture; a page of a document has several thousand.
_MOST_CONTEXT = 1200


@dataclasses.dataclass(frozen=True)
class Wording:
    """The prompt in one language, after the paper's description (arXiv 2306.04387, Table 8): role, job, example, slots.

    Attributes:
      task: Role and job.
      example: Question, answer and sentence of the worked example.
      labels: The slots' names by what stands in them.
      fallback: The sentence of a source that has none of its own.
    """

    task: str
    example: tuple[str, str, str]
    labels: Mapping[str, str]
    fallback: str


_ENGLISH = Wording(
    task=(
        "You are an assistant who talks with people about pictures. You are given a question about a picture and its "
        "short correct answer, and perhaps a description of the picture or the text that was read off it. Turn the "
        "short answer into the reply that a helpful person would give: one natural and convincing sentence that "
        "answers the question, or a few where the answer gives reasons. Stay true to the short answer: keep its words, "
        "names and numbers, and add nothing that you were not told. Do not repeat the question, do not apologise, and "
        "do not mention the description or the short answer. Use the language of the question. Write the reply alone."
    ),
    example=(
        "What is the man in the yellow raincoat holding?",
        "umbrella",
        "The man in the yellow raincoat is holding an umbrella.",
    ),
    labels={
        "question": "Question:",
        "answer": "Answer:",
        "caption": "Caption:",
        "ocr": "Text in the picture:",
        "sentence": "Transformed Answer:",
    },
    fallback="The answer is {}.",
)
_CHINESE = Wording(
    task=(
        "你是一位和人们谈论图片的助手。你会看到一个关于图片的问题和它简短的正确答案，有时还有图片的说明或图中的文字。"
        "请把简短的答案改写成一句自然、可信的完整回答。回答必须与简短答案一致：保留其中的词语、名称和数字，不添加没有给出的内容。"
        "不要重复问题，不要道歉，不要提到说明或简短答案。请用中文，只写出这一句话。"
    ),
    example=("穿黄色雨衣的男人手里拿着什么？", "雨伞", "穿黄色雨衣的男人手里拿着一把雨伞。"),
    labels={
        "question": "问题：",
        "answer": "答案：",
        "caption": "图片描述：",
        "ocr": "图中文字：",
        "sentence": "改写后的回答：",
    },
    fallback="答案是{}。",
)
WORDINGS: Mapping[str, Wording] = {"zh": _CHINESE}  # by the language's first part; all others take the English one


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the answers of one source are paraphrased.

    Attributes:
      context: What the model is given beside question and answer: `question` (nothing), `caption` or `ocr`.
      fallback: The sentence where a paraphrase fails, with `{}` for the short answer; empty takes the language's own.
      phrases: What the paper rejects in this source.
    """

    context: str
    fallback: str
    phrases: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What becomes of a short answer.

    Attributes:
      outputs: The sentence that takes its place.
      reason: Why it is a template's; empty for a paraphrase.
      rejected: The model's text, if it was rejected.
    """

    outputs: str
    reason: str = ""
    rejected: str = ""


def plan(source: str) -> Plan:
    """Returns the plan of a source: as the paper has it, or question and answer alone for others."""
    published = sources.load(source).published if source in sources.NAMES else None
    if published is None:
        return Plan("question", "", ())
    context = "question" if published.paraphrase == "none" else published.paraphrase
    return Plan(context, published.fallback, PAPER_PHRASES.get(source, ()))


def paraphrased_by_the_paper(names: Collection[str]) -> list[str]:
    """Returns those of the named sources whose answers the paper paraphrased."""
    found = []
    for name in names:
        published = sources.load(name).published if name in sources.NAMES else None
        if published is not None and published.paraphrase != "none":
            found.append(name)
    return found


@dataclasses.dataclass(frozen=True)
class Paraphraser:
    """Changes records by the answers in a cache; picklable.

    Attributes:
      model: Name of the model at the endpoint.
      plans: What is done to each source.
      cache: Folder of the answers.
      sampling: Fields of the request, as in `llm_client.Request`.
    """

    model: str
    plans: Mapping[str, Plan]
    cache: pathlib.Path
    sampling: Mapping[str, Any]

    def __call__(self, instance: schema.Instance) -> schema.Instance:
        """Returns the record with a sentence for an answer; one that has been through this before stays as it is."""
        if is_done(instance):
            return instance
        answer = llm_client.Cache(self.cache).get(self.request(instance))
        return changed(instance, self.outcome(instance, answer), model=self.model)

    def request(self, instance: schema.Instance) -> llm_client.Request:
        """Returns what is asked about a record."""
        text = prompt(instance, self.plans[instance.source].context)
        return llm_client.Request(self.model, (("user", text),), self.sampling)

    def outcome(self, instance: schema.Instance, answer: llm_client.Answer | None) -> Outcome:
        """Returns what becomes of a record's answer, given the model's, or None if it gave none."""
        about = self.plans[instance.source]
        if answer is None:
            return Outcome(_template(instance, about), NO_ANSWER)
        said, kernel = _sentence(answer.text), instance.meta.get("answer", "")
        candidate = paraphrase_rules.Candidate(
            question=instance.inputs or instance.instruction,
            answer=instance.outputs,
            kernel=kernel if isinstance(kernel, str) else "",
            language=instance.language,
            text=said,
            finish=answer.finish,
            options=tuple(instance.meta.get("options", ())),
            phrases=about.phrases,
            example=_wording(instance).example[2],
        )
        reason = paraphrase_rules.reason(candidate)
        return Outcome(_template(instance, about), reason, answer.text) if reason else Outcome(said)

    def settings(self) -> dict[str, Any]:
        """Returns what decides the step, for the provenance."""
        return {"model": self.model, "sampling": dict(self.sampling), "paraphrase_version": VERSION}


def is_done(instance: schema.Instance) -> bool:
    """Returns whether a record's answer has been paraphrased before."""
    return "original_answer" in instance.meta


def prompt(instance: schema.Instance, context: str) -> str:
    """Returns the text that is sent about a record; it is one message, since not every model takes a system's."""
    wording = _wording(instance)
    labels = wording.labels
    question, answer, sentence = wording.example
    lines = [wording.task, ""]
    lines += [f"{labels['question']} {question}", f"{labels['answer']} {answer}", f"{labels['sentence']} {sentence}"]
    lines += ["", f"{labels['question']} {_one_line(instance.inputs or instance.instruction)}"]
    lines.append(f"{labels['answer']} {_one_line(instance.outputs)}")
    if given := _context(instance, context):
        lines.append(f"{labels[context]} {given}")
    return "\n".join([*lines, labels["sentence"]])


def changed(instance: schema.Instance, outcome: Outcome, *, model: str) -> schema.Instance:
    """Returns a record with a sentence for its short answer, which stays in `meta`, as does a rejected text."""
    said = f"answer paraphrased by {model}"
    if outcome.reason:
        said = f"answer put into a template (paraphrase of {model}: {outcome.reason})"
    meta = dict(instance.meta) | {"original_answer": instance.outputs}
    meta["changes"] = [*instance.meta.get("changes", ()), said]
    if outcome.reason:
        # An odd text may be the very reason; what is no UTF-8 could not be written.
        text = outcome.rejected.encode("utf-8", "replace").decode("utf-8")
        meta["paraphrase_rejected"] = {"reason": outcome.reason, "text": text}
    return dataclasses.replace(instance, outputs=outcome.outputs, meta=meta)


def _wording(instance: schema.Instance) -> Wording:
    return WORDINGS.get(instance.language.split("-")[0], _ENGLISH)


def _template(instance: schema.Instance, about: Plan) -> str:
    form = about.fallback or _wording(instance).fallback
    answer = instance.outputs.strip()
    if form.endswith(("}.", "}。")):
        answer = answer.rstrip(".。") or answer  # one full stop is enough
    return form.replace("{}", answer)


def _sentence(text: str) -> str:
    """Returns a model's text as one line, without quotation marks around it."""
    line = _one_line(text)
    for begin, end in (('"', '"'), ("“", "”"), ("「", "」")):
        if len(line) > 2 and line[0] == begin and line[-1] == end and begin not in line[1:-1]:
            return line[1:-1].strip()
    return line


def _one_line(text: str) -> str:
    # A line break in a question could begin a slot of its own.
    return " ".join(text.split())


def _context(instance: schema.Instance, context: str) -> str:
    """Returns the caption, or the text read off the picture, that a source put into `meta`; empty if it has none."""
    if context == "question":
        return ""
    if context == "caption":
        found = instance.meta.get("caption") or instance.meta.get("captions", ())[:1]
    else:
        found = instance.meta.get("ocr", ())
    parts = found if isinstance(found, list | tuple) else [found]
    text = _one_line(" ".join(part for part in parts if isinstance(part, str)))
    return text if len(text) <= _MOST_CONTEXT else text[:_MOST_CONTEXT].rpartition(" ")[0]


@dataclasses.dataclass
class Counts:
    """What became of the records of one source.

    Attributes:
      paraphrased: Records with the model's sentence.
      before: Records that had been paraphrased before.
      fallback: Records with the template's sentence, by reason.
      unanswered: Records that the endpoint gave nothing for, by `llm_client.Kind`.
      problem: What happened to the last of these; empty if there is none.
    """

    paraphrased: int = 0
    before: int = 0
    fallback: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unanswered: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    problem: str = ""

    def summary(self) -> dict[str, Any]:
        """Returns the numbers as JSON."""
        return {
            "paraphrased": self.paraphrased,
            "paraphrased_before": self.before,
            "fallback": dict(self.fallback.most_common()),
            "unanswered": dict(self.unanswered.most_common()),
            "problem": self.problem,
        }


def ask(
    folder: records.DataFolder,
    paraphraser: Paraphraser,
    client: llm_client.Client,
    *,
    limit: int | None,
    on_record: Callable[[], None],
    on_rejected: Callable[[dict[str, Any]], object],
) -> dict[str, Counts]:
    """Asks for every record of the plan's sources and returns what comes of it, by source.

    `limit` is the most records of each split. `on_rejected` gets one JSON object for each answer that a template
    replaces, in the order of the records.

    Raises:
      UserError: a source is not there or damaged, or as `llm_client.Client.answers`.
    """
    counts = {name: Counts() for name in paraphraser.plans}
    for asked, answer in client.answers(_requests(folder, paraphraser, counts, limit=limit, on_record=on_record)):
        split, instance = asked
        found = counts[instance.source]
        failure = answer if isinstance(answer, llm_client.Failure) else None
        outcome = paraphraser.outcome(instance, answer if isinstance(answer, llm_client.Answer) else None)
        if failure is not None:
            found.unanswered[failure.kind.value] += 1
            found.problem = failure.text
        if outcome.reason:
            found.fallback[outcome.reason] += 1
            on_rejected(
                {
                    "source": instance.source,
                    "split": split,
                    "id": instance.id,
                    "reason": outcome.reason,
                    "question": instance.inputs or instance.instruction,
                    "answer": instance.outputs,
                    "text": outcome.rejected if failure is None else failure.text,
                    "outputs": outcome.outputs,
                }
            )
        else:
            found.paraphrased += 1
        on_record()
    return counts


def _requests(
    folder: records.DataFolder,
    paraphraser: Paraphraser,
    counts: Mapping[str, Counts],
    *,
    limit: int | None,
    on_record: Callable[[], None],
) -> Iterator[tuple[tuple[str, schema.Instance], llm_client.Request]]:
    """Yields ((split, record without pictures), request) of every record that is to be asked for."""
    for name in paraphraser.plans:
        for split in folder.sources[name].splits:
            for number, row in enumerate(copying.stored(folder.path, name, split)):
                if limit is not None and number >= limit:
                    break
                if is_done(row):
                    counts[name].before += 1
                    on_record()
                else:  # without its pictures: many wait at once
                    yield (split, dataclasses.replace(row, images=())), paraphraser.request(row)


def check_sampling(sampling: Mapping[str, Any]) -> None:
    """Refuses fields of a request that are ours to set.

    Raises:
      ConfigError: there is one.
    """
    for name in ("model", "messages", "stream", "n"):
        if name in sampling:
            raise errors.ConfigError(f"--sampling: {name!r} is set by m3it; leave it out")
