"""Those with a role, those without one, and what is for the contracts alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eth_account import Account
from hypothesis import strategies as st
from hypothesis.stateful import rule
from tests.community import C2, C3, DAY, NETWORK, NOTICE, TERMS
from tests.contracts.machine.base import NOBODY, Machine, Refusal, some
from tests.contracts.machine.model import ACTIVE, LEFT, SUSPENDED, Peer, Record

from fairwatt.chain import Role, test_signer
from fairwatt.imbalances import Tariff
from fairwatt.session import NetworkVersion

if TYPE_CHECKING:
    from fairwatt.chain import Signer

ADMIN = b"\0" * 32
SPACING = 900
FREE_WALLETS = range(16, 20)  # test accounts that belong to nobody


class Offices(Machine):
    """Peers come, change and go; networks, tariffs, rosters and markets are published."""

    # --------------------------------------------------------------------------------- peers

    def _unused_wallet(self) -> Signer | None:
        used = {
            record.wallet.address for peer in self.model.peers.values() for record in peer.records
        }
        wallets = map(test_signer, FREE_WALLETS)
        return next((one for one in wallets if one.address not in used), None)

    @rule(role=st.sampled_from([Role.CONSUMER, Role.PROSUMER, Role.STORAGE]), pick=some)
    def admit(self, role: Role, pick: int) -> None:
        """A guest; none without the registrar."""
        wallet, registry = self._unused_wallet(), self.contracts.registry
        if wallet is None:
            return
        number = max(self.model.peers) + 1
        meter = Account.from_key((20_000 + number).to_bytes(32))
        peer = Peer(number, role, meter, 10**6, [Record(self.now, wallet, C3)])
        arguments = (wallet.address, self._connection(peer, C3))
        stranger = self.stranger(pick)
        self.attempt(
            registry.admit, *arguments, sender=stranger,
            refusal=self._without_role(registry, "REGISTRAR_ROLE", stranger),
        )  # fmt: skip
        peer.records[0] = replace(peer.records[0], since=self.now)
        self.send(registry.admit, *arguments, sender=self.community.registrar)
        self.model.peers[number] = peer
        again = ("WalletTaken", wallet.address)
        registrar = self.community.registrar
        self.attempt(registry.admit, *arguments, sender=registrar, refusal=again)

    def _connection(self, peer: Peer, node: int) -> dict[str, Any]:
        return {
            "role": peer.role,
            "network": 1,
            "node": node,
            "meter": peer.meter.address if peer.meter else NOBODY,
            "supplier": self.supplier.number if peer.meter else 0,
            "connectionW": peer.connection_w,
            "community": 1,
        }

    def _without_role(self, contract: Any, role: str, caller: Signer) -> Refusal:
        needed = self.view(contract, role)
        return ("AccessControlUnauthorizedAccount", caller.address, needed)

    @rule(pick=some, node=st.sampled_from([C2, C3]))
    def change(self, pick: int, node: int) -> None:
        """A peer goes to another node, once the notice is over."""
        peer, stranger, registry = self.metered(pick), self.stranger(pick), self.contracts.registry
        arguments = (peer.number, self._connection(peer, node))
        refusal = self._without_role(registry, "REGISTRAR_ROLE", stranger)
        self.attempt(registry.change, *arguments, sender=stranger, refusal=refusal)
        self._succeed(peer, registry.change, *arguments, sender=self.community.registrar, node=node)

    def _succeed(
        self,
        peer: Peer,
        method: Any,
        *arguments: Any,
        sender: Signer,
        refusal: Refusal | None = None,
        waits: bool = True,
        **changes: Any,
    ) -> None:
        """One change at a time, none to who has left; `refusal` is what else is against it.

        Only a suspension does not wait for the change ahead.
        """
        latest = peer.latest
        if waits and latest.since > self.now:
            refusal = ("ChangePending", peer.number, latest.since)
        elif latest.standing == LEFT:
            refusal = ("WrongStanding", peer.number, LEFT)
        since = self.now + NOTICE + 1
        if self.attempt(method, *arguments, sender=sender, refusal=refusal):
            peer.records.append(replace(latest, since=since, **changes))

    @rule(pick=some, wrong=st.booleans())
    def suspend_or_reinstate(self, pick: int, wrong: bool) -> None:
        peer, registry = self.peer(pick), self.contracts.registry
        standing = peer.latest.standing
        suspends = (standing == ACTIVE) != wrong
        method = registry.suspend if suspends else registry.reinstate
        new, needed = (SUSPENDED, ACTIVE) if suspends else (ACTIVE, SUSPENDED)
        refusal = None if standing == needed else ("WrongStanding", peer.number, standing)
        registrar, stranger = self.community.registrar, self.stranger(pick)
        without = self._without_role(registry, "REGISTRAR_ROLE", stranger)
        self.attempt(method, peer.number, sender=stranger, refusal=without)
        self._succeed(
            peer,
            method,
            peer.number,
            sender=registrar,
            refusal=refusal,
            waits=not suspends,
            standing=new,
        )

    @rule(pick=some)
    def leave(self, pick: int) -> None:
        """A guest leaves, or tries to; a supplier stays."""
        first_guest = max(member.peer for member in self.members) + 1
        guests = [peer for number, peer in self.model.peers.items() if number >= first_guest]
        peer = guests[pick % len(guests)] if guests else self.supplier
        account, leave = self.model.accounts.of[peer.number], self.contracts.registry.leaveCommunity
        arrears = self.model.accounts.arrears(peer.number)
        is_settled = not arrears and not account.locked and account.balance >= 0
        sender, outsider = self.wallet(peer), self.community.outsider
        self.attempt(leave, sender=outsider, refusal=("NotThePeer", outsider.address))
        if peer is self.supplier:
            self.attempt(leave, sender=sender, refusal=("SupplierStays", peer.number))
        elif not is_settled:
            self.attempt(leave, sender=sender, refusal=("AccountOpen", peer.number))
        else:
            standing = peer.latest.standing
            refusal = None if standing == ACTIVE else ("WrongStanding", peer.number, standing)
            self._succeed(peer, leave, sender=sender, refusal=refusal, standing=LEFT)

    @rule(pick=some, wrong=st.booleans())
    def hand_on_wallet(self, pick: int, wrong: bool) -> None:
        """A member's wallet offers its place to another one, which takes it."""
        peer, new, registry = self.peer(pick), self._unused_wallet(), self.contracts.registry
        wallet, outsider, latest = self.wallet(peer), self.community.outsider, peer.latest
        pending = ("ChangePending", peer.number, latest.since) if latest.since > self.now else None
        other = self.members[pick % len(self.members)].wallet.address
        taken = pending or ("WalletTaken", other)
        self.attempt(registry.offerWallet, other, sender=wallet, refusal=taken)
        stranger = ("NotThePeer", outsider.address)
        self.attempt(registry.offerWallet, other, sender=outsider, refusal=stranger)
        self.attempt(registry.acceptWallet, peer.number, sender=outsider, refusal=stranger)
        if new is None:
            return
        offered = self.attempt(registry.offerWallet, new.address, sender=wallet, refusal=pending)
        if offered and not wrong:
            arguments = (registry.acceptWallet, peer.number)
            self._succeed(peer, *arguments, sender=new, wallet=new)

    # --------------------------------------------------------------------------- publications

    @rule(early=st.booleans(), retail=st.sampled_from([120_000, 90_000, 150_000]), pick=some)
    def publish_tariffs(self, early: bool, retail: int, pick: int) -> None:
        """The supplier's, and only ahead."""
        publish, published = self.contracts.registry.publishTariffs, self.model.tariffs
        others = [peer for peer in self.model.peers.values() if peer.role is not Role.SUPPLIER]
        other = others[pick % len(others)]
        least = max(self.now + NOTICE + 1, published[-1].effective_from + SPACING)
        no_supplier = ("NotASupplier", other.number)
        entry = [(least, retail, 40_000)]
        self.attempt(publish, entry, sender=self.wallet(other), refusal=no_supplier)
        supplier = self.wallet(self.supplier)
        inverted = ("TariffInverted", retail, retail + 1)
        self.attempt(publish, [(least, retail, retail + 1)], sender=supplier, refusal=inverted)
        least = max(self.now + NOTICE + 1, published[-1].effective_from + SPACING)
        time = least - early
        refusal = ("EffectiveTooEarly", time, least) if early else None
        if self.attempt(publish, [(time, retail, 40_000)], sender=supplier, refusal=refusal):
            published.append(Tariff(time, retail, 40_000))

    @rule(early=st.booleans(), capacity=st.sampled_from([50_000, 300, 5_000_000]), pick=some)
    def publish_network(self, early: bool, capacity: int, pick: int) -> None:
        """Other capacities, and only ahead, by the operator that made the network."""
        publish, model = self.contracts.registry.publishNetwork, self.model
        stranger, registry = self.stranger(pick), self.contracts.registry
        *most, last = NETWORK.links
        network = replace(NETWORK, links=(*most, replace(last, capacity_wh=capacity)))
        links = NetworkVersion(0, 0, network).links_message()
        without = self._without_role(registry, "NETWORK_OPERATOR_ROLE", stranger)
        arguments = (1, self.now + 2 * NOTICE, [], links)
        self.attempt(publish, *arguments, sender=stranger, refusal=without)
        least = max(self.now + NOTICE + 1, model.network_from + SPACING)
        time = least - early
        refusal = ("EffectiveTooEarly", time, least) if early else None
        dso = self.community.dso
        if self.attempt(publish, 1, time, [], links, sender=dso, refusal=refusal):
            model.network_from = time

    @rule(pick=some)
    def publish_roster(self, pick: int) -> None:
        """By anyone, once for a time."""
        publish, sender = self.contracts.registry.publishRoster, self.stranger(pick)
        time = self.now + pick % NOTICE
        found, index = self.view(self.contracts.registry, "findRoster", 0, time)
        refusal = ("RosterInForce", 0, index) if found else None
        sent = self.attempt(publish, 0, time, sender=sender, refusal=refusal)
        if sent:
            again = ("RosterInForce", 0, sent.events[-1].index)
            self.attempt(publish, 0, time, sender=sender, refusal=again)
        self.attempt(publish, 9, time, sender=sender, refusal=("PageEmpty", 9))

    @rule(pick=some)
    def create(self, pick: int) -> None:
        """A network and a market, which nobody uses, by their operators."""
        registry, book, stranger = (
            self.contracts.registry,
            self.contracts.order_book,
            self.stranger(pick),
        )
        network, terms = registry.createNetwork, replace(TERMS, period_seconds=1_800).to_message()
        without = self._without_role(registry, "NETWORK_OPERATOR_ROLE", stranger)
        self.attempt(network, (0, 1), sender=stranger, refusal=without)
        self.send(network, (0, 1), sender=self.community.dso)
        without = self._without_role(book, "MARKET_OPERATOR_ROLE", stranger)
        self.attempt(book.createMarket, terms, sender=stranger, refusal=without)
        operator = self.community.market_operator
        self.send(book.createMarket, terms, sender=operator)
        odd = terms | {"periodSeconds": 1_801}
        refusal = ("PeriodUnsupported", 1_801, TERMS.periods_per_session)
        self.attempt(book.createMarket, odd, sender=operator, refusal=refusal)

    @rule(pick=some)
    def pause(self, pick: int) -> None:
        """Until somebody's order, clearing or trade is refused for it (see `resume`)."""
        book, stranger, guardian = (
            self.contracts.order_book,
            self.stranger(pick),
            self.community.guardian,
        )
        without = self._without_role(book, "GUARDIAN_ROLE", stranger)
        if self.model.paused:
            self.attempt(book.unpause, sender=stranger, refusal=without)
            self.attempt(book.pause, sender=guardian, refusal=("EnforcedPause",))
        else:
            self.attempt(book.pause, sender=stranger, refusal=without)
            self.attempt(book.unpause, sender=guardian, refusal=("ExpectedPause",))
            self.send(book.pause, sender=guardian)
            self.model.paused = True

    # ---------------------------------------------------------------------------------- roles

    @rule(pick=some)
    def grant_and_revoke(self, pick: int) -> None:
        """A role of a contract, by its admin."""
        contract, role = self._some_role(pick)
        admin, outsider, stranger = (
            self.community.admin,
            self.community.outsider,
            self.stranger(pick),
        )
        without = ("AccessControlUnauthorizedAccount", stranger.address, ADMIN)
        granted = (role, outsider.address)
        self.attempt(contract.grantRole, *granted, sender=stranger, refusal=without)
        self.attempt(contract.revokeRole, *granted, sender=stranger, refusal=without)
        wrong = ("AccessControlBadConfirmation",)
        self.attempt(contract.renounceRole, *granted, sender=admin, refusal=wrong)
        for end, by in ((contract.renounceRole, outsider), (contract.revokeRole, admin)):
            self.send(contract.grantRole, *granted, sender=admin)
            assert self.view(contract, "hasRole", *granted)
            self.send(end, *granted, sender=by)
            assert not self.view(contract, "hasRole", *granted)
        rules = ("AccessControlEnforcedDefaultAdminRules",)
        self.attempt(contract.grantRole, ADMIN, outsider.address, sender=admin, refusal=rules)

    def _some_role(self, pick: int) -> tuple[Any, bytes]:
        contracts = self.contracts
        choice = (
            (contracts.token, "TREASURY_ROLE"),
            (contracts.ledger, "FUND_MANAGER_ROLE"),
            (contracts.order_book, "GUARDIAN_ROLE"),
            (contracts.registry, "REGISTRAR_ROLE"),
        )
        contract, role = choice[pick % len(choice)]
        return contract, self.view(contract, role)

    @rule(pick=some)
    def hand_on_admin(self, pick: int) -> None:
        """To the outsider and back, each time with the delay; or it is called off."""
        contract, _ = self._some_role(pick)
        admin, outsider = self.community.admin, self.community.outsider
        without = ("AccessControlUnauthorizedAccount", outsider.address, ADMIN)
        begin, accept = contract.beginDefaultAdminTransfer, contract.acceptDefaultAdminTransfer
        self.attempt(begin, outsider.address, sender=outsider, refusal=without)
        self.send(begin, outsider.address, sender=admin)
        self.send(contract.cancelDefaultAdminTransfer, sender=admin)
        off = ("AccessControlInvalidDefaultAdmin", outsider.address)
        self.attempt(accept, sender=outsider, refusal=off)
        change_delay = contract.changeDefaultAdminDelay
        self.attempt(change_delay, 0, sender=outsider, refusal=without)
        self.send(change_delay, 2 * DAY, sender=admin)
        self.send(contract.rollbackDefaultAdminDelay, sender=admin)
        for old, new in ((admin, outsider), (outsider, admin)):
            schedule = self.now + DAY
            self.send(begin, new.address, sender=old)
            early = ("AccessControlEnforcedDefaultAdminDelay", schedule)
            self.attempt(accept, sender=new, refusal=early)
            self.travel(schedule + 1)
            self.send(accept, sender=new)
            for method in (contract.cancelDefaultAdminTransfer, contract.rollbackDefaultAdminDelay):
                former = ("AccessControlUnauthorizedAccount", old.address, ADMIN)
                self.attempt(method, sender=old, refusal=former)

    @rule(pick=some, nano=st.integers(1, 10**9))
    def act_as_a_contract(self, pick: int, nano: int) -> None:
        """I20. Nobody books, locks or takes by hand, and nothing is connected again."""
        ledger, book, registry = (
            self.contracts.ledger,
            self.contracts.order_book,
            self.contracts.registry,
        )
        peer, admin = self.peer(pick).number, self.community.admin
        senders = [admin, self.community.fund_manager, self.community.solver, self.stranger(pick)]
        sender = senders[pick % len(senders)]
        booking = peer.to_bytes(4) + bytes(20) + nano.to_bytes(8)
        by_hand: list[tuple[Any, tuple[Any, ...], str]] = [
            (ledger.lock, (peer, nano), "NotTheOrderBook"),
            (ledger.unlock, (peer, nano), "NotTheOrderBook"),
            (ledger.bookClearing, (booking, b"", [], 0, 0, 0), "NotTheClearing"),
            (ledger.bookImbalances, ([(1, peer, nano)],), "NotTheSettlement"),
            (ledger.bookTrade, (1, peer, nano), "NotTheTrades"),
            (book.take, (1, TERMS.first_session_start, 0), "NotTheClearing"),
        ]
        for method, arguments, error in by_hand:
            self.attempt(method, *arguments, sender=sender, refusal=(error, sender.address))
        address = str(self.contracts.trades.address)
        for method, arguments in (
            (ledger.connectMarket, (address,) * 4),
            (book.connectClearing, (address,)),
            (registry.connectAccounts, (address,)),
        ):
            self.attempt(method, *arguments, sender=admin, refusal=("AlreadyConnected",))

    # ----------------------------------------------------------------------------------- time

    @rule(hours=st.sampled_from([1, 1, 2, 3, 50, 14 * 24]))
    def wait(self, hours: int) -> None:
        self.community.travel_to(self.now + hours * 3600)
