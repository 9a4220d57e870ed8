"""The official form as HTML, for WeasyPrint and Chromium.

Takes the finished strings of a report (`report.json`), which our own templates get too, and only lays them out.
"""

import html
from pathlib import Path

HERE = Path(__file__).parent
CSS = (HERE / "form.css").read_text()

# Latin letters and digits have a face of their own, Chinese punctuation has not: a name for that face without the rest. And a name for
# 仿宋 without brackets, which WeasyPrint would write into the PDF as they are.
FACES = """
@font-face { font-family: Latin; font-weight: 400; src: local("Liberation Serif"), local("LiberationSerif"); unicode-range: U+20-7E }
@font-face { font-family: Latin; font-weight: 700; src: local("Liberation Serif Bold"), local("LiberationSerif-Bold"); unicode-range: U+20-7E }
@font-face { font-family: Fangsong; src: local("Zhuque Fangsong (technical preview)"), local("ZhuqueFangsong-Regular") }
"""

# 三、本年度办理结果: the widths of the label columns in points, the figures share the rest of the text block.
LABELS = (18, 46, 138)
BLOCK = 442.2
# 二、主动公开政府信息情况: the shares of the columns.
DISCLOSURE = (135.7, 100, 82.5, 101.85)


def escape(text):
    return html.escape(text).replace("\n", "<br>")


def stacked(label):
    """尚未审结 in two lines, as the narrow columns of the form have it."""
    if len(label) % 2 or len(label) <= 2:
        return escape(label)
    return "<br>".join(label[at : at + 2] for at in range(0, len(label), 2))


def block(item):
    if item["kind"] == "heading":
        level = item["level"]
        return f'<h{min(level, 2) + 1} class="level{level}">{escape(item["text"])}</h{min(level, 2) + 1}>'
    if item["kind"] == "table":
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in item["columns"])
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in item["rows"])
        return f'<table class="review"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    lead = f'<span class="lead{item["level"]}">{escape(item["lead"])}</span>' if item["lead"] else ""
    return f"<p>{lead}{escape(item['text'])}</p>"


def blocks(items):
    return "".join(map(block, items))


def notes(section):
    return "".join(f'<p class="notes">{escape(note)}</p>' for note in section["notes"])


def disclosure(section):
    """二、主动公开政府信息情况: a band is a header of its own."""
    rows = []
    for band in section["bands"]:
        heads, last = band["heads"], len(band["heads"]) - 1
        span = lambda at: f' colspan="{4 - at}"' if at == last else ""  # the last takes the rest
        rows.append(f'<tr><th class="band" scope="colgroup" colspan="4">{escape(band["label"])}</th></tr>')
        two = ' class="two"' if any("\n" in head for head in heads) else ""
        cells = "".join(f'<td{span(at)}>{escape(head)}</td>' for at, head in enumerate(heads))
        rows.append(f"<tr{two}>{cells}</tr>")
        for row in band["rows"]:
            cells = "".join(f"<td{span(at)}>{escape(cell)}</td>" for at, cell in enumerate(row["cells"], 1))
            rows.append(f'<tr><th scope="row">{escape(row["label"])}</th>{cells}</tr>')
    columns = "".join(f'<col style="width:{w / sum(DISCLOSURE) * BLOCK:.2f}pt">' for w in DISCLOSURE)
    return f'<table class="disclosure"><colgroup>{columns}</colgroup><tbody>{"".join(rows)}</tbody></table>'


def flat(row, groups=()):
    """The rows of the third table, each with the groups that it stands in."""
    if "rows" in row:
        return [inner for child in row["rows"] for inner in flat(child, (*groups, row["label"]))]
    return [(groups, row["label"], row["cells"])]


def group_label(label, depth):
    if depth == 0:
        return "<br>".join(label)
    head, mark, rest = label.partition("）")
    return escape(head + mark) + "<br>" + escape(rest)


