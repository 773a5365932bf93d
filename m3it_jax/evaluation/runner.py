"""Questions of a split -> answers of a model, written as they come; only what is not answered yet is asked."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from m3it_jax import errors, progress, prompts, records, schema
from m3it_jax.evaluation import controls, output, tasks
from m3it_jax.input_pipeline import preprocessing

# A chunk is answered and written in one piece: large enough to keep a model busy, small enough to lose little.
CHUNK_ROWS = 256
CHUNK_IMAGES = 512


class Model(Protocol):
    """Whatever answers requests; `generation.assistant.Assistant` does."""

    def generate_batch(self, requests: Sequence[Mapping[str, Any]]) -> list[str]:
        """Returns one answer for each `{"instruction", "inputs", "images": [bytes], "max_new_tokens"}`, greedily.

        The last answer of a conversation is asked for with its `turns`, `new_pictures` and `system` as well, which are
        those of the record's `meta`.
        """


@dataclasses.dataclass(frozen=True)
class Question:
    """One record to be answered, without its pictures: `number` is its place in the table of its source.

    Of a conversation the last answer is wanted; `before` holds `turns`, `new_pictures` and `system` of its `meta`.
    """

    id: str
    source: str
    number: int
    skill: str
    family: str
    language: str
    group: str
    instruction: str
    inputs: str
    references: tuple[str, ...]
    num_images: int
    before: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Returns the fields as a line of the predictions has them."""
        row = dataclasses.asdict(self)
        return row | row.pop("before")


@dataclasses.dataclass(frozen=True)
class _Request:
    """A question in one variant; its pictures are those of `pictures_of` (the question itself but for `shuffled`)."""

    question: Question
    variant: str
    pictures_of: Question


def read_questions(folder: records.DataFolder, split: str, *, only: Sequence[str] = ()) -> list[Question]:
    """Returns the questions of a split, in the order of its sources.

    Args:
      folder: Where the records are.
      split: Which of them.
      only: Skills and families to keep; empty keeps all.

    Raises:
      ConfigError: a name in `only` is neither a skill that the split has nor a family.
      UserError: the split has no record, or one cannot be read.
    """
    tables = {
        source: folder.table(source, split) for source in folder.sources if folder.sources[source].splits.get(split)
    }
    questions = []
    with progress.Progress(sum(map(len, tables.values())), f"reading the {split} split") as counter:
        for table in tables.values():
            for number in range(len(table)):
                questions.append(_question(folder, table.read(number), number=number))
                counter.update()
    if not questions:
        raise errors.UserError(f"{folder.path}: split {split!r} has no record; build the data folder again")
    skills, families = {question.skill for question in questions}, {question.family for question in questions}
    for name in only:
        if name not in skills | families:
            allowed = ", ".join([*sorted(families), *sorted(skills)])
            raise errors.ConfigError(f"--tasks {name}: {folder.path} has no such task; it has {allowed}")
    return [question for question in questions if not only or {question.skill, question.family} & set(only)]


def _question(folder: records.DataFolder, instance: schema.Instance, *, number: int) -> Question:
    for _, reason in schema.meta_problems(instance.meta):
        raise errors.UserError(_of_record(folder, instance, reason))
    task = tasks.skill_task(tasks.skill_of(instance), family=instance.task, language=instance.language)
    answers = [instance.outputs, *instance.meta.get("references", ())]
    return Question(
        id=instance.id,
        source=instance.source,
        number=number,
        skill=task.name,
        family=task.family,
        language=instance.language,
        group=str(instance.meta.get("group") or instance.id),
        instruction=instance.instruction,
        inputs=instance.inputs,
        references=tuple(dict.fromkeys(prompts.one_line(answer) for answer in answers)),
        num_images=len(instance.images),
        before={name: instance.meta[name] for name in output.BEFORE if name in instance.meta},
    )


def _of_record(folder: records.DataFolder, instance: schema.Instance, reason: str) -> str:
    return f"{folder.path}: record {instance.id} of {instance.source}: {reason}; see `m3it check {folder.path}`"


def limited(questions: Iterable[Question], limit: int | None) -> list[Question]:
    """Returns at most `limit` questions of each source (all if None): the first ones of the split."""
    seen: collections.Counter[str] = collections.Counter()
    kept = []
    for question in questions:
        seen[question.source] += 1
        if limit is None or seen[question.source] <= limit:
            kept.append(question)
    return kept


