"""Drills: every kind of fault and fraud is planted in a copy of an archive, and it is seen who catches it.

Works on copies alone, through the front door and with the tools outsiders have: audit, witness, monitor, receipts,
promises. It does not check the archive it is a copy of; that is `backstory.verify`.
"""
