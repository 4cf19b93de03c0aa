"""What every test shares: how Hypothesis searches.

On a developer's machine Hypothesis looks for new examples each time; under CI it takes the same ones each time, so
that a change is never blamed for an example nobody had tried before. Neither has a deadline: two busy cores make any of
them a lie.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
