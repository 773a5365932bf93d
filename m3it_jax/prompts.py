"""Instance -> (prompt, response) text; the only place that knows the turn template.

Drawn for instruction "What is this?" and no inputs (`⏎` is a newline, `</s>` the end id that the token layout adds):

    ⏎<human>:⏎What is this?⏎⏎<bot>:⏎a blue circle⏎</s>
    '------------ prompt ---------''--- response --'
"""

import re
from collections.abc import Mapping

# Raised with every change below: a model trained with one template must not be asked with another.
TEMPLATE_VERSION = 1

# Marks around each picture's tokens. Source: YING-VLM inference_example.py (github.com/MMInstruction/YingVLM).
IMAGE_OPEN = "<Img>"
IMAGE_CLOSE = "</Img>"

# A place in an instruction that a row fills, such as `[HYPO]` (M3IT.py of the released data set, e-SNLI-VE).
SLOT = re.compile(r"\[([A-Z][A-Z_]+)\]")

_LINE_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")


def fill_slots(instruction: str, slots: Mapping[str, str]) -> str:
    """Returns an instruction with `[NAME]` replaced by `slots["NAME"]`; the texts put in are not searched again.

    Raises:
      KeyError: a slot has no text. Without any slot the instruction stays as it is.
    """
    return SLOT.sub(lambda found: slots[found[1]], instruction) if slots else instruction


def prompt(instruction: str, inputs: str) -> str:
    """Returns the text before the answer.

    The line of `inputs` stays when it is empty, as in YING-VLM's inference_example.py, whose template this is.
    """
    return f"\n<human>:\n{instruction}\n{inputs}\n<bot>:\n"


def response(outputs: str) -> str:
    """Returns the wanted text after the prompt: one line, since a newline ends the answer (the end id follows it)."""
    return _LINE_BREAKS.sub(" ", outputs).strip() + "\n"


def answer(generated: str) -> str:
    """Returns the answer in generated text: what stands before the first newline."""
    return generated.split("\n", 1)[0].strip()
