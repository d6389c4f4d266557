"""An RSE: a place for files, its number in CRIC, and where in it a file lies."""

from hashlib import md5

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ARCHIVE_SCOPE", "RUCIO_PATHS", "Rse"]

RUCIO_PATHS = 1000
"""PanDA's pathConvention of an archive that lies at Rucio's path for scope `transient`; no other value is in use."""
ARCHIVE_SCOPE = "transient"
"""Of Event Service archives."""


class Rse(BaseModel):
    """One storage, frozen. The numbers below 10^11 are what PanDA's columns take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    """In Rucio and CRIC; empty where only a URL was given."""
    rse_id: int = Field(ge=0, lt=10**11)
    """PanDA's objstoreID: CRIC's number of the endpoint."""
    url: str
    """Of the directory that holds all of it, without a slash at its end."""
    path_convention: int | None = Field(None, ge=0, lt=10**11)
    """PanDA's pathConvention; None: all files lie in that one directory."""

    def url_of(self, lfn: str, scope: str | None = None) -> str:
        """Where a file of this name lies; `scope`: None for an archive."""
        if self.path_convention != RUCIO_PATHS:
            return f"{self.url}/{lfn}"
        named = scope or ARCHIVE_SCOPE
        digest = md5(f"{named}:{lfn}".encode(), usedforsecurity=False).hexdigest()  # Rucio's rule of paths
        return f"{self.url}/{named.replace('.', '/')}/{digest[:2]}/{digest[2:4]}/{lfn}"
