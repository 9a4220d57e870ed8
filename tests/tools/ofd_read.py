"""What is in an OFD package, read as GB/T 33190-2016 describes it: see ofd-read."""

import io
import json
import posixpath
import sys
import zipfile

from fontTools.ttLib import TTFont
from lxml import etree

OFD = "{http://www.ofdspec.org/2016}"
OURS = "{urn:banshi:structure:1}"
# GB/T 42133-2022, 6.2.6 c)
TABLES = {"cmap", "loca", "glyf", "head", "hhea", "hmtx", "maxp", "name", "OS/2", "post"}
SAFE = etree.XMLParser(resolve_entities=False, no_network=True)


class Package:
    def __init__(self, path, schemas):
        self.faults, self.seen, self.ids, self.units = [], set(), {}, {}
        self.schemas = schemas
        with zipfile.ZipFile(path) as package:
            bad = package.testzip()
            if bad:
                self.fault(f"{bad} is damaged")
            names = package.namelist()
            if len(names) != len(set(names)):
                self.fault("names come twice")
            self.files = {name: package.read(name) for name in names}
            if names[0] != "OFD.xml":
                self.fault("OFD.xml is not the first")

    def fault(self, text):
        self.faults.append(text)

    def file(self, base, location):
        name = location.lstrip("/") if location.startswith("/") else posixpath.normpath(posixpath.join(posixpath.dirname(base), location))
        if name not in self.files:
            self.fault(f"{base} names {name}, which is not there")
        self.seen.add(name)
        return name

    def xml(self, name):
        tree = etree.fromstring(self.files[name], SAFE)
        schema = self.schemas[etree.QName(tree).namespace]
        if not schema.validate(tree):
            self.faults.extend(f"{name}: {error.message}" for error in schema.error_log)
        for element in tree.iter(f"{OFD}*"):
            if etree.QName(element).localname != "CustomTag" and any("://" in value for value in element.attrib.values()):
                self.fault(f"{name} names something outside")
            own = element.get("ID")
            if own and etree.QName(element).localname != "Attachment":
                if own in self.ids:
                    self.fault(f"ID {own} comes twice")
                self.ids[own] = element
        return tree

    def read(self):
        self.seen.add("OFD.xml")
        main = self.xml("OFD.xml")
        info = main.find(f"{OFD}DocBody/{OFD}DocInfo")
        said = {"doc_type": main.get("DocType"), "info": {}, "custom": {}}
        for element in info:
            name = etree.QName(element).localname
            if name == "Keywords":
                said["info"][name] = [keyword.text for keyword in element]
            elif name == "CustomDatas":
                said["custom"] = {data.get("Name"): data.text for data in element}
            else:
                said["info"][name] = element.text
        root = self.file("OFD.xml", main.findtext(f"{OFD}DocBody/{OFD}DocRoot"))
        document = self.xml(root)
        said["fonts"] = self.fonts(root, document)
        usual = document.findtext(f"{OFD}CommonData/{OFD}PageArea/{OFD}PhysicalBox")
        pages = document.findall(f"{OFD}Pages/{OFD}Page")
        said["pages"] = [self.page(root, page, usual) for page in pages]
        said["outline"] = [
            [len(list(element.iterancestors(f"{OFD}OutlineElem"))) + 1, element.get("Title"), self.number(pages, element)]
            for element in document.iter(f"{OFD}OutlineElem")
        ]
        tags = self.file(root, document.findtext(f"{OFD}CustomTags"))
        structure = self.file(tags, self.xml(tags).findtext(f"{OFD}CustomTag/{OFD}FileLoc"))
        said["structure"], said["tables"] = self.structure(self.xml(structure))
        attachments = self.file(root, document.findtext(f"{OFD}Attachments"))
        said["attachments"] = {}
        for attachment in self.xml(attachments):
            name = self.file(attachments, attachment.findtext(f"{OFD}FileLoc"))
            said["attachments"][attachment.get("Name")] = self.files[name].decode()
            if abs(float(attachment.get("Size")) - len(self.files[name]) / 1024) > 0.001:
                self.fault(f"{name} is not as large as it says")
        most = int(document.findtext(f"{OFD}CommonData/{OFD}MaxUnitID"))
        if most < max(map(int, self.ids)):
            self.fault("MaxUnitID is less than an ID")
        idle = set(self.files) - self.seen
        if idle:
            self.fault(f"nothing names {sorted(idle)}")
        said["faults"] = self.faults
        return said

    def fonts(self, root, document):
        self.faces, said = {}, []
        for resource in document.findall(f"{OFD}CommonData/*"):
            if etree.QName(resource).localname not in ("PublicRes", "DocumentRes"):
                continue
            name = self.file(root, resource.text)
            tree = self.xml(name)
            for medium in tree.iter(f"{OFD}MultiMedia"):
                self.file(name, posixpath.join(tree.get("BaseLoc"), medium.findtext(f"{OFD}MediaFile")))
            for font in tree.iter(f"{OFD}Font"):
                file = self.file(name, posixpath.join(tree.get("BaseLoc"), font.findtext(f"{OFD}FontFile")))
                face = TTFont(io.BytesIO(self.files[file]), checkChecksums=2, lazy=False)
                missing = TABLES - set(face.keys())
                if missing:
                    self.fault(f"{file} lacks {sorted(missing)}")
                for table in face.keys():
                    face[table]
                for glyph in face.getGlyphOrder():
                    face["glyf"][glyph].expand(face["glyf"])
                cmap = face.getBestCmap() or {}
                if face["OS/2"].usFirstCharIndex != min(min(cmap, default=0), 0xFFFF):
                    self.fault(f"{file}: OS/2 says another first character")
                self.faces[font.get("ID")] = (cmap, len(face.getGlyphOrder()), face)
                said.append(dict(font.attrib, bytes=len(self.files[file]), characters=len(cmap)))
        return said

    def number(self, pages, element):
        page = element.find(f"{OFD}Actions/{OFD}Action/{OFD}Goto/{OFD}Dest").get("PageID")
        found = [number for number, it in enumerate(pages, 1) if it.get("ID") == page]
        if not found:
            self.fault(f"the outline leads to page {page}, which is not there")
        return found[0] if found else None

    def page(self, root, page, usual):
        content = self.xml(self.file(root, page.get("BaseLoc")))
        box = content.findtext(f"{OFD}Area/{OFD}PhysicalBox")
        if box == usual:
            self.fault("a page names the usual size")
        units = []
        for unit in content.iter(f"{OFD}TextObject", f"{OFD}PathObject", f"{OFD}ImageObject"):
            kind = etree.QName(unit).localname
            said = {"id": unit.get("ID"), "kind": kind, "boundary": [float(side) for side in unit.get("Boundary").split()]}
            if kind == "TextObject":
                said |= self.text(unit)
            if kind == "PathObject" and unit.get("Stroke") == "false" and any(unit.get(name) for name in ("LineWidth", "Cap", "Join", "DashPattern")):
                self.fault("a path without a stroke says how it is stroked")
            self.units[(page.get("ID"), unit.get("ID"))] = said.get("text", "")
            units.append(said)
        return {"box": box or usual, "units": units}

    def text(self, unit):
        cmap, glyphs, _ = self.faces[unit.get("Font")]
        code = unit.find(f"{OFD}TextCode")
        text, drawn = code.text, [cmap.get(ord(c)) for c in code.text]
        here = f"text {unit.get('ID')} {text!r}"
        count = len(text)
        if text != text.strip():
            self.fault(f"{here} begins or ends with a space")
        for transform in unit.findall(f"{OFD}CGTransform"):
            numbers = transform.findtext(f"{OFD}Glyphs").split()
            if len(numbers) != int(transform.get("GlyphCount")):
                self.fault(f"{here}: other glyphs than it counts")
            if int(transform.get("CodePosition")) != 0 or int(transform.get("CodeCount")) != len(text.encode("utf-16-le")) // 2:
                self.fault(f"{here}: the glyphs are not those of all its characters")
            if any(int(number) >= glyphs for number in numbers):
                self.fault(f"{here}: a glyph that the face hasn't")
            count, drawn = len(numbers), numbers
        if None in drawn:
            self.fault(f"{here}: a character that the face hasn't")
        if any(ord(c) > 0xFFFF for c in text) and unit.find(f"{OFD}CGTransform") is None:
            self.fault(f"{here}: a character beyond U+FFFF without its glyph")
        steps = (code.get("DeltaX") or "").split()
        if len(steps) != count - 1:
            self.fault(f"{here}: {len(steps)} steps for {count} glyphs")
        return {"text": text, "font": unit.get("Font"), "size": float(unit.get("Size")), "glyphs": unit.find(f"{OFD}CGTransform") is not None}

    def structure(self, tree):
        shown, tables, used = [], [], set()

        def text(element):
            said = ""
            for ref in element.iter(f"{OFD}ObjectRef"):
                key = (ref.get("PageRef"), ref.text)
                if key not in self.units or key in used:
                    self.fault(f"the structure names {key}, which is not there or was named before")
                used.add(key)
                said += self.units.get(key, "")
            return said

        for element in tree:
            name = etree.QName(element).localname
            if name != "Table":
                # what stands in no element of its own
                shown.append([name, text(element)])
                continue
            cells = [
                {
                    "row": int(cell.get("Row")),
                    "column": int(cell.get("Column")),
                    "rows": int(cell.get("RowSpan", 1)),
                    "columns": int(cell.get("ColSpan", 1)),
                    "header": etree.QName(cell).localname == "TH",
                    "text": text(cell),
                }
                for cell in element.iter(f"{OURS}TH", f"{OURS}TD")
            ]
            taken = [(y, x) for cell in cells for y in range(cell["row"], cell["row"] + cell["rows"]) for x in range(cell["column"], cell["column"] + cell["columns"])]
            if len(taken) != len(set(taken)):
                self.fault("cells of a table overlap")
            tables.append(cells)
            shown.append(["Table", ""])
        return shown, tables


def main():
    schemas, *files = sys.argv[1:]
    schema = lambda name: etree.XMLSchema(etree.parse(f"{schemas}/{name}.xsd"))
    schemas = {OFD[1:-1]: schema("ofd"), OURS[1:-1]: schema("structure")}
    for file in files:
        print(json.dumps({"file": file} | Package(file, schemas).read(), ensure_ascii=False))


main()
