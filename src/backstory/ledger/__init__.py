"""The one write path: seal, sequence, one commit point, recovery; and verified reads of entries.

Order of writes and what a crash leaves behind: docs/format.md section 17.
"""
