"""The official form as a flat OpenDocument text, for LibreOffice.

Takes the finished strings of a report (`report.json`), as `form.py` does, with its helpers for the rows of the tables.
"""

from xml.sax.saxutils import escape

from form import BLOCK, DISCLOSURE, LABELS, flat

NAMESPACES = " ".join(
    f'xmlns:{name}="{uri}"'
    for name, uri in (
        ("office", "urn:oasis:names:tc:opendocument:xmlns:office:1.0"),
        ("style", "urn:oasis:names:tc:opendocument:xmlns:style:1.0"),
        ("text", "urn:oasis:names:tc:opendocument:xmlns:text:1.0"),
        ("table", "urn:oasis:names:tc:opendocument:xmlns:table:1.0"),
        ("fo", "urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0"),
        ("svg", "urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"),
        ("meta", "urn:oasis:names:tc:opendocument:xmlns:meta:1.0"),
        ("dc", "http://purl.org/dc/elements/1.1/"),
    )
)

LATIN, FANGSONG, KAITI, HEITI, SONGTI = (
    "Liberation Serif",
    "Zhuque Fangsong (technical preview)",
    "LXGW WenKai GB Lite",
    "Noto Sans CJK SC",
    "Noto Serif CJK SC",
)


def face(asian, size, weight="normal", spacing="0pt"):
    return (
        f'<style:text-properties style:font-name="{LATIN}" fo:font-family="\'{LATIN}\'" fo:font-size="{size}pt" fo:font-weight="{weight}"'
        f' style:font-family-asian="\'{asian}\'" style:font-size-asian="{size}pt" style:font-weight-asian="{weight}"'
        f' fo:letter-spacing="{spacing}" fo:language="en" fo:country="US" style:language-asian="zh" style:country-asian="CN"/>'
    )


def paragraph(name, properties, text, parent="Standard", level=None):
    outline = f' style:default-outline-level="{level}"' if level else ""
    return (
        f'<style:style style:name="{name}" style:family="paragraph" style:parent-style-name="{parent}"{outline}>'
        f"<style:paragraph-properties {properties}/>{text}</style:style>"
    )


def cell_style(name, sides, background=""):
    fill = f' fo:background-color="{background}"' if background else ""
    return (
        f'<style:style style:name="{name}" style:family="table-cell"><style:table-cell-properties style:vertical-align="middle"'
        f' fo:border="0.5pt solid #000000" fo:padding-top="1pt" fo:padding-bottom="1pt" fo:padding-left="{sides}pt" fo:padding-right="{sides}pt"{fill}/></style:style>'
    )


NARROW = "-0.207pt"
STYLES = "".join(
    (
        '<office:styles><style:default-style style:family="paragraph"><style:paragraph-properties fo:orphans="2" fo:widows="2" style:punctuation-wrap="hanging" style:line-break="strict"/>',
        face(FANGSONG, 16, spacing=NARROW),
        '</style:default-style><style:style style:name="Standard" style:family="paragraph"/>',
        paragraph("Title", 'fo:text-align="center" fo:line-height="36.19pt" fo:margin-top="7.24pt" fo:margin-bottom="43.4pt"', face(SONGTI, 22, "bold")),
        paragraph("Text_20_body", 'fo:text-indent="31.6pt" fo:text-align="justify" fo:line-height="28.95pt"', face(FANGSONG, 16, spacing=NARROW)),
        paragraph("Heading_20_1", 'fo:text-indent="31.6pt" fo:line-height="28.95pt" fo:keep-with-next="always"', face(HEITI, 16, spacing=NARROW), level=1),
        paragraph("Heading_20_2", 'fo:text-indent="31.6pt" fo:line-height="28.95pt" fo:keep-with-next="always"', face(KAITI, 16, spacing=NARROW), level=2),
        paragraph("Agency", 'fo:text-align="end" fo:margin-top="28.95pt" fo:margin-right="31.6pt" fo:line-height="28.95pt" fo:keep-with-next="always"', face(FANGSONG, 16)),
        paragraph("Date", 'fo:text-align="end" fo:margin-right="15.8pt" fo:line-height="28.95pt"', face(FANGSONG, 16)),
        paragraph("Notes", "", face(SONGTI, 12)),
        paragraph("Figure12", 'fo:text-align="center" fo:line-height="15.6pt"', face(SONGTI, 12)),
        paragraph("Label12", 'fo:line-height="15.6pt"', face(SONGTI, 12)),
        paragraph("Band", 'fo:text-align="center" fo:line-height="15.6pt"', face(HEITI, 12)),
        paragraph("Figure10", 'fo:text-align="center" fo:line-height="13pt"', face(SONGTI, 10)),
        paragraph("Label10", 'fo:line-height="13pt"', face(SONGTI, 10)),
        paragraph("Rule", 'fo:text-align="center" fo:line-height="13pt"', face(KAITI, 10)),
        paragraph("PageOdd", 'fo:text-align="end" fo:margin-right="14pt"', face(SONGTI, 14)),
        paragraph("PageEven", 'fo:margin-left="14pt"', face(SONGTI, 14)),
        "</office:styles>",
    )
)


