"""Where inputs come from and outputs go: one file per technology behind `ports.Storage`, chosen by URL scheme."""

KNOWN = {
    "file": "fsspec:open_storage",
    "root": "xrootd:open_storage",
    "roots": "xrootd:open_storage",
    "s3": "s3:open_storage [s3]",
    "dav": "webdav:open_storage",
    "davs": "webdav:open_storage",
    "http": "webdav:open_storage",
    "https": "webdav:open_storage",
    "gcs": "gcs:open_storage [gcs]",
    "gs": "gcs:open_storage [gcs]",
    "rucio": "rucio:open_storage [rucio]",
}
