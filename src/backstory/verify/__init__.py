"""Checks that trust nobody: a whole archive, one receipt.

Nothing here imports the writer (`ledger`, `capture`) or the catalog. `verify.receipt` is made of `records` and
`tlog` alone.
"""
