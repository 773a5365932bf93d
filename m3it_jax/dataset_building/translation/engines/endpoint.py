"""Any OpenAI-compatible text model as a translator, through `llm_client`: one request a line."""

from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import languages, llm_client
from m3it_jax.dataset_building.translation.engines import Failure

# Raised when the prompt changes: a translation of another prompt is another translation.
PROMPT_VERSION = 1

# CHOICE: the same answer each time suits a step that may be repeated; a segment has at most 400 characters, of which
# some scripts take several tokens each.
SAMPLING: Mapping[str, Any] = {"temperature": 0, "max_tokens": 1024}

_PROMPT = (
    "Translate the text below from {source} into {target} ({code}). It is one line of a question, an instruction or an "
    "answer about a picture. Keep every mark such as [1] or [2] exactly as it is, each once, at the place where it "
    "belongs in {target}. Do not answer the text, add nothing and explain nothing: write the translation alone, on one "
    "line.\n\nText: {text}\nTranslation:"
)


class Endpoint:
    """See `engines.Engine`."""

    def __init__(self, client: llm_client.Client, model: str, sampling: Mapping[str, Any]):
        """Takes the client, the model's name at its endpoint, and fields of each request."""
        self._client, self._model, self._sampling = client, model, dict(sampling)

    def settings(self) -> Mapping[str, Any]:
        """See `Engine`."""
        return {"name": "endpoint", "model": self._model, "sampling": self._sampling, "prompt": PROMPT_VERSION}

    def check(self, source: languages.Language, target: languages.Language) -> None:
        """Refuses nothing: what a model can do, its answers show."""

    def translate(
        self, texts: Sequence[str], source: languages.Language, target: languages.Language
    ) -> list[str | Failure]:
        """See `Engine`."""
        requests = ((text, self.request(text, source, target)) for text in texts)
        return [_said(answer) for _, answer in self._client.answers(requests)]

    def request(self, text: str, source: languages.Language, target: languages.Language) -> llm_client.Request:
        """Returns what is asked about a text."""
        prompt = _PROMPT.format(source=source.name, target=target.name, code=target.bcp47, text=text)
        return llm_client.Request(self._model, (("user", prompt),), self._sampling)


def _said(answer: llm_client.Answer | llm_client.Failure) -> str | Failure:
    if isinstance(answer, llm_client.Failure):
        return Failure(answer.text)
    if answer.finish in ("length", "content_filter"):
        return Failure(f"was cut off ({answer.finish})")
    return answer.text.strip()
