"""How the name of the channel reaches a payload: by the options of ATLAS's transforms, beside the environment.

Every payload finds it in `PILOT_EVENTRANGECHANNEL`, and one whose command line names that variable reads it there. A
transform before that needs an option (rules: pilot3's `init_yampl_socket`, as they are meant):

    --CA and --multithreaded=true     ... --mtes --mtes-channel=NAME, added to the value of --athenaopts
    --CA                              --preExec 'ConfigFlags.MP.EventRangeChannel="NAME"'
    neither                           --preExec 'from AthenaMP.AthenaMPFlags import ...'

A --preExec that is there keeps its arguments and gets ours before them. Who tells a payload twice has told it once. A
program that is no transform gets no option: it would not know it.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["VARIABLE", "shell_with_channel", "with_channel"]

VARIABLE = "PILOT_EVENTRANGECHANNEL"
TRANSFORM = re.compile(r"[^-\s]\S*_tr?f\.py")
"""How ATLAS's transforms are called."""
OPTIONS = ("--CA", "--preExec", "--athenaopts", "--multithreaded")
"""... and which options no other program has."""
PRE_EXEC, ATHENAOPTS = "--preExec", "--athenaopts"

# Each letter is read once, whatever it is. What is no token here (a `$(` that holds quotes or another one, a `<<`, a
# comment, a quotation that is not closed) makes a text that is not understood.
_IN_QUOTES_TOO = r"""\\. | \$\([^()'"`\\]*+\) | \$(?!\() | `[^'"`\\]*+`"""
_WORD = rf"""(?!\#)(?:[^\s'"\\;&|()<>$`] | '[^']*+' | "(?:[^"\\$`] | {_IN_QUOTES_TOO})*+" | {_IN_QUOTES_TOO})++"""
_REDIRECTION = rf"\d*(?:&>|[<>])[>&|]?[ \t]*{_WORD}"
_TOKEN = re.compile(
    rf"(?P<blank>(?:[ \t]|\\\n|{_REDIRECTION})+) | (?P<end>[;&|\n()]+) | (?P<word>{_WORD})", re.DOTALL | re.VERBOSE
)
_QUOTED = re.compile(r"""'([^']*+)'|"((?:\\.|[^"\\])*+)"|\\(.)""", re.DOTALL)


class _Word(NamedTuple):
    """A word of a shell text: as it is written, and where."""

    text: str
    start: int
    end: int


def with_channel(arguments: Sequence[str], channel: str) -> list[str]:
    """The arguments of a payload, the transformation first, that tell it the channel."""
    told = list(arguments)
    kind = _kind(told, channel)
    if kind is None:
        return told
    option, value = kind
    # Of an option that is there more than once a transform takes the last.
    for number in reversed(range(len(told))):
        name, equals, said = told[number].partition("=")
        if name != option:
            continue
        if option == PRE_EXEC:
            return [*told[:number], PRE_EXEC, value, *([said] if said else []), *told[number + 1 :]]
        if equals or number + 1 < len(told):
            at = number if equals else number + 1
            return [*told[:at], f"{told[at]} {value}", *told[at + 1 :]]
        return [*told[:number], f"{option}={value}"]
    return [*told, PRE_EXEC, value] if option == PRE_EXEC else [*told, f"{option}={value}"]


def shell_with_channel(text: str, channel: str) -> str:
    """A pilot's own shell text that tells the payload in it the channel; what is not edited stays as it is.

    Of several commands it is the last with a transform. A text that cannot be understood only exports the variable.
    """
    export = f'export {VARIABLE}="{channel}"; '
    text = text.removeprefix(export)
    if channel in text or VARIABLE in text:
        return export + text
    for words in reversed(_commands(text)):
        kind = _kind([_said(word) for word in words], channel)
        if kind is not None:
            return export + _edited(text, words, *kind)
    return export + text


def _kind(arguments: Sequence[str], channel: str) -> tuple[str, str] | None:
    """The option that tells the channel, and its value; None where none is needed, or none would be understood."""
    names = {argument.partition("=")[0] for argument in arguments}
    if not any(TRANSFORM.fullmatch(argument) for argument in arguments) and names.isdisjoint(OPTIONS):
        return None
    if any(VARIABLE in argument or channel in argument for argument in arguments):
        return None
    if "--CA" not in names:
        flags = "from AthenaMP.AthenaMPFlags import jobproperties as jps;jps.AthenaMPFlags"
        return PRE_EXEC, f'{flags}.EventRangeChannel="{channel}"'
    said = " ".join(arguments).lower()
    if "--multithreaded=true" in said or "--multithreaded true" in said:
        return ATHENAOPTS, f"--mtes --mtes-channel={channel}"
    return PRE_EXEC, f'ConfigFlags.MP.EventRangeChannel="{channel}"'


def _edited(text: str, words: Sequence[_Word], option: str, value: str) -> str:
    """The text with an option more, or more in one; a quoted piece right behind a word is a part of that word."""
    named = re.compile(rf"""(?P<quote>['"]?){option}(?:(?P<equals>=)|(?P=quote)\Z)""")
    for number in reversed(range(len(words))):
        word = words[number]
        found = named.match(word.text)
        if found is None:
            continue
        if option == PRE_EXEC:
            rest = f" {found['quote']}" if found["equals"] else ""
            return f"{text[: word.start]}{option} '{value}'{rest}{text[word.start + found.end() :]}"
        if found["equals"] or number + 1 < len(words):
            end = word.end if found["equals"] else words[number + 1].end
            return f"{text[:end]}' {value}'{text[end:]}"
        return f"{text[: word.end]}='{value}'{text[word.end :]}"
    end = words[-1].end
    return f"{text[:end]} {option}{' ' if option == PRE_EXEC else '='}'{value}'{text[end:]}"


def _said(word: _Word) -> str:
    """What a word says, without its quotes."""
    return _QUOTED.sub(r"\1\2\3", word.text)


def _commands(text: str) -> list[list[_Word]]:
    """The words of each simple command; none of a text that is not understood."""
    commands: list[list[_Word]] = [[]]
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            return []
        if token["end"]:
            commands.append([])
        elif token["word"]:
            commands[-1].append(_Word(token[0], token.start(), token.end()))
        at = token.end()
    return [words for words in commands if words]
