"""What the simulated objects look like: every state and destination, from a few values each.

``refund_of`` and its siblings build an object from a mapping of values. Given marks instead of values
they build a template, so that a page of a hundred hydrated refunds is a hundred formattings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]

EXPANDED = ("charge", "balance_transaction", "failure_balance_transaction")
"""The members that can be expanded here."""

REFERENCED = (
    "br_bank_transfer", "eu_bank_transfer", "gb_bank_transfer", "jp_bank_transfer",
    "mx_bank_transfer", "th_bank_transfer", "us_bank_transfer", "mb_way", "multibanco", "p24",
    "afterpay_clearpay", "klarna",
)  # fmt: skip
DECLINABLE = ("blik", "swish", "paypal")
EMPTY = (
    "affirm", "alipay", "alma", "amazon_pay", "au_bank_transfer", "cashapp",
    "customer_cash_balance", "eps", "giropay", "grabpay", "nz_bank_transfer", "paynow", "pix",
    "revolut", "scalapay", "sofort", "twint", "wechat_pay", "zip",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """What makes one refund unlike another, its numbers and ids apart."""

    status: str = "succeeded"
    destination: str | None = "card"
    currency: str = "usd"
    card_type: str = "refund"
    reference_status: str | None = "available"
    reason: str | None = "requested_by_customer"
    pending_reason: str | None = None
    failure_reason: str | None = None
    charge: bool = True
    booked: bool = True
    category: str = "refund"
    described: bool = False
    presented: bool = False
    reversed_transfer: bool = False
    exchanged: bool = False

    @property
    def failed(self) -> bool:
        return self.status in ("failed", "canceled")


def _kinds() -> tuple[Kind, ...]:
    cards = [
        *(
            Kind(currency=c)
            for c in (
                "usd",
                "usd",
                "eur",
                "eur",
                "gbp",
                "jpy",
                "isk",
                "ugx",
                "kwd",
                "bhd",
                "krw",
                "huf",
            )
        ),
        Kind(exchanged=True, currency="chf"),
        Kind(presented=True, currency="cad"),
        Kind(reversed_transfer=True),
        Kind(reference_status="pending"),
        Kind(reference_status="unavailable", reason=None),
        Kind(reference_status=None, reason="duplicate"),
        Kind(card_type="reversal", reference_status=None),
        Kind(card_type="pending", reference_status=None),
        Kind(status="failed", failure_reason="expired_or_canceled_card"),
        Kind(status="failed", failure_reason="lost_or_stolen_card", currency="eur"),
        Kind(status="canceled", failure_reason="merchant_request", reference_status=None),
        Kind(
            status="pending",
            pending_reason="insufficient_funds",
            booked=False,
            reference_status=None,
        ),
        Kind(
            reason="expired_uncaptured_charge",
            booked=False,
            reference_status=None,
            card_type="reversal",
        ),
        Kind(category="partial_capture_reversal", reference_status=None, card_type="reversal"),
        Kind(reason="fraudulent", currency="aud"),
    ]
    banks = [
        *(
            Kind(destination=d, reference_status="available", described=True, currency="eur")
            for d in REFERENCED
        ),
        *(
            Kind(
                destination=d,
                reference_status="pending",
                status="pending",
                pending_reason="processing",
                booked=False,
            )
            for d in REFERENCED[:4]
        ),
        *(Kind(destination=d, reference_status="available") for d in DECLINABLE),
        *(
            Kind(
                destination=d,
                status="failed",
                failure_reason="declined",
                reference_status="unavailable",
            )
            for d in DECLINABLE
        ),
        *(Kind(destination=d, reference_status=None, reason=None) for d in EMPTY),
        Kind(destination="crypto", reference_status=None),
        Kind(destination=None, reference_status=None),
        Kind(destination="customer_cash_balance", charge=False, reference_status=None),
        Kind(
            destination="multibanco",
            status="requires_action",
            booked=False,
            reference_status=None,
            described=True,
        ),
        Kind(
            destination="eu_bank_transfer",
            status="requires_action",
            booked=False,
            reference_status=None,
            currency="eur",
        ),
        Kind(destination="konbini", reference_status=None, currency="jpy"),
    ]
    return (*cards, *banks)


KINDS = _kinds()
CARDS = 27
"""So many kinds, the first, are cards: nine refunds of ten are among them."""


def _destination(kind: Kind, v: Mapping[str, Any]) -> Json | None:
    name = kind.destination
    if name is None:
        return None
    if name == "card":
        details: Json = {"type": kind.card_type}
        if kind.reference_status:
            details |= {
                "reference_status": kind.reference_status,
                "reference_type": "acquirer_reference_number",
            }
            if kind.reference_status == "available":
                details["reference"] = v["arn"]
        return {"card": details, "type": "card"}
    if name in REFERENCED or name in DECLINABLE:
        reported = v["reference"] if kind.reference_status == "available" else None
        details = {"reference": reported, "reference_status": kind.reference_status}
        if name in DECLINABLE:
            details["network_decline_code"] = "05" if kind.failed else None
        return {name: details, "type": name}
    if name == "crypto":
        return {"crypto": {"reference": v["reference"]}, "type": "crypto"}
    return {"type": name} if name == "konbini" else {name: {}, "type": name}


def refund_of(kind: Kind, v: Mapping[str, Any]) -> Json:
    """The plain object, as listed without expansions."""
    reported: Json = {
        "id": v["id"], "object": "refund", "amount": v["amount"],
        "balance_transaction": v["txn"] if kind.booked else None,
        "charge": v["charge"] if kind.charge else None, "created": v["created"],
        "currency": kind.currency, "customer": v["customer"], "customer_account": None,
        "metadata": {"order_id": v["order"], "channel": "web"},
        "payment_intent": v["intent"] if kind.charge else None, "payment_method": v["method"],
        "reason": kind.reason, "receipt_number": None,
        "source_transfer_reversal": None,
        "transfer_reversal": v["reversal"] if kind.reversed_transfer else None,
        "status": kind.status,
    }  # fmt: skip
    destination = _destination(kind, v)
    if destination:
        reported["destination_details"] = destination
    if kind.pending_reason:
        reported["pending_reason"] = kind.pending_reason
    if kind.failed:
        reported |= {
            "failure_reason": kind.failure_reason,
            "failure_balance_transaction": v["back"],
        }
    if kind.described:
        reported["description"] = "Refund to bank account"
    if kind.presented:
        reported["presentment_details"] = {
            "presentment_amount": v["presented"],
            "presentment_currency": "mxn",
        }
    if kind.status == "requires_action":
        sent = {"email_sent_at": v["created"], "email_sent_to": v["email"]}
        shown = {"email_sent": sent, "expires_at": v["expires"]}
        reported["next_action"] = {"type": "display_details", "display_details": shown}
        reported["instructions_email"] = v["email"]
    return reported


def ledger_of(kind: Kind, v: Mapping[str, Any], *, back: bool = False) -> Json:
    """The line that takes the money, or the one that gives it back."""
    category = "refund_failure" if back else kind.category
    card = kind.destination == "card"
    return {
        "id": v["back"] if back else v["txn"], "object": "balance_transaction",
        "amount": v["settled"] if back else v["minus"], "available_on": v["available"],
        "balance_type": "payments", "created": v["failed_at"] if back else v["created"],
        "currency": "usd" if kind.exchanged else kind.currency,
        "description": "REFUND FAILURE" if back else "REFUND FOR CHARGE",
        "exchange_rate": 1.09737 if kind.exchanged else None, "fee": 0, "fee_details": [],
        "net": v["settled"] if back else v["minus"], "reporting_category": category,
        "source": v["id"], "status": "available",
        "type": "refund_failure" if back else "refund" if card else "payment_refund",
    }  # fmt: skip


_CHECKS = {"address_line1_check": "pass", "address_postal_code_check": "pass", "cvc_check": "pass"}


def charge_of(kind: Kind, v: Mapping[str, Any]) -> Json:
    method = "card" if kind.destination == "card" else "customer_balance"
    return {
        "id": v["charge"], "object": "charge", "amount": v["charged"],
        "amount_captured": v["charged"], "amount_refunded": v["refunded"], "application": None,
        "application_fee": None, "application_fee_amount": None,
        "balance_transaction": v["charge_txn"],
        "billing_details": {
            "address": {"city": "Springfield", "country": "US", "line1": "12 Example Street",
                        "line2": None, "postal_code": "12345", "state": "OR"},
            "email": v["email"], "name": "Test Customer", "phone": None, "tax_id": None,
        },
        "calculated_statement_descriptor": "SIMULATED SHOP", "captured": True,
        "created": v["charged_at"], "currency": kind.currency, "customer": v["customer"],
        "description": "Payment for an order in the simulated shop", "disputed": False,
        "failure_balance_transaction": None, "failure_code": None, "failure_message": None,
        "fraud_details": {}, "livemode": False,
        "metadata": {"order_id": v["order"], "channel": "web", "campaign": "autumn"},
        "on_behalf_of": None,
        "outcome": {
            "advice_code": None, "network_advice_code": None, "network_decline_code": None,
            "network_status": "approved_by_network", "reason": None, "risk_level": "normal",
            "risk_score": 21, "seller_message": "Payment complete.", "type": "authorized",
        },
        "paid": True, "payment_intent": v["intent"], "payment_method": v["method"],
        "payment_method_details": {method: _method_details(method), "type": method},
        "radar_options": {}, "receipt_email": v["email"], "receipt_number": None,
        "receipt_url": "https://pay.example.com/receipts/" + "a1b2c3d4" * 14,
        "refunded": False, "review": None, "shipping": None, "source_transfer": None,
        "statement_descriptor": None, "statement_descriptor_suffix": None, "status": "succeeded",
        "transfer_data": None, "transfer_group": None,
    }  # fmt: skip


def _method_details(method: str) -> Json:
    if method != "card":
        return {}
    return {
        "amount_authorized": None, "authorization_code": "123456", "brand": "visa",
        "checks": _CHECKS, "country": "US", "exp_month": 8, "exp_year": 2030,
        "extended_authorization": {"status": "disabled"}, "fingerprint": "Xt5EWLLDS7FJjR1c",
        "funding": "credit", "incremental_authorization": {"status": "unavailable"},
        "installments": None, "last4": "4242", "mandate": None,
        "multicapture": {"status": "unavailable"}, "network": "visa",
        "network_token": {"used": False}, "network_transaction_id": "104557651805572",
        "overcapture": {"maximum_amount_capturable": 100, "status": "unavailable"},
        "regulated_status": "unregulated", "three_d_secure": None, "transaction_link_id": None,
        "wallet": None,
    }  # fmt: skip
