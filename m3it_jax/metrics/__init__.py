"""Scores of predictions against reference answers: pure functions that know nothing of models.

Each takes `(targets, predictions)`, where `targets[i]` holds every right answer to prediction `i`, and returns
`{name: value}` in the range of the scorer that it is equal to. `METRICS` has the same as sums and counts, which are
added up over hosts, subsets or resamples first and turned into a value afterwards.
"""

from m3it_jax.metrics.accuracy import exact_match, exact_match_normalised, multiple_choice
from m3it_jax.metrics.anls import anls
from m3it_jax.metrics.bleu import bleu
from m3it_jax.metrics.checking import ScoringError
from m3it_jax.metrics.choice import multiple_choice_letter, multiple_choice_likelihood, multiple_choice_text
from m3it_jax.metrics.chrf import chrf
from m3it_jax.metrics.cider import cider
from m3it_jax.metrics.language import identified_languages, language_match
from m3it_jax.metrics.rouge import rouge_l, rouge_l_latin
from m3it_jax.metrics.table import METRICS
from m3it_jax.metrics.tokens import words
from m3it_jax.metrics.treebank import caption_words
from m3it_jax.metrics.vqa import vqa_accuracy
from m3it_jax.metrics.winoground import winoground

__all__ = [
    "METRICS",
    "ScoringError",
    "anls",
    "bleu",
    "caption_words",
    "chrf",
    "cider",
    "exact_match",
    "exact_match_normalised",
    "identified_languages",
    "language_match",
    "multiple_choice",
    "multiple_choice_letter",
    "multiple_choice_likelihood",
    "multiple_choice_text",
    "rouge_l",
    "rouge_l_latin",
    "vqa_accuracy",
    "winoground",
    "words",
]
