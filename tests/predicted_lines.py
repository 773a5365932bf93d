"""Lines of predictions.jsonl as tests write them."""

from m3it_jax.evaluation import controls


def prediction(number: int, text: str, **changed) -> dict:
    """Returns a line of predictions.jsonl; the right answer is 3."""
    row = {
        "id": str(number),
        "source": "one",
        "number": number,
        "skill": "digit",
        "family": "vqa",
        "language": "en",
        "group": str(number),
        "instruction": "Which digit?",
        "inputs": "",
        "references": ["3"],
        "variant": controls.OWN,
        "prediction": text,
    }
    return {**row, **changed}
