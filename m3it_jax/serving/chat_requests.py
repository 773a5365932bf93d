"""The body of POST /v1/chat/completions -> what the model is asked; whatever is wrong names its field."""

import dataclasses
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from m3it_jax import schema
from m3it_jax.generation import pictures
from m3it_jax.serving import picture_parts
from m3it_jax.serving.api_errors import ApiError, invalid

ReadPicture = Callable[[str, str], pictures.Picture]

MOST_CHOICES = 16  # CHOICE: of one request; each takes a row
_MOST_STOPS, _MOST_STOP_BYTES = 4, 256  # OpenAI's limit; `SamplingConfig`'s
_MOST_MESSAGES = 1024  # CHOICE: more turns than any model here has tokens for
_MOST_TOKENS = 1 << 20  # CHOICE: above every model's length; clients set high limits by habit, and those are cut
_MOST_SEED = 2**63 - 1
_ROLES = ("system", "developer", "user", "assistant")

# Fields that are known and change nothing here: labels of the client, and what is on anyway.
_IGNORED = frozenset({"user", "store", "metadata", "service_tier", "parallel_tool_calls", "safety_identifier"})
# Fields that may be given as what they are anyway: none of what they ask for is made here.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0, None),
    "presence_penalty": (0, None),
    "repetition_penalty": (1, None),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "num_beams": (1, None),
    "do_sample": (None, False, True),
}


@dataclasses.dataclass(frozen=True)
class ChatRequest:
    """A request that is well-formed; whether it fits into the model is not known yet.

    Attributes:
      turns: The last is to be answered.
      shown: The pictures of all turns in order, not decoded.
      system: What was said before all turns.
      model: The name that was asked for, "" for none.
      num_choices: Answers wanted.
      max_tokens: Most new tokens; None: as many as there is room for.
      min_tokens: Fewest, as vLLM's server takes it; 0 for none.
      sampling: Fields of `SamplingConfig` beside `max_new_tokens` and `seed`.
      seed: Of the first answer.
      num_best: Alternatives wanted beside each token; None: no log-probabilities.
      is_stream: Whether the answer is sent while it is made.
      has_usage: Whether a stream ends with what it used.
    """

    turns: tuple[schema.Turn, ...]
    shown: tuple[pictures.Picture, ...]
    system: str
    model: str
    num_choices: int
    max_tokens: int | None
    min_tokens: int
    sampling: Mapping[str, Any]
    seed: int
    num_best: int | None
    is_stream: bool
    has_usage: bool


def parse(body: bytes, read_picture: ReadPicture = picture_parts.of_url) -> ChatRequest:
    """Returns the request in a body; `read_picture` gives the picture of (address, its name).

    Raises:
      ApiError: it is no JSON, or a field is missing, unknown or not allowed.
    """
    fields = _fields(body)
    for name, allowed in _NEUTRAL.items():
        if name in fields and fields.pop(name) not in allowed:
            raise invalid(f"{name}: is not supported by this server; leave it out", name, "unsupported_parameter")
    fields = {name: value for name, value in fields.items() if name not in _IGNORED and value is not None}
    system, turns, shown = _conversation(fields.pop("messages", None), read_picture)
    stream_options = fields.pop("stream_options", {})
    if not isinstance(stream_options, dict):
        raise invalid("stream_options: must be an object", "stream_options")
    newer, older = (
        _whole(fields, "max_completion_tokens", least=1, most=_MOST_TOKENS),
        _whole(fields, "max_tokens", least=1, most=_MOST_TOKENS),
    )
    seed = _whole(fields, "seed", least=0, most=_MOST_SEED)
    request = ChatRequest(
        turns=turns,
        shown=shown,
        system=system,
        model=_typed(fields, "model", kind=str, noun="text") or "",
        num_choices=_whole(fields, "n", least=1, most=MOST_CHOICES) or 1,
        max_tokens=older if newer is None else newer,
        min_tokens=_whole(fields, "min_tokens", least=0, most=_MOST_TOKENS) or 0,
        sampling={
            # OpenAI's default, and every client's.
            "temperature": _number(fields, "temperature", least=0, most=2, default=1.0),
            "top_p": _number(fields, "top_p", least=0, most=1, default=1.0),
            "top_k": max(_whole(fields, "top_k", least=-1, most=1 << 30) or 0, 0),
            "stop": _stops(fields.pop("stop", [])),
        },
        seed=secrets.randbits(31) if seed is None else seed,
        num_best=_num_best(fields),
        is_stream=bool(_typed(fields, "stream", kind=bool, noun="true or false")),
        has_usage=stream_options.get("include_usage") is True,
    )
    if fields:
        name = min(fields)
        raise invalid(f"{name[:40]}: is no field of a chat completion here", name[:40], "unknown_parameter")
    return request


