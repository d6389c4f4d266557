"""The command line: run, resume, pilot, audit, replay, check, draw.

Exit codes: 0 done, 1 failed, 2 unusable input, 3 stopped on request.
Standard output is for results, standard error for progress and faults.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from math import inf
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.live import Live

import esfsm
from esfsm import plugins
from esfsm.core import pilot as p
from esfsm.core.engine import Engine
from esfsm.core.facts import Fact
from esfsm.drawings import draw_all
from esfsm.errors import EsfsmError, UnusableInput
from esfsm.given import read_job
from esfsm.inbox import Clock
from esfsm.loop import Watch
from esfsm.model.outcome import Outcome
from esfsm.model.settings import Settings
from esfsm.pilot import LAST_S, run_pilot
from esfsm.run import run_workflow
from esfsm.stops import STOP_SIGNALS
from esfsm.views.progress import Progress

__all__ = ["app", "main", "script"]

DONE, FAILED, UNUSABLE, STOPPED = 0, 1, 2, 3

LIFETIME = f"""\
Seconds, or less if the queue says so; the job that runs {LAST_S:g} s before its end is stopped then, and none is begun
after that."""
NEWS: dict[type, str] = {
    p.FetchFailed: "no job could be fetched",
    p.JobUnanswered: "{}: the server gave no answer",
    p.JobDeclined: "{} was not begun",
    p.JobLeft: "{} was left as it is",
}
"""What else a pilot tells beside the outcomes of its jobs, before the reason."""

app = typer.Typer(
    help="The PanDA Event Service as a finite-state machine.",
    epilog="Exit codes: 0 done, 1 failed, 2 unusable input, 3 stopped on request; "
    "those of each command are in docs/codes.md.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        _show(f"esfsm {esfsm.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """The PanDA Event Service as a finite-state machine."""


class Form(StrEnum):
    """What a drawing can be."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
    PNG = "png"


GRACE = f"Seconds from a stop request to the end. Default: {Settings.model_fields['grace_s'].default:g}."
Grace = Annotated[float | None, typer.Option(min=0, help=GRACE)]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting of README.md.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file with settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print each outcome as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


