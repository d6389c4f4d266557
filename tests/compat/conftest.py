"""What pilot3 is given: hooks of either making, and nothing of the machine's own settings."""

import pytest

STRANGERS = ("X509_USER_PROXY", "OIDC_AUTH_TOKEN", "PANDA_AUTH_TOKEN", "PILOT_OUTPUT_DIR", "PILOT_ES_EXECUTOR_TYPE")


@pytest.fixture(autouse=True)
def no_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STRANGERS:
        monkeypatch.delenv(name, raising=False)
