"""Name of a metric -> its sums and counts: what a task names and a runner adds up."""

import functools

from m3it_jax.metrics import accuracy, choice, language, rouge, sums, tokens, treebank, vqa

# Of these the package shows the function under the name of the module.
from m3it_jax.metrics.anls import rows as anls_rows
from m3it_jax.metrics.bleu import rows as bleu_rows
from m3it_jax.metrics.bleu import values as bleu_values
from m3it_jax.metrics.chrf import rows as chrf_rows
from m3it_jax.metrics.chrf import values as chrf_values
from m3it_jax.metrics.cider import rows as cider_rows
from m3it_jax.metrics.winoground import rows as winoground_rows
from m3it_jax.metrics.winoground import values as winoground_values

METRICS: dict[str, sums.Metric] = {
    "exact_match": sums.mean_of("exact_match", accuracy.exact_rows),
    "exact_match_normalised": sums.mean_of("exact_match_normalised", accuracy.normalised_rows),
    "multiple_choice": sums.mean_of("multiple_choice", accuracy.choice_rows),
    "multiple_choice_letter": sums.mean_of("multiple_choice_letter", choice.letter_rows),
    "multiple_choice_likelihood": sums.mean_of("multiple_choice_likelihood", choice.likelihood_rows),
    "rouge_l": sums.mean_of("rougeL", rouge.rows),
    "rouge_l_latin": sums.mean_of("rougeL_latin", rouge.latin_rows),
    "cider": sums.mean_of("CIDEr", cider_rows, top=10.0),
    "cider_captions": sums.mean_of("CIDEr", functools.partial(cider_rows, tokenize=treebank.caption_words), top=10.0),
    "cider_words": sums.mean_of("CIDEr", functools.partial(cider_rows, tokenize=tokens.words), top=10.0),
    "bleu": sums.Metric(bleu_rows, bleu_values),
    "chrf": sums.Metric(chrf_rows, chrf_values),
    "vqa_accuracy": sums.mean_of("vqa_accuracy", vqa.rows),
    "anls": sums.mean_of("anls", anls_rows, top=1.0),
    "language_match": sums.mean_of("language_match", language.rows),
    "winoground": sums.Metric(lambda _, predictions: winoground_rows(predictions), winoground_values),
}