def column_style(table, at, width):
    return f'<style:style style:name="{table}.{at}" style:family="table-column"><style:table-column-properties style:column-width="{width:.2f}pt"/></style:style>'


def row_style(name, height):
    return f'<style:style style:name="{name}" style:family="table-row"><style:table-row-properties style:min-row-height="{height}pt" fo:keep-together="always"/></style:style>'


DISCLOSURE_WIDTHS = [share / sum(DISCLOSURE) * BLOCK for share in DISCLOSURE]
REQUESTS_WIDTHS = [*LABELS, *[(BLOCK - sum(LABELS)) / 7] * 7]
REVIEW_WIDTHS = [BLOCK / 15] * 15
TABLES = {"Disclosure": DISCLOSURE_WIDTHS, "Requests": REQUESTS_WIDTHS, "Review": REVIEW_WIDTHS}


def automatic():
    """The styles of tables and page; the same for every report."""
    out = ["<office:automatic-styles>"]
    for name, widths in TABLES.items():
        out.append(
            f'<style:style style:name="{name}" style:family="table"><style:table-properties style:width="{BLOCK}pt" table:align="left" fo:margin-top="3.6pt"'
            ' fo:margin-bottom="10.9pt" table:border-model="collapsing" style:may-break-between-rows="false" fo:keep-with-next="auto"/></style:style>'
        )
        out += [column_style(name, at, width) for at, width in enumerate(widths)]
    out += [row_style(f"Row{height}", height) for height in (20, 22, 24, 31, 36, 43, 44)]
    out += [cell_style("Cell12", 6), cell_style("Fill", 6, "#c6d9f1"), cell_style("Cell10", 3.5), cell_style("Narrow", 0.5)]
    out.append('<style:style style:name="Kai" style:family="text">' + face(KAITI, 16, spacing=NARROW) + "</style:style>")
    out.append('<style:style style:name="Hei" style:family="text">' + face(HEITI, 16, spacing=NARROW) + "</style:style>")
    out.append(
        '<style:page-layout style:name="Page" style:page-usage="all"><style:page-layout-properties fo:page-width="210mm" fo:page-height="297mm"'
        ' fo:margin-top="37mm" fo:margin-left="28mm" fo:margin-right="26mm" fo:margin-bottom="20mm" style:layout-grid-mode="none"/>'
        '<style:footer-style><style:header-footer-properties svg:height="15mm" fo:margin-top="7mm" style:dynamic-spacing="false"/></style:footer-style>'
        "</style:page-layout></office:automatic-styles>"
    )
    number = '— <text:page-number text:select-page="current">1</text:page-number> —'
    out.append(
        '<office:master-styles><style:master-page style:name="Standard" style:page-layout-name="Page">'
        f'<style:footer><text:p text:style-name="PageOdd">{number}</text:p></style:footer>'
        f'<style:footer-left><text:p text:style-name="PageEven">{number}</text:p></style:footer-left>'
        "</style:master-page></office:master-styles>"
    )
    return "".join(out)


