"""The drawings tell what the table tells, in both languages, and the path of a job in colour."""

import re
from pathlib import Path

import pytest

from esfsm.core.workflow import Workflow, all_arrows
from esfsm.errors import WorkflowError
from esfsm.views.diagram import PATH, PathTaken, dot, mermaid

TABLES = {
    file.stem: Workflow.parse(file.read_text(), file.stem)
    for file in sorted((Path(__file__).parents[2] / "workflows").glob("*.toml"))
}

LAMP = Workflow.parse(
    """
    title  = "lamp"
    starts = "off"
    ends   = ["broken"]
    [off]
    does        = "wait"
    on.pressed  = "on-now"
    [on-now]
    on.pressed  = "off"
    on.dimmed   = "on-now"
    [any]
    on.dropped  = "broken"
    """,
    "lamp",
)

MERMAID_ARROW = re.compile(r'    (\w+) (-->|-\.->)\|"(.*)"\| (\w+)$')
MERMAID_BOX = re.compile(r'\s+(\w+)\(\[?"<b>(.*?)</b>(?:<br/>(.*))?"\]?\)(:::ends)?$')
DOT_ARROW = re.compile(r'    "(\w+)" -> "(\w+)"(?: \[(.*)\])?$')
TIMES = "\u00d7"  # the sign before a count


def arrows_in(text: str) -> list[tuple[str, str, list[str], str]]:
    """What a mermaid drawing says: (source, shaft, words of the label, target) in the order of the drawing."""
    found = [MERMAID_ARROW.match(line) for line in text.splitlines()]
    return [(m[1], m[2], re.split("<br/>| · ", m[3]), m[4]) for m in found if m]


def line_with(text: str, *parts: str) -> str:
    """The one line of a drawing that holds all these parts."""
    (line,) = [line for line in text.splitlines() if all(part in line for part in parts)]
    return line


def table(body: str) -> Workflow:
    return Workflow.parse(f'title = "t"\nstarts = "a"\nends = ["z"]\n{body}', "t")


# --- what is drawn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_a_drawing_has_the_arrows_of_its_table_and_no_others(name):
    workflow = TABLES[name]
    word = {"any": "any"} | {state: state.replace("-", "_") for state in workflow.states}
    holders = [state for state in workflow.states.values() if state.holds]
    expected = {
        (word[arrow.source], arrow.fact, word[arrow.target])
        for arrow in all_arrows(workflow, TABLES)
        if (not arrow.held and arrow.fact in workflow.states[arrow.source].on)
        or (arrow.held and arrow.source == holders[0].name)
    }
    expected |= {("any", fact, word[target]) for fact, target in workflow.anywhere.items()}
    expected |= {
        (word[state.name], f"every fact of {state.holds}" + ":" * (state is holders[0]), word[state.name])
        for state in holders
    }
    drawn = [
        (source, fact, target) for source, _, facts, target in arrows_in(mermaid(workflow, TABLES)) for fact in facts
    ]
    assert sorted(drawn) == sorted(expected)


@pytest.mark.parametrize("name", TABLES)
def test_both_languages_draw_the_same_arrows_in_the_same_order(name):
    workflow = TABLES[name]
    last_framed = [state.replace("-", "_") for state in workflow.states if state not in workflow.ends][-1]
    from_mermaid = [
        (last_framed if source == "any" else source, target)
        for source, _, _, target in arrows_in(mermaid(workflow, TABLES))
    ]
    from_dot = [DOT_ARROW.match(line).group(1, 2) for line in dot(workflow, TABLES).splitlines() if " -> " in line]
    assert from_dot[:-1] == from_mermaid
    assert from_dot[-1] == ("start", workflow.starts)


