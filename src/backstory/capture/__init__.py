"""In other people's processes: recording predictions while they are made.

A recorder appends to the spool and nothing else; it knows no signing key, no catalog and no server. Sealing is handed
to it by the archive.
"""
