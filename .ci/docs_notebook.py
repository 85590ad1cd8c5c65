"""A page of the site for each notebook in docs/, with the outputs that the notebook holds."""

import base64
import json

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add ``<name>.md`` and its pictures."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        name = notebook.src_uri.removesuffix(".ipynb")
        parts = []
        for cell in json.loads(notebook.content_string)["cells"]:
            source = "".join(cell["source"])
            parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
            for output in cell.get("outputs", []):
                if text := "".join(output.get("text", [])):
                    parts.append(f"```text\n{text}```")
                elif png := output["data"].get("image/png"):
                    picture = f"{name}-{len(parts)}.png"
                    content = base64.b64decode(png)
                    files.append(File.generated(config, picture, content=content))
                    parts.append(f"![Output of the cell above]({picture})")
        page = File.generated(config, f"{name}.md", content="\n\n".join(parts))
        files.append(page)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Lead links to a notebook to its page."""
    return markdown.replace(".ipynb)", ".md)")
