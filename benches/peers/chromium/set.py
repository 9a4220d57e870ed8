"""Sets reports in a kept Chromium over its DevTools protocol: a line `FOLDER PDF` in, a line `done` out.

One tab for all of them. Tags and an outline are what it can do; PDF/A and attachments it can't.
"""

import base64
import itertools
import json
import os
import subprocess
import sys

OPTIONS = {"preferCSSPageSize": True, "printBackground": True, "generateTaggedPDF": True, "generateDocumentOutline": True}


class Browser:
    """A Chromium that listens on its file descriptor 3 and answers on 4, messages ending with NUL."""

    def __init__(self, command):
        theirs_in, self.out = os.pipe()
        answers, theirs_out = os.pipe()
        self.answers = os.fdopen(answers, "rb")
        self.rest = b""
        self.numbers = itertools.count(1)
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command, "--remote-debugging-pipe", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)

    def message(self):
        while b"\0" not in self.rest:
            more = self.answers.read1(1 << 20)
            if not more:
                raise EOFError("Chromium has ended")
            self.rest += more
        one, self.rest = self.rest.split(b"\0", 1)
        return json.loads(one)

    def call(self, method, session=None, until=None, **parameters):
        """The result of a method; with `until`, what came after the event of that name."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        result, seen = None, until is None
        while result is None or not seen:
            answer = self.message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result = answer["result"]
            seen = seen or answer.get("method") == until
        return result


def main():
    browser = Browser(sys.argv[1:])
    tab = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
    browser.call("Page.enable", session)
    for line in sys.stdin:
        folder, pdf = line.split()
        browser.call("Page.navigate", session, until="Page.loadEventFired", url=f"file://{folder}/report.html")
        result = browser.call("Page.printToPDF", session, **OPTIONS)
        with open(pdf, "wb") as file:
            file.write(base64.b64decode(result["data"]))
        print("done", flush=True)
    browser.call("Browser.close")
    browser.process.wait()


main()