def predict(
    model: Model,
    folder: records.DataFolder,
    store: output.EvalFolder,
    *,
    identity: Mapping[str, Any],
    protocol: tasks.Protocol,
    only: Sequence[str] = (),
    limit: int | None = None,
    variants: Sequence[str] = (controls.OWN,),
) -> None:
    """Answers every question that is not answered yet; the answers go to the predictions of `store`.

    Args:
      model: Gives the answers.
      folder: The data.
      store: Folder of the evaluation.
      identity: What the answers depend on (`lock.py`); stored with the first answer, compared later.
      protocol: The settings.
      only: Skills and families to answer; empty means all.
      limit: Most questions of each source; None means all.
      variants: `controls.OWN` and the wanted controls.

    Raises:
      UserError: the folder holds answers of another model or other settings, or a file is damaged.
    """
    every = read_questions(folder, protocol.split, only=only)
    store.claim(identity)
    done = {(row["source"], row["id"], row["variant"]) for row in store.predictions(repair=True)}
    missing = [
        request
        for request in _requests(every, limited(every, limit), variants=variants, seed=protocol.seed)
        if (request.question.source, request.question.id, request.variant) not in done
    ]
    guesses = [request for request in missing if request.variant == controls.MAJORITY]
    if guesses:
        majority = train_majority(folder, sorted({request.question.source for request in guesses}))
        _append(store, guesses, [majority.answer(each.question.skill, each.question.inputs) for each in guesses])
    requests = [request for request in missing if request.variant != controls.MAJORITY]
    tables = {source: folder.table(source, protocol.split) for source in {each.source for each in every}}
    with progress.Progress(len(requests), "answering") as counter:
        for chunk in _chunks(requests):
            try:
                asked = [_asked(request, tables, protocol.max_new_tokens) for request in chunk]
                answers = [prompts.one_line(text) for text in model.generate_batch(asked)]
            except errors.UserError as error:
                raise _blamed(folder, chunk, tables=tables, error=error) from error
            _append(store, chunk, answers)
            counter.update(len(chunk))


def _requests(
    every: Sequence[Question], kept: Sequence[Question], *, variants: Sequence[str], seed: int
) -> Iterator[_Request]:
    partner: dict[str, Question] = {}
    if controls.SHUFFLED in variants:  # partners come from the whole split, so that a limit does not change them
        kinds = [(question.skill, question.num_images) for question in every]
        groups, ids = [question.group for question in every], [question.id for question in every]
        for question, number in zip(every, controls.shuffled(kinds, groups, ids, seed=seed), strict=True):
            if number is not None:
                partner[question.id] = every[number]
    for variant in variants:
        for question in kept:
            if variant in controls.OF_PICTURES and not question.num_images:
                continue  # nothing to take away
            if variant != controls.SHUFFLED:
                yield _Request(question, variant, question)
            elif question.id in partner:
                yield _Request(question, variant, partner[question.id])


def _chunks(requests: Iterable[_Request]) -> Iterator[list[_Request]]:
    """Yields requests of similar size together: as many pictures, answers and texts of about one length.

    A batch is decoded until its longest answer has ended, and answers to one skill are of about one length.
    """

    def size(request: _Request) -> tuple[int, str, int]:
        question = request.question
        earlier = sum(
            len(text) for turn in question.before.get("turns", ()) for text in turn.values() if isinstance(text, str)
        )
        return question.num_images, question.skill, len(question.instruction) + len(question.inputs) + earlier

    chunk: list[_Request] = []
    for request in sorted(requests, key=size):
        images = request.question.num_images
        rows = max(1, min(CHUNK_ROWS, CHUNK_IMAGES // max(images, 1)))
        if chunk and (len(chunk) >= rows or chunk[0].question.num_images != images):
            yield chunk
            chunk = []
        chunk.append(request)
    if chunk:
        yield chunk


def _asked(request: _Request, tables: Mapping[str, records.RecordTable], max_new_tokens: int) -> dict[str, Any]:
    pictures_of = request.pictures_of
    images = tables[pictures_of.source].read(pictures_of.number).images
    return {
        "instruction": request.question.instruction,
        "inputs": request.question.inputs,
        "images": [controls.blank(image) for image in images] if request.variant == controls.BLANK else list(images),
        "max_new_tokens": max_new_tokens,
        **request.question.before,
    }


def _blamed(
    folder: records.DataFolder,
    chunk: Sequence[_Request],
    *,
    tables: Mapping[str, records.RecordTable],
    error: errors.UserError,
) -> errors.UserError:
    """Returns the error with the record whose picture cannot be decoded, or as it is if none is to blame.

    A model sees pictures and no records, so its message cannot name one.
    """
    for request in chunk:
        instance = tables[request.pictures_of.source].read(request.pictures_of.number)
        for number, image in enumerate(instance.images):
            try:
                preprocessing.decode_image(image, 1)
            except errors.UserError as broken:
                return errors.UserError(_of_record(folder, instance, f"images[{number}]: {broken}"))
    return error


def _append(store: output.EvalFolder, requests: Sequence[_Request], answers: Sequence[str]) -> None:
    if len(answers) != len(requests):
        raise ValueError(f"the model gave {len(answers)} answers to {len(requests)} requests")
    rows = []
    for request, answer in zip(requests, answers, strict=True):
        rows.append({**request.question.row(), "variant": request.variant, "prediction": answer})
    store.append(rows)


def train_majority(folder: records.DataFolder, sources: Sequence[str]) -> controls.Majority:
    """Returns the most frequent answers of the train split of some sources.

    Raises:
      UserError: a record cannot be read.
    """
    # A source that is held out as a whole has no train split and so no majority answer.
    tables = [folder.table(source, "train") for source in sources if folder.sources[source].splits.get("train")]

    def rows() -> Iterator[tuple[str, str, str]]:
        with progress.Progress(sum(map(len, tables)), "counting the answers of the train split") as counter:
            for table in tables:
                for number in range(len(table)):
                    instance = table.read(number)
                    yield tasks.skill_of(instance), instance.inputs, prompts.one_line(instance.outputs)
                    counter.update()

    return controls.Majority.count(rows())
