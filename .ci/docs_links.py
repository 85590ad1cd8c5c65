"""Links that leave docs/ for files of the repository, which the built site does not hold."""

import re

# [text](../experiments/scaling/README.md#anchor), also from a page in a sub-folder of docs/.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Show the path of the file instead of a link; a repository's own view keeps the link."""
    return _OUTSIDE.sub(_path_for_link, markdown)


def _path_for_link(link: re.Match[str]) -> str:
    text, path = link.groups()
    path = path.rstrip("/")
    said = path.removesuffix("/README.md")
    return f"`{path}`" if text.strip("`") in (path, said) else f"{text} (`{path}`)"
