"""What a table is: adapters, row tokens, value equality, and the description of a caller's container.

Modules here know pandas, polars, pyarrow and NumPy, and nothing of archives, sources or models. pandas and polars are
never imported by this package: a frame that reaches it was made by a library the caller has imported already.
"""
