"""``cancel``: the only command that writes to Stripe."""

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from service.cli.app import Context, app, run_async
from service.cli.sync.fetch import check_refund_id
from service.domain.errors import UsageError

Id = Annotated[str, Parameter(help="The id of a refund that waits for its customer.")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), negative="", help="Do not ask.")]


@app.command
def cancel(refund_id: Id, /, *, yes: Yes = False, context: Context) -> None:
    """Cancel a refund at Stripe. Only one that requires action of its customer can be cancelled.

    The one command that writes to Stripe: the key needs the permission Charges and Refunds: Write.
    """
    check_refund_id(refund_id)
    if not yes:
        _ask(refund_id)
    run_async(
        _cancel(context, refund_id),
        stopped=f"it may be cancelled all the same; refund-sync fetch {refund_id} shows",
    )


def _ask(refund_id: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "cancel asks before it writes to Stripe, and there is nobody to ask",
            hint=f"If it is meant: refund-sync cancel {refund_id} --yes",
        )
    print(f"Cancel {refund_id} at Stripe? This cannot be undone. [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError("not cancelled")


async def _cancel(context: Context, refund_id: str) -> None:
    from service.app import databases as places
    from service.app import passes
    from service.ports.runs import Progress

    async with context.open_account() as account:
        await passes.cancel(account, refund_id, Progress())
        known = await places.everything_of(account.database, refund_id)
    context.emit({"refunds": known}, lambda: _text(known))


def _text(known: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{entry['refund']['id']}  {entry['refund']['status']}, and stored so"
        for entry in known
        if "refund" in entry
    )
