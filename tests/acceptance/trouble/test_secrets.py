"""Whatever fails, the key, the database password and personal data show nowhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from service.simulator.http.faults import CHANCES
from tests.acceptance.stage import KEY, Stage, Stripe, simulated_stripe
from tests.acceptance.truth import EMAIL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PASSWORD = "Sw0rd%2Ffish-LASTCHARS"  # as it stands in a DSN
CARDS = ("4242 4242 4242 4242", "5555-5555-5555-4444", "378282246310005", "6011111111111117")
MAILS = ("jenny.rosen@shop.example.com", "j+tag@mail.example.co.uk", "rosen%40example.org")
SECRETS = {
    "the key's last characters": re.compile(f"(?<!DE){KEY[-4:]}"),  # as in DETAIL, Postgres's word
    "the password": re.compile("Sw0rd|LASTCHARS"),
    "an e-mail address": EMAIL,
    "an encoded e-mail address": re.compile("rosen%40example"),
    "a card number": re.compile("|".join(re.sub("[ -]", "", card) for card in CARDS)),
}

FAILURES: dict[str, dict[str, Any]] = {
    **{name: {name: 1.0, "stall_s": 5, "reason_429": "any"} for name in CHANCES},
    "no Date": {"no_date": True},
}
REFUSALS: dict[str, dict[str, Any]] = {
    "the key is refused": {"unauthorized": True},
    "the key is refused and quoted": {"unauthorized": True, "key_in_error": True},
    "no permission but for the account": {
        "key_in_error": True, "permissions_removed": ["rak_charge_read"],
    },
    "no permission, and no account named": {
        "key_in_error": True, "account_unknown": True,
        "permissions_removed": ["rak_accounts_read", "rak_charge_read"],
    },
}  # fmt: skip


ONE_AFTER_ANOTHER = """
import json, sys
from urllib.request import Request, urlopen
from service.__main__ import main

url, todo = sys.argv[1], json.loads(sys.argv[2])

def tell(method, body=None):
    head = {"Content-Type": "application/json"}
    urlopen(Request(url + "/_sim/faults", body, head, method=method)).close()

for when, faults, arguments in todo:
    tell("POST", json.dumps(faults).encode())
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as end:
        print(f"{when}: ended with {end.code}", file=sys.stderr, flush=True)
    tell("DELETE")
