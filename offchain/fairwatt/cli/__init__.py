"""The command line `fairwatt`.

Commands live in the modules of this package and are loaded when they are called, so that a
command that needs no chain does not wait for one to load.
"""

from __future__ import annotations

import errno
import io
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, Final

import click

from fairwatt import __version__
from fairwatt.errors import FairwattError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main"]

_INTERRUPTED: Final = 130  # as shells say it
_LONGEST_MESSAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class _Lazy:
    """A command that is imported when it is called: `module:attribute`, and what it does."""

    target: str
    summary: str


_COMMANDS: Final = {
    "clear": _Lazy("fairwatt.cli.market:clear", "Find who trades how much, at what price."),
    "verify": _Lazy("fairwatt.cli.market:verify", "Prove that a clearing is an optimum."),
    "schema": _Lazy("fairwatt.cli.market:schema", "Print the format of a book, case or clearing."),
    "peer": _Lazy("fairwatt.cli.peer:peer", "Admit peers, pay for them, see their balances."),
    "order": _Lazy("fairwatt.cli.order:order", "Write, sign, check and place orders."),
    "receipt": _Lazy("fairwatt.cli.receipt:receipt", "Check receipts for orders, and claim."),
    "trade": _Lazy("fairwatt.cli.trade:trade", "Write, sign and match continuous orders."),
    "case": _Lazy("fairwatt.cli.case:case", "Look at communities, check them, write new ones."),
    "plan": _Lazy("fairwatt.cli.plan:plan", "Plan the day of a community."),
    "study": _Lazy("fairwatt.cli.study:study", "Compare market designs on a community."),
    "grid": _Lazy("fairwatt.cli.grid:grid", "Check a day on a real low-voltage grid, find limits."),
    "demo": _Lazy("fairwatt.cli.demo:demo", "Run a market day on a chain in this process."),
    "run": _Lazy("fairwatt.cli.run:run", "Run a case day by day on a chain, from plan to bill."),
    "meter": _Lazy("fairwatt.cli.metering:meter", "Bring meter data to the periods of a market."),
    "move": _Lazy("fairwatt.cli.move:move", "Move accounts to a newer deployment."),
    "oracle": _Lazy("fairwatt.cli.oracle:oracle", "Run the market day on a chain."),
    "reconcile": _Lazy(
        "fairwatt.cli.reconcile:reconcile", "Settle a session, check every balance."
    ),
    "bill": _Lazy("fairwatt.cli.bill:bill", "Draw up bills of a month from a chain."),
}


class _Failure(click.ClickException):
    """Ends the process with exit code 1 and a message."""

    def show(self, file: IO[Any] | None = None) -> None:
        from fairwatt.cli._text import printable  # noqa: PLC0415 - only when something failed

        message = self.message
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]}..."
        lines = "\n".join(map(printable, message.split("\n")))
        click.echo(f"error: {lines}", err=True, file=file)


class _Main(click.Group):
    """A group of lazy commands that turns what went wrong into a message and an exit code."""

    def __init__(self, *args: Any, lazy: Mapping[str, _Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.lazy:
            return None
        module, attribute = self.lazy[cmd_name].target.split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            ctx.fail(f"There is no command {args[0]!r}; there are {', '.join(self.lazy)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in self.lazy.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a name in no charset is no reason
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except FairwattError as error:
            raise _Failure(str(error)) from error
        except MemoryError as error:
            raise _Failure("not enough memory") from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends quietly when nobody reads any more
            raise _Failure(str(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        return result


@click.group(
    cls=_Main,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="""\b
Examples:
  fairwatt clear book.json --out clearing.json
  fairwatt verify book.json clearing.json
  fairwatt order template > order.json
  fairwatt COMMAND --help
""",
)
@click.version_option(__version__, message="%(prog)s %(version)s", prog_name="fairwatt")
def main() -> None:
    """Fairwatt: an energy market in which clearings are proved, not trusted.

    Peers sign orders to buy and sell energy. Anyone can clear the book of a delivery period, and
    anyone can verify, in whole numbers, that no other clearing would have been worth more.

    Every command that prints data takes --json. Exit codes: 0 done, 1 refused or failed, with
    the reason, 2 wrong usage.
    """
