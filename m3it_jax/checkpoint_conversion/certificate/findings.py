"""What a certificate's figures mean: what is allowed, what does not hold and where, and a table to read."""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.checkpoint_conversion.certificate.comparison import Scores, largest
from m3it_jax.checkpoint_conversion.certificate.whole_program import Answer

# Largest allowed difference, times the reference's largest value where that is above 1. The project's goal in float32
# is 1e-5 a layer and 1e-4 at the scores.
LAYER, LOGITS = 1e-5, 1e-4


def left_out(reason: str) -> dict[str, Any]:
    """Returns the answer of a part that could not be asked, which is no failure."""
    return {"ok": True, "left_out": reason}


def judge_scores(scores: Scores) -> dict[str, Any]:
    """Returns how far the scores of the next token are apart at the end of both models."""
    difference, scale = largest(scores.reference - scores.ours), largest(scores.reference)
    same = scores.reference.argmax(axis=-1) == scores.ours.argmax(axis=-1)
    return {
        "ok": difference <= LOGITS * max(1.0, scale),
        "max_abs_diff": difference,
        "scale": scale,
        "num_positions": len(same),
        "same_likeliest": float(same.mean()),
    }


def judge_answer(scores: Scores, answer: Answer) -> dict[str, Any]:
    """Returns whether the reference finds each token of our greedy output the likeliest after those before it.

    Two tokens whose scores lie closer than the tolerance count as equal.
    """
    reference = scores.reference[-len(answer.new_ids) :, : answer.num_ids]
    tie = LOGITS * max(1.0, largest(reference))
    apart = []
    for place, (row, token) in enumerate(zip(reference, answer.new_ids, strict=True)):
        likeliest = int(row.argmax())
        if likeliest != token:
            margin = float(row[likeliest] - row[token])
            apart.append({"position": place, "checkpoint": token, "hf_dir": likeliest, "margin": margin})
    return {
        "ok": all(one["margin"] <= tie for one in apart),
        "num_tokens": len(answer.new_ids),
        "differences": apart,
        "output": answer.output,
    }


def problems(certificate: Mapping[str, Any]) -> list[str]:
    """Returns a line for each thing that does not hold; the first is the nearest to its cause."""
    return [
        line
        for lines in (_model, _finite, _tensors, _texts, _pictures, _endings, _sight, _layers, _outputs)
        for line in lines(certificate)
    ]


def _model(told: Mapping[str, Any]) -> Iterator[str]:
    for name, pair in told["model"]["differences"].items():
        yield f"model: {name} is {pair['hf_dir']} in HF_DIR and {pair['checkpoint']} in CHECKPOINT"


def _finite(told: Mapping[str, Any]) -> Iterator[str]:
    sides = {"hf_dir": "HF_DIR", "checkpoint": "CHECKPOINT"}
    for one in told.get("tensors", {}).get("not_finite", []):
        where = f"{one['tensor']}{one['index']}"
        yield f"tensors: {where} is {one['value']} in {sides[one['side']]}, which no weight may be"


def _tensors(told: Mapping[str, Any]) -> Iterator[str]:
    tensors = told.get("tensors", {"ok": True})
    if tensors["ok"]:
        return
    for one in tensors["differences"]:
        index = f"{one['index']}" if "index" in one else ""
        number = one.get("num_values")
        count = "" if number is None else " (1 value differs)" if number == 1 else f" ({number} values differ)"
        yield (
            f"tensors: {one['tensor']}{index} is {one['hf_dir']} in HF_DIR and {one['checkpoint']} in CHECKPOINT{count}"
        )
    more = tensors["num_unequal"] - len(tensors["differences"])
    if more:
        yield f"tensors: {more} more differ"


def _texts(told: Mapping[str, Any]) -> Iterator[str]:
    for name in ("tokenizer", "qformer_tokenizer"):
        texts = told.get(name, {"ok": True})
        if texts["ok"]:
            continue
        if "missing" in texts:
            yield f"{name}: {texts['missing']} is missing, and HF_DIR has one"
            continue
        first = texts["first_difference"]
        theirs, ours = [*first["hf_dir"], "nothing"], [*first["checkpoint"], "nothing"]
        place = next(place for place, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1])
        yield (
            f"{name}: {texts['num_unequal']} of {texts['num_texts']} texts have other ids; id {place} of "
            f"{first['text'][:60]!r} is {theirs[place]} in HF_DIR and {ours[place]} in CHECKPOINT"
        )


