"""Every exception of the house, and PanDA's error code for it.

    EsfsmError
    ├── UnusableInput            what the user gave cannot be used: one sentence, exit code 2
    │   ├── UnreadableJob        a job definition that PanDA would not send
    │   ├── UnreadableRanges     a list of event ranges that PanDA would not send
    │   ├── UnusableJournal      a journal that is damaged, in use, or another job's
    │   ├── UnknownName          no adapter, workflow or setting of that name
    │   ├── MissingExtra         a known name whose packages are not installed
    │   ├── MissingProgram       a program that is needed and not installed
    │   └── UnsoundWorkflow      a declared table that `esfsm check` refuses
    ├── WireError                the other side said something its protocol does not say
    │   └── UnreadableMessage    ... a payload
    ├── WorkflowError            a fact that cannot happen here; nothing has changed
    ├── JournalError             the journal cannot be written any more
    ├── ReplayDiverged           this code decides otherwise than the journal tells
    ├── TransferError            a copy from or to a storage did not succeed
    │   └── MissingMember        an output cannot be packed
    └── ChannelError             the channel to the payload cannot be opened or used

Expected trouble (a store that fails, a payload that dies) is a fact, not an exception: an adapter raises,
`perform.py` turns it into the fact. The class names the fault, its attributes carry it.
"""

from difflib import get_close_matches
from enum import IntEnum

__all__ = [
    "ChannelError",
    "EsfsmError",
    "JournalError",
    "MissingExtra",
    "MissingMember",
    "MissingProgram",
    "PilotErrorCode",
    "ReplayDiverged",
    "TransferError",
    "UnknownName",
    "UnreadableJob",
    "UnreadableMessage",
    "UnreadableRanges",
    "UnsoundWorkflow",
    "UnusableInput",
    "UnusableJournal",
    "WireError",
    "WorkflowError",
]


class PilotErrorCode(IntEnum):
    """The codes that PanDA knows from its pilots, as far as we can meet them.

    Source: PanDAWMS/pilot3 `pilot/common/errorcodes.py`; PanDA's monitor shows their texts.
    """

    NONE = 0
    """No error."""
    NOLOCALSPACE = 1098
    """Not enough local disk."""
    STAGEINFAILED = 1099
    """An input could not be copied."""
    NOSUCHFILE = 1103
    """A remote file is missing; for a merge job: its input is corrupted."""
    USERDIRTOOLARGE = 1104
    """The work directory is larger than it may be."""
    STDOUTTOOBIG = 1106
    """The payload's standard output or error is larger than it may be."""
    OUTPUTFILETOOLARGE = 1124
    """An output is larger than it may be."""
    NOSTORAGE = 1133
    """No storage is set for the outputs."""
    STAGEOUTFAILED = 1137
    """An output could not be stored."""
    PANDAKILL = 1144
    """The server wanted the job to end at once."""
    GETMD5MISMATCH = 1145
    """The md5 of an input is not the one that PanDA has."""
    LOOPINGJOB = 1150
    """No activity, or the payload did not end."""
    NOPROXY = 1163
    """The proxy has ended, or is about to."""
    MISSINGOUTPUTFILE = 1165
    """An output that was announced is not there."""
    GETADMISMATCH = 1171
    """The adler32 of an input is not the one that PanDA has."""
    KILLSIGNAL = 1200
    """A stop was asked for by a signal."""
    UNKNOWNPAYLOADFAILURE = 1220
    """The payload reported a range as failed."""
    SIGTERM = 1201
    """A stop was asked for by SIGTERM, or the payload died of a signal."""
    SIGXCPU = 1204
    """It has used too much CPU time."""
    SIGUSR1 = 1207
    """A stop was asked for by SIGUSR1."""
    SIGINT = 1208
    """A stop was asked for by SIGINT."""
    REACHEDMAXTIME = 1213
    """The time of the job, or of its pilot, is over."""
    PAYLOADEXCEEDMAXMEM = 1235
    """The payload uses more memory than it may."""
    MESSAGEHANDLINGFAILURE = 1240
    """The channel to the payload failed."""
    UNKNOWNEXCEPTION = 1301
    """An action broke in a way that nobody foresaw."""
    FILEHANDLINGFAILURE = 1303
    """A local file could not be read or written."""
    PAYLOADEXECUTIONFAILURE = 1305
    """The payload ended with a non-zero exit code."""
    PAYLOADEXECUTIONEXCEPTION = 1310
    """The payload could not be started."""
    UNKNOWNTRFFAILURE = 1315
    """The payload ended without an exit code that means anything."""
    COMMUNICATIONFAILURE = 1318
    """The server did not answer."""
    INTERNALPILOTPROBLEM = 1319
    """Our own fault."""
    LOGFILECREATIONFAILURE = 1320
    """The log could not be made; the job is reported without one."""
    REMOTEFILEOPENTIMEDOUT = 1368
    """Exit code 3 of the payload."""
    LSETUPTIMEDOUT = 1378
    """Exit code 2 of the payload."""
    PREEMPTION = 1379
    """The place is taken away."""


