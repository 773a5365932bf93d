"""What is asked, what comes back, and where it is kept."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, TypeGuard

from m3it_jax import file_safety


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens of requests (`prompt`) and of what came back (`answer`)."""

    prompt: int = 0
    answer: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt + other.prompt, self.answer + other.answer)

    def __sub__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.prompt - other.prompt, self.answer - other.answer)

    def total(self) -> int:
        """Returns both together."""
        return self.prompt + self.answer


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a model; its content alone decides under which key the answer is kept.

    Attributes:
      model: Name of the model, as the endpoint knows it.
      messages: (role, text) in order; roles are `system`, `user` and `assistant`.
      sampling: Further fields of the request as JSON: `temperature`, `max_tokens` and so on.
    """

    model: str
    messages: tuple[tuple[str, str], ...]
    sampling: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        """Returns the JSON object that is sent."""
        messages = [{"role": role, "content": text} for role, text in self.messages]
        return {**self.sampling, "model": self.model, "messages": messages}

    @functools.cached_property
    def key(self) -> str:
        """The SHA-256 of the body in hex."""
        return hashlib.sha256(json.dumps(self.body(), sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
      text: The text; empty if there was none.
      finish: Why it ended: `stop`, `length` (cut off), `content_filter`, or what else the endpoint says.
      tokens: As the endpoint counts them; where it does not say, the most that they can be.
    """

    text: str
    finish: str
    tokens: Tokens


class Cache:
    """Answers on disk, one JSON file each under the first two digits of its request's key. Safe between threads.

    A file that is damaged, or is of another request, counts as missing and is written anew.
    """

    def __init__(self, folder: pathlib.Path):
        """Takes the folder; it is made with the first answer."""
        self._folder = folder

    def get(self, request: Request) -> Answer | None:
        """Returns the answer to a request, or None."""
        try:
            found = json.loads(self._path(request).read_bytes())
            if found["request"] != request.body():
                return None
            said = found["answer"]
            text, finish, counts = said["text"], said["finish"], (said["prompt_tokens"], said["answer_tokens"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if not (isinstance(text, str) and isinstance(finish, str) and all(map(is_count, counts))):
            return None
        return Answer(text, finish, Tokens(*counts))

    def put(self, request: Request, answer: Answer) -> None:
        """Keeps an answer; a reader sees the whole file or none.

        Raises:
          OSError: the disk is full or the folder cannot be written.
        """
        path = self._path(request)
        path.parent.mkdir(parents=True, exist_ok=True)
        said = {
            "text": answer.text,
            "finish": answer.finish,
            "prompt_tokens": answer.tokens.prompt,
            "answer_tokens": answer.tokens.answer,
        }
        file_safety.write_whole(path, json.dumps({"request": request.body(), "answer": said}, indent=1) + "\n")

    def _path(self, request: Request) -> pathlib.Path:
        return self._folder / request.key[:2] / f"{request.key[2:]}.json"


def is_count(value: object) -> TypeGuard[int]:
    """Returns whether a value from outside is a whole number of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
