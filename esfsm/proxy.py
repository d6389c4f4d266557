"""Whether PanDA is shown a token or an X.509 proxy, and where that lies: for who shows it, and who looks at its end."""

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["TOKEN", "proxy_path"]

TOKEN = ("OIDC_AUTH_TOKEN", "PANDA_AUTH_TOKEN")
"""Name the file of an OIDC token, which is shown in place of a proxy; the first that is set counts, as in pilot3."""


def proxy_path(environment: Mapping[str, str]) -> Path | None:
    """The one that is named, there or not, or that of this user, if it is there; None for who has a token."""
    if any(environment.get(name) for name in TOKEN):
        return None
    named = environment.get("X509_USER_PROXY")
    path = Path(named or f"/tmp/x509up_u{os.getuid()}")
    return path if named or path.exists() else None
