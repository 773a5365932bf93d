"""One exchange with an endpoint over HTTP: the only place that opens a connection to a text model."""

import email.utils
import http.client
import json
import math
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from m3it_jax import errors
from m3it_jax.llm_client.answers import Answer, Tokens, is_count

KEY_VARIABLE = "M3IT_API_KEY"
MAX_RESPONSE_BYTES = 4 * 1024 * 1024  # CHOICE: a hundred times the longest answer anybody asks for here

_SAID = 300  # characters of an endpoint's own words in a message
_AGAIN = frozenset({408, 409, 425, 429})  # statuses below 500 after which the same request may succeed
_OVERLOADED = frozenset({429, 503})


class UnansweredError(Exception):
    """One exchange brought no answer.

    `again`: the next may. `billed`: it may have cost something. `overloaded`: the endpoint wants fewer requests, and
    `wait` is how many seconds it names.
    """

    def __init__(
        self,
        text: str,
        *,
        again: bool = True,
        billed: bool = False,
        overloaded: bool = False,
        wait: float | None = None,
    ):
        super().__init__(text)
        self.again, self.billed, self.overloaded, self.wait = again, billed, overloaded, wait


class Endpoint:
    """Sends requests to one address.

    Attributes:
      url: Where the requests go.
      reached: Whether anything has answered there yet.
    """

    def __init__(self, endpoint: str, timeout_s: float):
        """Takes the address, `http(s)://host[:port]/v1`; the key is read from the environment, if there is one.

        Raises:
          ConfigError: the address or the key cannot be used.
        """
        self.url = address(endpoint)
        self.reached = False
        self._key = _key()
        self._timeout_s = timeout_s
        # A model server on this machine is not behind a proxy; for others the system's settings hold.
        local = urllib.parse.urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        proxies = urllib.request.ProxyHandler({} if local else None)
        self._opener = urllib.request.build_opener(proxies, _NoRedirects)

    def exchange(self, data: bytes, most: Tokens) -> Answer:
        """Sends one request and returns the answer.

        Raises:
          UnansweredError: there is none.
          UserError: there will never be one.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "m3it_jax"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.url, data, headers, method="POST")
        deadline = time.monotonic() + self._timeout_s
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                self.reached = True
                raw = _read(response, deadline)
        except urllib.error.HTTPError as error:
            self.reached = True
            with error:
                raise self._refusal(error) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                raise errors.UserError(f"{self.url}: no secure connection ({self._said(error.reason)})") from None
            billed = isinstance(error.reason, TimeoutError)
            raise UnansweredError(f"cannot be reached ({self._said(error.reason)})", billed=billed) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnansweredError(f"{type(error).__name__}: {self._said(error)}", billed=True) from None
        return self._parsed(raw, most)

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """Returns what a status other than 200 means."""
        code = error.code
        try:
            said = self._said(error.read(4 * _SAID).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException):
            said = ""
        text = f"HTTP {code} {said}".strip()
        if 300 <= code < 400:
            where = self._said(error.headers.get("Location", ""))
            return errors.UserError(f"{self.url}: redirects to {where}; give --endpoint the address that answers")
        if code in (401, 402):
            return errors.UserError(f"{self.url}: {text}; put a key that it takes into {KEY_VARIABLE}")
        if code in (404, 405):
            return errors.UserError(f"{self.url}: {text}; give the endpoint's address up to /v1 and a model it has")
        if code in _AGAIN or code >= 500:
            wait = _retry_after(error.headers.get("Retry-After", ""))
            return UnansweredError(text, overloaded=code in _OVERLOADED, wait=wait)
        return UnansweredError(text, again=False)

    def _parsed(self, raw: bytes, most: Tokens) -> Answer:
        try:
            value = json.loads(raw)
            choice = value["choices"][0]
            text, finish, usage = choice["message"]["content"], choice.get("finish_reason"), value.get("usage")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            said = self._said(raw[: 4 * _SAID].decode("utf-8", "replace"))
            raise UnansweredError(f"is no chat completion: {said}", billed=True) from None
        if not isinstance(text, str | None):
            raise UnansweredError(f"message.content is {type(text).__name__}, must be text", billed=True)
        told = usage if isinstance(usage, dict) else {}
        prompt, answer = told.get("prompt_tokens"), told.get("completion_tokens")
        tokens = Tokens(prompt, answer) if is_count(prompt) and is_count(answer) else most
        return Answer(self._without_key(text or ""), finish if isinstance(finish, str) else "", tokens)

    def _without_key(self, text: str) -> str:
        # A short one would stand in ordinary words, and is no secret: local servers take `EMPTY` or `token`.
        return text.replace(self._key, "[key]") if len(self._key) >= 8 else text

    def _said(self, words: object) -> str:
        """Returns an endpoint's own words as one short line that holds neither key nor control characters."""
        text = "".join(letter if letter.isprintable() else " " for letter in self._without_key(str(words)))
        return " ".join(text.split())[:_SAID]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key and the texts go to the host that was named, and to no other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def address(endpoint: str) -> str:
    """Returns the address of the chat completions of an endpoint, which may be given with or without that path.

    Raises:
      ConfigError: it is no http(s) address, or holds a user, a query or a fragment.
    """
    try:
        parts = urllib.parse.urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    odd = any(not letter.isascii() or not letter.isprintable() or letter in " \\" for letter in endpoint)
    if not sound or odd or parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # What stands before an @, or behind a ? or #, may be a secret: it is not repeated.
        shown = endpoint.rpartition("@")[2].partition("?")[0].partition("#")[0][:100]
        raise errors.ConfigError(
            f"--endpoint {shown!r}: must be http(s)://host[:port]/v1, without user, query and fragment; "
            f"a key goes into {KEY_VARIABLE}"
        )
    path = parts.path.rstrip("/") or "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise errors.ConfigError(f"{KEY_VARIABLE}: holds characters that no key has; set it again")
    return key


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Returns the body of a response, if it comes in time and is not too large."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_RESPONSE_BYTES:
            raise UnansweredError(f"answers with more than {MAX_RESPONSE_BYTES} bytes", billed=True)
        if time.monotonic() > deadline:
            raise UnansweredError("took too long to answer", billed=True)
    return b"".join(parts)


def _retry_after(value: str) -> float | None:
    """Returns the seconds that a Retry-After header names, as a number or as a date; None if it names none."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