AUTOMATIC = automatic()


def lines(text):
    return "<text:line-break/>".join(escape(line) for line in text.split("\n"))


def stacked(label):
    if len(label) % 2 or len(label) <= 2:
        return label
    return "\n".join(label[at : at + 2] for at in range(0, len(label), 2))


def table(name, title, head, rows):
    """A table of rows `(height, cells)`; a cell is `(text, paragraph, cell style, columns, rows)`, the last two optional."""
    count = len(TABLES[name])
    columns = "".join(f'<table:table-column table:style-name="{name}.{at}"/>' for at in range(count))
    open_below = [0] * count  # how many rows below each column is still covered

    def row(height, cells):
        cells, out, at = iter(cells), "", 0
        while at < count:
            if open_below[at]:
                open_below[at] -= 1
                out += "<table:covered-table-cell/>"
                at += 1
                continue
            text, style, kind, wide, high = (*next(cells), 1, 1)[:5]
            span = f' table:number-columns-spanned="{wide}"' if wide > 1 else ""
            span += f' table:number-rows-spanned="{high}"' if high > 1 else ""
            out += f'<table:table-cell table:style-name="{kind}"{span} office:value-type="string"><text:p text:style-name="{style}">{lines(text)}</text:p></table:table-cell>'
            out += "<table:covered-table-cell/>" * (wide - 1)
            open_below[at : at + wide] = [high - 1] * wide
            at += wide
        return f'<table:table-row table:style-name="Row{height}">{out}</table:table-row>'

    head = "".join(row(*each) for each in head)
    head = f"<table:table-header-rows>{head}</table:table-header-rows>" if head else ""
    body = "".join(row(*each) for each in rows)
    return f'<table:table table:name="{name}" table:style-name="{name}"><table:title>{escape(title)}</table:title>{columns}{head}{body}</table:table>'


def disclosure(section):
    rows = []
    for band in section["bands"]:
        last = len(band["heads"]) - 1
        wide = lambda at: 4 - at if at == last else 1
        rows.append((22, [(band["label"], "Band", "Fill", 4)]))
        two = any("\n" in head for head in band["heads"])
        rows.append((43 if two else 22, [(head, "Figure12", "Cell12", wide(at)) for at, head in enumerate(band["heads"])]))
        for row in band["rows"]:
            cells = [(cell, "Figure12", "Cell12", wide(at)) for at, cell in enumerate(row["cells"], 1)]
            rows.append((22, [(row["label"], "Label12", "Cell12"), *cells]))
    return table("Disclosure", section["heading"], [], rows)


def requests(section):
    groups = section["applicants"]
    kinds = [kind for group in groups for kind in group.get("kinds", ())]
    rule = section["rule"].replace("：", "：\n").replace("，", "，\n")
    second = [
        (group["label"], "Figure10", "Narrow", len(group["kinds"])) if "kinds" in group else (group["label"], "Figure10", "Narrow", 1, 2)
        for group in groups
    ]
    head = [
        (20, [(rule, "Rule", "Cell10", 3, 3), (section["applicants_label"], "Figure10", "Narrow", 7)]),
        (20, second),
        (44, [(stacked(kind), "Figure10", "Narrow") for kind in kinds]),
    ]
    rows = [inner for row in section["rows"] for inner in flat(row)]
    body = []
    for at, (own, label, cells) in enumerate(rows):
        out = []
        for depth, group in enumerate(own):
            inside = lambda row: row[0][depth : depth + 1] == (group,)
            if at and inside(rows[at - 1]):
                continue
            high = sum(1 for row in rows[at:] if inside(row))
            text = "\n".join(group) if depth == 0 else group.replace("）", "）\n", 1)
            out.append((text, "Figure10", "Narrow", 1, high))
        out.append((label, "Label10", "Cell10", len(LABELS) - len(own)))
        body.append((20, out + [(cell, "Figure10", "Narrow") for cell in cells]))
    return table("Requests", section["heading"], head, body)


