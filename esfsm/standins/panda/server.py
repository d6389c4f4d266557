"""The server: which generation answers a call, and which quirks strike it. No socket, no thread, no clock."""

from collections.abc import Collection, Iterable, Mapping
from random import Random

from esfsm.errors import UnknownName
from esfsm.standins.panda import legacy, v1
from esfsm.standins.panda.books import Books
from esfsm.standins.panda.envelope import PILOT, Fate, Reply, Who, forbidden
from esfsm.standins.panda.quirks import Quirks
from esfsm.wire.panda.calls import Call

__all__ = ["DIALECTS", "PandaServer"]

DIALECTS = {"legacy": legacy, "v1": v1}
"""panda-server 0.8.1 has both, 1.0.4 only `v1`."""
PROXY_PAGE = Reply(
    502,
    "text/html; charset=iso-8859-1",
    b"<!DOCTYPE HTML>\n<html><head><title>502 Proxy Error</title></head><body>\n<h1>Proxy Error</h1>\n"
    b"<p>The proxy server received an invalid response from an upstream server.</p>\n</body></html>\n",
)


class PandaServer:
    """A PanDA server over some books."""

    def __init__(
        self,
        books: Books,
        *,
        generations: Collection[str] = tuple(DIALECTS),
        quirks: Mapping[str, float] | Iterable[str] = (),
        chance: Random | None = None,
    ) -> None:
        """`quirks` by name, with the usual probability of each or with one given; all chance comes from `chance`.

        Raises `UnusableInput` for a generation or a quirk that there is not.
        """
        for name in generations:
            if name not in DIALECTS:
                raise UnknownName("generation", name, list(DIALECTS))
        self.books = books
        self._dialects = [DIALECTS[name] for name in generations]
        self._quirks = Quirks(quirks, chance or Random(0))

    def answer(self, call: Call, who: Who = PILOT, *, now_s: float = 0.0) -> Reply:
        """Do what is asked, or what a quirk makes of it; `now_s` is the time."""
        struck = self._quirks.strike()
        if "html-proxy" in struck:
            return PROXY_PAGE
        reply = forbidden(call.path)
        for dialect in self._dialects:
            if call.path.startswith(dialect.PREFIX):
                reply = dialect.answer(self.books, call, who, self._quirks.luck(struck), now_s)
        return self._carried(reply, struck)

    def _carried(self, reply: Reply, struck: frozenset[str]) -> Reply:
        """What a client sees of it."""
        if "cut-json" in struck:
            reply = reply._replace(body=self._quirks.cut(reply.body))
        if "empty-body" in struck:
            reply = reply._replace(status=200, body=b"")
        fate = Fate.LOST if "lost-reply" in struck else Fate.STALLED if "stalled" in struck else Fate.ARRIVES
        return reply._replace(fate=fate)
