"""What is recorded: pure values, the scalar row codec, commitments and limits.

Nothing here reads a file, a clock or the network, and nothing here imports NumPy or Arrow: the stand-alone verifier is
made of this package and `backstory.tlog`. The bytes are specified in docs/format.md.
"""
