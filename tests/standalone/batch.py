"""Runs the stand-alone verifier of the path given over many files; answers with a line of JSON for each.

Standard input: a JSON list of `[keys, witnesses, quorum, file in base64]`. A line: `[exit code, facts or null]`.
"""

import base64
import functools
import importlib.util
import json
import sys

spec = importlib.util.spec_from_file_location("verify_receipt", sys.argv[1])
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)
check.is_ed25519 = functools.cache(check.is_ed25519)  # thousands of files have a few notes

for vkeys, witnesses, quorum, encoded in json.load(sys.stdin):
    facts, logs, others = None, [check.Key(k, 1) for k in vkeys], [check.Key(k, 4) for k in witnesses]
    try:
        facts, code = check.check_file(base64.b64decode(encoded), logs, others, quorum), check.VERIFIED
    except check.FailedError:
        code = check.FAILED
    except check.CannotCheckError:
        code = check.CANNOT_CHECK
    sys.stdout.write(json.dumps([code, facts]) + "\n")