@pytest.mark.parametrize("name", TABLES)
def test_each_state_shows_what_it_does_and_each_end_that_it_is_one(name):
    workflow = TABLES[name]
    boxes = [MERMAID_BOX.match(line) for line in mermaid(workflow, TABLES).splitlines()]
    drawn = {box[2]: (box[3], bool(box[4])) for box in boxes if box}
    assert drawn == {state.name: (state.does, state.name in workflow.ends) for state in workflow.states.values()}
    text = dot(workflow, TABLES)
    for state in workflow.states.values():
        line = line_with(text, f"<b>{state.name}</b>")
        assert (state.does or "") in line
        assert ("peripheries=2" in line) == (state.name in workflow.ends)


def test_the_start_is_shown_as_the_start():
    assert "    start --> off\n" in mermaid(LAMP, {})
    assert '"start" -> "off"' in dot(LAMP, {})


def test_facts_that_lead_the_same_way_share_an_arrow():
    es_running = [arrow for arrow in arrows_in(mermaid(TABLES["eventservice"], TABLES)) if arrow[0] == "es_running"]
    troubles = ["job_killed", "payload_failed", "limit_exceeded", "action_broke"]
    assert ("es_running", "-->", troubles, "salvaging") in es_running
    assert len(es_running) == len({target for _, _, _, target in es_running}) == 5


def test_the_arrows_of_any_are_drawn_once_and_dashed_from_a_frame_around_all_but_the_ends():
    text = mermaid(LAMP, {})
    assert [arrow for arrow in arrows_in(text) if "dropped" in arrow[2]] == [("any", "-.->", ["dropped"], "broken")]
    frame = text[text.index("subgraph any") : text.index("    end\n")]
    assert ("<b>off</b>" in frame, "<b>on-now</b>" in frame, "<b>broken</b>" in frame) == (True, True, False)
    assert "style=dashed" in line_with(dot(LAMP, {}), "dropped")
    assert dot(LAMP, {}).count("dropped") == 1


def test_an_arrow_of_any_into_the_frame_starts_at_each_state_that_hears_it():
    workflow = table('[a]\non.go = "b"\n[b]\non.go = "z"\non.lost = "z"\n[c]\non.go = "a"\n[any]\non.lost = "a"')
    lost = [(source, target) for source, _, facts, target in arrows_in(mermaid(workflow, {})) if "lost" in facts]
    assert lost == [("b", "z"), ("c", "a"), ("a", "a")]
    assert "ltail" not in dot(workflow, {})


def test_a_table_without_any_has_no_frame():
    assert "subgraph" not in mermaid(TABLES["event-range"], {}) + dot(TABLES["event-range"], {})


# --- names -------------------------------------------------------------------------------------------------------


def test_states_that_differ_by_a_hyphen_stay_two():
    workflow = table('[a]\non.go = "x-y"\n[x-y]\non.go = "x_y"\n[x_y]\non.go = "z"')
    assert [(source, target) for source, _, _, target in arrows_in(mermaid(workflow, {}))] == [
        ("a", "x_y"),
        ("x_y", "x_y_"),
        ("x_y_", "z"),
    ]


@pytest.mark.parametrize("name", ["end", "graph", "style", "start", "default", "_blank", "ä"])
def test_a_word_of_mermaid_is_no_name_of_a_state(name):
    workflow = table(f'[a]\non.go = "{name}"\n["{name}"]\non.go = "z"')
    target = arrows_in(mermaid(workflow, {}))[0][3]
    assert target not in {"end", "graph", "style", "start", "default"}
    assert re.fullmatch("[a-z]+_?", target)


def test_signs_of_the_languages_are_escaped():
    workflow = table("""[a]\ndoes = 'say "<b>#1</b>"'\non.go = "z\"""")
    assert "<br/>say #34;#60;b#62;#35;1#60;/b#62;#34;" in mermaid(workflow, {})
    assert "say &quot;&lt;b&gt;#1&lt;/b&gt;&quot;" in dot(workflow, {})


# --- the path ----------------------------------------------------------------------------------------------------

PRESSED = PathTaken(
    states=["off", "on-now"],
    arrows={("off", "pressed", "on-now"): 2, ("on-now", "pressed", "off"): 1, ("on-now", "dimmed", "on-now"): 7},
    at="on-now",
)


