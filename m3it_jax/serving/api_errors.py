"""What a client is told when something is refused: OpenAI's form of an error, and nothing of the machine."""

import re
from typing import Any

# Kinds of OpenAI's errors by status (platform.openai.com/docs/guides/error-codes).
_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

# An address of memory helps whoever attacks the process (CVE-2026-22778), a path tells whose machine it is.
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")
_PATH = re.compile(r"(?<![\w/])/(?:[\w.\-]+/)+[\w.\-]*")
_MOST = 500  # characters of a message: a client's own text comes back in it


class ApiError(Exception):
    """A refusal.

    Attributes:
      status: Of HTTP.
      message: For the person who asked.
      param: The field that is wrong, if it is one.
      code: A word for programs.
      headers: To send beside it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        """Takes the parts."""
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, safe(message), param, code
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Returns what is sent as JSON."""
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Returns the refusal of a request that can never be answered, status 400."""
    return ApiError(400, message, param=param, code=code)


def safe(message: str) -> str:
    """Returns a message as one short line without addresses of memory, paths and control characters."""
    text = "".join(letter if letter.isprintable() else " " for letter in message)
    return " ".join(_PATH.sub("[path]", _ADDRESS.sub("[address]", text)).split())[:_MOST]