def _fields(body: bytes) -> dict[str, Any]:
    def refuse(word: str) -> float:
        raise ValueError(word)

    try:
        fields = json.loads(body.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise invalid("the body is no JSON in UTF-8", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise invalid("the body must be a JSON object with `messages`", code="invalid_json")
    return fields


def _typed(fields: dict[str, Any], name: str, *, kind: type, noun: str) -> Any:
    value = fields.pop(name, None)
    if value is not None and type(value) is not kind:
        raise invalid(f"{name}: must be {noun}", name)
    return value


def _whole(fields: dict[str, Any], name: str, *, least: int, most: int) -> int | None:
    value = fields.pop(name, None)
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise invalid(f"{name}: must be a whole number from {least} to {most}", name)
    return value


def _number(fields: dict[str, Any], name: str, *, least: float, most: float, default: float) -> float:
    value = fields.pop(name, default)
    if type(value) not in (int, float) or not least <= value <= most:
        raise invalid(f"{name}: must be a number from {least} to {most}", name)
    return float(value)


def _stops(stop: Any) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop
    is_sound = isinstance(stops, list) and len(stops) <= _MOST_STOPS
    if not is_sound or not all(isinstance(one, str) and one and schema.encodable(one) for one in stops):
        raise invalid(f"stop: must be text or a list of at most {_MOST_STOPS} texts, none empty", "stop")
    if sum(len(one.encode("utf-8")) for one in stops) > _MOST_STOP_BYTES:
        raise invalid(f"stop: the texts may have {_MOST_STOP_BYTES} bytes in all", "stop")
    return tuple(stops)


def _num_best(fields: dict[str, Any]) -> int | None:
    wanted = _typed(fields, "logprobs", kind=bool, noun="true or false")
    count = _whole(fields, "top_logprobs", least=0, most=20)  # OpenAI's most
    if count and not wanted:
        raise invalid("top_logprobs: needs logprobs=true", "top_logprobs")
    return (count or 0) if wanted else None


def _conversation(
    messages: Any, read_picture: ReadPicture
) -> tuple[str, tuple[schema.Turn, ...], tuple[pictures.Picture, ...]]:
    """Returns (system text, turns, pictures) of the messages.

    Messages of one role behind one another are one; what the assistant said answers the turn before it.
    """
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: must be a list with at least one message", "messages")
    if len(messages) > _MOST_MESSAGES:
        raise invalid(f"messages: {len(messages)} messages, at most {_MOST_MESSAGES}", "messages")
    system: list[str] = []
    shown: list[pictures.Picture] = []
    turns: list[schema.Turn] = []
    last = ""
    for number, message in enumerate(messages):
        name = f"messages[{number}]"
        role, text, urls = _message(message, name)
        if role in ("system", "developer"):
            system.append(text)
            continue
        if role == "assistant":
            if not turns:
                raise invalid(f"{name}.role: the first message beside the system's must be the user's", "messages")
            said = "\n".join(filter(None, (turns[-1].outputs, text)))
            turns[-1] = dataclasses.replace(turns[-1], outputs=said)
        else:
            if len(shown) + len(urls) > picture_parts.MOST_PICTURES:
                message = f"{name}: a request shows at most {picture_parts.MOST_PICTURES} pictures"
                raise ApiError(413, message, param="messages", code="too_many_images")
            shown += [read_picture(url, place) for url, place in urls]
            if last == "user":
                before = turns.pop()
                text = "\n".join(filter(None, (before.instruction, text)))
                turns.append(schema.Turn(text, new_pictures=before.new_pictures + len(urls)))
            else:
                turns.append(schema.Turn(text, new_pictures=len(urls)))
        last = role
    if last != "user":
        raise invalid("messages: the last one must be the user's", "messages")
    if not all(turn.instruction.strip() for turn in turns):
        raise invalid("messages: a message of the user has no text; say what to do with the picture", "messages")
    return "\n".join(filter(None, system)), tuple(turns), tuple(shown)


def _message(message: Any, name: str) -> tuple[str, str, Sequence[tuple[str, str]]]:
    """Returns (role, text, [(address of a picture, its name)]) of one message."""
    if not isinstance(message, dict):
        raise invalid(f"{name}: must be an object with role and content", name)
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise invalid(f"{name}.role: must be one of {', '.join(_ROLES)}", f"{name}.role")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise invalid(f"{name}.content: must be text or a list of parts", f"{name}.content")
    texts: list[str] = []
    urls: list[tuple[str, str]] = []
    for number, part in enumerate(parts):
        place = f"{name}.content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        reader = _PARTS.get(kind) if isinstance(kind, str) else None
        if reader is None or (kind == "image_url" and role != "user"):
            raise invalid(f"{place}.type: must be text or, from the user, image_url", place)
        found = reader(part, place)
        if kind == "text":
            texts.append(found)
        else:
            urls.append((found, place))
    return role, "\n".join(filter(None, texts)), urls


def _text(part: Mapping[str, Any], place: str) -> str:
    text = part.get("text")
    if not isinstance(text, str) or not schema.encodable(text):
        raise invalid(f"{place}.text: must be text in UTF-8", place)
    return text


def _url(part: Mapping[str, Any], place: str) -> str:
    found = part.get("image_url")
    url = found.get("url") if isinstance(found, dict) else found
    if not isinstance(url, str):
        raise invalid(f"{place}.image_url.url: must be text", place, "invalid_image_url")
    return url


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {"text": _text, "image_url": _url}
