"""Resources: what a payload and its machine were seen to use, at one time."""

from dataclasses import dataclass

__all__ = ["Resources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Sizes in bytes, times in seconds; None: nobody could measure it, or nobody did."""

    memory_bytes: int | None = None
    """Proportional set size (PSS) of the payload's processes; their RSS where the kernel does not tell that."""
    cgroup_bytes: int | None = None
    """What the control group of this process holds, or one above it that is nearer to its limit; page cache that the
    kernel can drop is left out ..."""
    cgroup_limit_bytes: int | None = None
    """... and the limit of the same group, at which the kernel begins to kill in it."""
    cpu_s: float | None = None
    """CPU time of the payload's processes, those that have ended and were waited for included."""
    processes: int | None = None
    """How many there are, with the one that leads them; a zombie is one, too."""
    workdir_bytes: int | None = None
    """On its disk, what the work directory and all in it takes; hard links count once."""
    free_bytes: int | None = None
    """On the same disk, for this user; quotas are not seen."""
    largest: str | None = None
    """The largest file there that is no log and no file of ours ..."""
    largest_bytes: int | None = None
    """... and its size, as it would be copied."""
    log_bytes: int | None = None
    """The larger one of the payload's standard output and error."""
    touched_at: float | None = None
    """When a file there that tells of progress was changed last, in seconds since 1970."""
    proxy_left_s: float | None = None
    """How long the X.509 proxy is good."""

    def __or__(self, other: "Resources") -> "Resources":
        """Both together; `other` wins where both say something."""
        said = {name: getattr(other, name) for name in self.__slots__ if getattr(other, name) is not None}
        return Resources(**{**{name: getattr(self, name) for name in self.__slots__}, **said})
