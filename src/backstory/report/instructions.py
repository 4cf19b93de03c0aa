"""The one page of text that goes with a bundle: what it is, what it shows and what not, and how to check it."""

from __future__ import annotations

from backstory.records.canonical import JsonObject

_TEXT = """\
EVIDENCE BUNDLE
===============

{count} of the log {origin}, given out at {time}.

Read index.html first. It needs no network and no other program.

WHAT IS IN IT

  index.html                what was asked, and the story of the first predictions
  records.jsonl             every prediction, one a line, as its receipt proves it
  records-0001.parquet …    the same for programs, one file a kind of record
  receipts/                 the proofs: each record is in the log, unchanged
  upstream/documents/       models, training, sources, groups, code, environment; named by SHA-256
  upstream/entries/         the log's entries that name them, each with its proof
  upstream/rows.json        rows of sources the first predictions were made from, each with its proof;
                            not there where no such row can be shown
  verify/                   programs that check all this
  manifest.json             every file with size and SHA-256, and the question
  bundle.tlog-proof         the log's entry about this bundle, with its proof; the manifest cannot list it

{left_out}WHAT IT SHOWS, IF IT VERIFIES

The holder of the log's key committed to every one of these records, to the context of each and the model it names, and
to everything else in upstream/. None was changed since. The log says that this very bundle was given out; no file in
it was added, removed or changed. The lines of records.jsonl say what the receipts prove. Every record is of the model
and the period that the question in manifest.json names, by the operator's clock; where it names predictions, they are
exactly these.

WHAT IT DOES NOT SHOW

That what was recorded was true. That the bundle holds everything you should have got: ask for an audit of the archive
(backstory verify). That the records fit what else the question says: no program here compares `where` and `case`. That
others are shown the same log: ask for witnesses. The times are those of the operator's clock. Values that are sealed
and were not opened are only committed to. The Parquet files and index.html are what the log says was given out; no
program here compares their content with the receipts. Snapshots, training positions and models' files are not in it;
the documents have their digests.

THE PUBLIC KEY

You need the log's public key: a line that begins with {origin}+. Get it from the operator on paper, from a contract,
a register or a page you trust. Never take it from a file that came with this bundle: who can change the bundle can
change the key in it. The same holds for the programs in verify/: compare them with those you know, or take them from
where Backstory is published. If a check says that no signature is by your key, the log may have changed its key
since: get the new one in the same way as the first, and believe no list of keys that only comes with a bundle.

HOW TO CHECK IT

1. With Python 3.9 or newer and nothing else. Unpack the folder verify/, then:

     python verify/check_bundle.py BUNDLE.zip --vkey "KEY"

   This checks everything: manifest, receipts, records.jsonl, documents, entries, rows.

2. In a browser, offline: open verify/verify_receipt.html, drop a file of receipts/ on it, and paste the key. This
   checks the receipts. `node` can do it too, with verify/verify_receipt.mjs.

3. With Backstory:

     backstory verify-bundle BUNDLE.zip --vkey "KEY"

Exit codes: 0 verified; 20 does not verify, and the file is named; 21 cannot be checked, which says nothing about the
bundle; 2 asked wrongly.

The formats are described in docs/format.md of Backstory.
"""


_LEFT_OUT = {
    "not_compared": "could not be compared with the question, as what it asks for is sealed",
    "not_sealed": "fit the question, as far as could be told, but were not in the log yet: ask again for these",
}


def instructions(origin: str, count: int, asked: JsonObject) -> str:
    """Return the instructions of a bundle."""
    lines = [f"  {asked[name]} of the other predictions {why}\n" for name, why in _LEFT_OUT.items() if name in asked]
    left_out = f"WHAT IS LEFT OUT\n\n{''.join(lines)}\n" if lines else ""
    noun = "1 prediction" if count == 1 else f"{count:,} predictions"
    return _TEXT.format(origin=origin, count=noun, time=asked["time"], left_out=left_out)
