"""Which answers are Stripe's own, and what the others are taken for."""

from __future__ import annotations

import json

import msgspec
import pytest

from service.adapters.stripe.http.errors import (
    ParsedError,
    StripeGivenUpError,
    StripeRefusedError,
    error_of,
    foreign,
    reported_in,
    unexpected,
)
from service.domain.errors import AccessError, NotFoundError

OURS = {"type": "invalid_request_error", "message": "No such refund: 're_1'"}
HTML = b"<html><title>403 Forbidden</title></html>"


def a_body(error: object, **more: object) -> bytes:
    return json.dumps({"error": error, **more}).encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (a_body(OURS), "No such refund: 're_1'"),
        (a_body({"type": "api_error"}), "api_error"),
        (a_body({"type": "api_error", "code": "lock_timeout"}), "lock_timeout"),
        (a_body("invalid_client"), "invalid_client"),
        (a_body("invalid_client", error_description="No such application"), "No such application"),
    ],
)
def test_an_error_in_stripes_form_is_read(body: bytes, message: str) -> None:
    said = reported_in(body, str)
    assert said
    assert said.message == message


@pytest.mark.parametrize(
    "body",
    [
        HTML, b"", b"null", b"[]", b"{}", b'{"message": "Forbidden"}', b"\xff\xfe", b"[" * 100_000,
        a_body(None), a_body({}), a_body("Forbidden", status=403, path="/v1/refunds"),
        a_body({"code": 403, "message": "Denied.", "status": "PERMISSION_DENIED"}),
        a_body({"type": 7, "message": "Denied."}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 407, 418, 451])
def test_a_refusal_in_any_other_form_is_something_elses(body: bytes, status: int) -> None:
    assert reported_in(body, str) is None
    assert f"HTTP {status}" in foreign(status, {}, body)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409])
def test_a_refusal_in_stripes_form_is_stripes(status: int) -> None:
    assert foreign(status, {}, a_body(OURS)) == ""


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_is_retried_by_its_status_is_so_who_sent_it(status: int) -> None:
    assert foreign(status, {}, HTML) == ""


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_never_stripes(status: int) -> None:
    assert "redirect" in foreign(status, {}, b"")


def test_a_foreign_answer_is_described_by_what_it_says_of_itself() -> None:
    headers = {"Content-Type": "text/html", "Server": "squid/5.7"}
    assert "Content-Type text/html, Server squid/5.7" in foreign(403, headers, HTML)


def test_a_good_status_with_an_error_in_it_says_the_error() -> None:
    shape = msgspec.ValidationError("Object missing required field `data`")
    assert "No such refund" in unexpected(200, a_body(OURS), shape)
    assert "`data`" in unexpected(200, b"{}", shape)
    assert "no JSON" in unexpected(200, HTML, msgspec.DecodeError("malformed"))


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (401, ParsedError("Invalid API Key"), AccessError),
        (403, ParsedError("no permission"), AccessError),
        (404, ParsedError("gone", code="resource_missing"), NotFoundError),
        (400, ParsedError("No such charge"), NotFoundError),
        (400, ParsedError("Unknown parameter"), StripeRefusedError),
        (500, ParsedError("An unexpected error occurred."), StripeGivenUpError),
    ],
)
def test_each_refusal_becomes_what_its_caller_can_act_on(
    status: int, said: ParsedError, error: type[Exception]
) -> None:
    assert isinstance(error_of(status, said), error)
