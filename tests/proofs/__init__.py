"""The proof held to account by machines: random markets, a fuzzer with an oracle of its own.

`python -m tests.proofs --help`; docs/verification.md says what was run and what came of it.
"""
