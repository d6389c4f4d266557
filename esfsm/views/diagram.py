"""A declared table as a drawing: mermaid or dot, as text.

Both languages write down one picture, and that comes from the arrows that the machine is built from, so a drawing
cannot differ from what runs. Mermaid gets a flowchart, as the arrows of its state diagrams cannot be coloured
(mermaid-js/mermaid#1352), and colour is what shows the path that a job took.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from json import dumps
from typing import NamedTuple

from esfsm.core.workflow import State, Workflow, all_arrows
from esfsm.errors import WorkflowError

__all__ = ["PathTaken", "dot", "mermaid"]

START, FRAME = "start", "any"
FRAME_TITLE = "any of these, unless its own arrow says otherwise"

# INK and PATH have a contrast above 4:1 on GitHub's white and on its black (#0d1117). Blue and grey differ for every
# kind of colour blindness, and the path is thicker as well. PALE is INK let through: pale on white and on black.
INK, PALE, PATH = "#737b84", "#737b8488", "#1f7ae0"
BOX, END_BOX, HERE_BOX, TEXT, SMALL_TEXT = "#f3f5f8", "#dfe4ea", "#dcebfd", "#1f2328", "#59636e"
FONT = 'fontname="Helvetica,Arial,sans-serif"'

LINE_WIDTH = 38
"""Characters in a line of facts that are heard without moving: two of the longest."""

# What mermaid takes for the beginning or the end of a statement, and our own two words.
RESERVED = {"call", "class", "classDef", "click", "default", "direction", "end", "flowchart", "graph", "href"}
RESERVED |= {"interpolate", "linkStyle", "style", "subgraph", START, FRAME}

Tables = Mapping[str, Workflow]


@dataclass(frozen=True, slots=True)
class PathTaken:
    """The way of a job through its table: the states it was in, where it is now, and how often it took each arrow.

    An arrow is (source, fact, target).
    """

    states: Sequence[str]
    arrows: Mapping[tuple[str, str, str], int]
    at: str | None = None


class _Said(NamedTuple):
    """Words of a label; `times` is how often that fact happened, 0 where no path is drawn."""

    words: str
    times: int = 0

    def __str__(self) -> str:
        return f"{self.words} \u00d7{self.times}" if self.times else self.words


class _Link(NamedTuple):
    """One drawn arrow for all facts that lead from `source`, a state or the frame, to `target`; and its label."""

    source: str
    target: str
    lines: Sequence[Sequence[_Said]]

    @property
    def taken(self) -> bool:
        return any(said.times for line in self.lines for said in line)


@dataclass(frozen=True, slots=True)
class _Picture:
    """What either language draws: a word for each state, the states inside the frame of `[any]`, and the arrows."""

    workflow: Workflow
    ids: Mapping[str, str]
    framed: Sequence[str]
    links: Sequence[_Link]
    path: PathTaken | None


def mermaid(workflow: Workflow, held: Tables, path: PathTaken | None = None) -> str:
    """The table as a mermaid flowchart; `held` are the tables that its states hold, by name.

    Raises `WorkflowError` for a path with an arrow between states that the table does not have.
    """
    picture = _picture(workflow, held, path)
    boxes = {state.name: _mermaid_box(picture, state) for state in workflow.states.values()}
    lines = ["---", f"title: {dumps(workflow.title, ensure_ascii=False)}", "---", "flowchart TB", f'    {START}((" "))']
    if picture.framed:
        framed = [f"        {boxes.pop(name)}" for name in picture.framed]
        lines += [f'    subgraph {FRAME}["{FRAME_TITLE}"]', *framed, "    end"]
    lines += [f"    {box}" for box in boxes.values()]
    for link in picture.links:
        label = "<br/>".join(" · ".join(_mermaid_text(str(said)) for said in line) for line in link.lines)
        shaft = "-.->" if link.source == FRAME else "-->"
        lines.append(f'    {picture.ids[link.source]} {shaft}|"{label}"| {picture.ids[link.target]}')
    lines.append(f"    {START} --> {picture.ids[workflow.starts]}")
    lines += [f"    {style}" for style in _mermaid_styles(picture)]
    return "\n".join(lines) + "\n"


def _mermaid_box(picture: _Picture, state: State) -> str:
    label = f"<b>{_mermaid_text(state.name)}</b>" + (f"<br/>{_mermaid_text(state.does)}" if state.does else "")
    word = picture.ids[state.name]
    return f'{word}(["{label}"]):::ends' if state.name in picture.workflow.ends else f'{word}("{label}")'


def _mermaid_styles(picture: _Picture) -> Iterator[str]:
    yield f"classDef default fill:{BOX},stroke:{INK},color:{TEXT}"
    yield f"classDef ends fill:{END_BOX},stroke:{INK},stroke-width:3px,color:{TEXT}"
    yield f"style {START} fill:{INK}"
    if picture.framed:
        yield f"style {FRAME} fill:none,stroke:{INK},stroke-dasharray:4 4,color:{INK}"
    if picture.path is None:
        return
    taken = [number for number, link in enumerate(picture.links) if link.taken]
    # Mermaid counts arrows as they are written; the one from the start is the last.
    numbers = ",".join(map(str, [*taken, len(picture.links)]))
    yield f"linkStyle {numbers} stroke:{PATH},stroke-width:3px,color:{PATH}"
    for name, word in picture.ids.items():
        if name == picture.path.at:
            yield f"style {word} fill:{HERE_BOX},stroke:{PATH},stroke-width:5px"
        elif name in picture.path.states:
            yield f"style {word} stroke:{PATH},stroke-width:3px"


def _mermaid_text(words: str) -> str:
    """Words for inside quotes: mermaid reads `#35;` as the character of that number."""
    return re.sub(r'[#&"<>`\\]', lambda found: f"#{ord(found[0])};", words)


def dot(workflow: Workflow, held: Tables, path: PathTaken | None = None) -> str:
    """The table in graphviz's language; `held` are the tables that its states hold, by name.

    What a state hears without moving stands inside its box, as graphviz would draw other arrows over the label
    of a self-arrow. Raises `WorkflowError` for a path with an arrow between states that the table does not have.
    """
    picture = _picture(workflow, held, path)
    boxes = {state.name: _dot_box(picture, state) for state in workflow.states.values()}
    start = f' color="{PATH}" penwidth=2.4' if path else ""
    lines = [
        f"digraph {dumps(workflow.name, ensure_ascii=False)} {{",
        f"    graph [label=<<b>{escape(workflow.title)}</b>> labelloc=t labeljust=l fontsize=15 {FONT}]",
        f'    graph [fontcolor="{INK}" compound=true nodesep=0.4 ranksep=0.45 pad=0.1]',
        f'    node [shape=box style="rounded,filled" fillcolor="{BOX}" color="{INK}"]',
        f'    node [fontcolor="{TEXT}" fontsize=12 margin="0.16,0.08" {FONT}]',
        f'    edge [color="{INK}" fontcolor="{INK}" fontsize=10 arrowsize=0.7 {FONT}]',
        f'    "{START}" [shape=circle label="" width=0.16 fillcolor="{INK}"]',
    ]
    if picture.framed:
        lines += [
            f'    subgraph "cluster_{FRAME}" {{',
            f'        graph [label="{FRAME_TITLE}" labeljust=r fontsize=10 margin=16]',
            f'        graph [style="dashed,rounded" color="{INK}"]',
            *(f"        {boxes.pop(name)}" for name in picture.framed),
            "    }",
        ]
    lines += [f"    {box}" for box in boxes.values()]
    lines += [f"    {_dot_arrow(picture, link)}" for link in picture.links]
    # Beside the first state, where it does not cross the title of the frame.
    lines.append(f'    "{START}" -> "{picture.ids[workflow.starts]}" [constraint=false{start}]')
    return "\n".join([*lines, "}"]) + "\n"


def _dot_box(picture: _Picture, state: State) -> str:
    label = f"<b>{escape(state.name)}</b>"
    if state.does:
        label += f'<br/><font point-size="10" color="{SMALL_TEXT}">{escape(state.does)}</font>'
    for link in picture.links:
        if link.source == link.target == state.name:
            heard = "<br/>".join(_dot_lines(picture, link))
            label += f'<br/><font point-size="4"> </font><br/><font point-size="9" color="{SMALL_TEXT}">{heard}</font>'
    look = f"label=<{label}>"
    fill = END_BOX if state.name in picture.workflow.ends else BOX
    if picture.path and state.name in picture.path.states:
        look += f' color="{PATH}" penwidth=2.4'
    if picture.path and state.name == picture.path.at:
        fill = HERE_BOX
    if fill != BOX:
        look += f' fillcolor="{fill}"'
    if state.name in picture.workflow.ends:
        look += " peripheries=2"
    return f'"{picture.ids[state.name]}" [{look}]'


def _dot_arrow(picture: _Picture, link: _Link) -> str:
    look = []
    if link.source != link.target:
        look.append("label=<" + "<br/>".join(f"&#160;{line}" for line in _dot_lines(picture, link)) + ">")
    if picture.path:
        look.append(f'color="{PATH}" penwidth=2.4' if link.taken else f'color="{PALE}"')
    source = link.source
    if source == FRAME:
        # Graphviz draws from state to state and cuts the arrow at the frame; from the last state it is the shortest.
        source = picture.framed[-1]
        look.append(f'style=dashed ltail="cluster_{FRAME}"')
    look += _dot_hints(picture, link)
    return f'"{picture.ids[source]}" -> "{picture.ids[link.target]}"' + (f" [{' '.join(look)}]" if look else "")


def _dot_hints(picture: _Picture, link: _Link) -> Iterator[str]:
    """What graphviz must be told to draw the first way out of each state straight, and failure beside it.

    An end to which much of the table leads stands below the earlier half of it, not below it all.
    """
    workflow = picture.workflow
    sources = [other.source for other in picture.links if other.target == link.target != other.source]
    late = link.target in workflow.ends and link.source not in sources[: max(1, (len(sources) - 1) // 2)]
    if link.source in workflow.ends or late:
        yield "constraint=false"
    elif link.source != FRAME:
        ways_out = [target for target in workflow.states[link.source].on.values() if target != link.source]
        if ways_out[:1] == [link.target]:
            yield "weight=20"


def _dot_lines(picture: _Picture, link: _Link) -> Iterator[str]:
    """The lines of a label; with a path, what happened is coloured and what did not is pale."""
    for line in link.lines:
        words = [escape(str(said)) for said in line]
        if picture.path:
            colours = [PATH if said.times else PALE for said in line]
            words = [f'<font color="{colour}">{word}</font>' for colour, word in zip(colours, words, strict=True)]
        yield " · ".join(words)


def _picture(workflow: Workflow, held: Tables, path: PathTaken | None) -> _Picture:
    framed = [name for name in workflow.states if name not in workflow.ends] if workflow.anywhere else []
    links = _links(workflow, held, framed, path)
    return _Picture(workflow, {FRAME: FRAME, **_ids(workflow)}, framed, list(links), path)


def _ids(workflow: Workflow) -> dict[str, str]:
    """A word for each state that mermaid takes as a name: `es_running` for es-running."""
    ids: dict[str, str] = {}
    for name in workflow.states:
        word = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "state"
        while word in RESERVED or word in ids.values():
            word += "_"
        ids[name] = word
    return ids


def _links(workflow: Workflow, held: Tables, framed: Sequence[str], path: PathTaken | None) -> Iterator[_Link]:
    """Every drawn arrow, those of the frame last; an arrow of `[any]` that a job took is also drawn for itself."""
    drawn: dict[tuple[str, str], dict[str, int]] = {}
    for state in workflow.states.values():
        for fact, target in state.on.items():
            drawn.setdefault((state.name, target), {})[fact] = 0
    for arrow in all_arrows(workflow, held):
        own = arrow.held or arrow.fact in workflow.states[arrow.source].on
        # Neither language can draw an arrow from a frame to a state inside it: such a one starts at each state.
        source = arrow.source if own or arrow.target in framed else FRAME
        drawn.setdefault((source, arrow.target), {})[arrow.fact] = 0
    for (source, fact, target), count in sorted(path.arrows.items()) if path else ():
        if source not in workflow.states or target not in workflow.states:
            raise WorkflowError(workflow.title, source, fact)
        drawn.setdefault((source, target), {})[fact] = count
    spelled: set[str] = set()
    for (source, target), facts in sorted(drawn.items(), key=lambda item: item[0][0] == FRAME):
        said = [_Said(*each) for each in facts.items()]
        if source == target:
            yield _Link(source, target, list(_heard(workflow.states[source], said, held, spelled)))
        else:
            yield _Link(source, target, [[each] for each in said])


def _heard(state: State, said: Sequence[_Said], held: Tables, spelled: set[str]) -> Iterator[Sequence[_Said]]:
    """What a state hears without moving. A held table's facts are spelled out once a drawing, later only if counted."""
    ranks = list(dict.fromkeys(arrow.fact for arrow in held[state.holds].arrows())) if state.holds else []
    of_held = [each for each in said if each.words in ranks and each.words not in state.on]
    yield from _wrapped([each for each in said if each not in of_held])
    if state.holds:
        if state.holds in spelled:
            of_held = [each for each in of_held if each.times]
        spelled.add(state.holds)
        yield [_Said(f"every fact of {state.holds}" + (":" if of_held else ""))]
        yield from _wrapped(sorted(of_held, key=lambda each: ranks.index(each.words)))


def _wrapped(said: Sequence[_Said]) -> Iterator[Sequence[_Said]]:
    """As few lines as will do, none wider than LINE_WIDTH."""
    line: list[_Said] = []
    for each in said:
        if line and len(" · ".join(map(str, [*line, each]))) > LINE_WIDTH:
            yield line
            line = []
        line.append(each)
    if line:
        yield line
