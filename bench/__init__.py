"""Measurements beside rivals, on the same machine and in the same run: `python -m bench`.

A section is an entry of `bench.sections.SECTIONS` and a module of its name with a function
`measure(console)` that yields its results.
"""