class EsfsmError(Exception):
    """Whatever this package raises knowingly."""

    pilot_error_code = PilotErrorCode.INTERNALPILOTPROBLEM


class UnusableInput(EsfsmError, ValueError):
    """What the user gave cannot be used; nothing was started and nothing was changed."""


class UnreadableJob(UnusableInput):
    """A job definition that PanDA would not send."""

    def __init__(self, why: str, source: str = "job definition") -> None:
        self.why, self.source = why, source
        super().__init__(f"{source}: {why}")


class UnreadableRanges(UnusableInput):
    """A list of event ranges that PanDA would not send."""

    def __init__(self, why: str, source: str = "list of event ranges") -> None:
        self.why, self.source = why, source
        super().__init__(f"{source}: {why}")


SHOWN = 20
"""Names that a sentence lists; of more, the nearest ones."""


class UnknownName(UnusableInput):
    """No adapter, workflow or setting has that name."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        self.kind, self.name, self.known = kind, name, known
        shown = known if len(known) <= SHOWN else get_close_matches(name, known, n=3, cutoff=0)
        first = "known are" if shown is known else f"of {len(known)} the nearest are"
        super().__init__(f"there is no {kind} {name!r}; {first}: {', '.join(shown) or 'none'}")


class MissingExtra(UnusableInput):
    """A known adapter whose packages are not installed here."""

    def __init__(self, kind: str, name: str, extra: str) -> None:
        self.kind, self.name, self.extra = kind, name, extra
        super().__init__(f"the {kind} {name!r} needs more packages: pip install 'esfsm[{extra}]'")


class MissingProgram(UnusableInput):
    """A program that this needs is not installed here; `package` is what it comes in, by the same name everywhere."""

    def __init__(self, program: str, package: str) -> None:
        self.program, self.package = program, package
        super().__init__(
            f"the program {program!r} is not installed: apt install {package} (Debian, Ubuntu), "
            f"dnf install {package} (Fedora, RHEL) or conda install -c conda-forge {package}"
        )


class UnsoundWorkflow(UnusableInput):
    """A declared table that cannot be run; `faults` holds one sentence each, with file and line."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class WireError(EsfsmError):
    """The other side said something that its protocol does not say."""

    pilot_error_code = PilotErrorCode.COMMUNICATIONFAILURE


class UnreadableMessage(WireError):
    """The payload said something that AthenaMP does not say."""

    pilot_error_code = PilotErrorCode.MESSAGEHANDLINGFAILURE

    def __init__(self, text: str, expected: str) -> None:
        self.text, self.expected = text, expected
        super().__init__(f"expected {expected}, got {text[:200]!r}")


class WorkflowError(EsfsmError):
    """A fact that cannot happen in this state; nothing has changed."""

    def __init__(self, subject: str, state: str, fact: str) -> None:
        self.subject, self.state, self.fact = subject, state, fact
        super().__init__(f"{fact} cannot happen to {subject} in state {state}")


class UnusableJournal(UnusableInput):
    """A journal that is damaged, in use by another engine, of another job, or of other tables."""

    def __init__(self, path: object, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"journal {path}: {why}")


class JournalError(EsfsmError):
    """The journal cannot be written any more: this engine ends, what is written stays good."""

    pilot_error_code = PilotErrorCode.FILEHANDLINGFAILURE

    def __init__(self, path: object, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"journal {path}: {why}; run the same command again to go on")


class ReplayDiverged(EsfsmError):
    """This code decides otherwise than the journal tells; `number` is the line of the fact."""

    def __init__(self, number: int, fact: str, expected: str, got: str) -> None:
        self.number, self.fact, self.expected, self.got = number, fact, expected, got
        super().__init__(f"at fact {number} ({fact}): the journal has {expected}, this code decides {got}")


class TransferError(EsfsmError):
    """A copy from or to a storage did not succeed; no byte of it may be believed."""

    pilot_error_code = PilotErrorCode.STAGEOUTFAILED

    def __init__(
        self, url: str, why: str, code: PilotErrorCode = PilotErrorCode.STAGEOUTFAILED, *, final: bool = False
    ) -> None:
        self.url, self.why, self.pilot_error_code, self.final = url, why, code, final
        """`final`: this storage will say the same the next time."""
        super().__init__(f"{url}: {why}")


class MissingMember(TransferError):
    """An output that was to be packed is not there, or cannot be read to its end; no archive was made."""

    def __init__(self, name: str, path: object, why: str) -> None:
        self.name = name
        super().__init__(str(path), f"member {name!r}: {why}", PilotErrorCode.MISSINGOUTPUTFILE)


class ChannelError(EsfsmError):
    """The channel to the payload cannot be opened or used."""

    pilot_error_code = PilotErrorCode.MESSAGEHANDLINGFAILURE
