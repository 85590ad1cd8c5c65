"""Pictures, CSV files and Markdown tables in a form that fits into one page."""

import base64
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

_STEP = re.compile(r"(.+)-step(\d+)$")


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        title: Its folder and file name, without the step.
        step: Optimiser step at which it was made; None if the name has none.
        address: The picture itself, as a data URL.
        width: Pixels.
        height: Pixels.
    """

    title: str
    step: int | None
    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """A CSV file inside the page.

    Attributes:
        title: Its name.
        header: Names of the columns.
        rows: Cells as text.
        left_out: Rows of the file that are not shown.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    left_out: int


@dataclass
class Album:
    """Shrinks pictures and embeds them until a total size is reached.

    Attributes:
        width: Wider pictures are scaled down to this number of pixels.
        quality: Quality of WebP, 1 to 100.
        megabytes: Limit on the size of all pictures together.
        left_out: Number of pictures that did not fit.
        broken: Files that are no pictures.
    """

    width: int
    quality: int
    megabytes: float
    left_out: int = 0
    broken: list[Path] = field(default_factory=list)
    _used: int = 0

    def embed(self, path: Path) -> Picture | None:
        """Embed a file; None if it is broken or does not fit any more."""
        if self._used >= self.megabytes * 1e6:
            self.left_out += 1
            return None
        try:
            with Image.open(path) as file:
                image = file.convert("RGBA" if file.has_transparency_data else "RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            self.broken.append(path)
            return None
        if image.width > self.width:
            height = max(1, round(image.height * self.width / image.width))
            image = image.resize((self.width, height), Image.Resampling.LANCZOS)
        content = io.BytesIO()
        image.save(content, "WEBP", quality=self.quality)
        self._used += content.tell()
        text = base64.b64encode(content.getvalue()).decode()
        found = _STEP.match(path.stem)
        name, step = (found[1], int(found[2])) if found else (path.stem, None)
        title = f"{path.parent.name}/{name}"
        return Picture(title, step, f"data:image/webp;base64,{text}", *image.size)

    def embed_newest(self, folder: Path, count: int) -> list[Picture]:
        """Embed the pictures of a folder, for each title only those of the newest `count` steps."""
        files: dict[str, list[Path]] = {}
        for path in sorted(folder.glob("*.png")):
            found = _STEP.match(path.stem)
            files.setdefault(found[1] if found else path.stem, []).append(path)
        chosen = (path for paths in files.values() for path in paths[-count:])
        return [picture for path in chosen if (picture := self.embed(path))]


def read_tables(paths: Sequence[Path], most_rows: int) -> list[Table]:
    """Read CSV files as tables, and leave out files that cannot be read.

    Args:
        paths: The files.
        most_rows: Rows of a file that are kept.
    """
    tables = []
    for path in paths:
        try:
            with path.open(newline="", errors="replace") as file:
                header, *rows = list(csv.reader(file))
        except (OSError, ValueError, csv.Error):
            continue
        title = f"{path.parent.name}/{path.name}"
        tables.append(Table(title, header, rows[:most_rows], max(0, len(rows) - most_rows)))
    return tables


def markdown(path: Path) -> str:
    """Convert Markdown to HTML: text, tables and <u>. Any other HTML in it is shown as text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["link", "image", "autolink", "reference"])
    try:
        html = parser.render(path.read_text(errors="replace"))
    except OSError:
        return ""
    return html.replace("&lt;u&gt;", "<u>").replace("&lt;/u&gt;", "</u>")  # the second-best value