"""
"""Commands as they are typed, each while another thing fails; one process, for starting takes a second."""


def leaks(texts: Mapping[str, str]) -> list[str]:
    """Where a secret shows, which, and what stands around it."""
    return [
        f"{what} in {where}: …{text[max(0, found.start() - 200) : found.end()]}"
        for where, whole in texts.items()
        for text in (whole, re.sub(r"(?<=\d)[ -](?=\d)", "", whole))
        for what, pattern in SECRETS.items()
        if (found := pattern.search(text))
    ]


async def rows_of_every_table(dsn: str) -> dict[str, str]:
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'refund_sync'"
        )
        return {
            f"table {name}": "\n".join(
                row[0] for row in await connection.fetch(f"SELECT t::text FROM {name} t")
            )
            for (name,) in tables
        }
    finally:
        await connection.close()


@dataclass
class Ears:
    """Runs commands and keeps all that they print."""

    stage: Stage
    recent: dict[str, str] = field(default_factory=dict)

    def run_while(self, failures: Mapping[str, dict[str, Any]], *commands: str) -> str:
        """Each command while each thing fails; what was said on stderr."""
        todo = [
            (when, faults, ["-v", *command.split()])
            for when, faults in failures.items()
            for command in commands
        ]
        done = subprocess.run(
            [sys.executable, "-c", ONE_AFTER_ANOTHER, self.stage.stripe.url, json.dumps(todo)],
            env=self.stage.environ(), cwd=self.stage.folder, text=True, capture_output=True,
            check=True, timeout=120,
        )  # fmt: skip
        self.recent[f"stdout while it fails, {commands}"] = done.stdout
        self.recent[f"stderr while it fails, {commands}"] = done.stderr
        return done.stderr

    def run(self, when: str, *commands: str, **values: str) -> dict[str, tuple[int, str]]:
        """All of them at the same time, with tracebacks; exit code and output of each."""
        running = {
            command: subprocess.Popen(
                [sys.executable, "-m", "service", "-v", *command.split()],
                env=self.stage.environ() | values, cwd=self.stage.folder, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for command in commands
        }  # fmt: skip
        ended = {}
        for name, process in running.items():
            out, err = process.communicate(timeout=60)
            self.recent[f"stdout of {name}, {when}"] = out
            self.recent[f"stderr of {name}, {when}"] = err
            ended[name] = (process.returncode, out + err)
        return ended


def with_password(dsn: str) -> str:
    return dsn.replace("postgres@", f"postgres:{PASSWORD}@", 1)


def a_stage(stripe: Stripe, folder: Path, dsn: str) -> Stage:
    return Stage(stripe, folder, with_password(dsn), {"deadline_s": 0.4})


def plant(stripe: Stripe) -> None:
    """Two refunds with personal data wherever Stripe or people may put some; one cannot be decoded."""
    said = f"write to {MAILS[0]} or {MAILS[2]}, card {CARDS[0]}, not {CARDS[1]}"
    usual = {"object": "refund", "created": 1_740_000_000, "amount": 500, "currency": "usd"}
    everywhere = {
        "description": said,
        "metadata": {"note": said, MAILS[1]: CARDS[2], CARDS[3]: "a name"},
        "instructions_email": MAILS[0],
        "next_action": {
            "type": f"mail {MAILS[0]}",
            "display_details": {"email_sent": {"email_sent_at": 1, "email_sent_to": MAILS[0]}},
        },
        "status": f"sent to {MAILS[1]}",
        "reason": f"card {CARDS[2]}",
        "failure_reason": MAILS[0],
        "destination_details": {
            "type": "paypal", "paypal": {"reference": MAILS[1], "payer": [said, {MAILS[0]: 1}]},
        },
        "brand_new": [{"email": "nobody in particular", "text": said}],
    }  # fmt: skip
    stripe.call("POST", "objects", id="re_planted", **usual, **everywhere)
    stripe.call("POST", "objects", id="re_odd", **(usual | everywhere | {"amount": "?"}))


async def assert_no_leaks(ears: Ears, dsn: str) -> None:
    found = leaks(ears.recent | await rows_of_every_table(dsn))
    assert not found, f"{len(found)} leaks: {found[:3]}"


async def test_a_planted_leak_is_found_wherever_it_is(database: str, open_folder: Path) -> None:
    with simulated_stripe(refunds=1) as stripe:
        ears = Ears(a_stage(stripe, open_folder, database))
        ears.run("before", "sync")
        await assert_no_leaks(ears, database)
        connection = await asyncpg.connect(database)
        refund_id = await connection.fetchval("SELECT id FROM refund_sync.refund")
        for secret in ("Sw0rd/fish", *MAILS, *CARDS, f"••••{KEY[-4:]}", KEY):
            await connection.execute("UPDATE refund_sync.refund SET description = $1", secret)
            assert leaks(await rows_of_every_table(database)), secret
        await connection.close()
        ears.run("planted", f"show {refund_id}")
        ears.run("printed", "sync", REFUND_SYNC_ACCOUNT_ID=f"acct_{KEY[-4:]}")
        found = str(leaks(ears.recent))
        assert "stdout of show" in found
        assert "stderr of sync, printed" in found


async def test_nothing_shows_while_http_fails_in_every_way(
    database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=400) as stripe:
        plant(stripe)
        ears = Ears(a_stage(stripe, open_folder, database))
        reported = ears.run_while(FAILURES | REFUSALS, "doctor", "sync", "fetch re_planted")
        codes = Counter(re.findall(r"^(.*): ended with [1-9]", reported, re.MULTILINE))
        assert codes.keys() == (FAILURES | REFUSALS).keys()
        assert sum(codes.values()) >= 3 * len(FAILURES)
        mixed = dict.fromkeys(CHANCES, 0.03) | {"stall_s": 0.1, "expand_timeout": 60}
        stripe.faults(**mixed)
        assert ears.run("all at once", "sync", REFUND_SYNC_DEADLINE_S="120")["sync"][0] == 8
        assert "stripe.retry_scheduled" in str(ears.recent)
        await assert_no_leaks(ears, database)
        rows = await rows_of_every_table(database)
        assert "Having the 'rak_charge_read' permission" in rows["table refund_sync.run"]


async def test_personal_data_is_neither_stored_nor_printed(
    database: str, open_folder: Path
) -> None:
    with simulated_stripe(refunds=60) as stripe:
        plant(stripe)
        ears = Ears(a_stage(stripe, open_folder, database))
        assert ears.run("healthy", "sync")["sync"][0] == 8
        shown = ears.run(
            "stored", "show re_planted", "--json show re_planted", "--json show re_odd",
            "--json fetch re_planted", "--json status --check", "config show",
        )  # fmt: skip
        assert "[masked]" in shown["show re_planted"][1]
        assert "[masked]" in shown["--json show re_odd"][1]
        await assert_no_leaks(ears, database)
        rows = await rows_of_every_table(database)
        assert "re_planted" in rows["table refund_sync.refund"]
        assert "re_odd" in rows["table refund_sync.quarantine"]


BAD_DSNS = (
    f"postgresql://finance:{PASSWORD}@127.0.0.1:1/refunds",
    f"postgresql://finance@127.0.0.1:1/refunds?password={PASSWORD}",
    f"postgresql://finance:{PASSWORD}@[::1/refunds",
    f"{PASSWORD}@127.0.0.1/refunds",
    f"postgresql://finance:{PASSWORD}@127.0.0.1:1/refunds?sslmode={PASSWORD}",
)


def test_the_password_of_the_database_shows_in_no_error(open_folder: Path) -> None:
    ears = Ears(Stage(Stripe("http://127.0.0.1:9"), open_folder, settings={"deadline_s": 0.2}))
    for dsn in BAD_DSNS:
        ended = ears.run(dsn, "status", DATABASE_URL=dsn)
        assert ended["status"][0] in {3, 5}, dsn
    ears.run("shown", "config show", DATABASE_URL=BAD_DSNS[0])
    found = leaks({f"{n}": text for n, text in enumerate(ears.recent.values())})
    assert not found


async def test_nothing_shows_in_the_traceback_of_a_bug(database: str, open_folder: Path) -> None:
    with simulated_stripe(refunds=5) as stripe:
        plant(stripe)
        connection = await asyncpg.connect(database)
        await connection.execute("ALTER TABLE refund_sync.refund RENAME COLUMN reason TO bug")
        await connection.close()
        ears = Ears(a_stage(stripe, open_folder, database))
        code, reported = ears.run("a bug", "sync")["sync"]
        assert code == 1
        assert "Traceback" in reported
        await assert_no_leaks(ears, database)
