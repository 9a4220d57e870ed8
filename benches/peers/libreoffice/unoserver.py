"""Sets reports with unoserver and its `unoconvert`, a process of that for each document: a line `FOLDER PDF` in, `done` out.

How one mostly meets a kept LibreOffice; `set.py` does the same without these two.
"""

import socket
import subprocess
import sys
import time

QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
OPTIONS = ("SelectPdfVersion=3", "UseTaggedPDF=true", "PDFUACompliance=true")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def main():
    profile = sys.argv[1]
    port, uno_port = free_port(), free_port()
    command = [sys.executable, "-m", "unoserver.server", "--port", port, "--uno-port", uno_port, "--user-installation", profile]
    server = subprocess.Popen(command, **QUIET)
    unoconvert = "import sys; from unoserver.client import converter_main; sys.exit(converter_main())"
    client = [sys.executable, "-c", unoconvert, "--port", port, "--convert-to", "pdf", "--host-location", "local", "--dont-update-index"]
    client += [part for option in OPTIONS for part in ("--filter-option", option)]
    for line in sys.stdin:
        folder, pdf = line.split()
        for _ in range(60):
            if subprocess.run([*client, f"{folder}/report.fodt", pdf], **QUIET).returncode == 0:
                break
            time.sleep(1)  # the first may come before the server listens
        else:
            raise SystemExit("unoserver does not answer")
        print("done", flush=True)
    server.terminate()
    server.wait()


main()
