"""Whether a folder's chat template words a question as the family's prompt does. Nothing of a template is run.

A template is a program in Jinja. What it can print are the texts outside its braces and the quoted ones inside them;
those are compared with the pieces of the prompt (`prompts.FORMATS`).
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m3it_jax import prompts
from m3it_jax.checkpoint_conversion.files import hf_folder

_JINJA, _TOKENIZER = "chat_template.jinja", "tokenizer_config.json"
_FILES = ("chat_template.json", "processor_config.json", _TOKENIZER)
_BRACES = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{(.*?)\}\}", re.DOTALL)
# A quoted text of an expression; one in brackets is a name, as in message['role'].
_QUOTED = re.compile(r"""(?<!\[)(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")(?!\])""")
_WORD = re.compile(r"\w+")
_MARKS = re.compile(r"</?(?:s|pad|unk|image|Img)>")  # spellings of special tokens, which are no words


def note(folder: Path, prompt: str) -> str:
    """Returns what to say of a folder's chat template; nothing where it has none or words questions alike.

    Args:
      folder: The Hugging Face folder.
      prompt: A row of `prompts.FORMATS`.

    Raises:
      UserError: a file that may hold it is no JSON.
    """
    for name, text in _found(folder):
        if not _words_alike(text, prompts.FORMATS[prompt]):
            asked = prompts.FORMATS[prompt].prompt("...", "")
            shown = asked if len(asked) <= 60 else f"...{asked[-57:]}"
            return (
                f"{name}: its chat template words questions in another way than {prompt!r}, the family's own wording, "
                f"which is used here ({shown!r}); the template is carried along and not applied"
            )
    return ""


def _found(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields (file, template) of those that a folder has."""
    if (folder / _JINJA).is_file():
        yield _JINJA, (folder / _JINJA).read_text("utf-8", errors="replace")
    for name in _FILES:
        path = folder / name
        if path.is_file():
            yield from ((name, text) for text in _texts(hf_folder.read_json(path).get("chat_template")))


def _texts(value: Any) -> Iterator[str]:
    """Yields the templates of a field: one, or several with names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one.get("template") if isinstance(one, Mapping) else None)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)


def _printed(template: str) -> str:
    """Returns the texts that a template can print, in their order."""
    pieces, end = [], 0
    for found in _BRACES.finditer(template):
        pieces.append(template[end : found.start()])
        pieces += [first or other for first, other in _QUOTED.findall(found[1] or "")]
        end = found.end()
    return " ".join([*pieces, template[end:]]).replace("\\n", "\n")


def _words_alike(template: str, wording: prompts.PromptFormat) -> bool:
    """Returns whether a template prints the words of the prompt in their order and no others."""
    asked = f"{wording.system} {wording.turn} {wording.between}".replace("{question}", " ").replace("{pictures}", " ")
    wanted, printed = _WORD.findall(asked), _WORD.findall(_MARKS.sub(" ", _printed(template)))
    place = iter(printed)
    return all(word in place for word in wanted) and set(printed) <= set(wanted)
