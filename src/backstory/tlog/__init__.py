"""The log's maths: hashing, tiles, proofs, signed notes, checkpoints, receipts' outer form.

    hashing      leaf and node hashes, the root of a list
    tile         tile paths, tile and entry-bundle bytes
    tree         growing a log, roots and ranges read back from tiles
    proof        making and checking inclusion and consistency proofs
    note         signed notes and Ed25519 keys
    checkpoint   the signed tree head
    proof_file   `.tlog-proof`, the file that carries one inclusion proof
    limits       every maximum of the package
    text         the strict decimal and base64 forms the others share

Everything here follows RFC 6962 section 2.1 and the C2SP texts tlog-tiles, signed-note, tlog-checkpoint and tlog-proof,
with one addition: whatever those texts leave open is refused, because verifiers that disagree on a malformed file are a
way to show two people two histories. Bytes of a wrong form raise `FormatError`, well-formed evidence that does not hold
raises `VerificationError`, and a call that asks for the impossible raises `InputError`.

This package does no I/O, reads no clock and needs nothing but the standard library and an Ed25519 implementation: tiles
come in through a callable and leave as a mapping from path to bytes. It is what a stand-alone verifier is made of.
"""
