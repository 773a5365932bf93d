"""Pairs a second of CIDEr, ROUGE-L, BLEU and chrF beside the published scorers, which must give equal values.

    pip install pycocoevalcap rouge-score sacrebleu     # into any environment with NumPy and rapidfuzz
    python benchmarks/metrics.py [--pairs 100000] [--repeats 3]

The texts are drawn: captions of 6 to 15 words, the words' frequencies falling as in English (Zipf, 10,000 words), the
prediction a target with three words replaced. Ours and theirs run in turn, tokenizing included; BLEU and chrF, which
have no goal, on the first fifth of the pairs. Ends with 1 if a
value differs by more than rounding, CIDEr is less than 10 or ROUGE-L less than 3 times as fast. Writes
benchmarks/results/metrics.json; six minutes on a quiet core with the defaults.
"""

import argparse
import importlib.metadata
import random
import sys
from collections.abc import Callable
from typing import Any

import harness

GOALS = {"CIDEr": 10.0, "ROUGE-L": 3.0}  # times as fast as the published scorer
ROUNDING = 1e-9
COLUMNS = (
    ("metric", "metric", ""),
    ("reference", "published scorer", ""),
    ("ours.max", "pairs/s, best", ",.0f"),
    ("ours.median", "median", ",.0f"),
    ("theirs.max", "theirs, best", ",.0f"),
    ("theirs.median", "median", ",.0f"),
    ("times", "times as fast, best to best", ".1f"),
    ("difference", "largest difference", ".1e"),
)


def draw(pairs: int) -> tuple[list[list[str]], list[str]]:
    """Returns targets, one for each prediction, and predictions."""
    chance = random.Random(0)
    words = [f"word{number}" for number in range(10_000)]
    shares = [1 / (number + 1) for number in range(len(words))]
    targets, predictions = [], []
    for _ in range(pairs):
        target = chance.choices(words, shares, k=chance.randrange(6, 16))
        prediction = list(target)
        for place in chance.sample(range(len(target)), 3):
            prediction[place] = chance.choices(words, shares)[0]
        targets.append([" ".join(target)])
        predictions.append(" ".join(prediction))
    return targets, predictions


def cases(
    targets: list[list[str]], predictions: list[str]
) -> dict[str, tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Returns {metric: (scorer and version, our values, theirs)}; each function returns one value or one a pair."""
    import sacrebleu
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from rouge_score import rouge_scorer

    from m3it_jax import metrics
    from m3it_jax.metrics.cider import rows as cider_rows
    from m3it_jax.metrics.rouge import latin_rows

    gts, res = dict(enumerate(targets)), {number: [text] for number, text in enumerate(predictions)}
    rouge = rouge_scorer.RougeScorer(["rougeL"])
    few = len(targets) // 5
    some, answers = targets[:few], predictions[:few]
    streams = [[row[0] for row in some]]

    def their_rouge() -> list[float]:
        pairs = zip(targets, predictions, strict=True)
        return [100 * rouge.score(row[0], prediction)["rougeL"].fmeasure for row, prediction in pairs]

    def version(name: str) -> str:
        return f"{name} {importlib.metadata.version(name)}"

    return {
        "CIDEr": (
            version("pycocoevalcap"),
            lambda: cider_rows(targets, predictions),
            lambda: Cider().compute_score(gts, res)[1],
        ),
        "ROUGE-L": (version("rouge-score"), lambda: latin_rows(targets, predictions), their_rouge),
        "BLEU-1 to 4": (
            version("pycocoevalcap"),
            lambda: list(metrics.bleu(some, answers).values())[1:],
            lambda: Bleu(4).compute_score(dict(enumerate(some)), {n: res[n] for n in range(few)}, verbose=0)[0],
        ),
        "chrF": (
            version("sacrebleu"),
            lambda: metrics.chrf(some, answers)["chrf"],
            lambda: sacrebleu.CHRF().corpus_score(answers, streams).score,
        ),
    }


def main() -> int:
    """Measures, prints the table and returns 0 if the goals hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    machine = harness.machine()
    import numpy as np

    rows, good = [], True
    for name, (reference, ours, theirs) in cases(*draw(args.pairs)).items():
        difference = float(np.abs(np.asarray(ours()) - np.asarray(theirs())).max())
        seconds = harness.interleave({"ours": ours, "theirs": theirs}, args.repeats)
        times = min(seconds["theirs"]) / min(seconds["ours"])
        good = good and difference <= ROUNDING and times >= GOALS.get(name, 0.0)
        pairs = args.pairs if name in GOALS else args.pairs // 5
        rate = {case: harness.spread([1 / each for each in taken], pairs) for case, taken in seconds.items()}
        rows.append({"metric": name, "reference": reference, **rate, "times": times, "difference": difference})
        print(f"{name}: {times:.1f} times as fast, largest difference {difference:.1e}", file=sys.stderr)
    harness.finish("metrics", machine=machine, references={"pairs": args.pairs}, columns=COLUMNS, rows=rows)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
