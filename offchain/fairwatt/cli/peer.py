"""`fairwatt peer`: admit peers, pay for them, and see what they have."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import click

from fairwatt.chain import Chain, Role, connect, signer_for
from fairwatt.cli._chain_options import account_option, deployment_option, network_option
from fairwatt.cli._signing import ADDRESS
from fairwatt.cli._text import echo_json, json_option, printable, value
from fairwatt.deployment import Deployment
from fairwatt.errors import ChainError
from fairwatt.session import NOBODY
from fairwatt.units import MICRO, NANO, WEI_PER_NANO, moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fairwatt.chain import Account, Peer, Signer, Snapshot

__all__ = ["peer"]

_UINT32_MAX: Final = 2**32 - 1
_W_PER_KW: Final = 1000
_ROLES: Final = tuple(role.name.lower() for role in Role if role is not Role.NONE)
_UNMETERED: Final = (Role.SUPPLIER, Role.OPERATOR)


class _Amount(click.ParamType):
    """A decimal number, exact to a unit: `1.5` is 1,500,000,000 nano-token."""

    def __init__(self, name: str, unit: int) -> None:
        self.name = name
        self.unit = unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            units = Decimal(value) * self.unit
            whole = int(units)
        except (InvalidOperation, ValueError, OverflowError):
            self.fail(f"{value!r} is not a number; write one such as 0.25", param, ctx)
        if units != whole:
            self.fail(f"{value!r} is finer than 1/{self.unit:,}", param, ctx)
        return whole


_TOKENS: Final = _Amount("tokens", NANO)
_PER_KWH: Final = _Amount("token/kWh", MICRO)
_peer_argument: Final = click.argument(
    "number", metavar="PEER", type=click.IntRange(1, _UINT32_MAX)
)


def _send_option(what: str) -> Callable[..., Any]:
    return click.option("--send", is_flag=True, help=f"{what}; without it nothing is sent.")


@click.group(
    epilog="""\b
Examples:
  fairwatt peer admit 0x... --role consumer --node c3 --meter 0x... --supplier 1 \\
      --network URL --deployment D.json --account registrar --send
  fairwatt peer deposit 2 50 --network URL --deployment D.json --account me --send
  fairwatt peer show 2 --network URL --deployment D.json
