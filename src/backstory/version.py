"""The version of this package, in the one place that has it.

The build reads it from here, and so does everything that writes a version into a file. `CHANGELOG.md` must agree; a
test compares the two. The versions of the *formats* are others: `docs/format.md` gives them.
"""

from __future__ import annotations

VERSION = "0.1.0"