def requests(section):
    """三、收到和处理政府信息公开申请情况."""
    kinds = [kind for group in section["applicants"] for kind in group.get("kinds", ())]
    count = sum(max(1, len(group.get("kinds", ()))) for group in section["applicants"])
    width = (BLOCK - sum(LABELS)) / count
    columns = "".join(f'<col style="width:{w:.2f}pt">' for w in (*LABELS, *[width] * count))
    rule = escape(section["rule"]).replace("：", "：<br>").replace("，", "，<br>")
    head = f'<tr><td colspan="3" rowspan="3">{rule}</td><th scope="colgroup" colspan="{count}">{section["applicants_label"]}</th></tr><tr>'
    for group in section["applicants"]:
        inner = len(group.get("kinds", ()))
        span = f'scope="colgroup" colspan="{inner}"' if inner else 'scope="col" rowspan="2"'
        head += f'<th {span}>{escape(group["label"])}</th>'
    head += "</tr><tr>" + "".join(f'<th scope="col">{stacked(kind)}</th>' for kind in kinds) + "</tr>"
    rows = [inner for row in section["rows"] for inner in flat(row)]
    body = ""
    for at, (groups, label, cells) in enumerate(rows):
        body += "<tr>"
        for depth, group in enumerate(groups):
            inside = lambda row: row[0][depth : depth + 1] == (group,)
            if at and inside(rows[at - 1]):
                continue
            end = at
            while end < len(rows) and inside(rows[end]):
                end += 1
            body += f'<th scope="rowgroup" rowspan="{end - at}">{group_label(group, depth)}</th>'
        body += f'<th scope="row" colspan="{len(LABELS) - len(groups)}">{escape(label)}</th>'
        body += "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    return f'<table class="requests"><colgroup>{columns}</colgroup><thead>{head}</thead><tbody>{body}</tbody></table>'


def review(section):
    """四、政府信息公开行政复议、行政诉讼情况: fifteen columns, one row."""
    parts = lambda group: group.get("groups", [group])
    results = "".join(f'<th scope="col">{stacked(result)}</th>' for result in section["results"])
    whole = results.replace('scope="col"', 'scope="col" rowspan="2"')
    first = second = third = figures = ""
    for group in section["groups"]:
        span = sum(len(part["cells"]) for part in parts(group))
        first += f'<th scope="colgroup" colspan="{span}">{escape(group["label"])}</th>'
        if "groups" in group:
            for part in group["groups"]:
                second += f'<th scope="colgroup" colspan="{len(part["cells"])}">{escape(part["label"])}</th>'
                third += results
        else:
            second += whole
        figures += "".join(f"<td>{escape(cell)}</td>" for part in parts(group) for cell in part["cells"])
    head = f"<tr>{first}</tr><tr>{second}</tr><tr>{third}</tr>"
    return f'<table class="review"><thead>{head}</thead><tbody><tr>{figures}</tr></tbody></table>'


def page(view, about):
    """The whole report."""
    sections = view["sections"]
    title, agency = escape(view["title"]), escape(view["agency"])
    title = title.replace(agency, agency + "<br>", 1) if title.startswith(agency) else title
    out = [f"<h1>{title}</h1>", blocks(view["introduction"])]
    for name in ("overview", "proactive_disclosure", "requests", "review_and_litigation", "problems_and_improvements", "other_matters"):
        section = sections[name]
        heading = f"<h2>{escape(section['heading'])}</h2>"
        table = {"proactive_disclosure": disclosure, "requests": requests, "review_and_litigation": review}.get(name)
        if table:
            out.append(f'<div class="form">{heading}{table(section)}{notes(section)}</div>')
        else:
            out.append(heading + blocks(section["blocks"]))
    if view["issued_on"]:
        out.append(f'<div class="signature"><p>{agency}</p><p>{escape(view["issued_on"])}</p></div>')
    meta = "".join(
        f'<meta name="{name}" content="{escape(text)}">'
        for name, text in (
            ("author", ", ".join(about["author"])),
            ("description", about["description"]),
            ("keywords", ", ".join(about["keywords"])),
            ("dcterms.created", f"{about['year']}-{about['month']:02}-{about['day']:02}"),
        )
    )
    return (
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>{escape(about["title"])}</title>{meta}'
        f'<style>{FACES}{CSS}</style></head><body>{"".join(out)}</body></html>'
    )
