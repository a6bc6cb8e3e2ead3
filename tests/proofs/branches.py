"""Which branches of the contracts the tests take: the coverage build and the report on it.

The coverage build is made so that every branch of the source is a conditional jump of its own. It
is not optimized, and each `require(condition, Error(...))` is written as `if (!(condition)) revert
Error(...)`: the compiler would make one function of all requires of an error. Lines stay where they
are. Conditional jumps of the compiler's own, such as checks of an overflow, of the calldata or of
a call, stand at other places of the source and are told apart by that.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.proofs.compiled import ROOT, UNOPTIMIZED, compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_JUMPI, _PUSH1, _PUSH32 = 0x57, 0x60, 0x7F
_BRANCHES = {"IfStatement", "Conditional"}
_LOOPS = {"ForStatement", "WhileStatement", "DoWhileStatement"}

Place = tuple[str, int, int]
"""Source, offset and length."""


def own_sources() -> list[str]:
    """Sources of the contracts, mocks among them, by their paths below the root."""
    paths = sorted((ROOT / "contracts").rglob("*.sol"))
    return [path.relative_to(ROOT).as_posix() for path in paths if ".cache" not in path.parts]


def build(out: Path) -> None:
    """Make the coverage build."""
    names = own_sources()
    parsed = compiled(names, [])
    texts = {}
    for name in names:
        text = (ROOT / name).read_bytes()
        requires = sorted(_requires(parsed["sources"][name]["ast"]), reverse=True)
        texts[name] = _without_requires(text, requires).decode()
    made = compiled(
        names,
        [
            "evm.bytecode.object",
            "evm.deployedBytecode.object",
            "evm.deployedBytecode.sourceMap",
            "evm.deployedBytecode.immutableReferences",
        ],
        changed=texts,
        settings=UNOPTIMIZED,
    )
    contracts = {}
    for name in names:
        for contract, each in made["contracts"].get(name, {}).items():
            deployed = each["evm"]["deployedBytecode"]
            if deployed["object"]:
                contracts[contract] = {
                    "creation": each["evm"]["bytecode"]["object"],
                    "runtime": deployed["object"],
                    "source_map": deployed["sourceMap"],
                    "immutables": [
                        (place["start"], place["length"])
                        for places in deployed["immutableReferences"].values()
                        for place in places
                    ],
                }
    sources = {name: source for name, source in made["sources"].items() if name in names}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"contracts": contracts, "sources": sources, "texts": texts}))


def _requires(node: Any) -> Iterator[tuple[int, int, tuple[int, int], tuple[int, int]]]:
    """Start and end of every `require` with an error, of its condition and of its error."""
    for each in _walk(node):
        if (
            each["nodeType"] == "FunctionCall"
            and each["expression"].get("name") == "require"
            and len(each["arguments"]) == 2
        ):
            condition, error = (_span(argument) for argument in each["arguments"])
            yield *_span(each), condition, error


def _without_requires(text: bytes, requires: Iterable[Any]) -> bytes:
    for start, end, condition, error in requires:
        new = b"if (!(" + text[slice(*condition)] + b")) revert " + text[slice(*error)]
        lost = text[start:end].count(b"\n") - new.count(b"\n")
        text = text[:start] + new + b"\n" * lost + text[end:]
    return text


def _span(node: Any) -> tuple[int, int]:
    start, length, _ = map(int, node["src"].split(":"))
    return start, start + length


def _walk(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if "nodeType" in node:
            yield node
        for each in node.values():
            yield from _walk(each)
    elif isinstance(node, list):
        for each in node:
            yield from _walk(each)


# ------------------------------------------------------------------------------------------- report

# Branches that no test can take both ways, by a part of their text, and why.
EXPLAINED: dict[tuple[str, str], str] = {
    ("ClearingProof", "sums.length == size"): "what is carried was compared with its hash before",
    ("ClearingProof", "t < last"): "it is left after the last period, before the link to the next",
    ("ClearingProof", "lane < LANES"): "only called where some lane is out of bounds",
    ("ClearingProof", "lane < 4"): "only called where some lane is between the prices",
    ("Ledger", "free >= 0 || requested == 0"): "only asked about what is below zero",
    ("Settlement", "t < run.words * 8"): "only called where some lane is implausible",
    ("Signatures", "wallet == address(0)"): "only asked about active peers, which have a wallet",
}


def explanation(branch: Branch) -> str:
    """Why a branch cannot be taken both ways, or nothing."""
    for (source, text), why in EXPLAINED.items():
        if Path(branch.source).stem == source and text in branch.text:
            return why
    return ""


@dataclass
class Branch:
    """A place where the source goes one way or the other."""

    source: str
    line: int
    kind: str
    text: str
    ways: set[bool] = field(default_factory=set)

    def way(self) -> str:
        """Whether the condition was never met, or always, or the place not reached."""
        if not self.ways:
            return "never reached"
        # What is written `if` jumps over its body; in `require` the condition is negated.
        return "one way"


@dataclass
class Report:
    """All branches of the contracts, and the compiler's own jumps by where they stand."""

    branches: list[Branch]
    compilers: Counter[str]

    @property
    def missed(self) -> list[Branch]:
        return [branch for branch in self.branches if len(branch.ways) < 2]