"""
)
def peer() -> None:
    """Admit peers, pay for them, see what they have.

    A peer is a wallet with a number, at a node of a network, with a meter and a supplier. What
    changes something asks the contract first, and sends only if told to --send.
    """


@peer.command()
@_peer_argument
@network_option()
@deployment_option()
@json_option
def show(number: int, *, network: str, deployment: Path, as_json: bool) -> None:
    """Show who a peer is, its balance, and what of it is free."""
    with connect(network):
        snapshot = Chain.of(Deployment.load(deployment)).snapshot()
        record, account = snapshot.peer(number), snapshot.account(number)
        node = _node_name(snapshot, record)
    if as_json:
        echo_json(_document(record, account, node))
    else:
        _show(record, account, node)


@peer.command()
@click.argument("wallet", type=ADDRESS)
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What it may do.")
@click.option("--market", type=int, default=1, show_default=True, help="Where it trades.")
@click.option("--node", help="Name of its node in the market's network; needed but for operators.")
@click.option("--meter", type=ADDRESS, help="Address of its meter's key.")
@click.option(
    "--supplier", type=click.IntRange(0, _UINT32_MAX), default=0, help="Number of its supplier."
)
@click.option(
    "--connection-kw",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Largest power at its meter.",
)
@click.option(
    "--community", type=click.IntRange(0, _UINT32_MAX), default=1, help="Number of its community."
)
@network_option()
@deployment_option()
@account_option()
@_send_option("Admit it")
@json_option
def admit(
    wallet: str,
    *,
    role: str,
    market: int,
    node: str | None,
    meter: str | None,
    supplier: int,
    connection_kw: float,
    community: int,
    network: str,
    deployment: Path,
    account: str,
    send: bool,
    as_json: bool,
) -> None:
    """Admit the peer of a WALLET, as the registrar; it may trade at once."""
    kind = Role[role.upper()]
    if kind is not Role.OPERATOR and node is None:
        raise click.UsageError("Give --node, the name of a node of the market's network.")
    if kind not in _UNMETERED and (meter is None or not supplier):
        raise click.UsageError(f"A {role} needs a --meter and a --supplier.")
    with connect(network):
        chain, registrar = Chain.of(Deployment.load(deployment)), signer_for(account)
        registry = chain.contracts.registry
        if known := int(chain.read(registry.peerOf, wallet)):
            raise ChainError(f"{wallet} is the wallet of peer {known} already")
        record = {
            "role": int(kind),
            "network": 0,
            "node": 0,
            "meter": meter or NOBODY,
            "supplier": supplier,
            "connectionW": round(connection_kw * _W_PER_KW),
            "community": community,
        }
        if kind is Role.OPERATOR:
            record |= {"connectionW": 0, "community": 0}
        else:
            record |= _place(chain.snapshot(), market, node)
        if send:
            receipt = chain.send(registry.admit, wallet, record, sender=registrar)
            number = int(receipt.events[-1].peer)
        else:
            number = int(chain.simulate(registry.admit, wallet, record, sender=registrar))
    _say(as_json, {"peer": number, "wallet": wallet, "sent": send}, f"{wallet} is peer {number}")


@peer.command()
@_peer_argument
@click.argument("tokens", type=_TOKENS)
@click.option("--mint", is_flag=True, help="As the treasury, mint what is missing before.")
@network_option()
@deployment_option()
@account_option()
@_send_option("Pay")
@json_option
def deposit(
    number: int,
    tokens: int,
    *,
    mint: bool,
    network: str,
    deployment: Path,
    account: str,
    send: bool,
    as_json: bool,
) -> None:
    """Pay TOKENS of the account into the balance of a PEER; any account may."""
    if tokens <= 0:
        raise click.UsageError("TOKENS must be more than 0.")
    with connect(network):
        chain, payer = Chain.of(Deployment.load(deployment)), signer_for(account)
        contracts = chain.contracts
        chain.snapshot().peer(number)
        missing = tokens * WEI_PER_NANO - int(chain.read(contracts.token.balanceOf, payer.address))
        if missing > 0 and not mint:
            raise ChainError(
                f"{payer.address} is {value(-(-missing // WEI_PER_NANO))} short of that; have it "
                "paid some community tokens, or as the treasury give --mint"
            )
        if missing > 0:
            _do(chain, send, contracts.token.treasuryMint, payer.address, missing, sender=payer)
        if send:
            wei = tokens * WEI_PER_NANO
            chain.send(contracts.token.approve, contracts.ledger, wei, sender=payer)
            chain.send(contracts.ledger.deposit, number, tokens, sender=payer)
        balance = chain.snapshot().account(number).balance_nano + (0 if send else tokens)
    document = {"peer": number, "depositedNano": tokens, "balanceNano": balance, "sent": send}
    _say(as_json, document, f"peer {number} gets {value(tokens)}; its balance is {value(balance)}")


@peer.command()
@click.argument("tokens", type=_TOKENS, required=False)
@network_option()
@deployment_option()
@account_option()
@_send_option("Ask for it, or take it")
@json_option
def withdraw(
    tokens: int | None, *, network: str, deployment: Path, account: str, send: bool, as_json: bool
) -> None:
    """Request TOKENS of the account's own balance; without TOKENS, take what has waited."""
    with connect(network):
        chain, wallet = Chain.of(Deployment.load(deployment)), signer_for(account)
        number, ledger = _peer_of(chain, wallet), chain.contracts.ledger
        wait = int(chain.read(ledger.WITHDRAWAL_DELAY_SECONDS))
        if tokens is None:
            asked = chain.snapshot().account(number)
            if not asked.withdrawal_nano:
                raise ChainError(f"peer {number} has requested nothing; name the TOKENS to request")
            ready = asked.withdrawal_requested_at + wait
            if chain.now() < ready:
                raise ChainError(f"what peer {number} requested is paid from {moment(ready)} on")
            _do(chain, send, ledger.withdraw, sender=wallet)
            said = f"peer {number} is paid up to {value(asked.withdrawal_nano)}"
        else:
            _do(chain, send, ledger.requestWithdrawal, tokens, sender=wallet)
            said = f"peer {number} can take {value(tokens)} from {moment(chain.now() + wait)} on"
    _say(as_json, {"peer": number, "requestedNano": tokens, "sent": send}, said)


