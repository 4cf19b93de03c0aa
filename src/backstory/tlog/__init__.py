"""The log's maths: hashing, tiles, proofs, signed notes, checkpoints, receipts' outer form.

    hashing      leaf and node hashes, the root of a list
    tile         tile paths, tile and entry-bundle bytes
    tree         growing a log, roots and ranges read back from tiles
    proof        making and checking inclusion and consistency proofs
    key          verifier keys, and the tree sizes they speak for
    signer       who can sign, and keys held in memory
    note         signed notes
    cosignature  what a witness signs, and an ML-DSA-44 key of a log
    checkpoint   the signed tree head
    rotation     from a key that was pinned to the keys that came after it
    rotation     following a log's keys from one to the next
    policy       which logs are believed, and how many of which witnesses
    witness      requests to cosign, how they are judged, and their answers
    proof_file   `.tlog-proof`, the file that carries one inclusion proof
    limits       every maximum of the package
    text         the strict decimal and base64 forms the others share

Everything here follows RFC 6962 section 2.1 and the C2SP texts tlog-tiles, signed-note, tlog-checkpoint,
tlog-cosignature, tlog-policy, tlog-witness and tlog-proof, with one addition: whatever those texts leave open is
refused, because verifiers that disagree on a malformed file are a way to show two people two histories. Bytes of a
wrong form raise `FormatError`, well-formed evidence that does not hold raises `VerificationError`, and a call that asks
for the impossible raises `InputError`.

This package does no I/O, reads no clock and needs nothing but the standard library and an Ed25519 implementation: tiles
come in through a callable and leave as a mapping from path to bytes. It is what a stand-alone verifier is made of.
"""