def report(out: Path) -> Report:
    """What the processes that ran the tests have seen of the branches."""
    made = json.loads(out.read_text())
    seen: dict[str, set[tuple[int, bool]]] = defaultdict(set)
    for path in out.parent.glob(f"{out.stem}.*.seen.json"):
        for contract, jumps in json.loads(path.read_text()).items():
            seen[contract] |= {(pc, taken) for pc, taken in jumps}
    names = {source["id"]: name for name, source in made["sources"].items()}
    kinds = _kinds(made["sources"])
    types = {
        (name, start, end - start): node["nodeType"]
        for name, source in made["sources"].items()
        for node in _walk(source["ast"])
        for start, end in [_span(node)]
    }
    texts = {name: text.encode() for name, text in made["texts"].items()}
    branches: dict[tuple[Place, int], Branch] = {}
    compilers: Counter[str] = Counter()
    for contract, each in made["contracts"].items():
        count: Counter[Place] = Counter()
        for pc, start, length, file in _jumps(bytes.fromhex(each["runtime"]), each["source_map"]):
            name = names.get(file, "")
            if not name or "/mocks/" in name:
                continue
            place = (name, start, length)
            kind = kinds.get(place, "")
            if not kind:
                compilers[types.get(place, "elsewhere")] += 1
                continue
            # The how many-th jump of the place: assembly has one place for all it does.
            key = place, count[place]
            count[place] += 1
            if key not in branches:
                text = texts[name]
                line = text.count(b"\n", 0, start) + 1
                shown = " ".join(text[start : start + length].decode().split())
                branches[key] = Branch(name, line, kind, shown)
            branches[key].ways |= {way for way in (False, True) if (pc, way) in seen[contract]}
    ordered = sorted(branches.items(), key=lambda item: item[0])
    return Report([branch for _, branch in ordered], compilers)


def _kinds(sources: dict[str, Any]) -> dict[Place, str]:
    """What kind of branch stands at a place."""
    kinds: dict[Place, str] = {}
    for name, source in sources.items():
        for node in _walk(source["ast"]):
            start, end = _span(node)
            kind = node["nodeType"]
            if kind in _BRANCHES or node.get("operator") in {"&&", "||"}:
                kinds[name, start, end - start] = node.get("operator", kind)
            elif kind == "InlineAssembly":
                kinds[name, start, end - start] = kind
            elif kind in _LOOPS:  # it is left where some part of its condition stands
                for inner in _walk(node.get("condition")):
                    if inner["nodeType"] != "FunctionCall" and "src" in inner:
                        begin, stop = _span(inner)
                        kinds.setdefault((name, begin, stop - begin), "loop")
    return kinds


def _jumps(code: bytes, source_map: str) -> Iterator[tuple[int, int, int, int]]:
    """Program counter, start, length and file of every conditional jump."""
    fields = ["0", "0", "-1"]
    pc = 0
    for entry in source_map.split(";"):
        for at, text in enumerate(entry.split(":")[:3]):
            if text:
                fields[at] = text
        if pc >= len(code):
            return
        if code[pc] == _JUMPI:
            yield pc, int(fields[0]), int(fields[1]), int(fields[2])
        pc += 1 + (code[pc] - _PUSH1 + 1 if _PUSH1 <= code[pc] <= _PUSH32 else 0)
