"""Sets reports in a kept LibreOffice over UNO: a line `FOLDER PDF` in, a line `done` out.

What a server such as unoserver does, without its own cost. The arguments are the command that starts LibreOffice. PDF/A-3 with tags
and PDF/UA are what it can do; attachments it can't.
"""

import subprocess
import sys
import time
import uuid

import uno
from com.sun.star.beans import PropertyValue
from com.sun.star.connection import NoConnectException


def value(name, it):
    return PropertyValue(Name=name, Value=it)


def connect(pipe):
    local = uno.getComponentContext()
    resolver = local.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", local)
    for _ in range(600):
        try:
            return resolver.resolve(f"uno:pipe,name={pipe};urp;StarOffice.ComponentContext")
        except NoConnectException:
            time.sleep(0.1)
    raise TimeoutError("LibreOffice does not answer")


def main():
    pipe = f"peers{uuid.uuid4().hex}"
    command = [*sys.argv[1:], f"--accept=pipe,name={pipe};urp;"]
    office = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    context = connect(pipe)
    desktop = context.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", context)
    wanted = (value("SelectPdfVersion", 3), value("UseTaggedPDF", True), value("PDFUACompliance", True))
    export = (
        value("FilterName", "writer_pdf_Export"),
        value("FilterData", uno.Any("[]com.sun.star.beans.PropertyValue", wanted)),
    )
    for line in sys.stdin:
        folder, pdf = line.split()
        document = desktop.loadComponentFromURL(f"file://{folder}/report.fodt", "_blank", 0, (value("Hidden", True),))
        document.storeToURL(f"file://{pdf}", export)
        document.close(True)
        print("done", flush=True)
    try:
        desktop.terminate()
    except Exception:  # it answers by hanging up
        pass
    office.wait()


main()
