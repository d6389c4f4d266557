"""The comma lists of a job definition become files, and writeToFile becomes files and arguments."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esfsm.errors import UnreadableJob
from esfsm.model.files import FileSpec, input_files, listed_files, output_files, written_files

BAD_NAMES = ["..", ".", "../A", "/etc/passwd", "a/b", "a\0b", "a\nb", "a\rb", "a\tb", "a\x7fb", "a\u2028b", "x" * 256]


def inputs(**content: object) -> tuple[FileSpec, ...]:
    warnings: list[str] = []
    files = input_files(content, warnings.append)
    assert warnings == []
    return files


def outputs(**content: object) -> tuple[tuple[FileSpec, ...], FileSpec | None]:
    warnings: list[str] = []
    files = output_files(content, warnings.append)
    assert warnings == []
    return files


def lfns(files: tuple[FileSpec, ...]) -> list[str]:
    return [file.lfn for file in files]


def test_a_list_is_read_into_all_attributes_of_its_file() -> None:
    (file,) = inputs(
        inFiles="A",
        GUID="G",
        realDatasetsIn="mc23.A",
        scopeIn="mc23",
        fsize="210034511",
        checksum="ad:5d3a9b10",
        prodDBlockToken="1318/1000",
        ddmEndPointIn="SITE_DATADISK",
    )
    assert file == FileSpec(
        lfn="A",
        guid="G",
        dataset="mc23.A",
        scope="mc23",
        size_bytes=210034511,
        adler32="5d3a9b10",
        storage_token="1318/1000",
        storage_id=1318,
        path_convention=1000,
        ddm_endpoint="SITE_DATADISK",
    )


def test_a_job_without_lists_has_no_files() -> None:
    assert inputs() == ()
    assert inputs(inFiles="") == ()
    assert inputs(inFiles="NULL") == ()
    assert inputs(inFiles=None) == ()
    assert outputs() == ((), None)


@pytest.mark.parametrize("dropped", ["", "NULL", "A"])
def test_a_dropped_entry_still_counts_for_the_other_lists(dropped: str) -> None:
    files = inputs(inFiles=f"A,{dropped},B", GUID="a,x,b", fsize="1,2,3")
    assert [(file.lfn, file.guid, file.size_bytes) for file in files] == [("A", "a", 1), ("B", "b", 3)]


def test_a_list_that_is_too_short_leaves_the_rest_unknown() -> None:
    files = inputs(inFiles="A,B,C", GUID="a", scopeIn="s,t", fsize="5")
    assert [(file.guid, file.scope, file.size_bytes) for file in files] == [
        ("a", "s", 5),
        (None, "t", None),
        (None, None, None),
    ]


def test_a_list_that_is_too_long_adds_no_file() -> None:
    assert lfns(inputs(inFiles="A", GUID="a,b,c")) == ["A"]


def test_nothing_and_null_in_a_list_are_unknown() -> None:
    first, second = inputs(
        inFiles="A,B", GUID=",NULL", ddmEndPointIn=",", prodDBlockToken="NULL,NULL", checksum="NULL,"
    )
    assert first == FileSpec(lfn="A")
    assert second == FileSpec(lfn="B")


def test_blanks_belong_to_the_names() -> None:
    assert lfns(inputs(inFiles="A, B")) == ["A", " B"]


def test_one_number_may_come_as_a_number() -> None:
    assert inputs(inFiles="A", fsize=7)[0].size_bytes == 7


@pytest.mark.parametrize("value", [["A"], {"A": 1}, True, 1.5])
def test_a_list_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(UnreadableJob, match="inFiles: a text with commas is expected"):
        inputs(inFiles=value)


def test_zip_marks_an_archive() -> None:
    (file,) = inputs(inFiles="zip://premerge.tar")
    assert (file.lfn, file.is_archive, file.url) == ("premerge.tar", True, None)


def test_gs_is_a_url_and_its_last_part_the_name() -> None:
    (file,) = inputs(inFiles="gs://bucket/dir/../A.root")
    assert (file.lfn, file.is_archive, file.url) == ("A.root", False, "gs://bucket/dir/../A.root")


@pytest.mark.parametrize("name", [*BAD_NAMES, "zip://", "zip://..", "zip://a/b", "gs://bucket/", "gs://bucket/.."])
@pytest.mark.parametrize("key", ["inFiles", "outFiles"])
def test_a_name_that_cannot_lie_in_the_work_directory_is_refused(key: str, name: str) -> None:
    with pytest.raises(UnreadableJob, match=f"{key}: .* cannot be the name of a file") as refusal:
        (inputs if key == "inFiles" else outputs)(**{key: f"A,{name}"})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["x" * 255, "..a", "a..b", "-", "A#1", "Ä.root"])
def test_any_other_name_is_taken(name: str) -> None:
    assert lfns(inputs(inFiles=name)) == [name]


@pytest.mark.parametrize(("key", "names"), [("inFiles", "A,zip://A"), ("outFiles", "gs://x/A,gs://y/A")])
def test_two_files_of_one_name_are_refused(key: str, names: str) -> None:
    with pytest.raises(UnreadableJob, match=f"{key}: 'A' is the name of two files"):
        (inputs if key == "inFiles" else outputs)(**{key: names})


@pytest.mark.parametrize(
    ("token", "storage"),
    [
        ("1318/1000", (1318, 1000)),
        ("1318", (1318, None)),
        ("1318/", (None, None)),
        ("/1000", (None, None)),
        ("1318/1000/1", (None, None)),
        ("ATLASDATADISK", (None, None)),
        ("-1", (None, None)),
    ],
)
def test_a_storage_token_may_name_a_storage(token: str, storage: tuple[int | None, int | None]) -> None:
    (file,) = inputs(inFiles="A", prodDBlockToken=token)
    assert (file.storage_token, file.storage_id, file.path_convention) == (token, *storage)


@pytest.mark.parametrize(
    ("text", "adler32", "md5"),
    [
        ("ad:5d3a9b10", "5d3a9b10", None),
        ("ad:5D3A9B10", "5d3a9b10", None),
        ("ad:1", "00000001", None),
        ("5d3a9b10", "5d3a9b10", None),
        ("xy:5d3a9b10", "5d3a9b10", None),
        ("md:D41D8CD98F00B204E9800998ECF8427E", None, "d41d8cd98f00b204e9800998ecf8427e"),
    ],
)
def test_a_checksum_is_told_by_its_prefix(text: str, adler32: str | None, md5: str | None) -> None:
    (file,) = inputs(inFiles="A", checksum=text)
    assert (file.adler32, file.md5) == (adler32, md5)


@pytest.mark.parametrize(
    "text", ["ad:", "ad:xyz", "ad:123456789", "md:1234", "d41d8cd98f00b204e9800998ecf8427e", "a:b:c:", "ad:-1", "ad:٣"]
)
def test_a_wrong_checksum_is_unknown_and_said(text: str) -> None:
    warnings: list[str] = []
    (file,) = input_files({"inFiles": "A", "checksum": text}, warnings.append)
    assert (file.adler32, file.md5) == (None, None)
    (warning,) = warnings
    assert warning.startswith(f"checksum {text!r} of A is no ")


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "1e3", "9" * 19, "٣"])
def test_a_wrong_size_is_unknown_and_said(text: str) -> None:
    warnings: list[str] = []
    (file,) = input_files({"inFiles": "A", "fsize": text}, warnings.append)
    assert file.size_bytes is None
    assert warnings == [f"fsize {text!r} of A is not a number of bytes: its size is taken as unknown"]


def test_a_size_of_0_is_one_that_panda_does_not_know() -> None:
    assert inputs(inFiles="A", fsize="0")[0].size_bytes is None


def test_outputs_are_read_without_the_log() -> None:
    files, log = outputs(
        outFiles="HITS,log.tgz,AOD",
        realDatasets="d.HITS,d.log,d.AOD",
        ddmEndPointOut="X,Y,Z",
        logFile="log.tgz",
        logGUID="L",
    )
    assert files == (
        FileSpec(lfn="HITS", dataset="d.HITS", ddm_endpoint="X"),
        FileSpec(lfn="AOD", dataset="d.AOD", ddm_endpoint="Z"),
    )
    assert log == FileSpec(lfn="log.tgz", dataset="d.log", ddm_endpoint="Y", guid="L", is_log=True)


@pytest.mark.parametrize(
    ("names", "scopes", "expected"),
    [
        ("log,A,B", "a,b", {"log": "l", "A": "a", "B": "b"}),
        ("A,log,B", "a,b", {"A": "a", "log": "l", "B": "b"}),
        ("A,B,log", "a,b", {"A": "a", "B": "b", "log": "l"}),
        ("A,B,log", "a", {"A": "a", "B": None, "log": "l"}),
        ("A,B,log", "", {"A": None, "B": None, "log": "l"}),
        ("A,A,log,B", "a,x,b", {"A": "a", "log": "l", "B": "b"}),
        ("log", "", {"log": "l"}),
    ],
)
def test_scope_log_goes_where_the_log_is(names: str, scopes: str, expected: dict[str, str | None]) -> None:
    files, log = outputs(outFiles=names, scopeOut=scopes, scopeLog="l", logFile="log")
    assert log is not None
    assert {file.lfn: file.scope for file in (*files, log)} == expected


@pytest.mark.parametrize("log_file", ["", "NULL", None])
def test_a_job_without_a_log_keeps_its_scopes(log_file: str | None) -> None:
    files, log = outputs(outFiles="A,B", scopeOut="a,b", logFile=log_file)
    assert [file.scope for file in files] == ["a", "b"]
    assert log is None


@pytest.mark.parametrize("names", ["", "NULL", "A,,NULL"])
def test_an_entry_that_is_nothing_is_no_log(names: str) -> None:
    for log_file in ("", "NULL"):
        assert outputs(outFiles=names, logFile=log_file)[1] is None


def test_a_log_that_is_not_among_the_outputs_is_said() -> None:
    warnings: list[str] = []
    files, log = output_files({"outFiles": "A", "scopeOut": "a", "logFile": "log", "scopeLog": "l"}, warnings.append)
    assert [(file.lfn, file.scope) for file in files] == [("A", "a")]
    assert log is None
    assert warnings == ["logFile 'log' is not among outFiles: there will be no log"]


def test_a_log_without_a_guid_has_none() -> None:
    _, log = outputs(outFiles="log", logFile="log", logGUID="NULL")
    assert log == FileSpec(lfn="log", is_log=True)


def test_outputs_that_may_be_missing_are_marked() -> None:
    files, _ = outputs(outFiles="A,B,C", allowNoOutput="C,A")
    assert [file.may_be_missing for file in files] == [True, False, True]


def test_a_file_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        FileSpec(lfn="A").lfn = "B"  # type: ignore[misc]


@given(st.lists(st.sampled_from(["A", "B", "C", "", "NULL"]), max_size=12))
def test_every_file_keeps_what_stood_at_its_first_place(names: list[str]) -> None:
    guids = [f"{name}{index}" for index, name in enumerate(names)]
    files = inputs(inFiles=",".join(names), GUID=",".join(guids))
    assert {file.lfn: file.guid for file in files} == {
        name: guids[names.index(name)] for name in names if name not in ("", "NULL")
    }


# ---------------------------------------------------------------------------------------------- writeToFile


def test_the_worked_example() -> None:
    files, job_pars = written_files(
        "inputFor_A.root.1_000:f1,f2", "--inputHITSFile=@inputFor_A.root.1_000 --autoConfiguration=everything --x=1"
    )
    assert files == {"inputFor_A.root.1_000.txt": ("--inputHITSFile", "f1", "f2")}
    assert job_pars == "@inputFor_A.root.1_000.txt  --x=1"


@pytest.mark.parametrize("nothing", ["", "NULL"])
def test_nothing_to_write_changes_nothing(nothing: str) -> None:
    job_pars = "--autoConfiguration=everything  --in=@A"
    assert written_files(nothing, job_pars) == ({}, job_pars)


def test_groups_and_their_lfns_keep_their_order() -> None:
    files, _ = written_files("B:z,a,m,a^A:q", "")
    assert list(files.items()) == [("B.txt", ("z", "a", "m", "a")), ("A.txt", ("q",))]


def test_a_name_that_begins_another_name_leaves_it_alone() -> None:
    files, job_pars = written_files("A:f1^A.root:f2", "--in=@A.root --also=@A --out=xA --z=A.rootx")
    assert files == {"A.txt": ("--also", "f1"), "A.root.txt": ("--in", "f2")}
    assert job_pars == "@A.root.txt @A.txt --out=xA --z=A.rootx"


def test_a_new_name_is_not_replaced_again() -> None:
    files, job_pars = written_files("A:f1^A.txt:f2", "--in=@A --also=@A.txt")
    assert files == {"A.txt": ("--in", "f1"), "A.txt.txt": ("--also", "f2")}
    assert job_pars == "@A.txt @A.txt.txt"


def test_an_option_that_ends_another_option_leaves_it_alone() -> None:
    _, job_pars = written_files("A:f", "--in=@A --main--in=1")
    assert job_pars == "@A.txt --main--in=1"


def test_every_occurrence_of_the_name_and_of_the_option_counts() -> None:
    files, job_pars = written_files("A:f", "x A --in=@A --in=B --list=A,B")
    assert files == {"A.txt": ("--in", "f")}
    assert job_pars == "x A.txt @A.txt B --list=A.txt,B"


def test_the_first_argument_with_the_name_gives_the_option() -> None:
    files, job_pars = written_files("A:f", "--x=A --one=@A --two=@A")
    assert files == {"A.txt": ("--one", "f")}
    assert job_pars == "--x=A.txt @A.txt --two=@A.txt"


def test_the_option_ends_at_the_first_equals_sign() -> None:
    files, job_pars = written_files("A:f", "--pre=x=@A")
    assert files == {"A.txt": ("--pre", "f")}
    assert job_pars == "x=@A.txt"


@pytest.mark.parametrize("job_pars", ["", "@A", "--in A", "=@A", "--in=@B"])
def test_a_name_without_an_option_gets_no_line_for_it(job_pars: str) -> None:
    files, _ = written_files("A:f1,f2", job_pars)
    assert files == {"A.txt": ("f1", "f2")}


@pytest.mark.parametrize("job_pars", ["'--in=@A' --x=1", '"--in=@A" --x=1', "--in='@A' --x=1"])
def test_quotations_stay_whole(job_pars: str) -> None:
    files, changed = written_files("A:f", job_pars + " '--autoConfiguration=everything'")
    assert files == {"A.txt": ("--in", "f")}
    assert shlex.split(changed) == ["@A.txt", "--x=1"]


def test_only_the_whole_auto_configuration_is_deleted() -> None:
    _, job_pars = written_files("A:f", "--autoConfiguration=everythingElse --my--autoConfiguration=everything")
    assert job_pars == "--autoConfiguration=everythingElse --my--autoConfiguration=everything"


def test_lists_are_read_by_name_in_their_order() -> None:
    assert list(listed_files("B:z,a,a^A:q").items()) == [("B", ("z", "a", "a")), ("A", ("q",))]


@pytest.mark.parametrize("nothing", ["", "NULL"])
def test_nothing_to_write_lists_nothing(nothing: str) -> None:
    assert listed_files(nothing) == {}


@pytest.mark.parametrize("groups", ["A", "A:f:g", "A:f^", "^A:f", "A:f^B", "A:f^^B:g"])
def test_a_group_without_one_colon_is_refused(groups: str) -> None:
    with pytest.raises(UnreadableJob, match=r"writeToFile: .* is not NAME:LFN,LFN,\.\.\."):
        written_files(groups, "")


@pytest.mark.parametrize("name", ["", *BAD_NAMES, "x" * 252])
def test_a_list_that_cannot_lie_in_the_work_directory_is_refused(name: str) -> None:
    with pytest.raises(UnreadableJob, match=r"writeToFile: .* cannot be the name of a file"):
        written_files(f"A:f^{name}:g", "")


@pytest.mark.parametrize("lfn", ["", *BAD_NAMES])
def test_an_lfn_that_cannot_lie_in_the_work_directory_is_refused(lfn: str) -> None:
    with pytest.raises(UnreadableJob, match=r"writeToFile: .* cannot be the name of a file"):
        written_files(f"A:f,{lfn}", "")


@pytest.mark.parametrize("name", ["a b", "a=b", "@a", "a,b", "a'b", 'a"b', "a;b"])
def test_a_name_that_is_no_word_of_the_arguments_is_refused(name: str) -> None:
    with pytest.raises(UnreadableJob, match=r"writeToFile: .* cannot be found in jobPars"):
        written_files(f"{name}:f", "")


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(UnreadableJob, match="writeToFile: 'A' is there twice"):
        written_files("A:f^A:g", "")


names = st.text("abA.1_-", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@given(st.dictionaries(names, st.lists(names, min_size=1, max_size=4), min_size=1, max_size=4))
def test_every_list_is_written_and_named_by_its_argument(groups: dict[str, list[str]]) -> None:
    write_to_file = "^".join(f"{name}:{','.join(lfns)}" for name, lfns in groups.items())
    job_pars = " ".join(f"--option{index}=@{name}" for index, name in enumerate(groups))
    files, changed = written_files(write_to_file, job_pars)
    assert files == {f"{name}.txt": (f"--option{index}", *lfns) for index, (name, lfns) in enumerate(groups.items())}
    assert changed.split() == [f"@{name}.txt" for name in groups]
