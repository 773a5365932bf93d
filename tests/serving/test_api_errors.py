import pytest

from m3it_jax.serving.api_errors import ApiError, invalid, safe


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cannot identify <_io.BytesIO object at 0x7f3a5c1e2d40>", "cannot identify <_io.BytesIO object at [address]>"),
        ('File "/home/me/m3it_jax/app.py", line 5', 'File "[path]", line 5'),
        ("two\nlines\r\nX-Evil: 1\x00", "two lines X-Evil: 1"),
        ("give image/png or image/jpeg", "give image/png or image/jpeg"),
        ("see /v1/chat", "see [path]"),
    ],
)
def test_a_message_tells_nothing_of_the_machine(text, wanted):
    assert safe(text) == wanted


def test_messages_are_short():
    assert len(ApiError(400, "x" * 10_000).message) == 500


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (401, "authentication_error"), (404, "not_found_error"),
     (413, "invalid_request_error"), (429, "rate_limit_error"), (500, "server_error")],
)  # fmt: skip
def test_the_form_is_openais(status, kind):
    error = ApiError(status, "no", param="n", code="c").body()
    assert error == {"error": {"message": "no", "type": kind, "param": "n", "code": "c"}}
    assert invalid("no", "n").status == 400