def coloured(text: str) -> list[tuple[str, str]]:
    """The arrows of a mermaid drawing that its linkStyle names, without the one from the start."""
    arrows = arrows_in(text)
    numbers = [int(number) for number in re.search(r"linkStyle ([\d,]+) stroke:" + PATH, text)[1].split(",")]
    assert numbers[-1] == len(arrows)
    return [(arrows[number][0], arrows[number][3]) for number in numbers[:-1]]


def test_arrows_that_were_taken_are_coloured_and_the_others_are_not():
    assert coloured(mermaid(LAMP, {}, PRESSED)) == [("off", "on_now"), ("on_now", "off"), ("on_now", "on_now")]
    text = dot(LAMP, {}, PRESSED)
    assert f'color="{PATH}" penwidth=2.4' in line_with(text, '"on_now" -> "off"')
    assert PATH not in line_with(text, "dropped")


def test_each_fact_carries_how_often_it_happened_and_one_that_did_not_carries_nothing():
    facts = {fact for _, _, facts, _ in arrows_in(mermaid(LAMP, {}, PRESSED)) for fact in facts}
    assert facts == {f"pressed {TIMES}2", f"pressed {TIMES}1", f"dimmed {TIMES}7", "dropped"}


def test_a_drawing_without_a_path_has_neither_colour_nor_counts():
    text = mermaid(LAMP, {}) + dot(LAMP, {})
    assert PATH not in text
    assert TIMES not in text


def test_states_on_the_path_are_outlined_and_the_last_one_is_filled():
    text = mermaid(LAMP, {}, PRESSED)
    assert "fill" not in line_with(text, "style off ", PATH)
    assert "fill" in line_with(text, "style on_now ", PATH)
    assert "style broken" not in text
    drawn = dot(LAMP, {}, PRESSED)
    assert [PATH in line_with(drawn, f"<b>{name}</b>", "color") for name in ("off", "on-now", "broken")] == [
        True,
        True,
        False,
    ]


def test_an_arrow_of_any_that_was_taken_starts_at_the_state_that_took_it():
    text = mermaid(LAMP, {}, PathTaken(["off", "broken"], {("off", "dropped", "broken"): 1}, "broken"))
    assert coloured(text) == [("off", "broken")]
    assert ("any", "-.->", ["dropped"], "broken") in arrows_in(text)


def test_a_held_fact_is_counted_in_the_state_that_heard_it():
    path = PathTaken(
        ["es-running", "staging-out"],
        {
            ("es-running", "output_produced", "es-running"): 9,
            ("staging-out", "ranges_acknowledged", "staging-out"): 2,
        },
    )
    loops = {
        source: facts
        for source, _, facts, target in arrows_in(mermaid(TABLES["eventservice"], TABLES, path))
        if source == target
    }
    assert {f"output_produced {TIMES}9", "ranges_acknowledged"} <= set(loops["es_running"])
    assert loops["staging_out"][-2:] == ["every fact of event-range:", f"ranges_acknowledged {TIMES}2"]
    assert loops["salvaging"][-1] == "every fact of event-range"


@pytest.mark.parametrize("language", [mermaid, dot])
def test_the_order_in_which_a_path_was_counted_changes_nothing(language):
    arrows = [*PRESSED.arrows.items(), (("off", "dropped", "broken"), 1), (("on-now", "dropped", "broken"), 1)]
    forwards, backwards = PathTaken(["off"], dict(arrows)), PathTaken(["off"], dict(reversed(arrows)))
    assert language(LAMP, {}, backwards) == language(LAMP, {}, forwards)


@pytest.mark.parametrize("arrow", [("gone", "pressed", "off"), ("off", "pressed", "gone")])
@pytest.mark.parametrize("language", [mermaid, dot])
def test_a_path_of_another_table_is_refused(language, arrow):
    with pytest.raises(WorkflowError, match="pressed cannot happen to lamp"):
        language(LAMP, {}, PathTaken(["off"], {arrow: 1}))
