"""How long hypothesis looks for what breaks: `HYPOTHESIS_PROFILE=nightly` is long, `mutants` short."""

import os

from hypothesis import settings

settings.register_profile("test", max_examples=300, deadline=None)
settings.register_profile("mutants", max_examples=50, deadline=None)
settings.register_profile("nightly", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))
