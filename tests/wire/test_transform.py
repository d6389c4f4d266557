"""How the name of the channel reaches each kind of payload, once, and with all that it was told before."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esfsm.wire.transform import shell_with_channel, with_channel

CH = "EventService_EventRanges_fd00-2a"
CA = f'ConfigFlags.MP.EventRangeChannel="{CH}"'
OLD = f'from AthenaMP.AthenaMPFlags import jobproperties as jps;jps.AthenaMPFlags.EventRangeChannel="{CH}"'
MT = f"--mtes --mtes-channel={CH}"
EXPORT = f'export PILOT_EVENTRANGECHANNEL="{CH}"; '

LINES = {
    "the variable is named": ("Sim_tf.py --x=$PILOT_EVENTRANGECHANNEL", "Sim_tf.py --x=$PILOT_EVENTRANGECHANNEL"),
    "CA, multithreaded, athenaopts": (
        "Sim_tf.py --CA --multithreaded=True --athenaopts='--threads=8'",
        f"Sim_tf.py --CA --multithreaded=True --athenaopts='--threads=8 {MT}'",
    ),
    "... in double quotes": (
        'Sim_tf.py --CA --multithreaded=true --athenaopts="--threads=8"',
        f"Sim_tf.py --CA --multithreaded=true --athenaopts='--threads=8 {MT}'",
    ),
    "... as two words": (
        "Sim_tf.py --CA --multithreaded true --athenaopts '--threads=8' --x",
        f"Sim_tf.py --CA --multithreaded true --athenaopts '--threads=8 {MT}' --x",
    ),
    "... without a value": (
        "Sim_tf.py --CA --multithreaded=true --athenaopts",
        f"Sim_tf.py --CA --multithreaded=true --athenaopts='{MT}'",
    ),
    "CA, multithreaded": (
        "Sim_tf.py --CA --multithreaded=true",
        f"Sim_tf.py --CA --multithreaded=true --athenaopts='{MT}'",
    ),
    "CA, multithreaded, and a preExec that is left alone": (
        "Sim_tf.py --CA --preExec 'x=1' --multithreaded=true",
        f"Sim_tf.py --CA --preExec 'x=1' --multithreaded=true --athenaopts='{MT}'",
    ),
    "CA": ("Sim_tf.py --CA", f"Sim_tf.py --CA --preExec '{CA}'"),
    "CA that is told its value": ("Sim_tf.py --CA=True", f"Sim_tf.py --CA=True --preExec '{CA}'"),
    "CA with a preExec": ("Sim_tf.py --preExec 'x=1' 'y=2' --CA", f"Sim_tf.py --preExec '{CA}' 'x=1' 'y=2' --CA"),
    "no CA": ("Reco_tf.py --inputFile=a", f"Reco_tf.py --inputFile=a --preExec '{OLD}'"),
    "no CA, multithreaded": ("Reco_tf.py --multithreaded=true", f"Reco_tf.py --multithreaded=true --preExec '{OLD}'"),
    "no CA with a preExec": ("Reco_trf.py --preExec 'x=1'", f"Reco_trf.py --preExec '{OLD}' 'x=1'"),
    "preExec=": ("Reco_tf.py --preExec='x=1' --y", f"Reco_tf.py --preExec '{OLD}' 'x=1' --y"),
    "a preExec that imports jobproperties": (
        "Reco_tf.py --preExec 'from a import jobproperties as jps;jps.b=1'",
        f"Reco_tf.py --preExec '{OLD}' 'from a import jobproperties as jps;jps.b=1'",
    ),
    "a transform under another name": ("athena.sh --preExec 'x=1'", f"athena.sh --preExec '{OLD}' 'x=1'"),
    "no transform": ("simulate.py --events=5", "simulate.py --events=5"),
}


@pytest.mark.parametrize(("line", "told"), LINES.values(), ids=LINES)
def test_each_kind_of_payload_is_told_the_channel(line: str, told: str) -> None:
    assert with_channel(shlex.split(line), CH) == shlex.split(told)
    assert with_channel(shlex.split(told), CH) == shlex.split(told)


@pytest.mark.parametrize(("line", "told"), LINES.values(), ids=LINES)
def test_a_pilots_own_shell_text_is_told_the_same(line: str, told: str) -> None:
    text = f"source /cvmfs/a.sh --x 'y z' && asetup 25.0;{line}; "
    edited = shell_with_channel(text, CH)
    before, after = f"{EXPORT}source /cvmfs/a.sh --x 'y z' && asetup 25.0;", "; "
    assert edited.startswith(before)
    assert edited.endswith(after)
    assert shlex.split(edited[len(before) : -len(after)]) == shlex.split(told)
    assert shell_with_channel(edited, CH) == edited


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("X=$(pwd); Sim_tf.py --CA", f"X=$(pwd); Sim_tf.py --CA --preExec '{CA}'"),
        ('"$TOP/Sim_tf.py" --CA', f"\"$TOP/Sim_tf.py\" --CA --preExec '{CA}'"),
        ("Sim_tf.py --CA --x=`date`", f"Sim_tf.py --CA --x=`date` --preExec '{CA}'"),
        ("Sim_tf.py --CA\n", f"Sim_tf.py --CA --preExec '{CA}'\n"),
        ("Sim_tf.py --CA || exit 1", f"Sim_tf.py --CA --preExec '{CA}' || exit 1"),
        ("(Sim_tf.py --CA)", f"(Sim_tf.py --CA --preExec '{CA}')"),
        ("Sim_tf.py --CA > out 2>&1 | tee log", f"Sim_tf.py --CA --preExec '{CA}' > out 2>&1 | tee log"),
        ("Sim_tf.py 2> err --CA", f"Sim_tf.py 2> err --CA --preExec '{CA}'"),
        (
            "Sim_tf.py --CA &> log --multithreaded=true",
            f"Sim_tf.py --CA &> log --multithreaded=true --athenaopts='{MT}'",
        ),
        ("Sim_tf.py \\\n --CA", f"Sim_tf.py \\\n --CA --preExec '{CA}'"),
        ("Sim_tf.py '--CA' \"--preExec\" 'x=1'", f"Sim_tf.py '--CA' --preExec '{CA}' 'x=1'"),
        ("Sim_tf.py --CA '--preExec=x = 1'", f"Sim_tf.py --CA --preExec '{CA}' 'x = 1'"),
        ("Sim_tf.py --CA --preExec x --preExec=y", f"Sim_tf.py --CA --preExec x --preExec '{CA}' y"),
        (
            "Sim_tf.py --CA --multithreaded=True --athenaopts \\\n '-t 8'",
            f"Sim_tf.py --CA --multithreaded=True --athenaopts \\\n '-t 8'' {MT}'",
        ),
        ("Gen_tf.py --CA; Sim_tf.py", f"Gen_tf.py --CA; Sim_tf.py --preExec '{OLD}'"),
    ],
)
def test_only_the_words_of_the_payload_are_edited(text: str, told: str) -> None:
    assert shell_with_channel(text, CH) == EXPORT + told


NOT_UNDERSTOOD = [
    *("Sim_tf.py --preExec 'x", 'Sim_tf.py "', "Sim_tf.py \\", "Sim_tf.py --CA --x=`date"),
    *('Sim_tf.py "$(f "a;b")"', "Sim_tf.py $(f $(g))", "Sim_tf.py --x $((1+1))"),
    *("Sim_tf.py --CA # as always", "cat > x << END\nit's\nEND\nSim_tf.py", "Sim_tf.py > <(cat)"),
]
NEEDS_NOTHING = [
    "",
    "echo hello",
    "sh -c 'Sim_tf.py --CA'",
    "run.py --like=Sim_tf.py",
    f"A=$PILOT_EVENTRANGECHANNEL {CH}",
]


@pytest.mark.parametrize("text", [*NOT_UNDERSTOOD, *NEEDS_NOTHING, "A=$PILOT_EVENTRANGECHANNEL; Sim_tf.py --a $A"])
def test_a_text_that_is_not_understood_or_needs_nothing_exports_the_variable(text: str) -> None:
    assert shell_with_channel(text, CH) == EXPORT + text


@pytest.mark.parametrize(
    "arguments", [["sh", "-c", "cd x; Sim_tf.py"], ["run.py", "--like=Sim_tf.py"], ["run.py", "-x_tf.py"]]
)
def test_a_program_that_is_no_transform_gets_no_option_that_it_would_not_know(arguments: list[str]) -> None:
    assert with_channel(arguments, CH) == arguments


def test_of_an_option_that_is_there_twice_the_last_one_is_told_as_that_is_what_a_transform_takes() -> None:
    line = "Sim_tf.py --CA --multithreaded=true --athenaopts=a --athenaopts b --preExec x"
    assert with_channel(shlex.split(line), CH)[-4:] == ["--athenaopts", f"b {MT}", "--preExec", "x"]


LFNS = ",".join(f"'a{n}'\\ " for n in range(10_000))


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"Sim_tf.py --CA --inputFile={LFNS}", f"Sim_tf.py --CA --inputFile={LFNS} --preExec '{CA}'"),
        (f'Sim_tf.py --CA "{LFNS}"', f"Sim_tf.py --CA \"{LFNS}\" --preExec '{CA}'"),
        *((text, text) for text in ("$(" * 100_000, "'a'\"" * 100_001, "`" * 100_001, "1" * 100_000, "> " * 100_000)),
    ],
    ids=["files", "quoted", "$(", "quotes", "backticks", "digits", "redirections"],
)
def test_the_longest_text_is_read_once(text: str, told: str) -> None:
    assert shell_with_channel(text, CH) == EXPORT + told


OURS = ["--CA", "--CA=", "--preExec", "--preExec=", "--preExec=a b", "--athenaopts", "--athenaopts=-t 8"]
MORE = ["--multithreaded=TRUE", "--multithreaded", "true", "Sim_tf.py", "x_trf.py", "=", "", " ", "é", "all:x", "it's"]
SHELL = [";", "'", '"', "\\", "$(x)", "`x`", "$(", "\n", "#", ">", "2>&1", "<<", "|", "&&"]
PIECES = st.sampled_from([*OURS, *MORE, *SHELL]) | st.text(st.characters(codec="utf-8"), max_size=5)


@settings(max_examples=2_000)
@given(st.lists(PIECES, max_size=8))
def test_whatever_the_arguments_are_none_is_lost_and_telling_twice_is_telling_once(arguments: list[str]) -> None:
    told = with_channel(arguments, CH)
    assert with_channel(told, CH) == told
    rest = iter(" ".join(told))
    assert all(letter in rest for letter in "".join(arguments).replace("--preExec=", "--preExec"))


@settings(max_examples=2_000)
@given(st.lists(PIECES, max_size=12).map(" ".join))
def test_whatever_the_text_is_it_is_all_there_and_telling_twice_is_telling_once(text: str) -> None:
    told = shell_with_channel(text, CH)
    assert told.startswith(EXPORT)
    assert shell_with_channel(told, CH) == told
    rest = iter(told[len(EXPORT) :])
    assert all(letter in rest for letter in text.replace("--preExec=", "--preExec"))


@settings(max_examples=2_000)
@given(st.lists(PIECES, max_size=8))
def test_arguments_and_their_shell_text_are_told_the_same(arguments: list[str]) -> None:
    told = shell_with_channel(shlex.join(["Sim_tf.py", *arguments]), CH)
    assert shlex.split(told[len(EXPORT) :]) == with_channel(["Sim_tf.py", *arguments], CH)
