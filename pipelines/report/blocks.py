"""What a section of the report is made of; the page's template has one macro per kind."""
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass
class Table:
    """Rows of cells; ``numeric`` sets all columns but the first flush right."""

    header: list[str]
    rows: list[list[str]]
    caption: str = ""
    numeric: bool = False
    kind: str = "table"


@dataclass
class Terms:
    """Words and what they mean."""

    items: list[tuple[str, str]]
    kind: str = "terms"


@dataclass
class Picture:
    """A drawing (SVG made here, hence safe, or ``source``, an image) with a caption that says what to see."""

    svg: Markup | str
    title: str
    caption: str = ""
    wide: bool = False
    source: str = ""


@dataclass
class Pictures:
    """Drawings side by side, as many as fit, or ``columns`` where there is room."""

    items: list[Picture]
    columns: int = 0
    kind: str = "pictures"


@dataclass
class Tile:
    """A small image: ``frame`` is query, right, wrong, junk or empty, ``label`` stands below, ``title`` is a hint."""

    source: str
    frame: str = ""
    label: str = ""
    title: str = ""
    extra: str = ""  # a second image below the first


@dataclass
class Strip:
    """A row of tiles, ``small`` ones for a contact sheet."""

    title: str
    tiles: list[Tile]
    note: str = ""
    small: bool = False


@dataclass
class Strips:
    """Rows of tiles, short ones side by side where there is room; ``legend`` names the frames that occur."""

    items: list[Strip]
    legend: list[tuple[str, str]] = field(default_factory=list)
    short: bool = False
    kind: str = "strips"


@dataclass
class Details:
    """A long text, folded away."""

    summary: str
    text: str
    kind: str = "details"


Block = Text | Table | Terms | Pictures | Strips | Details


@dataclass
class Section:
    """A part of the report: its anchor, its heading, what to see here, and the content."""

    name: str
    title: str
    intro: str
    blocks: list[Block]