@app.command()
def run(
    job: Annotated[Path, typer.Argument(help="A file with PanDA's job definition, or Harvester's.")],
    workdir: Annotated[Path | None, typer.Option(help="Default: PanDA_Pilot-<PandaID> here.")] = None,
    events: Annotated[int | None, typer.Option(min=1, help="Events in each input file, for the local broker.")] = None,
    events_per_range: Annotated[int | None, typer.Option(min=1, help="Events a range, for the local broker.")] = None,
    ranges: Annotated[Path | None, typer.Option(help="A JSON list of event ranges, as PanDA would send it.")] = None,
    output_url: Annotated[str | None, typer.Option(help="Where outputs are stored. Default: WORKDIR/outputs.")] = None,
    grace: Grace = None,
    set_: Assignments = None,
    config: Config = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run one job to its end. The same command again continues what was interrupted."""
    if ranges is not None and (events is not None or events_per_range is not None):
        raise UnusableInput("--ranges and --events contradict each other: give one of them")
    arguments: dict[str, object] = {
        "events": events,
        "events_per_range": events_per_range,
        "ranges": ranges,
        "output_url": output_url,
        "grace_s": grace,
        **_assignments(set_ or []),
    }
    for warning in read_job(job)[0].warnings:
        print(f"esfsm: {warning}", file=sys.stderr)
    with _progress(quiet) as watch:
        outcome = run_workflow(job, workdir=workdir, settings=arguments, config=config, watch=watch)
    _end(outcome, json)


@app.command()
def resume(
    workdir: Annotated[Path, typer.Argument(help="The work directory of a job that was stopped or killed.")],
    grace: Grace = None,
    set_: Assignments = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Continue a job; all that it needs is in its work directory."""
    with _progress(quiet) as watch:
        outcome = esfsm.resume(workdir, settings={"grace_s": grace, **_assignments(set_ or [])}, watch=watch)
    _end(outcome, json)


@app.command()
def pilot(
    queue: Annotated[str | None, typer.Option(help="The PanDA queue whose jobs are run.")] = None,
    communicator: Annotated[str | None, typer.Option(help="Where jobs come from: panda, harvester or local.")] = None,
    lifetime: Annotated[float, typer.Option(min=0, help=LIFETIME)] = inf,
    jobs: Annotated[int | None, typer.Option(min=1, help="How many jobs; default: until there is none.")] = None,
    workdir: Annotated[Path, typer.Option(help="Holds the work directories, one for each job.")] = Path(),
    grace: Grace = None,
    set_: Assignments = None,
    config: Config = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch jobs and run them, one after another; what a dead pilot has left in WORKDIR is finished first."""
    arguments = {"queue": queue, "communicator": communicator, "grace_s": grace, **_assignments(set_ or [])}

    def run(*given: Any, **how: Any) -> Outcome:
        with _progress(quiet) as watch:
            outcome = run_workflow(*given, **how, watch=watch)
        _show(outcome.model_dump_json() if json else _told(outcome))
        return outcome

    told = None if quiet else _tell_news
    ended = run_pilot(workdir, jobs=jobs, lifetime_s=lifetime, settings=arguments, config=config, run=run, watch=told)
    _hear_signals(signal.SIG_IGN)
    _show(ended.model_dump_json() if json else f"pilot {ended.sentence}")
    raise typer.Exit(ended.exit_code)


@app.command()
def audit(workdir: Annotated[Path, typer.Argument(help="The work directory of a job.")]) -> None:
    """Compare journal, server and storage; exit code 1 if they differ. Changes nothing."""
    found = esfsm.audit(workdir)
    _show("\n".join(found.lines()))
    raise typer.Exit(FAILED if found.differences else DONE)


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Tables; default: the shipped ones.")] = None,
) -> None:
    """Say what is wrong with declared tables, as FILE:LINE: SENTENCE."""
    for name in [] if files else plugins.machine_names():
        plugins.workflow(name)  # raises with all its faults
        _show(f"{name}: sound")
    faults = [fault for file in files or [] for fault in esfsm.check(file)]
    for fault in faults:
        _show(fault)
    raise typer.Exit(UNUSABLE if faults else DONE)


@app.command()
def draw(
    workflow: Annotated[str | None, typer.Argument(help="A name, or the path of a table.")] = None,
    form: Annotated[Form | None, typer.Option("--format", help="Default: by the output's name.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Show the path that this job took.")] = None,
    output: Annotated[Path | None, typer.Option(help="Default: standard output.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Write diagrams/ for all shipped tables.")] = False,
) -> None:
    """Draw a workflow, or the way of a job through it."""
    if all_:
        tables = {**{name: plugins.workflow(name) for name in plugins.machine_names()}, **plugins.held()}
        for path in draw_all(tables, plugins.held(), Path("diagrams")):
            _show(str(path))
        return
    form = form or _form_of(output)
    drawing = esfsm.draw(workflow, form=form.value, journal=journal)
    content = drawing if isinstance(drawing, bytes) else drawing.encode()
    if output is None:
        _write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise UnusableInput(f"{output}: {error.strerror}") from None


def _form_of(output: Path | None) -> Form:
    """By the name of the file. Raises `UnusableInput` for one that promises another form."""
    suffix = "" if output is None else output.suffix.removeprefix(".")
    forms = {"": Form.MERMAID, "mmd": Form.MERMAID, **{form.value: form for form in Form}}
    if suffix not in forms:
        raise UnusableInput(f"{output}: --format says which of {', '.join(Form)} it is to be")
    return forms[suffix]


@app.command()
def replay(
    journals: Annotated[list[Path], typer.Argument(metavar="JOURNAL...", help="Or work directories.")],
    what_if: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Run it with another setting.")] = None,
) -> None:
    """Tell the story of journals; exit code 1 if this code would decide otherwise."""
    settings = _assignments(what_if or [], "--what-if")
    for journal in journals:
        if len(journals) > 1:
            _show(f"{journal}:")
        told = esfsm.what_if(journal, settings) if settings else esfsm.replay(journal)
        _show("\n".join(told.lines()))


@app.command("testing", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def for_tests(arguments: Annotated[list[str] | None, typer.Argument(metavar="COMMAND...")] = None) -> None:
    """Servers for tests, and hostile simulated worlds; `esfsm testing --help` says more."""
    from esfsm.testing.__main__ import main

    raise typer.Exit(main(arguments or []))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command; every fault of the input is one sentence, never a traceback."""
    before = _hear_signals(_stop)
    try:
        _do(arguments)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def script() -> NoReturn:
    """`main` as a process of its own: while Python ends, there is nothing left to stop."""
    _hear_signals(_stop)
    try:
        _do(None)
    finally:
        _hear_signals(signal.SIG_IGN)


def _do(arguments: Sequence[str] | None) -> NoReturn:
    try:
        app(arguments, standalone_mode=True)
    except _Stopped:
        print("esfsm: stopped before the job began or after it ended", file=sys.stderr)
        sys.exit(STOPPED)
    except EsfsmError as error:
        print(f"esfsm: {error}", file=sys.stderr)
        sys.exit(UNUSABLE if isinstance(error, UnusableInput) else FAILED)
    sys.exit(DONE)


class _Stopped(BaseException):
    """A stop request outside the loop, which hears its own; no library turns this one into something else."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped


def _hear_signals(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> dict[int, Any]:
    """What SIGTERM and SIGINT do from now on; returns what they did before."""
    if current_thread() is not main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in STOP_SIGNALS}


def _assignments(given: Sequence[str], option: str = "--set") -> dict[str, str]:
    """`KEY=VALUE` of the command line; raises `UnusableInput` for anything else."""
    pairs = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator:
            raise UnusableInput(f"{option} {text}: KEY=VALUE is expected")
        pairs[key] = value
    return pairs


def _show(text: str) -> None:
    """Print a result; a file name in it may be no UTF-8."""
    _write(f"{text}\n".encode(errors="surrogateescape"))


def _write(content: bytes) -> None:
    """To standard output. Raises `EsfsmError` where nobody takes it; what was done before stays done."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it ends
        raise EsfsmError(f"standard output: {error.strerror}") from None


def _end(outcome: Outcome, json: bool) -> NoReturn:
    """The job is over: what is left is to say so."""
    _hear_signals(signal.SIG_IGN)
    _show(outcome.model_dump_json() if json else _told(outcome))
    raise typer.Exit(outcome.exit_code)


def _told(outcome: Outcome) -> str:
    lines = [f"job {outcome.panda_id} {outcome.sentence}"]
    lines += [f"  {copy.url}  {copy.size_bytes} bytes, adler32 {copy.adler32}" for copy in outcome.outputs]
    if outcome.pilot_error_code:
        lines.append(f"  PanDA's pilot error code: {outcome.pilot_error_code}")
    if outcome.payload_exit_code and _has_content(words := outcome.journal.parent / "payload.stderr"):
        lines.append(f"  the payload's own words: {words}")
    return "\n".join([*lines, f"  journal: {outcome.journal}"])


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


def _tell_news(fact: p.Heard, of: p.Pilot) -> None:
    """One line on standard error for what has become of a job, if no outcome tells it."""
    if type(fact) in NEWS:
        with suppress(OSError):
            print(f"esfsm: {NEWS[type(fact)].format(of.workdir)}: {of.why}", file=sys.stderr, flush=True)


@contextmanager
def _progress(quiet: bool) -> Iterator[Watch | None]:
    """A line that is written anew on a terminal, plain lines at each change of state otherwise."""
    if quiet:
        yield None
        return
    console, progress, clock = Console(stderr=True), Progress(), Clock()
    if not console.is_terminal:
        yield _plain(console, progress, clock)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        shown = 0.0

        def watch(_: Fact, engine: Engine) -> None:
            nonlocal shown
            now = clock.now()
            if now - shown > REFRESH_S or engine.ended:
                shown = now
                with suppress(OSError):  # who cannot be shown a job need not see it
                    live.update(progress.line(engine, now), refresh=True)

        yield watch


REFRESH_S = 0.1


def _plain(console: Console, progress: Progress, clock: Clock) -> Callable[[Fact, Engine], None]:
    said = ""

    def watch(_: Fact, engine: Engine) -> None:
        nonlocal said
        if engine.state != said:
            said = engine.state
            with suppress(OSError):
                console.print(progress.line(engine, clock.now()), markup=False, highlight=False, soft_wrap=True)

    return watch