@peer.command()
@click.argument("retail", type=_PER_KWH)
@click.argument("feed_in", type=_PER_KWH, metavar="FEED-IN")
@click.option("--from", "start", type=int, help="UTC Unix seconds; a first tariff holds at once.")
@network_option()
@deployment_option()
@account_option()
@_send_option("Publish it")
@json_option
def tariff(
    retail: int,
    feed_in: int,
    *,
    start: int | None,
    network: str,
    deployment: Path,
    account: str,
    send: bool,
    as_json: bool,
) -> None:
    """Publish what a supplier sells and buys a kWh for, in token, as its wallet.

    A second tariff takes effect after the notice of the registry: say from when on.
    """
    with connect(network):
        chain, wallet = Chain.of(Deployment.load(deployment)), signer_for(account)
        number, registry = _peer_of(chain, wallet), chain.contracts.registry

        def publish(time: int) -> Any:
            return _do(
                chain, send, registry.publishTariffs, [(time, retail, feed_in)], sender=wallet
            )

        if start is None and chain.read(registry.tariffCount, number):
            raise ChainError(f"supplier {number} has a tariff; say with --from when it changes")
        if start is None:
            chain.from_now(publish)
        else:
            publish(start)
    document = {"supplier": number, "retailMicro": retail, "feedInMicro": feed_in, "sent": send}
    said = f"supplier {number} sells for {retail / MICRO:g} and buys for {feed_in / MICRO:g}"
    _say(as_json, document, f"{said} token/kWh")


def _do(chain: Chain, send: bool, method: Any, *arguments: Any, sender: Signer) -> Any:
    return (chain.send if send else chain.simulate)(method, *arguments, sender=sender)


def _peer_of(chain: Chain, wallet: Signer) -> int:
    number = int(chain.read(chain.contracts.registry.peerOf, wallet.address))
    if not number:
        raise ChainError(
            f"{wallet.address} is the wallet of no peer; ask the registrar to admit it"
        )
    return number


def _place(snapshot: Snapshot, market: int, node: str | None) -> dict[str, int]:
    network = snapshot.terms(market).network
    nodes = snapshot.networks()[network].nodes
    if node not in nodes:
        raise ChainError(f"network {network} has no node {node!r}; there are {', '.join(nodes)}")
    return {"network": network, "node": nodes.index(node)}


def _node_name(snapshot: Snapshot, record: Peer) -> str | None:
    network = snapshot.networks().get(record.network)
    return network.nodes[record.node] if network else None


def _say(as_json: bool, document: dict[str, Any], said: str) -> None:
    if as_json:
        echo_json(document)
    else:
        click.echo(printable(said) + ("" if document["sent"] else "; not sent (dry run)"))


def _document(record: Peer, account: Account, node: str | None) -> dict[str, Any]:
    return {
        "peer": record.id,
        "wallet": record.wallet,
        "role": record.role.name.lower(),
        "standing": record.standing.name.lower(),
        "network": record.network,
        "node": node,
        "meter": record.meter,
        "supplier": record.supplier,
        "connectionW": record.connection_w,
        "community": record.community,
        "balanceNano": account.balance_nano,
        "freeNano": account.free_nano,
        "lockedNano": account.locked_nano,
        "creditNano": account.credit_nano,
        "arrearsNano": account.arrears_nano,
        "withdrawalNano": account.withdrawal_nano,
        "withdrawalRequestedAt": account.withdrawal_requested_at,
    }


def _show(record: Peer, account: Account, node: str | None) -> None:
    at = "" if node is None else f" at {node} of network {record.network}"
    rows = [
        (f"peer {record.id}", f"{record.standing.name.lower()}, {record.role.name.lower()}{at}"),
        ("wallet", record.wallet),
        ("meter", record.meter or "none"),
        ("supplier", f"peer {record.supplier}" if record.supplier else "none"),
        ("connection", f"{record.connection_w / _W_PER_KW:g} kW"),
        ("balance", value(account.balance_nano)),
        ("free", f"{value(account.free_nano)}, what it can spend"),
    ]
    others = (
        ("locked", account.locked_nano, "for placed orders"),
        ("credit", account.credit_nano, "may its balance go below 0"),
        ("arrears", account.arrears_nano, "owed for imbalances"),
        (
            "withdrawal",
            account.withdrawal_nano,
            f"requested {moment(account.withdrawal_requested_at)}",
        ),
    )
    rows += [(name, f"{value(nano)}, {what}") for name, nano, what in others if nano]
    for name, text in rows:
        click.echo(printable(f"{name:11} {text}"))