def _pictures(told: Mapping[str, Any]) -> Iterator[str]:
    pictures = told.get("preprocessing", {"ok": True})
    if not pictures["ok"]:
        yield (
            f"preprocessing: the picture {pictures['worst']!r} differs by {pictures['max_steps']}/255, and "
            f"{pictures['identical']:.2%} of the values are identical in the worst one; HF_DIR's processor and the "
            "checkpoint's model.json do not agree"
        )


def _endings(told: Mapping[str, Any]) -> Iterator[str]:
    for one in told.get("endings", {}).get("differences", []):
        yield (
            f"endings: {one['file']}: eos_token_id is {one['hf_dir']} in HF_DIR, and CHECKPOINT ends an answer at "
            f"{one['checkpoint']}"
        )


def _sight(told: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"sight: {line}" for line in told.get("sight", {}).get("problems", []))


def _layers(told: Mapping[str, Any]) -> Iterator[str]:
    for part, rows in told.get("layers", {}).items():
        wrong = [row for row in rows if row["max_abs_diff"] > LAYER * max(1.0, row["scale"])]
        if wrong:
            row = wrong[0]
            yield (
                f"layers: {part} differs in {len(wrong)} of {len(rows)} states, first in state {row['layer']} by "
                f"{row['max_abs_diff']:.1e} at values up to {row['scale']:.1f}"
            )


def _outputs(told: Mapping[str, Any]) -> Iterator[str]:
    logits, greedy = told.get("logits", {"ok": True}), told.get("greedy", {"ok": True})
    if not logits["ok"]:
        yield f"logits: differ by {logits['max_abs_diff']:.1e} at values up to {logits['scale']:.1f}"
    sight = told.get("sight", {})
    if not sight.get("ok", True) and not sight["problems"]:
        yield (
            f"sight: beside a second picture the scores differ by {sight['max_abs_diff']:.1e} at values up to "
            f"{sight['scale']:.1f}"
        )
    if not greedy["ok"]:
        one = max(greedy["differences"], key=lambda one: one["margin"])
        yield (
            f"greedy: new token {one['position']} is {one['checkpoint']}, the reference takes {one['hf_dir']}, whose "
            f"score is {one['margin']:.1e} above"
        )


def table(certificate: Mapping[str, Any]) -> str:
    """Returns a line for each answer of a certificate, then its problems."""
    return "\n".join([*_rows(certificate), *certificate["problems"], "equal" if certificate["ok"] else "NOT equal"])


def _rows(told: Mapping[str, Any]) -> Iterator[str]:
    if not told["model"]["ok"]:
        return
    tensors, texts, pictures, greedy = (told[name] for name in ("tensors", "tokenizer", "preprocessing", "greedy"))
    equal = tensors["num"] - tensors["num_unequal"]
    yield f"tensors        {equal} of {tensors['num']} equal bit for bit, {tensors['num_carried']} of them carried"
    for part, rows in told["layers"].items():
        worst = max(rows, key=lambda row: row["max_abs_diff"] / max(1.0, row["scale"]))
        yield (
            f"{part:<14} {len(rows)} states, largest difference {worst['max_abs_diff']:.1e} at values up to "
            f"{worst['scale']:.1f}"
        )
    logits, sight = told["logits"], told["sight"]
    apart = "{max_abs_diff:.1e} at values up to {scale:.1f}"
    yield f"logits         {logits.get('left_out') or 'largest difference ' + apart.format(**logits)}"
    seen = "left_out" not in sight and f"another picture changes them by {sight['between_pictures']:.1f}, "
    yield f"sight          {sight.get('left_out') or f'{seen}largest difference {apart.format(**sight)}'}"
    yield f"tokenizer      {texts.get('left_out') or _count(texts['num_texts'] - texts['num_unequal'], texts)}"
    same = (
        "" if "left_out" in pictures else f"{pictures['identical']:.3%} identical, at most {pictures['max_steps']}/255"
    )
    yield f"preprocessing  {pictures.get('left_out') or same}"
    yield f"greedy         {greedy.get('left_out') or _agreed(greedy)}"


def _count(equal: int, texts: Mapping[str, Any]) -> str:
    return f"{equal} of {texts['num_texts']} texts equal"


def _agreed(greedy: Mapping[str, Any]) -> str:
    equal = greedy["num_tokens"] - len(greedy["differences"])
    return f"{equal} of {greedy['num_tokens']} tokens are the reference's"
