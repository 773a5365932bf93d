"""Questions of a split -> answers of a model, written as they come; only what is not answered yet is asked."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from m3it_jax import errors, progress, prompts, records, schema
from m3it_jax.evaluation import asking, conditions, controls, corruptions, output, task_row, tasks
from m3it_jax.evaluation.asking import Question, Request
from m3it_jax.input_pipeline.pixels import preprocessing


class Model(Protocol):
    """Whatever answers requests; `generation.assistant.Assistant` does.

    One that also has `stream_batch(requests)`, which yields (number of the request, answer) as answers are finished,
    loses no finished one when it is killed.
    """

    def generate_batch(self, requests: Sequence[Mapping[str, Any]]) -> list[str]:
        """Returns one answer for each `{"instruction", "inputs", "images": [bytes], "max_new_tokens"}`, greedily.

        The last answer of a conversation is asked for with its `turns`, `new_pictures` and `system` as well, which are
        those of the record's `meta`.
        """


def tables(folder: records.DataFolder, protocol: tasks.Protocol) -> dict[str, records.RecordTable]:
    """Returns {source: its records} of the splits that a protocol asks; sources without such a split are left out."""
    splits = {source: protocol.split_of(source) for source in folder.sources}
    return {source: folder.table(source, split) for source, split in splits.items() if _has(folder, source, split)}


def _has(folder: records.DataFolder, source: str, split: str) -> bool:
    return bool(split and folder.sources[source].splits.get(split))


def read_questions(folder: records.DataFolder, protocol: tasks.Protocol, *, only: Sequence[str] = ()) -> list[Question]:
    """Returns the questions of a split or suite, in the order of the folder's sources.

    Args:
      folder: Where the records are.
      protocol: Which of them.
      only: Skills and families to keep; empty keeps all.

    Raises:
      ConfigError: a name in `only` is neither a skill that the split has nor a family.
      UserError: there is no such record, or one cannot be read.
    """
    found = tables(folder, protocol)
    asked = "the sources of the suite" if protocol.suite else f"the {protocol.split} split"
    questions = []
    with progress.Progress(sum(map(len, found.values())), f"reading {asked}") as counter:
        for table in found.values():
            for number in range(len(table)):
                questions.append(_question(folder, table.read(number), number=number, protocol=protocol))
                counter.update()
    if not questions and protocol.suite:
        wanted = ", ".join(f"{task.name} ({task.split})" for task in protocol.suite.values())
        raise errors.UserError(f"{folder.path}: has none of the suite's sources and splits, {wanted}; build some first")
    if not questions:
        raise errors.UserError(f"{folder.path}: split {protocol.split!r} has no record; build the data folder again")
    skills, families = {question.skill for question in questions}, {question.family for question in questions}
    for name in only:
        if name not in skills | families:
            allowed = ", ".join([*sorted(families), *sorted(skills)])
            raise errors.ConfigError(f"--tasks {name}: {folder.path} has no such task; it has {allowed}")
    return [question for question in questions if not only or {question.skill, question.family} & set(only)]


def _question(
    folder: records.DataFolder, instance: schema.Instance, *, number: int, protocol: tasks.Protocol
) -> Question:
    for _, reason in schema.meta_problems(instance.meta):
        raise errors.UserError(_of_record(folder, instance, reason))
    # A suite goes by sources: its row holds for all skills of one.
    name = instance.source if instance.source in protocol.suite else tasks.skill_of(instance)
    task = protocol.task(name, family=instance.task, language=instance.language)
    others = instance.meta.get("references", ())
    answers = [instance.outputs, *(() if task.references == "answer" else others)]
    before = {name: instance.meta[name] for name in output.BEFORE if name in instance.meta}
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
        people=tuple(map(prompts.one_line, others)) if task.references == "people" else (),
        before=_with_chinese_turn(before, len(instance.images)) if task.prompt == "chinese" else before,
        slots=instance.meta.get("slots", {}),
    )


def _with_chinese_turn(before: Mapping[str, Any], num_images: int) -> dict[str, Any]:
    """Returns what stands before a question with the turn of the paper's zero-shot Chinese tests in front.

    The pictures stay with the question, or with the first turn of the record if it has earlier ones.
    """
    turns: list[Mapping[str, Any]] = [dict(turn) for turn in before.get("turns", ())]
    own = before.get("new_pictures", 0)
    free = num_images - own - sum(turn.get("new_pictures", 0) for turn in turns)
    if turns:
        turns[0] = {**turns[0], "new_pictures": turns[0].get("new_pictures", 0) + free}
    else:
        own += free
    turns.insert(0, dict(task_row.CHINESE_TURN))
    return {**before, "turns": turns, "new_pictures": own, "answer_begin": task_row.CHINESE_BEGIN}


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
    wordings: conditions.Wordings | None = None,
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
      variants: `controls.OWN`, the wanted controls and conditions (`conditions.py`).
      wordings: What reworded questions are asked with; a question without one is left out of these variants.

    Raises:
      UserError: the folder holds answers of another model or other settings, or a file is damaged.
    """
    every = read_questions(folder, protocol, only=only)
    store.claim(identity)
    done = {_key(row) for row in store.predictions(repair=True)}
    missing = [
        request
        for request in _requests(every, limited(every, limit), variants=variants, seed=protocol.seed, wordings=wordings)
        if (request.question.source, request.question.id, request.variant, request.question.instruction) not in done
    ]
    guesses = [request for request in missing if request.variant == controls.MAJORITY]
    if guesses:
        majority = train_majority(folder, sorted({request.question.source for request in guesses}))
        answers = (majority.answer(each.question.skill, each.question.inputs) for each in guesses)
        store.append(_rows([[guess] for guess in guesses], enumerate(answers)))
    requests = [request for request in missing if request.variant != controls.MAJORITY]
    found = tables(folder, protocol)

    def ask(request: Request) -> Mapping[str, Any]:
        try:
            return asking.asked(request, found, protocol)
        except errors.UserError as error:
            raise _blamed(folder, [request], tables=found, error=error) from error

    with progress.Progress(len(requests), "answering") as counter:
        for chunk in asking.chunks(requests, ask):
            try:
                finished = _finished(model, [each.content for each in chunk])
                store.append(_rows([each.requests for each in chunk], finished, counter=counter))
            except errors.UserError as error:
                every_one = [request for each in chunk for request in each.requests]
                raise _blamed(folder, every_one, tables=found, error=error) from error


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what tells one answer from another; the instruction, since a question may be asked in other words."""
    return row["source"], row["id"], row["variant"], row["instruction"]


def _requests(
    every: Sequence[Question],
    kept: Sequence[Question],
    *,
    variants: Sequence[str],
    seed: int,
    wordings: conditions.Wordings | None = None,
) -> Iterator[Request]:
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
            condition = conditions.of(variant)
            if condition:
                yield from _conditioned(question, condition, wordings=wordings, seed=seed)
            elif variant != controls.SHUFFLED:
                yield Request(question, variant, question)
            elif question.id in partner:
                yield Request(question, variant, partner[question.id])


def _conditioned(
    question: Question, condition: conditions.Condition, *, wordings: conditions.Wordings | None, seed: int
) -> Iterator[Request]:
    """Yields a question under a condition, if it applies: there are other words for it, there is a picture."""
    asked: Question | None = question
    if condition.is_reworded:
        text = wordings and wordings.reworded(question.source, question.id, slots=question.slots, seed=seed)
        asked = dataclasses.replace(question, instruction=text) if text else None
    if asked and (question.num_images or not condition.strength):
        corruption = corruptions.corruption_of(question.id, seed=seed) if condition.strength else ""
        yield Request(asked, condition.variant, question, corruption, condition.strength)


def _blamed(
    folder: records.DataFolder,
    chunk: Sequence[Request],
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


def _finished(model: Model, asked: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    """Yields (number of the request, its answer) as the model has them."""
    stream = getattr(model, "stream_batch", None)
    if stream is not None:
        yield from stream(asked)
        return
    answers = model.generate_batch(asked)
    if len(answers) != len(asked):
        raise ValueError(f"the model gave {len(answers)} answers to {len(asked)} requests")
    yield from enumerate(answers)


def _rows(
    requests: Sequence[Sequence[Request]],
    answers: Iterable[tuple[int, str]],
    *,
    counter: progress.Progress | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields a line of the predictions for each request that an answer belongs to, as the answers come."""
    for number, answer in answers:
        for request in requests[number]:
            yield {**request.question.row(), "variant": request.variant, "prediction": prompts.one_line(answer)}
            if counter is not None:
                counter.update()


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
