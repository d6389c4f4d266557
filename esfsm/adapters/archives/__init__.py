"""What stored outputs are wrapped in: one file per format, behind `ports.Archiver`."""

KNOWN = {"tar": "tar"}
"""Format -> module in this drawer."""
