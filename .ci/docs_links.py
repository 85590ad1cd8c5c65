"""Links that leave docs/ for files of the repository, which the built site does not hold."""

import re

from mkdocs.structure.pages import Page

# [text](../experiments/scaling/README.md#anchor)
_UPWARDS = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)([^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Show the path of the file instead of a link; a repository's own view keeps the link."""
    depth = page.file.src_uri.count("/")  # of the page below docs/

    def path_for_link(link: re.Match[str]) -> str:
        text, upwards, path = link.groups()
        if upwards.count("../") <= depth:
            return link[0]
        path = path.rstrip("/")
        names_it = text.strip("`") in (path, path.removesuffix("/README.md"))
        return f"`{path}`" if names_it else f"{text}, `{path}`"

    return _UPWARDS.sub(path_for_link, markdown)