def review(section):
    parts = lambda group: group.get("groups", [group])
    results = lambda high: [(stacked(result), "Figure10", "Narrow", 1, high) for result in section["results"]]
    first, second, third, figures = [], [], [], []
    for group in section["groups"]:
        first.append((group["label"], "Figure10", "Narrow", sum(len(part["cells"]) for part in parts(group))))
        if "groups" in group:
            for part in group["groups"]:
                second.append((part["label"], "Figure10", "Narrow", len(part["cells"])))
                third += results(1)
        else:
            second += results(2)
        figures += [(cell, "Figure12", "Narrow") for part in parts(group) for cell in part["cells"]]
    return table("Review", section["heading"], [(24, first), (24, second), (36, third)], [(31, figures)])


def block(item):
    if item["kind"] == "heading":
        level = min(item["level"], 2)
        return f'<text:h text:style-name="Heading_20_{level}" text:outline-level="{level}">{lines(item["text"])}</text:h>'
    if item["kind"] == "table":
        rows = [item["columns"], *item["rows"]]
        cells = "".join("<table:table-row>" + "".join(f'<table:table-cell><text:p text:style-name="Figure12">{lines(cell)}</text:p></table:table-cell>' for cell in row) + "</table:table-row>" for row in rows)
        return f'<table:table><table:table-column table:number-columns-repeated="{len(item["columns"])}"/>{cells}</table:table>'
    lead = lines(item["lead"])
    if lead and item["level"] in (1, 2):
        lead = f'<text:span text:style-name="{("Hei", "Kai")[item["level"] - 1]}">{lead}</text:span>'
    return f'<text:p text:style-name="Text_20_body">{lead}{lines(item["text"])}</text:p>'


def document(view, about):
    """The whole report."""
    title, agency = view["title"], view["agency"]
    title = title.replace(agency, agency + "\n", 1) if title.startswith(agency) else title
    out = [f'<text:h text:style-name="Title" text:outline-level="1">{lines(title)}</text:h>', *map(block, view["introduction"])]
    tables = {"proactive_disclosure": disclosure, "requests": requests, "review_and_litigation": review}
    for name in ("overview", "proactive_disclosure", "requests", "review_and_litigation", "problems_and_improvements", "other_matters"):
        section = view["sections"][name]
        out.append(f'<text:h text:style-name="Heading_20_1" text:outline-level="1">{lines(section["heading"])}</text:h>')
        if name in tables:
            out.append(tables[name](section))
            out += [f'<text:p text:style-name="Notes">{lines(note)}</text:p>' for note in section["notes"]]
        else:
            out += map(block, section["blocks"])
    if view["issued_on"]:
        out.append(f'<text:p text:style-name="Agency">{lines(agency)}</text:p><text:p text:style-name="Date">{lines(view["issued_on"])}</text:p>')
    meta = (
        f'<office:meta><dc:title>{escape(about["title"])}</dc:title><dc:creator>{escape(", ".join(about["author"]))}</dc:creator>'
        f'<meta:initial-creator>{escape(", ".join(about["author"]))}</meta:initial-creator><dc:description>{escape(about["description"])}</dc:description>'
        + "".join(f"<meta:keyword>{escape(word)}</meta:keyword>" for word in about["keywords"])
        + "<dc:language>zh-CN</dc:language></office:meta>"
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document {NAMESPACES} office:version="1.3" office:mimetype="application/vnd.oasis.opendocument.text">'
        f'{meta}{STYLES}{AUTOMATIC}<office:body><office:text>{"".join(out)}</office:text></office:body></office:document>'
    )
