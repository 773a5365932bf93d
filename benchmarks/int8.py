"""What int8 weights of the language model cost in quality, and what they save.

    python benchmarks/int8.py CHECKPOINT DATA [--split test] [--limit 30]

CHECKPOINT as for `m3it eval` (a quick-start folder, say, with DATA its data/). The same questions, at most `--limit` of
each skill, are answered greedily by the model as stored and with `--decoder-weights int8`. The table has the exact
matches of both and their difference, paired, with the 95 % interval of a bootstrap over pictures, and the mean absolute
change of log p of the reference answer with its own interval, natural logarithm, a whole answer. Writes
benchmarks/results/int8.json; under five minutes on two quiet cores with a quick-start run.
"""

import argparse
import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import harness
import numpy as np

import m3it_jax
from m3it_jax import parameter_paths, records
from m3it_jax.evaluation import asking, controls, runner, tasks
from m3it_jax.generation.assistant import Assistant

# (name of a row, arguments of load)
WEIGHTS: tuple[tuple[str, dict[str, Any]], ...] = (("stored", {}), ("int8", {"decoder_weights": "int8"}))

COLUMNS = (
    ("task", "task", ""),
    ("n", "n", ""),
    ("stored", "exact match as stored, %", ".1f"),
    ("int8", "int8, %", ".1f"),
    ("difference", "difference", "+.1f"),
    ("interval", "95 % interval", ""),
    ("same", "same answers", ".3f"),
    ("moved", "mean change of log p", ".4f"),
    ("moved_interval", "95 % interval", ""),
)


def ask(
    assistant: Assistant, questions: Sequence[asking.Question], images: Sequence[Sequence[bytes]]
) -> tuple[list[str], list[float]]:
    """Returns (the answers, log p of each question's first reference)."""
    requests = [
        {"instruction": question.instruction, "inputs": question.inputs, "images": list(shown)}
        for question, shown in zip(questions, images, strict=True)
    ]
    answers = assistant.generate_batch(requests)
    likelihoods = [
        assistant.log_likelihood(question.instruction, question.inputs, shown, question.references[0])
        for question, shown in zip(questions, images, strict=True)
    ]
    return answers, likelihoods


def compare(
    name: str, questions: Sequence[asking.Question], found: Mapping[str, tuple[Sequence[str], Sequence[float]]]
) -> dict[str, Any]:
    """Returns the row of one task."""
    matches = {
        weights: np.array(
            [
                m3it_jax.metrics.exact_match([list(question.references)], [answer])["exact_match"]
                for question, answer in zip(questions, answers, strict=True)
            ]
        )
        for weights, (answers, _) in found.items()
    }
    groups = [question.group for question in questions]
    protocol = tasks.Protocol()
    resamples = controls.Resamples(
        groups, seed=protocol.seed, resamples=protocol.resamples, confidence=protocol.confidence
    )
    difference = matches["int8"] - matches["stored"]
    moved = np.abs(np.subtract(found["int8"][1], found["stored"][1]))
    same = [one == other for one, other in zip(found["stored"][0], found["int8"][0], strict=True)]
    return {
        "task": name,
        "n": len(questions),
        "stored": float(matches["stored"].mean()),
        "int8": float(matches["int8"].mean()),
        "difference": float(difference.mean()),
        "interval": "{:+.1f} to {:+.1f}".format(*resamples.interval(difference.tolist(), groups)),
        "same": float(np.mean(same)),
        "moved": float(moved.mean()),
        "moved_interval": "{:.4f} to {:.4f}".format(*resamples.interval(moved.tolist(), groups)),
    }


def decoder_bytes(assistant: Assistant) -> float:
    """Returns the bytes of the language model's parameters."""
    leaves = parameter_paths.flatten(assistant.sampler.params)
    return float(sum(leaf.nbytes for path, leaf in leaves.items() if path.startswith("decoder/")))


def main() -> None:
    """Asks, compares and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=30, help="most questions of each skill")
    args = parser.parse_args()
    machine = harness.machine()
    folder = records.DataFolder.open(args.data)
    questions = runner.limited(runner.read_questions(folder, tasks.Protocol(split=args.split)), args.limit)
    tables = {source: folder.table(source, args.split) for source in {question.source for question in questions}}
    images = [tables[question.source].read(question.number).images for question in questions]
    found, sizes = {}, {}
    for weights, options in WEIGHTS:
        assistant = m3it_jax.load(args.checkpoint, **options)
        found[weights], sizes[weights] = ask(assistant, questions, images), decoder_bytes(assistant)
    places = collections.defaultdict(list)
    for place, question in enumerate(questions):
        places[question.skill].append(place)
    rows = []
    for name, chosen in [*sorted(places.items()), ("all", list(range(len(questions))))]:
        part = {
            weights: ([answers[place] for place in chosen], [values[place] for place in chosen])
            for weights, (answers, values) in found.items()
        }
        rows.append(compare(name, [questions[place] for place in chosen], part))
    references = {f"language model, {weights}, MB": size / 1e6 for weights, size in sizes.items()}
    harness.finish("int8", machine=machine, references=references, columns=COLUMNS, rows=rows)


if __name__ == "__main__":
    main()
