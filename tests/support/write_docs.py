"""Write the pages of docs that follow from the code: ``python -m tests.support.write_docs``, or ``make docs``."""

from pathlib import Path

from tests.support import configuration_page, reference_page

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"configuration.md": configuration_page.text, "reference.md": reference_page.text}

if __name__ == "__main__":
    for name, text in PAGES.items():
        (DOCS / name).write_text(text(), encoding="utf-8")
