"""What the conformance suite speaks to: a request a line on standard input, an answer a line on
standard output (clients/conformance/README.md)."""

import json
import logging
import os
import sys
import threading

import banshi_client as banshi

CODES = {
    banshi.InvalidJob: "invalid-job",
    banshi.NoSuchLane: "no-such-lane",
    banshi.QueueFull: "queue-full",
    banshi.NotConfirmed: "not-confirmed",
    banshi.BrokerRefused: "refused",
    banshi.TimedOut: "timed-out",
    banshi.Cancelled: "cancelled",
}


def problem(it):
    return {key: value for key, value in vars(it).items() if value is not None}


def outcome(it):
    if isinstance(it, banshi.Completed):
        artifact = vars(it.artifact)
        warnings = [problem(warning) for warning in it.warnings]
        return {"outcome": "completed", "job_id": it.job_id, "event": it.event.id, "template": it.template,
                "title": it.title, "artifact": artifact, "manifest": it.manifest_uri, "warnings": warnings}
    if isinstance(it, banshi.Rejected):
        problems = [problem(one) for one in it.problems]
        return {"outcome": "rejected", "job_id": it.job_id, "event": it.event.id, "problems": problems}
    return {"outcome": "failed", "job_id": it.job_id, "event": it.event.id, "code": it.code,
            "message": it.message, "attempts": it.attempts}


def answer(client, asked):
    match asked["op"]:
        case "send":
            client.send(asked["job"], lane=asked["lane"], timeout=asked["timeout"])
            return "confirmed"
        case "send_and_wait":
            cancel = threading.Event()
            if "cancel_after" in asked:
                threading.Timer(asked["cancel_after"], cancel.set).start()
            return outcome(client.send_and_wait(asked["job"], timeout=asked["timeout"], cancel=cancel))
        case "events":
            found = []
            for event in client.events(asked["from"], timeout=asked["timeout"]):
                found.append({"offset": event.offset, "id": event.id, "type": event.type, "job_id": event.job_id})
                if len(found) == asked["count"]:
                    break
            return found
        case "outbox_put":
            banshi.Outbox(asked["folder"]).put(asked["job"], lane=asked["lane"])
            return "kept"
        case "outbox_flush":
            return banshi.Outbox(asked["folder"]).flush(client)


def main():
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    with banshi.Client(os.environ["BANSHI_URL"], prefix=os.environ["BANSHI_PREFIX"]) as client:
        for line in sys.stdin:
            try:
                said = {"ok": answer(client, json.loads(line))}
            except banshi.BanshiError as error:
                said = {"error": CODES[type(error)], "message": str(error)}
            print(json.dumps(said), flush=True)


main()
