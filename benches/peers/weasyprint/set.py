"""Sets reports with WeasyPrint, warm: a line `FOLDER PDF` in, a line `done` out.

What WeasyPrint can do of what banshi promises: tags, PDF/A-3a, the attachment. One variant at a time: not PDF/UA-1 with it.
"""

import logging
import sys

import weasyprint
from weasyprint.text.fonts import FontConfiguration

logging.getLogger("weasyprint").setLevel(logging.CRITICAL)
fonts = FontConfiguration()  # kept, so that faces are read once
for line in sys.stdin:
    folder, pdf = line.split()
    attachment = weasyprint.Attachment(
        f"{folder}/data.json", name="report.json", description="data", relationship="Source"
    )
    weasyprint.HTML(filename=f"{folder}/report.html").write_pdf(
        pdf, font_config=fonts, pdf_variant="pdf/a-3a", pdf_tags=True, attachments=[attachment]
    )
    print("done", flush=True)
