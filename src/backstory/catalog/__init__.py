"""The rebuildable index: which entries and segments to look at for a question. Never a source of truth.

It holds positions only; what stands at a position is read from the log and proven there.
"""
